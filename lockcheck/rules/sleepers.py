"""Rule kind sleep-in-atomic: nothing that may sleep is called in atomic context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from lockcheck.callgraph.program import Program
from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import Finding, LedgerEntry, Outcome, Step, StepKind
from lockcheck.lockstate.atomic import Atomic, AtomicCalls, Place
from lockcheck.lockstate.sleeping import SleepWay
from lockcheck.lockstate.verdicts import Edge, Verdict
from lockcheck.rules.evidence import Evidencer, name_of, spell_slot
from lockcheck.rules.guarded import RuleResult
from lockcheck.rules.model import Rule


def check_sleepers(rule: Rule, program: Program, calls: AtomicCalls) -> RuleResult:
    """Check every call in atomic context of something that may sleep."""
    words = Evidencer(program)
    places = list(calls.find())
    ledger = [_entry(rule, place, words) for place in places]
    return RuleResult(list(_findings(rule, places, words)), [], ledger)


def _entry(rule: Rule, place: Place, words: Evidencer) -> LedgerEntry:
    outcome, reason = Outcome.PROVED, "no way to a function that sleeps"
    if place.way is not None and place.doubt:
        outcome, reason = Outcome.UNPROVED, place.doubt
    elif place.way is not None:
        outcome, reason = Outcome.VIOLATED, "it may sleep: see the finding"
    held = place.atomic.lock
    return LedgerEntry(
        outcome=outcome,
        origin=rule.info.rule_id,
        rule_id=rule.info.rule_id,
        location=words.location(place.function, place.loc),
        requirement=f"must not sleep: {_context(place.function, place.atomic, words)}",
        lock=() if held is None else (words.spell(place.function, held),),
        reason=reason,
    )


def _findings(rule: Rule, places: Iterable[Place], words: Evidencer) -> Iterator[Finding]:
    """One finding for what a function calls in one section, wherever it does so."""
    groups: dict[tuple[str, str, str, int], list[Place]] = {}
    for place in places:
        if place.way is None or place.doubt:
            continue
        began = 0 if place.atomic.held is None else place.atomic.held.loc
        key = (place.function, place.way.target, _primitive(place, words)[0], began)
        groups.setdefault(key, []).append(place)
    ordinals: Counter[tuple[str, str]] = Counter()
    for key in sorted(groups):
        first, *others = sorted(groups[key], key=lambda place: place.loc)
        subject = (name_of(first.function), key[2])
        ordinals[subject] += 1
        yield _finding(rule, first, others, words, ordinals[subject])


def _finding(
    rule: Rule, place: Place, others: list[Place], words: Evidencer, ordinal: int
) -> Finding:
    assert place.way is not None
    name, way = name_of(place.function), place.way
    primitive, call = _primitive(place, words)
    by = "" if way.below is None else f" by way of {name_of(way.target)}()"
    context = _context(place.function, place.atomic, words)
    message = f"{name}() may sleep in atomic context: it calls {call}{by}, {context}"
    began = place.atomic.lock
    return Finding(
        rule_id=rule.info.rule_id,
        level=rule.info.level,
        message=message,
        location=words.location(place.function, place.loc),
        chain=tuple(_chain(place, words)),
        related=tuple(
            Step(StepKind.NOTE, words.location(other.function, other.loc), "and here")
            for other in others
        ),
        fingerprint=fingerprint(
            rule.info.rule_id,
            name,
            place.atomic.section if began is None else words.spell(place.function, began),
            primitive,
            ordinal,
        ),
    )


def _chain(place: Place, words: Evidencer) -> Iterator[Step]:
    """From an entry point to where the section begins, and on to what sleeps."""
    edges = tuple(
        Edge(s.caller, s.call, s.loc, s.slot, Verdict.BROKEN, None, ()) for s in place.callers
    )
    steps = words.chain_down(edges, place.function, place.atomic.entry)
    yield from steps
    depth = steps[-1].nesting + 1 if len(steps) > 1 else 0
    held = place.atomic.held
    if held is not None:
        lock = place.atomic.lock
        what = f"{words.lock(place.function, lock)} is taken" if lock else _begins(place.atomic)
        yield Step(
            StepKind.ACQUIRE, words.location(place.function, held.loc), f"{what} here", depth
        )
    function = place.function
    way = place.way
    while way is not None:
        yield sleep_step(function, way, words, depth)
        depth += 1
        function, way = way.target, way.below


def sleep_step(function: str, way: SleepWay, words: Evidencer, depth: int) -> Step:
    """One call on the way down to a primitive that sleeps."""
    through = "" if way.slot is None else f" through {spell_slot(way.slot)}"
    text = f"{name_of(function)}() calls {words.called(way.target)}(){through}"
    if way.below is not None:
        return Step(StepKind.CALL, words.location(function, way.loc), text, depth)
    text += f", which may sleep: it {way.because}"
    return Step(StepKind.SLEEP, words.location(function, way.loc), text, depth)


def _primitive(place: Place, words: Evidencer) -> tuple[str, str]:
    """The primitive that sleeps in the end: its name, and the call as the source spells it."""
    function, way = place.function, place.way
    assert way is not None
    while way.below is not None:
        function, way = way.target, way.below
    name = words.called(way.target)
    argument = "" if way.lock is None else f"&{words.spell(function, way.lock)}"
    return name, f"{name}({argument})"


def _begins(atomic: Atomic) -> str:
    if atomic.section.endswith(" off"):
        return f"{atomic.section.removesuffix(' off')} is turned off"
    return f"a section of {atomic.section} is entered"


def _context(function: str, atomic: Atomic, words: Evidencer) -> str:
    """Why a place is atomic, in words."""
    if atomic.held is None:
        return f"and {atomic.entry}"
    where = words.place(function, atomic.held.loc)
    if atomic.lock is not None:
        return f"while {words.lock(function, atomic.lock)} is held (taken at {where})"
    if atomic.section.endswith(" off"):
        return f"with {atomic.section} (since {where})"
    return f"in a section of {atomic.section} (entered at {where})"
