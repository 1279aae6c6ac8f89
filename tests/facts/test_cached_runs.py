"""Runs with a cache find what runs without one find, whatever has changed in between.

Header functions are lowered once per run, by the first unit that reaches them. When that unit
changes or is not read, another one has to deliver them.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lockcheck.config import Config
from lockcheck.facts.store import FactStore
from lockcheck.findings.model import Report
from lockcheck.session import analyse
from lockcheck.source.tree import find_tree

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SECONDS = 30

HEADER = """\
#ifndef BOX_H
#define BOX_H
#include <linux/kvm_host.h>
struct box { spinlock_t lock; unsigned long count, size, spare; };
struct entry { void (*run)(struct box *b); };
static inline unsigned long *box_count(struct box *b)
{
	return &b->count;
}
static inline unsigned long *box_size(struct box *b)
{
	return &b->size;
}
#endif
"""
UNIT = """\
#include "box.h"
static void NAME_run(struct box *b)
{
	BODY
}
struct entry NAME_entry = { NAME_run };
"""
RULE = """\
id: box
title: A box is touched without its lock
rationale: A box is shared.
kind: guarded-data
where: {b: struct box *}
data: [b->count, b->size]
write: [{lock: b->lock}]
examples: {bad: b->count++;, good: spin_lock(&b->lock);}
"""


@pytest.fixture(autouse=True)
def no_endless_runs() -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the run does not end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Tree:
    """A tree with a header and units that use it, and a cache beside it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "tree"
        self.folder = folder
        self.root.mkdir()
        for name in ("Kbuild", "Kconfig", "Makefile", ".config"):
            shutil.copy(FIXTURES / name, self.root / name)
        shutil.copytree(FIXTURES / "include", self.root / "include")
        (self.root / "box").mkdir()
        self.header = self.root / "box/box.h"
        self.header.write_text(HEADER)
        (folder / "rule.yaml").write_text(RULE)
        self._units: list[str] = []
        self._flags: dict[str, list[str]] = {}

    def unit(self, name: str, body: str, *flags: str) -> None:
        (self.root / f"box/{name}.c").write_text(UNIT.replace("NAME", name).replace("BODY", body))
        if name not in self._units:
            self._units.append(name)
        self._flags[name] = list(flags)
        template = json.loads((FIXTURES / "compile_commands.json").read_text())[0]
        old = template["file"].removesuffix(".c")
        entries = []
        for unit in self._units:
            entry = json.loads(json.dumps(template).replace(old, f"box/{unit}"))
            entry["arguments"][1:1] = self._flags[unit]
            entries.append(entry)
        (self.root / "compile_commands.json").write_text(json.dumps(entries))

    def run(
        self,
        *paths: str,
        cache: bool = True,
        jobs: int = 1,
        overlay: dict[str, bytes] | None = None,
    ) -> Report:
        return analyse(
            Config(
                tree=find_tree(self.root),
                paths=tuple(f"box/{path}.c" for path in paths),
                rules=(str(self.folder / "rule.yaml"),),
                jobs=jobs,
                cache=str(self.folder / "cache") if cache else None,
                overlay=overlay or {},
            )
        )

    def check(
        self, *paths: str, jobs: int = 1, overlay: dict[str, bytes] | None = None
    ) -> set[str]:
        """The functions with a finding; the same as in a run without a cache."""
        warm = self.run(*paths, jobs=jobs, overlay=overlay)
        cold = self.run(*paths, cache=False, overlay=overlay)
        assert warm.complete
        assert [f.message for f in warm.findings] == [f.message for f in cold.findings]
        assert warm.findings == cold.findings
        assert warm.ledger == cold.ledger
        return {f.location.function for f in warm.findings}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# What is written is known only to who knows the header function.
ADD, GROW = "(*box_count(b))++;", "(*box_size(b))++;"
LOCKED = f"spin_lock(&b->lock); {ADD} spin_unlock(&b->lock);"
SPARED = HEADER.replace("&b->count", "&b->spare")


@pytest.mark.parametrize("jobs", [1, 2])
def test_second_run_is_like_the_first(tree: Tree, jobs: int) -> None:
    tree.unit("a", ADD)
    tree.unit("b", GROW + ADD)
    tree.unit("c", LOCKED)

    assert tree.check(jobs=jobs) == {"a_run", "b_run"}
    assert tree.check(jobs=jobs) == {"a_run", "b_run"}


