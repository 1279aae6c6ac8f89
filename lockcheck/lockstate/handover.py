"""Whether a lock that a function returns with may be dropped by somebody else.

A function that keeps a lock on some ways out is a helper where its callers drop it, and a mistake
where nobody does. Both are asked here: the callers that were read, upwards, and, where control may
come from outside of them, all functions.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

from lockcheck.callgraph.calls import CallSite
from lockcheck.callgraph.program import Program, Reach
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.flow import calls_after
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import lock_class, strip_lock, substitute
from lockcheck.models.loader import LockEffect

LEVELS = 3  # of callers, upwards, that are asked


class HandOver:
    """Answers for the functions of one program."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program: Program = analysis.program
        self._anywhere: dict[str | None, bool] = {}
        self._known: dict[str, tuple[frozenset[str | None], frozenset[str | None]]] = {}

    def callers_may(self, key: str, lock: Expr) -> bool:
        """Whether a caller, or one of its callers, may drop a lock that a function returns with.

        True, too, for a function that nobody was seen to call, or that is given to others: who
        calls it then is not known.
        """
        if not self._program.callers.get(key) or self._program.reach(key) is Reach.CALLBACK:
            return True
        name = lock_name(lock)
        seen: set[str] = {key}
        level = [key]
        for _ in range(LEVELS):
            sites = [(site, f) for f in level for site in self._program.callers.get(f, ())]
            # What has a model is not looked into: it may do anything for its callers.
            if any(self._program.model(s.caller) or self._drops_for(s, f, name) for s, f in sites):
                return True
            level = sorted({site.caller for site, _ in sites} - seen)
            seen.update(level)
        return False

    def _drops_for(self, site: CallSite, below: str, name: str | None) -> bool:
        """Whether a caller may drop a lock of a class that its call of a function has taken."""
        calls = self._program.calls[site.caller]
        told = self._tells(below, name)
        for number in calls_after(self._program.functions[site.caller], site.call):
            for target in calls[number].targets if number in calls else ():
                if not self._drops_any(target):
                    continue
                for at in self._analysis.states_at(site.caller, number):
                    dropped = self._dropped(target, at)
                    if dropped & {None, name} and _is_from(site.loc, at, name, told):
                        return True
        return False

    def _tells(self, key: str, name: str | None) -> bool:
        """Whether callers of a function are told that it may have taken a lock of a class."""
        return any(
            lock_name(lock) == name
            for exit_ in self._analysis.summary(key).exits
            for lock in (*(lock for lock, _ in exit_.acquired),
                         *(unsure.lock for unsure in exit_.unsure if unsure.taken))
        )  # fmt: skip

    def _drops_any(self, key: str) -> bool:
        model = self._program.model(key)
        if model is not None:
            return bool(model.releases)
        return any(exit_.released or exit_.unsure for exit_ in self._analysis.summary(key).exits)

    def _dropped(self, key: str, at: At) -> set[str | None]:
        """The classes of locks that a call may drop."""
        model = self._program.model(key)
        if model is not None:
            return set(classes(model.releases, at, self._program.models.lock_records))
        found = {
            lock
            for exit_ in self._analysis.summary(key).exits
            for lock in (*(lock for lock, _ in exit_.released),
                         *(unsure.lock for unsure in exit_.unsure if not unsure.taken))
        }  # fmt: skip
        return {lock_name(substitute(lock, at.terms[1:]) or lock) for lock in found}

    def anybody_may(self, lock: Expr) -> bool:
        """Whether some function drops locks of a class that it has not taken itself."""
        name = lock_name(lock)
        if name is None:
            return True
        known = self._anywhere.get(name)
        if known is None:
            known = any(
                name in dropped - taken
                for taken, dropped in (
                    self.primitives(key)
                    for key in sorted(self._program.functions)
                    if self._program.model(key) is None and self._calls_release(key)
                )
            )
            self._anywhere[name] = known
        return known

    def _calls_release(self, key: str) -> bool:
        return any(
            (model := self._program.model(target)) is not None
            and any(not effect.section for effect in model.releases)
            for call in self._program.calls[key].values()
            for target in call.targets
        )

    def callers_drop(self, key: str, lock: Expr) -> bool:
        """Whether a caller drops a lock of the class, by a primitive, and takes none itself."""
        name = lock_class(lock)
        for site in self._program.callers.get(key, ()):
            taken, dropped = self.primitives(site.caller)
            if name in dropped - taken or (name is None and dropped):
                return True
        return False

    def primitives(self, key: str) -> tuple[frozenset[str | None], frozenset[str | None]]:
        """The classes of locks that a function takes, and drops, by primitives."""
        known = self._known.get(key)
        if known is None:
            taken: set[str | None] = set()
            dropped: set[str | None] = set()
            records = self._program.models.lock_records
            for number, call in self._program.calls[key].items():
                for target in call.targets:
                    model = self._program.model(target)
                    if model is None or not model.locks:
                        continue
                    for at in self._analysis.states_at(key, number):
                        taken.update(classes(model.acquires, at, records))
                        dropped.update(classes(model.releases, at, records))
            known = (frozenset(taken), frozenset(dropped))
            self._known[key] = known
        return known


def _is_from(loc: int, at: At, name: str | None, told: bool) -> bool:
    """Whether what is held of a class in a state may come from the call at a place.

    told: states behind the call tell of the lock, so that one without it is about another.
    """
    held = [h for lock, h in at.state.held.items() if lock_name(lock) == name]
    unsure = [doubt.loc for lock, doubt in at.state.unsure.items() if lock_name(lock) == name]
    if told:  # of two, that is known by the place of the first, it is the second that goes first
        return loc in unsure or any((h.loc == loc) == (h.depth == 1) for h in held)
    return bool(unsure) or not held


def lock_name(lock: Expr) -> str | None:
    """The class of a lock, or the name of a section."""
    return str(lock[1]) if lock[0] == "section" else lock_class(lock)


def classes(
    effects: tuple[LockEffect, ...], at: At, records: Container[str]
) -> Iterator[str | None]:
    """The classes of the locks that a primitive is about at a call."""
    for effect in effects:
        if effect.argument is None:
            yield effect.section or lock_class(effect.lock or ("u",))
        elif effect.argument + 1 < len(at.terms):
            term = at.terms[effect.argument + 1]
            yield lock_class(strip_lock(term, records))
