"""What the commands share: options, the run that they describe, and printing.

What a run needs is imported when it starts, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from lockcheck.findings.model import Report
    from lockcheck.source.tree import KernelTree

# Where the group of all commands leaves what was typed, for the reports.
ARGUMENTS = "lockcheck.arguments"


class PathType(click.Path):
    """A path that is not empty: a shell variable that was not set names nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, as click has it; an empty one is an error in usage."""
        if value == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


class RunOptions(msgspec.Struct, frozen=True):
    """What the user said about one run, whichever command it is for; see `run_options`."""

    paths: tuple[str, ...]
    tree: Path | None
    build: Path | None
    rules: tuple[str, ...]
    jobs: int | None
    cache: str | None
    no_cache: bool

    def find_tree(self) -> KernelTree:
        """The kernel tree that is meant. Raises LockcheckError when there is none."""
        from lockcheck.source.tree import find_tree

        return find_tree(self.tree, self.build)


def tree_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name the tree, for every command that reads one."""
    for option in (
        click.option(
            "--build",
            type=PathType(path_type=Path),
            metavar="DIR",
            help="The build directory (what `make O=` names), when the tree is not built in place.",
        ),
        click.option(
            "--tree",
            type=PathType(path_type=Path),
            metavar="DIR",
            help="The kernel tree. Without it: the one around the current directory.",
        ),
    ):
        command = option(command)
    return command


rules_option = click.option(
    "--rules",
    "extra_rules",
    type=PathType(),
    multiple=True,
    metavar="FILE|DIR",
    help="A rule file of yours, or a directory of them, beside the built-in ones. Repeatable.",
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """PATHS and the options of every command that analyses; the command gets them as `run`."""

    @functools.wraps(command)
    def collected(
        *args: Any,
        paths: tuple[str, ...],
        tree: Path | None,
        build: Path | None,
        extra_rules: tuple[str, ...],
        jobs: int | None,
        cache: str | None,
        no_cache: bool,
        **rest: Any,
    ) -> Any:
        if cache is not None and no_cache:
            raise click.UsageError("--cache and --no-cache exclude each other")
        run = RunOptions(paths, tree, build, extra_rules, jobs, cache, no_cache)
        return command(*args, run=run, **rest)

    wrapped: Callable[..., Any] = collected
    for option in (
        click.option("--no-cache", is_flag=True, help="Read everything anew, keep nothing."),
        click.option(
            "--cache",
            type=PathType(file_okay=False),
            metavar="DIR",
            help="Keep facts between runs there. Default: lockcheck in $XDG_CACHE_HOME or "
            "~/.cache.",
        ),
        click.option(
            "-j",
            "--jobs",
            type=click.IntRange(min=1),
            metavar="N",
            help="Units to parse at a time. Default: one for each core.",
        ),
        rules_option,
        tree_options,
        click.argument("paths", nargs=-1, metavar="[PATHS]..."),
    ):
        wrapped = option(wrapped)
    return wrapped


def analyse_run(
    ctx: click.Context, run: RunOptions, tree: KernelTree, *, suppressions: str | None = None
) -> Report:
    """Analyse what `run` names in `tree`, with a bar for whoever waits at a terminal.

    suppressions: the suppression file, None for none.
    Raises LockcheckError for what the user has to mend first.
    """
    from lockcheck.config import Config
    from lockcheck.progress import progress_for_terminal
    from lockcheck.session import analyse

    config = Config(
        tree=tree,
        paths=run.paths,
        rules=run.rules,
        jobs=run.jobs or len(os.sched_getaffinity(0)),
        suppressions=suppressions,
        command_line=("lockcheck", *ctx.meta.get(ARGUMENTS, ())),
        cache=None if run.no_cache else run.cache or _cache_directory(),
    )
    progress = progress_for_terminal()
    try:
        return analyse(config, progress)
    finally:
        progress.end()


def stdout_draws() -> bool:
    """Whether standard output is a terminal that can do more than print lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def stdout_has_colour() -> bool:
    """Whether standard output is a terminal that shows colours to somebody who wants them."""
    return stdout_draws() and not os.environ.get("NO_COLOR")


def print_text(text: str) -> None:
    """Print to standard output; a reader who closes the pipe had enough."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Else the interpreter complains again when it flushes on exit.
        with contextlib.suppress(OSError, ValueError):
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, sys.stdout.fileno())
            os.close(devnull)


def print_error(text: str) -> None:
    """Print to standard error, if there is still somebody to read it."""
    # A name that is not UTF-8 must not end the run.
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False, err=True)


def _cache_directory() -> str | None:
    """Where facts are kept unless the user says otherwise; None when there is no such place."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the standard wants others ignored
        base = os.path.expanduser(os.path.join("~", ".cache"))
    return os.path.join(base, "lockcheck") if os.path.isabs(base) else None
