"""The contexts that a function runs in: what is held whenever control gets to it.

Searched upwards from the function, breadth first, so that the chain kept for each different lockset
is a shortest one. Locks travel down the chain in the other direction: what a caller holds is named
by the arguments through which the callee reaches it, else by its class, and what a function on the
way drops is taken off.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from lockcheck.callgraph.calls import CallSite
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.callview import CallView, parameter_object
from lockcheck.lockstate.entries import Entries, Incoming
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import is_entry_term, lock_class, root
from lockcheck.models.loader import ANY

MAX_NODES = 20_000  # (function, lockset) pairs looked at for one function
MAX_GUARD = 4  # conditions that are carried up: enough to tell flags apart

Lock = tuple[Expr, str]  # in the terms of the function asked about, and its mode


class ChainStep(NamedTuple):
    """A call on the way down to the function."""

    caller: str
    loc: int
    slot: str | None
    callee: str


class Surroundings(NamedTuple):
    """One context.

    locks: what is held at the function's entry. chain: from the outermost function down.
    entry: how control gets to that one; complete: whether that is known. private: nobody else can
        reach the object that was asked about.
    """

    locks: frozenset[Lock]
    chain: tuple[ChainStep, ...]
    entry: str
    complete: bool
    private: bool = False


class Found(NamedTuple):
    """All contexts of a function; `cut`: there were too many to look at."""

    contexts: tuple[Surroundings, ...]
    cut: bool


class _Node(NamedTuple):
    function: str
    locks: frozenset[Lock]
    guard: tuple[Condition, ...]
    datum: Expr | None  # the parameter whose object was asked about
    below: _Node | None
    at: At | None  # the state at the call in this function that leads down
    step: ChainStep | None


class ContextFinder:
    """Finds contexts; answers are remembered."""

    def __init__(self, analysis: Analysis, trusting: bool = True) -> None:
        """`trusting`: whether callers outside of which no model tells hold nothing; else a context
        that they make is not `complete`."""
        self._analysis = analysis
        self._program = analysis.program
        self._entries = Entries(analysis.program, trusting)
        self._open = {Incoming.NO_CALLER} if trusting else {Incoming.NO_CALLER, Incoming.UNKNOWN}
        self._views: dict[int, CallView] = {}
        self._known: dict[tuple[str, Expr | None, tuple[Condition, ...]], Found] = {}

    def contexts(
        self, key: str, datum: Expr | None = None, guard: tuple[Condition, ...] = ()
    ) -> Found:
        """The contexts of a function, by lockset, shortest chains first.

        datum: the parameter whose object it is about, to tell contexts in which nobody else knows
            the object yet.
        guard: conditions over entry terms of the function that have to be possible.
        """
        found = self._known.get((key, datum, guard))
        if found is None:
            found = self._search(key, datum, guard)
            self._known[key, datum, guard] = found
        return found

    def _search(self, key: str, datum: Expr | None, guard: tuple[Condition, ...]) -> Found:
        start = _Node(key, frozenset(), guard, datum, None, None, None)
        seen: set[tuple[object, ...]] = {(key, start.locks, datum)}
        queue = deque([start])
        ended: dict[tuple[object, ...], Surroundings] = {}
        while queue:
            node = queue.popleft()
            entry = self._entries.judge(node.function, ())
            if entry.incoming is not Incoming.CLOSED:
                self._end(node, entry.text, entry.incoming not in self._open, ended)
            for site in self._program.callers.get(node.function, ()):
                for above, private in self._up(node, site):
                    if private:
                        self._end(above, "the object is new", True, ended, private=True)
                    elif (above.function, above.locks, above.datum) not in seen:
                        seen.add((above.function, above.locks, above.datum))
                        queue.append(above)
            if len(seen) > MAX_NODES:
                return Found(_sorted(ended), True)
        return Found(_sorted(ended), False)

    def _end(
        self,
        node: _Node,
        entry: str,
        complete: bool,
        ended: dict[tuple[object, ...], Surroundings],
        private: bool = False,
    ) -> None:
        private = private or self._entries.is_private(node.function)
        held = self._entries.holds(node.function)
        locks = node.locks | frozenset((("class", h.lock_class), h.mode) for h in held)
        chain: list[ChainStep] = []
        at: _Node | None = node
        while at is not None and at.step is not None:
            chain.append(at.step)
            at = at.below
        found = Surroundings(locks, tuple(chain), entry, complete, private)
        ended.setdefault((locks, complete, private), found)

    def _up(self, node: _Node, site: CallSite) -> list[tuple[_Node, bool]]:
        """What each state at a call adds; whether the object is known to nobody else there."""
        found: dict[tuple[object, ...], tuple[_Node, bool]] = {}
        step = ChainStep(site.caller, site.loc, site.slot, node.function)
        for at in self._analysis.states_at(site.caller, site.call):
            view = self._views.get(id(at))
            if view is None:
                view = CallView(self._analysis, at)
                self._views[id(at)] = view
            guard = self._guard(node, site, view)
            locks = None if guard is None else _with_locks(node, at)
            if guard is None or locks is None:
                continue
            datum = None if node.datum is None else view.evaluate(node.datum)
            private = datum is not None and self._analysis.is_unshared(site.caller, at.state, datum)
            datum = parameter_object(datum)
            above = _Node(site.caller, locks, guard, datum, node, at, step)
            found.setdefault((locks, guard, datum, private), (above, private))
        return list(found.values())

    def _guard(self, node: _Node, site: CallSite, view: CallView) -> tuple[Condition, ...] | None:
        """The conditions for the way down, None when they cannot hold here."""
        guard: list[Condition] = []
        if site.slot is not None:
            through = view.through(node.function)
            if through is False:
                return None
            if through is not None:
                guard.append(through)
        for condition in node.guard:
            lifted = view.lift(condition)
            if lifted is False:
                return None
            if lifted is not None and lifted not in guard:
                guard.append(lifted)
        guard.extend(c for c in view.guard if c not in guard)
        return tuple(guard[:MAX_GUARD])


def _with_locks(node: _Node, at: At) -> frozenset[Lock] | None:
    """The locks below, and those held at a call; None where an assertion on the way denies them.

    An assertion that was passed is relied on: it says what is held, and in which mode.
    """
    held = {term: lock.mode for term, lock in at.state.held.items()}
    asserted = {
        fact[1]: fact[2]
        for fact, known in at.state.facts.items()
        if fact[0] == "held" and known.equal and fact[2] != ANY and at.state.holds(fact)
    }
    locks = dict(node.locks)
    for term, mode in (*asserted.items(), *held.items()):
        lowered = _lowered(term, at, node)
        if lowered is None:
            continue
        known_mode = locks.get(lowered)
        if known_mode is not None and known_mode != mode:
            return None
        locks[lowered] = mode
    return frozenset(locks.items())


def _lowered(term: Expr, at: At, node: _Node) -> Expr | None:
    """A lock held at a call in the terms of the function at the bottom, None if it is dropped."""
    below: _Node | None = node
    while below is not None:
        term = _for_callee(term, at.terms[1:])
        if below.at is None:
            return term
        at = below.at
        if any(_is_same(term, dropped) for dropped in at.state.dropped):
            return None
        below = below.below
    return term


def _is_same(lock: Expr, dropped: Expr) -> bool:
    if lock == dropped:
        return True
    return bool(lock[0] == "class" and lock_class(dropped) == lock[1])


def _for_callee(term: Expr, args: tuple[Expr, ...]) -> Expr:
    """A caller's lock in the names of a callee: through an argument, else by its class."""
    if term[0] in ("section", "class") or root(term)[0] == "g":
        return term
    for index, arg in enumerate(args):
        if arg[0] == "k":
            continue
        renamed = _replace(term, arg, ("p", index))
        if renamed is not None:
            return renamed
    return ("class", lock_class(term) or "a lock")


def _replace(term: Expr, part: Expr, by: Expr) -> Expr | None:
    """A place that hangs on `part`, hung on `by` instead; None when it does not."""
    if term == part:
        return by
    if term[0] not in ("f", "l", "i", "co"):
        return None
    inner = _replace(term[1], part, by)
    if inner is None:
        return None
    renamed: Expr = (term[0], inner, *term[2:])
    return renamed if is_entry_term(renamed) else None


def _sorted(
    ended: dict[tuple[object, ...], Surroundings],
) -> tuple[Surroundings, ...]:
    def rank(context: Surroundings) -> tuple[bool, int, str]:
        return not context.complete, len(context.chain), repr(context.chain)

    return tuple(sorted(ended.values(), key=rank))
