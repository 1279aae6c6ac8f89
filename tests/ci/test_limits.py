"""SARIF within GitHub's limits: what is cut, what is kept, and that it is told."""

from __future__ import annotations

import gzip
import json
from typing import Any

import msgspec
import pytest
from reports import entry, finding, report, rule

from lockcheck.findings.model import BaselineState, Level, Outcome
from lockcheck.report import limits, sarif
from lockcheck.report.limits import Limits, fit

SMALL = Limits(results=4, flow_steps=6, locations=3, tags=10, compressed_bytes=1 << 20)


def run_of(text: str) -> Any:
    (run,) = json.loads(text)["runs"]
    return run


def test_what_fits_is_left_alone() -> None:
    whole = report(finding("a", steps=6, related=2), rules=(rule("CWE-667"),))
    fitted = fit(whole, limits=SMALL)
    assert fitted.text == sarif.render(whole) and fitted.notices == ()


def test_results_are_kept_by_their_weight() -> None:
    old = msgspec.structs.replace(finding("old", 2), baseline=BaselineState.UNCHANGED)
    found = (
        finding("suppressed", 1, suppressed=True),
        old,
        finding("note", 3, level=Level.NOTE),
        finding("warning", 4, level=Level.WARNING),
        finding("error", 5),
        finding("error2", 6),
    )
    fitted = fit(report(*found), limits=SMALL)
    run = run_of(fitted.text)
    assert [r["partialFingerprints"]["lockcheck/v1"] for r in run["results"]] == [
        "note",
        "warning",
        "error",
        "error2",
    ]
    (notice,) = fitted.notices
    assert "2 of 6 results were left out" in notice.message
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["descriptor"]["id"] == "sarif-cut"
    assert run["invocations"][0]["executionSuccessful"]


def test_proved_obligations_go_first() -> None:
    entries = tuple(
        entry(line, Outcome.PROVED if line % 2 else Outcome.UNPROVED) for line in range(1, 9)
    )
    fitted = fit(report(finding("a"), obligations=entries), all_kinds=True, limits=SMALL)
    kinds = [result["kind"] for result in run_of(fitted.text)["results"]]
    assert kinds == ["fail", "open", "open", "open"]
    assert "5 of 9 results" in fitted.notices[0].message
    assert fit(report(finding("a"), obligations=entries), limits=SMALL).notices == ()


def test_the_ends_of_a_chain_are_kept() -> None:
    fitted = fit(report(finding("a", steps=20, related=9)), limits=SMALL)
    (result,) = run_of(fitted.text)["results"]
    steps = result["codeFlows"][0]["threadFlows"][0]["locations"]
    words = [step["location"]["message"]["text"] for step in steps]
    assert len(words) == 6 and words[3] == "15 steps are left out"
    assert len(result["relatedLocations"]) + len(result["locations"]) == 3
    assert "of 1 results the middle" in fitted.notices[0].message


def test_rules_have_few_tags() -> None:
    weaknesses = tuple(f"CWE-{number}" for number in range(660, 680))
    fitted = fit(report(finding("a"), rules=(rule(*weaknesses),)), limits=SMALL)
    (told,) = run_of(fitted.text)["tool"]["driver"]["rules"]
    assert len(told["properties"]["tags"]) == 10
    assert "some-rule" in fitted.notices[0].message


def test_the_size_is_that_of_the_packed_file() -> None:
    found = [finding(f"{number:032x}", number, steps=3) for number in range(1, 200)]
    tight = Limits(compressed_bytes=4_000)
    fitted = fit(report(*found), limits=tight)
    assert len(gzip.compress(fitted.text.encode())) <= 4_000
    assert len(run_of(fitted.text)["results"]) > 10
    assert "results were left out" in fitted.notices[0].message


def test_what_cannot_be_made_small_enough_ends_all_the_same() -> None:
    fitted = fit(report(finding("a")), limits=Limits(compressed_bytes=10))
    assert run_of(fitted.text)["results"] == []
    assert "1 of 1 results" in fitted.notices[0].message


def test_what_is_gone_is_not_shown() -> None:
    whole = msgspec.structs.replace(report(finding("a")), absent=(finding("b"),))
    assert len(run_of(limits.render(whole))["results"]) == 1


@pytest.mark.parametrize("number", [5_001, 12_000])
def test_the_real_figures(number: int) -> None:
    fitted = fit(report(*(finding(f"{n:032x}", n) for n in range(number))))
    assert len(run_of(fitted.text)["results"]) == 5_000
