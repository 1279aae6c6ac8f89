"""Findings and ledger entries of rules about assertions."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Location, Outcome, Step, StepKind
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.verdicts import Gap, Violation
from lockcheck.models.loader import ANY, READ, SECTION, SHARED
from lockcheck.rules.assertions import AssertionAnalysis, Instance
from lockcheck.rules.evidence import Evidencer, absence_text, name_of, proof_text, without_text
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.model import Assertions, Rule

_Fault = tuple[str, str, bool]  # function at fault, lock, whether the lock must not be held
_Call = tuple[str, int]  # the function, and the place in it


class _Draft(NamedTuple):
    """One function at fault for one lock gives one finding, whatever it breaks.

    broken: what is broken, and by which chain. failing: the calls further up on it that could be
        at fault as well, by their numbers: another caller of the same function has the lock.
    """

    instance: Instance
    broken: Violation | None
    failing: dict[_Call, int]
    rank: tuple[int, int, int]
    location: Location
    message: str
    chain: tuple[Step, ...]
    subject: str
    lock: str


def check_assertions(
    rule: Rule, check: Assertions, analysis: Analysis, assertions: AssertionAnalysis
) -> RuleResult:
    """Check the assertions that one rule is about, over the whole program."""
    return _Check(rule, analysis, assertions).run(frozenset(check.origins))


class _Check:
    def __init__(self, rule: Rule, analysis: Analysis, assertions: AssertionAnalysis) -> None:
        self._rule = rule
        self._assertions = assertions
        self._program = analysis.program
        self._words = Evidencer(analysis.program)

    def run(self, origins: frozenset[str]) -> RuleResult:
        drafts: dict[_Fault, list[_Draft]] = {}
        ledger: list[LedgerEntry] = []
        for instance in self._assertions.instances():
            if instance.promise.origin not in origins:
                continue
            ledger.append(self._entry(instance))
            for key, draft in self._drafts(instance):
                drafts.setdefault(key, []).append(draft)
        while (fault := _common_fault(drafts)) is not None:
            self._merge(drafts, *fault)
        return RuleResult(self._findings(drafts), [], ledger)

    # -- ledger --------------------------------------------------------------------------------

    def _entry(self, instance: Instance) -> LedgerEntry:
        outcome, no_caller = Outcome.PROVED, False
        reason = proof_text(instance.by_class, bool(instance.asserted))
        if not instance.needs:
            reason = "held in this function, or never reached without"
        if instance.broken or instance.violations:
            outcome, reason = Outcome.VIOLATED, "a call chain breaks it: see the finding"
        elif instance.unproved:
            outcome = Outcome.UNPROVED
            reason = "; ".join(why.text for why in instance.unproved)
            no_caller = all(why.gap is Gap.NO_CALLER for why in instance.unproved)
        return LedgerEntry(
            outcome=outcome,
            origin=instance.promise.origin,
            rule_id=self._rule.info.rule_id,
            location=self._words.location(instance.function, instance.loc),
            requirement=self._requirement(instance),
            lock=tuple(need.lock_class for need in instance.needs),
            reason=reason,
            no_caller=no_caller,
            modes=tuple(self._mode(need) for need in instance.needs),
        )

    def _requirement(self, instance: Instance) -> str:
        promise = instance.promise
        needs = next((needs for _, needs in promise.asked), ())
        texts = (absence_text(n) if n.absent else self._need_text(n) for n in needs)
        text = " or ".join(texts) or promise.origin
        if instance.function == promise.function:
            return text
        return f"{text}, in {name_of(promise.function)}()"

    def _mode(self, need: Need) -> str:
        if need.absent:
            return "absent"
        kind = self._assertions.lock_kind(need)
        if kind == SECTION or (need.term is not None and need.term[0] == "section"):
            return SECTION
        return need.mode if kind == SHARED else ANY

    def _need_text(self, need: Need) -> str:
        kind = self._assertions.lock_kind(need)
        if need.absent:
            return without_text(need)
        if need.term is not None and need.term[0] == "section":
            return need.text
        if kind == SECTION:
            return f"a read section of {need.text}"
        if need.mode == READ:
            return f"{need.text} held for read"
        if need.mode != ANY and kind == SHARED:
            return f"{need.text} held for write"
        return f"{need.text} held"

    # -- findings ------------------------------------------------------------------------------

    def _merge(self, drafts: dict[_Fault, list[_Draft]], call: _Call, lock: str) -> None:
        """Put one call at fault for all that it could be at fault for."""
        keys = [key for key, found in drafts.items() if key[1] == lock and call in _shared(found)]
        merged = [
            self._draft(draft.instance, draft.broken, draft.failing[call])
            for key in keys
            for draft in drafts.pop(key)
        ]
        for key, draft in merged:
            drafts.setdefault(key, []).append(draft._replace(failing={}))

    def _drafts(self, instance: Instance) -> list[tuple[_Fault, _Draft]]:
        if instance.broken:
            return [self._draft(instance, None)]
        return [self._draft(instance, violation) for violation in instance.violations]

    def _draft(
        self, instance: Instance, violation: Violation | None, culprit: int | None = None
    ) -> tuple[_Fault, _Draft]:
        """A finding, and who is at fault; `culprit`: see Evidencer, which decides if it is None."""
        words, promise = self._words, instance.promise
        edges = () if violation is None else violation.path
        if culprit is None and violation is not None:
            culprit = words.culprit(violation)
        evidence = instance.evidence if violation is None else violation.evidence
        if culprit is None and instance.function != promise.function and edges:
            culprit = next(i for i, e in enumerate(edges) if e.caller == instance.function)
        if culprit is None:
            function, loc = promise.function, promise.loc
        else:
            function, loc = edges[culprit].caller, edges[culprit].loc
        needs = next((needs for _, needs in promise.asked), instance.needs)
        first = needs[0]
        absent = first.absent
        requirement = " or ".join(self._need_text(need) for need in needs)
        without = "without it"
        if absent:
            is_section = first.term is not None and first.term[0] == "section"
            without = "in it" if is_section else "with it held"
        why = words.why(promise.function, edges, culprit, evidence, without)
        name = name_of(promise.function)
        needs_text = "forbids" if absent else "needs"
        message = f"{promise.origin} in {name}() {needs_text} {requirement}; {why}"
        entry = "" if violation is None else violation.entry
        steps, depth = words.chain(edges, promise.function, evidence, entry)
        steps.append(
            Step(
                StepKind.ASSERTION,
                words.location(promise.function, promise.loc),
                f"{promise.origin} in {name}() {'forbids' if absent else 'asks for'} {requirement}",
                depth,
            )
        )
        lock = first.lock_class or first.text
        draft = _Draft(
            instance=instance,
            broken=violation,
            failing={}
            if violation is None or absent
            else {call: n for call, n in words.failing(violation).items() if n >= (culprit or 0)},
            rank=(len(edges), loc, self._program.functions[promise.function].absolute(promise.loc)),
            location=words.location(function, loc),
            message=message,
            chain=tuple(steps),
            subject=f"{promise.origin} {name}",
            lock=lock,
        )
        return (function, lock, absent), draft

    def _findings(self, drafts: dict[_Fault, list[_Draft]]) -> list[Finding]:
        info = self._rule.info
        ordinals: Counter[tuple[str, str]] = Counter()
        findings: list[Finding] = []
        for _, found in sorted(drafts.items()):
            best = min(found, key=lambda draft: draft.rank)
            others: dict[Location, Step] = {}
            for draft in sorted(found, key=lambda draft: draft.rank):
                if draft.location != best.location:
                    others.setdefault(
                        draft.location, Step(StepKind.NOTE, draft.location, draft.message)
                    )
            key = (best.location.function, best.lock)
            ordinals[key] += 1
            findings.append(
                Finding(
                    rule_id=info.rule_id,
                    level=info.level,
                    message=best.message,
                    location=best.location,
                    chain=best.chain,
                    related=tuple(others.values()),
                    fingerprint=fingerprint(
                        info.rule_id, best.location.function, best.subject, best.lock, ordinals[key]
                    ),
                )
            )
        return findings


def _shared(drafts: list[_Draft]) -> set[_Call]:
    """The calls that could be at fault for each of some drafts."""
    return set.intersection(*(set(draft.failing) for draft in drafts))


def _common_fault(drafts: dict[_Fault, list[_Draft]]) -> tuple[_Call, str] | None:
    """The call, and lock, that could be at fault for what most functions seem to be at fault for.

    A section that is left too early breaks all that is called in it, and each of that may have
    other callers that are in one. Of several such calls the one that is nearest to the entry; see
    fixtures/lock-assertion/bad_one_cause.c.
    """
    functions: Counter[tuple[_Call, str]] = Counter()
    heights: Counter[tuple[_Call, str]] = Counter()
    for (_, lock, _), found in drafts.items():
        for call in _shared(found):
            functions[call, lock] += 1
            heights[call, lock] += max(draft.failing[call] for draft in found)
    best = max(functions, key=lambda one: (functions[one], heights[one], one), default=None)
    return best if best is not None and functions[best] > 1 else None
