"""Progress of a long run, for the person who waits for it. Never part of a report."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

# Drawing costs more than many a unit; nobody reads faster than this.
_REDRAW_SECONDS = 0.1


class Progress(Protocol):
    """Told by the analysis how far it is. One phase at a time."""

    def begin(self, phase: str, total: int | None) -> None:
        """A phase begins ("parse"); `total` steps are to come, None when that is not known.

        A phase that was not ended ends here.
        """

    def advance(self, what: str) -> None:
        """One more step is done: `what` names it, e.g. the unit that was parsed."""

    def end(self) -> None:
        """The phase is over. Harmless when none began."""


class SilentProgress:
    """Says nothing."""

    def begin(self, phase: str, total: int | None) -> None:
        """Do nothing."""

    def advance(self, what: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class TerminalProgress:
    """A bar on standard error that vanishes when the phase ends."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._drawn = 0.0

    def begin(self, phase: str, total: int | None) -> None:
        """Show a bar for the phase, or a count when the total is not known."""
        # rich takes a tenth of a second to load: only a terminal pays for it.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.end()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", markup=False),
            console=Console(stderr=True),
            transient=True,
            # No thread that redraws: workers may be forked while it holds a lock.
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(phase, total=total, what="")
        self._bar.start()
        self._redraw(now=True)

    def advance(self, what: str) -> None:
        """Move the bar on."""
        if self._bar is None or self._task is None:
            return
        self._bar.update(self._task, advance=1, what=what)
        self._redraw(now=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
        self._task = None

    def _redraw(self, *, now: bool) -> None:
        assert self._bar is not None
        moment = time.monotonic()
        if now or moment - self._drawn >= _REDRAW_SECONDS:
            self._drawn = moment
            self._bar.refresh()


def progress_for_terminal() -> Progress:
    """The progress to use: a bar when standard error is a terminal that can draw one."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return TerminalProgress()
    return SilentProgress()
