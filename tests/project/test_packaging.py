"""`pip install .` into a fresh environment brings everything along and works from anywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sources import ROOT

pytestmark = pytest.mark.slow

COPIED = ("lockcheck", "rules", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module", params=["regular", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment that the package was installed into."""
    folder = tmp_path_factory.mktemp("install")
    # A copy: setuptools leaves a build directory behind, and would take old files from it.
    source = folder / "source"
    source.mkdir()
    for name in COPIED:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, source / name)
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    mode = ["--editable"] if request.param == "editable" else []
    run(str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", *mode, str(source))
    return folder / "venv/bin"


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_rules_are_there(installed: Path, tmp_path: Path) -> None:
    shown = run(str(installed / "lockcheck"), "rules", cwd=tmp_path).stdout
    files = {path.stem for path in (ROOT / "rules").glob("*.yaml")}
    assert {line.split()[0] for line in shown.splitlines()} == files


def test_it_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    code = "import lockcheck; print(lockcheck.__file__)"
    where = run(str(installed / "python"), "-c", code, cwd=tmp_path).stdout.strip()
    assert where.startswith(str(installed.parents[1]))


def test_models_and_shims_work(installed: Path, tmp_path: Path) -> None:
    """The fixture tree gives the same findings as in the checkout."""
    arguments = ["check", "--tree", str(ROOT / "fixtures"), "--no-cache", "--exit-zero", "demo"]
    arguments += ["--format", "sarif"]
    there = run(str(installed / "lockcheck"), *arguments, cwd=tmp_path).stdout
    here = run(sys.executable, "-m", "lockcheck.cli", *arguments, cwd=ROOT).stdout
    results = [json.loads(text)["runs"][0]["results"] for text in (there, here)]
    assert results[0] == results[1] != []
