"""Answers to questions about locks, as text and as JSON."""

from __future__ import annotations

import msgspec

from lockcheck.findings.answers import (
    AccessAnswer,
    ContextAnswer,
    GuardsAnswer,
    HeldLock,
    WhyAnswer,
)
from lockcheck.findings.model import Location


def as_json(answer: list[WhyAnswer] | GuardsAnswer) -> str:
    """The answer as JSON, with the fields of lockcheck.findings.answers."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n"


def why_text(answers: list[WhyAnswer], *, chains: bool = True) -> str:
    """What is held whenever a function runs: what is common first, then each context.

    chains: with the chain of calls of each context.
    """
    lines: list[str] = []
    for answer in answers:
        lines.append(f"{_where(answer.location)}: {answer.function}()")
        count = len(answer.contexts)
        if not count:
            lines.append("  nothing in the units read calls it")
            continue
        plural = "one context" if count == 1 else f"{count} contexts"
        lines.append(f"  in every one of {plural}: {_locks(answer.common)}")
        for number, context in enumerate(answer.contexts, 1):
            lines.append("")
            lines.append(f"  {number}. {_locks(context.locks)}{_remark(context)}")
            if chains:
                lines.extend(_chain(context))
        if answer.cut:
            lines.append("  there are more: the search was cut")
    return "\n".join(lines) + "\n"


def guards_text(answer: GuardsAnswer, *, chains: bool = False) -> str:
    """Every access with the locks around it, and the lock that all writes share.

    chains: with the chain of calls of each different lockset.
    """
    if not answer.accesses:
        return f"{answer.datum}: no access in the units read\n"
    lines: list[str] = []
    for access in answer.accesses:
        lines.append(f"{_where(access.location)}: {access.kind} of {access.text}: {_held(access)}")
        if chains:
            for context in access.chains:
                lines.append(f"    {_locks(context.locks)}{_remark(context)}")
                lines.extend("  " + line for line in _chain(context))
    lines.append("")
    lines.append(f"{answer.datum}: {_verdict(answer)}")
    return "\n".join(lines) + "\n"


def _verdict(answer: GuardsAnswer) -> str:
    writes = [a for a in answer.accesses if a.kind in ("write", "update") and not a.private]
    if not writes:
        return "nothing writes to it once others can reach it"
    locks = [lock for lock in answer.writers if not lock.section]
    if not locks:
        return "no lock is held at every write"
    return f"every write holds {_locks(tuple(locks))}"


def _held(access: AccessAnswer) -> str:
    if access.private:
        return "nobody else can reach the object yet, or any more"
    return f"on every path {_locks(access.locks)}"


def _where(location: Location) -> str:
    inside = f": in {location.function}()" if location.function else ""
    return f"{location.file}:{location.line}:{location.column}{inside}"


def _locks(locks: tuple[HeldLock, ...]) -> str:
    if not locks:
        return "nothing is held"
    return ", ".join(
        lock.text if lock.section else f"{lock.text} ({lock.mode})"
        for lock in sorted(locks, key=lambda lock: (lock.section, lock.text))
    )


def _remark(context: ContextAnswer) -> str:
    if context.private:
        return "; nobody else can reach the object there"
    return "" if context.known else "; the outermost caller is not called in the units read"


def _chain(context: ContextAnswer) -> list[str]:
    return [
        f"     {_short(step.location)}: {'  ' * min(step.nesting, 12)}{step.message}"
        for step in context.chain
    ]


def _short(location: Location) -> str:
    return f"{location.file}:{location.line}"
