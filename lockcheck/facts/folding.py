"""Constant folding and normal forms of value expressions."""

from __future__ import annotations

from collections.abc import Callable

from lockcheck.facts.ir import UNKNOWN, Expr


def _quotient(a: int, b: int) -> int:
    """C's division: towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_FOLD: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b if 0 <= b < 128 else 0,
    ">>": lambda a, b: a >> b if 0 <= b < 128 else 0,
    "==": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    ">": lambda a, b: int(a > b),
    "<=": lambda a, b: int(a <= b),
    ">=": lambda a, b: int(a >= b),
    "/": lambda a, b: _quotient(a, b) if b else 0,
    "%": lambda a, b: a - b * _quotient(a, b) if b else 0,
}
COMPARISONS = frozenset({"==", "!=", "<", ">", "<=", ">="})
_ADDRESS_HEADS = frozenset({"v", "g", "f", "i"})


def binary(op: str, a: Expr, b: Expr) -> Expr:
    """`a op b`, folded when both are constants; a container_of is recognised by its shape.

    IMPRECISE: constants are not cut to the width of their type.
    """
    if a[0] == "k" and b[0] == "k":
        return ("k", _FOLD[op](a[1], b[1]))
    if op == "-" and b[0] == "off":
        return ("co", a, b[1])
    if op == "&" and b[0] == "k" and a[0] == "o" and a[1] == "&":
        # (x & 6) & 3 is x & 2, and (x & 4) & 3 is 0.
        _, _, left, right = a
        if left[0] == "k":
            left, right = right, left
        if right[0] == "k":
            a, b = left, ("k", right[1] & b[1])
    elif op == "&" and b[0] == "k" and a[0] == "o" and a[1] == "|":
        # (x | 4) & 3 is x & 3.
        _, _, left, right = a
        if right[0] == "k" and right[1] & b[1] == 0:
            a = left
    if op in ("&", "*") and (a == ("k", 0) or b == ("k", 0)):
        return ("k", 0)
    if op in ("+", "-", "|", "^", "<<", ">>") and b == ("k", 0):
        return a
    if op in ("+", "|", "^") and a == ("k", 0):
        return b
    if a == UNKNOWN and b == UNKNOWN:
        return UNKNOWN
    return ("o", op, a, b)


def negate(value: Expr) -> Expr:
    """`!value`"""
    if value[0] == "k":
        return ("k", int(not value[1]))
    if value[0] == "fn":
        return ("k", 0)
    if value[0] == "o1" and value[1] == "!" and is_boolean(value[2]):
        inner: Expr = value[2]
        return inner
    return ("o1", "!", value)


def unary(op: str, value: Expr) -> Expr:
    """`-value` or `~value`"""
    if value[0] == "k":
        return ("k", -value[1] if op == "-" else ~value[1])
    return UNKNOWN if value == UNKNOWN else ("o1", op, value)


def is_boolean(value: Expr) -> bool:
    """Whether a value is 0 or 1 by its form."""
    return (value[0] == "o" and value[1] in COMPARISONS) or (value[0] == "o1" and value[1] == "!")


def element(base: Expr, index: Expr) -> Expr:
    """The address of `base[index]`."""
    return ("i", base, index)


def is_local(address: Expr) -> bool:
    """Whether an address lies inside a local variable."""
    while address[0] in ("f", "i"):
        address = address[1]
    return bool(address[0] == "v")


def is_address(expr: Expr) -> bool:
    """Whether an expression is the address of a named place (and so never NULL)."""
    return expr[0] in _ADDRESS_HEADS
