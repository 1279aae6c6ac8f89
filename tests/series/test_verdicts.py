"""Exact verdicts, patch by patch; by mail and as a range, whatever is checked out."""

from __future__ import annotations

import pytest
from small_tree import HEADER, KBUILD, LOCK, UNLOCK, SmallTree, unit

from lockcheck.config import Config
from lockcheck.findings.series import SeriesReport
from lockcheck.progress import SilentProgress
from lockcheck.report import series_text
from lockcheck.series.gitrange import series_from_git
from lockcheck.series.mailseries import series_from_mail
from lockcheck.series.run import check_series
from lockcheck.source.tree import find_tree

WAYS = ("mail", "range, base checked out", "range, tip checked out")


def check(tree: SmallTree, way: str) -> SeriesReport:
    """The report of the commits since the base."""
    if way == "mail":
        series = series_from_mail(tree.root, [str(tree.mbox())])
    else:
        tree.git("branch", "-f", "topic")
        if "base" in way:
            tree.git("checkout", "-q", "v1")
        series = series_from_git(tree.root, "v1..topic", None)
    config = Config(tree=find_tree(tree.root), paths=("box",), rules=(str(tree.rule),))
    before = tree.git("status", "--porcelain")
    report = check_series(config, series, SilentProgress())
    assert tree.git("status", "--porcelain") == before
    return report


def verdicts(report: SeriesReport) -> list[tuple[list[str], list[str]]]:
    """Per patch: what is new and what is fixed, as file:line function."""

    def place(location: object) -> str:
        return f"{location.file}:{location.line} {location.function}"  # type: ignore[attr-defined]

    return [
        (
            [place(finding.location) for finding in verdict.new],
            [
                place(gone.finding.location)
                + ("" if gone.brought_by is None else f" of {gone.brought_by}")
                for gone in verdict.fixed
            ],
        )
        for verdict in report.patches
    ]


def notices(report: SeriesReport, number: int) -> list[tuple[str, str | None]]:
    """Code and file of what is told of a patch."""
    return [(notice.code, notice.file) for notice in report.patches[number - 1].notices]


NOTHING: tuple[list[str], list[str]] = ([], [])
BARE = (f"{LOCK}\tNAME_helper(b);\n{UNLOCK}", "\tNAME_helper(b);\n")


def unlocked(tree: SmallTree, name: str) -> str:
    old, new = (text.replace("NAME", name) for text in BARE)
    return tree.edit(f"box/{name}.c", (old, new))


@pytest.mark.parametrize("way", WAYS)
def test_clean(tree: SmallTree, way: str) -> None:
    tree.commit("One", {"box/one.c": tree.edit("box/one.c", ("b->count++", "b->count += 2"))})
    tree.commit("Two", {"box/README": "Many boxes.\n"})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING, NOTHING]
    assert series_text.verdict(report) == "series: clean"
    assert report.complete
    assert [patch.patch.subject for patch in report.patches] == ["One", "Two"]


@pytest.mark.parametrize("way", WAYS)
def test_bug_brought(tree: SmallTree, way: str) -> None:
    tree.commit("One", {"box/README": "Many boxes.\n"})
    tree.commit("Two", {"box/two.c": unlocked(tree, "two")})
    tree.commit(
        "Three", {"box/two.c": "/* A comment. */\n" + (tree.root / "box/two.c").read_text()}
    )
    report = check(tree, way)

    assert verdicts(report) == [NOTHING, (["box/two.c:5 two_helper"], []), NOTHING]
    assert series_text.verdict(report) == "series: 1 new finding, brought by patch 2"


@pytest.mark.parametrize("way", WAYS)
def test_bug_of_the_base_fixed(tree: SmallTree, way: str) -> None:
    fixed = tree.edit("box/old.c", ("\tb->size = 0;\n", f"{LOCK}\tb->size = 0;\n{UNLOCK}"))
    tree.commit("One", {"box/old.c": fixed})
    report = check(tree, way)

    assert verdicts(report) == [([], ["box/old.c:5 old_run"])]
    assert series_text.verdict(report) == ("series: clean; 1 finding of the base fixed by patch 1")


