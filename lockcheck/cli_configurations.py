"""Running the analysis for commands that take --build more than once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lockcheck.cli_outputs import suppression_file

if TYPE_CHECKING:
    from lockcheck.config import Config
    from lockcheck.findings.model import Report


def analyse_all(
    configs: Sequence[Config], builds: Sequence[Path], suppressions: str | None
) -> Report:
    """Analyse each configuration, with progress on a terminal; several make one report.

    configs: one for each of `builds`, or the only one, of a tree that is built in place.
    suppressions: the file that the user named, if any.
    Raises LockcheckError as `analyse` does, and for a build directory that is named twice.
    """
    import msgspec

    from lockcheck.findings.merge import configuration_names, merge
    from lockcheck.progress import progress_for_terminal
    from lockcheck.session import analyse

    names = configuration_names(builds) if len(configs) > 1 else ("",)
    reports = []
    for config in configs:
        config = msgspec.structs.replace(
            config, suppressions=suppressions or suppression_file(config.tree)
        )
        progress = progress_for_terminal()
        try:
            reports.append(analyse(config, progress))
        finally:
            progress.end()
    if len(reports) == 1:
        return reports[0]
    return merge(list(zip(names, reports, strict=True)))
