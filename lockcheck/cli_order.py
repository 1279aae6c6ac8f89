"""The command `order`: how locks nest."""

from __future__ import annotations

from pathlib import Path

import click

from lockcheck.cli_options import make_config, print_text, run_options, tree_options
from lockcheck.cli_questions import end_asked, put_question

_FORMATS = ("text", "dot", "mermaid", "json")


@click.command(
    epilog="""\b
Examples:
  lockcheck order arch/x86/kvm virt/kvm
      every lock, with the locks that are taken while it is held, and where
  lockcheck order --lock kvm.slots_lock arch/x86/kvm virt/kvm
      what nests directly with one lock
  lockcheck order --cycles kernel
      only locks that nest in circles; `lockcheck check` tells inversions
  lockcheck order --format dot arch/x86/kvm virt/kvm
      a graph for `dot -Tsvg` of Graphviz; --format mermaid for documents

\b
A lock is named by its class, as lockdep has it: the member that it is, or the
variable, and the subclass. All paths count, not those that ran. PATHS are read
as by `lockcheck check`: callers outside of them are not seen."""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@tree_options
@run_options
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="text",
    show_default=True,
    help="How to answer.",
)
@click.option("--lock", metavar="CLASS", help="Only what nests directly with this lock.")
@click.option("--cycles", is_flag=True, help="Only locks that nest in circles.")
@click.pass_context
def order(
    ctx: click.Context,
    paths: tuple[str, ...],
    tree: Path | None,
    build: Path | None,
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
    form: str,
    lock: str | None,
    cycles: bool,
) -> None:
    """Print the order in which locks nest."""
    config = make_config(ctx, paths, tree, build, jobs, cache, no_cache)
    answer, notices = put_question(config, lambda asked: asked.order(lock, cycles))

    from lockcheck.report import order as render

    forms = {
        "text": render.order_text,
        "dot": render.order_dot,
        "mermaid": render.order_mermaid,
        "json": render.order_json,
    }
    print_text(forms[form](answer))
    end_asked(ctx, notices)
