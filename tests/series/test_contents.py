"""Files that come and go under a Workspace: what clang sees, and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_tree import HEADER, SmallTree, unit

from lockcheck.config import Config
from lockcheck.findings.model import Report
from lockcheck.session import analyse
from lockcheck.source.tree import find_tree
from lockcheck.workspace import Workspace

Contents = dict[str, bytes | None]

# The lock is in a header that two directories may have.
INCLUDER = unit("one").replace("b->count++", "COUNT(b)")
LID = b"#define COUNT(b) ((b)->%s)\n"


@pytest.fixture
def lids(tree: SmallTree) -> SmallTree:
    """one.c includes <linux/lid.h>, which box/linux/lid.h would hide from it."""
    header = '#include "linux/lid.h"\n' + HEADER
    tree.write(
        {
            "box/box.h": header,
            "box/one.c": INCLUDER,
            "include/linux/lid.h": LID % b"count = 1",
        }
    )
    return tree


def config(tree: SmallTree, cache: Path | None) -> Config:
    return Config(
        tree=find_tree(tree.root),
        paths=("box",),
        rules=(str(tree.rule),),
        cache=None if cache is None else str(cache),
    )


def said(report: Report) -> tuple[list[str], list[str]]:
    return (
        [f"{f.location.file}:{f.location.line} {f.message}" for f in report.findings],
        [n.message for n in report.notices if n.severity == "error"],
    )


HIDING: Contents = {"box/linux/lid.h": b"#error hidden\n"}
GONE: Contents = {"include/linux/lid.h": None}
MOVED: Contents = {"include/linux/lid.h": None, "box/linux/lid.h": LID % b"size = 2"}


def test_header_that_hides_another(lids: SmallTree) -> None:
    report = analyse(config(lids, None))
    assert report.complete
    with_it = Workspace(config(lids, None)).report(HIDING)
    assert said(with_it)[1] != []
    assert "hidden" in said(with_it)[1][0]


def test_header_that_is_gone(lids: SmallTree) -> None:
    report = Workspace(config(lids, None)).report(GONE)
    assert "'linux/lid.h' file not found" in said(report)[1][0]


def test_header_that_has_moved(lids: SmallTree) -> None:
    assert Workspace(config(lids, None)).report(MOVED).complete


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 0), (3, 2, 1, 0), (1, 0, 1), (2, 0, 3, 1)])
def test_any_order_is_like_each_alone(lids: SmallTree, tmp_path: Path, order: list[int]) -> None:
    """Neither what is remembered nor what is on disk in the cache belongs to another state."""
    states: list[Contents] = [{}, HIDING, GONE, MOVED]
    alone = [said(Workspace(config(lids, None)).report(state)) for state in states]
    cache = tmp_path / "cache"
    workspace = Workspace(config(lids, cache))
    for number in order:
        assert said(workspace.report(states[number])) == alone[number]
        # Another process, with the cache as it is now.
        assert said(Workspace(config(lids, cache)).report(states[number])) == alone[number]
