"""The command `b4`: a check of one mail, in the forms that b4 takes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockcheck.cli_options import (
    PathType,
    checking_options,
    enabled,
    make_config,
    print_text,
    run_options,
    tree_options,
)
from lockcheck.cli_outputs import suppression_file
from lockcheck.errors import LockcheckError
from lockcheck.exitstatus import ExitStatus

if TYPE_CHECKING:
    from lockcheck.findings.model import Finding
    from lockcheck.message import MessageVerdict

# As much as lore takes is much less; more is no mail.
_MAX_BYTES = 32 << 20
_TOOL = "lockcheck"


@click.command(
    epilog="""\b
Examples:
  lockcheck b4 --print-config --build ../linux-build
      the lines for .git/config, with the stamp of this lockcheck
  lockcheck b4 --build ../linux-build < 0001-mm-take-the-lock.patch
      what b4 will see: a line for each finding that the patch brings
  lockcheck b4 --json --build ../linux-build < 0001-mm-take-the-lock.patch
      the same for `b4 review`

\b
The mail is read from standard input. When the tree has it as one of its last
commits, that commit is compared with the one before; else the patch is applied
in memory to the files as they are. Nothing is checked out or written.
PATHS are the directories to read; without any, those that the patch changes.

\b
Everything is told on standard output, errors too: b4 takes each line of standard
error for a failure of its own. Lines with ERROR: are failures to b4, others are
warnings. b4 keeps answers under the command line for up to 30 days: --stamp
makes it another one when lockcheck, its rules or its models change.

\b
The lines belong into .git/config (or ~/.gitconfig): from a .b4-config b4 takes
prep-perpatch-check-cmd only. Where a command is named, b4 runs checkpatch no
more: name that, too, in a line of its own.

\b
Exit status: 0 for nothing new, 1 for findings, 2 when the mail could not be
checked, 3 when something could not be analysed."""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@tree_options
@checking_options
@run_options
@click.option(
    "--suppressions",
    type=PathType(),
    metavar="FILE",
    help="The suppression file. Default: lockcheck.toml at the top of the tree, else here.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer as `b4 review` wants it.")
@click.option(
    "--stamp", metavar="STAMP", help="The lockcheck that is meant; another one says so in a line."
)
@click.option("--print-config", is_flag=True, help="Print the lines for .git/config, and end.")
@click.pass_context
def b4(
    ctx: click.Context,
    paths: tuple[str, ...],
    tree: Path | None,
    build: Path | None,
    extra_rules: tuple[str, ...],
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    suppressions: str | None,
    as_json: bool,
    stamp: str | None,
    print_config: bool,
) -> None:
    """Check the patch in a mail, for b4 and git send-email."""
    from lockcheck.stamp import stamp as current

    if print_config:
        options: list[tuple[str, object]] = [
            ("--stamp", current()),
            ("--tree", tree),
            ("--build", build),
        ]
        options += [("--rules", rules) for rules in extra_rules]
        options += [("--enable", rule) for rule in enabled(ctx)]
        options += [("--suppressions", suppressions), ("--jobs", jobs), ("--cache", cache)]
        print_text(_config_lines(options, [*(["--no-cache"] if no_cache else []), *paths]))
        return
    try:
        import msgspec

        from lockcheck.message import check_message
        from lockcheck.progress import SilentProgress

        text = sys.stdin.buffer.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise LockcheckError("it is too large for a mail", file="standard input")
        config = make_config(ctx, paths, tree, build, jobs, cache, no_cache, extra_rules)
        config = msgspec.structs.replace(
            config, suppressions=suppressions or suppression_file(config.tree)
        )
        verdict = check_message(config, text, SilentProgress())
    except LockcheckError as error:
        words = " ".join(str(error).split())
        _answer(as_json, [("fail", f"ERROR: not checked: {words}")], "could not be checked")
        ctx.exit(ExitStatus.USAGE)
    lines = [_line(finding) for finding in verdict.new]
    for notice in verdict.failures:
        where = f"{notice.file}: " if notice.file else ""
        lines.append(("warn", f"WARNING: not analysed: {where}{notice.message}"))
    if stamp is not None and stamp != current():
        lines.append(
            (
                "warn",
                f"WARNING: --stamp {stamp} is not this lockcheck: b4 may show old answers; write "
                f"--stamp {current()} into the configuration",
            )
        )
    _answer(as_json, lines, _summary(verdict))
    if verdict.failures:
        ctx.exit(ExitStatus.INCOMPLETE)
    ctx.exit(ExitStatus.FINDINGS if verdict.new else ExitStatus.CLEAN)


def _line(finding: Finding) -> tuple[str, str]:
    """The status that b4 gives to a finding, and the one line that says it."""
    from lockcheck.findings.model import Level
    from lockcheck.report.text import one_line

    place = finding.location
    is_error = finding.level is Level.ERROR
    word = "ERROR" if is_error else "WARNING"
    message = one_line(finding.message)
    line = f"{place.file}:{place.line}: {word}: {message} [{finding.rule_id}]"
    return ("fail" if is_error else "warn"), line


def _summary(verdict: MessageVerdict) -> str:
    if not verdict.checked:
        return "nothing to check"
    parts = [f"{len(verdict.new)} new finding{'' if len(verdict.new) == 1 else 's'}"]
    if verdict.fixed:
        parts.append(f"{verdict.fixed} fixed")
    if verdict.failures:
        parts.append("not everything was analysed")
    return ", ".join(parts)


def _answer(as_json: bool, lines: list[tuple[str, str]], summary: str) -> None:
    if not as_json:
        print_text("".join(f"{' '.join(line.split())}\n" for _, line in lines))
        return
    statuses = [status for status, _ in lines]
    worst = next((status for status in ("fail", "warn") if status in statuses), "pass")
    answer = {
        "tool": _TOOL,
        "status": worst,
        "summary": summary,
        # A text with JSON in it: that is how b4 keeps and shows details.
        "details": json.dumps([{"status": s, "description": line} for s, line in lines])
        if lines
        else "",
    }
    print_text(json.dumps([answer]) + "\n")


def _config_lines(options: Sequence[tuple[str, object]], rest: Sequence[str]) -> str:
    """The lines for git's configuration: the command with these options, and the other words."""
    words = [word for name, value in options if value is not None for word in (name, str(value))]
    plain = shlex.join([_TOOL, "b4", *words, *rest])
    review = shlex.join([_TOOL, "b4", "--json", *words, *rest])
    return (
        "# For .git/config: of these b4 takes only the first from a .b4-config, too.\n"
        "[b4]\n"
        f"  prep-perpatch-check-cmd = {_git_value(plain)}\n"
        f"  am-perpatch-check-cmd = {_git_value(plain)}\n"
        f"  review-perpatch-check-cmd = {_git_value(review)}\n"
    )


def _git_value(text: str) -> str:
    """A text as the value of a git configuration, which has comments and escapes."""
    if not any(character in text for character in '#;"\\\n'):
        return text
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n")):
        text = text.replace(character, escaped)
    return f'"{text}"'
