"""Running all rules over a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.errors import Notice, Severity
from lockcheck.findings.model import Finding, LedgerCount, LedgerEntry, Outcome
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.atomic import AtomicCalls
from lockcheck.lockstate.released import ReleaseAnalysis
from lockcheck.lockstate.requirements import Checkers
from lockcheck.lockstate.sleeping import SleepAnalysis
from lockcheck.rules.accesses import AccessFinder
from lockcheck.rules.annotated import check_annotated
from lockcheck.rules.asserted import check_assertions
from lockcheck.rules.assertions import AssertionAnalysis
from lockcheck.rules.duplicates import without_duplicates
from lockcheck.rules.guarded import RuleResult, check_guarded
from lockcheck.rules.hooks import Reaching, check_hook
from lockcheck.rules.model import (
    AnnotatedData,
    Assertions,
    BalancedLocks,
    GuardedData,
    HookMustNot,
    LockOrder,
    ReleasedLocks,
    Rule,
    SleepInAtomic,
)
from lockcheck.rules.ordering import OrderChecker
from lockcheck.rules.released import check_released
from lockcheck.rules.sleepers import check_sleepers
from lockcheck.rules.unbalanced import check_balance


class Checked(NamedTuple):
    """Findings in order of location, notices, the ledger's counts by origin, and its entries."""

    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    ledger: tuple[LedgerCount, ...]
    obligations: tuple[LedgerEntry, ...]


class RuleRun:
    """Checks rules over one program; over each version of it, if it is a watched one.

    All queries that read the program are made here, so that a run can take in another's answers.
    analysis, finder: for others who ask about the same program.
    """

    def __init__(self, program: Program, rules: Sequence[Rule]) -> None:
        watched: set[str] = set()
        for rule in rules:
            if isinstance(rule.check, GuardedData):
                watched.update(rule.check.unshared.until, rule.check.unshared.after)
        self._rules = rules
        self.analysis = self._analysis = Analysis(program, frozenset(watched))
        self._assertions = AssertionAnalysis(self._analysis)
        self._order = OrderChecker(self._analysis)
        self.finder = AccessFinder(self._analysis)
        sleeping = SleepAnalysis(self._analysis)
        self._reaching = Reaching(self._analysis, sleeping)
        for rule in rules:
            if isinstance(rule.check, HookMustNot):
                for forbidden in rule.check.must_not:
                    self._reaching.get(forbidden)
        self._atomic = AtomicCalls(self._analysis, sleeping)
        self._checkers = Checkers(self._analysis)
        self._releases = ReleaseAnalysis(self._analysis)

    def check(self, advance: Callable[[str], None]) -> Checked:
        """Check every rule. `advance` is told each rule's id when it is done."""
        findings: list[Finding] = []
        notices: list[Notice] = []
        ledger: list[LedgerEntry] = []
        counts: list[LedgerCount] = []
        for rule, result in self._results():
            findings.extend(result.findings)
            notices.extend(result.notices)
            ledger.extend(result.ledger)
            counts.extend(_count(rule, result.ledger))
            advance(rule.info.rule_id)
        unsettled = self._analysis.unsettled()
        if unsettled:
            names = ", ".join(sorted(key.split("@", 1)[0] + "()" for key in unsettled))
            notices.append(
                Notice(
                    Severity.NOTE,
                    "not-settled",
                    f"{names}: too many different lock states, some paths were not followed",
                )
            )
        yielding = frozenset(
            r.info.rule_id for r in self._rules if isinstance(r.check, SleepInAtomic)
        )
        findings = without_duplicates(findings, yielding)
        findings.sort(key=lambda f: (f.location, f.rule_id, f.message))
        ledger.sort(key=lambda entry: (entry.location, entry.origin, entry.requirement))
        return Checked(tuple(findings), tuple(notices), tuple(counts), tuple(ledger))

    def _results(self) -> Iterator[tuple[Rule, RuleResult]]:
        analysis, assertions = self._analysis, self._assertions
        assertions.begin()
        finder = self.finder
        finder.begin()
        if any(isinstance(rule.check, LockOrder) for rule in self._rules):
            self._order.begin()
        for rule in self._rules:
            if isinstance(rule.check, LockOrder):
                yield rule, self._order.check(rule, rule.check)
            elif isinstance(rule.check, GuardedData):
                yield rule, check_guarded(rule, rule.check, self._checkers, finder, assertions)
            elif isinstance(rule.check, Assertions):
                yield rule, check_assertions(rule, rule.check, analysis, assertions)
            elif isinstance(rule.check, AnnotatedData):
                yield rule, check_annotated(rule, self._checkers, finder, assertions)
            elif isinstance(rule.check, SleepInAtomic):
                yield rule, check_sleepers(rule, analysis.program, self._atomic)
            elif isinstance(rule.check, BalancedLocks):
                yield rule, check_balance(rule, analysis)
            elif isinstance(rule.check, ReleasedLocks):
                yield rule, check_released(rule, analysis.program, self._releases)
            else:
                yield rule, check_hook(rule, rule.check, analysis, self._reaching)


def _count(rule: Rule, ledger: Sequence[LedgerEntry]) -> Iterator[LedgerCount]:
    """Obligations by origin; a rule about data or hooks is one, whatever it met."""
    origins = {rule.info.rule_id} if not isinstance(rule.check, Assertions) else set()
    for origin in sorted(origins | {entry.origin for entry in ledger}):
        ended = Counter(entry.outcome for entry in ledger if entry.origin == origin)
        yield LedgerCount(
            origin, ended[Outcome.PROVED], ended[Outcome.VIOLATED], ended[Outcome.UNPROVED]
        )
