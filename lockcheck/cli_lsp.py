"""The command `lsp`: the language server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lockcheck.cli_options import (
    cache_directory,
    checking_options,
    enabled,
    run_options,
    tree_options,
)
from lockcheck.errors import LockcheckError


@click.command(
    epilog="""\b
Examples:
  lockcheck lsp --build ../linux-build arch/x86/kvm virt/kvm
      what an editor runs in a kernel tree; docs/editors.md has set-ups
  lockcheck lsp
      tree, build and paths come from the client's settings

\b
A client may set tree, build, paths, rules, jobs, cache, suppressions and delay,
as initializationOptions or as the section "lockcheck" of its settings; these
take the place of the options here. Without PATHS everything that has a compile
command is checked: name the directories that belong together.

\b
Needs pygls: pip install 'lockcheck[lsp]'"""
)
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("--stdio", is_flag=True, help="Standard input and output; there is no other way yet.")
@tree_options
@checking_options
@run_options
@click.pass_context
def lsp(
    ctx: click.Context,
    paths: tuple[str, ...],
    stdio: bool,
    tree: Path | None,
    build: Path | None,
    extra_rules: tuple[str, ...],
    jobs: int | None,
    cache: str | None,
    no_cache: bool,
) -> None:
    """Serve an editor: findings while you type, what is held under the cursor.

    It speaks the Language Server Protocol and ends with its client.
    """
    if cache is not None and no_cache:
        raise click.UsageError("--cache and --no-cache exclude each other")
    try:
        from lockcheck.lsp.server import serve
        from lockcheck.lsp.settings import Settings
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("pygls", "lsprotocol"):
            raise
        raise LockcheckError(
            f"the language server needs {error.name.split('.')[0]}, which is not installed",
            remedy="pip install 'lockcheck[lsp]'",
        ) from error
    settings = Settings(
        # The client may run it anywhere; names on the command line are relative to here.
        tree=None if tree is None else os.path.abspath(tree),
        build=None if build is None else os.path.abspath(build),
        paths=paths,
        rules=tuple(os.path.abspath(rule) for rule in extra_rules),
        enable=enabled(ctx),
        jobs=jobs,
        cache=None if cache is None else os.path.abspath(cache),
    )
    ctx.exit(serve(settings, None if no_cache else cache_directory()))
