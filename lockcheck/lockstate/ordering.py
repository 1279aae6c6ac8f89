"""The order in which locks nest over the whole program, and locks that are taken twice.

An order edge says: in this function, while this lock is held, that one is taken, here or below. As
lockdep has it (Documentation/locking/lockdep-design.rst), but for all paths, not those that ran.
"""

from __future__ import annotations

from typing import NamedTuple

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.acquiring import (
    ANY_SUBCLASS,
    GRACE,
    NO_SUBCLASS,
    LockWay,
    LockWays,
    class_name,
    exclusive_classes,
)
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.instances import Instances
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.state import State
from lockcheck.lockstate.terms import is_entry_term, root, surely_different
from lockcheck.models.loader import READ
from lockcheck.queries import Query

MAX_EDGES = 24  # edges kept for one pair of classes


class LockClass(NamedTuple):
    """A class in lockdep's sense: the lock's member or variable, and the subclass."""

    name: str
    subclass: int

    @property
    def text(self) -> str:
        """`kvm.lock`, with `/1` for a subclass, `/?` for one that is not constant."""
        name = self.name.split("@", 1)[0]
        if self.subclass == NO_SUBCLASS:
            return name
        return f"{name}/{'?' if self.subclass == ANY_SUBCLASS else self.subclass}"


class OrderEdge(NamedTuple):
    """While `function` holds one lock it takes another, here or below.

    held, mode, held_loc: the lock that is held, how, and where it was taken.
    outer, inner: the classes.
    way: how the other one is taken, in the function's own terms.
    gates: classes of what is held exclusively beside the two.
    unshared: one of the two lies in an object that nobody else can reach.
    odd: the function drops a lock on the way that it has not taken and its callers cannot name:
        conditions were lost.
    """

    function: str
    held: Expr
    mode: str
    held_loc: int
    outer: LockClass
    inner: LockClass
    way: LockWay
    gates: frozenset[str]
    unshared: bool
    odd: bool


Pair = tuple[LockClass, LockClass]


class _Edges(NamedTuple):
    """What one function adds."""

    edges: dict[Pair, list[OrderEdge]]
    again: list[OrderEdge]
    uncertain: list[OrderEdge]


