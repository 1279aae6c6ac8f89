"""Calls in atomic context that may sleep.

Bottom-up: a place is looked at only where a function has entered an atomic section itself, or where
control comes in from outside within one; what its callees may do there is known from their
ways to sleep. So both halves of the evidence meet at one call: where the section began, and the
way down to the primitive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lockcheck.callgraph.calls import CallSite
from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.callview import CallView, Views
from lockcheck.lockstate.doubts import MAX_SLEEP_MAYBES, SLEEPS_FAR_BELOW, UNSETTLED
from lockcheck.lockstate.entries import Entries
from lockcheck.lockstate.feasible import MAX_GUARD_LEVELS, Feasibility
from lockcheck.lockstate.locksets import Held
from lockcheck.lockstate.sleeping import (
    SleepAnalysis,
    SleepWay,
    atomic_sections,
    left_above,
    sections_denied,
    sections_entered,
    still_entered,
)
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.verdicts import Edge
from lockcheck.queries import Inputs, Query

MAX_SLEEPING_TARGETS = 3  # functions that a pointer may lead to before it says little about each
_FLAGS = "which allocation flags come to {name} is not known"
_CONTEXT = "it hangs on a variable that says in which context the kernel is"
_WHOM = "{name} calls one of several functions through a pointer, and which one is not followed"


class Atomic(NamedTuple):
    """Why a place is atomic.

    section: its name. lock: the lock whose taking entered it. held: where. entry: how control
    comes in within the section, "" where the function has entered it itself.
    """

    section: str
    lock: Expr | None
    held: Held | None
    entry: str = ""


class Place(NamedTuple):
    """A call in atomic context of something that may sleep, whatever its arguments.

    way: how it may sleep, None where it does not. doubt: why that may not be possible.
    callers: calls that pass the flags on which it hangs, innermost first.
    """

    function: str
    call: int
    loc: int
    atomic: Atomic
    way: SleepWay | None
    doubt: str = ""
    callers: tuple[CallSite, ...] = ()


class AtomicCalls:
    """Finds the calls of one program that may sleep in atomic context."""

    def __init__(self, analysis: Analysis, sleeping: SleepAnalysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._sleeping = sleeping
        self._entries = Entries(analysis.program, trusting=False)
        self._sections = frozenset(atomic_sections(analysis.program.models))
        self._views = Views(analysis)
        self._feasible = Feasibility(analysis, self._view)
        self._known_reach: tuple[Program, frozenset[str]] | None = None
        self._may_enter: Inputs[str, bool] = Inputs(
            analysis.queries, lambda key: key in self._entering()
        )
        self._places = Query(analysis.queries, self._find_in)

    def find(self) -> Iterator[Place]:
        """All places, by function and call; one for each call, the surest way to sleep there."""
        for key in sorted(self._program.functions):
            yield from self._places(key)

    def _find_in(self, key: str) -> tuple[Place, ...]:
        if self._program.model(key) is not None:
            return ()
        numbers = [
            number
            for number, call in sorted(self._program.calls[key].items())
            if any(map(self._sleeping.may_sleep, call.targets))
        ]
        if not numbers:
            return ()
        door = self._entries.enters(key, self._sections)
        if door is None and not self._enters(key):
            return ()
        found = (self._place(key, number, door) for number in numbers)
        return tuple(place for place in found if place is not None)

    # -- where it is atomic --------------------------------------------------------------------

    def _entering(self) -> frozenset[str]:
        """Functions from which calls lead to a primitive that enters an atomic section."""
        program = self._program.latest
        if self._known_reach is None or self._known_reach[0] is not program:
            self._known_reach = program, self._reach_entering(program)
        return self._known_reach[1]

    def _reach_entering(self, program: Program) -> frozenset[str]:
        work = [
            name
            for name in program.callers
            if (model := program.model(name)) is not None
            and any(effect.section in self._sections for effect in model.acquires)
        ]
        seen = set(work)
        while work:
            for site in program.callers.get(work.pop(), ()):
                if site.caller not in seen:
                    seen.add(site.caller)
                    work.append(site.caller)
        return frozenset(seen)

    def _enters(self, key: str) -> bool:
        """Whether a function may enter an atomic section, itself or by a helper."""
        for call in self._program.calls[key].values():
            for target in call.targets:
                if not self._may_enter(target):
                    continue
                if self._program.model(target) is not None:
                    return True
                for exit_ in self._analysis.summary(target).exits:
                    if any(lock[0] == "section" for lock, _ in exit_.acquired):
                        return True
        return False

    def _atomic(
        self, key: str, at: At, way: SleepWay | None, leaves: tuple[tuple[str, int], ...] = ()
    ) -> Atomic | None:
        """The section of the function's own that is still entered where a way sleeps."""
        state = at.state
        entered = sections_entered(state, self._sections)
        if way is not None and entered.keys() & way.denied:
            return None
        found: list[tuple[int, str, Held]] = []
        holding = {**state.retaken, **state.held}
        for name in still_entered(entered, leaves if way is None else way.dropped):
            held = holding["section", name]
            if self._comes_with_lock(key, held.loc) and not any(
                lock[0] != "section" and lock not in state.unsure for lock in holding
            ):
                continue  # the lock is gone: it was the count of the section that went wrong
            found.append((held.loc, name, held))
        if not found:
            return None
        _, name, held = min(found)
        lock = next(
            (t for t, h in holding.items() if h.loc == held.loc and t[0] != "section"), None
        )
        return Atomic(name, lock, held)

    def _comes_with_lock(self, key: str, loc: int) -> bool:
        """Whether the call at a place that enters a section takes a lock, too."""
        for call in self._program.calls[key].values():
            for target in call.targets if call.event[1] == loc else ():
                model = self._program.model(target)
                if model is not None:
                    if any(not effect.section for effect in model.acquires):
                        return True
                elif any(
                    lock[0] != "section"
                    for exit_ in self._analysis.summary(target).exits
                    for lock in (*(lock for lock, _ in exit_.acquired),
                                 *(unsure.lock for unsure in exit_.unsure))
                ):  # fmt: skip
                    return True
        return False

    @staticmethod
    def _from_outside(
        at: At, way: SleepWay | None, door: tuple[str, frozenset[str]]
    ) -> Atomic | None:
        """The section within which control has come in, where a way sleeps."""
        text, entered = door
        denied = sections_denied(at.state) if way is None else way.denied
        left = entered - dict(left_above(at.state) if way is None else way.dropped).keys()
        return Atomic(min(left), None, None, text) if left and not entered & denied else None

    # -- one call ------------------------------------------------------------------------------

    def _place(
        self, key: str, number: int, door: tuple[str, frozenset[str]] | None
    ) -> Place | None:
        loc = self._program.calls[key][number].event[1]
        best: Place | None = None
        for at, way in self._sleeping.at(key, number):
            below = way.below
            if below is not None and below.own:
                continue  # that function is looked at itself
            model = self._program.model(way.target) if below is None else None
            leaves = () if model is None or not model.sleeps else model.sleeps.leaves
            atomic = self._atomic(key, at, below, tuple((name, 1) for name in leaves))
            if atomic is None and door is not None:
                atomic = self._from_outside(at, way, door)
            if atomic is None:
                continue
            place = self._judge(Place(key, number, loc, atomic, way))
            if place is not None and (best is None or _rank(place) < _rank(best)):
                best = place
        if best is not None:
            return best
        for at in self._analysis.states_at(key, number):
            atomic = self._atomic(key, at, None)
            if atomic is None and door is not None:
                atomic = self._from_outside(at, None, door)
            if atomic is not None:
                return Place(key, number, loc, atomic, None)
        return None

    def _judge(self, place: Place) -> Place | None:
        """A place with what is doubtful about its way, None where that cannot happen."""
        way = place.way
        assert way is not None
        if not self._feasible.may_hold(place.function, way.guard):
            return None
        name = f"{place.function.split('@', 1)[0]}()"
        doubt = ""
        callers: tuple[CallSite, ...] | None = ()
        if self._sleeping.hangs_on_flags(way.guard):
            callers = self._passing(place.function, way.guard, MAX_GUARD_LEVELS)
            if callers is None:
                doubt = _FLAGS.format(name=name)
        if way.by_context:
            doubt = _CONTEXT
        elif way.maybes > MAX_SLEEP_MAYBES:
            doubt = SLEEPS_FAR_BELOW
        elif self._is_vague(place):
            doubt = _WHOM.format(name=name)
        elif not self._analysis.is_settled(place.function):
            doubt = UNSETTLED.format(name=name)
        return place._replace(doubt=doubt, callers=callers or ())

    def _is_vague(self, place: Place) -> bool:
        """Whether a pointer on the way may lead to many functions."""
        function: str = place.function
        way = place.way
        while way is not None:
            if way.slot is not None:
                targets = self._program.calls[function][way.call].targets
                if len(targets) > MAX_SLEEPING_TARGETS and not all(map(self._sleeps, targets)):
                    return True
            function, way = way.target, way.below
        return False

    def _sleeps(self, key: str) -> bool:
        return self._sleeping.may_sleep(key) and (
            self._program.model(key) is not None or bool(self._sleeping.ways(key))
        )

    def _passing(
        self, function: str, guard: tuple[Condition, ...], levels: int
    ) -> tuple[CallSite, ...] | None:
        """Calls, innermost first, the last of which passes flags that let a guard hold."""
        if levels == 0:
            return None
        for site in self._program.callers.get(function, ()):
            for at in self._analysis.states_at(site.caller, site.call):
                above = self._feasible.lifted(function, guard, site, at)
                if above is None:
                    continue
                if not self._sleeping.hangs_on_flags(above):
                    view = self._view(site, at)
                    flags = [c for c in guard if self._sleeping.is_about_flags(c)]
                    if all(map(view.confirms, flags)):
                        return (site,)
                    continue
                further = self._passing(site.caller, above, levels - 1)
                if further is not None:
                    return (site, *further)
        return None

    def _view(self, site: CallSite | Edge, at: At) -> CallView:
        return self._views.at(site.caller, at)


def _rank(place: Place) -> tuple[object, ...]:
    way = place.way
    assert way is not None
    return bool(place.doubt), way.maybes, way.length, len(way.guard)
