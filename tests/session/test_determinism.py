"""The same input gives the same output, whatever order sets come in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
UNITS = ("lock-assertion", "rcu-access", "might-sleep", "gfn-track-write")


def run(seed: str, cache: Path) -> str:
    code = "from lockcheck.cli import cli; cli()"
    command = [sys.executable, "-c", code, "ledger", "--tree", str(FIXTURES),
               "--format", "json", *UNITS]  # fmt: skip
    environment = {**os.environ, "PYTHONHASHSEED": seed, "XDG_CACHE_HOME": str(cache)}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_hash_seeds_change_nothing(tmp_path: Path) -> None:
    first, *others = (run(seed, tmp_path) for seed in ("0", "1", "2"))
    assert len(first) > 1000
    assert all(other == first for other in others)
