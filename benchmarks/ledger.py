"""Writes docs/ledger.md: how the obligations that the kernel's source states end, per tree.

`make ledger`. The trees are the ones of scripts/kernel-tree; facts are cached between runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lockcheck.config import Config
from lockcheck.findings.model import LedgerEntry, Outcome, Report
from lockcheck.session import analyse
from lockcheck.source.tree import find_tree

REPOSITORY = Path(__file__).resolve().parents[1]
TARGET = REPOSITORY / "docs" / "ledger.md"
VERSIONS = ("6.1", "6.12")
DIRECTORIES = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915/gvt")
MAX_REASONS = 3  # reasons told of one obligation

HEAD = """# The ledger of two kernels

Made by `make ledger` (`benchmarks/ledger.py`): `{directories}` of both trees, configured by
`scripts/kernel-tree`. Counted are the obligations that the source itself states; one that is stated
in a header counts once for each call of it in a `.c` file. *No caller* are those of a function that
nobody in the units calls, or that is reached from such a function alone; the share leaves them out.
*By class* are proofs in which somewhere only the class of the lock was known, not the instance.
"""


def main() -> int:
    parts = [HEAD.format(directories=" ".join(DIRECTORIES))]
    for version in VERSIONS:
        parts.extend(_tree(version, _report(version)))
    TARGET.write_text("\n".join(parts) + "\n", "utf-8")
    print(f"wrote {TARGET.relative_to(REPOSITORY)}")
    return 0


def _report(version: str) -> Report:
    done = subprocess.run(
        [REPOSITORY / "scripts" / "kernel-tree", version],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    source, build = done.stdout.split()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockcheck"
    tree = find_tree(Path(source), Path(build))
    jobs = os.cpu_count() or 1
    return analyse(Config(tree=tree, paths=DIRECTORIES, jobs=jobs, cache=str(cache)))


def _tree(version: str, report: Report) -> Iterator[str]:
    stated = [entry for entry in report.obligations if entry.origin != entry.rule_id]
    yield f"## {report.tree.version} ({report.units} units)\n"
    yield "| origin | proved | of these by class | violated | unproved | no caller | share proved |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for origin in sorted({entry.origin for entry in stated}):
        yield _row(f"`{origin}`", [entry for entry in stated if entry.origin == origin])
    yield _row("**all**", stated)
    yield ""
    yield "Violated obligations are judged in [docs/triage](triage/README.md). Unproved are:\n"
    for entry in stated:
        if entry.outcome is Outcome.UNPROVED and not entry.no_caller:
            yield _unproved(entry)
    yield ""


def _row(name: str, entries: Sequence[LedgerEntry]) -> str:
    ended = Counter(entry.outcome for entry in entries if not entry.no_caller)
    no_caller = sum(entry.no_caller for entry in entries)
    by_class = sum("class" in entry.reason for entry in entries if entry.outcome is Outcome.PROVED)
    counted = len(entries) - no_caller
    share = f"{100 * ended[Outcome.PROVED] / counted:.0f} %" if counted else "–"
    return (
        f"| {name} | {ended[Outcome.PROVED]} | {by_class} | {ended[Outcome.VIOLATED]} "
        f"| {ended[Outcome.UNPROVED]} | {no_caller} | {share} |"
    )


def _unproved(entry: LedgerEntry) -> str:
    place = entry.location
    reasons = entry.reason.split("; ")
    more = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return (
        f"- `{place.function}()` in {place.file}, `{entry.origin}`, {entry.requirement}: "
        f"{'; '.join(reasons[:MAX_REASONS])}{more}"
    )


if __name__ == "__main__":
    sys.exit(main())
