"""Why a chain of calls may not be possible, or a place on it leaves a requirement undecided."""

from __future__ import annotations

import msgspec

from lockcheck.lockstate.verdicts import Context, Edge, Evidence, Gap, Reason, Verdict

MAX_TARGETS = 12  # functions that a pointer may lead to before it says little about each of them
MAX_SLEEP_MAYBES = 2  # functions on a way down to sleep that go on under conditions only
MAX_MAYBES = 3  # calls on a chain that are made on some ways only, for what must not be held


def reason_in(function: str, why: str, evidence: tuple[Evidence, ...]) -> Reason:
    """Why a place in a function leaves a requirement undecided."""
    name = function.split("@", 1)[0]
    lock = evidence[0].need.text if evidence else "the lock"
    return Reason(Gap.CONDITION, why.format(name=f"{name}()", lock=lock))


# Why an edge is undecided; {name} is the caller.
SETS_UP = (
    "{name} passes an object that it is setting up, and what it has stored there is not followed"
)
WITH_AND_WITHOUT = (
    "{name} calls it on paths with and without {lock}, as a condition says that is not followed"
)
UNSETTLED = "{name} has too many different lock states to follow them all"
MANY_CONDITIONS = "{name} is reached under too many different conditions to follow them all"
EITHER_MODE = "{name} holds {lock} for read or for write, as a condition says that is not followed"
WHOM = "{name} calls one of {count} functions through a pointer, and which one is not followed"
ALTERNATIVE = "something else than a lock would do, and whether it is so is not followed"
BY_CONTEXT = "{name} asks in which context the kernel is, and the answer is not followed"
SOMETIMES = "{name} asserts the lock in some cases only, and which of them this is is not followed"
LAST_REFERENCE = (
    "it may run for the last reference only, and whether a counter is zero then is not followed"
)
ANOTHER = "{name} drops a lock, and whether it is {lock} of what is found below is not followed"
SLEEPS_FAR_BELOW = (
    f"it hangs on conditions in more than {MAX_SLEEP_MAYBES} functions that are not followed"
)
FAR_BELOW = f"it hangs on conditions in more than {MAX_MAYBES} functions that are not followed"


def is_table(slot: str) -> bool:
    """Whether an indirect call is one through a variable: any of what it holds is meant.

    See fixtures/lock-assertion/bad_table.c.
    """
    return slot.startswith("variable ")


def unsure_whom(edge: Edge, targets: int) -> Edge:
    """A call through a field that every kind of object has, such as notifier_block.notifier_call.

    By the field alone it may reach any of them; see fixtures/lock-assertion/good_many_callbacks.c.
    """
    why = WHOM.replace("{count}", str(targets))
    if edge.above is not None:
        return edge._replace(above=doubted(edge.above, why))
    if edge.verdict is Verdict.BROKEN:
        return edge._replace(verdict=Verdict.UNDECIDED, why=why)
    return edge


def drops_another(evidence: tuple[Evidence, ...]) -> bool:
    """Whether all that speaks against a need is that the lock of another object was dropped.

    See fixtures/lock-assertion/good_drops_own_only.c.
    """
    return bool(evidence) and all(e.another for e in evidence)


def either_mode(edges: list[Edge]) -> list[Edge]:
    """One call made with the lock held for write on some paths and for read on others.

    The caller chose the mode by a condition, and the callee tells the cases apart by data: which
    page it is, not which flag. No path is known on which the two disagree, so it is no violation;
    see fixtures/gfn-track-write/good_mode_follows_data.c.
    """
    return [
        edge._replace(verdict=Verdict.UNDECIDED, why=EITHER_MODE)
        if edge.verdict is Verdict.BROKEN and not any(e.dropped for e in edge.evidence)
        else edge
        for edge in edges
    ]


def doubt_of(context: Context) -> str:
    """Why a chain may not be possible, "" where nothing says so.

    What must not be held, as at a place that may sleep, comes under conditions by which callers
    choose: a flag, a kind of object, an error. With each one that is not followed it gets likelier
    that they exclude each other; see fixtures/might-sleep/good_far_below.c.
    """
    if context.doubt:
        return context.doubt
    if context.maybes > MAX_MAYBES and all(need.absent for need in context.needs):
        return FAR_BELOW
    return ""


def doubted(context: Context, why: str) -> Context:
    """A context whose chain may not be possible; the first doubt is kept."""
    if context.doubt:
        return context
    lock = context.needs[0].text if context.needs else "the lock"
    name = context.function.split("@", 1)[0]
    return msgspec.structs.replace(context, doubt=why.format(name=f"{name}()", lock=lock))
