"""Reading units for several states of the sources side by side, and telling of them in turn."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class InTurn(Generic[T]):
    """Passes on what is found for a row of states: all of one state, then None, then the next."""

    def __init__(self, tell: Callable[[T | None], None], states: int) -> None:
        self._tell = tell
        self._found: deque[list[T]] = deque([] for _ in range(states))
        self._open = deque([1] * states)  # how much each state waits for; 1 for its own start
        self._first = 0

    def add(self, state: int, found: T) -> None:
        """Take what was found for a state that is not complete."""
        self._found[state - self._first].append(found)

    def expect(self, state: int) -> None:
        """A state is not complete before `complete` was called once more."""
        self._open[state - self._first] += 1

    def complete(self, state: int) -> None:
        """One of the things that a state waits for is there; the first is that it is looked at."""
        self._open[state - self._first] -= 1
        while self._open and not self._open[0]:
            for found in self._found.popleft():
                self._tell(found)
            self._tell(None)
            self._open.popleft()
            self._first += 1


class Changes:
    """The files in which states of the sources differ, and which of them a unit may read.

    IMPRECISE: what a unit reads is taken from earlier states of it. It serves to leave out what
    was read already; whoever uses the result must look at its inputs.
    """

    def __init__(self, overlays: Iterable[Mapping[str, bytes | None]]) -> None:
        """overlays: the contents of each state, by absolute path; None for a file that is gone."""
        overlays = list(overlays)
        paths = sorted({path for overlay in overlays for path in overlay})
        self._changing = [p for p in paths if len({o.get(p, b"") for o in overlays}) > 1]

    def seen_by(self, read: Iterable[str] | None, overlay: Mapping[str, bytes | None]) -> Hashable:
        """What tells the states apart for a unit that reads these files; None: any file."""
        files = None if read is None else {os.path.normpath(path) for path in read}
        return tuple(
            (path, overlay.get(path, b""))
            for path in self._changing
            if files is None or path in files or not os.path.exists(path)
        )
