"""Asking kbuild: which compile commands would `make` run, without running any.

`make -n` alone is not enough to leave a kernel tree as it is; see `_ISOLATION`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from lockcheck.errors import LockcheckError
from lockcheck.source.tree import KernelTree, relative_to

# The goal that stands for everything below the root. `vmlinux modules` would do, but stops
# at links whose inputs a prepared tree does not have.
WHOLE_TREE = "./"

# Variables given to make, which keep `make -n` from changing anything:
# - may-sync-config: included makefiles are remade even under -n, so a `.config` newer
#   than include/config/auto.conf would be synchronised for real
# - obj-dirs: scripts/Makefile.build creates output directories while it is being read
# - tools_silent: some versions start the build of tools/ with fresh MAKEFLAGS, which
#   loses the -n; the text of this variable ends up in front of those MAKEFLAGS
# TMPOUT, set to a private directory, is where compiler options are tried out.
_ISOLATION = ("may-sync-config=", "obj-dirs=.", "tools_silent=n")

# What a goal needs first (host tools, generated headers) is not walked: it compiles no unit
# of the kernel and takes a quarter of make's time. make does not hand -o down to the makes
# below, so it is part of their name.
# IMPRECISE: units that only preparation compiles are not known: scripts/mod/empty.c, and the
# vDSO of some architectures, which is no kernel code.
_PREPARED = ("-o", "prepare")

# What make and kbuild read from the environment and would act upon. The directory and
# the architecture are ours to give; job servers and flags belong to a calling make.
_NOT_INHERITED = frozenset(
    {
        "ARCH",
        "C",
        "CHECK",
        "GNUMAKEFLAGS",
        "KBUILD_EXTMOD",
        "KBUILD_OUTPUT",
        "KBUILD_VERBOSE",
        "M",
        "MAKEFILES",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MAKEOVERRIDES",
        "MFLAGS",
        "O",
        "V",
        "W",
    }
)
_TIMEOUT_SECONDS = 300
_TAIL_LINES = 8

# With V=1 kbuild echoes the command before it runs it: `echo '  gcc … -c -o x.o x.c  '`,
# where a quote inside is written '\''. The echo is taken because its end is certain.
_ECHOED = re.compile(r"echo '\s*((?:[^']|'\\'')*)'")
# Shell words up to a control operator. Only words that hold a quote go through shlex:
# shlex alone takes ten times as long, on tens of megabytes.
_WORD = re.compile(r"""(?:[^\s'"\\;|&<>]|'[^']*'|"(?:[^"\\]|\\.)*"|\\.)+|[;|&<>\n]""")
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)"|([^'"]+)""")
_MAKEFILE_NAMES = ("Kbuild", "Makefile")
_PATH_TOKEN = re.compile(r"(?:\$\(\w+\)/|\.\./)?[\w.+-]+(?:/[\w.+-]+)+|(?:\.\./)+[\w.+-]+")
_INCLUDE = re.compile(
    r"^[ \t]*-?include[ \t]+(?:\$\(\w+\)/|\S*/)?([\w.+-]+)/(?:Makefile|Kbuild)", re.M
)


class Answer(NamedTuple):
    """What kbuild said.

    commands: of C units, each as words.
    complaint: the end of the error output when make ended with an error, else ''.
    """

    commands: list[list[str]]
    complaint: str


def ask(tree: KernelTree, goals: Sequence[str]) -> Answer:
    """Return the commands that kbuild would run for `goals` (`arch/x86/kvm/`), from `make -n`.

    Objects that are up to date have no command. Nothing in the tree is changed.

    Raises LockcheckError when make is missing or does not end.
    """
    make = shutil.which("make")
    if make is None:
        raise LockcheckError(
            "make not found: it is needed to ask kbuild for compile commands",
            remedy="install GNU make, or provide compile_commands.json in the build directory "
            "(scripts/clang-tools/gen_compile_commands.py makes it)",
        )
    with (
        tempfile.TemporaryDirectory(prefix="lockcheck-kbuild-") as scratch,
        tempfile.TemporaryFile(dir=scratch) as output,
        tempfile.TemporaryFile(dir=scratch) as errors,
    ):
        words = _make_words(make, tree, scratch, goals)
        status = _run(words, output, errors)
        output.seek(0)
        commands = list(compile_commands(_decode(line) for line in output))
        errors.seek(0)
        complaint = ""
        if status:
            complaint = _tail(_decode(line) for line in errors) or f"make: status {status}"
    return Answer(commands, complaint)


def compile_commands(lines: Iterable[str]) -> Iterator[list[str]]:
    """Return the words of each command in make's output that compiles a kernel C unit."""
    for line in lines:
        # A cheap test first: most of the output is linking and bookkeeping.
        if " -c " not in line or "__KERNEL__" not in line:
            continue
        texts = [text.replace(r"'\''", "'") for text in _ECHOED.findall(line)]
        for text in texts or [line]:
            yield from (words for words in simple_commands(text) if is_kernel_unit(words))


