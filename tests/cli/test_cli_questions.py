"""`ledger`, `why` and `guards` on the fixture tree, as a user types them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockcheck.cli import cli

FIXTURES = str(Path(__file__).parents[2] / "fixtures")
COLUMNS = [
    "state", "origin", "rule", "file", "line", "column", "function", "requirement", "lock",
    "reason", "no_caller",
]  # fmt: skip


def run(command: str, *arguments: str) -> Result:
    options = ("--tree", FIXTURES, "--no-cache", "--jobs", "1")
    return CliRunner().invoke(cli, (command, *options, *arguments))


def test_ledger_as_json_has_the_promised_keys() -> None:
    done = run("ledger", "--format", "json", "demo")
    assert done.exit_code == 0
    entries = json.loads(done.stdout)
    assert entries
    assert all(list(entry) == COLUMNS for entry in entries)
    assert {entry["state"] for entry in entries} <= {"proved", "violated", "unproved"}


def test_ledger_as_csv_says_the_same() -> None:
    rows = list(csv.DictReader(io.StringIO(run("ledger", "--format", "csv", "demo").stdout)))
    entries = json.loads(run("ledger", "--format", "json", "demo").stdout)
    assert [row["requirement"] for row in rows] == [entry["requirement"] for entry in entries]


@pytest.mark.parametrize("state", ["proved", "violated"])
def test_ledger_by_state(state: str) -> None:
    everything = json.loads(run("ledger", "--format", "json", "demo").stdout)
    chosen = json.loads(run("ledger", "--state", state, "--format", "json", "demo").stdout)
    assert chosen == [entry for entry in everything if entry["state"] == state]
    assert chosen


def test_ledger_by_lock_and_function() -> None:
    entries = json.loads(run("ledger", "--lock", "mmu_lock", "--format", "json", "demo").stdout)
    assert entries
    assert all(any("mmu_lock" in name for name in entry["lock"]) for entry in entries)
    assert (
        json.loads(run("ledger", "--function", "no_such*", "--format", "json", "demo").stdout) == []
    )


def test_ledger_is_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "ledger.json"
    done = run("ledger", "--format", "json", "-o", str(target), "demo")
    assert done.exit_code == 0
    assert json.loads(target.read_text())


def test_summary_of_the_ledger() -> None:
    lines = run("ledger", "--summary", "demo").stdout.splitlines()
    assert lines[0].split()[:3] == ["proved", "violated", "unproved"]
    assert lines[-1].startswith("all ")


def test_guards_names_the_lock_of_the_writers() -> None:
    done = run(
        "guards", "struct kvm_memory_slot.arch.gfn_track[*][*]", "gfn-track-write/good_write_lock.c"
    )
    assert done.exit_code == 0, done.output
    assert "every write holds" in done.stdout
    assert "mmu_lock (write)" in done.stdout


@pytest.mark.parametrize(
    ("datum", "words"),
    [
        ("gfn_track", "not a datum"),
        ("struct kvm_memory_slot.arch.gfn_trak", "did you mean gfn_track"),
        ("struct kvm_memory_slo.arch", "did you mean kvm_memory_slot"),
    ],
)
def test_guards_of_a_datum_that_is_none(datum: str, words: str) -> None:
    done = run("guards", datum, "gfn-track-write/good_write_lock.c")
    assert done.exit_code == 2
    assert words in done.output


def test_why_tells_what_is_common() -> None:
    done = run("why", "update_gfn_track", "gfn-track-write/good_write_lock.c")
    assert done.exit_code == 0, done.output
    assert "in every one of" in done.stdout
    assert "mmu_lock (write)" in done.stdout


def test_why_of_an_unknown_function() -> None:
    done = run("why", "update_gfn_trak", "gfn-track-write/good_write_lock.c")
    assert done.exit_code == 2
    assert "did you mean update_gfn_track()" in done.output
