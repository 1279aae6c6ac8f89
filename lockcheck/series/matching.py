"""Which finding is which, from one state of the code to the next.

A fingerprint says what is claimed, and counts findings that agree in everything else, in source
order. A patch that adds one before others therefore shifts their numbers; the lines tell them
apart.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from lockcheck.findings.model import Finding
from lockcheck.series.patches import Change, Overlay, TreeFiles

_MAX_LINES = 50_000  # of what differs; beyond, lines are not followed
_LINE_NUMBER = re.compile(r"(\.[chS]):\d+")

Place = tuple[str, int]


class Matching(NamedTuple):
    """Pairs of findings that are the same; those that only one state has."""

    pairs: list[tuple[Finding, Finding]]
    gone: list[Finding]
    new: list[Finding]


class Lines:
    """Where the lines of one state are in the next."""

    def __init__(
        self, tree: TreeFiles, before: Overlay, after: Overlay, changes: Sequence[Change]
    ) -> None:
        self._tree = tree
        self._before, self._after = before, after
        self._moved = {c.old: c.new for c in changes if c.old is not None}
        self._maps: dict[str, dict[int, int] | None] = {}

    def follow(self, file: str, line: int) -> Place | None:
        """The place of a line in the next state, None when it is changed or gone."""
        if file not in self._moved:
            return file, line
        new = self._moved[file]
        if new is None:
            return None
        if file not in self._maps:
            self._maps[file] = self._map(file, new)
        lines = self._maps[file]
        found = None if lines is None else lines.get(line)
        return None if found is None else (new, found)

    def _map(self, file: str, new: str) -> dict[int, int] | None:
        before = self._text(self._before, file)
        after = self._text(self._after, new)
        if before is None or after is None:
            return None
        return line_map(before.split(b"\n"), after.split(b"\n"))

    def _text(self, overlay: Overlay, file: str) -> bytes | None:
        return overlay[file] if file in overlay else self._tree.on_disk(file)


def line_map(before: Sequence[bytes], after: Sequence[bytes]) -> dict[int, int] | None:
    """Lines that two texts share, 1-based; None when too much differs to tell."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    limit = min(len(before), len(after)) - start
    while end < limit and before[-1 - end] == after[-1 - end]:
        end += 1
    left, right = before[start : len(before) - end], after[start : len(after) - end]
    if len(left) + len(right) > _MAX_LINES:
        return None
    found = {line: line for line in range(1, start + 1)}
    for block in difflib.SequenceMatcher(None, left, right).get_matching_blocks():
        for offset in range(block.size):
            found[start + block.a + offset + 1] = start + block.b + offset + 1
    for offset in range(end):
        found[len(before) - offset] = len(after) - offset
    return found


def match(before: Sequence[Finding], after: Sequence[Finding], lines: Lines) -> Matching:
    """Pair the findings of two states. Two that share a fingerprint count as two."""
    left, right = list(before), list(after)
    pairs: list[tuple[Finding, Finding]] = []
    places = {id(f): lines.follow(f.location.file, f.location.line) for f in before}

    def moved(finding: Finding) -> Place | None:
        return places[id(finding)]

    def here(finding: Finding) -> Place | None:
        return finding.location.file, finding.location.line

    def named(finding: Finding) -> str:
        """What is said, whatever the function is called now."""
        return _words(finding).replace(f"{finding.location.function}()", "()")

    ways: tuple[tuple[Callable[[Finding], Hashable], Callable[[Finding], Hashable]], ...] = (
        (lambda f: (moved(f), f.fingerprint), lambda f: (here(f), f.fingerprint)),
        (lambda f: (moved(f), f.rule_id, _words(f)), lambda f: (here(f), f.rule_id, _words(f))),
        (lambda f: f.fingerprint, lambda f: f.fingerprint),
        (lambda f: (moved(f), f.rule_id, named(f)), lambda f: (here(f), f.rule_id, named(f))),
    )
    for old_key, new_key in ways:
        waiting: dict[Hashable, list[Finding]] = defaultdict(list)
        for finding in left:
            waiting[old_key(finding)].append(finding)
        unpaired = []
        for finding in right:
            found = waiting.get(new_key(finding))
            if found:
                pairs.append((found.pop(0), finding))
            else:
                unpaired.append(finding)
        right = unpaired
        paired = {id(old) for old, _ in pairs}
        left = [finding for finding in left if id(finding) not in paired]
    return Matching(pairs, left, right)


def _words(finding: Finding) -> str:
    return _LINE_NUMBER.sub(r"\1", finding.message)
