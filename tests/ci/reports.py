"""Reports for these tests, made by hand."""

from __future__ import annotations

from lockcheck.errors import Notice
from lockcheck.findings.model import (
    Finding,
    LedgerCount,
    LedgerEntry,
    Level,
    Location,
    Outcome,
    Report,
    RuleInfo,
    Step,
    StepKind,
    Suppression,
    TreeInfo,
)


def finding(
    mark: str,
    line: int = 1,
    *,
    suppressed: bool = False,
    level: Level = Level.ERROR,
    steps: int = 0,
    related: int = 0,
    file: str = "lib/a.c",
) -> Finding:
    step = Step(StepKind.CALL, Location(file, 9, 2, "f"), "f() calls g()")
    return Finding(
        rule_id="some-rule",
        level=level,
        message="f() changes x without its lock",
        location=Location(file, line, 2, "f"),
        chain=(step,) * steps,
        related=(step,) * related,
        fingerprint=mark,
        suppression=Suppression("some-rule", "f", "known", "s.toml", 1) if suppressed else None,
    )


def rule(*weaknesses: str) -> RuleInfo:
    return RuleInfo("some-rule", "A lock is held", "Why.", "x++;", "", Level.ERROR, weaknesses, "")


def entry(line: int, outcome: Outcome, reason: str = "so it is") -> LedgerEntry:
    return LedgerEntry(
        outcome=outcome,
        origin="lock_is_held",
        rule_id="some-rule",
        location=Location("lib/a.c", line, 2, "f"),
        requirement="box->lock held",
        lock=("box.lock",),
        reason=reason,
    )


def report(
    *findings: Finding,
    notices: tuple[Notice, ...] = (),
    obligations: tuple[LedgerEntry, ...] = (),
    rules: tuple[RuleInfo, ...] = (),
    ledger: tuple[LedgerCount, ...] = (),
    complete: bool = True,
) -> Report:
    return Report(
        findings=findings,
        notices=notices,
        rules=rules,
        tree=TreeInfo("/src/linux", "6.1.7", None, None, "x86_64, .config 0123", "gcc 12"),
        ledger=ledger,
        units=3,
        command_line=("/usr/bin/lockcheck", "check", "lib"),
        started="2026-01-02T03:04:05Z",
        ended="2026-01-02T03:04:25Z",
        complete=complete,
        obligations=obligations,
    )
