"""Lines, words and columns of source text: what clang counts in bytes, a client in UTF-16."""

from __future__ import annotations

import re
from typing import NamedTuple

from lsprotocol import types

_WORD = re.compile(r"[A-Za-z_]\w*")


class Word(NamedTuple):
    """An identifier in a line, and whether an argument list or a parameter list follows it."""

    text: str
    is_call: bool


class Text:
    """The text of a file, by lines as every compiler counts them."""

    def __init__(self, content: str) -> None:
        # Not splitlines(): a form feed ends no line.
        self.lines = content.replace("\r\n", "\n").split("\n")

    def line(self, number: int) -> str:
        """A line, from 1; empty when there is none."""
        return self.lines[number - 1] if 1 <= number <= len(self.lines) else ""

    def range_at(self, line: int, column: int) -> types.Range:
        """The range of the word at a place, or up to the end of the line where there is none.

        line, column: as clang counts, from 1, columns in bytes of UTF-8.
        """
        line = max(line, 1)
        text = self.line(line)
        start = _characters(text, max(column, 1) - 1)
        found = _WORD.match(text, start)
        end = found.end() if found else len(text.rstrip())
        return types.Range(
            types.Position(line - 1, utf16(text[:start])),
            types.Position(line - 1, utf16(text[: max(start, end)])),
        )

    def word_at(self, position: types.Position) -> Word | None:
        """The identifier under a position of the client, None where there is none."""
        if not 0 <= position.line < len(self.lines) or position.character < 0:
            return None
        text = self.lines[position.line]
        at = _from_utf16(text, position.character)
        for found in _WORD.finditer(text):
            if found.start() <= at <= found.end():
                return Word(found[0], text[found.end() :].lstrip().startswith("("))
        return None


def utf16(text: str) -> int:
    """The length of a text in UTF-16 code units."""
    return len(text) + sum(char > "\uffff" for char in text)


def _from_utf16(text: str, units: int) -> int:
    """The index of the character at so many UTF-16 code units, at most the text's length."""
    for index, char in enumerate(text):
        if units <= 0:
            return index
        units -= 2 if char > "\uffff" else 1
    return len(text)


def _characters(text: str, size: int) -> int:
    """How many characters so many bytes of UTF-8 are."""
    return len(text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore"))
