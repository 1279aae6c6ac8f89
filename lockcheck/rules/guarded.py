"""Rule kinds guarded-data and walk-in-section: data is touched only under its lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.errors import Notice, Severity
from lockcheck.facts.ir import NULL, ONCE, TEST, UNKNOWN, UPDATE
from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import (
    Finding,
    LedgerEntry,
    Location,
    Outcome,
    Step,
    StepKind,
)
from lockcheck.lockstate.doubts import reason_in
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.requirements import Checker, Checkers
from lockcheck.lockstate.terms import strip_lock
from lockcheck.lockstate.verdicts import (
    Asserted,
    Edge,
    Evidence,
    Reason,
    Unshared,
    Verdict,
    Violation,
)
from lockcheck.models.loader import ANY, EXCLUSIVE, READ, SECTION
from lockcheck.rules.accesses import Access, AccessFinder
from lockcheck.rules.assertions import AssertionAnalysis, rests_on
from lockcheck.rules.evidence import Evidencer, name_of, proof_text
from lockcheck.rules.model import GuardedData, LockPattern, Rule
from lockcheck.rules.pattern import (
    BoundPattern,
    Pattern,
    UnknownField,
    UnknownRecord,
    bind,
)


class BoundLock(NamedTuple):
    pattern: BoundPattern
    mode: str


class Obligation(NamedTuple):
    """One access and how it ended."""

    access: Access
    locks: tuple[BoundLock, ...]
    violations: tuple[Violation, ...]
    broken: bool  # the access's own function spoils it: no caller can mend that
    evidence: tuple[Evidence, ...]  # of the access's own function
    unproved: tuple[Reason, ...]
    held: bool  # on some path the lock is held
    by_class: bool = False  # somewhere only the class of the lock that is held is known
    asserted: frozenset[Asserted] = frozenset()  # assertions on which it rests


class RuleResult(NamedTuple):
    findings: list[Finding]
    notices: list[Notice]
    ledger: list[LedgerEntry]


def check_guarded(
    rule: Rule,
    check: GuardedData,
    checkers: Checkers,
    finder: AccessFinder,
    assertions: AssertionAnalysis,
) -> RuleResult:
    """Check one rule over the whole program."""
    return _GuardedCheck(rule, check, checkers, finder, assertions).run()


class _GuardedCheck:
    def __init__(
        self,
        rule: Rule,
        check: GuardedData,
        checkers: Checkers,
        finder: AccessFinder,
        assertions: AssertionAnalysis,
    ) -> None:
        self._rule = rule
        self._check = check
        analysis = self._analysis = checkers.analysis
        self._program: Program = analysis.program
        self._finder = finder
        self._evidence = Evidencer(self._program)
        self._lock_free = {name: d.lock_free for d in check.data for name in d.names}
        self._unknown: list[str] = []  # what the rule names and the tree does not have
        unshared = check.unshared
        callbacks: set[str] = set()
        for field in unshared.callbacks:
            callbacks |= self._program.callbacks(field)
        known = Unshared(frozenset(unshared.until), frozenset(unshared.after), frozenset(callbacks))
        self._checker = checkers.get(known, True)
        self._doubting = checkers.get(known, False)
        self._assertions = assertions

    def run(self) -> RuleResult:
        data = self._bind_data()
        if not data:
            return RuleResult([], self._notices(False), [])
        accesses = self._finder.find(data)
        if self._check.one_of:
            write = self._choose(accesses)
            read = tuple(lock._replace(mode=READ) for lock in write)
        else:
            write, read = self._bind_locks(self._check.write), self._bind_locks(self._check.read)
        obligations = self._obligations(accesses, write, read)
        findings = self._findings(obligations)
        return RuleResult(findings, self._notices(True), self._ledger(obligations))

    # -- binding -------------------------------------------------------------------------------

    def _bind_data(self) -> list[BoundPattern]:
        """The data under the names that they have in this tree; a notice for what has none."""
        data: list[BoundPattern] = []
        for datum in self._check.data:
            bound, reasons = self._bind_any(datum.names)
            data.extend(bound)
            if not bound:
                self._unknown.extend(reasons)
        return data

    def _bind_locks(self, locks: Sequence[LockPattern]) -> tuple[BoundLock, ...]:
        found: list[BoundLock] = []
        for lock in locks:
            bound, reasons = self._bind_any((lock.pattern,))
            found.extend(BoundLock(pattern, lock.mode) for pattern in bound)
            if not bound:
                self._unknown.extend(reasons)
        return tuple(found)

    def _bind_any(self, names: Sequence[Pattern]) -> tuple[list[BoundPattern], list[str]]:
        """The patterns that this tree knows, and why the others are unknown."""
        bound: list[BoundPattern] = []
        reasons: list[str] = []
        for pattern in names:
            try:
                bound.append(bind(pattern, self._check.variables, self._program.records))
            except UnknownRecord as error:
                reasons.append(f"no unit that was read uses struct {error.record}")
            except UnknownField as error:
                reasons.append(str(error))
        return bound, reasons

    def _notices(self, checked: bool) -> list[Notice]:
        """Say what of the rule does not apply: an error for a rule that the user asked for."""
        if not self._unknown:
            return []
        info = self._rule.info
        text = "; ".join(dict.fromkeys(self._unknown))
        extent = "checked in part only" if checked else "not checked"
        if self._rule.builtin:
            message = f"rule {info.rule_id} was {extent}: {text}"
            return [Notice(Severity.NOTE, "rule-not-applicable", message)]
        return [
            Notice(
                Severity.ERROR,
                "rule-not-applicable",
                f"rule {info.rule_id} was {extent}: {text}",
                info.file,
                None,
                "correct the name in the rule, or name the units that use it",
            )
        ]

    # -- obligations ---------------------------------------------------------------------------

    def _choose(self, accesses: list[Access]) -> tuple[BoundLock, ...]:
        """Of the locks of `one-lock-of`, the one that the writers hold."""
        candidates = self._bind_locks(self._check.one_of)
        writes = [access for access in accesses if access.write]
        best: BoundLock | None = None
        best_score: tuple[int, int, int] | None = None
        for lock in candidates:
            obligations = self._obligations(writes, (lock,), ())
            bad = sum(1 for o in obligations if o.violations or o.broken)
            good = sum(1 for o in obligations if not (o.violations or o.broken or o.unproved))
            held = sum(1 for o in obligations if o.held)
            score = (-held, bad, -good)
            if best_score is None or score < best_score:
                best, best_score = lock, score
        return () if best is None else (best,)

    def _obligations(
        self,
        accesses: list[Access],
        write: tuple[BoundLock, ...],
        read: tuple[BoundLock, ...],
    ) -> list[Obligation]:
        return [
            self._decide(access, write if access.write else read)
            for access in accesses
            if (write if access.write else read) and not self._is_lock_free(access)
        ]

    def _is_lock_free(self, access: Access) -> bool:
        allowed = self._lock_free[access.pattern.pattern]
        if access.write:
            return "null" in allowed and bool(access.how & NULL)
        return bool(
            ("once" in allowed and access.how & ONCE) or ("test" in allowed and access.how & TEST)
        )

    def _decide(self, access: Access, locks: tuple[BoundLock, ...]) -> Obligation:
        """Decide with what assertions on the way say; where those are not proved, without."""
        found = self._decide_by(self._checker, access, locks)
        if not found.asserted or found.violations or found.broken or found.unproved:
            return found
        unproved = self._assertions.unproved(found.asserted)
        if not unproved:
            return found
        again = self._decide_by(self._doubting, access, locks)
        if again.violations or again.broken or again.unproved:
            return found._replace(unproved=rests_on(unproved, again.unproved))
        return again

    def _decide_by(
        self, checker: Checker, access: Access, locks: tuple[BoundLock, ...]
    ) -> Obligation:
        needs = tuple(self._need(access, lock) for lock in locks)
        said = checker.judge(access.function, access.at.state, needs, access.base)
        if said.verdict is Verdict.BROKEN:
            return Obligation(access, locks, (), True, said.evidence, (), False)
        if said.verdict is Verdict.UNDECIDED:
            why = (reason_in(access.function, said.why, said.evidence),)
            return Obligation(access, locks, (), False, said.evidence, why, False)
        if said.verdict is not Verdict.LIFTED:
            held = said.verdict is Verdict.HELD
            relied = frozenset((said.asserted,)) if said.asserted else frozenset()
            return Obligation(access, locks, (), False, (), (), held, said.by_class, relied)
        context = checker.context(access.function, access.at, said.open_needs, access.base)
        outcome = checker.decide(context)
        return Obligation(
            access, locks, outcome.violations, False, said.evidence,
            outcome.unproved, outcome.held, outcome.by_class, outcome.asserted,
        )  # fmt: skip

    def _need(self, access: Access, lock: BoundLock) -> Need:
        """The lock instance where the lock's metavariable is the datum's, else its class."""
        pattern = lock.pattern
        term = None
        # An exclusive lock that is held is held for write; an assertion just says that it is held.
        mode = ANY if lock.mode == READ or self._kind(lock) == EXCLUSIVE else lock.mode
        same = pattern.pattern.variable == access.pattern.pattern.variable
        if same and access.base != UNKNOWN:
            built = access.at.state.evaluate(pattern.build(access.base))
            term = strip_lock(built, self._program.models.lock_records)
        return Need(term, pattern.lock_class(), mode, pattern.pattern.text.lstrip("&"))

    def _ledger(self, obligations: list[Obligation]) -> list[LedgerEntry]:
        """All states and paths of one access count once, as the worst of them."""
        worst: dict[tuple[object, ...], tuple[int, Obligation]] = {}
        for o in obligations:
            key = (o.access.function, o.access.loc, o.access.inner, o.access.inner_loc,
                   o.access.write, o.access.pattern.pattern.text)  # fmt: skip
            rank = 2 if o.violations or o.broken else 1 if o.unproved else 0
            known = worst.get(key)
            if known is None or rank > known[0]:
                worst[key] = (rank, o)
        return [self._entry(rank, obligation) for rank, obligation in worst.values()]

    def _entry(self, rank: int, obligation: Obligation) -> LedgerEntry:
        access, words = obligation.access, self._evidence
        reason = proof_text(obligation.by_class, bool(obligation.asserted))
        if rank == 2:
            reason = "a call chain reaches it without the lock: see the finding"
        elif rank == 1:
            reason = "; ".join(reason.text for reason in obligation.unproved)
        return LedgerEntry(
            outcome=(Outcome.PROVED, Outcome.UNPROVED, Outcome.VIOLATED)[rank],
            origin=self._rule.info.rule_id,
            rule_id=self._rule.info.rule_id,
            location=words.location(access.function, access.loc),
            requirement=f"{self._access_text(access, True)} needs {self._needs(obligation)}",
            lock=tuple(lock.pattern.lock_class() for lock in obligation.locks),
            reason=reason,
            no_caller=words.has_no_caller(access.function) and rank == 1,
            modes=tuple(self._mode(lock) for lock in obligation.locks),
        )

    def _needs(self, obligation: Obligation) -> str:
        return " or ".join(
            self._evidence.need_text(
                lock.pattern.pattern.text.lstrip("&"), lock.mode, self._kind(lock)
            )
            for lock in obligation.locks
        )

    # -- findings ------------------------------------------------------------------------------

    def _findings(self, obligations: list[Obligation]) -> list[Finding]:
        drafts: dict[str, _Draft] = {}
        places: dict[str, dict[int, Step]] = {}
        for obligation in obligations:
            for draft in self._drafts(obligation):
                key = draft.culprit
                known = drafts.get(key)
                if known is None or draft.rank < known.rank:
                    drafts[key] = draft
                places.setdefault(key, {}).setdefault(
                    draft.loc, Step(StepKind.NOTE, draft.location, draft.message)
                )
        ordinals: Counter[tuple[str, str]] = Counter()
        findings: list[Finding] = []
        for key, draft in sorted(drafts.items(), key=lambda item: item[1].location):
            subject = (draft.location.function, draft.datum)
            ordinals[subject] += 1
            findings.append(
                Finding(
                    rule_id=self._rule.info.rule_id,
                    level=self._rule.info.level,
                    message=draft.message,
                    location=draft.location,
                    chain=draft.chain,
                    related=tuple(
                        step for loc, step in sorted(places[key].items()) if loc != draft.loc
                    ),
                    fingerprint=fingerprint(
                        self._rule.info.rule_id, *subject, draft.lock, ordinals[subject]
                    ),
                )
            )
        return findings

    def _drafts(self, obligation: Obligation) -> list[_Draft]:
        if obligation.broken:
            return [self._draft(obligation, None, None)]
        return [
            self._draft(obligation, violation, self._evidence.culprit(violation))
            for violation in obligation.violations
        ]

    def _draft(
        self, obligation: Obligation, violation: Violation | None, culprit: int | None
    ) -> _Draft:
        access = obligation.access
        path = () if violation is None else violation.path
        words = self._evidence
        if culprit is None:
            function, loc = access.function, access.loc
        else:
            function, loc = path[culprit].caller, path[culprit].loc
        evidence = obligation.evidence
        if violation is not None:
            evidence = (*evidence, *violation.evidence)
        what = self._access_text(access, culprit is None)
        needs = self._needs(obligation)
        why = words.why(access.function, path, culprit, evidence)
        entry = "" if violation is None else violation.entry
        chain = self._chain(access, path, evidence, entry)
        return _Draft(
            culprit=function,
            loc=loc,
            rank=(not access.write, len(path), *self._places(access)),
            location=words.location(function, loc),
            message=f"{what} needs {needs}; {why}",
            chain=tuple(chain),
            datum=access.pattern.pattern.text,
            lock=obligation.locks[0].pattern.lock_class(),
        )

    def _places(self, access: Access) -> tuple[int, int]:
        """Where the access is, and where the helper that makes it does, as places in files."""
        functions = self._program.functions
        return (
            functions[access.function].absolute(access.loc),
            functions[access.inner].absolute(access.inner_loc),
        )

    def _mode(self, lock: BoundLock) -> str:
        kind = self._kind(lock)
        if kind == SECTION:
            return SECTION
        return ANY if kind == EXCLUSIVE or lock.mode == READ else lock.mode

    def _kind(self, lock: BoundLock) -> str:
        return self._program.models.lock_records.get(lock.pattern.tail, EXCLUSIVE)

    def _access_text(self, access: Access, at_access: bool) -> str:
        place = self._evidence.spell(access.function, access.written)
        if access.write:
            verb = "update of" if access.how & UPDATE or access.helpers else "write to"
        else:
            verb = "walk of" if self._check.walks or access.pattern.tail else "read of"
        by = f" by {name_of(access.helpers[0].callee)}()" if access.helpers else ""
        inside = "" if at_access else f" in {name_of(access.function)}()"
        return f"{verb} {place}{by}{inside}"

    def _chain(
        self,
        access: Access,
        edges: tuple[Edge, ...],
        evidence: tuple[Evidence, ...],
        entry: str,
    ) -> list[Step]:
        words = self._evidence
        steps, depth = words.chain(edges, access.function, evidence, entry)
        for helper in access.helpers:
            steps.append(
                Step(
                    StepKind.CALL,
                    words.location(helper.function, helper.loc),
                    f"{name_of(helper.function)}() calls {name_of(helper.callee)}()",
                    depth,
                )
            )
            depth += 1
        verb = "written" if access.write else "read"
        place = words.spell(access.function, access.written)
        steps.append(
            Step(
                StepKind.ACCESS,
                words.location(access.inner, access.inner_loc),
                f"{place} is {verb} here",
                depth,
            )
        )
        return steps


class _Draft(NamedTuple):
    """A finding in the making. One function at fault gives one finding, whatever it leaves open."""

    culprit: str
    loc: int
    rank: tuple[bool, int, int, int]
    location: Location
    message: str
    chain: tuple[Step, ...]
    datum: str
    lock: str
