"""Baselines: what is new, what is gone, and files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from reports import finding, report

from lockcheck.cli import cli
from lockcheck.findings.baseline import compare
from lockcheck.findings.model import BaselineState, Report

FIXTURES = Path(__file__).parents[2] / "fixtures"


def states(result: Report) -> list[tuple[str, str | None]]:
    return [(f.fingerprint, f.baseline) for f in (*result.findings, *(result.absent or ()))]


def test_new_unchanged_and_absent() -> None:
    result = compare(report(finding("a", 70), finding("c")), [finding("a", 7), finding("b")])
    assert states(result) == [
        ("a", BaselineState.UNCHANGED),
        ("c", BaselineState.NEW),
        ("b", BaselineState.ABSENT),
    ]


def test_as_many_as_the_baseline_has_are_old() -> None:
    result = compare(report(finding("a"), finding("a", 9)), [finding("a")])
    assert [state for _, state in states(result)] == [BaselineState.UNCHANGED, BaselineState.NEW]


def test_a_suppression_that_has_ended_makes_its_finding_new() -> None:
    result = compare(report(finding("a")), [finding("a", suppressed=True)])
    assert states(result) == [("a", BaselineState.NEW)]
    assert result.findings[0].counts


def test_a_suppressed_finding_never_counts() -> None:
    (found,) = compare(report(finding("a", suppressed=True)), []).findings
    assert found.baseline is BaselineState.NEW and not found.counts


# -- the commands, on the fixture tree -------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    command, *rest = map(str, arguments)
    options = (command, "--tree", str(FIXTURES), "--no-cache", "-j", "1", *rest)
    return CliRunner().invoke(cli, options, prog_name="lockcheck")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline of the demo."""
    path = tmp_path_factory.mktemp("baseline") / "base.sarif"
    result = run("baseline", "-o", path, "demo")
    assert result.exit_code == 0, result.output
    return path


def altered(base: Path, change: Callable[[Any], object]) -> Path:
    log = json.loads(base.read_text())
    change(log["runs"][0])
    path = base.parent / "altered.sarif"
    path.write_text(json.dumps(log))
    return path


def test_nothing_is_new_against_the_own_baseline(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.sarif"
    result = run("check", "--baseline", base, "--format", "sarif", "-o", out, "demo")
    assert result.exit_code == 0
    assert "0 new findings, " in result.output and ": error:" not in result.output
    results = json.loads(out.read_text())["runs"][0]["results"]
    assert {r["baselineState"] for r in results} == {"unchanged"} and results


def test_what_is_new_is_printed_and_counts(base: Path) -> None:
    smaller = altered(base, lambda log: log["results"].pop(0))
    gone = json.loads(base.read_text())["runs"][0]["results"][0]["ruleId"]
    result = run("check", "--baseline", smaller, "demo")
    assert result.exit_code == 1
    (line,) = [text for text in result.output.splitlines() if ": error:" in text]
    assert line.endswith(f"[{gone}]")
    assert "1 new finding, " in result.output


def test_what_is_gone_is_in_the_log_and_no_part_of_the_next_baseline(
    base: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.sarif", tmp_path / "2.sarif"
    run("check", "--baseline", base, "--format", "sarif", "-o", first, "demo/page_track.c")
    results = json.loads(first.read_text())["runs"][0]["results"]
    assert "absent" in {r["baselineState"] for r in results}
    again = run("check", "--baseline", first, "--format", "sarif", "-o", second, "demo")
    assert again.exit_code == 1


def test_a_baseline_of_an_incomplete_run_is_told(base: Path) -> None:
    def fail(log: Any) -> None:
        log["invocations"][0]["executionSuccessful"] = False

    result = run("check", "--baseline", altered(base, fail), "demo")
    assert "[baseline-incomplete]" in result.output and result.exit_code == 0


def other_scheme(log: Any) -> None:
    for result in log["results"]:
        result["partialFingerprints"] = {"lockcheck/v0": "0" * 32}


def no_fingerprints(log: Any) -> None:
    for result in log["results"]:
        del result["partialFingerprints"]


def other_tool(log: Any) -> None:
    log["tool"]["driver"]["name"] = "smatch"


BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda base: base.parent / "none.sarif", "No such file"),
    "directory": (lambda base: base.parent, "Is a directory"),
    "empty": (lambda base: written(base, b""), "cannot read this as SARIF"),
    "truncated": (lambda base: written(base, base.read_bytes()[:-500]), "truncated"),
    "no JSON": (lambda base: written(base, b"warning: x\n"), "malformed"),
    "nests": (lambda base: written(base, b'{"version":"2.1.0","runs":' + b"[" * 99999), "deeply"),
    "dangling": (lambda base: linked(base, "none"), "No such file"),
    "a loop": (lambda base: linked(base, "link.sarif"), "Too many levels"),
    "no UTF-8": (lambda base: written(base, b'{"version": "\xff"}'), "cannot read this as SARIF"),
    "a list": (lambda base: written(base, b"[]"), "Expected `object`"),
    "other version": (
        lambda base: written(base, b'{"version": "2.0.0", "runs": []}'),
        "its version is 2.0.0",
    ),
    "no run": (lambda base: written(base, b'{"version": "2.1.0", "runs": []}'), "no run of"),
    "other tool": (lambda base: altered(base, other_tool), "no run of lockcheck"),
    "other fingerprints": (lambda base: altered(base, other_scheme), "lockcheck/v0"),
    "no fingerprints": (lambda base: altered(base, no_fingerprints), "partialFingerprints"),
}


def written(base: Path, content: bytes) -> Path:
    path = base.parent / "bad.sarif"
    path.write_bytes(content)
    return path


def linked(base: Path, target: str) -> Path:
    path = base.parent / "link.sarif"
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    return path


def test_a_baseline_without_end(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockcheck.cli_baseline._MAX_BYTES", 1 << 20)
    result = run("check", "--baseline", "/dev/zero", "demo")
    assert result.exit_code == 2 and "File too large" in result.output


@pytest.mark.parametrize("case", BAD_FILES)
def test_what_is_no_baseline(case: str, base: Path, tmp_path: Path) -> None:
    make, words = BAD_FILES[case]
    path = make(base)
    out = tmp_path / "out.sarif"
    result = run("check", "--baseline", path, "--format", "sarif", "-o", out, "demo")
    assert result.exit_code == 2
    assert words in result.output and str(path) in result.output and "remedy:" in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--baseline", "", "demo"), "the name is empty"),
        (("--baseline", "b.sarif", "--all-kinds", "--format", "sarif", "demo"), "exclude each"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], words: str) -> None:
    result = run("check", *arguments)
    assert result.exit_code == 2 and words in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("-o", "", "demo"),
        ("-o", "/nowhere/at/all.sarif", "demo"),
        ("-o", "/dev", "demo"),
        ("nothing-here",),
        ("",),
        ("--suppressions", "none.toml", "demo"),
        ("--rules", "none.yaml", "demo"),
        ("--build", "none", "demo"),
        ("--tree", "/", "demo"),
        ("--nonsense", "demo"),
    ],
)
def test_the_command_refuses(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("baseline", *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output and len(result.output.splitlines()) >= 2
    assert list(tmp_path.iterdir()) == []
