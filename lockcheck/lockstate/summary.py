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


class Unsure(msgspec.Struct, frozen=True):
    """A lock that a function may have taken, or dropped (see lockstate.balance).

    levels: of callers, upwards, that are told so.
    """

    lock: Expr
    mode: str
    taken: bool
    levels: int


class Exit(msgspec.Struct, frozen=True):
    """One way a function returns.

    guard: conditions at entry under which it returns this way.
    acquired, released: (lock term, mode) net over the call, in entry terms.
    result: the term that it returns, if entry terms can say it.
    truth: whether the result is nonzero, when that is known.
    fields: terms of the members of a struct returned by value, by their field path.
    unsure: what it may have taken or dropped, nobody can tell.
    stores: (address, value) of what it leaves in fields of objects that it was given.
    """

    guard: tuple[Condition, ...]
    acquired: tuple[tuple[Expr, str], ...]
    released: tuple[tuple[Expr, str], ...]
    result: Expr | None
    truth: bool | None
    fields: tuple[tuple[tuple[str, ...], Expr], ...] = ()
    unsure: tuple[Unsure, ...] = ()
    stores: tuple[tuple[Expr, Expr], ...] = ()

    @property
    def has_effect(self) -> bool:
        return bool(self.acquired or self.released or self.unsure)


def join(a: Exit, b: Exit) -> Exit:
    """Two exits with the same effect, as one."""
    return Exit(
        guard=tuple(condition for condition in a.guard if condition in b.guard),
        acquired=a.acquired,
        released=a.released,
        result=a.result if a.result == b.result else None,
        truth=a.truth if a.truth == b.truth else None,
        fields=a.fields if a.fields == b.fields else (),
        unsure=tuple(sorted({*a.unsure, *b.unsure}, key=repr)),
        stores=tuple(store for store in a.stores if store in b.stores),
    )


class Summary(msgspec.Struct, frozen=True):
    """All the ways a function returns; no exits: nothing is known, and nothing is assumed.

    settled: false when there were too many to keep them all.
    """

    exits: tuple[Exit, ...] = ()
    settled: bool = True

    @property
    def has_effect(self) -> bool:
        return any(exit_.has_effect for exit_ in self.exits)


NO_SUMMARY = Summary()
