"""Rule kind hook-must-not: what functions that are called through a hook must not do.

The kind hook-no-sleep says the same of sleeping alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sized
from typing import NamedTuple

from lockcheck.errors import Notice, Severity
from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Outcome, Step, StepKind
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.doubts import FAR_BELOW, MAX_MAYBES, MAX_SLEEP_MAYBES, SLEEPS_FAR_BELOW
from lockcheck.lockstate.entries import Entries
from lockcheck.lockstate.forbidden import ForbiddenAnalysis
from lockcheck.lockstate.sleeping import NOTHING, SleepAnalysis, SleepWay, atomic_sections
from lockcheck.models.loader import Models
from lockcheck.rules.evidence import Evidencer, name_of, spell_slot
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.model import SLEEP, Forbidden, HookMustNot, Rule


class _Hooked(NamedTuple):
    """A hook function and the shortest way to it: (caller, loc, slot, callee), outermost first.

    field: the place that it is called through, or given to.
    """

    function: str
    field: str
    way: tuple[tuple[str, int, str | None, str], ...]
    calls: tuple[tuple[str, int], ...]  # the same calls by caller and call id
    within: frozenset[str] = NOTHING  # atomic sections that control comes in with


class Reaching:
    """What functions come to, by what is forbidden; each is worked out once."""

    def __init__(self, analysis: Analysis, sleeping: SleepAnalysis) -> None:
        self._analysis = analysis
        self._known: dict[Forbidden, SleepAnalysis] = {SLEEP: sleeping}

    def get(self, forbidden: Forbidden) -> SleepAnalysis:
        """The analysis that finds what is forbidden."""
        known = self._known.get(forbidden)
        if known is None:
            calls = frozenset({forbidden.name} if forbidden.what == "call" else ())
            locks = frozenset({forbidden.name}) - calls
            known = self._known[forbidden] = ForbiddenAnalysis(self._analysis, calls, locks)
        return known


def check_hook(
    rule: Rule, check: HookMustNot, analysis: Analysis, reaching_by: Reaching
) -> RuleResult:
    """Check one hook rule over the whole program."""
    program = analysis.program
    starts = sorted(key for key in program.functions if name_of(key) == check.start)
    if check.start and not starts:
        severity = Severity.NOTE if rule.builtin else Severity.ERROR
        notice = Notice(
            severity,
            "rule-not-applicable",
            f"rule {rule.info.rule_id} was not checked: {check.start}() is not in the units read",
            None if rule.builtin else rule.info.file,
            None,
            None if rule.builtin else "name the unit that defines it, or correct the name",
        )
        return RuleResult([], [notice], [])
    hooked = _find_hooks(starts, check, analysis) if check.start else _given(check, analysis)
    evidence = Evidencer(program)
    findings: list[Finding] = []
    ordinals: Counter[tuple[str, str]] = Counter()
    ledger: list[LedgerEntry] = []
    for forbidden in check.must_not:
        reaching = reaching_by.get(forbidden)
        maybes = MAX_SLEEP_MAYBES if forbidden == SLEEP else MAX_MAYBES
        for hook in hooked:
            possible = [
                (way, guard)
                for way in reaching.ways(hook.function)
                if not hook.within & (way.denied | dict(way.dropped).keys())
                for guard in reaching.guards_from(way, hook.calls)
            ]
            sure = [way for way, guard in possible if not reaching.hangs_on_flags(guard)]
            ways = _distinct([w for w in sure if w.maybes <= maybes and not w.by_context])
            ledger.append(_entry(rule, check, forbidden, hook, (possible, sure, ways), evidence))
            for way in ways:
                subject = (name_of(hook.function), _primitive(way, hook.function, evidence)[0])
                ordinals[subject] += 1
                findings.append(
                    _finding(rule, check, forbidden, hook, way, evidence, ordinals[subject])
                )
    return RuleResult(findings, [], ledger)


def _entry(
    rule: Rule,
    check: HookMustNot,
    forbidden: Forbidden,
    hook: _Hooked,
    found: tuple[Sized, Sized, Sized],
    evidence: Evidencer,
) -> LedgerEntry:
    possible, sure, ways = found
    if forbidden == SLEEP:
        outcome, reason = Outcome.PROVED, "no way to a function that sleeps"
    else:
        outcome, reason = Outcome.PROVED, "no way to such a call"
    if ways:
        outcome = Outcome.VIOLATED
        reason = f"it may {_does(forbidden)}: see the finding"
    elif sure:
        outcome, reason = Outcome.UNPROVED, SLEEPS_FAR_BELOW if forbidden == SLEEP else FAR_BELOW
    elif possible:
        outcome, reason = Outcome.UNPROVED, "whether it sleeps depends on flags that are not known"
    return LedgerEntry(
        outcome=outcome,
        origin=rule.info.rule_id,
        rule_id=rule.info.rule_id,
        location=evidence.definition(hook.function),
        requirement=f"must not {_does(forbidden)}: {_how(check, hook)}",
        lock=(),
        reason=reason,
    )


def _does(forbidden: Forbidden) -> str:
    if forbidden == SLEEP:
        return "sleep"
    return f"{forbidden.what} {forbidden.name}{'()' if forbidden.what == 'call' else ''}"


def _how(check: HookMustNot, hook: _Hooked) -> str:
    """How control gets to a hook."""
    if check.start:
        return f"{check.start}() calls it through {spell_slot(hook.field)}"
    if "#" in hook.field:
        return f"it is given to {hook.field.split('#', 1)[0]}()"
    return f"it is called through struct {hook.field}"


def _given(check: HookMustNot, analysis: Analysis) -> list[_Hooked]:
    """The functions that are stored in the places of a rule, or given to them."""
    program = analysis.program
    entries = Entries(program, trusting=False)
    sections = frozenset(atomic_sections(program.models))
    patterns = (*(f"{record}.*" for record in check.records), *check.places)
    found: list[_Hooked] = []
    for key in sorted(program.slots.written_by):
        if key in program.functions and program.model(key) is None:
            place = entries.given_to(key, patterns)
            if place is not None:
                door = entries.enters(key, sections)
                within = _entered_at(place, program.models) if door is None else door[1]
                found.append(_Hooked(key, place, (), (), within))
    return found


def _entered_at(place: str, models: Models) -> frozenset[str]:
    """The sections that a model tells of a place that is called from the units that were read."""
    return frozenset(
        held.lock_class
        for entry in models.entries
        if place in entry.through
        for held in entry.holds
    )


def _find_hooks(starts: list[str], check: HookMustNot, analysis: Analysis) -> list[_Hooked]:
    """Breadth first from the start: every call through a field of the hook records."""
    program = analysis.program
    ways: dict[str, tuple[tuple[str, int, str | None, str], ...]] = dict.fromkeys(starts, ())
    calls: dict[str, tuple[tuple[str, int], ...]] = dict.fromkeys(starts, ())
    fields = program.slots.reached_from(check.records)
    for place in check.places:
        fields.update((slot, place) for slot in program.slots.flows_to(place))
    queue = deque(starts)
    hooked: dict[str, _Hooked] = {}
    while queue:
        key = queue.popleft()
        for number, call in sorted(program.calls[key].items()):
            ats = analysis.states_at(key, number)
            if not ats:
                continue  # no path leads to this call
            for target in call.targets:
                if target not in program.functions or program.model(target) is not None:
                    continue
                if call.slot is not None and all(
                    at.terms[0][0] == "fn" and at.terms[0][1] != target for at in ats
                ):
                    continue
                way = (*ways[key], (key, call.event[1], call.slot, target))
                numbers = (*calls[key], (key, number))
                field = fields.get(call.slot or "")
                if field is not None:
                    hooked.setdefault(target, _Hooked(target, field, way, numbers))
                elif target not in ways:
                    ways[target] = way
                    calls[target] = numbers
                    queue.append(target)
    return [hooked[key] for key in sorted(hooked)]


def _distinct(ways: list[SleepWay]) -> list[SleepWay]:
    """One way for each call in the hook."""
    seen: dict[int, SleepWay] = {}
    for way in ways:
        seen.setdefault(way.loc, way)
    return sorted(seen.values(), key=lambda way: way.loc)


def _primitive(way: SleepWay, function: str, evidence: Evidencer) -> tuple[str, str]:
    """The primitive that sleeps in the end: its name, and the call as the source spells it."""
    while way.below is not None:
        function, way = way.target, way.below
    name = evidence.called(way.target)
    argument = "" if way.lock is None else f"&{evidence.spell(function, way.lock)}"
    return name, f"{name}({argument})"


def _finding(
    rule: Rule,
    check: HookMustNot,
    forbidden: Forbidden,
    hook: _Hooked,
    way: SleepWay,
    evidence: Evidencer,
    ordinal: int,
) -> Finding:
    name = name_of(hook.function)
    primitive, call = _primitive(way, hook.function, evidence)
    top = hook.way[0][0] if hook.way else hook.function
    text = f"{name_of(top)}()" if check.start else f"{name}(): {_how(check, hook)}"
    steps = [Step(StepKind.ENTRY, evidence.definition(top), text, 0)]
    depth = 0
    for caller, loc, slot, callee in hook.way:
        through = "" if slot is None else f" through {spell_slot(slot)}"
        steps.append(
            Step(
                StepKind.CALL,
                evidence.location(caller, loc),
                f"{name_of(caller)}() calls {name_of(callee)}(){through}",
                depth,
            )
        )
        depth += 1
    function = hook.function
    at: SleepWay | None = way
    while at is not None:
        last = at.below is None
        through = "" if at.slot is None else f" through {spell_slot(at.slot)}"
        text = f"{name_of(function)}() calls {evidence.called(at.target)}(){through}"
        if last and forbidden == SLEEP:
            text += f", which may sleep: it {at.because}"
        kind = StepKind.SLEEP if last and forbidden == SLEEP else StepKind.CALL
        steps.append(Step(kind, evidence.location(function, at.loc), text, depth))
        depth += 1
        function, at = at.target, at.below
    by = "" if way.below is None else f" by way of {name_of(way.target)}()"
    message = (
        f"{name}() may {_does(forbidden)}: it calls {call}{by}, but {_how(check, hook)}, "
        f"and such hooks must not {_does(forbidden)}"
    )
    return Finding(
        rule_id=rule.info.rule_id,
        level=rule.info.level,
        message=message,
        location=evidence.location(hook.function, way.loc),
        chain=tuple(steps),
        related=(),
        fingerprint=fingerprint(rule.info.rule_id, name, hook.field, primitive, ordinal),
    )
