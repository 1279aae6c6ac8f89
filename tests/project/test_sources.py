"""What holds for every module: its size, what it may not name, and that every part is packaged."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sources import PACKAGE, ROOT, code, imports, modules, name_of

MAX_LINES = 500

# Names of kernel subsystems and of their data. The engine knows C and locks; what belongs to a
# subsystem is data, in rules/ and lockcheck/models/data.
SUBSYSTEM = re.compile(
    r"kvm|gvt|vgpu|i915|mmu_lock|track_srcu|gfn|page_?track|memslot|memory_slot|shadow_root"
    r"|notifier_list|protect_table|vfio|drm",
    re.I,
)
# An error message may show what a user would write: `e.g. slot->arch.gfn_track[*][*]`.
EXAMPLE = re.compile(r"\be\.g\. .*", re.S)
# Module → why it may name a subsystem after all.
_HELP = "the help shows commands that work on a real tree"
SUBSYSTEM_ALLOWED = dict.fromkeys(
    (
        "lockcheck.cli",
        "lockcheck.cli_ledger",
        "lockcheck.cli_lsp",
        "lockcheck.cli_order",
        "lockcheck.cli_questions",
        "lockcheck.cli_series",
    ),
    _HELP,
)

# Directories of one machine. What every Linux has (/dev, /proc, /usr) may be named.
MACHINE_PATH = re.compile(r"(?<![\w.>)\]}$])/(home|root|work|tmp|opt|mnt|srv|Users|build|src)/")

MODULES = [pytest.param(path, id=name_of(path)) for path in modules()]
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".c", ".h", ".sh", ".cfg", ""}


def tracked() -> list[Path]:
    """The text files that git has, or would take."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git work tree")
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.suffix in TEXT_SUFFIXES and path.is_file()]


@pytest.mark.parametrize("path", MODULES)
def test_modules_are_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", MODULES)
def test_the_engine_names_no_subsystem(path: Path) -> None:
    name = name_of(path)
    if name in SUBSYSTEM_ALLOWED:
        return
    found = [
        f"{name}:{line}: {text.strip()}"
        for line, text in code(path)
        if SUBSYSTEM.search(EXAMPLE.sub("", text))
    ]
    assert found == [], "what belongs to a subsystem goes into rules/ or lockcheck/models/data"


@pytest.mark.parametrize("path", MODULES)
def test_modules_say_what_they_are_for(path: Path) -> None:
    first = path.read_text().lstrip()
    assert not first or first.startswith('"""'), "a module begins with a docstring"


def test_no_paths_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in tracked()
        # Tests make up trees below such directories.
        if path.is_relative_to(PACKAGE) or path.suffix != ".py"
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_every_package_is_installed() -> None:
    """pyproject.toml names the packages one by one."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = set(document["tool"]["setuptools"]["packages"])
    there = {name_of(path) for path in modules() if path.name == "__init__.py"}
    assert named == there | {"lockcheck_rules"}


def test_every_data_file_is_installed() -> None:
    """pyproject.toml has a pattern for every file that is not Python."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    covered = {
        file
        for package, patterns in data["package-data"].items()
        for pattern in patterns
        for file in (
            ROOT / "rules" if package == "lockcheck_rules" else ROOT.joinpath(*package.split("."))
        ).glob(pattern)
    }
    files = {
        path
        for folder in (PACKAGE, ROOT / "rules")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert files - covered == set()


def test_tests_have_names_of_their_own() -> None:
    """Test modules are imported without their folder's name, so no two may have the same."""
    names = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.name not in ("conftest.py", "__init__.py")
    ]
    assert sorted(names) == sorted(set(names))


def test_every_needed_distribution_is_declared() -> None:
    """Whatever the package imports is among its dependencies, and nothing else is."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    entries = [*project["dependencies"], *project["optional-dependencies"]["lsp"]]
    declared = {re.split(r"[<>=!~ \[]", entry)[0].lower() for entry in entries}
    module_of = {
        "libclang": "clang",
        "ruamel.yaml": "ruamel",
        "ruamel.yaml.clib": "ruamel",
        "sarif-om": "sarif_om",
    }
    expected = {module_of.get(name, name) for name in declared}
    used = {
        name.split(".")[0]
        for path in modules()
        for _, name in imports(path)
        if name.split(".")[0] not in sys.stdlib_module_names
    }
    assert used - {"lockcheck"} == expected
