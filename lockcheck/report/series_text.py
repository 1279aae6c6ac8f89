"""A series as text: what each patch brings and fixes, then the verdict.

[2/3] KVM: drop the lock earlier
arch/x86/kvm/mmu/page_track.c:120:2: error: message [rule-id]
fixed: virt/kvm/kvm_main.c:12:2: message [rule-id] (brought by patch 1)
lockcheck: the base has 8 findings, which are not repeated
series: 1 new finding, brought by patch 2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lockcheck.findings.series import Brought, Fixed, SeriesReport
from lockcheck.report import text
from lockcheck.report.text import count_of, one_line


def render(series: SeriesReport, *, colour: bool = False) -> str:
    """The whole report of a series as text, ending in a newline. Raises nothing."""
    return "\n".join(_lines(series, colour)) + "\n"


def verdict(series: SeriesReport) -> str:
    """The last line: what the series brings, in words."""
    parts: list[str] = []
    if not series.complete:
        bad = [str(v.patch.number) for v in series.patches if not v.complete]
        what = f"with {'patch' if len(bad) == 1 else 'patches'} {_joined(bad)} " if bad else ""
        parts.append(f"INCOMPLETE: {what}not everything was analysed, see the errors above")
    parts.extend(_brought(series.brought))
    fixed = Counter(
        verdict.patch.number
        for verdict in series.patches
        for gone in verdict.fixed
        if gone.brought_by is None
    )
    if not series.brought and series.complete:
        parts.append("clean")
    parts.extend(
        f"{count_of(number, 'finding')} of the base fixed by patch {patch}"
        for patch, number in sorted(fixed.items())
    )
    return "series: " + ("; ".join(parts) or "no new finding in what was analysed")


def _lines(series: SeriesReport, colour: bool) -> Iterator[str]:
    if series.cover:
        total = series.patches[0].patch.total if series.patches else 0
        yield text.painted("where", f"[0/{total}] {one_line(series.cover)}", colour=colour)
    known = set(series.base.notices)
    yield from text.notice_lines((*series.base.notices, *series.notices), colour=colour)
    for patch in series.patches:
        info = patch.patch
        title = f"[{info.number}/{info.total}] {one_line(info.subject)}"
        yield text.painted("where", title, colour=colour)
        for finding in patch.new:
            yield from text.finding_lines(finding, colour=colour)
        yield from (_fixed(gone) for gone in patch.fixed)
        told = tuple(notice for notice in patch.notices if notice not in known)
        yield from text.notice_lines(told, colour=colour)
    base = sum(finding.suppression is None for finding in series.base.findings)
    if base:
        yield f"lockcheck: the base has {count_of(base, 'finding')}, not repeated here"
    yield verdict(series)


def _fixed(gone: Fixed) -> str:
    finding, place = gone.finding, gone.finding.location
    by = "" if gone.brought_by is None else f" (brought by patch {gone.brought_by})"
    where = one_line(f"{place.file}:{place.line}:{place.column}")
    return f"fixed: {where}: {one_line(finding.message)} [{finding.rule_id}]{by}"


def _brought(brought: tuple[Brought, ...]) -> Iterator[str]:
    """`2 new findings, brought by patch 2, fixed by patch 4`, for each pair of patches."""
    groups = Counter((b.earliest, b.by, b.fixed_by or 0) for b in brought)
    for (earliest, by, fixed_by), number in sorted(groups.items()):
        words = f"{count_of(number, 'new finding')}, brought by patch {by}"
        if earliest != by:
            words += f" or by one since patch {earliest}, which could not be read as a whole"
        if fixed_by:
            words += f", fixed by patch {fixed_by}"
        yield words


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
