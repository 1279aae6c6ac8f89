"""Releases of locks that are not held.

Certainty first, since most functions that release what they have not taken do so for a caller.
Three things are certain: a function has released the same instance before, on a path on which
nothing can have taken it again; or no caller holds it, in a program in which no function keeps a
lock of that class for others; or the function holds it in another mode, whichever way it came. For
the first, the path must not depend on whether the lock is held: at no branch on it may there be a
state that still holds the lock (compare lockstate.unbalanced).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from lockcheck.facts.ir import Event, Expr, Function, successors
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.instances import Instances
from lockcheck.lockstate.locksets import Held
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.requirements import Checker
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.state import State
from lockcheck.lockstate.summary import Exit
from lockcheck.lockstate.terms import (
    is_entry_term,
    lock_class,
    object_root,
    root,
    spell,
    strip_lock,
    substitute,
)
from lockcheck.lockstate.transfer import assume_all
from lockcheck.lockstate.verdicts import Unshared, Verdict, Violation
from lockcheck.models.loader import ANY, READ, SECTION, WRITE

MAX_DEPTH = 6  # calls down to which it is looked for what may have taken a lock again


class Released(NamedTuple):
    """A call that releases a lock which is not held, or not in that mode.

    mode: in which it is released. before: where the function has released it already; None when it
        never held it: then `violation` is a chain of calls that shows it.
    taken: where it was taken in another mode.
    way: (function, loc, callee) from the call down to the primitive.
    """

    function: str
    loc: int
    lock: Expr
    mode: str
    before: Held | None
    way: tuple[tuple[str, int, str], ...]
    violation: Violation | None = None
    taken: Held | None = None


class ReleaseAnalysis:
    """Finds releases of what is not held in one program."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._records = analysis.program.models.lock_records
        self._instances = Instances(analysis.program)
        self._checker = Checker(analysis, Unshared(), trusting=False)
        self._kept: frozenset[str | None] | None = None

    def find(self) -> Iterator[Released]:
        """All of them, by function and place; one for each place."""
        self._kept = None  # the program may have become another one
        releases = cache(self._releases)
        for key in sorted(self._program.functions):
            if self._program.model(key) is not None:
                continue
            numbers = [n for n, call in sorted(self._program.calls[key].items())
                       if any(map(releases, call.targets))]  # fmt: skip
            if not numbers:
                continue
            if not self._analysis.is_settled(key):
                continue
            for number in numbers:
                found = self._at_call(key, number)
                if found is not None:
                    yield found

    def _releases(self, key: str) -> bool:
        model = self._program.model(key)
        if model is not None:
            return any(not effect.section for effect in model.releases)
        return any(
            lock[0] != "section"
            for exit_ in self._analysis.summary(key).exits
            for lock, _ in exit_.released
        )

    def _at_call(self, key: str, number: int) -> Released | None:
        call = self._program.calls[key][number]
        if len(call.targets) != 1:
            return None  # UNSOUND: through a pointer that may lead to several functions
        target = call.targets[0]
        states = [
            (at, tuple(self._released(target, at))) for at in self._analysis.states_at(key, number)
        ]
        other = self._in_another_mode(key, call.event[1], states)
        if other is not None:
            return self._with_way(other, target)
        never: Released | None = None
        for at, released in states:
            for lock, mode in released:
                if not self._is_absent(at.state, lock, mode):
                    continue
                before = at.state.ended.get(lock)
                if before is None and mode == WRITE:
                    before = at.state.dropped.get(lock)
                found = Released(key, call.event[1], lock, mode, before, ())
                if before is None and self._program.model(target) is not None:
                    never = never or self._never_held(found, number, at)
                elif before is None:
                    continue  # the function that releases it is looked at itself
                elif self._is_twice(found, number, before, at):
                    return self._with_way(found, target)
        return None if never is None else self._with_way(never, target)

    def _in_another_mode(
        self, key: str, loc: int, states: list[tuple[At, tuple[tuple[Expr, str], ...]]]
    ) -> Released | None:
        """A release for read of what is held for write in all states, or the other way round."""
        found: Released | None = None
        for at, released in states:
            wrong: Released | None = None
            for lock, mode in released:
                held = at.state.held.get(lock)
                if held is None or lock in at.state.unsure or held.depth > 1:
                    return None
                if {held.mode, mode} == {READ, WRITE}:
                    wrong = Released(key, loc, lock, mode, None, (), taken=held)
            if wrong is None:
                return None
            found = found or wrong
        return found

    def _released(self, target: str, at: At, surely: bool = True) -> Iterator[tuple[Expr, str]]:
        """The locks that a call releases, or may, in its caller's terms, and how."""
        args = at.terms[1:]
        model = self._program.model(target)
        if model is not None:
            for effect in model.releases:
                number = effect.argument
                if effect.section or effect.field or effect.when is not None or number is None:
                    continue
                if number < len(args):
                    yield self._lock(args[number]), effect.mode
            return
        exits = [e for e in self._analysis.summary(target).exits if self._may_leave(e, at)]
        if not exits:
            return
        ways = [set(exit_.released) for exit_ in exits]
        released = set.intersection(*ways) if surely else set.union(*ways)
        for lock, mode in sorted(released, key=repr):
            term = None if lock[0] in ("section", "class") else substitute(lock, args)
            if term is not None:
                yield self._lock(at.state.evaluate(term)), mode

    def _may_leave(self, exit_: Exit, at: At) -> bool:
        return assume_all(at.state.copy(), exit_.guard, at.terms[1:], self._lock)

    def _lock(self, term: Expr) -> Expr:
        term = strip_lock(term, self._records)
        return self._program.models.aliases.get(term[1], term) if term[0] == "g" else term

    def _is_absent(self, state: State, lock: Expr, mode: str) -> bool:
        """Whether a state holds neither a lock nor another one that may be the same."""
        name = lock_class(lock)
        if name is None or lock in state.unsure or self._kind(lock) == SECTION:
            return False
        if lock[0] == "l":
            return False  # IMPRECISE: a pointer, which may have been set to another lock since
        if state.holds(("held", lock, ANY)) is True:
            return False  # as an assertion says
        others = (*state.held, *(o for o, doubt in state.unsure.items() if doubt.taken))
        return not any(
            other[0] != "section" and lock_class(other) in (name, None) for other in others
        )

    def _kind(self, lock: Expr) -> str:
        record, _, member = (lock_class(lock) or "").partition(".")
        return self._program.models.lock_records.get(
            self._program.records.get(record, {}).get(member, ""), ""
        )

    # -- released before -----------------------------------------------------------------------

    def _is_twice(self, found: Released, number: int, before: Held, at: At) -> bool:
        if before.loc == found.loc or root(found.lock)[0] in ("phi", "u"):
            return False  # the same call, in a loop
        return (
            self._instances.is_one(found.function, at.state, found.lock)
            and not self._is_taken_twice(found.function, found.lock)
            and self._is_by_name(found.function, found.lock, before)
            and self._leads(self._program.functions[found.function], found.lock, before, number)
        )

    def _is_taken_twice(self, key: str, lock: Expr) -> bool:
        """Whether a function takes a lock that it has taken: it deadlocks, and that is told."""
        for number, call in self._program.calls[key].items():
            for target in call.targets:
                model = self._program.model(target)
                for effect in () if model is None else model.acquires:
                    if effect.section or effect.argument is None:
                        continue
                    for at in self._analysis.states_at(key, number):
                        place = at.terms[effect.argument + 1 :][:1]
                        if lock in map(self._lock, place) and at.state.has_taken(lock, effect.mode):
                            return True
        return False

    def _is_by_name(self, key: str, lock: Expr, before: Held) -> bool:
        """Whether a release was of this instance, by a call that takes none of its class."""
        found = False
        for number, call in self._program.calls[key].items():
            if call.event[1] != before.loc:
                continue
            for target in call.targets:
                if self._program.model(target) is None and self._keeps_something(
                    target, lock_class(lock), MAX_DEPTH
                ):
                    return False
                found = found or any(
                    lock == released
                    for at in self._analysis.states_at(key, number)
                    for released, _ in self._released(target, at, surely=False)
                )
        return found

    def _leads(self, function: Function, lock: Expr, before: Held, number: int) -> bool:
        """Whether a path leads from a release to a call, at branches that do not tell of the lock.

        On it, nothing is called that may take the lock again.
        """
        inputs = self._analysis.solved(function.key).inputs
        work: list[int] = []
        for events, terminator in function.blocks:
            places = [i for i, e in enumerate(events) if e[0] == "C" and e[1] == before.loc]
            if not places:
                continue
            after = events[places[-1] + 1 :]
            if any(event[0] == "C" and event[2] == number for event in after):
                return not self._takes_before(function, after, number, lock)
            if not self._takes_before(function, after, None, lock):
                work.extend(successors(terminator))
        seen: set[int] = set()
        while work:
            block = work.pop()
            if block in seen:
                continue
            seen.add(block)
            states = inputs.get(block, {}).values()
            without = [s for s in states if self._has_given_up(s, lock)]
            if not without:
                continue
            events, terminator = function.blocks[block]
            if any(event[0] == "C" and event[2] == number for event in events):
                if not self._takes_before(function, events, number, lock):
                    return True
                continue
            if self._takes_before(function, events, None, lock):
                continue
            if terminator[0] in ("br", "sw") and len(without) != len(states):
                continue
            work.extend(successors(terminator))
        return False

    @staticmethod
    def _has_given_up(state: State, lock: Expr) -> bool:
        return lock not in state.held and (lock in state.ended or lock in state.dropped)

    def _takes_before(
        self, function: Function, events: tuple[Event, ...], number: int | None, lock: Expr
    ) -> bool:
        """Whether events, up to a call, may take a lock again."""
        for event in events:
            if event[0] != "C":
                continue
            if event[2] == number:
                return False
            if self._may_take(function, event, lock):
                return True
        return False

    def _may_take(self, function: Function, event: Event, lock: Expr) -> bool:
        call = self._program.calls[function.key].get(event[2])
        targets = () if call is None else call.targets
        if not targets:
            return True
        for target in targets:
            model = self._program.model(target)
            if model is not None:
                if any(not effect.section for effect in model.acquires):
                    return True
            elif target in self._program.functions:
                if self._keeps_something(target, lock_class(lock), MAX_DEPTH):
                    return True
            elif any(
                object_root(arg) == object_root(lock)
                for at in self._analysis.states_at(function.key, event[2])
                for arg in at.terms[1:]
            ):
                return True  # nobody has read it
        return False

    def _keeps_something(self, key: str, name: str | None, depth: int) -> bool:
        """Whether a function, or what it calls, may return with a lock of a class held."""
        exits = self._analysis.summary(key).exits
        locks = [
            *(lock for exit_ in exits for lock, _ in exit_.acquired),
            *(unsure.lock for exit_ in exits for unsure in exit_.unsure),
        ]
        if not self._analysis.is_settled(key) or any(
            lock[0] != "section" and _may_be(lock_class(lock), name) for lock in locks
        ):
            return True
        return depth > 0 and any(
            self._keeps_something(target, name, depth - 1)
            for call in self._program.calls[key].values()
            for target in call.targets
            if target in self._program.functions and self._program.model(target) is None
        )

    # -- held by nobody ------------------------------------------------------------------------

    def _never_held(self, found: Released, number: int, at: At) -> Released | None:
        """A release of what no caller holds, with a chain of calls that shows it."""
        lock = found.lock
        if not is_entry_term(lock) or root(lock)[0] not in ("p", "g"):
            return None
        if not self._analysis.is_entry_value(at.state, lock):
            return None
        states = self._analysis.states_at(found.function, number)
        if any(lock in other.state.held for other in states):
            return None
        if lock_class(lock) in self._left_held() or None in self._left_held():
            return None
        text = spell(lock, self._program.functions[found.function].params)
        need = Need(lock, lock_class(lock) or "", ANY, text)
        said = self._checker.judge(found.function, at.state, (need,), None)
        if said.verdict is not Verdict.LIFTED:
            return None
        context = self._checker.context(found.function, at, said.open_needs, None)
        outcome = self._checker.decide(context)
        if outcome.held or outcome.unproved or not outcome.violations:
            return None
        if any(evidence.dropped for v in outcome.violations for evidence in v.evidence):
            return None  # it was held: who has released it, releases it twice
        return found._replace(violation=outcome.violations[0])

    def _left_held(self) -> frozenset[str | None]:
        """The classes of locks with which some function may return to its caller."""
        if self._kept is None:
            found: set[str | None] = set()
            for key in sorted(self._program.functions):
                if self._program.model(key) is not None:
                    continue
                for exit_ in self._analysis.summary(key).exits:
                    locks = (*(lock for lock, _ in exit_.acquired),
                             *(unsure.lock for unsure in exit_.unsure if unsure.taken))  # fmt: skip
                    found.update(lock_class(lock) for lock in locks if lock[0] != "section")
            self._kept = frozenset(found)
        return self._kept

    # -- the way down --------------------------------------------------------------------------

    def _with_way(self, found: Released, target: str) -> Released:
        name = lock_class(found.lock)
        way = [(found.function, found.loc, target)]
        while self._program.model(target) is None and len(way) <= MAX_DEPTH:
            step = self._step(target, name)
            if step is None:
                break
            way.append((target, *step))
            target = step[1]
        return found._replace(way=tuple(way))

    def _step(self, key: str, name: str | None) -> tuple[int, str] | None:
        """The call by which a function releases a lock of a class."""
        for number, call in sorted(self._program.calls[key].items()):
            for target in call.targets:
                if not self._releases(target):
                    continue
                for at in self._analysis.states_at(key, number):
                    released = self._released(target, at)
                    if any(_may_be(lock_class(lock), name) for lock, _ in released):
                        return call.event[1], target
        return None


def _may_be(name: str | None, other: str | None) -> bool:
    return name is None or other is None or name == other
