"""The command `kbuild`: a checker that kbuild calls for each C file, as it calls sparse."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lockcheck.cli_options import (
    PathType,
    cache_directory,
    checking_options,
    enabled,
    print_error,
)
from lockcheck.cli_outputs import suppression_file
from lockcheck.errors import LockcheckError
from lockcheck.exitstatus import ExitStatus

if TYPE_CHECKING:
    from lockcheck.findings.model import Finding, Location

_FLAGS = ("--fail", "--no-cache", "--help")
_VALUES = ("--cache", "--rules", "--enable", "--suppressions")


class _Checker(click.Command):
    """Own options come first; from the first other word on, everything is the compiler's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = 0
        while own < len(args):
            if args[own] in _FLAGS or args[own].startswith(tuple(f"{v}=" for v in _VALUES)):
                own += 1
            elif args[own] in _VALUES:
                own += 2
            else:
                break
        return super().parse_args(ctx, [*args[:own], "--", *args[own:]])


@click.command(
    cls=_Checker,
    context_settings={"help_option_names": ["--help"]},
    epilog="""\b
Examples:
  make C=1 CHECK="lockcheck kbuild" fs/ext4/
      check what is compiled
  make C=2 CHECK="lockcheck kbuild" fs/ext4/
      check all of it, compiled or not
  make C=1 CHECK="lockcheck kbuild --fail" fs/ext4/
      a finding ends the build

\b
One unit at a time is read. The others are known from the cache, when earlier
calls or `lockcheck check` have read them, and they have not changed since: so
run `lockcheck check fs/ext4` once, with the same --build, and callers in other
files count from the first unit on. What the cache does not know is taken for
code that does nothing to locks.

\b
Findings are compiler warnings on standard error.
Exit status: 0 whatever is found or goes wrong, as kbuild wants of a checker.
With --fail: 1 for findings, 3 when the unit was not read, 2 for other errors.""",
)
@click.option("--fail", is_flag=True, help="A finding ends the build.")
@click.option(
    "--cache",
    type=PathType(file_okay=False),
    metavar="DIR",
    help="Where facts are kept. Default: lockcheck in $XDG_CACHE_HOME or ~/.cache.",
)
@click.option("--no-cache", is_flag=True, help="Look at each unit alone.")
@checking_options
@click.option(
    "--suppressions",
    type=PathType(),
    metavar="FILE",
    help="The suppression file. Default: lockcheck.toml at the top of the tree, else here.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="COMPILER-ARGUMENTS...")
@click.pass_context
def kbuild(
    ctx: click.Context,
    fail: bool,
    cache: str | None,
    no_cache: bool,
    extra_rules: tuple[str, ...],
    suppressions: str | None,
    words: tuple[str, ...],
) -> None:
    """Check one C file of a build: make C=1 CHECK="lockcheck kbuild"."""
    try:
        if cache is not None and no_cache:
            raise LockcheckError("--cache and --no-cache exclude each other")
        kept = None if no_cache else cache or cache_directory()
        status = _check(words, kept, extra_rules, enabled(ctx), suppressions)
    except LockcheckError as error:
        if fail:
            raise
        print_error(f"lockcheck: warning: not checked: {error}\n")
        status = ExitStatus.CLEAN
    except Exception as error:
        # A checker must not end somebody's build because of an error of its own.
        if fail or os.environ.get("LOCKCHECK_DEBUG", "0") not in ("", "0"):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        print_error(f"lockcheck: warning: not checked: internal error: {what}; please report it\n")
        status = ExitStatus.CLEAN
    ctx.exit(status if fail else ExitStatus.CLEAN)


def _check(
    words: Sequence[str],
    cache: str | None,
    rules: tuple[str, ...],
    enable: tuple[str, ...],
    suppressions: str | None,
) -> ExitStatus:
    """Check the unit and print. Raises LockcheckError."""
    from lockcheck.config import Config
    from lockcheck.oneunit import check_unit, unit_of
    from lockcheck.report.text import diagnostics
    from lockcheck.source.tree import find_tree

    directory = os.getcwd()
    tree = find_tree()
    command = unit_of(tree, words, directory)
    if command is None:
        return ExitStatus.CLEAN
    config = Config(
        tree,
        (),
        rules=rules,
        enable=enable,
        suppressions=suppressions or suppression_file(tree),
        command_line=("lockcheck", *sys.argv[1:2]),
        cache=cache,
    )
    answer = check_unit(config, command)
    prefix = _prefix(words, command.file)
    for notice in answer.notices:
        print_error(f"{prefix}{command.file}: warning: lockcheck: {notice.message}\n")
    print_error(diagnostics([_as_warning(finding, prefix) for finding in answer.findings]))
    if answer.notices:
        return ExitStatus.INCOMPLETE
    return ExitStatus.FINDINGS if answer.findings else ExitStatus.CLEAN


def _prefix(words: Sequence[str], file: str) -> str:
    """What the compiler puts before the name of a file of the tree: `../` or its top."""
    source = next(word for word in reversed(words) if word.endswith(".c"))
    return source.removesuffix(file) if source.endswith(file) else ""


def _as_warning(finding: Finding, prefix: str) -> Finding:
    """The finding as a compiler would warn of it, with the names that the build uses."""
    import msgspec

    from lockcheck.findings.model import Level

    replace = msgspec.structs.replace

    def named(place: Location) -> Location:
        return replace(place, file=os.path.join(prefix, place.file))

    return replace(
        finding,
        level=Level.WARNING,
        location=named(finding.location),
        chain=tuple(replace(s, location=named(s.location)) for s in finding.chain),
        related=tuple(replace(s, location=named(s.location)) for s in finding.related),
    )
