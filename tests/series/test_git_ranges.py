"""Ranges of commits: which commits they are, and what the tree is with each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_tree import SmallTree, unit

from lockcheck.errors import LockcheckError
from lockcheck.series.gitrange import series_from_git
from lockcheck.series.patches import Series


def subjects(series: Series) -> list[str]:
    return [step.patch.subject for step in series.steps]


def states(series: Series, path: str) -> list[bytes | str | None]:
    """What a file is in each state, the base first; `disk` where it is as on disk."""
    overlays = [series.base, *(step.overlay for step in series.steps)]
    return [overlay.get(path, "disk") for overlay in overlays]


@pytest.fixture
def branch(tree: SmallTree) -> SmallTree:
    for name in ("One", "Two", "Three"):
        tree.commit(name, {"box/README": f"{name}.\n"})
    tree.git("branch", "topic")
    return tree


@pytest.mark.parametrize(
    ("spec", "last", "expected"),
    [
        ("v1..topic", None, ["One", "Two", "Three"]),
        ("v1..", None, ["One", "Two", "Three"]),
        ("v1", None, ["One", "Two", "Three"]),
        ("v1...topic", None, ["One", "Two", "Three"]),
        ("topic~1..topic", None, ["Three"]),
        (None, 2, ["Two", "Three"]),
        ("topic~1", 1, ["Two"]),
    ],
)
def test_which_commits(
    branch: SmallTree, spec: str | None, last: int | None, expected: list[str]
) -> None:
    assert subjects(series_from_git(branch.root, spec, last)) == expected


def test_numbers_and_names(branch: SmallTree) -> None:
    step = series_from_git(branch.root, "v1..topic", None).steps[1]
    assert (step.patch.number, step.patch.total) == (2, 3)
    assert step.patch.author == "A U Thor <author@example.com>"
    assert step.patch.commit == branch.git("rev-parse", "topic~1").decode().strip()


def test_contents_whatever_is_checked_out(branch: SmallTree) -> None:
    texts = [b"Boxes.\n", b"One.\n", b"Two.\n", b"Three.\n"]
    for commit, on_disk in (("topic", 3), ("v1", 0), ("topic~1", 2)):
        branch.git("checkout", "-q", commit)
        expected: list[object] = list(texts)
        expected[on_disk] = "disk"
        assert states(series_from_git(branch.root, "v1..topic", None), "box/README") == expected


def test_changes_that_are_not_committed_are_no_part_of_it(branch: SmallTree) -> None:
    branch.write({"box/one.c": "nonsense\n", "box/README": "Nonsense.\n"})
    branch.git("add", "box/one.c")
    series = series_from_git(branch.root, "v1..topic", None)

    assert states(series, "box/one.c") == [unit("one").encode()] * 4
    assert states(series, "box/README")[-1] == b"Three.\n"


def test_untracked_file_in_the_way(branch: SmallTree) -> None:
    branch.commit("Four", {"box/four.c": unit("four")})
    branch.git("branch", "more")
    branch.git("checkout", "-q", "v1")
    branch.write({"box/four.c": "nonsense\n"})
    series = series_from_git(branch.root, "v1..more", None)

    assert states(series, "box/four.c") == [None] * 4 + [unit("four").encode()]


def test_a_file_with_a_new_time_is_the_same_file(branch: SmallTree) -> None:
    for path in branch.root.rglob("*.[ch]"):
        os.utime(path, (1, 1))
    series = series_from_git(branch.root, "v1..topic", None)
    assert all(path == "box/README" for step in series.steps for path in step.overlay)


def test_rename_delete_and_mode(tree: SmallTree) -> None:
    tree.git("mv", "box/one.c", "box/first.c")
    tree.commit_all("Move")
    tree.commit("Drop", {"box/two.c": None})
    (tree.root / "box/first.c").chmod(0o755)
    tree.commit_all("Mode")
    series = series_from_git(tree.root, "v1..HEAD", None)

    one = unit("one").encode()
    assert states(series, "box/one.c") == [one, "disk", "disk", "disk"]
    assert states(series, "box/first.c") == [None, one, one, one]
    assert states(series, "box/two.c")[1:] == [unit("two").encode(), "disk", "disk"]
    assert [(c.old, c.new) for c in series.steps[0].changes] == [("box/one.c", "box/first.c")]


def test_merge_is_one_step(branch: SmallTree) -> None:
    branch.git("checkout", "-q", "-b", "side", "v1")
    branch.commit("Side", {"box/one.c": "/* side */\n"})
    branch.git("merge", "-q", "-m", "Merge topic", "topic")
    series = series_from_git(branch.root, "v1..side", None)

    assert subjects(series) == ["Side", "Merge topic"]
    branch.git("checkout", "-q", "v1")
    series = series_from_git(branch.root, "v1..side", None)
    assert states(series, "box/README") == ["disk", "disk", b"Three.\n"]


def test_tree_below_the_top_of_the_repository(tmp_path: Path) -> None:
    outer = SmallTree(tmp_path)
    files = {f"linux/{name}": f"{name}\n" for name in ("a.c", "b.c")}
    outer.commit("Inside", {**files, "outside.c": "x\n"})
    outer.commit("More", {"linux/a.c": "more\n", "outside.c": "y\n"})
    outer.git("branch", "topic")
    outer.git("checkout", "-q", "topic~1")
    series = series_from_git(outer.root / "linux", "topic~1..topic", None)

    assert [dict(step.overlay) for step in series.steps] == [{"a.c": b"more\n"}]


def test_nothing_is_written(branch: SmallTree) -> None:
    def snapshot() -> dict[str, tuple[int, int]]:
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in branch.root.rglob("*")
        }

    for path in branch.root.rglob("*.c"):
        os.utime(path, (1, 1))  # the index would be refreshed, if git were let
    before = snapshot()
    series_from_git(branch.root, "v1..topic", None)
    assert snapshot() == before


def test_hooks_of_git_do_not_lead_elsewhere(
    branch: SmallTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")
    assert len(series_from_git(branch.root, "v1..topic", None).steps) == 3


def refused(root: Path, spec: str | None, last: int | None = None) -> str:
    with pytest.raises(LockcheckError) as caught:
        series_from_git(root, spec, last)
    return str(caught.value)


def test_what_is_refused(branch: SmallTree, tmp_path: Path) -> None:
    assert "neither a file nor a commit 'v2'" in refused(branch.root, "v2..topic")
    assert "neither a file nor a commit '--all'" in refused(branch.root, "--all")
    assert "neither a file nor a commit '^v1'" in refused(branch.root, "^v1")
    assert "holds no commit" in refused(branch.root, "topic..v1")
    assert "holds no commit" in refused(branch.root, "topic")
    assert "has no parent" in refused(branch.root, None, 99)
    (tmp_path / "plain").mkdir()
    assert "there is no file a.mbox, and " in refused(tmp_path / "plain", "a.mbox")


def test_base_that_is_far_away(branch: SmallTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockcheck.series.gitrange._MAX_DIFFERENT", 3)
    branch.write({f"box/{name}.c": "x\n" for name in ("one", "two", "old")})
    branch.write({"box/box.h": "x\n"})
    assert "5 files of" in refused(branch.root, "v1..topic")


def test_build_files_that_differ_are_told(branch: SmallTree) -> None:
    branch.commit("Four", {"box/Kbuild": "obj-y := one.o\n"})
    series = series_from_git(branch.root, "v1..topic", None)
    assert [notice.code for notice in series.notices] == ["base-builds-otherwise"]
