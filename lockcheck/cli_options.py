"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lockcheck.config import Config

ARGUMENTS = "lockcheck.arguments"  # where the group keeps what was typed, for the reports


class PathType(click.Path):
    """A path that is not empty: a shell variable that was not set names nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


_tree_option = click.option(
    "--tree",
    type=PathType(path_type=Path),
    metavar="DIR",
    help="The kernel tree. Without it: the one around the current directory.",
)


def tree_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name the tree, for every command that reads one."""
    build = click.option(
        "--build",
        type=PathType(path_type=Path),
        metavar="DIR",
        help="The build directory (what `make O=` names), when the tree is not built in place.",
    )
    return _tree_option(build(command))


def builds_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """As `tree_options`, for a command that reads the tree in several configurations."""
    builds = click.option(
        "--build",
        "builds",
        type=PathType(path_type=Path),
        multiple=True,
        metavar="DIR",
        help="The build directory (what `make O=` names), when the tree is not built in place. "
        "Given more than once, each configuration is checked, and the results are one.",
    )
    return _tree_option(builds(command))


rules_option = click.option(
    "--rules",
    "extra_rules",
    type=PathType(),
    multiple=True,
    metavar="FILE|DIR",
    help="A rule file of yours, or a directory of them, beside the built-in ones. Repeatable.",
)


_ENABLED, _PREEMPT_RT = "lockcheck.enable", "lockcheck.preempt-rt"


def _keep_enabled(ctx: click.Context, _: click.Parameter, value: tuple[str, ...]) -> None:
    ctx.meta[_ENABLED] = value


def _keep_preempt_rt(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_PREEMPT_RT] = value


def enabled(ctx: click.Context) -> tuple[str, ...]:
    """The ids after --enable."""
    return tuple(ctx.meta.get(_ENABLED, ()))


def preempt_rt_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option --preempt-rt, for `make_config`."""
    return click.option(
        "--preempt-rt",
        is_flag=True,
        expose_value=False,
        callback=_keep_preempt_rt,
        help="Take the kernel for one with PREEMPT_RT: spinlock_t and rwlock_t sleep.",
    )(command)


def checking_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which rules are checked: --rules, and --enable for `make_config`."""
    enable = click.option(
        "--enable",
        multiple=True,
        metavar="RULE",
        expose_value=False,
        callback=_keep_enabled,
        help="Check a rule that is off by default (`lockcheck rules` says which are). Repeatable.",
    )
    return rules_option(enable(command))


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how units are read: --jobs, --cache, --no-cache."""
    for option in (
        click.option("--no-cache", is_flag=True, help="Read everything anew, keep nothing."),
        click.option(
            "--cache",
            type=PathType(file_okay=False),
            metavar="DIR",
            help="Keep facts between runs there. "
            "Default: lockcheck in $XDG_CACHE_HOME or ~/.cache.",
        ),
        click.option(
            "-j",
            "--jobs",
            type=click.IntRange(min=1),
            metavar="N",
            help="Units to parse at a time. Default: one for each core.",
        ),
    ):
        command = option(command)
    return command


def make_config(
    ctx: click.Context,
    paths: tuple[str, ...],
    tree: Path | None,
    build: Path | None,
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    rules: tuple[str, ...] = (),
) -> Config:
    """The configuration that the shared options name. Raises click.UsageError, LockcheckError."""
    if cache is not None and no_cache:
        raise click.UsageError("--cache and --no-cache exclude each other")
    from lockcheck.config import Config
    from lockcheck.source.tree import find_tree

    return Config(
        tree=find_tree(tree, build),
        paths=paths,
        rules=rules,
        enable=enabled(ctx),
        preempt_rt=bool(ctx.meta.get(_PREEMPT_RT, False)),
        jobs=jobs or len(os.sched_getaffinity(0)),
        command_line=("lockcheck", *ctx.meta.get(ARGUMENTS, ())),
        cache=None if no_cache else cache or cache_directory(),
    )


def cache_directory() -> str | None:
    """Where facts are kept unless the user says otherwise; None when there is no such place."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the standard wants others ignored
        base = os.path.expanduser(os.path.join("~", ".cache"))
    return os.path.join(base, "lockcheck") if os.path.isabs(base) else None


def stdout_draws() -> bool:
    """Whether standard output is a terminal that can do more than print lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def stdout_has_colour() -> bool:
    """Whether standard output is a terminal whose user wants colours."""
    return stdout_draws() and not os.environ.get("NO_COLOR")


def print_error(text: str) -> None:
    """Print to standard error, if there is still somebody to read it."""
    # A name that is not UTF-8 must not end the run.
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False, err=True)


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
