"""Answers and inputs, and what rests on what."""

from __future__ import annotations

from typing import Any, Protocol


class Node:
    """An answer, or an input.

    on: what it rests on, in the order in which that was asked; used_by: the reverse.
    changed: the version of the program in which it became what it is. checked: the last version in
        which it was known to be right.
    stale: whether something that it rests on may have changed since.
    """

    __slots__ = ("changed", "checked", "key", "of", "on", "stale", "used_by", "value")

    def __init__(self, of: Refreshing | None, key: Any, value: Any, now: int) -> None:
        self.of = of
        self.key = key
        self.value = value
        self.on: dict[Node, None] = {}
        self.used_by: dict[Node, None] = {}
        self.changed = self.checked = now
        self.stale = False

    def rest_on(self, found: dict[Node, None]) -> None:
        """Rest on these from now on, and on nothing else."""
        for node in self.on:
            if node not in found:
                node.used_by.pop(self, None)
        for node in found:
            node.used_by[self] = None
        self.on = found


class Refreshing(Protocol):
    """Whatever has nodes."""

    def refresh(self, node: Node) -> None: ...

    def forget(self, node: Node) -> None: ...
