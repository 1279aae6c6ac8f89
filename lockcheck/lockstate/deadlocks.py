"""What the order of locks says is wrong: claims, and what is not decided with the reason.

Precision first: a claim needs a chain from an entry point, locks that can be the same objects, and
no lock that keeps the two sides apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lockcheck.facts.ir import UNKNOWN, Expr
from lockcheck.lockstate.acquiring import ANY_SUBCLASS, GRACE, class_name
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.contexts import ContextFinder, Surroundings
from lockcheck.lockstate.ordering import OrderEdge, Orders, excludes
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import FOUND, subterms
from lockcheck.models.loader import WRITE

MAX_MAYBES = 3  # calls on a chain that are made on some ways only, for a lock that is taken again
MAX_ORDER_MAYBES = 5  # the same for each side of an inversion: conditions seldom are about locks
MAX_CONTEXTS = 40  # contexts of each side that are compared

NEW = "an object is new there, or about to go: nobody else can reach it"
LOST = "a lock is dropped on the way that nobody has taken: conditions were lost"
FAR_BELOW = "it hangs on conditions in too many functions that are not followed"
PREDICATES = "it hangs on two conditions on one value, one of which a function computes"
NO_ENTRY = "no chain of calls from a known entry point allows it"
OTHER_OBJECTS = "whether the locks are those of the same objects is not known"
GATE = "{lock} is held on both sides"
LAST = "it may happen only when the last reference to an object goes"
IN_A_LOOP = "the same call takes it in a loop; whether it was dropped in between is not followed"
ONE_OBJECT = "whether it is the same object both times is not known"
RECLASSED = "the source gives {lock} lock classes of its own"
BUDGET = "a function on the way has too many lock states to follow them all"
VERSIONS = "its parts belong to files of which only one set is in use"


class Side(NamedTuple):
    """An order edge with a context in which it happens."""

    edge: OrderEdge
    context: Surroundings


class Again(NamedTuple):
    """A lock that is taken, or waited for, while the same task holds it. why: if undecided."""

    side: Side | None
    edge: OrderEdge
    why: str


class Inversion(NamedTuple):
    """Two orders of two classes. why: if undecided; then sides may be any two edges."""

    first: Side | None
    second: Side | None
    edges: tuple[OrderEdge, OrderEdge]
    why: str


class Misplaced(NamedTuple):
    """A lock that is taken inside of one that it has to be taken outside of."""

    side: Side | None
    edge: OrderEdge
    why: str


class Deadlocks:
    """Answers for one program."""

    def __init__(self, analysis: Analysis, orders: Orders) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._orders = orders
        self._contexts = ContextFinder(analysis)

    def _functions(self, edge: OrderEdge) -> tuple[str, ...]:
        below = (way.target for way in self._orders.ways.along(edge.way) if way.below is not None)
        return (edge.function, *below)

    # -- one task ------------------------------------------------------------------------------

    def again(self) -> list[Again]:
        """Locks that are taken again, and grace periods inside of their readers."""
        found: list[Again] = []
        for edge in self._orders.again:
            why = self.doubt(edge, MAX_MAYBES)
            if edge.held_loc == edge.way.loc and not why:
                why = IN_A_LOOP
            side = None if why else self.side(edge)
            if not why and side is None:
                why = NO_ENTRY
            found.append(Again(side, edge, why))
        found.extend(Again(None, edge, ONE_OBJECT) for edge in self._orders.uncertain)
        return found

    # -- two tasks -----------------------------------------------------------------------------

    def inversions(self) -> list[Inversion]:
        """Pairs of classes that nest both ways."""
        edges = self._orders.edges
        found: list[Inversion] = []
        for outer, inner in sorted(edges):
            if outer < inner and (inner, outer) in edges and outer.name != inner.name:
                inversion = self._inversion(edges[outer, inner], edges[inner, outer])
                if inversion is not None:
                    found.append(inversion)
        return found

    def _inversion(self, one: list[OrderEdge], other: list[OrderEdge]) -> Inversion | None:
        best: Inversion | None = None
        for first in sorted(one, key=plainness):
            for second in sorted(other, key=plainness):
                if not _blocks(first, second) or not _blocks(second, first):
                    continue  # readers of one of the two do not wait for each other
                found = self._decide(first, second)
                if not found.why:
                    return found
                best = best or found
        return best

    def _decide(self, first: OrderEdge, second: OrderEdge) -> Inversion:
        edges = (first, second)
        reclassed = [
            c.text
            for c in (first.outer, first.inner)
            if c.name in self._orders.reclassed or c.subclass == ANY_SUBCLASS
        ]
        why = next((w for edge in edges if (w := self.doubt(edge, MAX_ORDER_MAYBES))), "")
        if reclassed:
            why = RECLASSED.format(lock=reclassed[0])
        gate = first.gates & second.gates
        if gate:
            why = GATE.format(lock=min(gate))
        elif not why and not _may_meet(first, second):
            why = OTHER_OBJECTS
        if why:
            return Inversion(None, None, edges, why)
        ones, others = list(self.sides(first)), list(self.sides(second))
        if not ones or not others:
            return Inversion(None, None, edges, NO_ENTRY)
        for one in ones:
            for other in others:
                gate = gates_of(one) & gates_of(other)
                if gate:
                    why = GATE.format(lock=min(gate))
                elif not self.fit_together(one, other):
                    why = VERSIONS
                else:
                    return Inversion(one, other, edges, "")
        return Inversion(None, None, edges, why)

    # -- declared orders -----------------------------------------------------------------------

    def misplaced(self, outer: str, inner: str) -> list[Misplaced]:
        """Where a lock of the class `outer` is taken while one of `inner` is held."""
        found: list[Misplaced] = []
        for (holding, taken), edges in sorted(self._orders.edges.items()):
            if holding.name != inner or taken.name != outer:
                continue
            for edge in edges:
                if edge.way.mode == GRACE:
                    continue
                why = self.doubt(edge, MAX_ORDER_MAYBES)
                if not why and relation(edge) is None and not _is_single(edge):
                    why = OTHER_OBJECTS
                side = None if why else self.side(edge)
                found.append(Misplaced(side, edge, why or ("" if side else NO_ENTRY)))
        return found

    # -- chains --------------------------------------------------------------------------------

    def doubt(self, edge: OrderEdge, maybes: int) -> str:
        """Why an edge may not happen, or say nothing; "" if nothing speaks against it."""
        if edge.unshared and not _is_again(edge):
            return NEW
        if edge.way.last:
            return LAST
        if edge.odd:
            return LOST
        if edge.way.maybes > maybes:
            return FAR_BELOW
        if _computed_twice(edge.way.guard):
            return PREDICATES
        if not all(map(self._analysis.is_settled, self._functions(edge))):
            return BUDGET
        if len(set(self._parts(self._functions(edge)))) > 1:
            return VERSIONS
        return ""

    def side(self, edge: OrderEdge) -> Side | None:
        """An edge with the shortest chain from an entry point that allows it."""
        return next(self.sides(edge), None)

    def sides(self, edge: OrderEdge) -> Iterator[Side]:
        """The contexts from entry points in which an edge may happen, shortest chains first."""
        found = self._contexts.contexts(edge.function, guard=edge.way.guard)
        count = 0
        for context in found.contexts:
            # A task that waits for itself does so whether others can reach the object or not.
            if not context.complete or (context.private and not _is_again(edge)):
                continue
            if not _is_again(edge) and edge.inner.name in _classes(context):
                continue  # it would be taken again there: not an order of two locks
            functions = (*(step.caller for step in context.chain), *self._functions(edge))
            if len(set(self._parts(functions))) > 1:
                continue
            yield Side(edge, context)
            count += 1
            if count == MAX_CONTEXTS:
                return

    def _parts(self, functions: tuple[str, ...]) -> Iterator[str]:
        """The sets of files, of exclusive ones, that functions belong to."""
        for key in functions:
            function = self._program.functions.get(key)
            if function is None:
                continue
            for group in self._program.models.exclusive:
                for beginning in group:
                    if function.file.startswith(beginning):
                        yield beginning

    def fit_together(self, one: Side, other: Side) -> bool:
        """Whether two sides belong to one running system."""
        functions = (
            *(step.caller for side in (one, other) for step in side.context.chain),
            *self._functions(one.edge),
            *self._functions(other.edge),
        )
        return len(set(self._parts(functions))) <= 1


def _is_again(edge: OrderEdge) -> bool:
    """Whether both locks are one."""
    return edge.held == edge.way.lock


def _classes(context: Surroundings) -> frozenset[str | None]:
    return frozenset(class_name(lock) for lock, _ in context.locks)


def plainness(edge: OrderEdge) -> tuple[bool, int, int, int, str, int]:
    """How little an edge hangs on, for sorting."""
    way = edge.way
    return edge.unshared, way.maybes, way.length, len(edge.gates), edge.function, way.loc


def _blocks(holder: OrderEdge, taker: OrderEdge) -> bool:
    """Whether the lock that one side holds keeps the other side waiting."""
    return excludes(holder.mode, taker.way.mode)


def gates_of(side: Side) -> frozenset[str]:
    """The classes that are held exclusively around both locks of a side."""
    held = {
        name
        for lock, mode in side.context.locks
        if mode == WRITE and lock[0] != "section" and (name := class_name(lock)) is not None
    }
    return (side.edge.gates | held) - {side.edge.outer.name, side.edge.inner.name}


# -- objects ---------------------------------------------------------------------------------------


def _is_single(edge: OrderEdge) -> bool:
    """Whether one of the two locks is a variable, of which there is only one."""
    return any(lock[0] == "g" for lock in (edge.held, edge.way.lock))


def relation(edge: OrderEdge) -> tuple[Expr, Expr] | None:
    """The paths to the two locks from the object that both hang on; None when there is none."""
    held = list(_places(edge.held))
    for place in _places(edge.way.lock):
        if place in held and place[0] not in ("class", "k") and place != UNKNOWN:
            hole: Expr = ("hole",)
            return _with_hole(edge.held, place, hole), _with_hole(edge.way.lock, place, hole)
    return None


def _places(term: Expr) -> Iterator[Expr]:
    """A lock's term and the ones that it hangs on, longest first."""
    while True:
        yield term
        if term[0] not in ("f", "i", "l", "co"):
            return
        term = term[1]


