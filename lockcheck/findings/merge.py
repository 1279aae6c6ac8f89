"""One report from the reports of several configurations of a tree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from lockcheck.errors import LockcheckError, Notice
from lockcheck.findings.model import Finding, LedgerCount, LedgerEntry, Outcome, Report

# What is only worth a word when no configuration has it: another one may have what this one lacks.
_ONLY_IF_ALL = frozenset({"unused-suppression", "rule-without-effect", "not-built"})

# An obligation ends as badly as in the worst configuration.
_WORST_FIRST = (Outcome.VIOLATED, Outcome.UNPROVED, Outcome.PROVED)


def configuration_names(builds: Sequence[Path]) -> tuple[str, ...]:
    """The names of build directories in reports: as short as tells them apart.

    Raises LockcheckError when one is named twice.
    """
    resolved = [build.resolve() for build in builds]
    for build, count in Counter(resolved).items():
        if count > 1:
            raise LockcheckError(
                f"the build directory {build} is named twice",
                remedy="give each --build once",
            )
    names = [build.name for build in resolved]
    return tuple(
        str(build) if names.count(name) > 1 else name
        for build, name in zip(builds, names, strict=True)
    )


def merge(reports: Sequence[tuple[str, Report]]) -> Report:
    """All reports as one; each finding says in which configurations it was found.

    reports: of the same tree, each with the name of its configuration; at least one.
    Findings are the same when fingerprint and file are; the chain is that of the first.
    """
    names = tuple(name for name, _ in reports)
    first = reports[0][1]
    entries = tuple(_obligations([report for _, report in reports]))
    return msgspec.structs.replace(
        first,
        tree=msgspec.structs.replace(
            first.tree,
            config=_joined(report.tree.config for _, report in reports),
            compiler=_joined(report.tree.compiler for _, report in reports),
        ),
        findings=tuple(_findings(reports)),
        notices=tuple(_notices(reports)),
        obligations=entries,
        ledger=tuple(_count([report for _, report in reports], entries)),
        units=sum(report.units for _, report in reports),
        ended=max(report.ended for _, report in reports),
        complete=all(report.complete for _, report in reports),
        configurations=names,
    )


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _findings(reports: Sequence[tuple[str, Report]]) -> list[Finding]:
    found: dict[tuple[str, str, int], Finding] = {}
    for name, report in reports:
        seen: Counter[tuple[str, str]] = Counter()
        for finding in report.findings:
            mark = (finding.fingerprint, finding.location.file)
            key = (*mark, seen[mark])
            seen[mark] += 1
            known = found.get(key, finding)
            found[key] = msgspec.structs.replace(
                known, configurations=(*known.configurations, name)
            )
    return sorted(found.values(), key=lambda f: (f.location, f.rule_id, f.message))


def _notices(reports: Sequence[tuple[str, Report]]) -> Iterator[Notice]:
    where: dict[Notice, list[str]] = defaultdict(list)
    for name, report in reports:
        for notice in dict.fromkeys(report.notices):
            where[notice].append(name)
    for notice, names in where.items():
        if len(names) == len(reports):
            yield notice
        elif notice.code not in _ONLY_IF_ALL:
            yield msgspec.structs.replace(notice, message=f"{', '.join(names)}: {notice.message}")


def _obligations(reports: Sequence[Report]) -> list[LedgerEntry]:
    merged: dict[tuple[object, ...], LedgerEntry] = {}
    for report in reports:
        seen: Counter[tuple[object, ...]] = Counter()
        for entry in report.obligations:
            mark = (entry.origin, entry.rule_id, entry.location, entry.requirement)
            key = (*mark, seen[mark])
            seen[mark] += 1
            merged[key] = min(entry, merged.get(key, entry), key=_rank)
    return sorted(merged.values(), key=lambda e: (e.location, e.origin, e.requirement))


def _rank(entry: LedgerEntry) -> int:
    return _WORST_FIRST.index(entry.outcome)


def _count(reports: Sequence[Report], entries: Iterable[LedgerEntry]) -> Iterator[LedgerCount]:
    ended = Counter((entry.origin, entry.outcome) for entry in entries)
    for origin in dict.fromkeys(count.origin for report in reports for count in report.ledger):
        yield LedgerCount(
            origin,
            ended[origin, Outcome.PROVED],
            ended[origin, Outcome.VIOLATED],
            ended[origin, Outcome.UNPROVED],
        )
