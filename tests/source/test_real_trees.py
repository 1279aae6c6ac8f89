"""The input on the trees that `scripts/kernel-tree` prepares."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lockcheck.source.commands import CommandSet, load_commands
from lockcheck.source.tree import KernelTree, find_tree

pytestmark = pytest.mark.kernel

PATHS = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915/gvt")
# C files below PATHS that the configuration of scripts/kernel-tree compiles. Not compiled:
# options that are off (SGX, SEV, guest_memfd), and kvm-asm-offsets.c, which has no object.
UNITS = {"6.1": 63, "6.12": 68}
SCRIPT = Path(__file__).parents[2] / "scripts" / "kernel-tree"


def listing(directory: Path) -> list[tuple[str, int, int]]:
    """Return everything below a directory, with size and time of change."""
    stats = ((path, path.lstat()) for path in directory.rglob("*"))
    return sorted((str(path), s.st_size, s.st_mtime_ns) for path, s in stats)


@pytest.fixture(scope="module", params=sorted(UNITS))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tree(version: str) -> KernelTree:
    done = subprocess.run(
        [str(SCRIPT), "--path", version], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"no prepared tree: run `scripts/kernel-tree {version}`"
    source, build = done.stdout.splitlines()
    return find_tree(Path(source), Path(build))


@pytest.fixture(scope="module")
def found(tree: KernelTree) -> CommandSet:
    return load_commands(tree, PATHS)


def test_tree(tree: KernelTree, version: str) -> None:
    assert tree.version.startswith(f"{version}.")
    assert (tree.arch, tree.compiler) == ("x86", "gcc")
    assert tree.option("KVM") is not None


def test_units_of_three_directories(version: str, found: CommandSet) -> None:
    assert len(found.commands) == UNITS[version]
    assert found.notices == ()
    for path in PATHS:
        assert any(c.file.startswith(f"{path}/") for c in found.commands)


def test_asking_changes_nothing(tree: KernelTree) -> None:
    before = listing(tree.build)
    load_commands(tree, ["virt"])
    assert listing(tree.build) == before


def test_libclang_parses_a_sample(
    tree: KernelTree, found: CommandSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clang import cindex

    index = cindex.Index.create()
    for command in found.commands[:: len(found.commands) // 6][:6]:
        monkeypatch.chdir(command.directory)
        unit = index.parse(str(tree.root / command.file), args=list(command.arguments))
        errors = [str(d) for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
        assert errors == [], command.file
