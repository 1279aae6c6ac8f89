"""The command `cache`: what is kept between runs, and clearing it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lockcheck.cli_options import PathType, cache_directory, print_text
from lockcheck.errors import LockcheckError

if TYPE_CHECKING:
    from lockcheck.facts.store import FactStore, StoreUse

_cache_option = click.option(
    "--cache",
    type=PathType(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The directory of the cache. Default: lockcheck in $XDG_CACHE_HOME or ~/.cache.",
)


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  lockcheck cache
      where it is, how large, and for which trees
  lockcheck cache clear
      drop everything, after a question
  lockcheck cache clear --yes --cache CACHE
      another one, without a question

\b
Facts of units are kept between runs, and used only where the command, all files
that were read, and clang and lockcheck themselves are the same; so are answers
about functions, where nothing that they rest on has changed. There is never a
need to clear it but for its space: at most 1 GiB of facts and 512 MiB of
answers; what was used longest ago goes first. Any number of runs may use one
cache at once.""",
)
@_cache_option
@click.pass_context
def cache(ctx: click.Context, cache: Path | None) -> None:
    """Show what is kept between runs, or clear it."""
    ctx.obj = cache
    if ctx.invoked_subcommand is None:
        _show(_directory(cache))


@cache.command(
    epilog="""\b
Example:
  lockcheck cache show --cache CACHE"""
)
@_cache_option
@click.pass_obj
def show(group_cache: Path | None, cache: Path | None) -> None:
    """Show where the cache is, its size, and its trees."""
    _show(_directory(cache or group_cache))


@cache.command(
    epilog="""\b
Example:
  lockcheck cache path
      for scripts: the directory alone, whether it exists or not"""
)
@_cache_option
@click.pass_obj
def path(group_cache: Path | None, cache: Path | None) -> None:
    """Print the directory of the cache."""
    print_text(f"{_directory(cache or group_cache)}\n")


@cache.command(
    epilog="""\b
Example:
  lockcheck cache clear --yes"""
)
@_cache_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def clear(group_cache: Path | None, cache: Path | None, yes: bool) -> None:
    """Drop everything that is kept. Runs that use it go on, and read units anew."""
    from lockcheck.facts.known import Known

    directory = _directory(cache or group_cache)
    if not directory.exists():
        print_text(f"nothing to clear: there is no {directory}\n")
        return
    if _holds_nothing(directory):
        print_text(f"nothing to clear: nothing is kept in {directory}\n")
        return
    store = _open(directory)
    try:
        use = _use(store, directory)
        if not yes:
            what = f"{_entries(use)}, {_size(use.size + sum(_answers(directory)))}"
            click.confirm(f"Clear the cache in {directory} ({what})?", abort=True, err=True)
        if not store.clear():
            raise _unusable(directory)
        known = Known(directory)
        known.clear()
        known.close()
        freed = use.size - _use(store, directory).size + _clear_answers(directory)
    finally:
        store.close()
    print_text(f"cleared: {_entries(use)}, {_size(max(0, freed))} freed\n")


def _clear_answers(directory: Path) -> int:
    from lockcheck.kept import clear_kept

    try:
        return clear_kept(directory)
    except OSError as error:
        raise _unusable(directory) from error


def _directory(given: Path | None) -> Path:
    if given is not None:
        return given
    directory = cache_directory()
    if directory is None:
        raise LockcheckError(
            "there is no home directory to keep a cache in", remedy="name one with --cache DIR"
        )
    return Path(directory)


def _holds_nothing(directory: Path) -> bool:
    """Whether a directory is no cache: one that is only looked at is not made one."""
    names = ("facts-*", "known-*", "*.answers")
    if not (directory.is_dir() and os.access(directory, os.R_OK | os.X_OK)):
        return False
    return not any(any(directory.glob(name)) for name in names)


def _open(directory: Path) -> FactStore:
    """The store in a directory that exists. Raises LockcheckError when it cannot be used."""
    from lockcheck.facts.store import FactStore

    store = FactStore(directory)
    if store.damaged:
        click.echo(f"lockcheck: the file in {directory} was damaged: {store.damaged}", err=True)
    if not store.works:
        store.close()
        raise _unusable(directory)
    return store


def _unusable(directory: Path) -> LockcheckError:
    return LockcheckError(
        f"the cache in {directory} cannot be read or written",
        remedy="make it a directory of yours, with space on its disk, or name another with "
        "--cache DIR",
    )


def _use(store: FactStore, directory: Path) -> StoreUse:
    try:
        return store.use()
    except OSError as error:
        raise _unusable(directory) from error


def _show(directory: Path) -> None:
    if not directory.exists():
        print_text(f"directory  {directory} (not there yet)\n")
        return
    if _holds_nothing(directory):
        print_text(f"directory  {directory} (nothing is kept there)\n")
        return
    from lockcheck.facts.store import MAX_BYTES
    from lockcheck.kept import MAX_BYTES as MAX_ANSWERS
    from lockcheck.kept import MAX_FILES

    store = _open(directory)
    try:
        use = _use(store, directory)
    finally:
        store.close()
    lines = [
        f"directory  {directory}",
        f"size       {_size(use.size)} of at most {_size(MAX_BYTES)}",
        f"kept       {_entries(use)}",
    ]
    answers = _answers(directory)
    if answers:
        runs = f"{len(answers)} run{'' if len(answers) == 1 else 's'}"
        limit = f"{MAX_FILES}, {_size(MAX_ANSWERS)}"
        lines.append(f"answers    of {runs}, {_size(sum(answers))} of at most {limit}")
    if use.versions:
        lines.append(f"versions   {', '.join(use.versions)}")
    for tree in use.trees:
        units = f"{tree.units} unit" + ("" if tree.units == 1 else "s")
        states = f" in {tree.entries} states" if tree.entries != tree.units else ""
        last = time.strftime("%Y-%m-%d %H:%M", time.localtime(tree.used))
        name = tree.tree or "(no tree)"
        lines.append(f"tree       {name}: {units}{states}, {_size(tree.size)}, last used {last}")
    print_text("\n".join(lines) + "\n")


def _answers(directory: Path) -> list[int]:
    """The sizes of what is kept of runs."""
    from lockcheck.kept import kept_files

    return [file.stat().st_size for file in kept_files(directory)]


def _entries(use: StoreUse) -> str:
    units = sum(tree.units for tree in use.trees)
    trees = len(use.trees)
    return f"{units} unit{'' if units == 1 else 's'} of {trees} tree{'' if trees == 1 else 's'}"


def _size(size: int) -> str:
    value, unit = float(size), "B"
    for bigger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, bigger
    return f"{value:.0f} {unit}" if unit in ("B", "KiB") or value >= 100 else f"{value:.1f} {unit}"
