"""Choices of constants: ("ite", test, a, b), and what comes of computing with them."""

from __future__ import annotations

from lockcheck.facts.folding import binary
from lockcheck.facts.ir import Expr


def choice(test: Expr, if_true: Expr, if_false: Expr) -> Expr:
    """One of two values, as a test says."""
    return if_true if if_true == if_false else ("ite", test, if_true, if_false)


def is_known(value: Expr) -> bool:
    """Whether a value is a constant, a function or a variable's address, or a choice of such."""
    if value[0] == "ite":
        return is_known(value[2]) and is_known(value[3])
    return value[0] in ("k", "fn", "g")


def combine(op: str, a: Expr, b: Expr) -> Expr:
    """`a op b`; of a choice and a constant, it is a choice again, or a constant."""
    if "ite" in (a[0], b[0]):
        chosen = _of_choice(op, a, b)
        if chosen is not None:
            return chosen
    return binary(op, a, b)


def _of_choice(op: str, a: Expr, b: Expr) -> Expr | None:
    if a[0] == "ite":
        if b[0] == "ite":
            return None
        one, other = _of_known(op, a[2], b), _of_known(op, a[3], b)
        test = a[1]
    else:
        one, other = _of_known(op, a, b[2]), _of_known(op, a, b[3])
        test = b[1]
    return None if one is None or other is None else choice(test, one, other)


def _of_known(op: str, a: Expr, b: Expr) -> Expr | None:
    if "ite" in (a[0], b[0]):
        return _of_choice(op, a, b)
    if a[0] == "k" and b[0] == "k":
        return binary(op, a, b)
    if op not in ("==", "!=") or not (is_known(a) and is_known(b)):
        return None
    if "k" in (a[0], b[0]) and ("k", 0) not in (a, b):
        return None  # a number that stands for an address
    return ("k", int((a == b) == (op == "==")))
