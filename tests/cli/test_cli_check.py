"""`lockcheck check`: what the analysis is told, what is written where, and the exit status."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from fake_session import FINDING, NOT_PARSED, PROVED, SUPPRESSED, Program, report

from lockcheck.errors import LockcheckError
from lockcheck.report import sarif, text

TWO = report((FINDING, SUPPRESSED))


def assert_error(result: Result, status: int, *words: str) -> None:
    """The run ended with `status`, and said why without a stack trace."""
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


class TestExitStatus:
    def test_clean(self, program: Program) -> None:
        assert program.run("check").exit_code == 0

    def test_findings(self, program: Program) -> None:
        program.answers(TWO)
        assert program.run("check").exit_code == 1

    def test_only_suppressed_findings_are_clean(self, program: Program) -> None:
        program.answers(report((SUPPRESSED,)))
        assert program.run("check").exit_code == 0

    def test_incomplete(self, program: Program) -> None:
        program.answers(report(notices=(NOT_PARSED,), complete=False))
        result = program.run("check")
        assert result.exit_code == 3
        assert "unknown type name" in result.stdout

    def test_incomplete_wins_over_findings(self, program: Program) -> None:
        program.answers(report((FINDING,), (NOT_PARSED,), complete=False))
        result = program.run("check")
        assert result.exit_code == 3
        assert FINDING.message in result.stdout

    def test_exit_zero_hides_findings_only(self, program: Program) -> None:
        program.answers(TWO)
        assert program.run("check", "--exit-zero").exit_code == 0
        program.answers(report((FINDING,), (NOT_PARSED,), complete=False))
        assert program.run("check", "--exit-zero").exit_code == 3

    def test_an_error_names_line_and_remedy(self, program: Program) -> None:
        program.answers(
            LockcheckError("unknown key 'kin'", file="my.yaml", line=4, remedy="write 'kind'")
        )
        result = program.run("check")
        assert_error(result, 2)
        assert result.stderr == (
            "lockcheck: error: my.yaml:4: unknown key 'kin'\n  remedy: write 'kind'\n"
        )
        assert result.stdout == ""

    def test_no_tree(self, program: Program) -> None:
        assert_error(program.run("check", "--tree", "absent"), 2, "absent does not exist")

    def test_unknown_option(self, program: Program) -> None:
        assert_error(program.run("check", "--sarif"), 2, "No such option")

    def test_interrupt_is_one_line(self, program: Program) -> None:
        program.answers(KeyboardInterrupt())
        result = program.run("check", "--format", "sarif", "-o", "out.sarif")
        assert_error(result, 130)
        assert result.output == "lockcheck: interrupted\n"
        assert not Path("out.sarif").exists()

    def test_unexpected_error_is_one_line(self, program: Program) -> None:
        program.answers(ValueError("two\nlines"))
        result = program.run("check")
        assert_error(result, 70, "internal error: ValueError: two lines", "please report")
        assert result.stderr.count("\n") == 1

    def test_unexpected_error_with_debug(
        self, program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCKCHECK_DEBUG", "1")
        program.answers(ValueError("odd"))
        result = program.run("check")
        assert result.exit_code == 70
        assert "Traceback" in result.stderr


class TestConfig:
    def test_defaults(self, program: Program) -> None:
        program.run("check")
        config = program.config
        assert config.tree.root == program.root
        assert config.paths == () and config.rules == ()
        assert config.jobs == len(os.sched_getaffinity(0))
        assert config.suppressions is None
        assert config.cache == str(program.directory / "cache" / "lockcheck")
        assert config.command_line == ("lockcheck", "check")

    def test_everything_given(self, program: Program) -> None:
        arguments = (
            *("check", "--tree", "linux", "--build", "o", "--rules", "r.yaml", "--rules", "more"),
            *("-j", "3", "--suppressions", "s.toml", "--cache", "c", "lib/a.c", "lib"),
        )
        program.run(*arguments)
        config = program.config
        assert config.tree.build == Path("o")
        assert config.paths == ("lib/a.c", "lib")
        assert config.rules == ("r.yaml", "more")
        assert (config.jobs, config.suppressions, config.cache) == (3, "s.toml", "c")
        assert config.command_line == ("lockcheck", *arguments)

    def test_no_cache(self, program: Program) -> None:
        program.run("check", "--no-cache")
        assert program.config.cache is None

    def test_cache_and_no_cache(self, program: Program) -> None:
        assert_error(program.run("check", "--cache", "c", "--no-cache"), 2, "exclude each other")

    def test_relative_cache_home_is_ignored(
        self, program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "here")
        monkeypatch.setenv("HOME", str(program.directory))
        program.run("check")
        assert program.config.cache == str(program.directory / ".cache" / "lockcheck")

    @pytest.mark.parametrize("jobs", ["0", "-1", "many"])
    def test_bad_jobs(self, program: Program, jobs: str) -> None:
        assert_error(program.run("check", "--jobs", jobs), 2, "--jobs")

    def test_suppressions_of_the_tree_come_first(self, program: Program) -> None:
        Path("lockcheck.toml").touch()
        (program.root / "lockcheck.toml").touch()
        program.run("check")
        assert program.config.suppressions == str(program.root / "lockcheck.toml")

    def test_suppressions_of_the_current_directory(self, program: Program) -> None:
        Path("lockcheck.toml").touch()
        program.run("check")
        assert program.config.suppressions == "lockcheck.toml"


class TestOutputs:
    @pytest.fixture(autouse=True)
    def findings(self, program: Program) -> None:
        program.answers(TWO)

    def test_text_is_the_default(self, program: Program) -> None:
        assert program.run("check").stdout == text.render(TWO)

    def test_suppressed_findings_on_request(self, program: Program) -> None:
        assert SUPPRESSED.message not in program.run("check").stdout
        assert SUPPRESSED.message in program.run("check", "--show-suppressed").stdout

    def test_sarif_to_standard_output(self, program: Program) -> None:
        result = program.run("check", "--format", "sarif")
        assert sarif.read_findings(result.stdout) == TWO.findings

    def test_sarif_to_a_file_leaves_text(self, program: Program) -> None:
        result = program.run("check", "--format", "sarif", "-o", "out.sarif")
        assert result.stdout == text.render(TWO)
        assert sarif.read_findings(Path("out.sarif").read_text()) == TWO.findings

    def test_sarif_to_a_file_quietly(self, program: Program) -> None:
        result = program.run("check", "--format", "sarif", "-o", "out.sarif", "--quiet")
        assert result.output == ""
        assert json.loads(Path("out.sarif").read_text())["version"] == "2.1.0"

    def test_text_to_a_file(self, program: Program) -> None:
        result = program.run("check", "-o", "out.txt")
        assert result.output == ""
        assert Path("out.txt").read_text() == text.render(TWO)

    def test_the_nth_format_goes_with_the_nth_file(self, program: Program) -> None:
        program.run("check", "-o", "a", "-o", "b", "--format", "sarif", "--format", "text")
        assert sarif.read_findings(Path("a").read_text()) == TWO.findings
        assert Path("b").read_text() == text.render(TWO)

    def test_dash_is_standard_output(self, program: Program) -> None:
        result = program.run(
            *("check", "--format", "text", "-o", "out.txt", "--format", "sarif", "-o", "-")
        )
        assert sarif.read_findings(result.stdout) == TWO.findings
        assert Path("out.txt").read_text() == text.render(TWO)

    def test_pairs_that_do_not_match(self, program: Program) -> None:
        result = program.run("check", "--format", "text", "--format", "sarif", "-o", "x")
        assert_error(result, 2, "2 --format but 1 -o")
        result = program.run("check", "--format", "text", "-o", "x", "-o", "y")
        assert_error(result, 2, "1 --format but 2 -o")
        assert program.configs == []

    @pytest.mark.parametrize("name", ["x.sarif", "x.json"])
    def test_text_under_the_name_of_sarif(self, program: Program, name: str) -> None:
        assert_error(program.run("check", "-o", name), 2, "--format sarif")

    def test_unknown_format(self, program: Program) -> None:
        assert_error(program.run("check", "--format", "xml"), 2, "xml", "sarif, text")

    def test_all_kinds(self, program: Program) -> None:
        program.answers(msgspec.structs.replace(TWO, obligations=(PROVED,)))
        program.run("check", "--format", "sarif", "-o", "plain.sarif", "--quiet")
        program.run("check", "--format", "sarif", "-o", "all.sarif", "--all-kinds", "--quiet")
        assert '"pass"' not in Path("plain.sarif").read_text()
        assert '"pass"' in Path("all.sarif").read_text()
        assert sarif.read_findings(Path("all.sarif").read_text()) == TWO.findings

    def test_all_kinds_of_text(self, program: Program) -> None:
        assert_error(program.run("check", "--all-kinds"), 2, "--format sarif")
        assert program.configs == []

    def test_same_file_twice(self, program: Program) -> None:
        result = program.run("check", "-o", "x", "-o", "./x")
        assert_error(result, 2, "same file")

    def test_unwritable_is_told_before_the_analysis(self, program: Program) -> None:
        result = program.run("check", "--format", "sarif", "-o", "absent/out.sarif")
        assert_error(result, 2, "absent/out.sarif", "mkdir -p absent")
        assert program.configs == []

    def test_old_output_survives_an_interrupt(self, program: Program) -> None:
        Path("out.txt").write_text("old")
        program.answers(KeyboardInterrupt())
        program.run("check", "-o", "out.txt")
        assert Path("out.txt").read_text() == "old"
        assert sorted(os.listdir()) == ["linux", "out.txt"]


class TestColour:
    @pytest.fixture(autouse=True)
    def findings(self, program: Program) -> None:
        program.answers(TWO)

    def test_none_in_a_pipe(self, program: Program) -> None:
        assert "\033" not in program.run("check").stdout

    def test_always(self, program: Program) -> None:
        assert program.run("check", "--colour", "always").stdout == text.render(TWO, colour=True)
        assert "\033" in program.run("check", "--color", "always").stdout

    def test_never_in_a_file(self, program: Program) -> None:
        program.run("check", "--colour", "always", "-o", "out.txt")
        assert "\033" not in Path("out.txt").read_text()
