"""The code action that adds an assertion: where it goes in the text, and how it names the lock."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lsprotocol import types

from lockcheck.findings.answers import MissingAssertion
from lockcheck.lsp.text import Text

_PIECES = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.S | re.X
)
_KEYWORDS = frozenset(
    ("return", "goto", "else", "case", "if", "for", "while", "do", "switch", "sizeof", "asm")
)
_TYPE = r"(?:const|volatile|static|register|unsigned|signed|struct|union|enum|extern|typeof)\b"
_DECLARATION = re.compile(
    rf"\s*(?:__\w+\s+)*(?:{_TYPE}|([A-Za-z_]\w*)[\s*]+([A-Za-z_]\w*)\s*[=,;\[(:])"
)
_MACRO = re.compile(r"\s*[A-Z][A-Z0-9_]*\s*\(")  # a declaration when others follow it
_POINTER = re.compile(r"\bstruct\s+(\w+)\s*\*\s*(?:const\s+)?(\w+)\s*(?=[,)=;])")


class Body:
    """The text of one function definition, without comments and strings (blanks instead).

    parameters: what stands between its name and its body. start: offset right behind the brace.
    end_line: the line of the closing brace, from 1.
    declared: offset behind the last declaration at its beginning; `start` when there is none.
    """

    def __init__(self, text: str, name: str, near: int) -> None:
        """Find `name`, defined at or near the line `near`, from 1. ValueError: it is not there."""
        self.text = text
        plain = _PIECES.sub(_blank, text)
        lines = [0, *(match.end() for match in re.finditer(r"\n", text))]
        want = lines[min(max(near, 1), len(lines)) - 1]
        best: tuple[int, int, int] | None = None
        for match in re.finditer(rf"\b{re.escape(name)}\s*\(", plain):
            opened = _opened(plain, match.end() - 1)
            if opened is not None:
                best = min(
                    best or (1 << 60, 0, 0), (abs(match.start() - want), match.end(), opened)
                )
        if best is None:
            raise ValueError(f"{name}() is not defined here")
        self.parameters = plain[best[1] : best[2]]
        self.start = best[2] + 1
        self.end_line = text.count("\n", 0, _closed(plain, self.start)) + 1
        self.declared = self.start
        end = self.start
        for stop, statement in _statements(plain, self.start):
            end = stop
            if _MACRO.match(statement):
                continue
            if not _is_declaration(statement):
                break
            self.declared = end
        self.declarations = plain[self.start : self.declared]

    def pointers(self) -> dict[str, str]:
        """Parameters and variables that are pointers to structs: struct → the first such name.

        Variables count only with a value of their own.
        """
        found: dict[str, str] = {}
        for match in _POINTER.finditer(self.parameters):
            found.setdefault(match[1], match[2])
        for match in _POINTER.finditer(self.declarations):
            if self.declarations[match.end() :].startswith("="):
                found.setdefault(match[1], match[2])
        return found

    def mentions(self, macro: str, lock: str) -> bool:
        """Whether the function asserts a lock of that expression already."""
        close = re.sub(r"\s+", "", self.text[self.start : self.start + 4000])
        return f"{macro}({lock})" in close


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _opened(plain: str, at: int) -> int | None:
    """The offset of the brace that opens the body, if a definition's parameters begin at `at`."""
    depth = 0
    for index in range(at, min(len(plain), at + 5000)):
        char = plain[index]
        if char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif depth == 0 and char == "{":
            between = plain[at:index]
            return None if ";" in between or "=" in between else index
        elif depth == 0 and char in ";,=?&|+":
            return None
    return None


def _closed(plain: str, at: int) -> int:
    """The offset of the brace that closes a body; the end of the text when there is none."""
    depth = 1
    for match in re.finditer(r"[{}]", plain[at:]):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return at + match.start()
    return len(plain)


def _statements(plain: str, at: int) -> Iterator[tuple[int, str]]:
    """(end, text) of each statement that ends in a semicolon, up to the first that does not."""
    begin, depth = at, 0
    for index in range(at, len(plain)):
        char = plain[index]
        if char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth < 0:
                return
        elif char == ";" and depth == 0:
            yield index + 1, plain[begin : index + 1]
            begin = index + 1


def _is_declaration(statement: str) -> bool:
    found = _DECLARATION.match(statement)
    if found is None:
        return False
    return found[1] is None or (found[1] not in _KEYWORDS and found[2] not in _KEYWORDS)


def spelled(missing: MissingAssertion, body: Body) -> str | None:
    """The address of the lock, by a parameter or variable of the function; None: none leads there.

    It is the caller's to know that the function is the one that `missing` is about.
    """
    pointers = body.pointers()
    for record, path in missing.paths:
        if record in pointers:
            return f"&{pointers[record]}->{path}"
    return None


def edit(content: str, missing: MissingAssertion) -> tuple[str, types.TextEdit] | None:
    """The statement to add and the edit that does so; None when there is no way to name the lock.

    content: the file as it is now, which need not be as it was when it was analysed.
    """
    try:
        body = Body(content, missing.location.function, missing.location.line)
    except ValueError:
        return None
    lock = spelled(missing, body)
    if lock is None or body.mentions(missing.macro, lock):
        return None
    statement = f"{missing.macro}({lock});"
    line_end = content.find("\n", body.declared)
    line_end = len(content) if line_end < 0 else line_end
    if content[body.declared : line_end].strip() not in ("",) and body.declared == body.start:
        return None  # a body on one line
    line = content.count("\n", 0, line_end) + 1
    newline = "\r\n" if content[:line_end].endswith("\r") else "\n"
    blank_before = body.declared != body.start
    following = Text(content).line(line + 1).strip()
    new = (newline if blank_before else "") + f"\t{statement}{newline}"
    if following and not blank_before and not following.startswith("}"):
        new += newline
    place = types.Position(line, 0)
    return statement, types.TextEdit(types.Range(place, place), new)
