"""The command line: options and exit status, nothing else.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lockcheck import __version__, exitstatus
from lockcheck.cli_b4 import b4
from lockcheck.cli_baseline import against, baseline_option, read_baseline
from lockcheck.cli_baseline import baseline as baseline_command
from lockcheck.cli_cache import cache as cache_command
from lockcheck.cli_configurations import analyse_all
from lockcheck.cli_kbuild import kbuild
from lockcheck.cli_ledger import ledger
from lockcheck.cli_lsp import lsp
from lockcheck.cli_options import (
    ARGUMENTS,
    builds_options,
    checking_options,
    make_config,
    preempt_rt_option,
    print_error,
    print_text,
    rules_option,
    run_options,
    tree_options,
)
from lockcheck.cli_order import order
from lockcheck.cli_outputs import (
    colour_option,
    coloured,
    output_options,
    output_pairs,
)
from lockcheck.cli_questions import guards, why
from lockcheck.cli_series import series
from lockcheck.errors import LockcheckError, Notice
from lockcheck.exitstatus import ExitStatus, GuardedGroup, run

if TYPE_CHECKING:
    from lockcheck.findings.model import Report, RuleInfo
    from lockcheck.report.output import Renderer


class _Cli(GuardedGroup):
    """The group of all commands; it remembers what was typed, for the reports."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def main() -> NoReturn:
    """The program `lockcheck`."""
    run(cli, "lockcheck")


