"""The order in which locks nest, as an answer."""

from __future__ import annotations

import msgspec

from lockcheck.findings.model import Location


class Nesting(msgspec.Struct, frozen=True):
    """One class of locks inside of another.

    outer, inner: the classes, `record.member` or a variable, with `/n` for lockdep's subclass.
    waits: the inner one is not taken: a grace period of its readers is waited for.
    places: how many calls nest them so. location, text: one of the shortest, in words.
    """

    outer: str
    inner: str
    waits: bool
    places: int
    location: Location
    text: str


class OrderAnswer(msgspec.Struct, frozen=True):
    """All nestings, by outer and inner class, and the sets of classes that nest in circles."""

    nestings: tuple[Nesting, ...]
    cycles: tuple[tuple[str, ...], ...]
