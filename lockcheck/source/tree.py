"""The kernel tree under analysis: where it is, how it is configured, whether it is prepared.

A tree is a source directory (`root`) and the directory that holds its configuration and
generated headers (`build`): the same one, or the one given to `make O=`. Nothing here
writes to either.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lockcheck.errors import LockcheckError

_VERSION_LINE = re.compile(
    r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(.*?)[ \t]*$", re.M
)
# The header that kconfig writes: `# Linux/x86 6.12.1 Kernel Configuration`.
_CONFIG_HEADER = re.compile(r"^# Linux/(\S+) \S+ Kernel Configuration", re.M)
# The Makefile that kbuild writes into an O= directory.
_GENERATED_INCLUDE = re.compile(r"^include[ \t]+(\S+)/Makefile[ \t]*$", re.M)
# The top Makefile maps names of ARCH to directories: `ifeq ($(ARCH),x86_64)` / `SRCARCH := x86`.
_ARCH_ALIAS = re.compile(
    r"^ifeq[ \t]*\(\$\(ARCH\),(\S+?)\)[ \t]*\n[ \t]*SRCARCH[ \t]*:?=[ \t]*(\S+)", re.M
)
_GIT_TIMEOUT_SECONDS = 20

# Directories below arch/ whose assembly and headers are known to parse.
SUPPORTED_ARCHITECTURES = frozenset({"x86"})


@dataclass(frozen=True, slots=True)
class KernelTree:
    """A configured and prepared kernel tree. Build one with `find_tree()`.

    root, build: absolute, resolved; equal when the tree is built in place.
    version: from the top Makefile, e.g. `6.1.192` or `6.13.0-rc2`.
    arch: the directory below `arch/` that the configuration is for, e.g. `x86`.
    make_arch: what kbuild wants as ARCH=, e.g. `x86_64`; mostly equal to `arch`.
    config: the options of `.config`: `CONFIG_X` → `y`, `m` or the value, strings unquoted.
        Options that are not set are absent.
    compiler: `gcc` or `clang`, what the tree is configured for.
    """

    root: Path
    build: Path
    version: str
    arch: str
    make_arch: str
    compiler: str
    config: Mapping[str, str] = field(hash=False, compare=False, repr=False)

    def option(self, name: str) -> str | None:
        """Return the value of an option, named with or without `CONFIG_`; None when not set."""
        return self.config.get(name if name.startswith("CONFIG_") else f"CONFIG_{name}")

    def relative(self, path: str | os.PathLike[str]) -> str | None:
        """Return the POSIX path of a source below the root, or None when it is no such thing.

        What lies in a separate build directory is no source, even if that is inside the root.
        """
        if self.build != self.root and relative_to(self.build, path) is not None:
            return None
        return relative_to(self.root, path)

    def is_configuration_newer(self) -> bool:
        """Say whether `.config` changed after the generated headers were made from it.

        Units are then compiled with the older configuration until `make prepare` is run.
        """
        try:
            # kconfig writes both; what it generates from .config is never older than that.
            made = (self.build / "include" / "config" / "auto.conf").stat().st_mtime
            return (self.build / ".config").stat().st_mtime > made
        except OSError:
            return False

    def make_command(self, goal: str) -> str:
        """Return the shell command that makes `goal` in this tree, for messages."""
        return f"{_make(self.root, self.build)} {goal}"

    def config_name(self) -> str:
        """Return what tells this configuration from others: `x86_64, .config 3f2a91c07b52`."""
        try:
            content = (self.build / ".config").read_bytes()
        except OSError:
            return self.make_arch
        return f"{self.make_arch}, .config {hashlib.sha256(content).hexdigest()[:12]}"

    def git_revision(self) -> str | None:
        """Return the commit that is checked out, or None when root is no git work tree."""
        return _git(self.root, "rev-parse", "HEAD") if self._is_git_work_tree() else None

    def git_remote(self) -> str | None:
        """Return the URL of `origin`, or of the first remote, without credentials, or None."""
        if not self._is_git_work_tree():
            return None
        names = (_git(self.root, "remote") or "").split()
        if not names:
            return None
        name = "origin" if "origin" in names else names[0]
        url = _git(self.root, "remote", "get-url", name)
        return without_credentials(url) if url else None

    def _is_git_work_tree(self) -> bool:
        # A tree that was unpacked somewhere inside another project's repository does not
        # have that project's revision.
        top = _git(self.root, "rev-parse", "--show-toplevel")
        return top is not None and Path(top).resolve() == self.root


def find_tree(start: Path | None = None, build: Path | None = None) -> KernelTree:
    """Find the kernel tree around `start` and the build directory that belongs to it.

    start: a directory in a kernel tree or in an O= build directory, or None for the
        current directory. Its parents are searched too.
    build: the O= directory, or None: then it is the build directory that `start` is in,
        or the root itself when it holds a `.config`. No other place is guessed.

    Raises LockcheckError when there is no tree, no configuration, when the tree is not
    prepared, or when `build` was made from another source tree.
    """
    root, found_build = _locate(start, build)
    where = build.expanduser().resolve() if build is not None else found_build
    if build is not None and not where.is_dir():
        raise LockcheckError(
            f"the build directory {where} is no directory"
            if where.exists()
            else f"the build directory {where} does not exist",
            remedy=f"correct --build, or make it: `{_make(root, where)} defconfig prepare`",
        )
    _check_ownership(root, where)
    config_file = where / ".config"
    if not config_file.is_file():
        raise LockcheckError(
            f"{where} is not configured: it has no .config",
            remedy=f"run `{_make(root, where)} defconfig prepare`, "
            "or name the configured build directory with --build DIR",
        )
    header, config = _read_config(config_file)
    make_arch, arch = _architecture(root, config_file, header, config)
    _check_prepared(root, where, arch)
    return KernelTree(
        root=root,
        build=where,
        version=_version(root),
        arch=arch,
        make_arch=make_arch,
        compiler="clang" if config.get("CONFIG_CC_IS_CLANG") == "y" else "gcc",
        config=config,
    )


def check_architecture(tree: KernelTree) -> None:
    """Raise LockcheckError when the tree is configured for an architecture that nobody tried."""
    if tree.arch not in SUPPORTED_ARCHITECTURES:
        raise _unsupported(tree.build, tree.arch)


def is_tree_root(directory: Path) -> bool:
    """Say whether `directory` is the top of a kernel source tree."""
    # An O= directory can hold `include/linux` too; the version numbers are what only a
    # source tree's Makefile has.
    if not ((directory / "Kconfig").is_file() or (directory / "Kbuild").is_file()):
        return False
    return (directory / "include" / "linux").is_dir() and bool(_version(directory))


def source_of_build(directory: Path) -> Path | None:
    """Return the source tree that an O= directory was made from; None when it is no such thing.

    The result is what the directory claims; it may no longer exist.
    """
    generated = _read_text(directory / "Makefile")
    match = _GENERATED_INCLUDE.search(generated)
    if match and "Automatically generated" in generated:
        # The path may be relative to the build directory (`include ../Makefile`).
        return Path(os.path.realpath(directory / match.group(1)))
    link = directory / "source"
    if link.is_symlink() and (directory / ".config").is_file():
        return Path(os.path.realpath(link))
    return None


def relative_to(root: Path, path: str | os.PathLike[str]) -> str | None:
    """Return `path` relative to the resolved directory `root` in POSIX form, or None.

    `..` is first taken away textually, as make prints `arch/x86/kvm/../../../virt/kvm/x.c`;
    symbolic links are followed only when that does not lead into `root`.
    """
    for form in (os.path.normpath(path), os.path.realpath(path)):
        try:
            return Path(form).relative_to(root).as_posix()
        except ValueError:
            continue
    return None


def without_credentials(url: str) -> str:
    """Return a remote's URL without user, password, query or fragment."""
    if "://" not in url:
        return url  # `git@host:path` or a local path: holds no secret
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _locate(start: Path | None, build: Path | None) -> tuple[Path, Path]:
    """Return the root, and the build directory as far as the place tells it."""
    place = (start if start is not None else Path.cwd()).expanduser().resolve()
    if not place.exists():
        raise LockcheckError(
            f"{place} does not exist", remedy="name the top of a kernel tree with --tree DIR"
        )
    for directory in _upwards(place if place.is_dir() else place.parent):
        if is_tree_root(directory):
            return directory, directory
        source = source_of_build(directory)
        if source is not None and is_tree_root(source):
            return source, directory
        if source is not None:
            raise LockcheckError(
                f"{directory} is a build directory of {source}, which is no kernel tree (any more)",
                remedy="name the source tree with --tree DIR, or run `make O=… prepare` again",
            )
    if start is None and build is not None:
        source = source_of_build(build.expanduser().resolve())
        if source is not None and is_tree_root(source):
            return source, build.expanduser().resolve()
    raise LockcheckError(
        f"no kernel tree here: neither {place} nor a directory above it is the top of one "
        "(a Makefile with VERSION and PATCHLEVEL, Kconfig or Kbuild, include/linux)",
        remedy="run lockcheck inside a kernel tree, or name one with --tree DIR",
    )


