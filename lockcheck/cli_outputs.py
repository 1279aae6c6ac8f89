"""Options that say where results go and what is left out of them, shared by commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lockcheck.cli_options import PathType, stdout_has_colour

if TYPE_CHECKING:
    from lockcheck.source.tree import KernelTree

_SUPPRESSION_FILE = "lockcheck.toml"

OutputPair = tuple[str, Path | None]


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --format, --output, --quiet and --suppressions."""
    for option in (
        click.option(
            "--suppressions",
            type=PathType(),
            metavar="FILE",
            help="The suppression file. Default: lockcheck.toml at the top of the tree, else here.",
        ),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            help="No text on standard output when only other formats were asked for, into files.",
        ),
        click.option(
            "-o",
            "--output",
            "outputs",
            multiple=True,
            type=PathType(path_type=Path),
            metavar="FILE",
            help="Where to write; - is standard output. Repeatable. "
            "Files are written whole or not at all.",
        ),
        click.option(
            "--format",
            "formats",
            multiple=True,
            metavar="FORMAT",
            help="text (the default) or sarif; of `check` also github (SARIF within the limits of "
            "its code scanning) and robot (a mail to reply with). The n-th --format goes with the "
            "n-th -o.",
        ),
    ):
        command = option(command)
    return command


colour_option = click.option(
    "--colour",
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colours in text on standard output.",
)


def output_pairs(
    formats: Sequence[str], outputs: Sequence[Path], *, quiet: bool
) -> tuple[OutputPair, ...]:
    """What to write where, from the repeated options. Raises click.UsageError."""
    if not formats:
        for path in outputs:
            # Text under such a name is never what was meant.
            if path.suffix in (".sarif", ".json"):
                raise click.UsageError(f"-o {path} has no --format: add --format sarif before it")
        formats = ("text",) * max(1, len(outputs))
    if len(formats) == 1 and not outputs:
        outputs = (Path("-"),)
    if len(formats) != len(outputs):
        raise click.UsageError(
            f"{len(formats)} --format but {len(outputs)} -o: the n-th --format goes with the n-th "
            "-o, so give each its own (-o - is standard output)"
        )
    pairs: list[OutputPair] = [
        (name, None if str(path) == "-" else path)
        for name, path in zip(formats, outputs, strict=True)
    ]
    has_text = any(name == "text" or path is None for name, path in pairs)
    if not has_text and not quiet:
        pairs.append(("text", None))
    return tuple(pairs)


def coloured(pairs: Sequence[OutputPair], colour: str) -> tuple[OutputPair, ...]:
    """The pairs, with coloured text on standard output where that is wanted."""
    if colour == "never" or (colour == "auto" and not stdout_has_colour()):
        return tuple(pairs)
    return tuple(("colour" if pair == ("text", None) else pair[0], pair[1]) for pair in pairs)


def suppression_file(tree: KernelTree) -> str | None:
    """The suppression file that is used when none is named."""
    for directory in (tree.root, Path()):
        file = directory / _SUPPRESSION_FILE
        # lexists: a dangling link was meant to be read, and not to find it is an error.
        if os.path.lexists(file):
            return str(file)
    return None
