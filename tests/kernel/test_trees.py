"""The findings on the real trees, exactly. A change of these files is explained in its commit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kernel_trees import DIRECTORIES, JOBS, kernel_tree

from lockcheck.config import Config
from lockcheck.errors import Severity
from lockcheck.findings.model import Report
from lockcheck.session import analyse

pytestmark = pytest.mark.kernel

EXPECTED = Path(__file__).parent / "expected"


def _lines(report: Report) -> list[str]:
    """Findings and ledger without line numbers, which differ between Debian's revisions."""
    findings = [
        f"{f.location.file} {f.location.function}() {f.level} [{f.rule_id}] "
        + re.sub(r"\.([ch]):\d+", r".\1", f.message)
        for f in report.findings
    ]
    ledger = [
        f"ledger {c.origin}: {c.proved} proved, {c.violated} violated, {c.unproved} unproved"
        for c in report.ledger
    ]
    return [*findings, *ledger]


def _check(version: str, jobs: int, cache: str | None) -> Report:
    return analyse(Config(tree=kernel_tree(version), paths=DIRECTORIES, jobs=jobs, cache=cache))


@pytest.mark.parametrize("version", ["6.1", "6.12"])
def test_findings(version: str, facts_cache: str) -> None:
    report = _check(version, JOBS, facts_cache)
    assert not [n for n in report.notices if n.severity is Severity.ERROR]
    assert report.complete
    expected = (EXPECTED / f"{version}.txt").read_text("utf-8").splitlines()
    assert _lines(report) == expected


def test_cold_warm_serial_and_parallel_runs_agree(tmp_path: Path) -> None:
    def check(jobs: int, cache: str | None) -> Report:
        # Enough units for several workers, few enough for three runs.
        paths = ("arch/x86/kvm/mmu", "virt/kvm")
        return analyse(Config(tree=kernel_tree("6.12"), paths=paths, jobs=jobs, cache=cache))

    cold = check(2, str(tmp_path))
    warm = check(2, str(tmp_path))
    serial = check(1, None)
    assert cold.obligations
    assert cold.findings == warm.findings == serial.findings
    assert cold.obligations == warm.obligations == serial.obligations


def test_the_chain_of_the_known_bug(facts_cache: str) -> None:
    """kvmgt_page_track_write() is reached through the hook, and the chain says so."""
    report = _check("6.1", JOBS, facts_cache)
    (finding,) = (f for f in report.findings if f.rule_id == "gvt-protect-table")
    texts = [step.message for step in finding.chain]
    assert any(
        "kvm_page_track_write() calls kvmgt_page_track_write() through struct "
        "kvm_page_track_notifier_node.track_write" in text
        for text in texts
    )
    assert finding.location.function == "kvmgt_page_track_write"
    assert finding.chain[-1].location.function == "__kvmgt_protect_table_find"
    assert not any("page_fault_handle_page_track" in text for text in texts)