def _upwards(directory: Path) -> Iterator[Path]:
    yield directory
    yield from directory.parents


def _check_ownership(root: Path, build: Path) -> None:
    if build == root:
        return
    source = source_of_build(build)
    if source is not None and source != root:
        raise LockcheckError(
            f"the build directory {build} belongs to another source tree: {source}, not {root}",
            file=str(build / "Makefile"),
            remedy=f"use --tree {source}, or prepare a build directory of this tree: "
            "`make O=DIR defconfig prepare`",
        )


def _check_prepared(root: Path, build: Path, arch: str) -> None:
    """Raise LockcheckError unless the headers that every unit includes were generated."""
    # The last two exist only for trees that have what they are generated from.
    wanted = ["include/generated/autoconf.h"]
    if (root / "arch" / arch / "kernel" / "asm-offsets.c").is_file():
        wanted.append("include/generated/asm-offsets.h")
    if (root / "arch" / arch / "include" / "asm" / "Kbuild").is_file():
        wanted.append(f"arch/{arch}/include/generated")
    missing = [name for name in wanted if not (build / name).exists()]
    if missing and arch not in SUPPORTED_ARCHITECTURES:
        raise _unsupported(build, arch)  # to prepare it would be of no use
    if missing:
        raise LockcheckError(
            f"{build} is configured but not prepared: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            remedy=f"run `{_make(root, build)} prepare` (it builds headers, not the kernel)",
        )


