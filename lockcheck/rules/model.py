"""What a rule file says, parsed."""

from __future__ import annotations

import msgspec

from lockcheck.findings.model import RuleInfo
from lockcheck.rules.pattern import Pattern


class LockPattern(msgspec.Struct, frozen=True):
    """A lock that a rule asks for, with the mode: "write" or "read"."""

    pattern: Pattern
    mode: str


class UnsharedWhen(msgspec.Struct, frozen=True):
    """When the object is the running function's own: names of functions and callback fields."""

    until: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = ()


class Datum(msgspec.Struct, frozen=True):
    """One guarded datum.

    names: the patterns that it has in one tree or another.
    lock_free: accesses that need no lock: "once" (volatile reads), "test" (compared with NULL
        only), "null" (NULL is stored: a node that is in no list is set up).
    """

    names: tuple[Pattern, ...]
    lock_free: frozenset[str]


class GuardedData(msgspec.Struct, frozen=True):
    """Data that may only be touched under a lock. Rule kinds guarded-data, walk-in-section.

    variables: metavariable → record tag.
    write, read: any one of these locks will do; empty: no lock is needed.
    one_of: exactly one of these guards everything: the one that the writers hold.
    walks: whether a read follows the datum, which words the message.
    """

    variables: dict[str, str]
    data: tuple[Datum, ...]
    write: tuple[LockPattern, ...]
    read: tuple[LockPattern, ...]
    one_of: tuple[LockPattern, ...]
    unshared: UnsharedWhen
    walks: bool


class Forbidden(msgspec.Struct, frozen=True):
    """What a hook must not do: `what` is "sleep", "take" (`name`: a class of locks) or "call"."""

    what: str
    name: str = ""


SLEEP = Forbidden("sleep")


class HookMustNot(msgspec.Struct, frozen=True):
    """Functions reached from `start` through a field of `records` must not do something.

    start: "" for whatever the kernel calls through the places.
    places: fields, and arguments of functions, as models of entry points name them.
    """

    start: str
    records: tuple[str, ...]
    places: tuple[str, ...] = ()
    must_not: tuple[Forbidden, ...] = (SLEEP,)


class Assertions(msgspec.Struct, frozen=True):
    """What the source asserts of locks, by the names of the assertions and contracts."""

    origins: tuple[str, ...]


class AnnotatedData(msgspec.Struct, frozen=True):
    """Members whose declarations name the lock that guards them."""


class DeclaredOrder(msgspec.Struct, frozen=True):
    """Two lock classes: `outer` is never taken while `inner` is held."""

    outer: str
    inner: str


class LockOrder(msgspec.Struct, frozen=True):
    """The order of locks, by rule kind; `orders` for declared ones."""

    kind: str
    orders: tuple[DeclaredOrder, ...] = ()


class SleepInAtomic(msgspec.Struct, frozen=True):
    """Calls in atomic context must not sleep."""


class BalancedLocks(msgspec.Struct, frozen=True):
    """What a function takes and drops, it drops on every path."""


class ReleasedLocks(msgspec.Struct, frozen=True):
    """What is released, is held."""


Check = (
    GuardedData
    | HookMustNot
    | Assertions
    | AnnotatedData
    | SleepInAtomic
    | BalancedLocks
    | ReleasedLocks
    | LockOrder
)


class Rule(msgspec.Struct, frozen=True):
    """A rule: what reports say of it, and what is checked.

    builtin: it came with the package; a rule of the user's that cannot apply is an error.
    """

    info: RuleInfo
    check: Check
    builtin: bool
