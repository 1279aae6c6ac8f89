"""May-sleep: which functions may sleep, by which call, under which arguments."""

from __future__ import annotations

from typing import NamedTuple

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import substitute
from lockcheck.models.loader import FunctionModel

MAX_WAYS = 4  # different guards kept for one function


class SleepWay(NamedTuple):
    """One way in which a function may sleep.

    guard: over the function's entry terms; empty: always possible.
    call, loc: the call in this function that sleeps or leads to sleep.
    target: the function called there; slot: how, when the call is indirect.
    below: the way of the target, None when it is a modelled primitive.
    because: why the primitive sleeps. lock: the lock that it takes, as an expression of the
        calling function, None when it takes none.
    length: calls down to the primitive.
    """

    guard: tuple[Condition, ...]
    call: int
    loc: int
    target: str
    slot: str | None
    below: SleepWay | None
    because: str
    length: int
    lock: Expr | None = None


class SleepAnalysis:
    """Answers whether functions may sleep. Computed on demand, once each."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._candidates = self._reach_sleepers()
        self._ways: dict[str, tuple[SleepWay, ...]] = {}
        self._in_progress: set[str] = set()
        self._recursive: set[str] = set()

    def _reach_sleepers(self) -> frozenset[str]:
        """Functions from which calls lead to a sleeping primitive, whatever the arguments."""
        work = [
            name
            for name in self._program.callers
            if (model := self._program.model(name)) is not None and model.sleeps is not None
        ]
        seen: set[str] = set()
        while work:
            for site in self._program.callers.get(work.pop(), ()):
                if site.caller not in seen and self._program.model(site.caller) is None:
                    seen.add(site.caller)
                    work.append(site.caller)
        return frozenset(seen)

    def ways(self, key: str) -> tuple[SleepWay, ...]:
        """The ways in which a function may sleep, shortest first."""
        known = self._ways.get(key)
        if known is not None:
            return known
        if key in self._in_progress:
            self._recursive.add(key)
            return ()
        if key not in self._candidates:
            return ()
        self._in_progress.add(key)
        found = self._collect(key)
        self._in_progress.discard(key)
        if key in self._recursive and found:
            # Once more with what is known: how deep a recursion goes is not followed.
            self._ways[key] = tuple(way._replace(guard=()) for way in _shortest(found))
            found.extend(self._collect(key))
        self._ways[key] = _shortest(found)
        return self._ways[key]

    def guards_from(
        self, way: SleepWay, path: tuple[tuple[str, int], ...]
    ) -> list[tuple[Condition, ...]]:
        """The guards that a way leaves at the top of a path of calls, none if it cannot happen.

        path: (caller, call) from the top down; the last call enters the function of the way.
        """
        guards = [way.guard]
        for key, number in reversed(path):
            lifted = {
                above
                for at in self._analysis.states_at(key, number)
                for guard in guards
                if (above := self._lift(guard, at, at.terms[1:])) is not None
            }
            guards = sorted(lifted, key=repr)[:MAX_WAYS]
        return guards

    def hangs_on_flags(self, guard: tuple[Condition, ...]) -> bool:
        """Whether a guard asks for flags that nobody on the way has told."""
        masks = {("k", value) for value in self._program.models.constants.values()}
        return any(
            condition.term[0] == "o" and condition.term[1] == "&" and condition.term[3] in masks
            for condition in guard
        )

    def _collect(self, key: str) -> list[SleepWay]:
        found: list[SleepWay] = []
        for number, call in sorted(self._program.calls[key].items()):
            for target in call.targets:
                for at in self._analysis.states_at(key, number):
                    found.extend(self._at_call(key, number, call.event[1], target, call.slot, at))
        return found

    def _at_call(
        self, key: str, number: int, loc: int, target: str, slot: str | None, at: At
    ) -> list[SleepWay]:
        if slot is not None and at.terms[0][0] == "fn" and at.terms[0][1] != target:
            return []
        args = at.terms[1:]
        model = self._program.model(target)
        if model is not None:
            if model.sleeps is None:
                return []
            because = model.sleeps.because
            lock = _lock_argument(model, self._program.calls[key][number].event[4])
            return [
                SleepWay(guard, number, loc, target, slot, None, because, 1, lock)
                for guard in self._primitive(model, at, args)
            ]
        found: list[SleepWay] = []
        for way in self.ways(target):
            guard = self._lift(way.guard, at, args)
            if guard is not None:
                found.append(
                    SleepWay(guard, number, loc, target, slot, way, way.because, way.length + 1)
                )
        return found

    def _primitive(
        self, model: FunctionModel, at: At, args: tuple[Expr, ...]
    ) -> list[tuple[Condition, ...]]:
        """The guards under which a primitive sleeps, none when it does not."""
        sleeps = model.sleeps
        if sleeps is None:
            return []
        if sleeps.argument is None:
            return [self._analysis.entry_guard(at.state)]
        if sleeps.argument >= len(args):
            return []
        flags = args[sleeps.argument]
        mask = self._program.models.constants[sleeps.flag]
        if flags[0] != "ite":
            guard = self._with_flags(at, flags, mask)
            return [] if guard is None else [guard]
        guards: list[tuple[Condition, ...]] = []
        for chosen, is_zero in ((flags[2], False), (flags[3], True)):
            guard = self._with_flags(at, chosen, mask)
            if guard is not None:
                guards.append((*guard, Condition(flags[1], ("k", 0), is_zero)))
        return guards

    def _with_flags(self, at: At, flags: Expr, mask: int) -> tuple[Condition, ...] | None:
        """The guard under which `flags` has the bits of `mask`, None when it has not."""
        truth = _has_bits(flags, mask)
        bits = at.state.evaluate(("o", "&", flags, ("k", mask)))
        if truth is None:
            truth = at.state.decide(bits)
        if truth is False:
            return None
        guard = self._analysis.entry_guard(at.state)
        if truth is True:
            return guard
        if not self._analysis.is_entry_value(at.state, bits):
            return None  # UNSOUND: flags that nobody can say are taken for ones that do not sleep
        return (*guard, Condition(bits, ("k", 0), False))

    def _lift(
        self, guard: tuple[Condition, ...], at: At, args: tuple[Expr, ...]
    ) -> tuple[Condition, ...] | None:
        lifted: list[Condition] = []
        for condition in guard:
            term = substitute(condition.term, args)
            if term is None:
                continue
            term = at.state.evaluate(term)
            truth = at.state.decide(("o", "==", term, condition.value))
            if truth is None:
                if self._analysis.is_entry_value(at.state, term):
                    lifted.append(Condition(term, condition.value, condition.equal))
            elif truth != condition.equal:
                return None
        lifted.extend(c for c in self._analysis.entry_guard(at.state) if c not in lifted)
        return tuple(lifted)


def _lock_argument(model: FunctionModel, args: tuple[Expr, ...]) -> Expr | None:
    for effect in model.acquires:
        if effect.argument is not None and effect.argument < len(args):
            return args[effect.argument]
    return None


def _has_bits(flags: Expr, mask: int) -> bool | None:
    """Whether flag arithmetic leaves the bits of `mask` set, if its form tells."""
    if flags[0] == "k":
        return bool(flags[1] & mask)
    if flags[0] == "o" and flags[1] in ("&", "|"):
        parts = (_has_bits(flags[2], mask), _has_bits(flags[3], mask))
        decisive = bool(flags[1] == "|")
        if decisive in parts:
            return decisive
        if parts == (not decisive, not decisive):
            return not decisive
    return None


def _shortest(ways: list[SleepWay]) -> tuple[SleepWay, ...]:
    """The shortest way for each call and guard, and no guard that a weaker one covers."""
    kept: list[SleepWay] = []
    for way in sorted(ways, key=lambda w: (len(w.guard) > 0, w.length, w.loc, w.target)):
        conditions = set(way.guard)
        if any(o.call == way.call and set(o.guard) <= conditions for o in kept):
            continue
        kept.append(way)
        if len(kept) == MAX_WAYS:
            break
    return tuple(kept)
