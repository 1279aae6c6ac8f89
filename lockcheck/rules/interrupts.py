"""Rule kind irq-unsafe-lock: what an interrupt takes is not held with that interrupt on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Outcome, Step, StepKind
from lockcheck.lockstate.acquiring import class_name
from lockcheck.lockstate.interrupts import IrqUnsafe
from lockcheck.rules.evidence import name_of
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.model import Rule
from lockcheck.rules.order_words import OrderWords


def check_interrupts(rule: Rule, found: Sequence[IrqUnsafe], words: OrderWords) -> RuleResult:
    """Findings and ledger of a rule."""
    ordinals: Counter[tuple[str, str]] = Counter()
    findings = [_finding(rule, one, words, ordinals) for one in found if one.why == ""]
    return RuleResult(findings, [], [_entry(rule, one, words) for one in found])


def _class(one: IrqUnsafe) -> str:
    return (class_name(one.exposed.way.lock) or "").split("@", 1)[0]


def _entry(rule: Rule, one: IrqUnsafe, words: OrderWords) -> LedgerEntry:
    outcome, reason = Outcome.VIOLATED, "see the finding"
    if one.why is None:
        outcome, reason = Outcome.PROVED, "they are off there, or both only read"
    elif one.why:
        outcome, reason = Outcome.UNPROVED, one.why
    return LedgerEntry(
        outcome=outcome,
        origin=rule.info.rule_id,
        rule_id=rule.info.rule_id,
        location=words.location(one.exposed.function, one.exposed.way.loc),
        requirement=f"{_class(one)} is not held with {_what(one)} on",
        lock=(_class(one),),
        reason=reason,
    )


def _what(one: IrqUnsafe) -> str:
    return "interrupts" if one.taken.context.off <= {"interrupts off", "hardirq"} else "softirqs"


def _finding(
    rule: Rule, one: IrqUnsafe, words: OrderWords, ordinals: Counter[tuple[str, str]]
) -> Finding:
    exposed, taken = one.exposed, one.taken
    name, other = name_of(exposed.function), name_of(taken.function)
    where = words.place(taken.function, taken.way.loc)
    lock = words.lock(exposed.function, exposed.way.lock)
    message = (
        f"{name}() takes {lock} with {_what(one)} on, but "
        f"{other}() takes it{words.by_way(taken.way)} in {taken.context.what} ({where}), which may "
        "come while it is held"
    )
    assert one.surroundings is not None
    depth = len(one.surroundings.chain)
    chain: list[Step] = [
        *words.context(exposed.function, one.surroundings),
        Step(
            StepKind.ACQUIRE,
            words.location(exposed.function, exposed.way.loc),
            f"{lock} is taken here",
            depth,
        ),
        words.entry(taken.function, taken.entry),
        *words.down(taken.function, taken.way, 0),
    ]
    subject = (name, _class(one))
    ordinals[subject] += 1
    return Finding(
        rule_id=rule.info.rule_id,
        level=rule.info.level,
        message=message,
        location=words.location(exposed.function, exposed.way.loc),
        chain=tuple(chain),
        related=(),
        fingerprint=fingerprint(rule.info.rule_id, name, _class(one), other, ordinals[subject]),
    )
