"""`order` on the fixture tree, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockcheck.cli import cli

FIXTURES = str(Path(__file__).parents[2] / "fixtures")
INVERTED = "lock-inversion/bad_two_mutexes.c"
STRAIGHT = "lock-inversion/good_one_order.c"
GRACE = "lock-inversion/bad_srcu.c"


def order(*arguments: str) -> Result:
    options = ("--tree", FIXTURES, "--no-cache", "--jobs", "1")
    return CliRunner().invoke(cli, ("order", *options, *arguments))


def test_text_names_each_pair_and_the_circle() -> None:
    done = order(INVERTED)

    assert done.exit_code == 0
    assert "store.list_lock\n  > store.data_lock" in done.stdout
    assert "store.data_lock\n  > store.list_lock" in done.stdout
    assert "in circles: store.data_lock, store.list_lock" in done.stdout


def test_json_has_the_promised_keys() -> None:
    answer = json.loads(order("--format", "json", STRAIGHT).stdout)

    (nesting,) = answer["nestings"]
    assert (nesting["outer"], nesting["inner"]) == ("store.list_lock", "store.data_lock")
    assert nesting["places"] == 2
    assert nesting["location"]["file"] == STRAIGHT
    assert answer["cycles"] == []


def test_dot_marks_circles_and_grace_periods() -> None:
    lines = order("--format", "dot", INVERTED).stdout.splitlines()
    assert lines[0] == "digraph locks {"
    assert lines[-1] == "}"
    assert '  "store.data_lock" -> "store.list_lock" [label="1", color=red];' in lines

    waits = order("--format", "dot", GRACE).stdout
    assert '"store.list_lock" -> "store.srcu" [label="1", style=dashed, color=red];' in waits


def test_mermaid() -> None:
    lines = order("--format", "mermaid", INVERTED).stdout.splitlines()

    assert lines[0] == "flowchart LR"
    assert '  n0["store.data_lock"]' in lines
    assert "  n0 --> n1" in lines
    assert lines[-1] == "  linkStyle 0,1 stroke:red"


def test_only_circles() -> None:
    assert order("--cycles", STRAIGHT).stdout == "no locks nest in the units read\n"
    assert "in circles" in order("--cycles", INVERTED).stdout


@pytest.mark.parametrize("name", ["store.list_lock", "struct store.list_lock"])
def test_only_one_lock(name: str) -> None:
    assert "store.data_lock" in order("--lock", name, STRAIGHT).stdout


def test_a_lock_that_does_not_nest_is_told() -> None:
    done = order("--lock", "store.list_lok", STRAIGHT)

    assert done.exit_code == 2
    assert "did you mean store.list_lock" in done.output
