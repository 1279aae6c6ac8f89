"""What a function does to the locks of its caller."""

from __future__ import annotations

import msgspec

from lockcheck.facts.ir import Expr


class Condition(msgspec.Struct, frozen=True):
    """A condition over entry terms: `term == value` or `term != value`.

    value: ("k", number), ("fn", key), or ("in", number, …) for any of some numbers.
    """

    term: Expr
    value: Expr
    equal: bool


class Exit(msgspec.Struct, frozen=True):
    """One way a function returns.

    guard: conditions at entry under which it returns this way.
    acquired, released: (lock term, mode) net over the call, in entry terms.
    result: the term that it returns, if entry terms can say it.
    truth: whether the result is nonzero, when that is known.
    fields: terms of the members of a struct returned by value, by their field path.
    """

    guard: tuple[Condition, ...]
    acquired: tuple[tuple[Expr, str], ...]
    released: tuple[tuple[Expr, str], ...]
    result: Expr | None
    truth: bool | None
    fields: tuple[tuple[tuple[str, ...], Expr], ...] = ()

    @property
    def has_effect(self) -> bool:
        return bool(self.acquired or self.released)


class Summary(msgspec.Struct, frozen=True):
    """All the ways a function returns; no exits: nothing is known, and nothing is assumed."""

    exits: tuple[Exit, ...] = ()

    @property
    def has_effect(self) -> bool:
        return any(exit_.has_effect for exit_ in self.exits)


NO_SUMMARY = Summary()
