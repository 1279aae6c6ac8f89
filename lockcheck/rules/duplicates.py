"""One cause, one finding: what two kinds of rule have both found is shown once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lockcheck.findings.model import Finding, StepKind

_Place = tuple[str, int]  # file and line


def without_duplicates(findings: Iterable[Finding], yielding: frozenset[str]) -> list[Finding]:
    """Findings without those of some rules that another rule's finding has on its chain.

    yielding: ids of rules about sleeping in atomic context. Where an assertion, or a hook's rule,
    says the same of the same place that sleeps, its words are the better ones.
    """
    found = list(findings)
    told: dict[_Place, set[str]] = defaultdict(set)
    for finding in found:
        if finding.rule_id in yielding or not finding.chain:
            continue
        last = finding.chain[-1]
        if last.kind in (StepKind.ASSERTION, StepKind.SLEEP):
            place = (last.location.file, last.location.line)
            steps = (*finding.chain, *finding.related)
            told[place].update(step.location.function for step in steps)
            told[place].add(finding.location.function)
    return [f for f in found if f.rule_id not in yielding or not _is_told(f, told)]


def _is_told(finding: Finding, told: dict[_Place, set[str]]) -> bool:
    last = finding.chain[-1].location
    return finding.location.function in told.get((last.file, last.line), ())
