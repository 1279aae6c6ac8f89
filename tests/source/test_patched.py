"""Compile commands of files that come and go with a patch."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockcheck.source.commands import CompileCommand
from lockcheck.source.patched import PatchedCommands, patched_commands
from lockcheck.source.tree import KernelTree

ARGUMENTS = (
    "-nostdinc",
    '-DKBUILD_BASENAME="sta_info"',
    '-DKBUILD_MODNAME="mac"',
    "-D__KBUILD_MODNAME=kmod_mac",
    '-DKBUILD_MODFILE="net/mac/mac"',
)
STA = CompileCommand("net/mac/sta-info.c", "/b", ARGUMENTS, "kbuild")
FAR = CompileCommand("lib/far.c", "/b", ('-DKBUILD_BASENAME="far"',), "kbuild")
KBUILD = b"obj-$(CONFIG_MAC) += mac.o\nmac-y := sta-info.o new.o # old.o\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "net/mac/deep").mkdir(parents=True)
    (tmp_path / "net/mac/Makefile").write_bytes(b"mac-y := sta-info.o\n")
    return tmp_path


def patched(
    root: Path, contents: dict[str, bytes | None], wanted: tuple[str, ...] = ("",), **config: str
) -> PatchedCommands:
    tree = KernelTree(root, root, "6.1.7", "x86", "x86_64", "gcc", config)
    return patched_commands(tree, (STA, FAR), wanted, contents)


def test_new_file_is_compiled_like_its_neighbour(root: Path) -> None:
    found = patched(root, {"net/mac/new.c": b"", "net/mac/Makefile": KBUILD})

    assert [c.file for c in found.commands] == ["lib/far.c", "net/mac/new.c", "net/mac/sta-info.c"]
    assert found.commands[1].arguments == (
        "-nostdinc",
        '-DKBUILD_BASENAME="new"',
        *ARGUMENTS[2:],
    )
    assert found.notices == ()


def test_makefile_above_may_name_it(root: Path) -> None:
    makefile = b"mac-y := sta-info.o \\\n\tdeep/down.o\n"
    found = patched(root, {"net/mac/deep/down.c": b"", "net/mac/Makefile": makefile})

    (new,) = (c for c in found.commands if c.file == "net/mac/deep/down.c")
    assert "-nostdinc" in new.arguments


def test_moved_file_keeps_its_command(root: Path) -> None:
    found = patched(
        root,
        {
            "net/mac/sta-info.c": None,
            "net/wifi/sta-info.c": b"",
            "net/wifi/Makefile": b"obj-y := sta-info.o\n",
        },
    )
    assert [c.file for c in found.commands] == ["lib/far.c", "net/wifi/sta-info.c"]
    assert found.commands[1].arguments == ARGUMENTS


@pytest.mark.parametrize(
    ("makefile", "words"),
    [
        (b"mac-y := sta-info.o # new.o\n", "no Makefile names its object"),
        (b"mac-y := brand-new.o deep/new.o\n", "no Makefile names its object"),
        (b"mac-$(CONFIG_NEW) += new.o\n", "CONFIG_NEW is not set"),
    ],
)
def test_what_is_not_built_is_told(root: Path, makefile: bytes, words: str) -> None:
    found = patched(root, {"net/mac/new.c": b"", "net/mac/Makefile": makefile})

    assert [c.file for c in found.commands] == ["lib/far.c", "net/mac/sta-info.c"]
    (notice,) = found.notices
    assert (notice.code, notice.file) == ("not-built", "net/mac/new.c")
    assert words in notice.message


@pytest.mark.parametrize("introduced", [False, True])
def test_option_that_is_set_or_comes_with_the_patch(root: Path, introduced: bool) -> None:
    contents: dict[str, bytes | None] = {
        "net/mac/new.c": b"",
        "net/mac/Makefile": b"mac-$(CONFIG_NEW) += new.o\n",
    }
    if introduced:
        contents["net/mac/Kconfig"] = b"config NEW\n\tbool\n"
        found = patched(root, contents)
    else:
        found = patched(root, contents, CONFIG_NEW="y")
    assert "net/mac/new.c" in [c.file for c in found.commands]


def test_files_outside_of_what_is_wanted(root: Path) -> None:
    found = patched(root, {"net/mac/new.c": b"", "net/mac/Makefile": KBUILD}, wanted=("lib",))
    assert "net/mac/new.c" not in [c.file for c in found.commands]
    assert found.notices == ()
