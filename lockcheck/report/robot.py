"""A report to reply to a patch with, in the manner of the kernel test robot.

New findings are marked with `>>`, as its readers know them. No line is wrapped: people paste them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence

from lockcheck import __version__
from lockcheck.errors import Severity
from lockcheck.findings.model import BaselineState, Finding, Report
from lockcheck.report import text

_NEW = ">> "
_OLD = "   "


def render(report: Report) -> str:
    """The report as the body of a mail, ending in a newline. Suppressed findings are left out.

    Without a baseline nothing is known to be new, and nothing is marked. Raises nothing.
    """
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    shown = [finding for finding in report.findings if finding.suppression is None]
    yield _headline(report, shown)
    yield ""
    yield from _circumstances(report)
    if shown:
        yield ""
        marks = "" if report.absent is None else " (new ones prefixed by >>)"
        yield f"All warnings{marks}:"
        for finding in sorted(shown, key=_is_old):
            yield ""
            yield from _finding(finding)
    if report.absent:
        yield ""
        yield "Gone since the baseline:"
        yield ""
        for finding in report.absent:
            yield _OLD + text.diagnostics([finding]).split("\n", 1)[0]
    failures = [notice for notice in report.notices if notice.severity is Severity.ERROR]
    if failures:
        yield ""
        yield "Not everything was analysed, there may be more:"
        yield ""
        for notice in failures:
            where = f"{notice.file}: " if notice.file else ""
            yield _OLD + text.one_line(f"{where}{notice.message} [{notice.code}]")


def _headline(report: Report, shown: Sequence[Finding]) -> str:
    new = sum(finding.counts for finding in shown)
    if report.absent is None:
        if not shown:
            return "lockcheck has no warnings."
        return "lockcheck has the following warnings:"
    if not new:
        return "lockcheck noticed no new warnings."
    return f"lockcheck noticed the following new warning{'s' if new > 1 else ''}:"


def _circumstances(report: Report) -> Iterator[str]:
    """What somebody needs to see the same."""
    tree = report.tree
    yield f"tree:      {tree.git_remote or 'Linux'} {tree.version}".rstrip()
    if tree.git_revision:
        yield f"head:      {tree.git_revision}"
    if tree.config:
        yield f"config:    {tree.config}"
    if tree.compiler:
        yield f"compiler:  {tree.compiler}"
    yield f"checker:   lockcheck {__version__}"
    if report.command_line:
        command = (os.path.basename(report.command_line[0]), *report.command_line[1:])
        yield f"reproduce: {text.one_line(shlex.join(command))}"


def _finding(finding: Finding) -> Iterator[str]:
    first = _NEW if finding.baseline is BaselineState.NEW else _OLD
    for line in text.diagnostics([finding]).splitlines():
        yield first + line
        first = _OLD


def _is_old(finding: Finding) -> bool:
    return finding.baseline is BaselineState.UNCHANGED