class Orders:
    """All order edges of one program.

    edges: by outer and inner class. again: the same instance, taken while it is held in a mode
    that excludes that. reclassed: names of classes that the source splits for lockdep.
    ways: what functions take.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        queries = analysis.queries
        self._instances = Instances(analysis.program)
        self._subclass = Query(queries, self._taken_with)
        self._edges_in = Query(queries, self._find_edges)
        self.ways = LockWays(analysis)

    def take_in(self) -> Orders:
        """Look at all functions, as they are now; itself."""
        self.edges: dict[Pair, list[OrderEdge]] = {}
        self.again: list[OrderEdge] = []
        self.uncertain: list[OrderEdge] = []
        for key in sorted(self.ways.reach.candidates):
            found = self._edges_in(key)
            self.again.extend(found.again)
            self.uncertain.extend(found.uncertain)
            for pair, edges in found.edges.items():
                known = self.edges.setdefault(pair, [])
                known.extend(edges[: MAX_EDGES - len(known)])
        self.reclassed = self._find_reclassed()
        return self

    # -- edges ---------------------------------------------------------------------------------

    def _find_edges(self, key: str) -> _Edges:
        found = _Edges({}, [], [])
        for at, way in self.ways.taking(key).nested:
            self._observe(key, at, way, found)
        return found

    def _observe(self, key: str, at: At, way: LockWay, found: _Edges) -> None:
        state = at.state
        inner_name = class_name(way.lock)
        if way.lock in state.held and way.lock[0] != "class" and way.mode != GRACE:
            others = [way.lock]  # taken again: that ends here, whatever else is held
        else:
            others = list(state.held)
        for lock in others:
            held = state.held[lock]
            if self._is_doubtful(lock, state):
                continue
            if any(_is_same(lock, dropped) for dropped in way.dropped):
                continue
            if lock[0] == "section" and (way.mode != GRACE or lock != way.lock):
                continue
            if lock == way.lock and lock[0] != "class":
                if not excludes(held.mode, way.mode) or way.backs_off:
                    continue
                edge = self._edge(key, at, lock, way)
                if lock[0] == "section" or self._instances.is_one(key, state, lock):
                    _add(found.again, edge)
                else:
                    _add(found.uncertain, edge)
                continue
            if inner_name is None or lock[0] == "section" or way.lock[0] == "section":
                continue
            if class_name(lock) is None:
                continue
            edge = self._edge(key, at, lock, way)
            _add(found.edges.setdefault((edge.outer, edge.inner), []), edge)

    def _is_doubtful(self, lock: Expr, state: State) -> bool:
        if not state.unsure:
            return False
        name = class_name(lock)
        return any(class_name(other) == name for other in state.unsure)

    def _edge(self, key: str, at: At, lock: Expr, way: LockWay) -> OrderEdge:
        state = at.state
        held = state.held[lock]
        name = class_name(lock) or ""
        inner = LockClass(class_name(way.lock) or "", way.subclass)
        gates = (exclusive_classes(at) | way.gates) - {name, inner.name}
        unshared = any(
            term[0] not in ("class", "section") and self._analysis.is_unshared(key, state, term)
            for term in (lock, way.lock)
        )
        outer = LockClass(name, self._subclass((key, held.loc, name)))
        return OrderEdge(
            key, lock, held.mode, held.loc, outer, inner, way, gates, unshared, _is_odd(way)
        )

    def _taken_with(self, taken: tuple[str, int, str]) -> int:
        """The subclass with which the call at a place takes a lock of a class."""
        key, loc, name = taken
        subclass = NO_SUBCLASS
        for number, call in self._program.calls[key].items():
            if call.event[1] != loc:
                continue
            found = {
                way.subclass
                for way in self.ways.taken_at(key, number)
                if class_name(way.lock) == name
            }
            subclass = found.pop() if len(found) == 1 else ANY_SUBCLASS if found else NO_SUBCLASS
        return subclass

    # -- classes -------------------------------------------------------------------------------

    def _find_reclassed(self) -> frozenset[str]:
        order = self._program.models.order
        found: set[str] = set()
        for calls in self._program.calls.values():
            for call in calls.values():
                for target in call.targets:
                    model = order.functions.get(target.split("@", 1)[0])
                    if model is None or model.reclasses is None:
                        continue
                    if model.reclasses < len(call.event[4]):
                        place = self.ways.lock_term(_map_owner(call.event[4][model.reclasses]))
                        found.add(class_name(place) or "")
        return frozenset(found - {""})


def _is_odd(way: LockWay) -> bool:
    return any(
        lock[0] != "section" and (not is_entry_term(lock) or root(lock)[0] not in ("p", "g"))
        for lock in way.dropped
    )


def _map_owner(place: Expr) -> Expr:
    """The lock that a lockdep map lies in."""
    return place[1] if place[0] == "f" else place


def _add(edges: list[OrderEdge], edge: OrderEdge) -> None:
    """Add an edge; of those between the same places the one that hangs on least is kept."""
    for index, other in enumerate(edges):
        if (other.function, other.held_loc, other.way.loc, other.way.target, other.held) == (
            edge.function, edge.held_loc, edge.way.loc, edge.way.target, edge.held
        ) and other.way.lock == edge.way.lock:  # fmt: skip
            if _rank(edge) < _rank(other):
                edges[index] = edge
            return
    if len(edges) < MAX_EDGES:
        edges.append(edge)


def _rank(edge: OrderEdge) -> tuple[bool, int, int, int, int]:
    way = edge.way
    return edge.unshared or way.last, len(edge.gates), len(way.guard), way.maybes, way.length


def excludes(held: str, taken: str) -> bool:
    """Whether a lock that is held in one mode cannot be taken in another.

    Readers do not keep each other out. IMPRECISE: a writer that waits in between may.
    """
    if taken == GRACE:
        return held == READ
    return not (held == READ and taken == READ)


def _is_same(lock: Expr, dropped: Expr) -> bool:
    """Whether a lock may be one that was dropped."""
    if lock == dropped:
        return True
    name = class_name(dropped)
    if name is None or class_name(lock) is None:
        return not surely_different(lock, dropped) and lock[0] != "section"
    return name == class_name(lock) and not surely_different(lock, dropped)