def _unsupported(build: Path, arch: str) -> LockcheckError:
    return LockcheckError(
        f"the tree is configured for {arch}; lockcheck reads trees configured for "
        + ", ".join(sorted(SUPPORTED_ARCHITECTURES)),
        file=str(build / ".config"),
        remedy="configure a build directory for x86 "
        "(`make O=DIR ARCH=x86_64 defconfig prepare`) and name it with --build DIR",
    )


def _architecture(
    root: Path, config_file: Path, header: str | None, config: Mapping[str, str]
) -> tuple[str, str]:
    """Return (ARCH as kbuild takes it, the directory below arch/)."""
    if header is not None:
        aliases = dict(_ARCH_ALIAS.findall(_read_text(root / "Makefile")))
        return header, aliases.get(header, header)
    # A .config without kconfig's header (merged by hand): CONFIG_X86=y and arch/x86 exist.
    arch_root = root / "arch"
    names = sorted(entry.name for entry in arch_root.iterdir()) if arch_root.is_dir() else []
    for name in names:
        if config.get(f"CONFIG_{name.upper()}") == "y":
            return name, name
    raise LockcheckError(
        "cannot tell which architecture the tree is configured for",
        file=str(config_file),
        line=1,
        remedy=f"write the configuration anew: `{_make(root, config_file.parent)} olddefconfig`",
    )


def _read_config(config_file: Path) -> tuple[str | None, dict[str, str]]:
    """Return the architecture of the header line, and the options."""
    try:
        text = config_file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LockcheckError(
            f"cannot read the configuration: {error.strerror}",
            file=str(config_file),
            remedy="make the file readable",
        ) from error
    config: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            quoted = len(value) >= 2 and value[0] == value[-1] == '"'
            config[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value
    header = _CONFIG_HEADER.search(text[:2000])
    return (header.group(1) if header else None), config


def _version(root: Path) -> str:
    """Return the version of the top Makefile, or '' when it is no kernel's Makefile."""
    # VERSION and the rest stand in the first lines.
    fields: dict[str, str] = dict(_VERSION_LINE.findall(_read_text(root / "Makefile")[:2000]))
    if not (fields.get("VERSION", "").isdigit() and fields.get("PATCHLEVEL", "").isdigit()):
        return ""
    numbers = [fields["VERSION"], fields["PATCHLEVEL"], fields.get("SUBLEVEL", "")]
    return ".".join(n for n in numbers if n) + fields.get("EXTRAVERSION", "")


def _make(root: Path, build: Path) -> str:
    return f"make -C {root}" + (f" O={build}" if build != root else "")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _git(root: Path, *arguments: str) -> str | None:
    """Run git in `root` and return its output, or None when git is missing or refuses."""
    # GIT_DIR and friends (set inside git's hooks) would point git at another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout.strip() or None) if done.returncode == 0 else None
