"""The command `baseline`, and what `check --baseline` does with its file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from lockcheck.cli_configurations import analyse_all
from lockcheck.cli_options import (
    PathType,
    builds_options,
    checking_options,
    make_config,
    preempt_rt_option,
    print_error,
    run_options,
)
from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.exitstatus import ExitStatus

if TYPE_CHECKING:
    from lockcheck.findings.model import Report
    from lockcheck.report.sarif_read import EarlierRun

# No run over a whole kernel writes as much.
_MAX_BYTES = 1 << 30


class Baseline(NamedTuple):
    """A baseline as it was read, and the name under which messages speak of it."""

    file: str
    run: EarlierRun


baseline_option = click.option(
    "--baseline",
    type=PathType(path_type=Path),
    metavar="FILE",
    help="Count and print only findings that are not in this file of `lockcheck baseline`.",
)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline, before anything long begins.

    Raises LockcheckError when it cannot be read, or is no SARIF of this lockcheck.
    """
    from lockcheck.report.sarif_read import read_run

    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:  # a device has no end
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    except OSError as error:
        raise LockcheckError(
            f"cannot read the baseline: {error.strerror or error}",
            file=str(path),
            remedy="write one with `lockcheck baseline -o FILE`",
        ) from error
    return Baseline(str(path), read_run(text, file=str(path)))


def against(report: Report, baseline: Baseline) -> Report:
    """The report with the state of each finding, and a notice of a baseline that is incomplete."""
    import msgspec

    from lockcheck.findings.baseline import compare

    report = compare(report, baseline.run.findings)
    if baseline.run.complete:
        return report
    notice = Notice(
        Severity.WARNING,
        "baseline-incomplete",
        f"the baseline {baseline.file} was written by a run that did not analyse everything: what "
        "it missed counts as new",
        remedy="write it anew with `lockcheck baseline -o FILE`",
    )
    return msgspec.structs.replace(report, notices=(*report.notices, notice))


@click.command(
    epilog="""\b
Examples:
  lockcheck baseline -o base.sarif mm fs/ext4
      all findings of now into a file
  lockcheck check --baseline base.sarif mm fs/ext4
      later: only what is new; status 1 only for that

\b
A baseline is SARIF, as `lockcheck check --format sarif` writes it. Findings are
known again by what they say (rule, function, datum, lock), not by their line.
Name the same PATHS both times: what is not checked now counts as gone.

\b
Exit status: 0 when the baseline is written, whatever is in it; 3 when some
units were not read; 2 for errors in options or tree."""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@builds_options
@checking_options
@preempt_rt_option
@run_options
@click.option(
    "--suppressions",
    type=PathType(),
    metavar="FILE",
    help="The suppression file. Default: lockcheck.toml at the top of the tree, else here.",
)
@click.option(
    "-o",
    "--output",
    type=PathType(path_type=Path),
    metavar="FILE",
    help="Where to write; written whole or not at all. Default: standard output.",
)
@click.pass_context
def baseline(
    ctx: click.Context,
    paths: tuple[str, ...],
    tree: Path | None,
    builds: tuple[Path, ...],
    extra_rules: tuple[str, ...],
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    suppressions: str | None,
    output: Path | None,
) -> None:
    """Write the findings of now, for `check --baseline` to tell which are new."""
    from lockcheck.report.output import check_writable

    check_writable(output)

    from lockcheck.report.output import write_outputs
    from lockcheck.report.text import notices, summary

    configs = [
        make_config(ctx, paths, tree, build, jobs, cache, no_cache, extra_rules)
        for build in builds or (None,)
    ]
    report = analyse_all(configs, builds, suppressions)
    write_outputs(report, (("sarif", output),))
    print_error(notices(report))
    print_error(f"{summary(report)}\n")
    ctx.exit(ExitStatus.CLEAN if report.complete else ExitStatus.INCOMPLETE)
