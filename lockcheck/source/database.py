"""Reading a compile database (`compile_commands.json`)."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lockcheck.errors import LockcheckError
from lockcheck.source import kbuild

DATABASE = "compile_commands.json"
_MAX_BYTES = 1 << 30  # that of a whole kernel is a tenth of it
_BYTE_OFFSET = re.compile(r"\(byte (\d+)\)")


class Entry(msgspec.Struct):
    """One entry of a compile database; other fields are ignored."""

    directory: str
    file: str
    command: str | None = None
    arguments: list[str] | None = None


def read_database(database: Path) -> list[Entry]:
    """Return the entries of a compile database. Raises LockcheckError when it cannot be read."""
    remedy = "make it anew with scripts/clang-tools/gen_compile_commands.py, or remove it"
    try:
        with database.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    except OSError as error:
        raise LockcheckError(
            f"cannot read the compile database: {error.strerror}", file=str(database), remedy=remedy
        ) from error
    try:
        entries = msgspec.json.decode(content, type=list[Entry])
    except msgspec.DecodeError as error:
        offset = _BYTE_OFFSET.search(str(error))
        end = int(offset.group(1)) if offset else len(content)
        # A value of the wrong type has no offset, but a path (`$[3].file`) in the message.
        typed = isinstance(error, msgspec.ValidationError)
        raise LockcheckError(
            f"the compile database is corrupt: {error}",
            file=str(database),
            line=None if typed else content.count(b"\n", 0, end) + 1,
            remedy=remedy,
        ) from error
    except UnicodeDecodeError as error:
        raise LockcheckError(
            f"the compile database is no UTF-8 text: {error}",
            file=str(database),
            line=content.count(b"\n", 0, error.start) + 1,
            remedy=remedy,
        ) from error
    for number, entry in enumerate(entries, 1):
        words = (entry.directory, entry.file, entry.command or "", *(entry.arguments or ()))
        if any("\0" in word for word in words):  # no file and no argument can have one
            raise LockcheckError(
                f"the compile database is corrupt: entry {number} contains a NUL character",
                file=str(database),
                remedy=remedy,
            )
    return entries


def entry_words(entry: Entry) -> Iterator[list[str]]:
    """Yield the commands of an entry, each as words that end with its file."""
    if entry.arguments is not None:
        words = [entry.arguments]
    else:
        # The kernel's own generator keeps what follows the compiler (`; objtool …`).
        words = list(kbuild.simple_commands(entry.command or ""))
    for command in words:
        # "file" decides, and may be spelled in another way than in the command.
        named = [w for w in command if not (w.endswith(".c") and not w.startswith("-"))]
        yield [*named, entry.file]
