"""What is carried from one run to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lockcheck.queries.node import Node

if TYPE_CHECKING:
    from lockcheck.queries.versions import Queries


Table: TypeAlias = tuple[list[Any], list[Any]]  # keys, and what belongs to each


class Kept(NamedTuple):
    """What is known, apart from the queries that know it.

    inputs, answers: keys and tokens, keys and values, for each in the order in which they were
    made. rests: for each answer, and for parts of answers that no query has, the numbers of what it
    rests on, as an array; numbers count inputs first.
    """

    inputs: Sequence[Table]
    answers: Sequence[Table]
    rests: Sequence[bytes]


class Token(NamedTuple):
    """Stands for an input of another run until it is read."""

    token: Any


class Part:
    """Stands for what another run had worked out beside its answers, and this one has not."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def refresh(self, node: Node) -> None:
        if node.stale and not self._queries.still_holds(node):
            node.changed = node.checked = self._queries.now
            node.stale = False

    def forget(self, node: Node) -> None:
        """Nobody has it."""
