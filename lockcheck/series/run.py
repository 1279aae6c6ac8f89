"""A series from its first state to its verdict: each state is checked as contents over the tree."""

from __future__ import annotations

import contextlib

from lockcheck.config import Config
from lockcheck.errors import Notice, Severity
from lockcheck.findings.series import SeriesReport
from lockcheck.progress import Progress
from lockcheck.series.patches import Series, Step, TreeFiles
from lockcheck.series.verdict import Judge
from lockcheck.source.commands import below, resolve_paths
from lockcheck.workspace import Workspace

# What no unit is read from, by the end of its name.
_NO_CODE = (".rst", ".txt", ".md", ".yaml", ".json", ".dts", ".dtsi", ".py", ".sh", "MAINTAINERS")


def check_series(config: Config, series: Series, progress: Progress) -> SeriesReport:
    """Analyse every state of a series and tell what each patch does.

    Raises LockcheckError as `lockcheck.session.analyse` does.
    """
    series = series._replace(notices=(*series.notices, *_outside(config, series)))
    states = [series.base, *(step.overlay for step in series.steps if _may_matter(step))]
    with contextlib.closing(Workspace(config, progress, expected=states)) as workspace:
        report = workspace.report(series.base)
        judge = Judge(series, TreeFiles(config.tree.root), report)
        for step in series.steps:
            if _may_matter(step):
                report = workspace.report(step.overlay)
            judge.take(step, report)
    return judge.report()


def _outside(config: Config, series: Series) -> list[Notice]:
    """Changed files that no unit is read from because of what the user asked for."""
    places = resolve_paths(config.tree, config.paths)
    changed = {c.new for step in series.steps for c in step.changes if c.new is not None}
    units = sorted(name for name in changed if name.endswith(".c"))
    return [
        Notice(
            Severity.WARNING,
            "outside-of-paths",
            "the series changes it, but it is not below the paths that were read",
            name,
            None,
            "name its directory, too, to have it checked",
        )
        for name in units
        if not any(below(name, place) for place in places)
    ]


def _may_matter(step: Step) -> bool:
    names = [name for change in step.changes for name in change if name is not None]
    return not all(name.endswith(_NO_CODE) for name in names)