def test_changed_unit_is_read_again(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.unit("b", LOCKED)
    assert tree.check() == {"a_run"}
    tree.unit("a", LOCKED)
    tree.unit("b", ADD)

    assert tree.check() == {"b_run"}


def test_changed_header_is_read_again(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.unit("b", ADD)
    assert tree.check() == {"a_run", "b_run"}
    tree.header.write_text(SPARED)
    assert tree.check() == set()
    tree.header.write_text(HEADER)

    assert tree.check() == {"a_run", "b_run"}


def test_changed_flags_are_read_again(tree: Tree) -> None:
    tree.header.write_text(HEADER.replace("&b->count", "&b->WHERE"))
    tree.unit("a", ADD, "-DWHERE=spare")
    assert tree.check() == set()
    tree.unit("a", ADD, "-DWHERE=count")

    assert tree.check() == {"a_run"}


def test_overlay_of_a_unit(tree: Tree) -> None:
    tree.unit("a", LOCKED)
    assert tree.check() == set()
    text = (tree.root / "box/a.c").read_bytes()
    patched = text.replace(b"spin_lock(&b->lock);", b"").replace(b"spin_unlock(&b->lock);", b"")

    assert tree.check(overlay={"box/a.c": patched}) == {"a_run"}
    assert tree.check() == set()


def test_overlay_of_a_header(tree: Tree) -> None:
    tree.unit("a", ADD)
    assert tree.check() == {"a_run"}
    patched = SPARED.encode()

    assert tree.check(overlay={"box/box.h": patched}) == set()
    assert tree.check() == {"a_run"}


def test_inline_is_delivered_by_another_unit_when_the_first_changes(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.unit("b", ADD)
    assert tree.check() == {"a_run", "b_run"}
    tree.unit("a", "")

    assert tree.check() == {"b_run"}
    assert tree.check() == {"b_run"}


def test_inline_is_delivered_when_the_first_unit_is_not_asked_for(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.unit("b", ADD)
    tree.unit("c", GROW)
    assert tree.check() == {"a_run", "b_run", "c_run"}

    assert tree.check("b") == {"b_run"}
    assert tree.check("a") == {"a_run"}
    assert tree.check() == {"a_run", "b_run", "c_run"}


def test_inline_is_delivered_when_the_first_unit_cannot_be_read(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.unit("b", ADD)
    tree.run()
    (tree.root / "box/a.c").write_text("#error nothing\n")
    report = tree.run()

    assert not report.complete
    assert {f.location.function for f in report.findings} == {"b_run"}


def test_unit_that_delivers_some_and_needs_others(tree: Tree) -> None:
    """b.c delivers box_size() itself, and box_count() was delivered by a.c."""
    signal.alarm(10)
    tree.unit("a", ADD)
    tree.unit("b", ADD + GROW)
    assert tree.check() == {"a_run", "b_run"}
    tree.unit("a", "")

    assert tree.check() == {"b_run"}
    assert tree.check() == {"b_run"}


def test_two_units_each_deliver_a_part(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.unit("b", GROW)
    tree.unit("c", ADD)
    tree.unit("d", GROW)
    assert tree.check() == {"a_run", "b_run", "c_run", "d_run"}
    tree.unit("a", "")
    tree.unit("b", "")

    assert tree.check() == {"c_run", "d_run"}


def test_header_that_comes_before_another_one(tree: Tree) -> None:
    """A file that was not there when the unit was read may be found first now."""
    (tree.root / "first").mkdir()
    (tree.root / "second").mkdir()
    (tree.root / "second/other.h").write_text(SPARED)
    tree.unit("a", ADD, "-I./first", "-I./second")
    source = tree.root / "box/a.c"
    source.write_text(source.read_text().replace('"box.h"', "<other.h>"))
    assert tree.check() == set()
    (tree.root / "first/other.h").write_text(HEADER)

    assert tree.check() == {"a_run"}
    (tree.root / "first/other.h").unlink()
    assert tree.check() == set()


def test_header_that_comes_beside_the_file_that_includes_it(tree: Tree) -> None:
    """A quoted name is looked for beside the file first."""
    (tree.root / "second").mkdir()
    (tree.root / "second/other.h").write_text(SPARED)
    tree.unit("a", ADD, "-I./second")
    source = tree.root / "box/a.c"
    source.write_text(source.read_text().replace("box.h", "other.h"))
    assert tree.check() == set()
    (tree.root / "box/other.h").write_text(HEADER)

    assert tree.check() == {"a_run"}


def test_header_in_a_directory_that_is_new(tree: Tree) -> None:
    (tree.root / "second/deep").mkdir(parents=True)
    (tree.root / "second/deep/other.h").write_text(SPARED)
    tree.unit("a", ADD, "-I./first", "-I./second")
    source = tree.root / "box/a.c"
    source.write_text(source.read_text().replace('"box.h"', "<deep/other.h>"))
    assert tree.check() == set()
    (tree.root / "first/deep").mkdir(parents=True)
    (tree.root / "first/deep/other.h").write_text(HEADER)

    assert tree.check() == {"a_run"}


def test_header_whose_name_a_macro_gives(tree: Tree) -> None:
    (tree.root / "second").mkdir()
    (tree.root / "second/other.h").write_text(SPARED)
    tree.unit("a", ADD, "-I./first", "-I./second")
    source = tree.root / "box/a.c"
    source.write_text("#define NAMED <other.h>\n" + source.read_text().replace('"box.h"', "NAMED"))
    assert tree.check() == set()
    (tree.root / "first").mkdir()
    (tree.root / "first/other.h").write_text(HEADER)

    assert tree.check() == {"a_run"}


def test_header_that_is_asked_for_and_not_read(tree: Tree) -> None:
    tree.header.write_text(
        '#if __has_include("there.h")\n#define WHERE count\n#else\n#define WHERE spare\n#endif\n'
        + HEADER.replace("&b->count", "&b->WHERE")
    )
    tree.unit("a", ADD)
    assert tree.check() == set()
    (tree.root / "box/there.h").touch()

    assert tree.check() == {"a_run"}


def test_directory_that_a_link_stands_for(tree: Tree) -> None:
    for name, text in (("one", SPARED), ("two", HEADER)):
        (tree.root / name / "deep").mkdir(parents=True)
        (tree.root / name / "other.h").write_text(text)
    link = tree.root / "link"
    link.symlink_to("one/deep")
    tree.unit("a", ADD, "-I./link/..")  # not the same as `.`
    source = tree.root / "box/a.c"
    source.write_text(source.read_text().replace('"box.h"', "<other.h>"))
    assert tree.check() == set()
    link.unlink()
    link.symlink_to("two/deep")

    assert tree.check() == {"a_run"}


def test_header_that_changes_while_units_are_read(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content that counts is the one that was parsed."""
    tree.unit("a", ADD)
    save = FactStore.save

    def late(store: FactStore, *arguments: Any, **more: Any) -> None:
        tree.header.write_text(SPARED)
        save(store, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(FactStore, "save", late)
        assert {f.location.function for f in tree.run().findings} == {"a_run"}

    assert tree.check() == set()


def test_another_version_of_our_code_reads_anew(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.unit("a", ADD)
    assert tree.check() == {"a_run"}
    read: list[str] = []
    monkeypatch.setattr("lockcheck.facts.store._code_digest", lambda: b"other")
    monkeypatch.setattr(
        "lockcheck.units.read_units", lambda jobs, *_: read.extend(j.file for j in jobs) or ()
    )
    tree.run()

    assert read == ["box/a.c"]


def test_second_run_reads_nothing(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.unit("a", ADD)
    tree.unit("b", GROW)
    assert tree.check() == {"a_run", "b_run"}
    monkeypatch.setattr("lockcheck.units.read_units", None)

    assert {f.location.function for f in tree.run().findings} == {"a_run", "b_run"}


def test_damaged_cache_is_told(tree: Tree) -> None:
    tree.unit("a", ADD)
    tree.run()
    (file,) = (tree.folder / "cache").glob("facts-*.sqlite")
    file.write_bytes(b"no database" * 1000)
    report = tree.run()

    assert "cache-damaged" in {notice.code for notice in report.notices}
    assert report.complete
    assert {f.location.function for f in report.findings} == {"a_run"}
    assert "cache-damaged" not in {notice.code for notice in tree.run().notices}


def test_cache_that_is_no_directory(tree: Tree) -> None:
    (tree.folder / "cache").write_text("")
    tree.unit("a", ADD)

    assert tree.check() == {"a_run"}
