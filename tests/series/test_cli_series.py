"""The command: exit status, outputs, and inputs that are no good."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from small_tree import LOCK, UNLOCK, SmallTree, unit

from lockcheck.cli import cli

BARE = (f"{LOCK}\ttwo_helper(b);\n{UNLOCK}", "\ttwo_helper(b);\n")


def run(tree: SmallTree, *words: str, given: bytes | None = None) -> Result:
    common = ("--tree", str(tree.root), "--rules", str(tree.rule), "--no-cache")
    return CliRunner().invoke(cli, ["series", *words, *common], input=given)


def snapshot(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def buggy(tree: SmallTree) -> SmallTree:
    """A bug that the second of three patches brings, and the third fixes."""
    tree.commit("box: words", {"box/README": "Many boxes.\n"})
    tree.commit("box: faster", {"box/two.c": tree.edit("box/two.c", BARE)})
    tree.commit("box: slower", {"box/two.c": unit("two")})
    tree.git("branch", "topic")
    return tree


TEXT = """\
[1/3] box: words
[2/3] box: faster
box/two.c:5:2: warning: update of b->count needs b->lock held; nothing on the way from two_run() \
takes it [box]
box/two.c:8:13: note: two_run() is called from outside the units read, by its address
box/two.c:10:2: note: two_run() calls two_helper()
box/two.c:5:2: note: in two_helper(): b->count is written here
[3/3] box: slower
fixed: box/two.c:5:2: update of b->count needs b->lock held; nothing on the way from two_run() \
takes it [box] (brought by patch 2)
lockcheck: the base has 1 finding, not repeated here
series: 1 new finding, brought by patch 2, fixed by patch 3
"""


def test_text(buggy: SmallTree) -> None:
    result = run(buggy, str(buggy.mbox()), "box")
    assert result.output[result.output.index("[1/3]") :] == TEXT
    assert result.exit_code == 1


def test_all_ways_say_the_same(buggy: SmallTree, monkeypatch: pytest.MonkeyPatch) -> None:
    path = buggy.mbox()
    for words, given in (
        (("v1..topic", "box"), None),
        (("-3", "topic", "box"), None),
        (("--last", "3", "topic"), None),
        (("-",), path.read_bytes()),
        ((str(path),), None),
    ):
        result = run(buggy, *words, given=given)
        assert result.output[result.output.index("[1/3]") :] == TEXT, words
    buggy.git("checkout", "-q", "topic")
    for words in (("-3",), ("-3", "box"), ("v1",)):
        result = run(buggy, *words)
        assert result.output[result.output.index("[1/3]") :] == TEXT, words


def test_exit_status(tree: SmallTree, buggy: SmallTree) -> None:
    assert run(buggy, "v1..topic~2").exit_code == 2  # it changes no C file: what to read?
    assert run(buggy, "v1..topic~2", "box").exit_code == 0
    assert run(buggy, "v1..topic~1").exit_code == 1
    assert run(buggy, "v1..topic~1", "--exit-zero").exit_code == 0
    buggy.commit("box: broken", {"box/two.c": '#include "nowhere.h"\n'})
    result = run(buggy, "topic..HEAD")
    assert result.exit_code == 3
    assert "box/two.c:1: error: lockcheck: box/two.c was read only in part" in result.output
    assert "series: INCOMPLETE: with patch 1 not everything" in result.output


def test_single_files(buggy: SmallTree) -> None:
    buggy.git("format-patch", "-q", "-o", "../out", "v1")
    buggy.git("checkout", "-q", "v1")
    files = [str(path) for path in sorted((buggy.folder / "out").iterdir())]
    result = run(buggy, *files, "box")
    assert result.output[result.output.index("[1/3]") :] == TEXT


def test_units_outside_of_the_paths_are_told(tree: SmallTree) -> None:
    tree.commit("Lid", {"lid/lid.c": "int lid;\n", "box/one.c": unit("one") + "/* end */\n"})
    result = run(tree, "-1", "box")
    assert "lid/lid.c: warning: lockcheck: the series changes it" in result.output


# -- SARIF -----------------------------------------------------------------------------------------


def sarif(tree: SmallTree) -> dict[str, Any]:
    path = tree.folder / "out.sarif"
    run(tree, "v1..topic", "box", "--format", "sarif", "-o", str(path), "--quiet")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_sarif_has_a_run_for_each_patch(buggy: SmallTree) -> None:
    runs = sarif(buggy)["runs"]

    assert [run["properties"]["patch"]["subject"] for run in runs] == [
        "box: words",
        "box: faster",
        "box: slower",
    ]
    states = [
        sorted(
            (result["baselineState"], result["locations"][0]["logicalLocations"][0]["name"])
            for result in run["results"]
        )
        for run in runs
    ]
    old = ("unchanged", "old_run")
    assert states == [
        [old],
        [("new", "two_helper"), old],
        [("absent", "two_helper"), old],
    ]
    names = [run["automationDetails"]["id"].rpartition("/")[0] for run in runs]
    assert names == [f"lockcheck-series/patch-{number}" for number in (1, 2, 3)]
    guids = [run["automationDetails"]["guid"] for run in runs]
    assert [run.get("baselineGuid") for run in runs] == [None, *guids[:2]]
    assert len(set(guids)) == 3
    assert runs[2]["results"][-1]["properties"] == {"broughtByPatch": 2}


MULTITOOL = shutil.which("sarif-multitool")


@pytest.mark.skipif(MULTITOOL is None, reason="@microsoft/sarif-multitool is not installed")
@pytest.mark.parametrize("rules", ["Sarif", "Ghas"])
def test_the_validator_accepts_it(buggy: SmallTree, rules: str) -> None:
    assert MULTITOOL is not None
    log = sarif(buggy)
    packages = Path(MULTITOOL).resolve().parents[1]
    schema = json.loads((packages / "sarif-multitool-linux/sarif-2.1.0.json").read_text())
    jsonschema.validate(log, schema)
    done = subprocess.run(
        [MULTITOOL, "validate", str(buggy.folder / "out.sarif"), "--rule-kind", rules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- inputs that are no good -----------------------------------------------------------------------


def _truncated(tree: SmallTree) -> tuple[str, ...]:
    path = tree.mbox()
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.rindex(b"+\tspin_lock")])
    return (str(path),)


def _last_mail_missing(tree: SmallTree) -> tuple[str, ...]:
    path = tree.mbox()
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.rindex(b"\nFrom ") + 1])
    return (str(path),)


def _wrong_base(tree: SmallTree) -> tuple[str, ...]:
    path = tree.mbox()
    tree.write({"box/two.c": unit("two").replace("two_helper(b);", "two_helper(&*b);")})
    return (str(path),)


def _empty_range(tree: SmallTree) -> tuple[str, ...]:
    return ("topic..topic",)


def _not_text(tree: SmallTree) -> tuple[str, ...]:
    path = tree.folder / "latin.mbox"
    path.write_bytes(b"From: \xe4\xff\nSubject: [PATCH] \xe4\n\n\xff\xfe no diff \x80\n")
    return (str(path),)


def _huge(tree: SmallTree) -> tuple[str, ...]:
    path = tree.folder / "huge.mbox"
    with path.open("wb") as stream:
        stream.truncate(40 << 20)
    return (str(path),)


def _escape(tree: SmallTree) -> tuple[str, ...]:
    path = tree.folder / "escape.patch"
    path.write_text("--- /dev/null\n+++ b/../../stolen.c\n@@ -0,0 +1 @@\n+int x;\n")
    return (str(path),)


def _absolute(tree: SmallTree) -> tuple[str, ...]:
    path = tree.folder / "absolute.patch"
    path.write_text("--- /dev/null\n+++ /etc/stolen.c\n@@ -0,0 +1 @@\n+int x;\n")
    return (str(path),)


def _link(tree: SmallTree) -> tuple[str, ...]:
    (tree.root / "lib").symlink_to(tree.folder)
    path = tree.folder / "link.patch"
    path.write_text("--- a/lib/rule.yaml\n+++ b/lib/rule.yaml\n@@ -1 +1 @@\n-id: box\n+id: x\n")
    return (str(path),)


def _unknown(tree: SmallTree) -> tuple[str, ...]:
    return ("v1..no-such-branch",)


def _no_such_file(tree: SmallTree) -> tuple[str, ...]:
    return ("no/such/file.mbox",)


def _empty_directory(tree: SmallTree) -> tuple[str, ...]:
    (tree.folder / "empty").mkdir()
    return (str(tree.folder / "empty"),)


def _late(tree: SmallTree) -> tuple[str, ...]:
    return ("v1..topic", "--format", "github", "-o", str(tree.folder / "out.sarif"))


def _below_a_file(tree: SmallTree) -> tuple[str, ...]:
    path = tree.folder / "below.patch"
    path.write_text("--- a/box/two.c/x.c\n+++ b/box/two.c/x.c\n@@ -1 +1 @@\n-x\n+y\n")
    return (str(path),)


def _numbers(tree: SmallTree) -> tuple[str, ...]:
    path = tree.mbox()
    path.write_bytes(path.read_bytes().replace(b"@@ -", b"@@ -" + b"9" * 5000))
    return (str(path),)


def _endless(tree: SmallTree) -> tuple[str, ...]:
    return ("/dev/zero",)


def _output_nowhere(tree: SmallTree) -> tuple[str, ...]:
    return ("v1..topic", "-o", str(tree.folder / "no/such/out.txt"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_truncated, 'patch 3/3 "box: slower": the diff ends in the middle of a hunk'),
        (_last_mail_missing, "of 3 patches, 3 is missing"),
        (_wrong_base, 'patch 2/3 "box: faster": hunk 1 of box/two.c at line 7 does not apply'),
        (_empty_range, "the range topic..topic holds no commit"),
        (_not_text, "there is no patch in it"),
        (_huge, "more than 32 MiB of mail"),
        (_escape, "no file of the tree"),
        (_absolute, "no file of the tree"),
        (_link, "lib is a symbolic link"),
        (_unknown, "neither a file nor a commit 'no-such-branch'"),
        (_no_such_file, "neither a file nor a commit 'no/such/file.mbox'"),
        (_empty_directory, "there is no patch in it"),
        (_output_nowhere, "its directory does not exist"),
        (_late, "unknown output format 'github'"),
        (_below_a_file, "there is no box/two.c/x.c"),
        (_numbers, "the diff is damaged"),
        (_endless, "more than 32 MiB of mail"),
    ],
)
def test_no_good(buggy: SmallTree, make: Any, words: str) -> None:
    given = make(buggy)
    before = snapshot(buggy.folder)
    result = run(buggy, *given)

    assert result.exit_code == 2, result.output
    assert result.output.startswith("lockcheck: error: ")
    assert words in result.output
    assert "remedy: " in result.output
    assert "Traceback" not in result.output
    assert snapshot(buggy.folder) == before


def test_a_tree_that_is_read_only(buggy: SmallTree) -> None:
    path = buggy.mbox()
    folders = [folder for folder, _, _ in os.walk(buggy.root)]
    before = snapshot(buggy.root)
    for folder in folders:
        os.chmod(folder, 0o555)
    try:
        for words in ((str(path), "box"), ("v1..topic", "box")):
            result = run(buggy, *words)
            assert result.output[result.output.index("[1/3]") :] == TEXT
    finally:
        for folder in folders:
            os.chmod(folder, 0o755)
    assert snapshot(buggy.root) == before


def test_no_series_at_all(tree: SmallTree) -> None:
    result = run(tree)
    assert result.exit_code == 2
    assert "name a series" in result.output
