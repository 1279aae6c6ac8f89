"""A state at a call, as what callees ask is seen there.

The same conditions and needs come up from many contexts: each is looked at once for a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import msgspec

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.looked_at import LookedAt, Member
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.state import State
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import (
    is_entry_term,
    lock_class,
    object_root,
    occurs,
    replaced,
    strip_lock,
    substitute,
)
from lockcheck.lockstate.values import PINNED
from lockcheck.queries import Node

K = TypeVar("K")
V = TypeVar("V")

Lifted = Condition | Literal[False] | None  # what is left to ask; False: it cannot hold


class CallView:
    """What a callee's terms are in its caller.

    guard: what branches have said so far about the values at entry.
    offered: locks that are held by a pointer whose class callers know.
    opaque: whether branches on the way depended on more than the values at entry.
    """

    guard: tuple[Condition, ...]
    offered: tuple[tuple[Expr, str], ...]
    opaque: bool

    def __init__(self, analysis: Analysis, at: At, kept: bool = False) -> None:
        """`kept`: whether several queries may look at it: then it notes itself what it rests on."""
        self._analysis = analysis
        self._records = analysis.program.models.lock_records
        self._at = at
        self._queries = analysis.queries
        self._node = self._queries.part(self) if kept else None
        self._look()

    def _look(self) -> None:
        self._lifted: dict[Condition, Lifted] = {}
        self._renamed: dict[Need, Need] = {}
        self._looked_at: frozenset[Member] | None = None
        state = self._at.state
        self._apart = tuple(_known_apart(state))
        self.guard = self._noting(self._analysis.entry_guard, state)
        self.offered = tuple(
            (lock, held.mode) for lock, held in state.held.items() if is_pointer(lock)
        )
        self.opaque = any(
            not is_entry_term(term)
            for term in state.facts
            if term[0] != "held" and term[:2] != ("phi", PINNED)
        )

    @property
    def is_dropped(self) -> bool:
        """Whether nobody had looked at it any more, so that it notes nothing now."""
        return self._node is not None and self._node.of is None

    def noted(self) -> CallView:
        """The view as it is now, for the query that looks at it."""
        if self._node is not None:
            if self._node.stale:
                self.refresh(self._node)
            if self._queries.reading is not None:
                self._queries.reading[self._node] = None
        return self

    def refresh(self, node: Node) -> None:
        """Look again, if anything that was looked at has changed."""
        if not self._queries.still_holds(node):
            node.rest_on({})
            self._look()
            node.changed = node.checked = self._queries.now
            node.stale = False

    def forget(self, node: Node) -> None:
        """The states go, and this with them."""

    def looked_at(self, find: LookedAt, key: str) -> frozenset[Member]:
        """What the branches before looked into by way of the function's parameters."""
        if self._looked_at is None:
            self._looked_at = self._noting(lambda at: find.members(key, at), self._at)
        return self._looked_at

    def _noting(self, find: Callable[[K], V], key: K) -> V:
        """An answer that is kept here: what it rests on, the view rests on."""
        if self._node is None:
            return find(key)
        with self._queries.adding_to(self._node):
            return find(key)

    def through(self, function: str) -> Lifted:
        """What an indirect call asks of its pointer to get to a function."""
        callee = self._at.terms[0]
        target: Expr = ("fn", function)
        if callee[0] == "fn":
            known = callee[1] in self._analysis.program.functions
            return False if callee != target and known else None
        if self._analysis.is_entry_value(self._at.state, callee):
            return Condition(callee, target, True)
        return None

    def evaluate(self, term: Expr) -> Expr | None:
        """A callee's term here; None when it hangs on something that only the callee knows."""
        term_or_none = substitute(term, self._at.terms[1:])
        return None if term_or_none is None else self._at.state.evaluate(term_or_none)

    def lift(self, condition: Condition) -> Lifted:
        """What is left of a callee's condition for this function's callers."""
        if condition in self._lifted:
            return self._lifted[condition]
        lifted = self._noting(self._lift, condition)
        self._lifted[condition] = lifted
        return lifted

    def confirms(self, condition: Condition) -> bool:
        """Whether a callee's condition is known to hold here."""
        term = self.evaluate(condition.term)
        if term is None:
            return False
        return self._at.state.decide(("o", "==", term, condition.value)) == condition.equal

    def told(self, values: frozenset[Expr]) -> tuple[tuple[Condition, ...], frozenset[Expr]]:
        """The conditions of the guard that are about some values, and the values that none is."""
        if not values:
            return (), values
        known = tuple(c for c in self.guard if values & set(parts(c.term)))
        return known, values - {part for c in known for part in parts(c.term)}

    def keeps(self, condition: Condition) -> bool:
        """Whether a callee's condition is known to hold here, or callers can be asked about it."""
        return self.confirms(condition) or isinstance(self.lift(condition), Condition)

    def _lift(self, condition: Condition) -> Lifted:
        term = self.evaluate(condition.term)
        if term is None:
            return None
        state = self._at.state
        truth = state.decide(("o", "==", term, condition.value))
        if truth is None:
            if condition.equal and self._is_never(term, condition.value):
                return False
            if self._analysis.is_entry_value(state, term):
                return Condition(term, condition.value, condition.equal)
            return None
        return None if truth == condition.equal else False

    def _is_never(self, term: Expr, value: Expr) -> bool:
        """Whether a pointer comes from a field that a function is stored in nowhere."""
        if value[0] != "fn" or term[0] != "l" or term[1][0] != "f":
            return False
        functions = self._analysis.program.callbacks(term[1][2])
        return bool(functions) and value[1] not in functions

    def rename(self, need: Need) -> Need:
        """A callee's need in this function's terms."""
        known = self._renamed.get(need)
        if known is None:
            known = self._noting(self._rename, need)
            self._renamed[need] = known
        return known

    def _rename(self, need: Need) -> Need:
        if need.others:
            renamed = (self.evaluate(lock) for lock in need.others)
            others = tuple(strip_lock(lock, self._records) for lock in renamed if lock is not None)
            need = msgspec.structs.replace(need, others=others)
        if need.term is None:
            return need
        term = self.evaluate(need.term)
        if term is not None:
            term = strip_lock(term, self._records)
            others = tuple(replaced(term, *pair) for pair in self._apart if occurs(term, pair[0]))
            if others and not need.absent:
                need = msgspec.structs.replace(need, others=(*need.others, *others))
        if term is not None and need.lock_class == "":
            return msgspec.structs.replace(need, term=term, lock_class=lock_class(term) or "")
        return msgspec.structs.replace(need, term=term)

    def rename_offered(self, offered: tuple[tuple[Expr, str], ...]) -> list[tuple[Expr, str]]:
        """Locks that the callee holds by pointers, in this function's terms."""
        renamed: list[tuple[Expr, str]] = []
        for lock, mode in offered:
            term = self.evaluate(lock)
            if term is not None:
                renamed.append((strip_lock(term, self._records), mode))
        return renamed


