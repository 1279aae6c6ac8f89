"""Where the definitions of a unit stand in its text, and what an edit does to those places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lockcheck.quick.pieces import NotExact

# What may hide a brace, a quote or a line's end from whoever looks at bytes.
_TOKEN = re.compile(
    rb"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|/\*|["']|[{}()\[\]]""", re.S
)
_DIRECTIVE = re.compile(rb"^[ \t]*(?:#|%:|\?\?=)", re.M)
# What a body may leave behind for the text that follows it, and what hides text from `_TOKEN`.
_FAR = re.compile(rb"\b(?:extern|_Pragma|__pragma)\b|\?\?[/<>]|<%|%>|\\[ \t]*\n")
_OPEN, _CLOSE = frozenset(b"{(["), frozenset(b"})]")


class Place(NamedTuple):
    """Where a definition stands: offsets of its begin, of its body's `{`, and of the end after `}`.

    line: of its name. body: -1 for what has no body that could be edited.
    """

    start: int
    body: int
    end: int
    line: int


class Change(NamedTuple):
    """What became of a text.

    edited: the indices of the definitions whose body changed; besides, nothing but comments and
        empty lines did. places: of the same definitions in the new text.
    """

    edited: list[int]
    places: list[Place]


def is_editable(body: bytes) -> bool:
    """Whether a function's body, braces included, means nothing to the text that follows it."""
    if _DIRECTIVE.search(body) or _FAR.search(body):
        return False
    depth = 0
    for token in _TOKEN.finditer(body):
        text = token[0]
        if text == b"{":
            depth += 1
        elif text == b"}":
            depth -= 1
            if depth == 0:
                return token.end() == len(body)
        elif text in (b"/*", b'"', b"'") or (text.startswith(b"//") and text.endswith(b"\\")):
            return False
    return False


def without_bodies(text: bytes, begin: int, places: Sequence[Place]) -> bytes:
    """The text from `begin` on, where the bodies of functions do nothing and return nothing."""
    parts: list[bytes] = []
    for place in places:
        if place.body >= begin:
            parts += (text[begin : place.body], b"{ for (;;); }")
            begin = place.end
    return b"".join((*parts, text[begin:]))


def compare(old: bytes, new: bytes, places: Sequence[Place]) -> Change:
    """What changed between two texts, where `places` are those of the old one's definitions.

    Raises NotExact for all but bodies and what the preprocessor drops.
    """
    begin = _common(old, new)
    end = len(old) - _common_end(old, new, min(len(old), len(new)) - begin)
    more = len(new) - len(old)
    edited: list[int] = []
    moved: list[Place] = []
    gap: list[Place] = []  # places that stand between those that were found again
    here = there = lines = line = 0  # up to where the two were compared, and what that has shown

    def close_gap(stop: int, to: int) -> None:
        nonlocal lines, line
        was, now = old[here:stop], new[there:to]
        local = [_shifted(place, -here, -line) for place in gap]
        if was != now:
            index, local = _changed(was, now, local)
            if index is not None:
                edited.append(len(moved) + index)
        moved.extend(_shifted(place, there, line + lines) for place in local)
        gap.clear()
        line += was.count(b"\n")
        lines += now.count(b"\n") - was.count(b"\n")

    for place in places:
        found = -1
        if place.body >= 0 and place.start >= here:
            if place.end <= begin:
                found = place.start
            elif place.start >= end:
                found = place.start + more
            else:
                found = new.find(old[place.start : place.end], there, end + more)
        if found < 0:
            gap.append(place)
            continue
        close_gap(place.start, found)
        moved.append(_shifted(place, found - place.start, lines))
        line += old.count(b"\n", place.start, place.end)
        here, there = place.end, found + place.end - place.start
    close_gap(len(old), len(new))
    return Change(edited, moved)


def _changed(old: bytes, new: bytes, places: Sequence[Place]) -> tuple[int | None, list[Place]]:
    """The index of the definition whose body changed, and the new places.

    Raises NotExact for all but one body, or what the preprocessor drops between two.
    """
    begin = _common(old, new)
    end = len(old) - _common_end(old, new, min(len(old), len(new)) - begin)
    more = len(new) - len(old)
    lines = new.count(b"\n") - old.count(b"\n")
    segment = 0
    for index, place in enumerate(places):
        if place.body < 0:
            continue
        if place.body < begin and end < place.end:
            if not is_editable(new[place.body : place.end + more]):
                raise NotExact("the braces of a body changed, or it has directives")
            moved = [*places[:index], place._replace(end=place.end + more)]
            moved += (_shifted(p, more, lines) for p in places[index + 1 :])
            return index, moved
        if end <= place.body:
            return None, _in_segment(old, new, places, segment, place.body)
        segment = place.end
        if begin < segment:
            raise NotExact("the text changed in several places")
    return None, _in_segment(old, new, places, segment, len(old))


