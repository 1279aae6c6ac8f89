"""What calls do to a state: primitives by their models, other functions by their summaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lockcheck.facts.folding import is_local
from lockcheck.facts.ir import UNKNOWN, Event, Expr
from lockcheck.lockstate.locksets import Doubt
from lockcheck.lockstate.memory import Memory
from lockcheck.lockstate.state import State
from lockcheck.lockstate.summary import Condition, Exit, Summary
from lockcheck.lockstate.terms import (
    FOUND,
    is_small,
    lock_class,
    object_root,
    strip_lock,
    substitute,
)
from lockcheck.models.loader import (
    ANY,
    READ,
    WRITE,
    FunctionModel,
    LockEffect,
    Models,
    Query,
)


class Oracle(NamedTuple):
    """What the solver asks of the rest of the program."""

    models: Models
    model: Callable[[str], FunctionModel | None]
    summary: Callable[[str], Summary]
    targets: Callable[[str, int], tuple[str, ...]]  # of an indirect call
    memory: Memory
    is_zeroed: Callable[[str, tuple[Expr, ...]], bool]  # whether a callee's new object is zero
    is_new: Callable[[str, int], bool]  # whether a call returns an object nobody else knows
    publishes: Callable[[str, int, int, bool], bool]  # whether a call makes an argument known
    watched: frozenset[str]  # names of functions whose calls leave a mark in the state
    is_query_helper: Callable[[str], bool]  # whether its result tells what is held
    is_pure: Callable[[str], bool]  # whether a function only looks

    def asserts(self, event: Event) -> bool:
        """Whether an event is where a failed assertion ends."""
        if event[0] != "C" or event[3][0] != "fn":
            return False
        model = self.model(event[3][1])
        return model is not None and bool(model.asserts)


class Transfer:
    """Applies models and summaries to states."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._lock_records = oracle.models.lock_records

    def contract_term(self, state: State, lock: Expr) -> Expr | None:
        """The lock that a contract names, in entry terms; None for a name that stands for none."""
        if lock[0] == "label":
            return self._oracle.models.aliases.get(lock[1])
        return self.lock_term(state.evaluate(lock))

    def lock_term(self, term: Expr) -> Expr:
        term = strip_lock(term, self._lock_records)
        if term[0] == "g":
            # A static variable that a model names goes by that name, without its file.
            name = term[1].partition("@")[0]
            if name in self._oracle.models.globals:
                return ("g", name)
            return self._oracle.models.aliases.get(term[1], term)
        return term

    def _place(self, place: LockEffect | Query, args: tuple[Expr, ...]) -> Expr | None:
        """The lock that a model speaks of."""
        if place.argument is None:
            return place.lock
        if place.argument >= len(args):
            return None
        term = args[place.argument]
        if isinstance(place, LockEffect):
            return self.lock_term(place.in_object(term))
        return self.lock_term(("f", term, place.field) if place.field else term)

    def _query(self, query: Query, args: tuple[Expr, ...]) -> Expr:
        """What a question about a lock returns."""
        lock = self._place(query, args)
        if lock is None or lock == UNKNOWN:
            return UNKNOWN
        if lock[0] == "section":
            lock = self._oracle.models.section(lock[1])
        mode = query.mode
        if query.read is not None:
            read = args[query.read] if query.read < len(args) else UNKNOWN
            if read[0] != "k":
                return UNKNOWN
            mode = {0: WRITE, 1: READ}.get(read[1], ANY)
        return ("held", lock, mode)

    def apply_model(
        self,
        name: str,
        model: FunctionModel,
        state: State,
        args: tuple[Expr, ...],
        result: Expr,
        loc: int,
    ) -> list[State]:
        """What a function does of which a model tells; `name` is its key."""
        if model.constant:
            state.env[result] = ("ap", name)
            return [state]
        if model.query is not None:
            state.env[result] = self._query(model.query, args)
            return [state]
        if model.zeroes is not None and model.zeroes[0] < len(args):
            place = args[model.zeroes[0]]
            for name in model.zeroes[1]:
                place = ("f", place, name)
            state.assign(place, UNKNOWN)
            state.env[result] = ("o", "==", ("l", place), ("k", 0))
            return [state]
        if model.finds is not None and model.finds[0] < len(args):
            place = args[model.finds[0]]
            for name in model.finds[1]:
                place = ("f", place, name)
            value = state.evaluate(("l", place))
            if is_small(value):
                state.env[result] = state.evaluate(("ap", FOUND, value))
            return [state]
        conditional = [e.when for e in (*model.acquires, *model.releases) if e.when is not None]
        states = [state]
        if conditional:
            failed = state.copy()
            state.assume(result, conditional[0])
            failed.assume(result, not conditional[0])
            if not conditional[0]:  # zero, or a negative error number
                failed.assume(("o", "<", result, ("k", 0)), True)
            states.append(failed)
        taken = [(e, term) for e in model.acquires if (term := self._place(e, args)) is not None]
        if any(_is_exclusive(e, term) and state.has_taken(term, e.mode) for e, term in taken):
            # That would be a deadlock: it was dropped on the way, where nobody saw it.
            taken = []
        for effect, term in taken:
            state.acquire(term, effect.mode, loc)
            _assume_object(state, term)
        for effect in model.releases:
            term = self._place(effect, args)
            if term is not None:
                state.release(term, effect.mode, loc)
        if model.downgrades is not None and model.downgrades < len(args):
            state.downgrade(self.lock_term(args[model.downgrades]), loc)
        return states

    def apply_summary(
        self, summary: Summary, state: State, args: tuple[Expr, ...], result: Expr, loc: int
    ) -> list[tuple[State, Exit | None]]:
        """The states after a call, each with the way out that led there."""
        if not summary.exits:
            return [(state, None)]
        outcomes: list[tuple[State, Exit | None]] = []
        last = len(summary.exits) - 1
        for index, exit_ in enumerate(summary.exits):
            outcome = state if index == last else state.copy()
            if assume_all(outcome, exit_.guard, args, self.lock_term):
                self._apply_exit(exit_, outcome, args, result, loc)
                outcomes.append((outcome, exit_))
        return outcomes or [(state, None)]

    def apply_stores(self, exit_: Exit, state: State, args: tuple[Expr, ...]) -> None:
        """What a call has left in objects that it was given."""
        for place, stored in exit_.stores:
            address, value = substitute(place, args), substitute(stored, args)
            if address is None or value is None:
                continue
            if is_local(address):
                state.assign(address, state.evaluate(value))
            else:
                state.remember(address, state.evaluate(value))

    def _apply_exit(
        self, exit_: Exit, state: State, args: tuple[Expr, ...], result: Expr, loc: int
    ) -> None:
        for lock, mode in exit_.released:
            state.release(self._translate(lock, state, args), mode, loc)
        for lock, mode in exit_.acquired:
            state.acquire(self._translate(lock, state, args), mode, loc)
        for unsure in exit_.unsure:
            lock = self._translate(unsure.lock, state, args)
            doubt = Doubt(unsure.mode, loc, unsure.taken, not unsure.taken, unsure.levels)
            state.doubt(lock, doubt)
        if exit_.result is not None:
            term_or_none = substitute(exit_.result, args)
            if term_or_none is not None:
                term = state.evaluate(term_or_none)
                if term[0] == "held":
                    term = ("held", self.lock_term(term[1]), term[2])
                state.env[result] = term
                if exit_.truth is not None and term[0] != "k":
                    state.assume(term, exit_.truth)
        elif exit_.truth is not None:
            state.assume(result, exit_.truth)
        for path, value in exit_.fields:
            member = result
            for name in path:
                member = ("f", member, name)
            known = substitute(value, args)
            state.env[member] = UNKNOWN if known is None else state.evaluate(known)

    def _translate(self, term: Expr, state: State, args: tuple[Expr, ...]) -> Expr:
        if term[0] in ("section", "class", "g"):
            return term
        known = substitute(term, args)
        if known is None:
            return ("class", lock_class(term) or "an unknown lock")
        return self.lock_term(state.evaluate(known))


def _is_exclusive(effect: LockEffect, lock: Expr) -> bool:
    return effect.mode == WRITE and lock[0] != "section"


def _assume_object(state: State, lock: Expr) -> None:
    """A lock that was taken lies in an object: the pointer to it was not NULL."""
    base = object_root(lock)
    if base is not lock and base[0] in ("l", "c", "o"):
        state.assume(base, True)


def assume_all(
    state: State,
    guard: tuple[Condition, ...],
    args: tuple[Expr, ...],
    lock_term: Callable[[Expr], Expr],
) -> bool:
    """Assume a callee's guard at a call; false when it cannot hold there."""
    for condition in guard:
        term = substitute(condition.term, args)
        if term is None:
            continue
        term = state.evaluate(term)
        if term[0] == "held":
            term = ("held", lock_term(term[1]), term[2])
        equality: Expr = ("o", "==", term, condition.value)
        truth = state.decide(equality)
        if truth is None:
            state.assume(equality, condition.equal)
        elif truth != condition.equal:
            return False
    return True