@pytest.mark.parametrize("way", WAYS)
def test_bug_brought_and_fixed(tree: SmallTree, way: str) -> None:
    tree.commit("One", {"box/README": "Many boxes.\n"})
    tree.commit("Two", {"box/two.c": unlocked(tree, "two")})
    tree.commit("Three", {"box/one.c": tree.edit("box/one.c", ("b->count++", "++b->count"))})
    tree.commit("Four", {"box/two.c": unit("two")})
    report = check(tree, way)

    bug = "box/two.c:5 two_helper"
    assert verdicts(report) == [NOTHING, ([bug], []), NOTHING, ([], [f"{bug} of 2"])]
    assert series_text.verdict(report) == (
        "series: 1 new finding, brought by patch 2, fixed by patch 4"
    )


@pytest.mark.parametrize("way", WAYS)
def test_header_reaches_every_unit(tree: SmallTree, way: str) -> None:
    start, rest = HEADER.split(LOCK)
    tree.commit("One", {"box/box.h": start + rest.replace(UNLOCK, "")})
    tree.commit("Two", {"box/one.c": tree.edit("box/one.c", ("\tbox_grow(b);\n", ""))})
    report = check(tree, way)

    one, two = "box/one.c:13 one_run", "box/two.c:13 two_run"
    assert verdicts(report) == [([one, two], []), ([], [f"{one} of 1"])]
    assert series_text.verdict(report) == (
        "series: 1 new finding, brought by patch 1; "
        "1 new finding, brought by patch 1, fixed by patch 2"
    )


@pytest.mark.parametrize("way", WAYS)
def test_new_file(tree: SmallTree, way: str) -> None:
    three = unit("three").replace(LOCK, "").replace(UNLOCK, "")
    tree.commit("One", {"box/three.c": three, "box/Kbuild": KBUILD + "obj-y += three.o\n"})
    tree.commit("Two", {"box/three.c": unit("three")})
    report = check(tree, way)

    bug = "box/three.c:5 three_helper"
    assert verdicts(report) == [([bug], []), ([], [f"{bug} of 1"])]
    assert ("kbuild-changed", "box/Kbuild") in notices(report, 1)
    assert report.complete


@pytest.mark.parametrize("way", WAYS)
def test_new_file_that_no_makefile_names(tree: SmallTree, way: str) -> None:
    three = unit("three").replace(LOCK, "").replace(UNLOCK, "")
    tree.commit("One", {"box/three.c": three})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING]
    assert notices(report, 1) == [("not-built", "box/three.c")]


@pytest.mark.parametrize("way", WAYS)
def test_new_header(tree: SmallTree, way: str) -> None:
    """A header that comes with the series, under a name that is spelled in another way."""
    one = unit("one").replace('"box.h"', '"../box/more/lid.h"').replace("one_helper(b)", "lid(b)")
    lid = '#include "../box.h"\nstatic inline void lid(struct box *b)\n{\n\tb->count++;\n}\n'
    tree.commit("One", {"box/more/lid.h": lid, "box/one.c": one})
    tree.commit("Two", {"box/one.c": one.replace(LOCK, "").replace(UNLOCK, "")})
    report = check(tree, way)

    assert report.complete
    assert verdicts(report)[0] == NOTHING
    assert len(verdicts(report)[1][0]) == 1


@pytest.mark.parametrize("way", WAYS)
def test_renamed_file_keeps_its_findings(tree: SmallTree, way: str) -> None:
    tree.git("mv", "box/old.c", "box/ancient.c")
    tree.commit("One", {"box/Kbuild": KBUILD.replace("old.o", "ancient.o")})
    moved = tree.edit("box/ancient.c", ("\tb->size = 0;\n", f"{LOCK}\tb->size = 0;\n{UNLOCK}"))
    tree.commit("Two", {"box/ancient.c": moved})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING, ([], ["box/ancient.c:5 old_run"])]
    assert report.complete


@pytest.mark.parametrize("way", WAYS)
def test_deleted_unit(tree: SmallTree, way: str) -> None:
    tree.commit("One", {"box/old.c": None, "box/Kbuild": KBUILD.replace(" old.o", "")})
    report = check(tree, way)

    assert verdicts(report) == [([], ["box/old.c:5 old_run"])]
    assert report.complete


