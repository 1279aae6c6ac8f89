"""Which of a function's parameters point to objects that conditions on the way looked into."""

from __future__ import annotations

from collections.abc import Iterator

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import object_root, objects_read
from lockcheck.queries import Query

NONE: frozenset[int] = frozenset()


class LookedAt:
    """Answers for the states of one program; each condition is looked at once for a function."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._of_condition = Query(analysis.queries, self._parameters_in)

    def parameters(self, function: str, at: At) -> frozenset[int]:
        """Numbers of the parameters whose objects the branches before a place looked into."""
        state = at.state
        found = NONE
        for term in (*state.past, *state.facts):
            if term[0] == "held":
                continue
            known = self._of_condition((function, term))
            if not known <= found:
                found |= known
        return found

    def _parameters_in(self, condition: tuple[str, Expr]) -> frozenset[int]:
        return frozenset(self._parameters_of(*condition))

    def _parameters_of(self, function: str, term: Expr) -> Iterator[int]:
        for place in objects_read(term):
            if place[0] == "p":
                yield place[1]
            elif place[0] == "c":
                for at in self._analysis.states_at(function, place[1]):
                    for argument in at.terms[1:]:
                        given = object_root(argument)
                        if given[0] == "p":
                            yield given[1]


def through_call(parameters: frozenset[int], at: At) -> frozenset[int]:
    """A callee's parameters as those of its caller, where it passes them on."""
    if not parameters:
        return NONE
    arguments = at.terms[1:]
    passed = [object_root(arguments[number]) for number in parameters if number < len(arguments)]
    return frozenset(place[1] for place in passed if place[0] == "p")
