"""The command `series`: what each patch of a series brings and fixes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from lockcheck.cli_options import (
    checking_options,
    make_config,
    preempt_rt_option,
    run_options,
    tree_options,
)
from lockcheck.cli_outputs import (
    colour_option,
    coloured,
    output_options,
    output_pairs,
    suppression_file,
)
from lockcheck.exitstatus import ExitStatus

if TYPE_CHECKING:
    from lockcheck.findings.series import SeriesReport
    from lockcheck.series.patches import Series

_FORMATS = ("text", "sarif")  # those of `check` that are about one state are not for a series
_LAST = re.compile(r"-(\d+)$")


class _SeriesCommand(click.Command):
    """Takes `-3` for the last three commits, as `git format-patch` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                return super().parse_args(ctx, [*words, *args[number:]])
            match = _LAST.match(word)
            words.append(f"--last={match.group(1)}" if match else word)
        return super().parse_args(ctx, words)


@click.command(
    cls=_SeriesCommand,
    epilog="""\b
Examples:
  lockcheck series v6.12..my-branch
      the commits of a branch, in the git tree that the current directory is in
  lockcheck series -3
      the last three commits
  lockcheck series v2.mbx arch/x86/kvm virt/kvm
      what `b4 am` wrote, checked in two directories
  b4 am -o - MESSAGE-ID | lockcheck series -
      from standard input
  lockcheck series outgoing/
      what `git format-patch -o outgoing` wrote; single files will do, too
  lockcheck series --format sarif -o series.sarif v6.12..my-branch
      SARIF with one run for each patch, text on the terminal

\b
SERIES is a range of commits, or a file (mbox, patch; .gz, too), a directory of
patches, a maildir, or - for standard input. One revision stands for the commits
of HEAD since then, as `git format-patch` has it. PATHS are the directories to
read, as in `check`; without any, those that the series changes.

\b
The tree must be configured and prepared. Mail is applied to the files as they
are there; of a range, the tree may have any commit checked out. Nothing is
checked out, built or written: each state of the series is read in memory.

\b
Exit status:
  0    no patch brings a finding
  1    some patch brings one that no suppression accepts, even if a later patch
       fixes it: a bisection stops in between
  2    an error: a patch that does not apply, damaged mail, an unknown range
  3    incomplete: something could not be analysed, with or without findings
  70   an error in lockcheck itself
  130  interrupted""",
)
@click.argument("words", nargs=-1, metavar="SERIES [PATHS]...")
@click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    help="The last N commits of HEAD, or of the revision SERIES. -N means the same.",
)
@tree_options
@checking_options
@preempt_rt_option
@run_options
@output_options
@click.option("--exit-zero", is_flag=True, help="Status 0 instead of 1 for findings.")
@colour_option
@click.pass_context
def series(
    ctx: click.Context,
    words: tuple[str, ...],
    last: int | None,
    tree: Path | None,
    build: Path | None,
    extra_rules: tuple[str, ...],
    jobs: int | None,
    formats: tuple[str, ...],
    outputs: tuple[Path, ...],
    quiet: bool,
    suppressions: str | None,
    cache: str | None,
    no_cache: bool,
    exit_zero: bool,
    colour: str,
) -> None:
    """Tell what each patch of a series brings and fixes."""
    pairs = output_pairs(formats, outputs, quiet=quiet)
    from lockcheck.report.output import check_pairs, check_writable

    check_pairs(pairs, formats=_FORMATS)
    for _, path in pairs:
        check_writable(path)

    from lockcheck.progress import progress_for_terminal
    from lockcheck.report import sarif, series_text
    from lockcheck.report.output import write_outputs
    from lockcheck.series.run import check_series
    from lockcheck.series.scope import scope_of

    config = make_config(ctx, (), tree, build, jobs, cache, no_cache, extra_rules)
    patches, paths = _series(config.tree.root, words, last)
    progress = progress_for_terminal()
    if not paths:
        progress.begin("directories", None)
        scope = scope_of(config.tree, patches)
        progress.end()
        paths = scope.paths
        patches = patches._replace(notices=(*patches.notices, *scope.notices))
    config = msgspec.structs.replace(
        config, paths=paths, suppressions=suppressions or suppression_file(config.tree)
    )
    try:
        report = check_series(config, patches, progress)
    finally:
        progress.end()
    write_outputs(
        report.base,
        coloured(pairs, colour),
        formats={
            "text": lambda _: series_text.render(report),
            "colour": lambda _: series_text.render(report, colour=True),
            "sarif": lambda _: sarif.render_series(report),
        },
    )
    status = _status(report)
    ctx.exit(ExitStatus.CLEAN if exit_zero and status is ExitStatus.FINDINGS else status)


def _series(root: Path, words: tuple[str, ...], last: int | None) -> tuple[Series, tuple[str, ...]]:
    """The series that the arguments name, and the PATHS that are left. Raises LockcheckError."""
    from lockcheck.series.gitrange import series_from_git
    from lockcheck.series.mail import STDIN, is_patch_file
    from lockcheck.series.mailseries import series_from_mail

    if any(not word for word in words):
        raise click.UsageError("an argument is empty: a shell variable that was not set?")
    if last is not None:
        # `-3 my-branch arch/x86/kvm`: what is there as a file or directory is a path to check.
        is_revision = bool(words) and not os.path.exists(root / words[0])
        spec, paths = (words[0], words[1:]) if is_revision else (None, words)
        return series_from_git(root, spec, last), paths
    if not words:
        raise click.UsageError("name a series: a range of commits, -N, a file, or -")
    first, rest = words[0], words[1:]
    if first != STDIN and not os.path.lexists(first):
        return series_from_git(root, first, None), rest
    more = 0
    while first != STDIN and more < len(rest) and is_patch_file(rest[more]):
        more += 1
    return series_from_mail(root, (first, *rest[:more])), rest[more:]


def _status(report: SeriesReport) -> ExitStatus:
    if not report.complete:
        return ExitStatus.INCOMPLETE
    return ExitStatus.FINDINGS if report.brought else ExitStatus.CLEAN
