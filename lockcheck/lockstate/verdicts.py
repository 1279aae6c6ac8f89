"""The words of requirements: contexts, verdicts, edges, and how an obligation ends."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

import msgspec

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.state import Held
from lockcheck.lockstate.summary import Condition


class Context(msgspec.Struct, frozen=True):
    """A requirement at the entry of one function: one of `needs`, whenever `guard` holds.

    datum: the parameter whose object is touched, None when it is no parameter's.
    offered: (lock, mode) held by pointers whose class callers know: `write_lock(l)`.
    opaque: whether the requirement also hangs on conditions that callers cannot be asked about.
    looked_at: (parameter, field) of the objects that conditions on the way look into; see LookedAt.
    alternatives: those of the guard that say that nothing else than a lock meets the requirement.
    maybes: how many functions on the way make the call that leads there on some of their ways only.
    doubt: why the chain may not be possible, where something that is not followed decides that.
    counted: whether a counter of references that is zero would meet the requirement, too.
    part: the beginning of file names that the chain has committed to, of exclusive ones.
    """

    function: str
    needs: tuple[Need, ...]
    datum: Expr | None
    guard: tuple[Condition, ...]
    offered: tuple[tuple[Expr, str], ...]
    opaque: bool
    part: str = ""
    looked_at: frozenset[tuple[int, str]] = frozenset()
    doubt: str = ""
    maybes: int = 0
    alternatives: tuple[Condition, ...] = ()
    counted: bool = False


class Verdict(Enum):
    """What a place says of a requirement."""

    HELD = "held"
    UNSHARED = "unshared"  # nobody else can see the object yet, or any more
    LIFTED = "lifted"  # the caller has to say
    BROKEN = "broken"  # no caller can mend it: wrong mode, or dropped here
    UNDECIDED = "undecided"  # see `why`
    INFEASIBLE = "infeasible"


class Judgement(NamedTuple):
    """What a place says of needs.

    open_needs: those that callers may still meet. by_class: the lock that meets them was known by
    its class only. asserted: what it rests on when an assertion that control has passed says that
    they are met. why: what an undecided one hangs on; {name} is the function, {lock} the lock.
    """

    verdict: Verdict
    open_needs: tuple[Need, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    by_class: bool = False
    asserted: Asserted | None = None
    why: str = ""


class Asserted(NamedTuple):
    """Assertions in `function`, or in what it calls, about locks of a class or about a section."""

    function: str
    lock_class: str


class Evidence(NamedTuple):
    """A lock event that explains a verdict: held in the wrong mode, or dropped, in `function`.

    own: the function had taken what it dropped, so its callers do not hold that lock.
    another: what was dropped is the lock of an object that the needed one is known not to be.
    """

    need: Need
    held: Held
    dropped: bool
    function: str
    own: bool = False
    another: bool = False


class Edge(NamedTuple):
    """What one caller says of a context."""

    caller: str
    call: int
    loc: int
    slot: str | None
    verdict: Verdict
    above: Context | None  # for LIFTED
    evidence: tuple[Evidence, ...]
    by_class: bool = False  # for HELD
    why: str = ""  # for UNDECIDED: what decides
    asserted: Asserted | None = None  # for HELD, as in Judgement


class Violation(NamedTuple):
    """A path on which a requirement is not met. `path` goes from the obligation's function up.

    context: the context of the obligation's own function.
    path: edges, innermost first; the last one is BROKEN, or its caller is an entry point.
    siblings: for each edge, whether another caller of the same function met the requirement.
    """

    path: tuple[Edge, ...]
    siblings: tuple[bool, ...]
    evidence: tuple[Evidence, ...]
    entry: str  # how control gets to the outermost function, "" where a caller breaks it


class Gap(Enum):
    """Why an obligation could not be decided."""

    NO_CALLER = "no caller"
    UNKNOWN_CALLER = "unknown caller"
    CONDITION = "condition"
    BUDGET = "budget"


class Reason(NamedTuple):
    """A gap in words: what would have to be known."""

    gap: Gap
    text: str


class Outcome(NamedTuple):
    """How an obligation ended. No violation and no reason: it is proved."""

    violations: tuple[Violation, ...]
    unproved: tuple[Reason, ...]
    held: bool  # some caller meets it with the lock
    by_class: bool = False  # the proof rests on the class of a lock somewhere
    asserted: frozenset[Asserted] = frozenset()  # what the proof rests on


class Unshared(msgspec.Struct, frozen=True):
    """When nobody but the running function can reach an object (data of a rule).

    until: functions that make it known to others; a function that calls one of them has it to
        itself up to that call. after: functions that take it back. callbacks: functions that are
        called while the object is being set up or torn down.
    """

    until: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    callbacks: frozenset[str] = frozenset()
