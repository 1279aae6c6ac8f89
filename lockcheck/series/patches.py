"""A series as the analysis takes it: file contents, patch by patch."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.series import PatchInfo

# Contents over those of the tree, by path relative to it; None where there is no file.
Overlay: TypeAlias = Mapping[str, bytes | None]

_BUILD_FILES = ("Kbuild", "Makefile", "Kconfig")


class Change(NamedTuple):
    """One file that a patch changes: its name before and after; None where it is not there."""

    old: str | None
    new: str | None


class Step(NamedTuple):
    """One patch, and the tree with it and all before it."""

    patch: PatchInfo
    changes: tuple[Change, ...]
    overlay: Overlay
    notices: tuple[Notice, ...]


class Series(NamedTuple):
    """Patches in order; `base` is the tree without them, over what is on disk."""

    name: str
    cover: str
    base: Overlay
    steps: tuple[Step, ...]
    notices: tuple[Notice, ...]


class TreeFiles:
    """The files of a tree, under the contents that take their place. Nothing is ever written."""

    def __init__(self, root: Path, contents: Overlay | None = None) -> None:
        self.root = root
        self.contents: dict[str, bytes | None] = dict(contents or {})

    def read(self, path: str) -> bytes | None:
        """What a file holds, None when there is none.

        Raises LockcheckError for what is no plain file of the tree, or cannot be read.
        """
        if path in self.contents:
            return self.contents[path]
        return self.on_disk(path)

    def on_disk(self, path: str) -> bytes | None:
        """What the tree itself holds under a path, None when there is no such file.

        Raises LockcheckError as `read` does.
        """
        self._check_parents(path)
        file = self.root / path
        try:
            mode = os.lstat(file).st_mode
            if not stat.S_ISREG(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
                raise LockcheckError(
                    f"it is {kind} in the tree, and the series changes it as a file",
                    file=path,
                    remedy="check that the series belongs to this tree",
                )
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LockcheckError(
                f"cannot read it: {error.strerror}", file=str(file), remedy="make it readable"
            ) from error

    def over_tree(self) -> dict[str, bytes | None]:
        """The contents that differ from what is on disk, and those of all units.

        A unit that the series adds may be on disk and yet have no compile command there.
        """
        return {
            path: text
            for path, text in self.contents.items()
            if (path.endswith(".c") and text is not None) or not self._is_on_disk(path, text)
        }

    def _is_on_disk(self, path: str, text: bytes | None) -> bool:
        try:
            return text == self.on_disk(path)
        except LockcheckError:  # a link, say: whatever it is, the state does not have it
            return False

    def _check_parents(self, path: str) -> None:
        """A link in the middle of a path leads who knows where: git refuses it, too."""
        parent = posixpath.dirname(path)
        while parent:
            if os.path.islink(self.root / parent):
                raise LockcheckError(
                    f"{parent} is a symbolic link, which a patch cannot go through",
                    file=path,
                    remedy="name the file by its own path",
                )
            parent = posixpath.dirname(parent)


def build_notices(patch: PatchInfo, changes: tuple[Change, ...]) -> list[Notice]:
    """What kbuild may do otherwise after a patch, which nobody is asked about here."""
    names = sorted({name for change in changes for name in change if name is not None})
    return [
        Notice(
            Severity.WARNING,
            "kbuild-changed",
            f"patch {patch.number}/{patch.total} changes it; units, options and flags are still "
            "those of the tree as it is prepared",
            name,
            None,
            "apply the series, run `make prepare`, and check that tree, to see what it changes",
        )
        for name in names
        if is_build_file(name)
    ]


def is_build_file(path: str) -> bool:
    """Whether kbuild or kconfig reads a file."""
    return posixpath.basename(path).startswith(_BUILD_FILES)
