"""Queries about functions that may call each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from lockcheck.queries.query import Query
from lockcheck.queries.versions import Cycle, Queries

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MISSING = object()
_BUSY = object()


class Settling:
    """Queries about functions that ask each other, and about functions by which these are called.

    Where functions call each other, all answers about all of them are worked out together.
    """

    __slots__ = ("_now", "_settle", "answers", "count", "is_busy", "provisional", "queries")

    def __init__(self, queries: Queries, settle: Callable[[Cycle], None]) -> None:
        """`settle` asks all that may be asked about such functions, in a fixed order."""
        self.queries = queries
        self._settle = settle
        self.answers = Query(queries, self._work_out)
        self.count = 0  # of the queries that belong here
        self._now: tuple[Cycle, dict[Any, Any]] | None = None
        self.is_busy = False
        self.provisional = 0  # how often something was asked for while it was worked out

    def local(self, function: str) -> dict[Any, Any] | None:
        """The answers so far while functions are settled, if this is one of them."""
        now = self._now
        return now[1] if now is not None and function in now[0] else None

    def _work_out(self, cycle: Cycle) -> dict[Any, Any]:
        with self.about(cycle, {}) as answers:
            self._settle(cycle)
            return answers

    @contextmanager
    def about(self, cycle: Cycle, answers: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """Meanwhile, answers about these functions come from here, and go here."""
        around, self._now = self._now, (cycle, answers)
        self.is_busy = True
        try:
            yield answers
        finally:
            self._now = around
            self.is_busy = around is not None


class FunctionQuery(Query[K, V]):
    """A query about single functions: the key is a function's, or begins with it.

    Where functions call each other, `provisional` is the answer for one that is being worked out.
    """

    __slots__ = ("_number", "_once", "_provisional", "_settling")

    def __init__(
        self,
        settling: Settling,
        make: Callable[[K], V],
        provisional: V | None,
        once: bool = True,
    ) -> None:
        """`once`: whether an answer that rests on provisional ones stays as it came out first."""
        super().__init__(settling.queries, make)
        self._number = settling.count
        settling.count += 1
        self._settling = settling
        self._provisional = provisional
        self._once = once

    def __call__(self, key: K) -> V:
        """The answer for a key."""
        if self._settling.is_busy:
            local = self._settling.local(_function(key))
            if local is not None:
                return self._within(local, key)
        # As in Query, without another call: this is where the time goes.
        node = self._nodes.get(key)
        if node is None or node.stale:
            return self._ask(key, node)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def _answer(self, key: K) -> V:
        cycle = self._queries.cycle_of(_function(key))
        if cycle is None:
            return self._make(key)
        answers = self._settling.answers(cycle)
        if (self._number, key) in answers:
            return cast(V, answers[self._number, key])
        with self._settling.about(cycle, dict(answers)) as local:
            return self._within(local, key)

    def _within(self, local: dict[Any, Any], key: K) -> V:
        """An answer while the functions of a cycle are settled."""
        settling, mine = self._settling, (self._number, key)
        known = local.get(mine, _MISSING)
        if known is _BUSY:
            settling.provisional += 1
            return cast(V, self._provisional)
        if known is not _MISSING:
            return cast(V, known)
        before = settling.provisional
        if self._once:
            local[mine] = _BUSY
        try:
            value = self._make(key)
        except BaseException:
            local.pop(mine, None)
            raise
        if self._once or before == settling.provisional:
            local[mine] = value
        return value


def _function(key: Any) -> Any:
    return key[0] if type(key) is tuple else key
