"""The directories that are read when the user names none."""

from __future__ import annotations

import pytest
from small_tree import SmallTree

from lockcheck.errors import LockcheckError
from lockcheck.series.gitrange import series_from_git
from lockcheck.series.scope import Scope, scope_of
from lockcheck.source.tree import find_tree


def scope(tree: SmallTree, files: dict[str, str | None]) -> Scope:
    tree.commit("Change", files)
    return scope_of(find_tree(tree.root), series_from_git(tree.root, None, 1))


def test_directory_of_a_unit(tree: SmallTree) -> None:
    found = scope(tree, {"box/one.c": "int one;\n", "box/README": "x\n"})
    assert found.paths == ("box",)
    assert [notice.code for notice in found.notices] == ["scope"]


def test_directory_with_the_makefile(tree: SmallTree) -> None:
    assert scope(tree, {"box/deep/er/x.c": "int x;\n"}).paths == ("box",)


def test_includers_of_a_public_header(tree: SmallTree) -> None:
    tree.commit("Includer", {"lid/lid.c": "#include <linux/box.h>\n", "lid/Kbuild": "\n"})
    tree.commit("Mention", {"hat/hat.c": "/* linux/box.h */\n", "hat/Kbuild": "\n"})
    found = scope(tree, {"include/linux/box.h": "int box;\n", "box/one.c": "int one;\n"})
    assert found.paths == ("box", "lid")


def test_includers_that_are_too_many_are_told(
    tree: SmallTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockcheck.series.scope._MAX_INCLUDERS", 1)
    for name in ("lid", "hat"):
        tree.commit(name, {f"{name}/x.c": "#include <linux/box.h>\n", f"{name}/Kbuild": "\n"})
    found = scope(tree, {"include/linux/box.h": "int box;\n", "box/one.c": "int one;\n"})
    assert found.paths == ("box",)
    assert [notice.code for notice in found.notices] == ["includers-not-read", "scope"]


def test_no_code(tree: SmallTree) -> None:
    with pytest.raises(LockcheckError, match="changes no C file and no header"):
        scope(tree, {"box/README": "x\n"})
