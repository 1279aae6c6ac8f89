"""Rule kinds guarded-data and walk-in-section: data is touched only under its lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.errors import Notice, Severity
from lockcheck.facts.ir import NULL, ONCE, TEST, UNKNOWN, UPDATE
from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerCount, Location, Step, StepKind
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.requirements import (
    Checker,
    Edge,
    Evidence,
    Need,
    Unshared,
    Verdict,
    Violation,
)
from lockcheck.lockstate.terms import strip_lock
from lockcheck.models.loader import EXCLUSIVE, READ
from lockcheck.rules.accesses import Access, AccessFinder
from lockcheck.rules.evidence import Evidencer, name_of
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
    unproved: tuple[str, ...]
    held: bool  # on some path the lock is held


class RuleResult(NamedTuple):
    findings: list[Finding]
    notices: list[Notice]
    ledger: LedgerCount


def check_guarded(
    rule: Rule, check: GuardedData, analysis: Analysis, finder: AccessFinder
) -> RuleResult:
    """Check one rule over the whole program."""
    return _GuardedCheck(rule, check, analysis, finder).run()


class _GuardedCheck:
    def __init__(
        self, rule: Rule, check: GuardedData, analysis: Analysis, finder: AccessFinder
    ) -> None:
        self._rule = rule
        self._check = check
        self._analysis = analysis
        self._program: Program = analysis.program
        self._finder = finder
        self._evidence = Evidencer(self._program)
        self._lock_free = {name: d.lock_free for d in check.data for name in d.names}
        self._unknown: list[str] = []  # what the rule names and the tree does not have
        unshared = check.unshared
        callbacks: set[str] = set()
        for field in unshared.callbacks:
            callbacks |= self._program.callbacks(field)
        self._checker = Checker(
            analysis,
            Unshared(frozenset(unshared.until), frozenset(unshared.after), frozenset(callbacks)),
        )

    def run(self) -> RuleResult:
        data = self._bind_data()
        if not data:
            return RuleResult(
                [], self._notices(False), LedgerCount(self._rule.info.rule_id, 0, 0, 0)
            )
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
        needs = tuple(self._need(access, lock) for lock in locks)
        verdict, open_needs, evidence = self._checker.judge(
            access.function, access.at.state, needs, access.base
        )
        if verdict is Verdict.BROKEN:
            return Obligation(access, locks, (), True, evidence, (), False)
        if verdict is not Verdict.LIFTED:
            return Obligation(access, locks, (), False, (), (), verdict is Verdict.HELD)
        context = self._checker.context(access.function, access.at, open_needs, access.base)
        outcome = self._checker.decide(context)
        return Obligation(
            access, locks, outcome.violations, False, evidence, outcome.unproved, outcome.held
        )

    def _need(self, access: Access, lock: BoundLock) -> Need:
        """The lock instance where the lock's metavariable is the datum's, else its class."""
        pattern = lock.pattern
        term = None
        same = pattern.pattern.variable == access.pattern.pattern.variable
        if same and access.base != UNKNOWN:
            built = access.at.state.evaluate(pattern.build(access.base))
            term = strip_lock(built, self._program.models.lock_records)
        return Need(term, pattern.lock_class(), lock.mode, pattern.pattern.text.lstrip("&"))

    def _ledger(self, obligations: list[Obligation]) -> LedgerCount:
        """Obligations by outcome; all states and paths of one access count once."""
        states: dict[tuple[object, ...], int] = {}
        for o in obligations:
            key = (o.access.function, o.access.loc, o.access.inner, o.access.inner_loc,
                   o.access.write, o.access.pattern.pattern.text)  # fmt: skip
            outcome = 2 if o.violations or o.broken else 1 if o.unproved else 0
            states[key] = max(states.get(key, 0), outcome)
        count = Counter(states.values())
        return LedgerCount(self._rule.info.rule_id, count[0], count[2], count[1])

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
        needs = " or ".join(
            words.need_text(lock.pattern.pattern.text.lstrip("&"), lock.mode, self._kind(lock))
            for lock in obligation.locks
        )
        why = self._why(access, path, culprit, evidence)
        chain = self._chain(access, path, evidence)
        return _Draft(
            culprit=function,
            loc=loc,
            rank=(not access.write, len(path), access.loc, access.inner_loc),
            location=words.location(function, loc),
            message=f"{what} needs {needs}; {why}",
            chain=tuple(chain),
            datum=access.pattern.pattern.text,
            lock=obligation.locks[0].pattern.lock_class(),
        )

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

    def _why(
        self,
        access: Access,
        edges: tuple[Edge, ...],
        culprit: int | None,
        evidence: tuple[Evidence, ...],
    ) -> str:
        """Who does not hold the lock, or what they did to it instead."""
        words = self._evidence
        at_fault = access.function if culprit is None else edges[culprit].caller
        called = [access.function, *(edge.caller for edge in edges)]
        callee = None if culprit is None else name_of(called[culprit])
        own = [e for e in evidence if e.function == at_fault]
        if own:
            text = words.evidence_text(own[-1])
            return text if callee is None else f"{text} and calls {callee}()"
        if callee is not None:
            return f"{name_of(at_fault)}() calls {callee}() without it"
        top = name_of(called[-1])
        if edges:
            return f"nothing on the way from {top}() takes it"
        return f"{top}() does not take it, and it is called from outside"

    def _chain(
        self, access: Access, edges: tuple[Edge, ...], evidence: tuple[Evidence, ...]
    ) -> list[Step]:
        words = self._evidence
        steps = words.chain_down(edges, access.function)
        depth = steps[-1].nesting + 1 if len(steps) > 1 else 0
        for e in evidence:
            at = next(
                (
                    index
                    for index, step in enumerate(steps)
                    if step.kind is StepKind.CALL and step.location.function == name_of(e.function)
                ),
                len(steps),
            )
            nesting = steps[at].nesting if at < len(steps) else depth
            steps.insert(at, words.evidence_step(e, nesting))
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
