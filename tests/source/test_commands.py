"""Compile commands from a database, from kbuild's files and from kbuild itself."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from fake_tree import command, echoed, kbuild_makefile, make_build, make_root, write

from lockcheck.errors import LockcheckError, Severity
from lockcheck.source import kbuild
from lockcheck.source.commands import (
    DATABASE,
    KBUILD,
    SAVED,
    CommandSet,
    load_commands,
    resolve_paths,
)
from lockcheck.source.tree import KernelTree, find_tree

ALL = ["lib/a.c", "lib/b.c", "lib/sub/c.c"]


def kbuild_tree(tmp_path: Path, *files: str) -> KernelTree:
    """Make a tree whose kbuild compiles `files` for the goals lib/ and ./."""
    makefile = kbuild_makefile(*(echoed(command(f)) for f in files), goal="lib/ ./")
    return find_tree(make_root(tmp_path / "linux", makefile))


def entry(root: Path, file: str, **changes: object) -> dict[str, object]:
    return {"directory": str(root), "file": str(root / file), "command": command(file), **changes}


def write_database(place: Path, entries: object) -> Path:
    return write(place / DATABASE, json.dumps(entries))


def files(found: CommandSet) -> list[str]:
    return [c.file for c in found.commands]


def codes(found: CommandSet) -> list[tuple[str, str | None]]:
    return [(n.code, n.file) for n in found.notices]


# --- compile database


def test_database(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    entries = [entry(root, "lib/b.c"), entry(root, "lib/a.c"), entry(root, "lib/sub/c.c")]
    write_database(root, entries)
    found = load_commands(find_tree(root))
    assert files(found) == ALL
    assert found.notices == ()
    assert found.origin == "compile_commands.json: 3 units"
    first = found.commands[0]
    assert first.directory == str(root)
    assert first.origin == DATABASE
    assert '-DKBUILD_MODNAME="a"' in first.arguments
    assert not any(a.endswith((".c", ".o")) for a in first.arguments)
    assert files(load_commands(find_tree(root), ["lib/sub"])) == ["lib/sub/c.c"]
    assert files(load_commands(find_tree(root), ["lib/sub", "lib/a.c"])) == [
        "lib/a.c",
        "lib/sub/c.c",
    ]


def test_database_with_argument_lists_and_relative_paths(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    arguments = shlex.split(command("lib/a.c"))
    write_database(root, [{"directory": ".", "file": "lib/a.c", "arguments": arguments}])
    found = load_commands(find_tree(root))
    assert files(found) == ["lib/a.c"]
    assert found.commands[0].directory == str(root)


def test_database_of_the_build_directory_comes_first(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux", config=None)
    build = make_build(root, tmp_path / "build")
    write_database(root, [entry(root, "lib/a.c")])
    write_database(build, [entry(root, "lib/b.c")])
    assert files(load_commands(find_tree(root, build))) == ["lib/b.c"]


def test_database_keeps_the_first_of_duplicates_and_skips_other_code(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    write(root / "lib/a.mod.c")
    entries = [
        entry(root, "lib/a.c", command=command("lib/a.c", "-DFIRST")),
        entry(root, "lib/a.c", command=command("lib/a.c", "-DSECOND")),
        entry(root, "lib/b.c", command="gcc -c -o lib/b.o lib/b.c"),
        entry(root, "lib/a.mod.c"),
        entry(root, "/elsewhere/x.c"),
    ]
    write_database(root, entries)
    found = load_commands(find_tree(root))
    assert files(found) == ["lib/a.c"]
    assert "-DFIRST" in found.commands[0].arguments


def test_database_with_stale_entries(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    gone = tmp_path / "gone"
    entries = [
        entry(root, "lib/a.c"),
        entry(root, "lib/removed.c"),
        entry(root, "lib/b.c", directory=str(gone)),
    ]
    write_database(root, entries)
    found = load_commands(find_tree(root))
    assert files(found) == ["lib/a.c"]
    assert codes(found) == [("stale-command", "lib/removed.c"), ("stale-command", "lib/b.c")]
    # A file that is there and cannot be analysed makes the run incomplete.
    assert [n.severity for n in found.notices] == [Severity.WARNING, Severity.ERROR]


def test_stale_database_gives_way_to_kbuild(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, "lib/a.c")
    write_database(tree.root, [entry(tree.root, "lib/a.c", directory=str(tmp_path / "gone"))])
    found = load_commands(tree, ["lib"])
    assert [c.origin for c in found.commands] == [KBUILD]
    assert codes(found) == [("database-unused", None)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[\n {"directory": "/",\n  "file": }\n]', 3, "corrupt"),
        ("", 1, "corrupt"),
        ('[{"directory": "/x", "command": "gcc"}]', None, "`file`"),
        ('{"directory": "/x"}', None, "array"),
        ('[{"directory": "/x", "file": "x\\u0000.c"}]', None, "entry 1 contains a NUL"),
        ('[{"directory": 1, "file": "x"}]', None, r"\$\[0\].directory"),
    ],
)
def test_corrupt_database(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    root = make_root(tmp_path / "linux")
    write(root / DATABASE, text)
    with pytest.raises(LockcheckError, match=message) as caught:
        load_commands(find_tree(root))
    assert (caught.value.file, caught.value.line) == (str(root / DATABASE), line)
    assert caught.value.remedy


def test_database_older_than_the_configuration(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    database = write_database(root, [entry(root, "lib/a.c")])
    os.utime(database, (500, 500))
    found = load_commands(find_tree(root))
    assert files(found) == ["lib/a.c"]
    assert codes(found) == [("stale-database", None)]


def test_database_without_a_wanted_command(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    write_database(root, [])
    with pytest.raises(LockcheckError, match="entries in it: 0") as caught:
        load_commands(find_tree(root))
    assert caught.value.remedy is not None
    assert f"make {DATABASE} anew" in caught.value.remedy


def test_database_that_is_no_text(tmp_path: Path) -> None:
    root = make_root(tmp_path / "linux")
    (root / DATABASE).write_bytes(b'[\n{"directory": "\xff\xfe"}]')
    with pytest.raises(LockcheckError) as caught:
        load_commands(find_tree(root))
    assert caught.value.file == str(root / DATABASE)


@pytest.mark.parametrize("kind", ["directory", "dangling link"])
def test_unreadable_database(tmp_path: Path, kind: str) -> None:
    root = make_root(tmp_path / "linux")
    if kind == "directory":
        (root / DATABASE).mkdir()
    else:
        (root / DATABASE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(LockcheckError, match="cannot read the compile database"):
        load_commands(find_tree(root))


# --- kbuild's saved commands


def saved(tree: KernelTree, file: str, prefix: str, text: str | None = None) -> None:
    name = Path(file)
    path = tree.build / name.parent / f".{name.stem}.o.cmd"
    write(path, f"{prefix}_{name.with_suffix('.o')} := {text or command(file)}\n\nsource_x := y\n")


@pytest.mark.parametrize("prefix", ["cmd", "savedcmd"])
def test_saved_commands_of_a_finished_build(tmp_path: Path, prefix: str) -> None:
    tree = find_tree(make_root(tmp_path / "linux"))
    for name in ("vmlinux", "lib/.x.o.cmd"):
        write(tree.build / name)
    saved(tree, "lib/a.c", prefix, command("lib/a.c", r"-DA='$(pound)' -DB='$$x'") + " ; objtool x")
    saved(tree, "lib/sub/c.c", prefix)
    saved(tree, "lib/b.c", prefix, "ld -r -o lib/b.o lib/x.o")
    found = load_commands(tree)
    assert files(found) == ["lib/a.c", "lib/sub/c.c"]
    assert {c.origin for c in found.commands} == {SAVED}
    assert {"-DA=#", "-DB=$x"} <= set(found.commands[0].arguments)
    assert files(load_commands(tree, ["lib/a.c"])) == ["lib/a.c"]


def test_saved_command_of_a_file_that_is_gone(tmp_path: Path) -> None:
    tree = find_tree(make_root(tmp_path / "linux"))
    write(tree.build / "vmlinux")
    saved(tree, "lib/a.c", "savedcmd")
    saved(tree, "lib/removed.c", "savedcmd")
    assert codes(load_commands(tree)) == [("stale-command", "lib/removed.c")]


def test_partly_built_tree(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, "lib/b.c", "lib/sub/c.c")
    saved(tree, "lib/a.c", "savedcmd")
    saved(tree, "lib/b.c", "savedcmd", command("lib/b.c", "-DOLD"))
    found = load_commands(tree, ["lib"])
    assert [(c.file, c.origin) for c in found.commands] == [
        ("lib/a.c", SAVED),
        ("lib/b.c", KBUILD),
        ("lib/sub/c.c", KBUILD),
    ]
    assert "-DOLD" not in found.commands[1].arguments
    assert found.origin == ".cmd files: 1 units, kbuild (make -n): 2 units"


# --- kbuild itself


def test_kbuild(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, *ALL)
    before = sorted(tree.root.rglob("*"))
    found = load_commands(tree)
    assert files(found) == ALL
    assert found.notices == ()
    assert files(load_commands(tree, ["lib/sub/c.c"])) == ["lib/sub/c.c"]
    assert sorted(tree.root.rglob("*")) == before


def test_kbuild_with_objects_of_a_distant_directory(tmp_path: Path) -> None:
    far = command("arch/x86/one/../../../common/one/main.c")
    makefile = kbuild_makefile(echoed(far), goal="arch/x86/one/") + "\ncommon/:\n\t@true\n"
    root = make_root(tmp_path / "linux", makefile)
    write(root / "common/one/main.c")
    write(root / "common/Makefile")
    write(root / "arch/x86/one/Makefile", "include $(srctree)/common/one/Makefile.one\n")
    found = load_commands(find_tree(root), ["common/one"])
    assert files(found) == ["common/one/main.c"]


def test_generated_sources_are_noted(tmp_path: Path) -> None:
    found = load_commands(kbuild_tree(tmp_path, "lib/a.c", "lib/made.c"), ["lib"])
    assert files(found) == ["lib/a.c"]
    assert [(n.severity, n.code) for n in found.notices] == [(Severity.NOTE, "generated-source")]


def test_kbuild_error_is_noted(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, "lib/a.c")
    write(tree.root / "Makefile", (tree.root / "Makefile").read_text() + "\nmore/: missing.h\n")
    write(tree.root / "more/d.c")
    write(tree.root / "more/Makefile")
    found = load_commands(tree, ["lib", "more"])
    assert files(found) == ["lib/a.c"]
    assert [(n.severity, n.code) for n in found.notices] == [(Severity.ERROR, "kbuild-error")]
    assert "missing.h" in found.notices[0].message
    with pytest.raises(LockcheckError, match=r"kbuild named 0 commands(.|\n)*missing\.h"):
        load_commands(tree, ["more"])


def test_directory_that_cannot_be_asked_alone(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, *ALL)
    write(tree.root / "lib/sub/Makefile", "sub-y := c.o\n")
    found = load_commands(tree, ["lib/sub"])  # `make lib/sub/` has no rule, `./` lists it
    assert files(found) == ["lib/sub/c.c"]
    assert found.notices == ()


def test_path_that_is_not_built(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, "lib/a.c")
    write(tree.root / "lib/Makefile", "obj-y += a.o\nobj-$(CONFIG_SUB) += \\\n\tsub/\n")
    found = load_commands(tree, ["lib/a.c", "lib/sub"])
    assert files(found) == ["lib/a.c"]
    assert codes(found) == [("not-built", "lib/sub")]
    assert "CONFIG_SUB is not set" in found.notices[0].message
    with pytest.raises(LockcheckError, match="builds nothing in lib/sub: CONFIG_SUB"):
        load_commands(tree, ["lib/sub"])


def test_path_of_another_architecture(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, "lib/a.c")
    write(tree.root / "arch/arm64/x.c")
    found = load_commands(tree, ["lib/a.c", "arch/arm64"])
    assert "another architecture" in found.notices[0].message


def test_reason_not_built(tmp_path: Path) -> None:
    tree = find_tree(make_root(tmp_path / "linux"))
    write(
        tree.root / "lib/Makefile",
        "obj-$(CONFIG_KVM) += a.o\nx-$(CONFIG_XEN) += y.o sub/c.o\nobj-$(CONFIG_NO) += bb.o\n",
    )
    assert kbuild.reason_not_built(tree, "lib/a.c") is None
    assert kbuild.reason_not_built(tree, "lib/b.c") is None
    assert kbuild.reason_not_built(tree, "lib/sub/c.c") == "CONFIG_XEN"


def test_stale_configuration_is_noted(tmp_path: Path) -> None:
    tree = kbuild_tree(tmp_path, "lib/a.c")
    os.utime(tree.build / "include/config/auto.conf", (500, 500))
    assert codes(load_commands(tree, ["lib"])) == [("stale-configuration", None)]


# --- paths


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = find_tree(make_root(tmp_path / "linux"))
    root = tree.root
    assert resolve_paths(tree, []) == ("",)
    assert resolve_paths(tree, ["lib/sub/", str(root / "lib/a.c"), "lib/sub"]) == (
        "lib/a.c",
        "lib/sub",
    )
    monkeypatch.chdir(root / "lib")
    assert resolve_paths(tree, ["."]) == ("lib",)
    assert resolve_paths(tree, ["./sub", "a.c", "lib"]) == ("lib", "lib/a.c", "lib/sub")
    assert resolve_paths(tree, [".."]) == ("",)


def test_paths_from_the_build_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "linux", config=None)
    build = make_build(root, tmp_path / "build")
    (build / "lib").mkdir()
    monkeypatch.chdir(build / "lib")
    assert resolve_paths(find_tree(root, build), ["./sub"]) == ("lib/sub",)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("lib/none.c", "there is no lib/none.c"),
        ("../outside.c", "outside of the tree"),
        ("Kconfig", "no C source file"),
        ("", "one of the PATHS is empty"),
        ("include/linux", "no C file in include/linux"),
    ],
)
def test_bad_paths(tmp_path: Path, path: str, message: str) -> None:
    tree = find_tree(make_root(tmp_path / "linux"))
    write(tmp_path / "outside.c")
    with pytest.raises(LockcheckError, match=message) as caught:
        load_commands(tree, [path])
    assert caught.value.remedy