@click.group(
    cls=_Cli,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"""\b
Examples:
  cd linux && make defconfig prepare    # a tree to check: nothing is built
  lockcheck doctor                      # is everything there?
  lockcheck check arch/x86/kvm          # findings, with their evidence
  lockcheck ledger arch/x86/kvm         # every promise of a lock, and how it ends
  lockcheck why kvm_zap_gfn_range arch/x86/kvm  # what is held when it runs
  lockcheck series v6.12..my-branch     # what each patch brings and fixes
  lockcheck order arch/x86/kvm          # how locks nest
  lockcheck rules show gfn-track-write  # what a rule wants, and why

{exitstatus.HELP}""",
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def cli() -> None:
    """Check lock assertions in Linux kernel C over the whole program.

    lockcheck reads the C files of a configured kernel tree, follows every call, and tells where
    data is used, or a function is called, without the lock that the rules or the source ask for,
    with the call chain that leads there.
    """


@cli.command(
    epilog=f"""\b
Examples:
  lockcheck check
      every unit of the tree that the current directory is in
  lockcheck check --tree ../linux --build ../linux-build arch/x86/kvm virt/kvm
      two directories; headers outside of them are read, other .c files are not
  lockcheck check --rules my-rules/ drivers/gpu/drm/i915/gvt/kvmgt.c
      one file, with rules of yours beside the built-in ones
  lockcheck check --format sarif -o out.sarif arch/x86/kvm
      SARIF into a file, text on the terminal
  lockcheck check --baseline base.sarif arch/x86/kvm
      only what is new since `lockcheck baseline -o base.sarif arch/x86/kvm`
  lockcheck check --build ../gcc --build ../clang arch/x86/kvm
      two configurations; each finding says which of them show it
  lockcheck check --format text -o out.txt --format sarif -o out.sarif --quiet
      two files, nothing on the terminal

\b
A tree is the top directory of the kernel source. It must be configured and
prepared (`make defconfig prepare`); it need not be built. PATHS are files or
directories, relative to that top. Without any, everything that has a compile
command is checked. Callers outside of PATHS are not seen: name the directories
that belong together.

\b
Suppressions are read from lockcheck.toml at the top of the tree, else in the
current directory:
  [[suppress]]
  rule = "gfn-track-write"
  function = "update_gfn_track"
  reason = "the slot is not visible to others yet"

{exitstatus.HELP}"""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@builds_options
@checking_options
@preempt_rt_option
@run_options
@output_options
@click.option("--show-suppressed", is_flag=True, help="Print suppressed findings as text, too.")
@click.option(
    "--all-kinds",
    is_flag=True,
    help="In SARIF, proved and unproved obligations, too (kinds pass and open).",
)
@baseline_option
@click.option("--exit-zero", is_flag=True, help="Status 0 instead of 1 for findings.")
@colour_option
@click.pass_context
def check(
    ctx: click.Context,
    paths: tuple[str, ...],
    tree: Path | None,
    builds: tuple[Path, ...],
    extra_rules: tuple[str, ...],
    jobs: int | None,
    formats: tuple[str, ...],
    outputs: tuple[Path, ...],
    quiet: bool,
    suppressions: str | None,
    show_suppressed: bool,
    cache: str | None,
    no_cache: bool,
    baseline: Path | None,
    exit_zero: bool,
    all_kinds: bool,
    colour: str,
) -> None:
    """Check the units below PATHS and print findings."""
    pairs = output_pairs(formats, outputs, quiet=quiet)
    if all_kinds and not any(name in ("sarif", "github") for name, _ in pairs):
        raise click.UsageError(
            "--all-kinds is about SARIF: add --format sarif, or see `lockcheck ledger`"
        )
    if all_kinds and baseline is not None:
        raise click.UsageError(
            "--all-kinds and --baseline exclude each other: a baseline has findings only"
        )
    from lockcheck.report.output import check_pairs, check_writable

    check_pairs(pairs)
    for _, path in pairs:
        check_writable(path)
    earlier = None if baseline is None else read_baseline(baseline)

    from lockcheck.report.output import write_outputs

    configs = [
        make_config(ctx, paths, tree, build, jobs, cache, no_cache, extra_rules)
        for build in builds or (None,)
    ]
    report = analyse_all(configs, builds, suppressions)
    if earlier is not None:
        report = against(report, earlier)
    told: list[Notice] = []
    renderers = _renderers(told, show_suppressed=show_suppressed, all_kinds=all_kinds)
    write_outputs(report, coloured(pairs, colour), formats=renderers)
    for notice in told:
        print_error(f"lockcheck: {notice.severity}: {notice.message} [{notice.code}]\n")
    status = _status(report)
    ctx.exit(ExitStatus.CLEAN if exit_zero and status is ExitStatus.FINDINGS else status)


@cli.command(
    epilog="""\b
Examples:
  lockcheck doctor
      the tree that the current directory is in, every unit
  lockcheck doctor --tree ../linux --build ../linux-build arch/x86/kvm
      what `check` with the same arguments would find

\b
Exit status: 0 when `lockcheck check` would start, 2 when it would not.
Each problem is shown with its remedy."""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@tree_options
@click.pass_context
def doctor(
    ctx: click.Context, paths: tuple[str, ...], tree: Path | None, build: Path | None
) -> None:
    """Tell what is there and what is missing for a check."""
    from lockcheck.source.doctor import examine, render

    report = examine(tree, build, paths)
    print_text(render(report))
    ctx.exit(ExitStatus.CLEAN if report.is_healthy else ExitStatus.USAGE)


@cli.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  lockcheck rules
      all built-in rules, one line each
  lockcheck rules --rules my-rules/
      yours, too; a mistake in a rule file is told with its line
  lockcheck rules show gfn-track-write
      one rule: what it wants, why, and examples""",
)
@rules_option
@click.pass_context
def rules(ctx: click.Context, extra_rules: tuple[str, ...]) -> None:
    """List the rules, or show one."""
    ctx.obj = extra_rules
    if ctx.invoked_subcommand is not None:
        return
    infos = _load_rule_infos(extra_rules)
    width = max((len(info.rule_id) for info in infos), default=0)
    print_text("".join(f"{i.rule_id:<{width}}  {_level(i):<7}  {i.title}\n" for i in infos))


@rules.command(
    epilog="""\b
Example:
  lockcheck rules show gfn-track-write"""
)
@click.argument("rule_id", metavar="ID")
@rules_option
@click.pass_obj
def show(group_rules: tuple[str, ...], rule_id: str, extra_rules: tuple[str, ...]) -> None:
    """Show one rule: what it wants, why, and examples."""
    infos = {info.rule_id: info for info in _load_rule_infos((*group_rules, *extra_rules))}
    if rule_id not in infos:
        close = difflib.get_close_matches(rule_id, infos, n=1)
        raise LockcheckError(
            f"there is no rule '{rule_id}'",
            remedy=f"did you mean '{close[0]}'?" if close else "`lockcheck rules` lists them",
        )
    print_text(_rule_text(infos[rule_id]))


def _renderers(
    told: list[Notice], *, show_suppressed: bool, all_kinds: bool
) -> dict[str, Renderer]:
    """The formats of `write_outputs` as the options want them; `colour` is text with colours.

    told: gets what a renderer has to say to the user.
    """
    from lockcheck.report import limits, sarif, text
    from lockcheck.report.output import FORMATS

    render = functools.partial(text.render, show_suppressed=show_suppressed)

    def github(report: Report) -> str:
        fitted = limits.fit(report, all_kinds=all_kinds)
        told.extend(fitted.notices)
        return fitted.text

    return {
        **FORMATS,
        "text": render,
        "colour": functools.partial(render, colour=True),
        "sarif": functools.partial(sarif.render, all_kinds=all_kinds),
        "github": github,
    }


def _status(report: Report) -> ExitStatus:
    if not report.complete:
        return ExitStatus.INCOMPLETE
    if any(finding.counts for finding in report.findings):
        return ExitStatus.FINDINGS
    return ExitStatus.CLEAN


def _load_rule_infos(extra: Sequence[str]) -> list[RuleInfo]:
    from lockcheck.rules.loader import load_rules

    return sorted((rule.info for rule in load_rules(extra)), key=lambda info: info.rule_id)


def _level(info: RuleInfo) -> str:
    return "off" if info.off else info.level


def _rule_text(info: RuleInfo) -> str:
    off = f", off by default: --enable {info.rule_id}" if info.off else ""
    parts = [
        f"{info.rule_id} ({info.level}{off})",
        info.title,
        *([", ".join(info.cwe)] if info.cwe else []),
        f"\n{info.rationale.strip()}",
    ]
    for title, example in (("Bad", info.bad_example), ("Good", info.good_example)):
        if example.strip():
            parts.append(f"\n{title}:")
            parts.extend(f"    {line}".rstrip() for line in example.rstrip().splitlines())
    parts.append(f"\nThe rule file: {info.file}")
    return "\n".join(parts) + "\n"


_COMMANDS = (
    *(ledger, why, guards, baseline_command, kbuild, series, b4),
    *(order, lsp, cache_command),
)
for _command in _COMMANDS:
    cli.add_command(_command)


if __name__ == "__main__":
    main()
