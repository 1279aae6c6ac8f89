"""What a lock state says of needs at one place."""

from __future__ import annotations

import msgspec

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.needs import Match, Need, asserted, find, fits
from lockcheck.lockstate.state import Held, State
from lockcheck.lockstate.verdicts import Asserted, Evidence, Judgement, Unshared, Verdict
from lockcheck.models.loader import WRITE
from lockcheck.queries import Query


class Judge:
    """Judges needs where they arise, and at the calls that lead there."""

    def __init__(self, analysis: Analysis, unshared: Unshared, believing: bool) -> None:
        """`believing`: assertions that control has passed hold."""
        self._believing = believing
        self._analysis = analysis
        self._are_apart = analysis.are_apart
        self._program = analysis.program
        self._unshared = unshared
        self._publishes = Query(analysis.queries, self._calls_publisher)

    def judge(
        self, function: str, state: State, needs: tuple[Need, ...], datum: Expr | None
    ) -> Judgement:
        """What a state says of needs in its own names: any one of them will do."""
        if self._is_unshared(function, state, datum):
            return Judgement(Verdict.UNSHARED)
        open_needs: list[Need] = []
        evidence: list[Evidence] = []
        unsure: list[Evidence] = []
        why = _LEFT_ENTERED
        by_class = False
        relied: Asserted | None = None
        for need in needs:
            if need.term is not None and self._analysis.is_unshared(function, state, need.term):
                return Judgement(
                    Verdict.UNSHARED
                )  # the lock is in an object that nobody else knows
            if not need.absent and self._is_last(state, need):
                return Judgement(Verdict.UNSHARED, by_class=True)
            if need.absent:
                if need.term is None:  # nobody can tell any more which lock it is
                    return Judgement(Verdict.HELD, by_class=True)
                absent = self._absent(function, state, need, open_needs, evidence)
                if absent is not None:
                    return absent
                continue
            match = find(state.held, need, self._are_apart)
            doubt = self._doubt(state, need, match)
            if doubt is not None:
                match = asserted(state, need, self._are_apart) if self._believing else None
                if match is None:
                    unsure.append(Evidence(need, doubt, True, function))
                    continue
                relied = Asserted(function, need.lock_class)
            if match is not None and not fits(match.held.mode, need.mode):
                evidence.append(Evidence(need, match.held, False, function))
                continue
            if match is None and (obscure := _obscure(state, need)):
                unsure.append(Evidence(need, Held("", 0), False, function))
                why = obscure
                continue
            if match is None and self._believing:
                match = asserted(state, need, self._are_apart)
                if match is not None:
                    relied = Asserted(function, need.lock_class)
            if match is not None:
                if match.exact:
                    return Judgement(Verdict.HELD, asserted=relied)
                by_class = True
                continue
            dropped = find(state.dropped, need, self._are_apart)
            if dropped is not None and fits(dropped.held.mode, need.mode):
                another = any(lock in need.others for lock in state.dropped)
                evidence.append(Evidence(need, dropped.held, True, function, another=another))
                rest = _left_by(state, need)
                if rest is not None:
                    open_needs.append(rest)
                continue
            ended = find(state.ended, need, self._are_apart)
            if ended is not None:
                # Taking an exclusive lock twice is a deadlock: no caller holds this one.
                is_section = need.term is not None and need.term[0] == "section"
                own = ended.exact and ended.held.mode == WRITE and not is_section
                evidence.append(Evidence(need, ended.held, True, function, own))
                if own:
                    continue
            open_needs.append(need)
        if by_class:
            return Judgement(Verdict.HELD, by_class=True, asserted=relied)
        if unsure:
            return Judgement(Verdict.UNDECIDED, evidence=tuple(unsure), why=why)
        if not open_needs:
            return Judgement(Verdict.BROKEN, (), tuple(evidence))
        return Judgement(Verdict.LIFTED, tuple(open_needs), tuple(evidence))

    def _is_last(self, state: State, need: Need) -> bool:
        """Whether a counter of the object that holds a lock is known to be zero.

        The last reference is gone, so nobody else can reach the object.
        """
        effects = self._program.effects
        for term, fact in state.facts.items():
            if fact.equal != 0 or term[0] != "l" or term[1][0] != "f":
                continue
            if not effects.is_counter(term[1][2]):
                continue
            place, name = term[1], ""
            while place[0] in ("f", "i"):
                name = place[2] if place[0] == "f" else name
                place = place[1]
            if name.split(".", 1)[0] != need.lock_class.split(".", 1)[0]:
                continue
            named = ("f", place, need.lock_class)
            if need.term is None or not self._are_apart(need.term, named):
                return True
        return False

    def _doubt(self, state: State, need: Need, held: Match | None) -> Held | None:
        """The call that may have taken or dropped a needed lock; None where that is settled."""
        if not state.unsure:
            return None
        doubts = {
            lock: Held(doubt.mode, doubt.loc)
            for lock, doubt in state.unsure.items()
            if (doubt.dropped if held is not None else doubt.taken or not need.absent)
        }
        match = find(doubts, need, self._are_apart) if doubts else None
        if match is None or (held is not None and held.exact and not match.exact):
            return None
        return match.held

    def _absent(
        self,
        function: str,
        state: State,
        need: Need,
        open_needs: list[Need],
        evidence: list[Evidence],
    ) -> Judgement | None:
        """The verdict that a lock is not held; None, and what is left to ask, or says why, else.

        UNSOUND: only the same instance counts as held; a lock of its class may be another one.
        """
        assert need.term is not None
        if self._believing and need.term[0] == "section":
            need = _with_denied(state, need)
            if any(("section", name) in state.held for name in need.denied):
                return Judgement(Verdict.HELD)  # control does not come this way
        term = need.term
        assert term is not None
        match = find(state.held, need, self._are_apart)
        doubt = self._doubt(state, need, match)
        if doubt is not None:
            found = (Evidence(need, doubt, True, function),)
            return Judgement(Verdict.UNDECIDED, evidence=found, why=_LEFT_ENTERED)
        if match is not None and match.exact and fits(match.held.mode, need.mode):
            evidence.append(Evidence(need, match.held, False, function))
            return None
        if self._believing and state.holds(("held", term, need.mode)) is False:
            return Judgement(Verdict.HELD, asserted=Asserted(function, need.lock_class))
        if term[0] == "section" and find(state.dropped, need, self._are_apart) is not None:
            # UNSOUND: it leaves its caller's section; that may have been entered twice
            return Judgement(Verdict.HELD)
        open_needs.append(need)
        return None

    def _is_unshared(self, function: str, state: State, datum: Expr | None) -> bool:
        marks = {mark.split("@", 1)[0] for mark in state.marks}
        if marks & self._unshared.after:
            return True
        if self._publishes(function) and not marks & self._unshared.until:
            return True
        return datum is not None and self._analysis.is_unshared(function, state, datum)

    def _calls_publisher(self, function: str) -> bool:
        return any(
            target.split("@", 1)[0] in self._unshared.until
            for call in self._program.calls[function].values()
            for target in call.targets
        )


