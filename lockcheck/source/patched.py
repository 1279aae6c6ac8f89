"""Compile commands under changed contents: files that come get a command, files that go lose it.

kbuild knows the tree on disk only, and a compile database the tree that it was made in. A C file
that is new to them is compiled like its neighbours, as kbuild itself would do; only the names that
kbuild derives from the file differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from lockcheck.errors import Notice, Severity
from lockcheck.source import kbuild
from lockcheck.source.commands import CompileCommand, below
from lockcheck.source.tree import KernelTree

_MAKEFILES = ("Kbuild", "Makefile")  # kbuild prefers the first where both exist
_NAMED = re.compile(r"^-D(KBUILD_BASENAME|KBUILD_MODNAME|__KBUILD_MODNAME|KBUILD_MODFILE)=(.*)$")
_CONDITION = re.compile(r"\$\((CONFIG_\w+)\)")


class PatchedCommands(NamedTuple):
    """The commands that hold now, sorted by file, and what is to be told of new files."""

    commands: tuple[CompileCommand, ...]
    notices: tuple[Notice, ...]


def patched_commands(
    tree: KernelTree,
    commands: Sequence[CompileCommand],
    wanted: Sequence[str],
    contents: Mapping[str, bytes | None],
) -> PatchedCommands:
    """The commands of a tree in which `contents` take the place of files.

    commands: those of the tree on disk. wanted: paths that are checked, '' for everything.
    contents: by path relative to the tree; None for a file that is gone.
    """
    known = {command.file: command for command in commands}
    notices: list[Notice] = []
    for path in sorted(contents):
        if contents[path] is None:
            continue
        if not path.endswith(".c") or path in known:
            continue
        if not any(below(path, place) for place in wanted):
            continue
        option = _build_condition(tree, contents, path)
        unset = kbuild.reason_not_built(tree, path)
        if unset is None and option and tree.option(option) is None:
            unset = option
        neighbour = _neighbour(commands, contents, path)
        if unset is not None and not _is_introduced(contents, unset):
            notices.append(_not_set(path, unset))
        elif option is None or neighbour is None:
            notices.append(_not_named(path, option is not None))
        else:
            known[path] = _command(neighbour, path)
    kept = tuple(known[file] for file in sorted(known) if contents.get(file, b"") is not None)
    return PatchedCommands(kept, tuple(notices))


def _build_condition(
    tree: KernelTree, contents: Mapping[str, bytes | None], path: str
) -> str | None:
    """The option under which a Makefile names the object of a file; '' for always.

    None when no Makefile of its directory, or of one above it, names it.
    IMPRECISE: one `$(CONFIG_X)` on the same line is understood, `ifdef` is not.
    """
    file = PurePosixPath(path)
    for directory in file.parents:
        text = _makefile(tree.root, contents, directory)
        name = file.relative_to(directory).with_suffix(".o").as_posix()
        pattern = re.compile(rf"(?<![\w./-]){re.escape(name)}(?![\w.-])")
        for line in text.replace("\\\n", " ").splitlines():
            if pattern.search(line.partition("#")[0]):
                option = _CONDITION.search(line)
                return option.group(1) if option else ""
    return None


def _makefile(root: Path, contents: Mapping[str, bytes | None], directory: PurePosixPath) -> str:
    for name in _MAKEFILES:
        path = (directory / name).as_posix()
        if path in contents:
            text = contents[path]
        else:
            try:
                text = (root / path).read_bytes()
            except OSError:
                text = None
        if text is not None:
            return text.decode("utf-8", "replace")
    return ""


def _is_introduced(contents: Mapping[str, bytes | None], option: str) -> bool:
    """Whether a Kconfig file among the contents defines an option: it cannot be set yet."""
    line = re.compile(rb"^[ \t]*(?:menu)?config[ \t]+" + option.encode()[7:] + rb"[ \t]*$", re.M)
    return any(
        text is not None and "Kconfig" in path and line.search(text)
        for path, text in contents.items()
    )


def _neighbour(
    commands: Sequence[CompileCommand], contents: Mapping[str, bytes | None], path: str
) -> CompileCommand | None:
    """The command to take over: of a file that has moved here, else of the nearest one."""
    directory, name = os.path.split(path)
    moved = [
        c
        for c in commands
        if os.path.basename(c.file) == name and contents.get(c.file, b"") is None
    ]
    near = [c for c in commands if os.path.dirname(c.file) == directory]
    if near:
        return near[0]
    if len(moved) == 1:
        return moved[0]
    parts = directory.split("/")

    def shared(command: CompileCommand) -> int:
        pairs = zip(parts, os.path.dirname(command.file).split("/"), strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), len(parts))

    return max(commands, key=shared, default=None) if parts != [""] else None


def _command(neighbour: CompileCommand, path: str) -> CompileCommand:
    return msgspec.structs.replace(
        neighbour, file=path, arguments=tuple(_renamed(neighbour, PurePosixPath(path)))
    )


def _renamed(neighbour: CompileCommand, path: PurePosixPath) -> Iterator[str]:
    """The arguments, with the names that kbuild derives from the file."""
    old, new = _identifier(PurePosixPath(neighbour.file)), _identifier(path)
    for argument in neighbour.arguments:
        match = _NAMED.match(argument)
        if match is None or match.group(1) == "KBUILD_MODFILE":
            yield argument
            continue
        name, value = match.groups()
        # A file that is a module of its own gives it its name; others share their module's.
        is_own = re.search(rf"(?<!\w)(?:kmod_)?{re.escape(old)}(?!\w)", value) is not None
        yield f"-D{name}={value.replace(old, new)}" if is_own else argument


def _identifier(path: PurePosixPath) -> str:
    return re.sub(r"[-,]", "_", path.stem)


def _not_named(path: str, has_object: bool) -> Notice:
    if has_object:
        why = "no other file of its directory has a compile command"
    else:
        why = "no Makefile names its object"
    return Notice(
        Severity.WARNING,
        "not-built",
        f"it has no compile command, and {why}: it was not read as a unit of its own",
        path,
        None,
        "add it to the Makefile in the same patch, if it is to be built",
    )


def _not_set(path: str, option: str) -> Notice:
    return Notice(
        Severity.WARNING,
        "not-built",
        f"the configuration of the tree does not build it: {option} is not set; it was not read",
        path,
        None,
        f"enable {option} (`make menuconfig`), run `make prepare`, then check again",
    )
