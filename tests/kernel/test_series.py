"""Series of patches on real trees: exact verdicts, by mail and as a range of commits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from kernel_trees import DIRECTORIES, JOBS, kernel_tree
from track_series import (
    ADD,
    MMU,
    MMU_H,
    SLEEPS,
    SLEEPS_NO_MORE,
    SWITCH,
    Branch,
    Patch,
    remove,
)
from variants import HEADER, KVMGT, TRACK, X86

from lockcheck.config import Config
from lockcheck.findings.series import SeriesReport
from lockcheck.progress import SilentProgress
from lockcheck.report import series_text
from lockcheck.series.gitrange import series_from_git
from lockcheck.series.mailseries import series_from_mail
from lockcheck.series.run import check_series

pytestmark = pytest.mark.kernel

FILES = (HEADER, TRACK, X86, KVMGT, MMU, MMU_H)


@pytest.fixture
def branch(tmp_path: Path) -> Branch:
    return Branch(tmp_path / "branch", kernel_tree("6.1").root, FILES)


def _check(branch: Branch, patches: Sequence[Patch], way: str, cache: str) -> SeriesReport:
    for patch in patches:
        branch.commit(patch)
    tree = kernel_tree("6.1")
    if way == "mail":
        mbox = branch.mbox(branch.root.parent / "series.mbox")
        series = series_from_mail(tree.root, [str(mbox)])
    else:
        branch.git("branch", "topic")
        branch.git("checkout", "-q", "v1")
        series = series_from_git(branch.root, "v1..topic", None)
    config = Config(tree=tree, paths=DIRECTORIES, jobs=JOBS, cache=cache)
    return check_series(config, series, SilentProgress())


def _verdicts(report: SeriesReport) -> list[tuple[list[str], list[str]]]:
    return [
        (
            [f"{f.rule_id} {f.location.function}" for f in verdict.new],
            [f"{g.finding.rule_id} {g.finding.location.function}" for g in verdict.fixed],
        )
        for verdict in report.patches
    ]


@pytest.mark.parametrize("way", ["mail", "range"])
def test_the_series_of_the_thread(branch: Branch, way: str, facts_cache: str) -> None:
    patches = [ADD, SWITCH]
    for patch in patches:
        branch.commit(patch)
    last = remove(branch.text(TRACK))
    report = _check(branch, [last], way, facts_cache)

    assert [verdict.notices for verdict in report.patches] == [(), (), ()]
    assert _verdicts(report) == [([], []), ([], []), ([], [])]
    assert series_text.verdict(report) == "series: clean"
    assert report.complete


def test_a_hook_that_sleeps_for_one_patch(branch: Branch, facts_cache: str) -> None:
    patches = [ADD, SWITCH, SLEEPS, SLEEPS_NO_MORE]
    report = _check(branch, patches, "mail", facts_cache)

    sleeps = "commit-hook-no-sleep kvmgt_page_track_remove_slot"
    assert _verdicts(report) == [([], []), ([], []), ([sleeps], []), ([], [sleeps])]
    assert series_text.verdict(report) == (
        "series: 1 new finding, brought by patch 3, fixed by patch 4"
    )
