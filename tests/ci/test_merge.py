"""Several configurations in one report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from reports import entry, finding, report

from lockcheck.cli import cli
from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.merge import configuration_names, merge
from lockcheck.findings.model import LedgerCount, Outcome
from lockcheck.report import sarif, text
from lockcheck.report.sarif_read import read_findings

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_a_finding_says_where_it_was_found() -> None:
    merged = merge(
        [("gcc", report(finding("a"), finding("b", 2))), ("clang", report(finding("a")))]
    )
    assert [(f.fingerprint, f.configurations) for f in merged.findings] == [
        ("a", ("gcc", "clang")),
        ("b", ("gcc",)),
    ]
    assert merged.units == 6 and merged.configurations == ("gcc", "clang")
    shown = text.render(merged)
    assert "lib/a.c:1:2: note: found in gcc, clang" in shown
    assert "6 units read in 2 configurations" in shown


def test_the_same_function_in_two_files_is_two() -> None:
    merged = merge([("a", report(finding("x"))), ("b", report(finding("x", file="lib/b.c")))])
    assert [f.configurations for f in merged.findings] == [("a",), ("b",)]


def test_two_of_a_kind_stay_two() -> None:
    one = report(finding("x"), finding("x", 2))
    merged = merge([("a", one), ("b", one)])
    assert [f.configurations for f in merged.findings] == [("a", "b"), ("a", "b")]


def test_sarif_says_it_and_is_read_back() -> None:
    merged = merge([("a", report(finding("x"))), ("b", report())])
    log = json.loads(sarif.render(merged))["runs"][0]
    assert log["properties"]["configurations"] == ["a", "b"]
    assert log["results"][0]["properties"] == {"configurations": ["a"]}
    assert read_findings(json.dumps({"version": "2.1.0", "runs": [log]})) == merged.findings


def test_an_obligation_ends_as_in_the_worst_configuration() -> None:
    counts = (LedgerCount("lock_is_held", 1, 0, 0), LedgerCount("idle-rule", 0, 0, 0))
    first = report(obligations=(entry(1, Outcome.PROVED), entry(5, Outcome.PROVED)), ledger=counts)
    second = report(obligations=(entry(1, Outcome.UNPROVED),), ledger=counts[:1])
    merged = merge([("a", first), ("b", second)])
    assert [e.outcome for e in merged.obligations] == [Outcome.UNPROVED, Outcome.PROVED]
    assert merged.ledger == (
        LedgerCount("lock_is_held", 1, 0, 1),
        LedgerCount("idle-rule", 0, 0, 0),
    )


def test_notices_name_their_configuration() -> None:
    both = Notice(Severity.NOTE, "x", "in both")
    one = Notice(Severity.ERROR, "unit-not-parsed", "not read", "lib/a.c")
    unused = Notice(Severity.NOTE, "unused-suppression", "matches nothing")
    merged = merge(
        [
            ("a", report(notices=(both, one, unused), complete=False)),
            ("b", report(notices=(both,))),
        ]
    )
    assert [n.message for n in merged.notices] == ["in both", "a: not read"]
    assert not merged.complete


def test_names_are_short_and_tell_apart(tmp_path: Path) -> None:
    a, b = Path("x/gcc"), Path("y/clang")
    assert configuration_names([a, b]) == ("gcc", "clang")
    assert configuration_names([Path("x/b"), Path("y/b")]) == ("x/b", "y/b")
    with pytest.raises(LockcheckError, match="named twice"):
        configuration_names([a, Path("x/../x/gcc")])


def test_the_command(tmp_path: Path) -> None:
    """Two copies of the fixture tree's configuration, one of which builds less."""
    builds = []
    for name in ("small", "large"):
        build = tmp_path / name
        shutil.copytree(FIXTURES / "include", build / "include")
        shutil.copy(FIXTURES / ".config", build)
        words = json.loads((FIXTURES / "compile_commands.json").read_text())
        chosen = [w for w in words if w["file"].startswith("demo/")]
        if name == "small":
            chosen = [w for w in chosen if w["file"] != "demo/x86.c"]
        for command in chosen:
            command["directory"] = str(FIXTURES)
        (build / "compile_commands.json").write_text(json.dumps(chosen))
        builds.append(build)
    out = tmp_path / "out.sarif"
    options = [word for build in builds for word in ("--build", str(build))]
    result = CliRunner().invoke(
        cli,
        f"check --tree {FIXTURES} --no-cache -j 1 --format sarif -o {out} demo".split() + options,
    )
    assert result.exit_code == 1, result.output
    assert "5 units read in 2 configurations" in result.output
    where = [f.configurations for f in read_findings(out.read_text())]
    assert ("large",) in where and ("small", "large") in where


@pytest.mark.parametrize("names", [("a", "a"), ("a", "none"), ("a", "")])
def test_builds_that_are_none(names: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    options = [word for name in names for word in ("--build", str(tmp_path / name) if name else "")]
    result = CliRunner().invoke(cli, ["check", "--tree", str(FIXTURES), *options, "demo"])
    assert result.exit_code == 2 and "Traceback" not in result.output
