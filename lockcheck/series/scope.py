"""Which directories to read for a series, when the user names none."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.series.patches import Series
from lockcheck.source import kbuild
from lockcheck.source.commands import below, database_file
from lockcheck.source.tree import KernelTree

_CODE = (".c", ".h")
_PUBLIC = re.compile(r"(?:^|/)include/(?:uapi/|generated/)*(.+\.h)$")
_MAX_INCLUDERS = 12
_SKIPPED = frozenset({"Documentation", "scripts", "tools", "LICENSES", ".git"})


class Scope(NamedTuple):
    """Directories relative to the tree, and what is to be told of them."""

    paths: tuple[str, ...]
    notices: tuple[Notice, ...]


def scope_of(tree: KernelTree, series: Series) -> Scope:
    """The directories that a series is about.

    Those of the files that it changes, up to the one with a Makefile; those that the same Makefiles
    build from elsewhere; and those that include a changed header of `include/`, when they are few.
    Raises LockcheckError when it changes no code.
    """
    files = {
        name
        for step in series.steps
        for change in step.changes
        for name in change
        if name is not None and name.endswith(_CODE)
    }
    if not files:
        raise LockcheckError(
            "the series changes no C file and no header, so that it is not known what to read",
            remedy="name the directories to read: `lockcheck series … PATHS`",
        )
    headers = {match.group(1) for name in files if (match := _PUBLIC.search(name))}
    own = {os.path.dirname(name) for name in files if not _PUBLIC.search(name)}
    found = {_unit_directory(tree, directory) for directory in own}
    if database_file(tree) is None:
        found |= set(_built_along(tree, found))
    notices: list[Notice] = []
    includers = {_unit_directory(tree, d) for d in _including(tree, headers)} if headers else set()
    if len(includers - found) <= _MAX_INCLUDERS or not found:
        found |= includers
    else:
        left = len(includers - found)
        notices.append(
            Notice(
                Severity.WARNING,
                "includers-not-read",
                f"{left} more directories include a header that the series changes, and were not "
                "read",
                None,
                None,
                "name the directories to read: `lockcheck series … PATHS`",
            )
        )
    paths = tuple(sorted(p for p in found if (tree.root / p).is_dir()))
    paths = tuple(p for p in paths if not any(below(p, q) for q in paths if q != p))
    if not paths:
        raise LockcheckError(
            "no directory of the tree has to do with the series",
            remedy="name the directories to read: `lockcheck series … PATHS`",
        )
    notices.append(
        Notice(
            Severity.NOTE,
            "scope",
            f"read were the units below {', '.join(paths)}: callers elsewhere were not seen",
            None,
            None,
            "name the directories that belong together: `lockcheck series … PATHS`",
        )
    )
    return Scope(paths, tuple(notices))


def _unit_directory(tree: KernelTree, directory: str) -> str:
    """The directory up to the nearest one with a Makefile, below the top."""
    return kbuild.makefile_directory(tree.root, directory) or directory


def _built_along(tree: KernelTree, directories: Iterable[str]) -> Iterator[str]:
    """Directories whose files the Makefiles of `directories` build, and the other way round."""
    goals = {kbuild.goal_directory(tree.root, d) for d in directories} - {""}
    yield from (
        place
        for places in kbuild.referring_directories(tree, set(directories)).values()
        for place in places
        if not any(below(place, goal) or below(goal, place) for goal in goals)
    )
    if not goals:
        return
    try:
        answer = kbuild.ask(tree, [f"{goal}/" for goal in sorted(goals)])
    except LockcheckError:
        return  # whoever reads the units asks again, and tells
    for words in answer.commands:
        source = kbuild.source_argument(words)
        file = source and tree.relative(os.path.join(tree.build, source))
        if file and not any(below(file, goal) for goal in goals):
            yield os.path.dirname(file)


def _including(tree: KernelTree, headers: Iterable[str]) -> set[str]:
    """Directories, outside of `include`, with a file that includes one of `headers` itself."""
    names = [header.encode() for header in sorted(headers)]
    either = b"|".join(re.escape(name) for name in names)
    line = re.compile(rb"^[ \t]*#[ \t]*include[ \t]*[<\"](?:%s)[>\"]" % either, re.M)
    found: set[str] = set()
    for directory, subdirectories, files in os.walk(tree.root):
        relative = os.path.relpath(directory, tree.root)
        subdirectories[:] = [
            name
            for name in sorted(subdirectories)
            if name not in ("include", ".git")
            and not (relative == "." and name in _SKIPPED)
            and not (relative == "arch" and name != tree.arch)
            and Path(directory, name) != tree.build
        ]
        if relative != "." and any(
            file.endswith(_CODE) and _includes(Path(directory, file), names, line) for file in files
        ):
            found.add(relative)
    return found


def _includes(file: Path, names: list[bytes], line: re.Pattern[bytes]) -> bool:
    try:
        text = file.read_bytes()
    except OSError:
        return False
    # Most files have no such words at all, and to look for words is ten times as fast.
    return any(name in text for name in names) and line.search(text) is not None
