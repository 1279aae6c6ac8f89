"""Functions with a memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from lockcheck.queries.carried import Table
from lockcheck.queries.node import Node
from lockcheck.queries.versions import Queries

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Query(Generic[K, V]):
    """A function with a memory. `make` works an answer out; it may ask other queries."""

    __slots__ = ("_make", "_nodes", "_queries", "_unread")

    def __init__(self, queries: Queries, make: Callable[[K], V]) -> None:
        self._queries = queries
        self._make = make
        self._nodes: dict[K, Node] = {}
        self._unread: Callable[[], Table] | None = None  # reads answers that are known
        queries.add_query(self)

    def __call__(self, key: K) -> V:
        """The answer for a key."""
        node = self._nodes.get(key)
        if node is None or node.stale:
            return self._ask(key, node)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def _ask(self, key: K, node: Node | None) -> V:
        if self._unread is not None:
            self._read()
            node = self._nodes.get(key)
        if node is None or node.stale:
            node = self._renew(key, node)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def _answer(self, key: K) -> V:
        return self._make(key)

    def _renew(self, key: K, node: Node | None) -> Node:
        queries = self._queries
        if node is not None and queries.still_holds(node):
            return node
        around = queries.reading
        queries.reading = mine = _notes(queries)
        queries.worked_out += 1
        try:
            value = self._answer(key)
        finally:
            queries.reading = around
        if node is None:
            node = self._nodes[key] = Node(self, key, value, queries.now)
        else:
            if node.value is not value and node.value != value:
                node.value = value
                node.changed = queries.now
            node.checked = queries.now
            node.stale = False
        if mine is not None:
            node.rest_on(mine)
        return node

    def refresh(self, node: Node) -> None:
        """Find out whether a stale answer is still what it was."""
        if node.stale:
            self._renew(node.key, node)

    def forget(self, node: Node) -> None:
        """Drop an answer."""
        del self._nodes[node.key]

    def __len__(self) -> int:
        return len(self._nodes)

    def know(self, nodes: dict[K, Node]) -> None:
        """Take in answers of another run."""
        for node in nodes.values():
            node.of = self
        self._nodes = nodes

    def know_unread(self, read: Callable[[], Table]) -> None:
        """Take them in when one is asked for."""
        self._unread = read

    def _read(self) -> None:
        assert self._unread is not None
        keys, values = self._unread()
        self._unread = None
        now = self._queries.now
        self._nodes = {k: Node(self, k, v, now) for k, v in zip(keys, values, strict=True)}

    def stale(self) -> list[Node]:
        """The answers that may not be right any more."""
        return [node for node in self._nodes.values() if node.stale]

    def known(self) -> Iterable[Node]:
        """The answers that are known."""
        return self._nodes.values()


def _notes(queries: Queries) -> dict[Node, None] | None:
    return {} if queries.tracking else None
