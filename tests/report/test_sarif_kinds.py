"""SARIF with all kinds of results: what is proved passes, what is not decided is open."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from lockcheck.findings.model import Outcome, Report
from lockcheck.report import sarif

replace = msgspec.structs.replace


def run_of(report: Report) -> dict[str, Any]:
    (run,) = json.loads(sarif.render(report, all_kinds=True))["runs"]
    return run


def beside_findings(report: Report) -> list[dict[str, Any]]:
    return [result for result in run_of(report)["results"] if result["kind"] != "fail"]


def fingerprints(report: Report) -> dict[int, str]:
    """The fingerprint of every obligation, by its line."""
    return {
        result["locations"][0]["physicalLocation"]["region"]["startLine"]: mark
        for result in beside_findings(report)
        for mark in result["partialFingerprints"].values()
    }


def test_only_findings_unless_asked(judged: Report, report: Report) -> None:
    assert sarif.render(judged) == sarif.render(report)
    (run,) = json.loads(sarif.render(judged))["runs"]
    assert {result["kind"] for result in run["results"]} == {"fail"}


def test_proved_passes_and_unproved_is_open(judged: Report) -> None:
    results = beside_findings(judged)
    assert [result["kind"] for result in results] == ["pass", "pass", "open", "open"]
    assert {result["level"] for result in results} == {"none"}


def test_the_findings_stay_as_they_are(judged: Report, report: Report) -> None:
    (plain,) = json.loads(sarif.render(report))["runs"]
    fails = [result for result in run_of(judged)["results"] if result["kind"] == "fail"]
    strip = [{k: v for k, v in r.items() if k != "ruleIndex"} for r in plain["results"]]
    assert [{k: v for k, v in r.items() if k != "ruleIndex"} for r in fails] == strip


def test_every_result_names_a_rule_that_is_there(judged: Report) -> None:
    """The fixture has no rule `lock-assertion`: a stand-in takes its place."""
    run = run_of(judged)
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert "lock-assertion" in rules
    assert all(rules[r["ruleIndex"]] == r["ruleId"] for r in run["results"])


def test_the_message_has_requirement_and_reason_and_no_false_link(judged: Report) -> None:
    texts = [result["message"]["text"] for result in beside_findings(judged)]
    assert "walk of info->ptable needs kvm->mmu_lock held: held in every context" in texts[0]
    assert "ops[i\\](x) held or q->lock held: nobody in the units read calls it" in texts[2]
    assert "ops[i\\](x) is not resolved" in texts[3]


def test_fingerprints_are_unique_and_do_not_hang_on_lines(judged: Report) -> None:
    before = fingerprints(judged)
    assert len(set(before.values())) == len(before) == 4
    moved = tuple(
        replace(entry, location=replace(entry.location, line=entry.location.line + 100))
        for entry in judged.obligations
    )
    after = fingerprints(replace(judged, obligations=moved))
    assert after == {line + 100: mark for line, mark in before.items()}


def test_a_mended_violation_leaves_the_other_fingerprints(judged: Report) -> None:
    before = fingerprints(judged)
    mended = tuple(replace(entry, outcome=Outcome.PROVED) for entry in judged.obligations)
    after = fingerprints(replace(judged, obligations=mended))
    assert {line: after[line] for line in before} == before


def test_reading_takes_only_findings(judged: Report) -> None:
    assert sarif.read_findings(sarif.render(judged, all_kinds=True)) == judged.findings
