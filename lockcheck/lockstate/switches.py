"""Where a switch goes from a state, and what its cases say of the value."""

from __future__ import annotations

from collections.abc import Iterable

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.state import State


def switch(terminator: Expr, state: State) -> list[tuple[int, State]]:
    """The blocks that a switch may go to, with their states; `state` becomes one of them."""
    _, value, cases, default, _ = terminator
    term = state.evaluate(value)
    if term[0] == "k":
        for low, high, target in cases:
            if low <= term[1] <= high:
                return [(target, state)]
        return [(default, state)]
    out: list[tuple[int, State]] = []
    bounds = _bounds(term, cases)
    for low, high, target in cases:
        around = bounds.get(target, ())
        if any(state.decide(bound) is False for bound in around):
            continue
        taken = state.copy()
        if low == high:
            equal: Expr = ("o", "==", term, ("k", low))
            if state.decide(equal) is False:
                continue
            taken.assume(equal, True)
            state.assume(equal, False)
        for bound in around:
            taken.assume(bound, True)
        out.append((target, taken))
    out.append((default, state))
    return out


def _bounds(term: Expr, cases: Iterable[tuple[int, int, int]]) -> dict[int, tuple[Expr, ...]]:
    """What the cases of a switch say of its value, by block, for those with a range.

    IMPRECISE: of several ranges, from the lowest to the highest; see
    fixtures/lock-assertion/good_case_range.c.
    """
    found: dict[int, tuple[int, int]] = {}
    ranges = {block for low, high, block in cases if low != high}
    for low, high, block in cases:
        if block in ranges:
            lowest, highest = found.get(block, (low, high))
            found[block] = min(low, lowest), max(high, highest)
    return {
        block: (("o", ">=", term, ("k", low)), ("o", "<=", term, ("k", high)))
        for block, (low, high) in found.items()
    }
