"""`lockcheck ledger`: options, what goes to which stream, and the exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from fake_session import FINDING, NOT_PARSED, PROVED, UNPROVED, VIOLATED, Program, report

from lockcheck.errors import LockcheckError
from lockcheck.report import ledger

ENTRIES = (VIOLATED, PROVED, UNPROVED)
JUDGED = msgspec.structs.replace(report((FINDING,)), obligations=ENTRIES)
PARTIAL = msgspec.structs.replace(JUDGED, notices=(NOT_PARSED,), complete=False)


@pytest.fixture(autouse=True)
def judged(program: Program) -> None:
    program.answers(JUDGED)


def test_text_in_a_pipe(program: Program) -> None:
    result = program.run("ledger")
    assert result.exit_code == 0  # a violated obligation is no failure of the listing
    assert result.stdout == ledger.as_text(ENTRIES)
    assert result.stderr == ""


def test_the_run_is_told_what_check_tells_it(program: Program) -> None:
    arguments = ("--build", "o", "--rules", "r.yaml", "-j", "3", "--cache", "c", "lib", "lib/a.c")
    program.run("ledger", *arguments)
    config = program.config
    assert config.tree.build == Path("o")
    assert (config.paths, config.rules) == (("lib", "lib/a.c"), ("r.yaml",))
    assert (config.jobs, config.cache) == (3, "c")
    assert config.command_line == ("lockcheck", "ledger", *arguments)


@pytest.mark.parametrize(
    ("arguments", "entries"),
    [
        (("--state", "unproved"), [UNPROVED]),
        (("--state", "unproved", "--state", "proved"), [PROVED, UNPROVED]),
        (("--file", "lib/a*"), [VIOLATED, PROVED]),
        (("--function", "g"), [UNPROVED]),
        (("--origin", "lock_*"), [PROVED, UNPROVED]),
        (("--lock", "box.lock"), list(ENTRIES)),
        (("--lock", "*lock", "--file", "lib/b.c"), [UNPROVED]),
        (("--lock", "absent"), []),
    ],
)
def test_filters(program: Program, arguments: tuple[str, ...], entries: list[object]) -> None:
    result = program.run("ledger", "--format", "json", *arguments)
    assert result.exit_code == 0
    assert result.stdout == ledger.as_json(entries)  # type: ignore[arg-type]


def test_summary(program: Program) -> None:
    assert program.run("ledger", "--summary").stdout == ledger.summary(ENTRIES)


def test_no_share_of_a_choice_by_state(program: Program) -> None:
    assert "share" in program.run("ledger", "--lock", "box.lock").stdout
    assert "share" not in program.run("ledger", "--state", "unproved").stdout
    assert "share" not in program.run("ledger", "--state", "unproved", "--summary").stdout


def test_an_incomplete_ledger_says_so_beside_the_listing(program: Program) -> None:
    program.answers(PARTIAL)
    result = program.run("ledger", "--format", "json")
    assert result.exit_code == 3
    assert len(json.loads(result.stdout)) == 3
    assert "lib/c.c:1: error: lockcheck: unknown type name [unit-not-parsed]" in result.stderr
    assert "INCOMPLETE" in result.stderr


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_into_a_file(program: Program, form: str) -> None:
    result = program.run("ledger", "--format", form, "-o", "out")
    assert (result.exit_code, result.output) == (0, "")
    render = {"text": ledger.as_text, "json": ledger.as_json, "csv": ledger.as_csv}[form]
    assert Path("out").read_text() == render(ENTRIES)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--state", "open"), "--state"),
        (("--format", "xml"), "--format"),
        (("--summary", "--format", "csv"), "--summary"),
        (("-o", "out.json"), "--format json"),
        (("-o", "out.csv"), "--format csv"),
        (("-o", "absent/out"), "mkdir -p absent"),
    ],
)
def test_usage_errors(program: Program, arguments: tuple[str, ...], word: str) -> None:
    result = program.run("ledger", *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert program.configs == []


def test_cache_and_no_cache(program: Program) -> None:
    assert program.run("ledger", "--cache", "c", "--no-cache").exit_code == 2


def test_an_error_leaves_the_old_file(program: Program) -> None:
    Path("out").write_text("old")
    program.answers(LockcheckError("no such rule", remedy="see `lockcheck rules`"))
    assert program.run("ledger", "-o", "out").exit_code == 2
    assert Path("out").read_text() == "old"
    assert sorted(os.listdir()) == ["linux", "out"]


def test_a_name_that_is_not_utf8(program: Program) -> None:
    place = msgspec.structs.replace(PROVED.location, file="lib/\udcff.c")
    entry = msgspec.structs.replace(PROVED, location=place)
    program.answers(msgspec.structs.replace(JUDGED, obligations=(entry,)))
    for form in ("text", "json", "csv"):
        assert program.run("ledger", "--format", form).exit_code == 0


def test_a_table_on_a_terminal_only(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockcheck.cli_ledger.stdout_draws", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    shown = program.run("ledger").stdout
    assert shown.startswith("state")
    assert "\033" not in shown  # nobody asked whether it has colours: it has none here
    assert program.run("ledger", "--format", "text").stdout == ledger.as_text(ENTRIES)
    program.run("ledger", "-o", "out")
    assert Path("out").read_text() == ledger.as_text(ENTRIES)


def test_help_teaches(program: Program) -> None:
    shown = program.run("ledger", "--help").stdout
    for word in ("--state unproved", "--format json", "An obligation", "Exit status"):
        assert word in shown