def simple_commands(text: str) -> Iterator[list[str]]:
    """Split shell text into simple commands, each a list of unquoted words.

    Expansions, redirections and here-documents are not interpreted.
    """
    words: list[str] = []
    for word in _WORD.findall(text):
        if word in ";|&<>\n":
            if words:
                yield words
            words = []
        elif "'" in word or '"' in word or "\\" in word:
            words.extend(_unquote(word))
        else:
            words.append(word)
    if words:
        yield words


def is_kernel_unit(words: Sequence[str]) -> bool:
    """Say whether a command compiles one C file of the kernel proper.

    IMPRECISE: code that is built with __KERNEL__ but runs elsewhere (vDSO, decompressor,
    purgatory) passes. Host tools lack __KERNEL__; real-mode code is the only one with -m16.
    """
    return (
        "-c" in words
        and "-D__KERNEL__" in words
        and "-m16" not in words
        and source_argument(words) is not None
    )


def source_argument(words: Sequence[str]) -> str | None:
    """Return the C file that a command compiles, or None."""
    for word in reversed(words):
        if word.endswith(".c") and not word.startswith("-"):
            return word
    return None


def makefile_directory(root: Path, directory: str) -> str:
    """Return `directory` or the nearest one above it with a Makefile or Kbuild ('' is root)."""
    current = PurePosixPath(directory)
    while str(current) != "." and _makefile(root / current) is None:
        current = current.parent
    return "" if str(current) == "." else str(current)


def goal_directory(root: Path, directory: str) -> str:
    """Return the directory to ask kbuild for, to get the commands of `directory` ('' is root).

    That is its nearest Makefile, or the one above which includes that Makefile's text:
    then the objects belong to the outer directory, and asked alone the inner one is empty.
    """
    current = makefile_directory(root, directory)
    while current:
        parent = makefile_directory(root, str(PurePosixPath(current).parent))
        outer = _makefile(root / parent)
        name = PurePosixPath(current).name
        if outer is None or name not in _INCLUDE.findall(_text(outer)):
            break
        current = parent
    return current


def referring_directories(
    tree: KernelTree,
    directories: Collection[str],
    makefiles: Iterable[tuple[str, bytes]] | None = None,
) -> dict[str, list[str]]:
    """Find directories whose Makefile names files of other ones: `../../../virt/kvm/x.o`.

    makefiles: what `makefiles_of(tree)` gives, where that is known already.
    Returns, for each of `directories` (tree-relative), the directories of the Makefiles
    that refer to it, for the configured architecture only, sorted.
    """
    found: dict[str, set[str]] = defaultdict(set)
    # Before anything is resolved, the last component must occur in the text.
    names = [os.fsencode(PurePosixPath(directory).name) for directory in directories]
    for where, content in makefiles_of(tree) if makefiles is None else makefiles:
        if not where or not any(name in content for name in names):
            continue  # the top Makefile names many directories, and builds through theirs
        text = content.decode("utf-8", errors="replace")
        for token in set(_PATH_TOKEN.findall(text)):
            for directory in _token_directories(where, token) & set(directories):
                if directory != where:
                    found[directory].add(where)
    return {directory: sorted(places) for directory, places in found.items()}


def reason_not_built(tree: KernelTree, path: str) -> str | None:
    """Return the option that is not set and keeps kbuild from building `path`, or None.

    IMPRECISE: one `$(CONFIG_X)` beside the name in a Makefile is understood, `ifdef` is not.
    """
    parts = PurePosixPath(path).parts
    for depth in range(len(parts)):
        stem = re.escape(parts[depth].removesuffix(".c"))
        tail = r"\.o" if parts[depth].endswith(".c") else "/"
        line = re.compile(rf"\$\((CONFIG_\w+)\)[ \t]*[+:]?=[^\n]*?(?<![\w-]){stem}{tail}(?!\w)")
        for up in range(depth, -1, -1):
            makefile = _makefile(tree.root.joinpath(*parts[:up]))
            text = _text(makefile).replace("\\\n", " ") if makefile else ""
            for option in line.findall(text):
                if tree.option(option) is None:
                    return str(option)
    return None