@pytest.mark.parametrize("way", WAYS)
def test_header_that_is_deleted_and_still_included(tree: SmallTree, way: str) -> None:
    """The unit is an error of that patch; what it had is not taken for fixed."""
    tree.commit(
        "One",
        {
            "box/lid.h": "#define LID 1\n",
            "box/old.c": '#include "lid.h"\n' + tree.edit("box/old.c"),
        },
    )
    tree.commit("Two", {"box/lid.h": None})
    tree.commit("Three", {"box/lid.h": "#define LID 2\n"})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING, NOTHING, NOTHING]
    assert [verdict.complete for verdict in report.patches] == [True, False, True]
    (notice,) = report.patches[1].notices
    assert notice.code == "unit-has-errors"
    assert "lid.h" in notice.message
    assert not report.complete
    assert series_text.verdict(report).startswith("series: INCOMPLETE: with patch 2 not everything")


@pytest.mark.parametrize("way", WAYS)
def test_bug_behind_a_patch_that_does_not_compile(tree: SmallTree, way: str) -> None:
    broken = unlocked(tree, "two")
    tree.commit("One", {"box/README": "Many boxes.\n"})
    tree.commit("Two", {"box/two.c": '#include "nowhere.h"\n' + broken})
    tree.commit("Three", {"box/two.c": broken})
    report = check(tree, way)

    seen = [patch for patch, (new, _) in enumerate(verdicts(report), 1) if new]
    assert seen == [2]
    (brought,) = report.brought
    assert brought.earliest == 2


@pytest.mark.parametrize("way", WAYS)
def test_renamed_function_keeps_its_finding(tree: SmallTree, way: str) -> None:
    renamed = (tree.root / "box/old.c").read_text().replace("old_run", "ancient_run")
    tree.commit("One", {"box/old.c": renamed})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING]
    assert report.patches[0].report.findings[0].location.function == "ancient_run"


@pytest.mark.parametrize("way", WAYS)
def test_kconfig_change_is_told(tree: SmallTree, way: str) -> None:
    kconfig = (tree.root / "Kconfig").read_text()
    tree.commit("One", {"Kconfig": kconfig + "\nconfig BOX\n\tbool\n", "box/Makefile": "# none\n"})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING]
    assert notices(report, 1) == [("kbuild-changed", "Kconfig"), ("kbuild-changed", "box/Makefile")]
    assert report.complete


@pytest.mark.parametrize("way", WAYS)
def test_binary_and_mode_only_changes(tree: SmallTree, way: str) -> None:
    tree.commit("One", {"box/logo.png": bytes(range(256)) * 4})
    (tree.root / "box/one.c").chmod(0o755)
    tree.commit_all("Two")
    tree.commit("Three", {"box/logo.png": None, "box/two.c": unlocked(tree, "two")})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING, NOTHING, (["box/two.c:5 two_helper"], [])]
    assert report.complete


@pytest.mark.parametrize("way", WAYS)
def test_no_newline_at_the_end(tree: SmallTree, way: str) -> None:
    tree.commit("One", {"box/two.c": unit("two").rstrip("\n")})
    tree.commit("Two", {"box/two.c": unlocked(tree, "two") + "/* end */"})
    report = check(tree, way)

    assert verdicts(report) == [NOTHING, (["box/two.c:5 two_helper"], [])]


def test_suppressed_findings_are_not_new(tree: SmallTree) -> None:
    file = tree.folder / "lockcheck.toml"
    file.write_text('[[suppress]]\nrule = "box"\nfunction = "two_helper"\nreason = "on purpose"\n')
    tree.commit("One", {"box/two.c": unlocked(tree, "two")})
    series = series_from_mail(tree.root, [str(tree.mbox())])
    config = Config(
        tree=find_tree(tree.root),
        paths=("box",),
        rules=(str(tree.rule),),
        suppressions=str(file),
    )
    report = check_series(config, series, SilentProgress())

    assert verdicts(report) == [NOTHING]
    assert series_text.verdict(report) == "series: clean"
