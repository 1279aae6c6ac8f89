"""Circles of three and more lock classes: each task waits for the next one's lock.

As for two locks (lockstate.deadlocks) each edge needs a context from an entry point, and the holder
of a lock has to block whoever takes it. Two edges with a third lock held exclusively around both
exclude each other, and then nobody waits. Which objects the locks belong to: in a circle in which
one lock is a variable, the others can be chosen edge by edge; without one, all locks have to hang
on one object by the same paths. Circles in which two classes nest both ways are left to
lock-inversion of two, so only chordless ones are looked at (networkx: Dias et al., "Efficient
enumeration of chordless cycles").
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import TYPE_CHECKING, NamedTuple

from lockcheck.lockstate.acquiring import ANY_SUBCLASS
from lockcheck.lockstate.deadlocks import (
    GATE,
    MAX_ORDER_MAYBES,
    NO_ENTRY,
    OTHER_OBJECTS,
    VERSIONS,
    Deadlocks,
    Side,
    gates_of,
    plainness,
    relation,
)
from lockcheck.lockstate.ordering import LockClass, OrderEdge, Orders, Pair, excludes

if TYPE_CHECKING:
    import networkx

MAX_LENGTH = 4  # classes in a circle
MAX_CIRCLES = 200  # that are looked at
MAX_EDGES = 3  # edges of one pair of classes that are tried
MAX_SIDES = 6  # contexts of an edge that are tried

READERS = "readers of one of the locks do not wait for each other"


class Circle(NamedTuple):
    """Edges of which each takes what the next one holds. why: if undecided; then no sides."""

    edges: tuple[OrderEdge, ...]
    sides: tuple[Side, ...]
    why: str


class Circles:
    """Finds circles in the order of one program's locks."""

    def __init__(self, orders: Orders, deadlocks: Deadlocks) -> None:
        self._orders = orders
        self._deadlocks = deadlocks

    def find(self) -> Iterator[Circle]:
        """All circles of three and more classes, each from its first class on."""
        import networkx  # it takes a sixth of a second to load: questions do without

        edges = self._certain()
        every = sorted({lock for pair in edges for lock in pair})
        number = {lock: index for index, lock in enumerate(every)}  # numbers come in one order
        graph = networkx.DiGraph(sorted((number[a], number[b]) for a, b in edges))
        for part in _parts(graph):
            cycles = networkx.chordless_cycles(part, length_bound=MAX_LENGTH)
            found = sorted(_from_first(cycle) for cycle in islice(cycles, MAX_CIRCLES))
            for cycle in found:
                classes = [every[index] for index in cycle]
                if len(classes) > 2 and len({c.name for c in classes}) == len(classes):
                    yield self._decide(classes, edges)

    def _certain(self) -> dict[Pair, list[OrderEdge]]:
        """The edges of which nothing is in doubt, of classes that the source does not split."""
        found: dict[Pair, list[OrderEdge]] = {}
        for (outer, inner), edges in self._orders.edges.items():
            if outer.name == inner.name or self._is_split(outer) or self._is_split(inner):
                continue
            sure = [e for e in edges if not self._deadlocks.doubt(e, MAX_ORDER_MAYBES)]
            if sure:
                found[outer, inner] = sorted(sure, key=plainness)[:MAX_EDGES]
        return found

    def _is_split(self, lock: LockClass) -> bool:
        return lock.subclass == ANY_SUBCLASS or lock.name in self._orders.reclassed

    def _decide(self, classes: list[LockClass], edges: dict[Pair, list[OrderEdge]]) -> Circle:
        pairs = list(zip(classes, (*classes[1:], classes[0]), strict=True))
        names = frozenset(c.name for c in classes)
        best: Circle | None = None
        for chosen in product(*(edges[pair] for pair in pairs)):
            found = self._judge(chosen, names)
            if not found.why:
                return found
            best = best or found
        assert best is not None
        return best

    def _judge(self, edges: tuple[OrderEdge, ...], names: frozenset[str]) -> Circle:
        following = (*edges[1:], edges[0])
        if not all(excludes(n.mode, e.way.mode) for e, n in zip(edges, following, strict=True)):
            return Circle(edges, (), READERS)
        if not _may_meet(edges):
            return Circle(edges, (), OTHER_OBJECTS)
        sides: tuple[Side, ...] = ()
        why = ""
        for edge in edges:
            side = None
            for candidate in islice(self._deadlocks.sides(edge), MAX_SIDES):
                why = self._apart(candidate, sides, names)
                if not why:
                    side = candidate
                    break
            if side is None:
                return Circle(edges, (), why or NO_ENTRY)
            sides = (*sides, side)
        return Circle(edges, sides, "")

    def _apart(self, side: Side, others: tuple[Side, ...], names: frozenset[str]) -> str:
        """Why a side does not happen at the same time as others, "" if it may."""
        gates = gates_of(side)
        inside = gates & (names - {side.edge.outer.name, side.edge.inner.name})
        if inside:
            return GATE.format(lock=min(inside))
        for other in others:
            shared = gates & gates_of(other)
            if shared:
                return GATE.format(lock=min(shared))
            if not self._deadlocks.fit_together(side, other):
                return VERSIONS
        return ""


def _parts(graph: networkx.DiGraph) -> Iterator[networkx.DiGraph]:
    """The strongly connected parts of three and more nodes, each as a graph."""
    import networkx

    found = networkx.strongly_connected_components(graph)
    for part in sorted(sorted(part) for part in found if len(part) > 2):
        inside = set(part)
        yield networkx.DiGraph(
            (a, b) for a in part for b in sorted(graph.successors(a)) if b in inside
        )


def _from_first(cycle: list[int]) -> list[int]:
    """A circle from its least class on."""
    start = cycle.index(min(cycle))
    return [*cycle[start:], *cycle[:start]]


def _may_meet(edges: tuple[OrderEdge, ...]) -> bool:
    """Whether the edges can be about the same objects, each with the next."""
    if any(edge.held[0] == "g" for edge in edges):
        return all(_has_variable(e) or relation(e) is not None for e in edges)
    relations = [relation(edge) for edge in edges]
    return all(
        mine is not None and other is not None and mine[1] == other[0]
        for mine, other in zip(relations, (*relations[1:], relations[0]), strict=True)
    )


def _has_variable(edge: OrderEdge) -> bool:
    return any(lock[0] == "g" for lock in (edge.held, edge.way.lock))