def _known_apart(state: State) -> Iterator[tuple[Expr, Expr]]:
    """Pointers of which branches have said that they lead to different objects, either way round.

    The second is one that callers know.
    """
    for term, fact in state.facts.items():
        if term[:2] == ("o", "==") and fact.equal == 0:
            for one, other in (term[2:], (term[3], term[2])):
                if one[0] != "k" and other[0] != "k" and is_entry_term(other):
                    yield one, other


def is_pointer(lock: Expr) -> bool:
    """Whether a lock is known only as a pointer that the caller gave."""
    return lock_class(lock) is None and is_entry_term(lock)


def parameter_object(datum: Expr | None) -> Expr | None:
    """The parameter in whose object a place lies: what callers can say is shared or not."""
    if datum is None:
        return None
    place = object_root(datum)
    return place if place[0] == "p" else None


def parts(term: Expr) -> Iterator[Expr]:
    """A value and what it is computed from."""
    yield term
    if term[0] in ("o", "o1", "ite"):
        for part in term[1:]:
            if type(part) is tuple:
                yield from parts(part)


class Views:
    """The views of states at calls; each is kept with the states that it is of."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._looked_at = LookedAt(analysis)

    def at(self, key: str, at: At) -> CallView:
        """The view of a state in a function, one of those that the analysis keeps."""
        views = self._analysis.solved(key).views
        view = views.get(id(at))
        if not isinstance(view, CallView) or view.is_dropped:
            view = views[id(at)] = CallView(self._analysis, at, kept=True)
        return view.noted()

    def looked_at(self, key: str, at: At) -> frozenset[Member]:
        """What the branches before a call looked into by way of a function's parameters."""
        return self.at(key, at).looked_at(self._looked_at, key)
