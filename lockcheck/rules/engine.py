"""Running all rules over a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.errors import Notice, Severity
from lockcheck.findings.model import Finding, LedgerCount
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.sleeping import SleepAnalysis
from lockcheck.rules.accesses import AccessFinder
from lockcheck.rules.guarded import check_guarded
from lockcheck.rules.hooks import check_hook
from lockcheck.rules.model import GuardedData, Rule


class Checked(NamedTuple):
    """Findings in order of location, notices, and one ledger line for each rule."""

    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    ledger: tuple[LedgerCount, ...]


def check_rules(program: Program, rules: Sequence[Rule], advance: Callable[[str], None]) -> Checked:
    """Check every rule. `advance` is told each rule's id when it is done."""
    watched: set[str] = set()
    for rule in rules:
        if isinstance(rule.check, GuardedData):
            watched.update(rule.check.unshared.until, rule.check.unshared.after)
    analysis = Analysis(program, frozenset(watched))
    finder = AccessFinder(analysis)
    sleeping = SleepAnalysis(analysis)
    findings: list[Finding] = []
    notices: list[Notice] = []
    ledger: list[LedgerCount] = []
    for rule in rules:
        if isinstance(rule.check, GuardedData):
            result = check_guarded(rule, rule.check, analysis, finder)
        else:
            result = check_hook(rule, rule.check, analysis, sleeping)
        findings.extend(result.findings)
        notices.extend(result.notices)
        ledger.append(result.ledger)
        advance(rule.info.rule_id)
    if analysis.unsettled:
        names = ", ".join(sorted(key.split("@", 1)[0] + "()" for key in analysis.unsettled))
        notices.append(
            Notice(
                Severity.NOTE,
                "not-settled",
                f"{names}: too many different lock states, some paths were not followed",
            )
        )
    findings.sort(key=lambda f: (f.location, f.rule_id, f.message))
    return Checked(tuple(findings), tuple(notices), tuple(ledger))
