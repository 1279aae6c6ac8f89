"""Where things are in a TOML file: tomllib reads values, but keeps no positions.

This reads just enough of the syntax (strings, comments, brackets) to find headers and keys in a
text that tomllib has already accepted. Where it finds nothing, it answers with a line close by.
"""

from __future__ import annotations

import re

import msgspec

# Multi-line strings first: their quotes would otherwise read as empty strings.
_TOKEN = re.compile(
    r'''
      (?P<string>
          """(?:\\.|[^\\])*?"""(?:""|")?
        | \'\'\'.*?\'\'\'(?:\'\'|\')?
        | "(?:\\.|[^"\\\n])*"
        | '[^'\n]*'
      )
    | (?P<comment>\#[^\n]*)
    | (?P<newline>\n)
    | (?P<open>[\[{])
    | (?P<close>[\]}])
    | (?P<other>[^"'\#\n\[\]{}]+|.)
    ''',
    re.VERBOSE | re.DOTALL,
)

_KEY = re.compile(r"""\s*(?:([A-Za-z0-9_-]+)|"([^"\\]*)"|'([^']*)')\s*(?=[=.\]])""")
_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class _Key(msgspec.Struct, frozen=True):
    """A key and its line. table: its header (None at the top), entry: the index in `[[table]]`."""

    table: str | None
    entry: int
    name: str
    line: int


class Lines(msgspec.Struct, frozen=True):
    """The lines of the headers and keys of a file, 1-based."""

    headers: dict[str, tuple[int, ...]]  # `[name]` and `[[name]]`, in order
    keys: tuple[_Key, ...]

    def top_level(self, name: str) -> int:
        """The line of the header or the key `name` at the top level, 1 when not found."""
        if name in self.headers:
            return self.headers[name][0]
        return next((key.line for key in self.keys if (key.table, key.name) == (None, name)), 1)

    def entry(self, index: int, key: str | None = None, *, table: str = "suppress") -> int:
        """The line of `key` in the entry with this index of `[[table]]`, else of its header."""
        for known in self.keys:
            if (known.table, known.entry, known.name) == (table, index, key):
                return known.line
        headers = self.headers.get(table, ())
        # Entries written as `table = [{…}]` have no header: the key is the best there is.
        return headers[index] if index < len(headers) else self.top_level(table)


def locate(text: str) -> Lines:
    """The positions in `text`, which must be TOML that tomllib accepts."""
    headers: dict[str, list[int]] = {}
    keys: list[_Key] = []
    table: str | None = None
    for line, statement in _statements(text):
        if statement.startswith("["):
            match = _KEY.match(statement.lstrip("["))
            table = _name(match) if match else ""
            # `[suppress.x]` goes on inside the last entry: it begins no other.
            dotted = match is not None and statement.lstrip("[")[match.end() :].startswith(".")
            if not dotted:
                headers.setdefault(table, []).append(line)
        elif match := _KEY.match(statement):
            entry = len(headers.get(table or "", ())) - 1
            keys.append(_Key(table, entry, _name(match), line))
    return Lines({name: tuple(lines) for name, lines in headers.items()}, tuple(keys))


def error_position(message: str, text: str) -> tuple[str, int]:
    """What tomllib's error says, apart from where it says it."""
    match = _POSITION.search(message)
    if match is None:
        return message, 1
    line = int(match[1]) if match[1] else max(1, len(text.splitlines()))
    return message[: match.start()], line


def _name(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None)


def _statements(text: str) -> list[tuple[int, str]]:
    """Each statement that begins a line, with that line; values over several lines are one."""
    statements: list[tuple[int, str]] = []
    line, depth, start, parts = 1, 0, 1, list[str]()
    for match in _TOKEN.finditer(f"{text}\n"):
        kind, token = match.lastgroup, match[0]
        if kind == "newline" and depth == 0:
            if statement := "".join(parts).strip():
                statements.append((start, statement))
            parts = []
        elif kind != "comment":
            if not "".join(parts).strip():
                start = line
            parts.append(token)
        depth += {"open": 1, "close": -1}.get(kind or "", 0)
        line += token.count("\n")
    return statements
