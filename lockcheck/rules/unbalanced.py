"""Rule kind balanced-locks: what a function takes and drops, it drops on every path."""

from __future__ import annotations

from collections import Counter

from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Outcome, Step, StepKind
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.terms import lock_class
from lockcheck.lockstate.unbalanced import BalanceAnalysis, Left
from lockcheck.rules.evidence import Evidencer, name_of
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.model import Rule


def check_balance(rule: Rule, analysis: Analysis) -> RuleResult:
    """Check every function that takes and drops a lock."""
    words = Evidencer(analysis.program)
    findings: list[Finding] = []
    ledger: list[LedgerEntry] = []
    ordinals: Counter[tuple[str, str]] = Counter()
    for left in BalanceAnalysis(analysis).find():
        lock = words.spell(left.function, left.lock)
        subject = (name_of(left.function), lock)
        ordinals[subject] += 1
        findings.append(_finding(rule, left, lock, words, ordinals[subject]))
        ledger.append(
            LedgerEntry(
                outcome=Outcome.VIOLATED,
                origin=rule.info.rule_id,
                rule_id=rule.info.rule_id,
                location=words.location(left.function, left.held.loc),
                requirement=f"{lock} is dropped on every path",
                lock=(lock_class(left.lock) or lock,),
                reason="a path leaves it held: see the finding",
            )
        )
    return RuleResult(findings, [], ledger)


def _finding(rule: Rule, left: Left, lock: str, words: Evidencer, ordinal: int) -> Finding:
    name = name_of(left.function)
    taken = words.place(left.function, left.held.loc)
    dropped = words.place(left.function, left.released) if left.released else ""
    how = f"{lock} held"
    if left.lock[0] == "section":
        how = lock if lock.endswith(" off") else f"a section of {lock} entered"
    steps = words.chain_down((), left.function)
    depth = steps[-1].nesting + 1 if len(steps) > 1 else 0
    return_loc = left.loc or words.end(left.function)
    steps.append(
        Step(
            StepKind.ACQUIRE,
            words.location(left.function, left.held.loc),
            f"{lock} is taken here" if left.lock[0] != "section" else f"{how} from here on",
            depth,
        )
    )
    steps.append(
        Step(
            StepKind.NOTE,
            words.location(left.function, return_loc),
            f"{name}() returns with {how}",
            depth,
        )
    )
    message = f"{name}() returns with {how} (taken at {taken}); other paths drop it (at {dropped})"
    if not left.released:
        message = f"{name}() returns with {how} (taken at {taken}), which nobody drops for it"
    if left.together is not None:
        other = words.spell(left.function, left.together)
        message = f"{name}() drops {other} (at {dropped}) and returns with {how} (since {taken})"
    elif left.lock[0] == "section" and left.released:
        message = f"{name}() returns with {how} (since {taken}); other paths do not (see {dropped})"
    return Finding(
        rule_id=rule.info.rule_id,
        level=rule.info.level,
        message=message,
        location=words.location(left.function, return_loc),
        chain=tuple(steps),
        related=()
        if not left.released
        else (
            Step(
                StepKind.RELEASE,
                words.location(left.function, left.released),
                "what is dropped elsewhere is dropped here",
                depth,
            ),
        ),
        fingerprint=fingerprint(rule.info.rule_id, name, lock, "left", ordinal),
    )
