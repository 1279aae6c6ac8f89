"""Rule kind released-locks: what is released, is held, and in that mode."""

from __future__ import annotations

from collections import Counter

from lockcheck.callgraph.program import Program
from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Outcome, Step, StepKind
from lockcheck.lockstate.released import ReleaseAnalysis, Released
from lockcheck.lockstate.terms import lock_class
from lockcheck.rules.evidence import Evidencer, name_of
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.model import Rule


def check_released(rule: Rule, program: Program, releases: ReleaseAnalysis) -> RuleResult:
    """Check every release that can be told to be one too many."""
    words = Evidencer(program)
    findings: list[Finding] = []
    ledger: list[LedgerEntry] = []
    ordinals: Counter[tuple[str, str]] = Counter()
    for released in releases.find():
        lock = words.spell(released.function, released.lock)
        subject = (name_of(released.function), lock)
        ordinals[subject] += 1
        findings.append(_finding(rule, released, lock, words, ordinals[subject]))
        ledger.append(
            LedgerEntry(
                outcome=Outcome.VIOLATED,
                origin=rule.info.rule_id,
                rule_id=rule.info.rule_id,
                location=words.location(released.function, released.loc),
                requirement=f"{lock} is held when it is released, and in that mode",
                lock=(lock_class(released.lock) or lock,),
                reason="it is not: see the finding",
            )
        )
    return RuleResult(findings, [], ledger)


def _finding(rule: Rule, released: Released, lock: str, words: Evidencer, ordinal: int) -> Finding:
    function, before = released.function, released.before
    name = name_of(function)
    by = f" by way of {name_of(released.way[0][2])}()" if len(released.way) > 1 else ""
    how = ""
    if released.taken is not None:
        how = f" for {released.mode}"
        place = words.place(function, released.taken.loc)
        why = f"but holds it for {released.taken.mode} (taken at {place})"
    elif before is not None:
        why = f"which it has released already (at {words.place(function, before.loc)})"
    else:
        assert released.violation is not None
        path = released.violation.path
        top = name_of(path[-1].caller if path else function)
        why = f"which nothing on the way from {top}() has taken, and no other caller holds"
    edges = () if released.violation is None else released.violation.path
    entry = "" if released.violation is None else released.violation.entry
    steps = words.chain_down(edges, function, entry)
    depth = steps[-1].nesting + 1 if len(steps) > 1 else 0
    if before is not None:
        text = f"{lock} is released here"
        steps.append(Step(StepKind.RELEASE, words.location(function, before.loc), text, depth))
    if released.taken is not None:
        text = f"{lock} is taken for {released.taken.mode} here"
        steps.append(
            Step(StepKind.ACQUIRE, words.location(function, released.taken.loc), text, depth)
        )
    for place, loc, callee in released.way[:-1]:
        text = f"{name_of(place)}() calls {name_of(callee)}()"
        steps.append(Step(StepKind.CALL, words.location(place, loc), text, depth))
        depth += 1
    place, loc, _ = released.way[-1]
    again = "it is released again here" if before is not None else f"{lock} is released here"
    steps.append(Step(StepKind.RELEASE, words.location(place, loc), again, depth))
    return Finding(
        rule_id=rule.info.rule_id,
        level=rule.info.level,
        message=f"{name}() releases {lock}{how}{by}, {why}",
        location=words.location(function, released.loc),
        chain=tuple(steps),
        related=(),
        fingerprint=fingerprint(rule.info.rule_id, name, lock, "released", ordinal),
    )
