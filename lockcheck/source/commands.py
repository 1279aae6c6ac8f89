"""The compile commands of the units to analyse, from the best source there is.

Sources, in order: `compile_commands.json` in the build directory or the root; the `.*.cmd`
files that kbuild leaves beside objects; kbuild itself, asked through `make -n`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.source import kbuild
from lockcheck.source.database import DATABASE, entry_words, read_database
from lockcheck.source.flags import clang_arguments
from lockcheck.source.tree import KernelTree

# Where a command came from, as users see it.
SAVED = ".cmd files"
KBUILD = "kbuild (make -n)"
_SAVED_COMMAND = re.compile(r"(?:savedcmd|cmd)_\S+ := (.*)")


class CompileCommand(msgspec.Struct, frozen=True):
    """How one C file is compiled.

    file: relative to the tree's root, POSIX form.
    directory: absolute; relative paths in `arguments` are relative to it.
    arguments: for libclang; without compiler, source file and output.
    origin: where the command came from, DATABASE, SAVED or KBUILD.
    """

    file: str
    directory: str
    arguments: tuple[str, ...]
    origin: str


class CommandSet(NamedTuple):
    """The units to analyse, sorted by file, one command each; and what was not found out."""

    commands: tuple[CompileCommand, ...]
    notices: tuple[Notice, ...]
    origin: str


# The headers of another configuration: what asserts the layout of records was made for this one.
_PREEMPT_RT = ("-DCONFIG_PREEMPT_RT=1", "-D_Static_assert(...)=")


def with_preempt_rt(commands: CommandSet) -> CommandSet:
    """The same commands for a kernel with PREEMPT_RT, as far as a macro can make it one."""
    return commands._replace(
        commands=tuple(
            msgspec.structs.replace(c, arguments=(*c.arguments, *_PREEMPT_RT))
            for c in commands.commands
        )
    )


class _Complaint(NamedTuple):
    """An error that kbuild ended with; fruitless when it named no command before."""

    notice: Notice
    is_fruitless: bool


class _Collection:
    """Commands and notices gathered so far; the first command of a file stays."""

    def __init__(self, tree: KernelTree, wanted: Sequence[str]) -> None:
        self.tree = tree
        self.wanted = wanted
        self.commands: dict[str, CompileCommand] = {}
        self.notices: list[Notice] = []
        self.complaints: list[_Complaint] = []
        self.generated = 0

    def add(self, words: Sequence[str], directory: str, origin: str, *, replace: bool) -> None:
        """Add the command `words` when it compiles a kernel C file below the wanted paths.

        replace: whether it is better than a command for the same file from another origin.
        """
        source = kbuild.source_argument(words)
        if source is None or not kbuild.is_kernel_unit(words):
            return
        path = os.path.join(directory, source)
        file = self.tree.relative(path)
        if file is None or file.endswith(".mod.c"):
            return  # a generated file in an O= directory, or modpost's
        if not any(below(file, path) for path in self.wanted):
            return
        known = self.commands.get(file)
        if known is not None and not (replace and known.origin != origin):
            return
        if not os.path.isdir(directory):
            self.notices.append(
                Notice(
                    Severity.ERROR,
                    "stale-command",
                    f"{origin} compiles it in {directory}, which does not exist",
                    file=file,
                    remedy=f"make {origin} anew",
                )
            )
        elif not os.path.isfile(path):
            self._add_missing(file, origin)
        else:
            arguments = clang_arguments(words, self.tree.arch)
            self.commands[file] = CompileCommand(file, directory, arguments, origin)

    def _add_missing(self, file: str, origin: str) -> None:
        if origin == KBUILD:
            self.generated += 1  # kbuild is never stale: the build would generate the file
            return
        self.notices.append(
            Notice(
                Severity.WARNING,
                "stale-command",
                f"{origin} has a command for it, but the file does not exist",
                file=file,
                remedy=f"make {origin} anew",
            )
        )

    def uncovered(self, paths: Iterable[str]) -> list[str]:
        """Return the paths below which there is no command yet."""
        return [p for p in paths if not any(below(file, p) for file in self.commands)]


def load_commands(tree: KernelTree, paths: Sequence[str] = ()) -> CommandSet:
    """Return the compile commands of the units below `paths`, or of all units without any.

    paths: files or directories, see `resolve_paths()`.

    Paths that no command was found for are notices, as are stale commands. Raises
    LockcheckError when a path does not exist or is no C file, when a compile database
    cannot be read, when kbuild cannot be asked, and when there is no unit at all.
    """
    wanted = resolve_paths(tree, paths)
    collection = _Collection(tree, wanted)
    if tree.is_configuration_newer():
        collection.notices.append(_stale_configuration(tree))
    database = database_file(tree)
    if database is not None:
        _add_database(collection, database)
        unanswered = collection.uncovered(wanted)
    else:
        _add_saved_commands(collection)
        # A partly built tree has saved commands for a part of each directory, and asking
        # is the only way to know; a finished build has them all.
        unanswered = collection.uncovered(wanted) if _is_built(tree) else list(wanted)
    if unanswered:
        _add_from_kbuild(collection, unanswered)
    return _finish(collection)


def resolve_paths(tree: KernelTree, paths: Sequence[str]) -> tuple[str, ...]:
    """Return `paths` relative to the root, sorted and without repetition; '' is everything.

    A relative path is relative to the root. In the tree (or in its build directory) it may
    also be relative to the current directory: when it begins with `.`, or when only that exists.

    Raises LockcheckError for a path that does not exist, that lies outside of the tree, or
    that is a file other than C source.
    """
    return tuple(sorted({_resolve_path(tree, path) for path in paths} or {""}))


def below(file: str, path: str) -> bool:
    """Say whether `file` is `path` or lies below it; both relative to the root."""
    return not path or file == path or file.startswith(f"{path}/")


def database_file(tree: KernelTree) -> Path | None:
    """Return the compile database that is used for the tree, or None."""
    places = (tree.build / DATABASE, tree.root / DATABASE)
    return next((place for place in places if os.path.lexists(place)), None)


def _resolve_path(tree: KernelTree, path: str) -> str:
    if not path:
        # A shell variable that was not set must not mean the whole tree.
        raise LockcheckError(
            "one of the PATHS is empty", remedy="leave it out to check every unit of the tree"
        )
    file = next((p for p in _candidates(tree, path) if p.exists()), None)
    if file is None:
        raise LockcheckError(
            f"there is no {path} in the tree {tree.root}",
            remedy="PATHS are files or directories, relative to the top of the tree",
        )
    relative = tree.relative(file)
    if relative is None:
        raise LockcheckError(
            f"{path} lies outside of the tree {tree.root}",
            remedy="name the tree it belongs to with --tree DIR",
        )
    if file.is_file() and file.suffix != ".c":
        raise LockcheckError(
            f"{path} is no C source file and has no compile command of its own",
            remedy="name a .c file, or a directory; headers are read with the files that "
            "include them",
        )
    return "" if relative == "." else relative


def _candidates(tree: KernelTree, path: str) -> Iterator[Path]:
    """Yield what a path of the user may stand for, best first."""
    given = Path(path).expanduser()
    if given.is_absolute():
        yield given
        return
    here: list[Path] = []
    cwd = Path.cwd()
    for base in (tree.build, tree.root):  # an in-place build is both, an inner one the first
        if cwd == base or base in cwd.parents:
            here.append(tree.root / cwd.relative_to(base) / given)
            break
    if path.split("/")[0] in (".", ".."):
        yield from here
    yield tree.root / given
    yield from here


def _stale_configuration(tree: KernelTree) -> Notice:
    return Notice(
        Severity.WARNING,
        "stale-configuration",
        f"{tree.build / '.config'} changed after the headers were generated from it; "
        "the older configuration is analysed",
        remedy=f"run `{tree.make_command('prepare')}`",
    )


def _add_database(collection: _Collection, database: Path) -> None:
    entries = read_database(database)
    if _is_older_than_configuration(collection.tree, database):
        collection.notices.append(
            Notice(
                Severity.WARNING,
                "stale-database",
                f"{database} is older than the configuration: units that were enabled or added "
                "since are not in it",
                remedy=f"make {DATABASE} anew, or remove it and kbuild is asked",
            )
        )
    for entry in entries:
        directory = os.path.normpath(database.parent / entry.directory)
        for words in entry_words(entry):
            collection.add(words, directory, DATABASE, replace=False)
    if not collection.commands:
        collection.notices.append(
            Notice(
                Severity.WARNING,
                "database-unused",
                f"{database} has no command for a kernel C file below the paths that were asked "
                f"for (entries in it: {len(entries)}); kbuild is asked instead",
                remedy=f"make {DATABASE} anew, in the build directory, or remove it",
            )
        )


def _is_older_than_configuration(tree: KernelTree, database: Path) -> bool:
    try:
        made = (tree.build / "include" / "config" / "auto.conf").stat().st_mtime
        return database.stat().st_mtime < made
    except OSError:
        return False


def _add_saved_commands(collection: _Collection) -> None:
    """Add the commands kbuild saved beside the objects it built (`.x.o.cmd`)."""
    tree = collection.tree
    for wanted in collection.wanted:
        directory = tree.build / wanted
        if wanted.endswith(".c"):
            name = PurePosixPath(wanted)
            files = [tree.build / name.parent / f".{name.stem}.o.cmd"]
        else:
            files = sorted(directory.rglob(".*.o.cmd")) if directory.is_dir() else []
        for file in files:
            for words in kbuild.simple_commands(_saved_command(file)):
                collection.add(words, str(tree.build), SAVED, replace=False)


def _saved_command(file: Path) -> str:
    """Return the shell text of a `.cmd` file, '' when there is none."""
    try:
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            match = _SAVED_COMMAND.match(next(lines, ""))
    except OSError:
        return ""
    if match is None:
        return ""
    # It is written for make to read back.
    return match.group(1).replace("$(pound)", "#").replace(r"\#", "#").replace("$$", "$")


def _is_built(tree: KernelTree) -> bool:
    """Say whether a build of everything has come to its end."""
    modules = tree.option("MODULES") is None or (tree.build / "modules.order").is_file()
    return (tree.build / "vmlinux").is_file() and modules


def _add_from_kbuild(collection: _Collection, paths: Sequence[str]) -> None:
    """Ask kbuild about `paths`, with wider goals from round to round until each has a unit."""
    tree = collection.tree
    asked: set[str] = set()
    with ThreadPoolExecutor(1) as beside_make:
        makefiles = beside_make.submit(list, kbuild.makefiles_of(tree))
        second_goals = partial(_second_goals, makefiles)
        for goals_of in (_first_goals, second_goals, _last_goals):
            # A path that has saved commands must be asked about once, too.
            open_paths = collection.uncovered(paths) if asked else paths
            goals = set(goals_of(collection, open_paths)) - asked
            if "" in goals:
                goals = {""}
            if goals:
                asked |= goals
                _ask(collection, sorted(goals))
            if "" in asked:
                break
    if collection.generated:
        collection.notices.append(
            Notice(
                Severity.NOTE,
                "generated-source",
                f"{collection.generated} generated C files do not exist before the kernel is "
                "built and were left out",
                remedy=f"run `{tree.make_command('all')}` to have them analysed, too",
            )
        )


def _ask(collection: _Collection, directories: Sequence[str]) -> None:
    answer = kbuild.ask(collection.tree, [f"{d}/" if d else kbuild.WHOLE_TREE for d in directories])
    for words in answer.commands:
        # What kbuild says now is better than what it saved at some time.
        collection.add(words, str(collection.tree.build), KBUILD, replace=True)
    if answer.complaint:
        where = " ".join(directories) or "the tree"
        collection.complaints.append(
            _Complaint(
                Notice(
                    Severity.ERROR,
                    "kbuild-error",
                    f"kbuild named {len(answer.commands)} commands for {where}, but ended with "
                    f"an error, so units may be missing:\n{answer.complaint}",
                    remedy=f"run `{collection.tree.make_command('prepare')}` and see that it "
                    "ends well",
                ),
                is_fruitless=not answer.commands,
            )
        )


def _first_goals(collection: _Collection, paths: Sequence[str]) -> Iterator[str]:
    root = collection.tree.root
    for path in paths:
        yield kbuild.goal_directory(root, _directory(path))


def _second_goals(
    makefiles: Future[list[tuple[str, bytes]]], collection: _Collection, paths: Sequence[str]
) -> Iterator[str]:
    """Yield who else builds files of `paths`: Makefiles that refer to a directory from afar.

    Not only for open paths: `virt` has units of its own, and others' in `virt/kvm`.
    """
    for places in kbuild.referring_directories(
        collection.tree, _silent_directories(collection), makefiles.result()
    ).values():
        for place in places:
            yield kbuild.goal_directory(collection.tree.root, place)


def _last_goals(collection: _Collection, paths: Sequence[str]) -> Iterator[str]:
    """Yield everything, when a path has no unit yet and the configuration does not say why."""
    tree = collection.tree
    if any(kbuild.reason_not_built(tree, p) is None and not _is_foreign(tree, p) for p in paths):
        yield ""


def _silent_directories(collection: _Collection) -> set[str]:
    """Return the directories below the wanted paths with C files, no Makefile, and no unit."""
    root = collection.tree.root
    spoken = {os.path.dirname(file) for file in collection.commands}
    silent = set()
    for path in collection.wanted:
        for directory, subdirectories, files in os.walk(root / _directory(path)):
            subdirectories[:] = [s for s in subdirectories if not s.startswith(".")]
            relative = Path(directory).relative_to(root).as_posix()
            if relative in spoken or not any(f.endswith(".c") for f in files):
                continue
            if kbuild.makefile_directory(root, relative) != relative:
                silent.add(relative)
    return silent


def _directory(path: str) -> str:
    return os.path.dirname(path) if path.endswith(".c") else path


def _finish(collection: _Collection) -> CommandSet:
    tree = collection.tree
    # A stale command does not matter when another source had one for the same file.
    notices = [n for n in collection.notices if n.file not in collection.commands]
    missing = collection.uncovered(collection.wanted)
    # A directory that cannot be asked alone is asked through a wider one; then it is no error.
    complaints = [c.notice for c in collection.complaints if missing or not c.is_fruitless]
    notices.extend(complaints)
    if not complaints:
        notices.extend(_not_built(tree, path) for path in missing)
    if not collection.commands:
        raise LockcheckError(
            "; ".join(n.message for n in notices) or f"no unit in {tree.root}",
            remedy="; or ".join(dict.fromkeys(n.remedy for n in notices if n.remedy)) or None,
        )
    commands = tuple(collection.commands[file] for file in sorted(collection.commands))
    return CommandSet(commands, tuple(_unique(notices)), _describe(commands))


def _is_foreign(tree: KernelTree, path: str) -> bool:
    """Say whether `path` belongs to an architecture that the tree is not configured for."""
    parts = PurePosixPath(path).parts
    return len(parts) > 1 and parts[0] == "arch" and parts[1] != tree.arch


def _not_built(tree: KernelTree, path: str) -> Notice:
    if _is_foreign(tree, path):
        return Notice(
            Severity.WARNING,
            "not-built",
            f"{path} is code of another architecture: {tree.build} is configured for {tree.arch}",
            file=path,
            remedy="name a build directory that is configured for it with --build DIR",
        )
    if not any((tree.root / path).rglob("*.c")) and not path.endswith(".c"):
        return Notice(
            Severity.WARNING,
            "not-built",
            f"there is no C file in {path}",
            file=path or None,
            remedy="name a directory with C files; headers are read with the files that include "
            "them",
        )
    option = kbuild.reason_not_built(tree, path)
    why = f": {option} is not set" if option else ""
    return Notice(
        Severity.WARNING,
        "not-built",
        f"the configuration of {tree.build} builds nothing in {path or 'the tree'}{why}",
        file=path or None,
        remedy=f"enable {option or 'what the directory needs'} (`make menuconfig`), "
        "run `make prepare`, then check again",
    )


def _unique(notices: Iterable[Notice]) -> list[Notice]:
    return list(dict.fromkeys(notices))


def _describe(commands: Sequence[CompileCommand]) -> str:
    """Say in words where the commands came from: `kbuild (make -n), 70 units`."""
    names: dict[str, int] = {}
    for command in commands:
        names[command.origin] = names.get(command.origin, 0) + 1
    return ", ".join(f"{name}: {count} units" for name, count in sorted(names.items()))
