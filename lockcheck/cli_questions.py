"""The commands `why` and `guards`: questions about locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from lockcheck.cli_options import make_config, print_text, run_options, tree_options
from lockcheck.errors import Notice, Severity
from lockcheck.exitstatus import ExitStatus

if TYPE_CHECKING:
    from lockcheck.config import Config
    from lockcheck.rules.questions import Questions
    from lockcheck.session import Answered

T = TypeVar("T")

_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to answer.",
)


@click.command(
    epilog="""\b
Examples:
  lockcheck why __kvm_write_track_add_gfn arch/x86/kvm virt/kvm
      every lockset that the function is entered with, each with a chain of calls
  lockcheck why --no-chains kvm_zap_gfn_range arch/x86/kvm virt/kvm
      the locksets alone

\b
FUNCTION is a C name. PATHS are read as by `lockcheck check`: callers outside of
them are not seen. A lock is named by the function's own parameters where the
callers pass what it hangs on, else by its class."""
)
@click.argument("function", metavar="FUNCTION")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@tree_options
@run_options
@click.option("--no-chains", is_flag=True, help="Leave the chains of calls out.")
@_format_option
@click.pass_context
def why(
    ctx: click.Context,
    function: str,
    paths: tuple[str, ...],
    tree: Path | None,
    build: Path | None,
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    no_chains: bool,
    form: str,
) -> None:
    """Tell what is held whenever FUNCTION runs."""
    config = make_config(ctx, paths, tree, build, jobs, cache, no_cache)
    answers, notices = put_question(config, lambda asked: asked.why(function.removesuffix("()")))

    from lockcheck.report.answers import as_json, why_text

    print_text(as_json(answers) if form == "json" else why_text(answers, chains=not no_chains))
    end_asked(ctx, notices)


@click.command(
    epilog="""\b
Examples:
  lockcheck guards 'struct kvm_memory_slot.arch.gfn_track[*][*]' arch/x86/kvm
      every access, the locks around it on every path, and what all writes share
  lockcheck guards --chains 'struct intel_vgpu.ptable' drivers/gpu/drm/i915/gvt
      with a chain of calls for each different lockset

\b
DATUM is a struct and a path of members as C writes them; [*] is any element.
Accesses to an object that nobody else can reach yet are told apart."""
)
@click.argument("datum", metavar="DATUM")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@tree_options
@run_options
@click.option("--chains", is_flag=True, help="Show a chain of calls for each lockset.")
@_format_option
@click.pass_context
def guards(
    ctx: click.Context,
    datum: str,
    paths: tuple[str, ...],
    tree: Path | None,
    build: Path | None,
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    chains: bool,
    form: str,
) -> None:
    """Tell which locks are held around every access to DATUM."""
    config = make_config(ctx, paths, tree, build, jobs, cache, no_cache)
    answer, notices = put_question(config, lambda asked: asked.guards(datum))

    from lockcheck.report.answers import as_json, guards_text

    print_text(as_json(answer) if form == "json" else guards_text(answer, chains=chains))
    end_asked(ctx, notices)


def put_question(config: Config, put: Callable[[Questions], T]) -> Answered[T]:
    from lockcheck.progress import progress_for_terminal
    from lockcheck.session import answer

    progress = progress_for_terminal()
    try:
        return answer(config, put, progress)
    finally:
        progress.end()


def end_asked(ctx: click.Context, notices: Iterable[Notice]) -> None:
    """Tell what was not read; an answer from a part of the units is incomplete."""
    notices = tuple(notices)
    for notice in notices:
        click.echo(_told(notice), err=True)
    incomplete = any(notice.severity is Severity.ERROR for notice in notices)
    ctx.exit(ExitStatus.INCOMPLETE if incomplete else ExitStatus.CLEAN)


def _told(notice: Notice) -> str:
    where = f"{notice.file}: " if notice.file else ""
    remedy = f" ({notice.remedy})" if notice.remedy else ""
    return f"lockcheck: {where}{notice.severity}: {notice.message}{remedy}"
