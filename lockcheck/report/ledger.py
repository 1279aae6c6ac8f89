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
        locks = [name for full in entry.lock for name in (full, full.rsplit(".", 1)[-1])]
        return (
            (not self.states or entry.outcome in self.states)
            and _fits(self.file, (entry.location.file,))
            and _fits(self.function, (entry.location.function,))
            and _fits(self.origin, (entry.origin,))
            and _fits(self.lock, [name.split("@", 1)[0] for name in locks])
        )


def _fits(pattern: str | None, names: Sequence[str]) -> bool:
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


def as_text(entries: Sequence[LedgerEntry]) -> str:
    """One line for each obligation, then the numbers."""
    lines = [
        f"{e.location.file}:{e.location.line}:{e.location.column}: {e.location.function}(): "
        f"[{e.origin}] {e.outcome}: {e.requirement} -- {e.reason}"
        for e in entries
    ]
    return "".join(f"{line}\n" for line in lines) + ("\n" if lines else "") + summary(entries)


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
        writer.writerow([";".join(v) if isinstance(v, list) else v for v in row.values()])
    return target.getvalue()


def _row(entry: LedgerEntry) -> dict[str, object]:
    place = entry.location
    values = (
        str(entry.outcome), entry.origin, entry.rule_id, place.file, place.line, place.column,
        place.function, entry.requirement, list(entry.lock), entry.reason, entry.no_caller,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def summary(entries: Sequence[LedgerEntry]) -> str:
    """Numbers by origin, and the share proved of those that somebody calls."""
    if not entries:
        return "no obligations\n"
    origins = sorted({entry.origin for entry in entries})
    width = max(len("all"), *map(len, origins))
    lines = [f"{'':<{width}}  proved  violated  unproved  (no caller)   share proved"]
    for origin in (*origins, None):
        chosen = [e for e in entries if origin is None or e.origin == origin]
        count = Counter(e.outcome for e in chosen)
        uncalled = sum(e.no_caller for e in chosen)
        called = len(chosen) - uncalled
        share = f"{100 * count[Outcome.PROVED] / called:.0f} %" if called else "-"
        lines.append(
            f"{origin or 'all':<{width}}  {count[Outcome.PROVED]:>6}  "
            f"{count[Outcome.VIOLATED]:>8}  {count[Outcome.UNPROVED]:>8}  {uncalled:>11}   "
            f"{share:>12}"
        )
    return "\n".join(lines) + "\n"
