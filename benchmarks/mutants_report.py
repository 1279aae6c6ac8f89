"""The page about mutants: a table by kind, and the ones that were missed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mutants_kinds import KINDS
from mutants_order import ORDER_KINDS

_END = "<!-- end -->"
_KINDS = (*KINDS, *ORDER_KINDS)
_LEDGER_LINES = 4
_LEDGER_WIDTH = 360


class Result(NamedTuple):
    """What came of one mutant. `broken`: the error when it does not compile."""

    version: str
    kind: str
    file: str
    function: str
    line: int
    edit: str
    chain: str
    requirement: str
    broken: str
    detected: list[str]
    collateral: list[str]
    ledger: list[str]
    seconds: float


def render(results: Iterable[Result]) -> str:
    """Markdown for all results."""
    results = sorted(results, key=lambda r: (_KINDS.index(r.kind), r.version, r.file, r.line))
    counted = [r for r in results if not r.broken]
    lines = [
        "| kind | made | detected | missed | collateral | seconds each |",
        "|---|---|---|---|---|---|",
        *(_row(kind, [r for r in counted if r.kind == kind]) for kind in _KINDS),
        _row("all", counted),
    ]
    for title, chosen in (
        ("Missed", [r for r in counted if not r.detected]),
        ("Collateral", [r for r in counted if r.collateral]),
        ("Not counted: does not compile", [r for r in results if r.broken]),
    ):
        if chosen:
            lines += ["", f"### {title}", ""]
        for result in chosen:
            lines.append(
                f"- {result.version} {result.kind}, `{result.function}()` "
                f"({result.file}:{result.line}): {result.edit}"
            )
            if title == "Missed":
                lines.append(f"  - needed by {result.chain}: {result.requirement}")
                changes = result.ledger[:_LEDGER_LINES] or ["no obligation ends otherwise"]
                lines += [f"  - ledger: {_shorten(change)}" for change in changes]
                left = len(result.ledger) - len(changes)
                if left > 0:
                    lines.append(f"  - ledger: {left} more")
            elif title == "Collateral":
                lines += [f"  - {text}" for text in result.collateral]
            else:
                lines.append(f"  - {result.broken}")
    return "\n".join(lines)


def _shorten(text: str) -> str:
    return text if len(text) <= _LEDGER_WIDTH else text[: _LEDGER_WIDTH - 2] + " …"


def _row(kind: str, results: list[Result]) -> str:
    detected = sum(bool(r.detected) for r in results)
    collateral = sum(len(r.collateral) for r in results)
    seconds = sum(r.seconds for r in results) / max(1, len(results))
    made = len(results)
    return f"| {kind} | {made} | {detected} | {made - detected} | {collateral} | {seconds:.0f} |"


def write(page: Path, text: str, seed: str) -> None:
    """Put the results into the page; what is outside of the marks stays."""
    replace_part(page, "benchmarks/mutants.py", f"Seed {seed}.\n\n{text}")


def replace_part(page: Path, maker: str, text: str) -> None:
    """Put text between the marks of its maker; a page without them gets them at its end."""
    begin = f"<!-- made by {maker} -->"
    old = page.read_text("utf-8") if page.exists() else "# Mutants\n\n"
    before, _, rest = old.partition(begin)
    if not rest:
        before = before.rstrip("\n") + "\n\n"
    after = rest.partition(_END)[2] if rest else "\n"
    page.write_text(f"{before}{begin}\n{text}\n{_END}{after}", "utf-8")