def _token_directories(where: str, token: str) -> set[str]:
    """Return what a path in a Makefile of `where` may mean, as directory or file in one."""
    # `$(srctree)/virt/kvm/x`, `$(src)/../x` and a plain `../x` or `sub/x`.
    rest = re.sub(r"^\$\(\w+\)/", "", token)
    candidates = {os.path.normpath(rest), os.path.normpath(f"{where}/{rest}")}
    return candidates | {os.path.dirname(c) for c in candidates}


def makefiles_of(tree: KernelTree) -> Iterator[tuple[str, bytes]]:
    """Yield (directory, content) of the Makefiles of the kernel, without other architectures."""
    # Only host tools and prose live there; reading them would double the time.
    skipped = {"Documentation", "scripts", "tools", "LICENSES"}
    build = relative_to(tree.root, tree.build)
    if build is not None and build != ".":
        skipped.add(build)
    work = [""]
    while work:
        where = work.pop()
        # A directory that cannot be read has nothing that kbuild could read.
        with contextlib.suppress(OSError), os.scandir(tree.root / where) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(_MAKEFILE_NAMES) and entry.is_file():
                    with open(entry.path, "rb", buffering=0) as makefile:
                        yield where, makefile.read()
                elif name[0] != "." and entry.is_dir(follow_symlinks=False):
                    inner = f"{where}/{name}" if where else name
                    if inner not in skipped and (where != "arch" or name == tree.arch):
                        work.append(inner)


def _makefile(directory: Path) -> Path | None:
    # kbuild prefers Kbuild where both exist.
    return next((directory / n for n in _MAKEFILE_NAMES if (directory / n).is_file()), None)


def _make_words(make: str, tree: KernelTree, scratch: str, goals: Sequence[str]) -> list[str]:
    words = [make, *_plain_words(tree)[1:], "-k", "-n", "V=1", *_PREPARED, *_ISOLATION]
    words.append(f"MAKE={shlex.join([make, *_PREPARED])}")
    # $$$$ is the process number of the shell that tries an option.
    words.append(f"TMPOUT={scratch}/.tmp_$$$$")
    compiler = _compiler(tree)
    if compiler is not None:
        words.append(f"CC={compiler}")
    return [*words, *goals]


def _plain_words(tree: KernelTree) -> list[str]:
    words = ["make", "-C", str(tree.root)]
    if tree.build != tree.root:
        words.append(f"O={tree.build}")
    return [*words, f"ARCH={tree.make_arch}"]


def _compiler(tree: KernelTree) -> str | None:
    """Return the compiler the tree was configured with, when it is here under some name.

    kbuild tries options out with it. None leaves the choice to kbuild.
    """
    if tree.compiler == "clang":
        major = (tree.option("CLANG_VERSION") or "")[:-4]
        names = ["clang", f"clang-{major}"] if major else ["clang"]
    else:
        names = (tree.option("CC_VERSION_TEXT") or "").split()[:1]
    return next((name for name in names if shutil.which(name)), None)


def _run(words: Sequence[str], output: IO[bytes], errors: IO[bytes]) -> int:
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    environment["LC_ALL"] = "C"
    # A session of its own, so that everything make started can be ended with it.
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=environment,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise LockcheckError(
            f"kbuild gave no answer within {_TIMEOUT_SECONDS} seconds: {shlex.join(words)}",
            remedy="name fewer PATHS, or provide compile_commands.json in the build directory",
        ) from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _unquote(word: str) -> list[str]:
    if "\\" not in word:
        # Without escapes a quote ends at the next of its kind. shlex takes twenty times as long.
        return ["".join(map("".join, _QUOTED.findall(word)))]
    try:
        return shlex.split(word)
    except ValueError:  # an unbalanced quote: no command of ours
        return [word]


def _decode(line: bytes) -> str:
    return line.decode("utf-8", errors="surrogateescape")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _tail(lines: Iterable[str]) -> str:
    kept = [line.rstrip() for line in lines if line.strip()][-_TAIL_LINES:]
    return "\n".join(kept).encode("utf-8", errors="replace").decode("utf-8")
