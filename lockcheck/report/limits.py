"""SARIF within the limits of GitHub's code scanning.

GitHub refuses a file that is over a hard limit, and shows a part only of what is over a soft one,
chosen by itself. The figures are those of its page "SARIF results file exceeds one or more limits".
What is cut here is cut where it hurts least, and told in the log and to the user.
"""

from __future__ import annotations

import gzip
from typing import NamedTuple

import msgspec

from lockcheck.errors import Notice, Severity
from lockcheck.findings.model import (
    BaselineState,
    Finding,
    LedgerEntry,
    Level,
    Outcome,
    Report,
    Step,
    StepKind,
)
from lockcheck.report import sarif

_REMEDY = "name fewer PATHS, or write the whole with --format sarif into another file"


class Limits(NamedTuple):
    """What may be in one file: soft limits, except for the size, which has only a hard one."""

    results: int = 5_000
    flow_steps: int = 1_000  # of all flows of a result
    locations: int = 100  # of a result, the related ones included
    tags: int = 10  # of a rule
    compressed_bytes: int = 10_000_000


GITHUB = Limits()


def render(report: Report, *, all_kinds: bool = False) -> str:
    """The report as SARIF that GitHub takes whole. Raises as `sarif.render` does."""
    return fit(report, all_kinds=all_kinds)[0]


class Fitted(NamedTuple):
    """SARIF within the limits, and what was cut."""

    text: str
    notices: tuple[Notice, ...]


def fit(report: Report, *, all_kinds: bool = False, limits: Limits = GITHUB) -> Fitted:
    """The report as SARIF, cut to the limits, with a notice for each cut, in the log, too.

    Results are kept in this order: findings that count by level, accepted ones, open obligations,
    proved ones. Findings of a baseline that are gone are left out: GitHub would show them.
    """
    # IMPRECISE: an open obligation whose like is cut changes its fingerprint, which has an ordinal.
    obligations = report.obligations if all_kinds else ()
    report = msgspec.structs.replace(report, absent=None, obligations=obligations)
    notices: list[Notice] = []
    report = _cut_rules(_cut_findings(report, limits, notices), limits, notices)
    total = len(report.findings) + _obligations(report)
    room = limits.results
    while True:
        kept = _cut_results(report, room)
        here = len(kept.findings) + _obligations(kept)
        told = list(notices)
        if here < total:
            told.append(_notice(f"{total - here} of {total} results were left out"))
        kept = msgspec.structs.replace(kept, notices=(*report.notices, *told))
        text = sarif.render(kept, all_kinds=all_kinds)
        if len(gzip.compress(text.encode("utf-8"), mtime=0)) <= limits.compressed_bytes or not here:
            return Fitted(text, tuple(told))
        room = here // 2  # too large as a file: half of the results are tried


def _cut_findings(report: Report, limits: Limits, notices: list[Notice]) -> Report:
    findings = [_cut_finding(finding, limits) for finding in report.findings]
    cut = sum(a is not b for a, b in zip(findings, report.findings, strict=True))
    if cut:
        notices.append(
            _notice(
                f"of {cut} results the middle of the call chain, or some related places, were "
                "left out"
            )
        )
    return msgspec.structs.replace(report, findings=tuple(findings))


def _cut_finding(finding: Finding, limits: Limits) -> Finding:
    """The finding itself when it is within the limits, else a shorter one."""
    chain, related = finding.chain, finding.related
    if len(chain) > limits.flow_steps:
        # The entry point and what happens at the end are what a reader needs.
        head = limits.flow_steps // 2
        tail = limits.flow_steps - head - 1
        gap = chain[head]
        left_out = len(chain) - head - tail
        mark = Step(StepKind.NOTE, gap.location, f"{left_out} steps are left out", gap.nesting)
        chain = (*chain[:head], mark, *chain[len(chain) - tail :])
    if len(related) > limits.locations - 1:
        related = related[: limits.locations - 1]
    if chain is finding.chain and related is finding.related:
        return finding
    return msgspec.structs.replace(finding, chain=chain, related=related)


def _cut_rules(report: Report, limits: Limits, notices: list[Notice]) -> Report:
    """Rules with fewer weaknesses, where each is a tag; three tags and `security` are always."""
    room = limits.tags - 4
    wide = [rule.rule_id for rule in report.rules if len(rule.cwe) > room]
    if not wide:
        return report
    notices.append(_notice(f"some weaknesses (CWE) of {', '.join(wide)} were left out"))
    rules = tuple(msgspec.structs.replace(rule, cwe=rule.cwe[:room]) for rule in report.rules)
    return msgspec.structs.replace(report, rules=rules)


def _cut_results(report: Report, room: int) -> Report:
    kept = set(sorted(range(len(report.findings)), key=lambda i: _rank(report.findings[i]))[:room])
    findings = tuple(f for i, f in enumerate(report.findings) if i in kept)
    left = room - len(findings)
    obligations = report.obligations
    if _obligations(report) > left:
        shown = [i for i, entry in enumerate(obligations) if _is_result(entry)]
        shown.sort(key=lambda i: obligations[i].outcome is Outcome.PROVED)
        dropped = set(shown[left:])
        obligations = tuple(entry for i, entry in enumerate(obligations) if i not in dropped)
    return msgspec.structs.replace(report, findings=findings, obligations=obligations)


def _rank(finding: Finding) -> tuple[bool, bool, int]:
    return (
        finding.suppression is not None,
        finding.baseline is BaselineState.UNCHANGED,
        list(Level).index(finding.level),
    )


def _obligations(report: Report) -> int:
    return sum(map(_is_result, report.obligations))


def _is_result(entry: LedgerEntry) -> bool:
    return entry.outcome is not Outcome.VIOLATED  # those are findings already


def _notice(what: str) -> Notice:
    return Notice(
        Severity.WARNING,
        "sarif-cut",
        f"the SARIF file is cut to what GitHub takes: {what}",
        remedy=_REMEDY,
    )
