"""Runs that are killed, and runs at the same time, leave a cache that tells no lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = [sys.executable, "-m", "lockcheck.cli", "check", "--tree", str(ROOT / "fixtures"), "demo"]


@pytest.mark.slow
def test_killed_runs_leave_nothing_wrong() -> None:
    """A few kills; `benchmarks/kill.py` alone does a hundred."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/kill.py"), "--kills", "5", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("5 runs killed")


def test_two_runs_at_once_on_one_cache(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    both = [
        subprocess.Popen(
            [*CHECK, "--cache", cache], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in both]
    later = subprocess.run(
        [*CHECK, "--cache", cache], capture_output=True, text=True, check=False, timeout=300
    )
    cold = subprocess.run(
        [*CHECK, "--no-cache"], capture_output=True, text=True, check=False, timeout=300
    )

    assert "gfn_track" in cold.stdout
    assert [stdout for stdout, _ in outputs] == [cold.stdout] * 2
    assert later.stdout == cold.stdout
    assert [process.returncode for process in both] == [cold.returncode] * 2
    assert [stderr for _, stderr in outputs] == ["", ""]
