"""What is understood of make's output, and how kbuild is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_tree import CONFIG, command, echoed, kbuild_makefile, make_root, write

from lockcheck.errors import LockcheckError
from lockcheck.source import kbuild
from lockcheck.source.tree import KernelTree, find_tree

UNIT = command("lib/a.c")


def tree_with(tmp_path: Path, makefile: str) -> KernelTree:
    return find_tree(make_root(tmp_path / "linux", makefile))


def test_simple_commands() -> None:
    text = """a 'b c' "d\\"e" f\\ g ; h|i && j=';' >k"""
    assert list(kbuild.simple_commands(text)) == [
        ["a", "b c", 'd"e', "f g"],
        ["h"],
        ["i"],
        ["j=;"],
        ["k"],
    ]


def test_echoed_command_with_quotes() -> None:
    # As make prints it: the command is echoed, run, and given to fixdep again.
    quoted = UNIT.replace("'", "'\\''")
    line = (
        f"set -e;  echo '  {quoted}   ; objtool a.o'; trap 'rm a.o' INT; {UNIT}; fixdep '{quoted}'"
    )
    (words,) = kbuild.compile_commands([line])
    assert words[0] == "gcc"
    assert '-DKBUILD_MODNAME="a"' in words
    assert words[-3:] == ["-o", "lib/a.o", "lib/a.c"]


def test_command_that_is_not_echoed() -> None:
    (words,) = kbuild.compile_commands([f"set -e; {UNIT} ; true"])
    assert words[-1] == "lib/a.c"


@pytest.mark.parametrize(
    "other",
    [
        "gcc -Iinclude -c -o scripts/x.o scripts/x.c",  # a host tool
        "gcc -D__KERNEL__ -D__ASSEMBLY__ -c -o a.o a.S",
        "gcc -D__KERNEL__ -m16 -c -o a.o a.c",
        "gcc -D__KERNEL__ -S -o a.s a.c",
        "ld -r -o a.o b.o",
        "echo '  gcc -D__KERNEL__ -c ",  # cut off
        "make[1]: Entering directory 'a -c __KERNEL__'",
    ],
)
def test_what_is_no_unit(other: str) -> None:
    assert list(kbuild.compile_commands([other])) == []


def test_ask(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, kbuild_makefile("touch built", echoed(UNIT)))
    answer = kbuild.ask(tree, ["lib/"])
    assert [words[-1] for words in answer.commands] == ["lib/a.c"]
    assert answer.complaint == ""
    assert not (tree.root / "built").exists()


def test_make_of_the_caller_has_no_influence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAKEFLAGS", "s -- V=0")
    monkeypatch.setenv("O", "/nowhere")
    monkeypatch.setenv("ARCH", "arm64")
    unit = "gcc -D__KERNEL__ -c -o lib/a.o lib/a.c"
    makefile = kbuild_makefile(f"echo '  {unit} -DV=$(V) -DARCH=$(ARCH) -DO=$(O)'")
    (words,) = kbuild.ask(tree_with(tmp_path, makefile), ["lib/"]).commands
    assert words[-3:] == ["-DV=1", "-DARCH=x86_64", "-DO="]


def test_error_after_some_commands(tmp_path: Path) -> None:
    makefile = kbuild_makefile(echoed(UNIT)) + "\nother/: missing.h\n"
    answer = kbuild.ask(tree_with(tmp_path, makefile), ["lib/", "other/"])
    assert len(answer.commands) == 1
    assert "No rule to make target 'missing.h'" in answer.complaint


def test_error_and_no_command(tmp_path: Path) -> None:
    answer = kbuild.ask(tree_with(tmp_path, kbuild_makefile("true")), ["nothing/"])
    assert answer.commands == []
    assert "No rule to make target 'nothing/'" in answer.complaint


def test_no_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tree_with(tmp_path, kbuild_makefile("true"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LockcheckError, match="make not found"):
        kbuild.ask(tree, ["lib/"])


def test_no_answer_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # $(shell) runs even under -n.
    tree = tree_with(tmp_path, kbuild_makefile("true") + "\nX := $(shell sleep 60)\n")
    monkeypatch.setattr(kbuild, "_TIMEOUT_SECONDS", 0.2)
    with pytest.raises(LockcheckError, match="no answer within"):
        kbuild.ask(tree, ["lib/"])


def test_compiler_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = write(tmp_path / "bin/clang-19")
    binary.chmod(0o755)
    config = CONFIG.replace("CC_IS_GCC=y", "CC_IS_CLANG=y\nCONFIG_CLANG_VERSION=190107")
    tree = find_tree(make_root(tmp_path / "linux", config=config))
    monkeypatch.setenv("PATH", str(binary.parent))
    assert "CC=clang-19" in kbuild._make_words("make", tree, "/tmp", [])


def test_goal_directories(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    write(root / "drivers/one/Makefile", "include $(src)/inner/Makefile\n")
    write(root / "drivers/one/inner/Makefile", "one-y += inner/x.o\n")
    write(root / "drivers/one/deep/er/y.c")
    assert kbuild.goal_directory(root, "drivers/one/inner") == "drivers/one"
    assert kbuild.goal_directory(root, "drivers/one/deep/er") == "drivers/one"
    assert kbuild.goal_directory(root, "lib") == "lib"
    assert kbuild.goal_directory(root, "nowhere") == ""


def test_referring_directories(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    write(root / "arch/x86/one/Makefile", "include $(srctree)/common/one/Makefile.one\n")
    write(root / "arch/x86/two/Makefile", "TWO := ../../../common/two\ntwo-y += $(TWO)/x.o\n")
    write(root / "arch/arm64/one/Makefile", "include $(srctree)/common/one/Makefile.one\n")
    found = kbuild.referring_directories(find_tree(root), {"common/one", "common/two", "none/x"})
    assert found == {"common/one": ["arch/x86/one"], "common/two": ["arch/x86/two"]}
