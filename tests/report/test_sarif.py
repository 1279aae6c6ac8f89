"""SARIF output: valid, complete, without this machine's paths, and readable back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.model import (
    Finding,
    Level,
    Location,
    Report,
    RuleInfo,
    Step,
    StepKind,
    Suppression,
    TreeInfo,
)
from lockcheck.report import sarif

replace = msgspec.structs.replace


def run_of(report: Report) -> dict[str, Any]:
    log = json.loads(sarif.render(report))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    return run


def objects(value: Any, key: str) -> list[Any]:
    """Every value under `key`, anywhere in the log."""
    found = []
    if isinstance(value, dict):
        for name, item in value.items():
            if name == key:
                found.append(item)
            found.extend(objects(item, key))
    elif isinstance(value, list):
        for item in value:
            found.extend(objects(item, key))
    return found


def test_level_is_written_even_where_it_is_the_default(report: Report) -> None:
    run = run_of(report)
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    levels = [rule["defaultConfiguration"]["level"] for rule in run["tool"]["driver"]["rules"]]
    assert levels == ["error", "warning"]
    notifications = run["invocations"][0]["toolExecutionNotifications"]
    assert [notification["level"] for notification in notifications] == ["error", "warning"]


def test_a_result_names_rule_place_and_fingerprint(report: Report) -> None:
    run = run_of(report)
    result = run["results"][1]
    assert result["ruleId"] == "gvt-protect-table"
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "gvt-protect-table"
    assert result["kind"] == "fail"
    assert result["message"]["text"] == (
        "kvmgt_page_track_write() reads the write-protect hash table without kvm->mmu_lock "
        "(see: [changed here under kvm->mmu_lock](1))"
    )
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "drivers/gpu/drm/i915/gvt/kvmgt.c", "uriBaseId": "SRCROOT"},
        "region": {"startLine": 1625, "startColumn": 6},
    }
    assert result["partialFingerprints"] == {"lockcheck/v1": report.findings[1].fingerprint}
    assert [related["id"] for related in result["relatedLocations"]] == [1]


def test_every_location_names_its_function(report: Report) -> None:
    run = run_of(report)
    physical = objects(run, "physicalLocation")
    logical = objects(run["results"], "logicalLocations") + objects(
        run["invocations"], "logicalLocations"
    )
    assert len(physical) == len(logical) == 10
    (step,) = run["results"][1]["locations"]
    assert step["logicalLocations"] == [
        {
            "name": "kvmgt_page_track_write",
            "fullyQualifiedName": "drivers/gpu/drm/i915/gvt/kvmgt.c:kvmgt_page_track_write",
            "kind": "function",
        }
    ]


def test_the_chain_is_an_inline_code_flow(report: Report) -> None:
    (code_flow,) = run_of(report)["results"][1]["codeFlows"]
    steps = code_flow["threadFlows"][0]["locations"]
    assert [step["executionOrder"] for step in steps] == [1, 2, 3, 4, 5]
    assert [step["nestingLevel"] for step in steps] == [1, 1, 2, 2, 3]
    assert [step["kinds"][0] for step in steps] == ["enter", "call", "acquire", "call", "memory"]
    assert steps[0]["importance"] == steps[-1]["importance"] == "essential"
    assert {step["importance"] for step in steps[1:-1]} == {"important"}
    assert all(step["location"]["message"]["text"] for step in steps)


def test_a_suppressed_finding_is_in_it_with_its_reason(report: Report) -> None:
    (suppression,) = run_of(report)["results"][0]["suppressions"]
    assert suppression["kind"] == "external"
    assert suppression["status"] == "accepted"
    assert suppression["justification"] == "the slot is not visible to others yet"
    place = suppression["location"]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "lockcheck.toml"
    assert place["region"] == {"startLine": 3}


def test_an_incomplete_run_is_no_success_and_says_why(report: Report) -> None:
    (invocation,) = run_of(report)["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["startTimeUtc"] == "2026-01-02T03:04:05Z"
    notification = invocation["toolExecutionNotifications"][0]
    assert notification["descriptor"] == {"id": "unit-not-parsed"}
    assert notification["message"]["text"] == (
        "unknown type name 'u46'. Remedy: mend the error, or leave the file out."
    )
    place = notification["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "arch/x86/kvm/vmx/vmx.c"
    assert place["region"] == {"startLine": 12}


def test_a_rule_explains_itself_and_refers_to_its_weaknesses(report: Report) -> None:
    run = run_of(report)
    rule = run["tool"]["driver"]["rules"][1]
    assert rule["name"] == "GvtProtectTable"
    assert "kvmgt_protect_table_add() and _del()" in rule["fullDescription"]["text"]
    assert "```c\nwrite_lock(&kvm->mmu_lock);" in rule["help"]["markdown"]
    assert "Bad:\n\n    if (kvmgt_gfn" in rule["help"]["text"]
    assert [link["target"]["id"] for link in rule["relationships"]] == ["667", "416"]
    assert "security-severity" in rule["properties"]
    (taxonomy,) = run["taxonomies"]
    assert [taxon["id"] for taxon in taxonomy["taxa"]] == ["416", "667"]
    (supported,) = run["tool"]["driver"]["supportedTaxonomies"]
    assert supported == {"name": "CWE", "guid": taxonomy["guid"]}


def test_a_finding_of_a_rule_that_is_not_listed_still_has_a_rule(report: Report) -> None:
    run = run_of(replace(report, rules=()))
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [
        "gfn-track-write",
        "gvt-protect-table",
    ]
    assert "taxonomies" not in run


def test_a_weakness_in_the_wrong_form_is_refused(report: Report) -> None:
    rule = replace(report.rules[0], cwe=("667",))
    with pytest.raises(LockcheckError, match="'667'"):
        sarif.render(replace(report, rules=(rule,)))


def test_revision_with_and_without_a_remote(report: Report) -> None:
    (provenance,) = run_of(report)["versionControlProvenance"]
    assert provenance["repositoryUri"] == "https://git.example.org/linux.git"
    assert provenance["revisionId"] == report.tree.git_revision
    assert provenance["mappedTo"] == {"uriBaseId": "SRCROOT"}
    run = run_of(replace(report, tree=replace(report.tree, git_remote=None)))
    assert "versionControlProvenance" not in run
    assert run["properties"]["tree"]["revision"] == report.tree.git_revision


def test_the_directory_of_the_tree_is_nowhere_in_it(report: Report) -> None:
    root = "/home/somebody/linux"
    finding = report.findings[1]
    here = replace(finding.location, file=f"{root}/{finding.location.file}")
    moved = replace(
        report,
        findings=(replace(finding, location=here),),
        tree=replace(report.tree, root=root),
        command_line=("/home/somebody/venv/bin/lockcheck", "check"),
    )
    rendered = sarif.render(moved)
    assert "somebody" not in rendered
    assert sarif.read_findings(rendered) == (finding,)


def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert sarif.render(again) == sarif.render(report)


def test_names_and_words_of_any_script_survive(report: Report) -> None:
    notice = Notice(Severity.NOTE, "odd", "name \udcff")
    finding = replace(report.findings[1], location=Location("a dir/caf\u00e9\udcff%.c", 1, 1, "f"))
    rendered = sarif.render(
        replace(report, findings=(finding,), notices=(notice,), command_line=("l", "\udcff"))
    )
    assert rendered.isascii()
    assert "a%20dir/caf%C3%A9%FF%25.c" in rendered
    assert sarif.read_findings(rendered) == (finding,)


def test_sarif_tools_reads_it(report: Report, tmp_path: Path) -> None:
    loader = pytest.importorskip("sarif.loader")
    path = tmp_path / "out.sarif"
    path.write_text(sarif.render(report))
    files = loader.load_sarif_file(str(path))
    assert files.get_result_count() == 2
    assert [record["Severity"] for record in files.get_records()] == ["error", "warning"]


def test_sarif_tools_tells_two_runs_apart(report: Report, tmp_path: Path) -> None:
    """`sarif diff`, the program: what the second run brings, and what it has no more."""
    pytest.importorskip("sarif.loader")
    for name, findings in (("old", report.findings[1:]), ("new", report.findings[:1])):
        (tmp_path / f"{name}.sarif").write_text(sarif.render(replace(report, findings=findings)))
    done = subprocess.run(
        [sys.executable, "-m", "sarif", "diff", "-o", "diff.json", "old.sarif", "new.sarif"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "diff.json").read_text())
    counts = {level: (told[level]["+"], told[level]["-"]) for level in ("error", "warning")}
    assert counts == {"error": (1, 0), "warning": (0, 1)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "truncated"),
        ("{}", "version"),
        ('{"version": "2.0.0", "runs": []}', "2.0.0"),
        ('{"version": "2.1.0", "runs": []}', "no run of lockcheck"),
        ('{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "other"}}}]}', "no run"),
        (
            '{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "lockcheck"}}, '
            '"results": [{"ruleId": "x"}]}]}',
            "level",
        ),
    ],
)
def test_reading_what_is_not_ours_is_one_clear_error(text: str, why: str) -> None:
    with pytest.raises(LockcheckError, match=why) as caught:
        sarif.read_findings(text, file="old.sarif")
    assert caught.value.file == "old.sarif"
    assert caught.value.remedy


WORDS = st.text(st.characters(codec="utf-8"), max_size=20)
LINKLIKE = st.sampled_from(["ops[i](x)", "a\\](b)", "[x](1)", " (see: [here](1))", "{0}"])
MESSAGES = WORDS | LINKLIKE | st.builds("{}{}".format, LINKLIKE, WORDS)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
FILES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=3,
).map("/".join)
LOCATIONS = st.builds(
    Location,
    file=FILES,
    line=st.integers(1, 10**6),
    column=st.integers(1, 10**4),
    function=st.just("") | NAMES,
)
STEPS = st.builds(
    Step,
    kind=st.sampled_from(StepKind),
    location=LOCATIONS,
    message=MESSAGES,
    nesting=st.integers(0, 30),
)
SUPPRESSIONS = st.builds(
    Suppression,
    rule=NAMES,
    function=NAMES,
    reason=WORDS,
    file=FILES,
    line=st.integers(1, 999),
    expires=st.none() | st.dates().map(str),
)
FINDINGS = st.builds(
    Finding,
    rule_id=NAMES,
    level=st.sampled_from(Level),
    message=MESSAGES,
    location=LOCATIONS,
    chain=st.lists(STEPS, max_size=4).map(tuple),
    related=st.lists(STEPS, max_size=3).map(tuple),
    fingerprint=st.text("0123456789abcdef", min_size=32, max_size=32),
    suppression=st.none() | SUPPRESSIONS,
)


def report_of(findings: list[Finding]) -> Report:
    return Report(
        findings=tuple(findings),
        notices=(),
        rules=(RuleInfo("a", "b", "c", "", "", Level.ERROR, ("CWE-667",), "rules/a.yaml"),),
        tree=TreeInfo("/src/linux", "6.1.192", None, None),
        ledger=(),
        units=1,
        command_line=("lockcheck",),
        started="2026-01-02T03:04:05Z",
        ended="2026-01-02T03:04:06Z",
        complete=True,
    )


@settings(deadline=None)
@given(st.lists(FINDINGS, max_size=3))
def test_findings_read_back_equal(findings: list[Finding]) -> None:
    assert sarif.read_findings(sarif.render(report_of(findings))) == tuple(findings)


def test_the_sample_reads_back_equal(report: Report) -> None:
    assert sarif.read_findings(sarif.render(report)) == report.findings


MULTITOOL = shutil.which("sarif-multitool")
needs_multitool = pytest.mark.skipif(
    MULTITOOL is None, reason="@microsoft/sarif-multitool is not installed"
)


def variants(report: Report) -> list[Report]:
    """Reports that leave things out, or have odd ones."""
    shown = report.findings[1]
    odd = replace(shown, chain=(), location=Location("a dir/[x]:\u00e9.c", 1, 1))
    return [
        report,
        replace(report, findings=(), notices=(), ledger=(), complete=True),
        replace(report, rules=(), tree=replace(report.tree, git_remote=None)),
        replace(report, findings=(odd,), notices=(Notice(Severity.NOTE, "x", "y", file="a.c"),)),
    ]


@needs_multitool
def test_the_schema_of_the_standard_accepts_it(report: Report, judged: Report) -> None:
    # The validator itself passes over properties and words that it does not know.
    assert MULTITOOL is not None
    packages = Path(MULTITOOL).resolve().parents[1]
    schema = json.loads((packages / "sarif-multitool-linux/sarif-2.1.0.json").read_text())
    for variant in variants(report):
        jsonschema.validate(json.loads(sarif.render(variant)), schema)
    jsonschema.validate(json.loads(sarif.render(judged, all_kinds=True)), schema)
    broken = json.loads(sarif.render(report).replace('"warning"', '"warming"'))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


# One kind at a time: npm's wrapper hands its arguments to a shell, which would cut at the ";".
@needs_multitool
@pytest.mark.parametrize("rules", ["Sarif", "Ghas"])
def test_the_validator_has_no_error_and_no_warning(
    report: Report, judged: Report, tmp_path: Path, rules: str
) -> None:
    paths = []
    logs = [sarif.render(variant) for variant in variants(report)]
    for number, log in enumerate([*logs, sarif.render(judged, all_kinds=True)]):
        paths.append(tmp_path / f"{number}.sarif")
        paths[-1].write_text(log)
    done = subprocess.run(
        [str(MULTITOOL), "validate", *map(str, paths), "--rule-kind", rules],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(paths)} files scanned" in done.stdout
    assert ": error " not in done.stdout, done.stdout
    assert ": warning " not in done.stdout, done.stdout
