"""What a run reports: findings with their evidence. Reporters render these, nothing else."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from lockcheck.errors import Notice


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class StepKind(StrEnum):
    """What happens at one step of the chain that leads to a finding."""

    ENTRY = "entry"  # where the chain begins: no caller in the units read
    CALL = "call"  # a call, direct or through a field
    ACQUIRE = "acquire"  # a lock or section is taken
    RELEASE = "release"  # a lock or section is dropped
    ACCESS = "access"  # the guarded datum is touched
    SLEEP = "sleep"  # the primitive that may sleep
    ASSERTION = "assertion"  # what the source asserts, and what does not hold
    NOTE = "note"


class Location(msgspec.Struct, frozen=True, order=True):
    """A place in the kernel source. `file` is relative to the tree, line and column are 1-based.

    function: the C function that contains it, empty outside of functions.
    """

    file: str
    line: int
    column: int
    function: str = ""


class Step(msgspec.Struct, frozen=True):
    """One step of a call chain, outermost first. `nesting` is the call depth, 0 at the entry."""

    kind: StepKind
    location: Location
    message: str
    nesting: int = 0


class Suppression(msgspec.Struct, frozen=True):
    """Why a finding is not shown: an entry of the user's lockcheck.toml."""

    rule: str
    function: str
    reason: str
    file: str  # the suppression file
    line: int  # of the entry in that file
    expires: str | None = None  # ISO date


class BaselineState(StrEnum):
    """How a finding stands to those of an earlier run, in the words of SARIF."""

    NEW = "new"
    UNCHANGED = "unchanged"
    ABSENT = "absent"  # it was there, and is not any more


class Finding(msgspec.Struct, frozen=True):
    """A violated obligation: a claim about the kernel code.

    rule_id: the rule that states the obligation.
    message: one sentence: what is needed, what is held, by which path.
    location: where the obligation is not met.
    chain: from the entry point to `location`, outermost first; also where a lock was taken/dropped.
    related: other places worth reading (declaration of the lock, the writers that hold it).
    fingerprint: of the meaning (rule, function, datum, lock, ordinal), never of line numbers.
    baseline: how it stands to the baseline; None when there is none.
    configurations: names of those that show it, when several were checked.
    """

    rule_id: str
    level: Level
    message: str
    location: Location
    chain: tuple[Step, ...]
    related: tuple[Step, ...]
    fingerprint: str
    suppression: Suppression | None = None
    baseline: BaselineState | None = None
    configurations: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it decides the exit status: nobody has accepted it, and it is not an old one."""
        return self.suppression is None and self.baseline in (None, BaselineState.NEW)


class RuleInfo(msgspec.Struct, frozen=True):
    """What reporters need to know of a rule: the text that explains it to a reader."""

    rule_id: str
    title: str  # one line
    rationale: str  # Markdown paragraphs
    bad_example: str  # C
    good_example: str  # C
    level: Level
    cwe: tuple[str, ...]  # e.g. ("CWE-667",)
    file: str  # the rule file
    off: bool = False  # not checked unless the user asks for it


class TreeInfo(msgspec.Struct, frozen=True):
    """The tree that was checked, as far as reports name it."""

    root: str  # absolute directory
    version: str  # e.g. "6.12.117"
    git_revision: str | None  # HEAD, when the tree is a git work tree
    git_remote: str | None
    config: str = ""  # the architecture, and a digest of .config that tells it from others
    compiler: str = ""  # what it is configured for, e.g. "gcc (Debian 12.2.0-14) 12.2.0"


class Outcome(StrEnum):
    """How an obligation ended."""

    PROVED = "proved"  # true in every context that reaches it
    VIOLATED = "violated"  # a chain from an entry point reaches it, and it is not true there
    UNPROVED = "unproved"  # something is not known: see the reason


class LedgerEntry(msgspec.Struct, frozen=True):
    """One obligation and how it ended.

    origin: the assertion that states it, or the id of the rule.
    location: of the obligation; one stated in a header is listed at each call that reaches it.
    requirement: what has to be true there, in the names of that function.
    lock: the lock classes that are asked for.
    reason: why it is proved, which finding it is, or what would decide it.
    no_caller: unproved only because nobody in the units calls the function, or one above it.
    modes: how each of `lock` has to be held: "any", "write", "read" or "section"; "absent" for one
        that must not be.
    """

    outcome: Outcome
    origin: str
    rule_id: str
    location: Location
    requirement: str
    lock: tuple[str, ...]
    reason: str
    no_caller: bool = False
    modes: tuple[str, ...] = ()


class LedgerCount(msgspec.Struct, frozen=True):
    """Obligations of one origin (an assertion or a rule id), by how they ended."""

    origin: str
    proved: int
    violated: int
    unproved: int


class Report(msgspec.Struct, frozen=True):
    """Everything that a reporter may render. Findings are sorted by location, then rule.

    notices: see lockcheck.errors.Notice; `complete` is false when any of them is an ERROR.
    obligations: each one, in order of location; `ledger` counts them by origin.
    units: number of translation units read.
    absent: findings of the baseline that are there no more; None without a baseline.
    configurations: names of all that were checked, when there are several; `units` is their sum.
    """

    findings: tuple[Finding, ...]  # suppressed ones included, with `suppression` set
    notices: tuple[Notice, ...]
    rules: tuple[RuleInfo, ...]
    tree: TreeInfo
    ledger: tuple[LedgerCount, ...]
    units: int
    command_line: tuple[str, ...]
    started: str  # UTC, ISO 8601 with Z
    ended: str
    complete: bool
    obligations: tuple[LedgerEntry, ...] = ()
    absent: tuple[Finding, ...] | None = None
    configurations: tuple[str, ...] = ()
