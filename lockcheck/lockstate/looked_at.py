"""Which members of the objects that parameters point to conditions on the way looked into."""

from __future__ import annotations

from collections.abc import Iterator

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import object_root, places_read
from lockcheck.queries import Cycle, FunctionQuery, Query, Settling

ANY_MEMBER = ""
Member = tuple[int, str]  # what lies in the object that a parameter points to, by its own field

NONE: frozenset[Member] = frozenset()


class LookedAt:
    """Answers for the states of one program; each condition is looked at once for a function."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._of_condition = Query(analysis.queries, self._members_in)
        settling = Settling(analysis.queries, self._settle)
        self._of_result = FunctionQuery(settling, self._members_for_result, NONE)

    def _settle(self, cycle: Cycle) -> None:
        for key in cycle:
            self._of_result(key)

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
                yield root[1], own_field(place)
            elif root[0] == "c":
                targets = self._program.calls[function][root[1]].targets
                for at in self._analysis.states_at(function, root[1]):
                    for target in targets:
                        yield from through_call(self._of_call(target), at)

    def _of_call(self, target: str) -> frozenset[Member]:
        """What the result of a call may hang on.

        UNSOUND: nothing, for a function that stores something: its result is taken for how that
        went. Nor for one that was not read.
        """
        if target not in self._program.functions or self._program.model(target) is not None:
            return NONE
        return NONE if self._program.effects.of(target) else self._of_result(target)

    def _members_for_result(self, key: str) -> frozenset[Member]:
        """What a function looks into on the way to what it returns, or returns itself."""
        found: set[Member] = set()
        for returned in self._analysis.solved(key).returns:
            for term in (*returned.state.past, *returned.state.facts, returned.value):
                if term is not None and term[0] != "held":
                    found |= self._of_condition((key, term))
        return frozenset(found)


def own_field(place: Expr) -> str:
    """The field that a place is, or is an element of."""
    while place[0] == "i":
        place = place[1]
    return place[2] if place[0] == "f" else ANY_MEMBER


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
                found.add((place[1], name or own_field(arguments[number])))
    return frozenset(found)
