"""The command `ledger`: every obligation, and how it ended."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockcheck.cli_options import (
    PathType,
    checking_options,
    make_config,
    preempt_rt_option,
    print_error,
    run_options,
    stdout_draws,
    stdout_has_colour,
    tree_options,
)
from lockcheck.exitstatus import ExitStatus

if TYPE_CHECKING:
    from lockcheck.findings.model import LedgerEntry

_STATES = ("proved", "violated", "unproved")


@click.command(
    epilog="""\b
Examples:
  lockcheck ledger --summary arch/x86/kvm virt/kvm
      how many obligations of each origin are proved, violated, unproved
  lockcheck ledger --state unproved --lock kvm.mmu_lock arch/x86/kvm virt/kvm
      what could not be decided about one lock, and what would decide it
  lockcheck ledger --format json -o ledger.json arch/x86/kvm virt/kvm
      all of them, for other programs

\b
An obligation says that a lock is held at one place: an assertion in the source
(lockdep_assert_held(), the condition of rcu_dereference_check(), __must_hold),
or an access that a rule names. It is proved, violated (a finding of `check`) or
unproved. Patterns are those of file names: * stands for any letters.

\b
Exit status: 0 when the ledger is complete, whatever it says; 3 when some units
were not read; 2 for errors in options or tree."""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@tree_options
@checking_options
@preempt_rt_option
@run_options
@click.option(
    "--state",
    "states",
    type=click.Choice(_STATES),
    multiple=True,
    help="Only those that ended so. Repeatable.",
)
@click.option("--file", "file", metavar="PATTERN", help="Only in files of this name.")
@click.option("--function", metavar="PATTERN", help="Only in functions of this name.")
@click.option("--lock", metavar="PATTERN", help="Only about this lock, e.g. kvm.mmu_lock.")
@click.option("--origin", metavar="PATTERN", help="Only stated by this, e.g. lockdep_assert_*.")
@click.option("--summary", is_flag=True, help="Only the numbers by origin.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv"]),
    help="How to write it. Default: a table on a terminal, else text, one line for each.",
)
@click.option(
    "-o",
    "--output",
    type=PathType(path_type=Path),
    metavar="FILE",
    help="Where to write; written whole or not at all. Default: standard output.",
)
@click.pass_context
def ledger(
    ctx: click.Context,
    paths: tuple[str, ...],
    tree: Path | None,
    build: Path | None,
    extra_rules: tuple[str, ...],
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    states: tuple[str, ...],
    file: str | None,
    function: str | None,
    lock: str | None,
    origin: str | None,
    summary: bool,
    form: str | None,
    output: Path | None,
) -> None:
    """List every obligation and how it ended, with the reason."""
    if summary and form not in (None, "text"):
        raise click.UsageError("--summary is text: leave --format out")
    if form is None and output is not None and output.suffix in (".json", ".csv"):
        # Text under such a name is never what was meant.
        raise click.UsageError(f"-o {output} has no --format: add --format {output.suffix[1:]}")
    from lockcheck.report.output import check_writable

    check_writable(output)

    from lockcheck.progress import progress_for_terminal
    from lockcheck.report.ledger import Filter
    from lockcheck.report.output import write_outputs
    from lockcheck.report.text import notices
    from lockcheck.session import analyse

    config = make_config(ctx, paths, tree, build, jobs, cache, no_cache, extra_rules)
    progress = progress_for_terminal()
    try:
        report = analyse(config, progress)
    finally:
        progress.end()
    wanted = Filter(states, file, function, lock, origin)
    entries = [entry for entry in report.obligations if wanted.takes(entry)]
    if summary:
        form = "summary"
    elif form is None:
        on_terminal = output is None and stdout_draws()
        form = "table" if on_terminal else "text"
    text = _render(entries, form, share=not states)
    write_outputs(report, ((form, output),), formats={form: lambda _: text})
    print_error(notices(report))
    if not report.complete:
        print_error("lockcheck: INCOMPLETE: not everything was analysed, see the errors above\n")
    ctx.exit(ExitStatus.CLEAN if report.complete else ExitStatus.INCOMPLETE)


def _render(entries: Sequence[LedgerEntry], form: str, *, share: bool) -> str:
    """The entries as `--format` names it, as a `table` or as a `summary`; its shares if asked."""
    from lockcheck.report import ledger as render

    if form == "table":
        from lockcheck.report.ledger_table import as_table

        width = shutil.get_terminal_size().columns
        return as_table(entries, width=width, colour=stdout_has_colour(), share=share)
    if form in ("json", "csv"):
        return render.as_json(entries) if form == "json" else render.as_csv(entries)
    return (render.summary if form == "summary" else render.as_text)(entries, share=share)
