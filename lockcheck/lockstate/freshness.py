"""New objects: which calls return one, whether it is zero, and who makes it known to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.flow import returned_calls
from lockcheck.lockstate.state import State
from lockcheck.lockstate.terms import object_root
from lockcheck.queries import FunctionQuery

if TYPE_CHECKING:
    from lockcheck.lockstate.analysis import Analysis


class Freshness:
    """Answers for the functions of one analysis. Each is worked out once."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        settling = analysis.settling
        self._fresh = FunctionQuery(settling, self._returns_fresh, False)
        self._zeroed = FunctionQuery(settling, self._is_zeroed, False)
        self._may_return_new = FunctionQuery(settling, self._passes_new_on, False)
        self._published = FunctionQuery(settling, self._publishes, False)

    def settle(self, key: str, parameters: int) -> None:
        """Work out everything about one function of those that call each other."""
        self.returns_fresh(key)
        self._zeroed(key)
        for index in range(parameters):
            self.publishes(key, index)

    def is_unshared(self, key: str, state: State, term: Expr) -> bool:
        """Whether a place in `key` lies in an object that nobody else has been told of yet."""
        place = object_root(term)
        return place[0] == "c" and place not in state.shared and self.is_new_result(key, place[1])

    def is_new_result(self, key: str, number: int) -> bool:
        """Whether a call returns a newly allocated object."""
        call = self._program.calls[key].get(number)
        if call is None or not call.targets:
            return False
        return all(self.returns_fresh(target) for target in call.targets)

    def publishes(self, key: str, index: int) -> bool:
        """Whether a function may make the object of its parameter `index` known to others.

        It stores a pointer to it outside the object itself, or gives it to a function that does.
        A function that was not read, and has no model, does.
        """
        if self._program.model(key) is not None:
            return False
        return key not in self._program.functions or self._published((key, index))

    def _publishes(self, passed_as: tuple[str, int]) -> bool:
        key, index = passed_as
        mine: Expr = ("p", index)
        solved = self._analysis.solved(key)
        found = any(
            event[0] == "S"
            and object_root(at.terms[1]) == mine
            and object_root(at.terms[0]) not in (mine, *_locals_only(at.terms[0]))
            for event, ats in solved.accesses
            for at in ats
        )
        if not found:
            for number, ats in solved.calls.items():
                passed = {
                    (position, term == mine)
                    for at in ats
                    for position, term in enumerate(at.terms[1:])
                    if object_root(term) == mine
                }
                if any(self.passing_publishes(key, number, *p) for p in passed):
                    found = True
                    break
        return found

    def passing_publishes(self, key: str, number: int, position: int, whole: bool) -> bool:
        """Whether a call makes known the object that it is given: `whole`, or a member of it."""
        call = self._program.calls[key][number]
        for target in call.targets:
            if target not in self._program.functions and not whole:
                continue  # IMPRECISE: a member given to an unknown function is being set up
            if self.publishes(target, position):
                return True
        return not call.targets and whole

    def is_zeroed(self, key: str, args: tuple[Expr, ...]) -> bool:
        """Whether a call returns a new object whose memory is zero, as name, flags or body say."""
        model = self._program.model(key)
        if model is not None:
            if model.zeroed or not model.allocates or model.sleeps is None:
                return model.zeroed
            index = model.sleeps.argument
            if index is None or index >= len(args) or args[index][0] != "k":
                return False
            return bool(args[index][1] & self._program.models.constants["gfp_zero"])
        return self._zeroed(key)

    def _is_zeroed(self, key: str) -> bool:
        return self.returns_fresh(key) and self._returns_zeroed(key)

    def _returns_zeroed(self, key: str) -> bool:
        """Whether a function returns the object of a call that is zero, and nobody stored to it."""
        found = False
        for returned in self._analysis.solved(key).returns:
            value = returned.value
            if value is None or value[0] == "k":
                continue
            if returned.state.zeroed.get(value) != (0, frozenset()):
                return False
            found = True
        return found

    def _passes_new_on(self, key: str) -> bool:
        """Whether the code passes a call's result on to its caller that may be a new object."""
        function = self._program.functions.get(key)
        if function is None:
            return False
        for number in returned_calls(function):
            call = self._program.calls[key].get(number)
            for target in () if call is None else call.targets:
                model = self._program.model(target)
                allocates = model is not None and model.allocates
                if allocates or (model is None and self._may_return_new(target)):
                    return True
        return False

    def returns_fresh(self, key: str) -> bool:
        """Whether a function returns a new object (or NULL, or an error)."""
        model = self._program.model(key)
        if model is not None:
            return model.allocates
        return self._fresh(key)

    def _returns_fresh(self, key: str) -> bool:
        if not self._may_return_new(key):
            return False
        values = [r.value for r in self._analysis.solved(key).returns if r.value is not None]
        fresh = bool(values)
        some = False
        for value in values:
            if value[0] == "k":
                continue
            if value[0] == "c" and self.is_new_result(key, value[1]):
                some = True
                continue
            if value[0] == "c" or value[0] in ("p", "phi", "u", "l", "f"):
                fresh = False
        return fresh and some


def _locals_only(address: Expr) -> tuple[Expr, ...]:
    """The root of an address that lies in a local variable."""
    place = object_root(address)
    return (place,) if place[0] == "v" else ()
