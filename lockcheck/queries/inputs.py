"""What queries read of a program."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lockcheck.queries.carried import Token
from lockcheck.queries.node import Node

if TYPE_CHECKING:
    from lockcheck.queries.versions import Queries

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Inputs(Generic[K, V]):
    """Something of the program as it is, by key. `read` must not ask queries."""

    __slots__ = ("_is_same", "_nodes", "_queries", "_read", "token")

    def __init__(
        self,
        queries: Queries,
        read: Callable[[K], V],
        is_same: Callable[[V, V], bool] | None = None,
        token: Callable[[V], Any] | None = None,
    ) -> None:
        """`is_same`: whether two versions of an input are alike for all that is asked of them.
        `token`: what stands for one from run to run, equal for those that are alike.
        """
        self.token: Callable[[V], Any] = token or _itself
        self._queries = queries
        self._read = read
        self._is_same = is_same
        self._nodes: dict[K, Node] = {}
        queries.add_inputs(self)

    def __call__(self, key: K) -> V:
        """The input for a key."""
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(None, key, self._read(key), self._queries.now)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def read_again(self) -> list[Node]:
        """Read all again; those that have changed."""
        changed: list[Node] = []
        now, is_same = self._queries.now, self._is_same
        for key, node in self._nodes.items():
            value = self._read(key)
            if value is node.value:
                continue
            if type(node.value) is Token:
                same = node.value.token == self.token(value)
            else:
                same = value == node.value if is_same is None else is_same(value, node.value)
            node.value = value
            if not same:
                node.changed = now
                changed.append(node)
        return changed

    def known(self) -> list[Node]:
        """What was read."""
        return list(self._nodes.values())

    def take_in(self, keys: list[K], tokens: list[Any]) -> list[Node]:
        """Know what another run has read."""
        nodes = [Node(None, k, Token(t), 0) for k, t in zip(keys, tokens, strict=True)]
        self._nodes = dict(zip(keys, nodes, strict=True))
        return nodes

    def sweep(self) -> None:
        """Forget what nobody rests on."""
        unused = [key for key, node in self._nodes.items() if not node.used_by]
        for key in unused:
            del self._nodes[key]


def _itself(value: Any) -> Any:
    return value