_COMPUTED = frozenset({"o", "o1", "ite", "k", "u"})  # terms of no place that has a name
_LEFT_ENTERED = "{name} calls a function that takes or drops {lock} on some of its ways out only"
_UNNAMED = "which lock {name} has to hold is not followed"
_POINTER = "{name} holds a lock, and whether it is the one that {lock} points to is not followed"


def _obscure(state: State, need: Need) -> str:
    """Why nobody can tell whether a lock that is not held by name is the needed one, "" if one can.

    A pointer to a lock that a callee sets, as pte_offset_map_lock() does, leads to a held lock by
    another name; see fixtures/lock-contract/good_lock_by_pointer.c.
    """
    if not need.lock_class and (need.term is None or need.term[0] in _COMPUTED):
        return _UNNAMED
    if need.vague and any(lock[0] != "section" for lock in state.held):
        return _POINTER
    return ""


def _left_by(state: State, need: Need) -> Need | None:
    """What callers may still hold of a section that others imply, after one of those was left."""
    if need.term is None or need.term[0] != "section" or len(need.term) < 3:
        return None
    names = tuple(name for name in need.term[2] if ("section", name) not in state.dropped)
    if not names:
        return None
    return msgspec.structs.replace(need, term=(*need.term[:2], names))


def _with_denied(state: State, need: Need) -> Need:
    """A need for the absence of a section, with what branches have said is not entered.

    `if (in_interrupt()) …; else might_sleep();`: see fixtures/might-sleep/good_not_in_interrupt.c.
    """
    denied = set(need.denied)
    for term, fact in state.facts.items():
        if term[0] == "held" and fact.equal == 0 and term[1][0] == "section":
            denied.update(term[1][2] if len(term[1]) > 2 else term[1][1:2])
    if len(denied) == len(need.denied):
        return need
    return msgspec.structs.replace(need, denied=tuple(sorted(denied)))
