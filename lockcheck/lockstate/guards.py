"""Guards: what a state says of values at entry, as conditions that callers can be asked about."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.state import Fact, State
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import is_entry_term, root

MAX_GUARD = 8  # conditions that a guard keeps
MAX_GUARD_DEPTH = 8  # nesting of a term in a guard


def held_conditions(state: State) -> tuple[Condition, ...]:
    """What branches have said of locks that callers can name, as those were at entry."""
    return tuple(
        sorted(
            (
                Condition(term, ("k", fact.equal or 0), True)
                for term, fact in state.facts.items()
                if term[0] == "held"
                and is_entry_term(term)
                # asked after the function had taken or dropped it itself
                and not _touches(state.held if fact.equal else state.dropped, term[1])
            ),
            key=repr,
        )
    )


def _touches(locks: Mapping[Expr, object], lock: Expr) -> bool:
    if lock[0] != "section":
        return lock in locks
    return any(("section", name) in locks for name in (lock[2] if len(lock) > 2 else lock[1:2]))


def guard(state: State, is_entry: Callable[[Expr, Fact], bool]) -> tuple[Condition, ...]:
    found: list[tuple[int, str, Condition]] = []
    past = state.past
    for term, fact in (*past.items(), *state.facts.items()):
        if root_of_value(term)[0] != "p":
            continue
        if fact is not past.get(term) and (term in past or not is_entry(term, fact)):
            continue
        size = _size(term)
        if size > MAX_GUARD_DEPTH:
            continue
        found.extend((size, repr(term), condition) for condition in _conditions(term, fact))
    found.sort(key=lambda item: item[:2])
    return tuple(condition for _, _, condition in found[:MAX_GUARD])


def root_of_value(term: Expr) -> Expr:
    """The leaf of the first operand of a value term."""
    while True:
        while term[0] in ("o", "o1") or (term[0] == "ap" and len(term) > 2):
            term = term[2]
        term = root(term)
        if term[0] != "ite":
            return term
        term = term[1]


def _size(term: Expr) -> int:
    size = 0
    while term[0] in ("f", "i", "l", "co", "o", "o1"):
        term = term[2] if term[0] in ("o", "o1") else term[1]
        size += 1
    return size


def _conditions(term: Expr, fact: Fact) -> list[Condition]:
    if fact.equal is not None:
        return [Condition(term, ("k", fact.equal), True)]
    return [differs_from(term, fact.differs)]


def differs_from(term: Expr, numbers: frozenset[int]) -> Condition:
    """The condition that a value is none of some numbers."""
    if len(numbers) == 1:
        return Condition(term, ("k", *numbers), False)
    return Condition(term, ("in", *sorted(numbers)), False)