def _shifted(place: Place, more: int, lines: int) -> Place:
    body = place.body + more if place.body >= 0 else -1
    return Place(place.start + more, body, place.end + more, place.line + lines)


def _common(one: bytes, other: bytes) -> int:
    """The length of the beginning that two texts share."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_end(one: bytes, other: bytes, limit: int) -> int:
    """The length of the end that two texts share, at most `limit`."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle - 1
    return low


class _Line(NamedTuple):
    number: int  # from 0
    start: int
    text: bytes
    is_boundary: bool  # empty lines after it are between two declarations


def _in_segment(
    old: bytes, new: bytes, places: Sequence[Place], begin: int, end: int
) -> list[Place]:
    """The places after an edit between two bodies that changed what the preprocessor drops."""
    more = len(new) - len(old)
    is_last = end == len(old)
    before = _code_lines(old[begin:end])
    after = _code_lines(new[begin : end + more])
    if [line.text for line in before] != [line.text for line in after]:
        raise NotExact("the text changed outside of bodies")
    for index in range(1, len(before)):
        if _run(before, index) != _run(after, index):
            is_end = index == len(before) - 1  # where the next body begins
            following = b"".join(line.text for line in before[index:])
            if not before[index - 1].is_boundary or (
                not is_last and (is_end or b"(" not in following)
            ):
                raise NotExact("lines within a declaration changed")
    first = old.count(b"\n", 0, begin) + 1  # places count lines from 1
    lines = {first + a.number: first + b.number for a, b in zip(before, after, strict=True)}
    starts = [(begin + a.start, begin + b.start) for a, b in zip(before, after, strict=True)]
    total = new.count(b"\n") - old.count(b"\n")
    moved: list[Place] = []
    for place in places:
        if place.end <= begin:
            moved.append(place)
        elif place.start >= end:
            moved.append(_shifted(place, more, total))
        else:
            if place.line not in lines:
                raise NotExact("a definition is not where it was thought to be")
            start = _mapped(starts, place.start)
            stop = place.end + more if place.end > end else _mapped(starts, place.end)
            body = place.body + more if place.body >= 0 else -1
            moved.append(Place(start, body, stop, lines[place.line]))
    return moved


def _mapped(starts: Sequence[tuple[int, int]], offset: int) -> int:
    old, new = next((pair for pair in reversed(starts) if pair[0] <= offset), (offset, offset))
    return new + offset - old


def _run(lines: Sequence[_Line], index: int) -> int:
    return lines[index].number - lines[index - 1].number


def _code_lines(text: bytes) -> list[_Line]:
    """The lines that are more than comments, comments blanked out; and the first and the last."""
    blank = bytearray(text)
    depth = 0
    depths: dict[int, int] = {}  # by offset
    for token in _TOKEN.finditer(text):
        found = token[0]
        if found.startswith((b"/*", b"//")):
            if found == b"/*":
                raise NotExact("a comment does not end")
            if found.startswith(b"//") and (found.endswith(b"\\") or token.end() == len(text)):
                raise NotExact("a comment goes on")
            blank[token.start() : token.end()] = re.sub(rb"[^\n]", b" ", found)
        elif found in (b'"', b"'"):
            raise NotExact("a text does not end")
        elif found[0] in _OPEN:
            depth += 1
            depths[token.start()] = depth
        elif found[0] in _CLOSE:
            depth -= 1
            depths[token.start()] = depth
    lines: list[_Line] = []
    start = depth = 0
    goes_on = False
    rows = bytes(blank).split(b"\n")
    for number, row in enumerate(rows):
        end = start + len(row)
        depth = next((depths[n] for n in range(end - 1, start - 1, -1) if n in depths), depth)
        stripped = row.rstrip()
        if stripped or number in (0, len(rows) - 1):
            directive = bool(_DIRECTIVE.match(row))
            ends = not stripped or stripped.endswith((b"}", b";")) or directive
            is_boundary = ends and depth == 0 and not goes_on and not stripped.endswith(b"\\")
            lines.append(_Line(number, start, stripped, is_boundary))
            goes_on = stripped.endswith(b"\\")
        start = end + 1
    return lines
