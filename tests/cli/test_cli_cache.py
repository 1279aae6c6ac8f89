"""`cache`: what is kept between runs, and clearing it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockcheck import __version__
from lockcheck.cli import cli
from lockcheck.facts.known import Known, KnownUnit

FIXTURES = Path(__file__).parents[2] / "fixtures"


def run(*arguments: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=answer)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    done = run("check", "--tree", FIXTURES, "--cache", cache, "--jobs", 1, "demo")
    assert done.exit_code in (0, 1)
    return cache


def test_it_shows_what_is_kept(filled: Path) -> None:
    shown = run("cache", "--cache", filled)

    assert shown.exit_code == 0
    assert str(filled) in shown.stdout
    assert f"{FIXTURES}: " in shown.stdout
    assert "units of 1 tree" in shown.stdout
    assert __version__ in shown.stdout
    assert "last used 20" in shown.stdout
    assert run("cache", "show", "--cache", filled).stdout == shown.stdout


def test_it_clears_after_a_question(filled: Path) -> None:
    before = run("cache", "--cache", filled).stdout
    refused = run("cache", "clear", "--cache", filled, answer="n\n")
    assert refused.exit_code == 1
    assert run("cache", "--cache", filled).stdout == before

    assert run("cache", "clear", "--cache", filled, answer="y\n").exit_code == 0
    assert "0 units of 0 trees" in run("cache", "--cache", filled).stdout


def test_it_clears_without_a_question(filled: Path) -> None:
    done = run("cache", "--cache", filled, "clear", "--yes")

    assert done.exit_code == 0
    assert "cleared" in done.stdout
    assert "0 units of 0 trees" in run("cache", "--cache", filled).stdout


def test_a_damaged_file_is_told_and_cleared(filled: Path) -> None:
    (file,) = filled.glob("facts-*.sqlite")
    file.write_bytes(b"no database" * 1000)
    shown = run("cache", "--cache", filled)

    assert shown.exit_code == 0
    assert "was damaged" in shown.stderr
    assert "0 units of 0 trees" in shown.stdout
    assert run("cache", "--cache", filled).stderr == ""


def test_no_cache_yet(tmp_path: Path) -> None:
    assert "not there yet" in run("cache", "--cache", tmp_path / "none").stdout
    assert "nothing to clear" in run("cache", "clear", "--cache", tmp_path / "none").stdout
    assert not (tmp_path / "none").exists()


def test_a_directory_that_is_no_cache_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    assert "nothing is kept there" in run("cache", "--cache", tmp_path).stdout
    done = run("cache", "clear", "--yes", "--cache", tmp_path)
    assert (done.exit_code, "nothing to clear" in done.stdout) == (0, True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes"]


def test_the_place_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert run("cache", "path").stdout == f"{tmp_path}/lockcheck\n"
    assert run("cache", "path", "--cache", "here").stdout == "here\n"


def test_a_directory_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file/facts-8.sqlite").mkdir()
    done = run("cache", "--cache", tmp_path / "file")

    assert done.exit_code == 2
    assert "cannot be read or written" in done.stderr
    assert "--cache DIR" in done.stderr


def test_clear_forgets_how_units_are_compiled(filled: Path) -> None:
    known = Known(filled)
    known.remember("tree", [KnownUnit("a.c", "/src", ("-c",))])
    known.close()
    assert run("cache", "clear", "--yes", "--cache", filled).exit_code == 0

    known = Known(filled)
    assert known.units("tree") == ()
    known.close()
