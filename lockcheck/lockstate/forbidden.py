"""Ways to a call of a given function, or to taking a given lock, as there are ways to sleep."""

from __future__ import annotations

from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.sleeping import SleepAnalysis, SleepWay
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import lock_class, strip_lock
from lockcheck.models.loader import FunctionModel

MUST_NOT_CALL = "must not be called"


class ForbiddenAnalysis(SleepAnalysis):
    """Answers whether functions may come to what a rule forbids. Computed on demand, once each."""

    def __init__(self, analysis: Analysis, calls: frozenset[str], locks: frozenset[str]) -> None:
        """`calls`: names of functions; `locks`: classes, such as "kvm.mmu_lock"."""
        self._calls = calls
        self._locks = locks
        self._records = analysis.program.models.lock_records
        super().__init__(analysis)

    def _is_end(self, name: str) -> bool:
        model = self._program.models.functions.get(name.split("@", 1)[0])
        takes = bool(self._locks) and model is not None and bool(model.acquires)
        return takes or name.split("@", 1)[0] in self._calls

    def _end(
        self, key: str, number: int, loc: int, target: str, slot: str | None, at: At
    ) -> list[SleepWay] | None:
        model = self._program.model(target)
        because, lock = "", None
        if target.split("@", 1)[0] in self._calls:
            because = MUST_NOT_CALL
        elif model is not None:
            number_of = self._taken(model, at)
            if number_of is not None:
                because = "takes the lock"
                lock = self._program.calls[key][number].event[4][number_of]
        if not because:
            return None if model is None else []
        guard = self._analysis.entry_guard(at.state)
        return [SleepWay(guard, number, loc, target, slot, None, because, 1, lock)]

    def _taken(self, model: FunctionModel, at: At) -> int | None:
        """The argument by which a primitive is given a lock that must not be taken."""
        for effect in model.acquires:
            number = effect.argument
            if number is not None and number + 1 < len(at.terms):
                term = strip_lock(at.terms[number + 1], self._records)
                if lock_class(term) in self._locks:
                    return number
        return None