def _with_hole(term: Expr, place: Expr, hole: Expr) -> Expr:
    if term == place:
        return hole
    return (term[0], _with_hole(term[1], place, hole), *term[2:])


def _may_meet(first: OrderEdge, second: OrderEdge) -> bool:
    """Whether the two sides can be about the same two objects.

    They are when one lock is a variable, or when both locks hang on one object on both sides, by
    the same paths, or by paths that lead from one of the two objects to the other.
    """
    if _is_single(first) or _is_single(second):
        return True
    one, other = relation(first), relation(second)
    if one is None or other is None:
        return False
    return one == (other[1], other[0]) or _leads_over(one) or _leads_over(other)


def _leads_over(relation: tuple[Expr, Expr]) -> bool:
    """Whether one of two locks lies in the object that the path to the other begins at."""
    return any(not _loads(path) for path in relation)


def _loads(path: Expr) -> bool:
    while path[0] in ("f", "i", "l", "co"):
        if path[0] == "l":
            return True
        path = path[1]
    return False


# -- conditions ------------------------------------------------------------------------------------


def _computed_twice(guard: tuple[Condition, ...]) -> bool:
    """Whether a function computes one of two conditions on a value: they may exclude each other.

    On a value: what the function is given, or what is reached from there. It is not given what its
    argument was reached from, see fixtures/self-deadlock/bad_beside_a_predicate.c.
    """
    guard = tuple(condition for condition in guard if not _is_set(condition))
    for condition in guard:
        given = set(_given(condition.term))
        if given and any(
            not given.isdisjoint(subterms(other.term)) for other in guard if other is not condition
        ):
            return True
    return False


def _is_set(condition: Condition) -> bool:
    """Whether a condition is that a pointer is set.

    IMPRECISE: what a function computes of an object is not taken to say that there is none. See
    fixtures/lock-inversion/bad_not_null.c.
    """
    is_not_zero = not condition.equal and condition.value == ("k", 0)
    return is_not_zero and condition.term[0] in ("p", "l", "g")


def _given(term: Expr) -> Iterator[Expr]:
    """What functions are given that compute a value, as far as it is no constant."""
    for part in subterms(term):
        if part[0] == "ap" and part[1] != FOUND:
            yield from (argument for argument in part[2:] if argument[0] not in ("k", "fn", "u"))


def is_reader(edge: OrderEdge) -> bool:
    """Whether an edge is about a grace period that is waited for by one of its readers."""
    return edge.way.mode == GRACE
