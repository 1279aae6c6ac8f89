"""Reading a diff with git's extended headers: unidiff parses, this names what came out.

unidiff reads new, deleted, renamed and binary files and modes. What it leaves as uninterpreted text
(where a copy comes from, quoted names) is read here, and what it would pass over is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from lockcheck.errors import LockcheckError

_NOWHERE = "/dev/null"
_SYMLINK, _SUBMODULE = "120000", "160000"
_ESCAPE = re.compile(r'\\([0-7]{3}|[abfnrtv"\\])')
_ESCAPED = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, '"': 34, "\\": 92}
_STARTS = re.compile(rb"^(?:diff -|Index: |--- [^\n]+\n\+\+\+ )", re.M)
_HUNK_MARK = "@@ -"


class Kind(StrEnum):
    """What a file in a diff is after the change."""

    TEXT = "text"
    BINARY = "binary"
    SYMLINK = "symbolic link"
    SUBMODULE = "submodule"


class Hunk(NamedTuple):
    """One hunk. `before` and `after` are lines with their ends, context included.

    old_start, new_start: as its header has them, 1-based.
    leading, trailing: lines of context at both ends.
    """

    old_start: int
    new_start: int
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    leading: int
    trailing: int


class FileDiff(NamedTuple):
    """What a diff does to one file.

    old, new: paths relative to the tree; None where there is no file.
    copied: `old` stays as it is.
    """

    old: str | None
    new: str | None
    kind: Kind
    copied: bool
    hunks: tuple[Hunk, ...]
    added: int
    removed: int

    @property
    def path(self) -> str:
        """The name to use in messages."""
        return self.new or self.old or "?"


def diff_start(text: bytes) -> int:
    """Where the diff begins in the body of a mail, as git looks for it; -1 when there is none."""
    match = _STARTS.search(text)
    return -1 if match is None else match.start()


def read_diff(text: bytes) -> list[FileDiff]:
    """The files that a diff changes.

    Raises LockcheckError, with the line in `text`, for a diff that is cut off or damaged, and for a
    path that leads out of the tree.
    """
    lines = _Counted(text.decode("utf-8", "surrogateescape"))
    try:
        files = PatchSet(lines)
    except (UnidiffParseError, ValueError) as error:
        short = "shorter" in str(error)
        raise LockcheckError(
            "the diff ends in the middle of a hunk" if short else f"the diff is damaged: {error}",
            line=lines.number,
            remedy="fetch the patch anew: it was cut off or changed on its way",
        ) from error
    if lines.marks != sum(len(file) for file in files):
        raise LockcheckError(
            "the diff is damaged: a line that begins with @@ belongs to no file",
            line=lines.last_mark,
            remedy="fetch the patch anew: it was cut off or changed on its way",
        )
    return [_file(file) for file in files]


class _Counted:
    """The lines of a text, and how far they were read."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text)  # ends lines at \n only
        self.number = 0
        self.marks = 0
        self.last_mark = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            if line.startswith(_HUNK_MARK):
                self.marks += 1
                self.last_mark = self.number
            yield line


def _file(file: PatchedFile) -> FileDiff:
    info = [str(line).rstrip("\r\n") for line in file.patch_info or ()]
    old, new = str(file.source_file), str(file.target_file)
    stripped = _has_prefixes(old, new)
    before = None if old == _NOWHERE else _path(old, stripped)
    after = None if new == _NOWHERE else _path(new, stripped)
    copied = False
    for line in info:
        for words, is_copy in (("rename from ", False), ("copy from ", True)):
            if line.startswith(words):
                before, copied = _path(line.removeprefix(words), False), is_copy
        for words in ("rename to ", "copy to "):
            if line.startswith(words):
                after = _path(line.removeprefix(words), False)
    kind = Kind.TEXT
    modes = {file.source_mode, file.target_mode}
    if _SYMLINK in modes:
        kind = Kind.SYMLINK
    elif _SUBMODULE in modes:
        kind = Kind.SUBMODULE
    elif file.is_binary_file:
        kind = Kind.BINARY
    hunks = tuple(_hunk(hunk) for hunk in file)
    return FileDiff(before, after, kind, copied, hunks, file.added, file.removed)


def _has_prefixes(old: str, new: str) -> bool:
    """Whether names begin with `a/` and `b/`, which `git diff --no-prefix` leaves out."""
    names = [_unquoted(name) for name in (old, new) if name != _NOWHERE]
    return all(re.match(r"[abciow12]/", name) for name in names) or len(set(names)) > 1


def _path(name: str, stripped: bool) -> str:
    """A name in a diff as a path in the tree. Raises LockcheckError when it is none."""
    path = _unquoted(name)
    given = path
    if stripped:
        path = path.partition("/")[2]
    parts = path.split("/")
    if given.startswith("/") or any(part in ("", ".", "..", ".git") for part in parts):
        raise LockcheckError(
            f"the patch changes {given!r}, which is no file of the tree",
            remedy="do not trust this patch: its paths lead out of the tree",
        )
    if not _is_text(path):
        raise LockcheckError(
            f"the patch changes {given!r}: the name is not UTF-8",
            remedy="leave the patch out: no kernel source has such a name",
        )
    return path


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in path


def _unquoted(name: str) -> str:
    """A name as git writes it, with its C escapes taken away."""
    if len(name) < 2 or not (name[0] == name[-1] == '"'):
        return name

    def plain(match: re.Match[str]) -> str:
        code = match.group(1)
        return chr(int(code, 8) & 0xFF if code.isdigit() else _ESCAPED[code])

    raw = _ESCAPE.sub(plain, name[1:-1])
    try:
        return raw.encode("latin-1").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # it was not quoted by git
        return raw


def _hunk(hunk: Sequence[object]) -> Hunk:
    sides: tuple[list[bytes], list[bytes]] = ([], [])
    kinds: list[str] = []
    last: tuple[list[bytes], ...] = ()
    for line in hunk:
        kind, value = line.line_type, line.value  # type: ignore[attr-defined]
        if kind == "\\":
            for side in last:  # "\ No newline at end of file" is about the line before it
                side[-1] = side[-1].removesuffix(b"\n").removesuffix(b"\r")
            continue
        if kind == "":
            continue  # an empty line after the hunk
        last = sides if kind == " " else (sides[kind == "+"],)
        for side in last:
            side.append(value.encode("utf-8", "surrogateescape"))
        kinds.append(kind)
    text = "".join(kinds)
    return Hunk(
        hunk.source_start,  # type: ignore[attr-defined]
        hunk.target_start,  # type: ignore[attr-defined]
        tuple(sides[0]),
        tuple(sides[1]),
        len(text) - len(text.lstrip(" ")),
        len(text) - len(text.rstrip(" ")),
    )
