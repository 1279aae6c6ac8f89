"""From the reports of all states to one verdict for each patch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from lockcheck.errors import Notice, Severity
from lockcheck.findings.model import Finding, Report
from lockcheck.findings.series import Brought, Fixed, PatchVerdict, SeriesReport
from lockcheck.series.matching import Lines, match
from lockcheck.series.patches import Overlay, Series, Step, TreeFiles


@dataclass
class _Live:
    """A finding that the state has; `brought` is its index in what came with the series."""

    finding: Finding
    brought: int | None


class Judge:
    """Follows findings through the states of a series."""

    def __init__(self, series: Series, tree: TreeFiles, base: Report) -> None:
        self._series = series
        self._tree = tree
        self._base = base
        self._overlay: Overlay = series.base
        self._notices = set(base.notices)
        self._unread = _unread(base.notices)
        self._unread_since: int | None = None
        self._live = [_Live(finding, None) for finding in _shown(base)]
        self._brought: list[Brought] = []
        self._verdicts: list[PatchVerdict] = []

    def take(self, step: Step, report: Report) -> PatchVerdict:
        """The verdict of the next patch, from the report of the tree with it."""
        number = step.patch.number
        notices = [*step.notices, *(n for n in report.notices if n not in self._notices)]
        unread = _unread((*report.notices, *step.notices))
        is_worse = bool(unread - self._unread)
        if is_worse and self._unread_since is None:
            self._unread_since = number
        lines = Lines(self._tree, self._overlay, step.overlay, step.changes)
        found = match([live.finding for live in self._live], _shown(report), lines)
        now = {id(old): new for old, new in found.pairs}
        fixed: list[Fixed] = []
        live: list[_Live] = []
        for known in self._live:
            if id(known.finding) in now:
                live.append(_Live(now[id(known.finding)], known.brought))
            elif self._unread_since is not None and _is_still_unread(unread, self._base):
                live.append(known)  # what was not read may still have it
            else:
                fixed.append(Fixed(known.finding, self._by(known)))
                if known.brought is not None:
                    self._brought[known.brought] = msgspec.structs.replace(
                        self._brought[known.brought], fixed_by=number
                    )
        for finding in found.new:
            live.append(_Live(finding, len(self._brought)))
            self._brought.append(Brought(finding, number, self._unread_since or number))
        if not _is_still_unread(unread, self._base):
            self._unread_since = None
        verdict = PatchVerdict(
            step.patch, report, tuple(found.new), tuple(fixed), tuple(notices), not is_worse
        )
        self._verdicts.append(verdict)
        self._live = live
        self._notices = set(report.notices)
        self._unread = unread
        self._overlay = step.overlay
        return verdict

    def report(self) -> SeriesReport:
        """The verdict of the series, once all of its patches were taken."""
        errors = [n for n in self._series.notices if n.severity is Severity.ERROR]
        return SeriesReport(
            name=self._series.name,
            cover=self._series.cover,
            base=self._base,
            patches=tuple(self._verdicts),
            brought=tuple(self._brought),
            notices=self._series.notices,
            complete=not errors
            and self._base.complete
            and all(v.report.complete and v.complete for v in self._verdicts),
        )

    def _by(self, live: _Live) -> int | None:
        return None if live.brought is None else self._brought[live.brought].by


def _is_still_unread(unread: frozenset[tuple[str, str | None, str]], base: Report) -> bool:
    """Whether more goes unread than in the base."""
    return bool(unread - _unread(base.notices))


def _unread(notices: Iterable[Notice]) -> frozenset[tuple[str, str | None, str]]:
    """What notices say was not read."""
    return frozenset((n.code, n.file, n.message) for n in notices if n.severity is Severity.ERROR)


def _shown(report: Report) -> Sequence[Finding]:
    return [finding for finding in report.findings if finding.suppression is None]
