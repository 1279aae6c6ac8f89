"""Needs: locks that an obligation asks for, and what a lockset says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.state import Held, State
from lockcheck.lockstate.terms import is_entry_term, is_small, lock_class, surely_different
from lockcheck.models.loader import ANY


class Need(msgspec.Struct, frozen=True):
    """A lock that would meet a requirement by being held, or by not being held.

    term: the instance in the function's names, None when only the class is known. A section's
        term may name others that imply it.
    lock_class: e.g. "kvm.mmu_lock", or the name of a section.
    mode: ANY, WRITE, or READ for read and nothing else.
    text: the lock as the rule, or the source, spells it.
    absent: the lock must not be held.
    pointees: classes of locks that `term` may point to, when it is a pointer kept in a field.
    vague: nobody knows all that it may point to.
    others: locks of other objects, which this one is known not to be.
    denied: sections of which branches on the way have said that they are not entered.
    """

    term: Expr | None
    lock_class: str
    mode: str
    text: str
    absent: bool = False
    pointees: tuple[str, ...] = ()
    vague: bool = False
    denied: tuple[str, ...] = ()
    others: tuple[Expr, ...] = ()


class Match(NamedTuple):
    """An entry of a lockset that is, or may be, the needed lock."""

    held: Held
    exact: bool  # the same instance; else known by its class alone


def fits(mode: str, wanted: str) -> bool:
    """Whether a lock held in `mode` is held as wanted."""
    return wanted in (ANY, mode)


AreApart = Callable[[Expr, Expr], bool]  # whether two lock terms surely name different objects


def find(
    locks: Mapping[Expr, Held], need: Need, are_apart: AreApart = surely_different
) -> Match | None:
    """The entry for a needed lock: the same instance, else one of its class that may be it."""
    term = need.term
    if term is not None:
        if term[0] == "section":
            return _find_section(locks, term)
        exact = locks.get(term)
        if exact is not None:
            return Match(exact, True)
    best: Held | None = None
    for other, held in locks.items():
        name = lock_class(other)
        if name != need.lock_class and name not in need.pointees:
            continue
        if are_apart(other, _instance(need)):
            continue
        if best is None or not fits(best.mode, need.mode):
            best = held
    return None if best is None else Match(best, False)


def _find_section(locks: Mapping[Expr, Held], term: Expr) -> Match | None:
    names = term[2] if len(term) > 2 else term[1:2]
    for name in names:
        held = locks.get(("section", name))
        if held is not None:
            return Match(held, True)
    return None


def asserted(state: State, need: Need, are_apart: AreApart = surely_different) -> Match | None:
    """Whether an assertion that control has passed says that a needed lock is held as wanted."""
    term = need.term
    if term is not None and state.holds(("held", term, need.mode)):
        return Match(Held(need.mode, 0), True)
    if term is not None and term[0] == "section":
        return None
    for known, fact in state.facts.items():
        if known[0] != "held" or not fact.equal or not fits(known[2], need.mode):
            continue
        lock = known[1]
        name = lock_class(lock)
        if (name != need.lock_class and name not in need.pointees) or not state.holds(known):
            continue
        if not are_apart(lock, _instance(need)):
            return Match(Held(need.mode, 0), False)
    return None


def at_entry(need: Need) -> Need:
    """A need that callers understand: by class when its instance hangs on something local."""
    others = tuple(lock for lock in need.others if is_entry_term(lock) and is_small(lock))
    if others != need.others:
        need = msgspec.structs.replace(need, others=others)
    if need.term is None or (is_entry_term(need.term) and is_small(need.term)):
        return need
    return msgspec.structs.replace(need, term=None)


def could_meet(lock: Expr, mode: str, need: Need, are_apart: AreApart = surely_different) -> bool:
    """Whether a lock that is held is the needed one, in a mode that will do."""
    if need.absent or lock_class(lock) != need.lock_class or not fits(mode, need.mode):
        return False
    return not are_apart(lock, _instance(need))


def _instance(need: Need) -> Expr:
    """The term of a needed lock; of one that is only known by its class, the class."""
    return ("class", need.lock_class) if need.term is None else need.term
