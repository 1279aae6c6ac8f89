"""One cause, one finding: what two kinds of rule have both found is shown once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from lockcheck.findings.model import Finding, Location, StepKind

_Place = tuple[str, int]  # file and line


def without_duplicates(findings: Iterable[Finding], yielding: frozenset[str]) -> list[Finding]:
    """Findings without those of some rules that another rule's finding tells, too.

    It has the same end on its chain, or it is about the same call in the same section.

    yielding: ids of rules about sleeping in atomic context. Where an assertion, or a hook's rule,
    says the same of the same place that sleeps, its words are the better ones.
    """
    found = list(findings)
    told: dict[_Place, set[str]] = defaultdict(set)
    calls: set[tuple[Location, _Place]] = set()
    for finding in found:
        if finding.rule_id in yielding or not finding.chain:
            continue
        last = finding.chain[-1]
        if last.kind in (StepKind.ASSERTION, StepKind.SLEEP):
            place = (last.location.file, last.location.line)
            steps = (*finding.chain, *finding.related)
            told[place].update(step.location.function for step in steps)
            told[place].add(finding.location.function)
            calls.update((finding.location, place) for place in _sections(finding))
    return [f for f in found if f.rule_id not in yielding or not _is_told(f, told, calls)]


def _sections(finding: Finding) -> Iterator[_Place]:
    """Where what a finding is about was entered, in the function at fault."""
    for step in finding.chain:
        same = step.location.function == finding.location.function
        if step.kind is StepKind.ACQUIRE and same:
            yield step.location.file, step.location.line


def _is_told(
    finding: Finding, told: dict[_Place, set[str]], calls: set[tuple[Location, _Place]]
) -> bool:
    if any((finding.location, place) in calls for place in _sections(finding)):
        return True
    last = finding.chain[-1].location
    return finding.location.function in told.get((last.file, last.line), ())
