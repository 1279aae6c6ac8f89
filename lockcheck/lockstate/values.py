"""What is known of values: facts, and terms by their form. No state is needed for any of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lockcheck.facts.folding import negate, unary
from lockcheck.facts.ir import UNKNOWN, Expr
from lockcheck.lockstate.choices import combine
from lockcheck.lockstate.terms import container, field, is_entry_term

PINNED = -1  # the place of a phi that stands for what a branch has said of a local
CHOSEN = -2  # and below: the place of a phi that stands for which of two constants a local holds


class Fact(NamedTuple):
    """What branches said of a value: it equals a constant, or it differs from some."""

    equal: int | None
    differs: frozenset[int] = frozenset()


def same_array(a: Expr, b: Expr) -> Expr | None:
    """Two pointers into one array, at different offsets, as one at an unknown offset."""
    base, other = _without_offset(a), _without_offset(b)
    if base != other or base == UNKNOWN or base[0] in ("k", "phi"):
        return None
    if "i" in (a[0], b[0]):
        return ("i", base, UNKNOWN)
    return ("o", "+", base, UNKNOWN)


def _without_offset(term: Expr) -> Expr:
    while True:
        if term[0] == "o" and term[1] in ("+", "-"):
            term = term[2]
        elif term[0] == "i":
            term = term[1]
        else:
            return term


_NOT_ZERO = Fact(None, frozenset({0}))


def join_facts(
    facts: dict[Expr, Fact], others: dict[Expr, Fact], not_zero: list[Expr], zero: list[Expr]
) -> bool:
    """Keep what both sides say, and that some terms are not zero, or are; whether that changed
    anything.
    """
    changed = False
    for term, fact in list(facts.items()):
        theirs = others.get(term)
        if theirs == fact:
            continue
        both = common(fact, theirs)
        if both is None and term in not_zero:
            both = _NOT_ZERO
        elif both is None and term in zero:
            both = fact
        if both is None:
            del facts[term]
            changed = True
        elif both != fact:
            facts[term] = both
            changed = True
    for term in not_zero:
        facts.setdefault(term, _NOT_ZERO)
    for term in zero:
        facts.setdefault(term, Fact(0))
    return changed


def common(a: Fact, b: Fact | None) -> Fact | None:
    """What both facts imply."""
    if b is None:
        return None
    if a.equal is not None and b.equal is not None:
        return a if a.equal == b.equal else nonzero(a, b)
    if a.equal is not None:
        return Fact(None, b.differs) if a.equal not in b.differs else nonzero(a, b)
    if b.equal is not None:
        kept = frozenset(d for d in a.differs if d != b.equal)
        return Fact(None, kept) if kept else None
    kept = a.differs & b.differs
    return Fact(None, kept) if kept else None


def never_zero(fact: Fact) -> bool:
    return bool(fact.equal) if fact.equal is not None else 0 in fact.differs


def nonzero(a: Fact, b: Fact) -> Fact | None:
    return Fact(None, frozenset({0})) if never_zero(a) and never_zero(b) else None


def says_more(term: Expr) -> bool:
    """Whether a boolean term is a statement about another one: `!x`, `x == 3`."""
    if term[0] == "o1":
        return bool(term[1] == "!")
    return term[0] == "o" and term[1] in ("==", "!=") and "k" in (term[2][0], term[3][0])


def inside(address: Expr, place: Expr) -> bool:
    """Whether an address lies in a local variable."""
    while address[0] in ("f", "i"):
        address = address[1]
    return address == place


def within(address: Expr, place: Expr) -> bool:
    """Whether an address is a place or a part of it."""
    while address != place:
        if address[0] not in ("f", "i"):
            return False
        address = address[1]
    return True


def loads(term: Expr, place: Expr) -> bool:
    """Whether a term is loaded from a place: the same field of any object, or the same address."""
    if term[0] == "l":
        address = term[1]
        while address[0] == "i":
            address = address[1]
        if address == place or (address[0] == place[0] == "f" and address[2] == place[2]):
            return True
    return any(type(part) is tuple and part and loads(part, place) for part in term[1:])


def reads_memory(term: Expr) -> bool:
    """Whether a value is computed from what was loaded."""
    return term[0] == "l" or any(
        reads_memory(part) for part in term[1:] if type(part) is tuple and part
    )


def compose(expr: Expr, evaluate: Callable[[Expr], Expr]) -> Expr:
    """One level of a composite expression with its parts evaluated."""
    head = expr[0]
    if head == "f":
        return field(evaluate(expr[1]), expr[2])
    if head == "co":
        inner = evaluate(expr[1])
        return UNKNOWN if inner == UNKNOWN else container(inner, expr[2])
    if head == "i":
        return ("i", evaluate(expr[1]), evaluate(expr[2]))
    if head == "o":
        return combine(expr[1], evaluate(expr[2]), evaluate(expr[3]))
    operand = evaluate(expr[2])
    return negate(operand) if expr[1] == "!" else unary(expr[1], operand)


def telling(one: dict[Expr, Fact], other: dict[Expr, Fact]) -> Expr | None:
    """An entry value that is nonzero in one state and zero in the other, if there is one."""
    for term, fact in one.items():
        theirs = other.get(term)
        if theirs is None or theirs.equal != 0 or not never_zero(fact):
            continue
        if is_entry_term(term):
            return term
    return None
