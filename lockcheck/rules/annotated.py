"""Rule kind annotated-data: members that name their lock are checked like data of a rule file."""

from __future__ import annotations

from lockcheck.errors import Notice, Severity
from lockcheck.findings.model import Finding, LedgerEntry
from lockcheck.lockstate.requirements import Checkers
from lockcheck.models.loader import READ, WRITE
from lockcheck.rules.accesses import AccessFinder
from lockcheck.rules.assertions import AssertionAnalysis
from lockcheck.rules.guarded import RuleResult, check_guarded
from lockcheck.rules.model import Datum, GuardedData, LockPattern, Rule, UnsharedWhen
from lockcheck.rules.pattern import parse_pattern

_OBJECT = "object"


def check_annotated(
    rule: Rule, checkers: Checkers, finder: AccessFinder, assertions: AssertionAnalysis
) -> RuleResult:
    """Check every member of the program that names its lock."""
    findings: list[Finding] = []
    notices: list[Notice] = []
    ledger: list[LedgerEntry] = []
    for (record, member), lock in sorted(checkers.analysis.program.guarded.items()):
        check = _data(record, member, lock)
        if check is None:
            message = f"the lock of struct {record}.{member} was not understood: {lock}"
            notices.append(Notice(Severity.NOTE, "guard-not-understood", message))
            continue
        result = check_guarded(rule, check, checkers, finder, assertions)
        findings.extend(result.findings)
        notices.extend(result.notices)
        ledger.extend(result.ledger)
    return RuleResult(findings, notices, ledger)


def _data(record: str, member: str, lock: str) -> GuardedData | None:
    """What a declaration says, as a rule would; None when it names no member beside it."""
    variables = {_OBJECT: record}
    try:
        datum = parse_pattern(f"{_OBJECT}->{member}", variables)
        guard = parse_pattern(f"{_OBJECT}->{lock.lstrip('& ')}", variables)
    except ValueError:
        return None
    return GuardedData(
        variables=variables,
        data=(Datum((datum,), frozenset()),),
        write=(LockPattern(guard, WRITE),),
        read=(LockPattern(guard, READ),),
        one_of=(),
        unshared=UnsharedWhen(),
        walks=False,
    )
