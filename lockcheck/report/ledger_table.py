"""The ledger as a table, for a reader at a terminal. It loads rich, so import it where it is used.

Two lines a row at most widths: what is asked for where, and how it ended, with the reason.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lockcheck.findings.model import LedgerEntry, Outcome
from lockcheck.report.ledger import summary
from lockcheck.report.text import one_line

_STYLES = {Outcome.PROVED: "green", Outcome.VIOLATED: "bold red", Outcome.UNPROVED: "yellow"}


def as_table(
    entries: Sequence[LedgerEntry], *, width: int, colour: bool, share: bool = True
) -> str:
    """The obligations as a table of at most `width` columns, then `summary` with this `share`.

    colour: use ANSI colours. Never decided here: the caller knows where the text goes.
    """
    if not entries:
        return summary(entries)
    # No lines are drawn: what a terminal shows of them depends on its character set.
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("state", no_wrap=True)
    table.add_column("where", overflow="fold", ratio=2)
    table.add_column("obligation and reason", overflow="fold", ratio=3)
    for entry in entries:
        place = entry.location
        where = f"{place.file}:{place.line}" + (f"\n{place.function}()" if place.function else "")
        # Text and not markup: `[i]` in an expression of the source means nothing here.
        what = Text(f"[{one_line(entry.origin)}] {one_line(entry.requirement)}\n")
        what.append(one_line(entry.reason), style="dim")
        table.add_row(
            Text(entry.outcome.value, style=_STYLES[entry.outcome]),
            Text("\n".join(map(one_line, where.split("\n")))),
            what,
        )
    console = Console(
        file=io.StringIO(),
        width=width,
        height=len(entries) or 1,  # without one, a dumb terminal's width of 80 is taken instead
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    with console.capture() as drawn:
        console.print(table)
    lines = [line.rstrip() for line in drawn.get().splitlines()]
    return "\n".join(lines) + "\n\n" + summary(entries, share=share)
