"""Which members of the objects that parameters point to conditions on the way looked into."""

from __future__ import annotations

from collections.abc import Iterator

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import object_root, places_read
from lockcheck.queries import Query

ANY_MEMBER = ""
Member = tuple[int, str]  # of the object that a parameter points to, by its outermost field

NONE: frozenset[Member] = frozenset()


class LookedAt:
    """Answers for the states of one program; each condition is looked at once for a function."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._of_condition = Query(analysis.queries, self._members_in)

    def members(self, function: str, at: At) -> frozenset[Member]:
        """What the branches before a place looked into."""
        state = at.state
        found = NONE
        for term in (*state.past, *state.facts):
            if term[0] == "held":
                continue
            known = self._of_condition((function, term))
            if not known <= found:
                found |= known
        return found

    def _members_in(self, condition: tuple[str, Expr]) -> frozenset[Member]:
        return frozenset(self._members_of(*condition))

    def _members_of(self, function: str, term: Expr) -> Iterator[Member]:
        for place in places_read(term):
            root = object_root(place)
            if root[0] == "p":
                yield root[1], outermost(place)
            elif root[0] == "c":
                for at in self._analysis.states_at(function, root[1]):
                    for argument in at.terms[1:]:
                        given = object_root(argument)
                        if given[0] == "p":
                            yield given[1], outermost(argument)


def outermost(place: Expr) -> str:
    """The field, of the object that a place lies in, that the place is or lies in."""
    name = ANY_MEMBER
    while place[0] in ("f", "i", "co"):
        name = place[2] if place[0] == "f" else ANY_MEMBER
        place = place[1]
    return name


def through_call(members: frozenset[Member], at: At) -> frozenset[Member]:
    """What was looked into by way of a callee's parameters, by way of its caller's own."""
    if not members:
        return NONE
    arguments = at.terms[1:]
    found: set[Member] = set()
    for number, name in members:
        if number < len(arguments):
            place = object_root(arguments[number])
            if place[0] == "p":
                found.add((place[1], outermost(arguments[number]) or name))
    return frozenset(found)
