"""The ledger as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from lockcheck.findings.model import LedgerEntry, Outcome
from lockcheck.report.text import one_line

COLUMNS = (
    "state", "origin", "rule", "file", "line", "column", "function", "requirement", "lock",
    "reason", "no_caller",
)  # fmt: skip


class Filter(NamedTuple):
    """Which entries are wanted: states (none: all) and patterns (None: any)."""

    states: tuple[str, ...] = ()
    file: str | None = None
    function: str | None = None
    lock: str | None = None
    origin: str | None = None

    def takes(self, entry: LedgerEntry) -> bool:
        """Whether an entry is wanted. A lock fits by its class, with or without its record."""
        locks = [
            name
            for full in entry.lock
            for name in (full, f"struct {full}", full.split(".", 1)[-1], full.rsplit(".", 1)[-1])
        ]
        return (
            (not self.states or entry.outcome in self.states)
            and _fits(self.file, (entry.location.file,))
            and _fits(self.function, (entry.location.function,))
            and _fits(self.origin, (entry.origin,))
            and _fits(self.lock, [name.split("@", 1)[0] for name in locks])
        )


def _fits(pattern: str | None, names: Sequence[str]) -> bool:
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


def as_text(entries: Sequence[LedgerEntry], *, share: bool = True) -> str:
    """One line for each obligation, then the numbers; see `summary` for `share`."""
    lines = [one_line(_line(entry)) for entry in entries]
    return (
        "".join(f"{line}\n" for line in lines)
        + ("\n" if lines else "")
        + summary(entries, share=share)
    )


def _line(entry: LedgerEntry) -> str:
    place = entry.location
    function = f"{place.function}(): " if place.function else ""
    return (
        f"{place.file}:{place.line}:{place.column}: {function}"
        f"[{entry.origin}] {entry.outcome}: {entry.requirement} -- {entry.reason}"
    )


def as_json(entries: Sequence[LedgerEntry]) -> str:
    """A list of objects with the keys COLUMNS; `lock` is a list."""
    return json.dumps([_row(entry) for entry in entries], indent=2) + "\n"


def as_csv(entries: Sequence[LedgerEntry]) -> str:
    """A heading and one row for each obligation; several locks are joined by semicolons."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        row = _row(entry)
        writer.writerow([_cell(value) for value in row.values()])
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()  # as JSON has it
    return ";".join(value) if isinstance(value, list) else value


def _row(entry: LedgerEntry) -> dict[str, object]:
    place = entry.location
    values = (
        str(entry.outcome), entry.origin, entry.rule_id, place.file, place.line, place.column,
        place.function, entry.requirement, list(entry.lock), entry.reason, entry.no_caller,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def summary(entries: Sequence[LedgerEntry], *, share: bool = True) -> str:
    """Numbers by origin, and the share proved of those that somebody calls.

    share: false when the entries were chosen by how they ended, where a share says nothing.
    """
    if not entries:
        return "no obligations\n"
    origins = sorted({entry.origin for entry in entries})
    width = max(len("all"), *map(len, origins))
    lines = [f"{'':<{width}}  proved  violated  unproved  (no caller)"]
    if share:
        lines[0] += "   share proved"
    for origin in (*origins, None):
        chosen = [e for e in entries if origin is None or e.origin == origin]
        count = Counter(e.outcome for e in chosen)
        uncalled = sum(e.no_caller for e in chosen)
        called = len(chosen) - uncalled
        lines.append(
            f"{origin or 'all':<{width}}  {count[Outcome.PROVED]:>6}  "
            f"{count[Outcome.VIOLATED]:>8}  {count[Outcome.UNPROVED]:>8}  {uncalled:>11}"
        )
        if share:
            lines[-1] += f"   {_share(count[Outcome.PROVED], called):>12}"
    return "\n".join(lines) + "\n"


def _share(proved: int, called: int) -> str:
    if not called:
        return "-"
    # 100 % is said of all and of nothing less.
    return f"{100 if proved == called else min(99, round(100 * proved / called))} %"
