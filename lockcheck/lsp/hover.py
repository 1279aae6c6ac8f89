"""What is known of a function or a place, as Markdown."""

from __future__ import annotations

from lockcheck.findings.answers import (
    ContextAnswer,
    FunctionAnswer,
    HeldLock,
    PlaceAnswer,
    Requirement,
)

_MAX_CONTEXTS = 6
_MAX_STEPS = 12


def function_markdown(answer: FunctionAnswer) -> str:
    """A function: what is held when it runs, what it asks for and does, whether it may sleep."""
    why = answer.why
    parts = [f"**`{why.function}()`**"]
    count = len(why.contexts)
    if count:
        plural = "one context" if count == 1 else f"every one of {count} contexts"
        parts.append(f"Held on entry, in {plural}: {_locks(why.common)}")
        if count > 1:
            lines = [f"- {_locks(context.locks)}{_by(context)}" for context in why.contexts]
            more = len(lines) - _MAX_CONTEXTS
            parts.append("\n".join([*lines[:_MAX_CONTEXTS], *([f"- … {more} more"] * (more > 0))]))
    else:
        parts.append("Nothing in the units that were read calls it.")
    if answer.requires:
        lines = [_requirement(need, why.function) for need in answer.requires]
        parts.append("Requires:\n" + "\n".join(lines))
    for verb, effects in (("Acquires", answer.acquires), ("Releases", answer.releases)):
        if effects:
            texts = (
                f"{_lock(lock)}{'' if always else ' (not always)'}" for lock, always in effects
            )
            parts.append(f"{verb}: {', '.join(texts)}")
    if answer.sleeps:
        *calls, because = answer.sleeps
        way = " → ".join(f"`{call}`" for call in calls[:_MAX_STEPS])
        when = ", under conditions" if answer.conditional else ""
        parts.append(f"May sleep{when}: {way} ({because})")
    else:
        parts.append("May sleep: no way is known.")
    return "\n\n".join(parts)


def place_markdown(word: str, answer: PlaceAnswer) -> str:
    """What is held at a place where a lock is named."""
    parts = [f"**`{word}`** in `{answer.function}()`, before line {answer.line}"]
    if not answer.reached:
        parts.append("Control does not get here.")
        return "\n\n".join(parts)
    contexts = "the context" if answer.contexts == 1 else f"all {answer.contexts} contexts"
    parts.append(f"Held in {contexts}: {_locks(answer.always)}")
    if answer.sometimes:
        parts.append(f"Held in some: {_locks(answer.sometimes)}")
    return "\n\n".join(parts)


def _requirement(need: Requirement, function: str) -> str:
    owner = "" if need.owner == function else f" (for `{need.owner}()`)"
    asserted = "" if not need.asserted else ", asserted"
    return f"- {need.text}{owner}{asserted}"


def _locks(locks: tuple[HeldLock, ...]) -> str:
    if not locks:
        return "nothing"
    return ", ".join(_lock(x) for x in sorted(locks, key=lambda lock: (lock.section, lock.text)))


def _lock(lock: HeldLock) -> str:
    return f"`{lock.text}`" if lock.section else f"`{lock.text}` ({lock.mode})"


def _by(context: ContextAnswer) -> str:
    chain = context.chain
    return f", from `{chain[0].location.function}()`" if chain else ""
