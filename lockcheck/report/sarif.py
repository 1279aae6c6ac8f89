"""SARIF 2.1.0 output. The only module that imports sarif_om.

sarif_om models a late draft (rtm.4) of the standard and checks nothing, so that two things are
done here: values equal to a draft's default are left out except where a reader would then take
another default (`level`), and the one property that was renamed later is renamed (`_RENAMED`).
"""

from __future__ import annotations

import json
import os
import shlex
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sarif_om as om

from lockcheck import __version__
from lockcheck.errors import Notice
from lockcheck.findings.fingerprint import SCHEME, fingerprint
from lockcheck.findings.model import (
    Finding,
    Level,
    Location,
    Outcome,
    Report,
    RuleInfo,
    Step,
    StepKind,
    Suppression,
)
from lockcheck.findings.series import PatchVerdict, SeriesReport
from lockcheck.report import cwe, messages, rule_help, uris
from lockcheck.report.sarif_json import plain
from lockcheck.report.sarif_read import read_findings
from lockcheck.report.sarif_vocabulary import FIRST_LEVEL, STEP_KINDS, TOOL_NAME

__all__ = ["INFORMATION_URI", "read_findings", "render", "render_series"]

# Where readers learn more about lockcheck. The project has no public page yet.
INFORMATION_URI = "https://lockcheck.invalid/"

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

# Stands for the root of the kernel tree. It has no URI: the directory of the machine that ran the
# analysis means nothing elsewhere, and readers then take the root of their own checkout.
_ROOT = "SRCROOT"

# GitHub sorts security alerts by this CVSS-like score, which a rule file does not have.
_SECURITY_SEVERITY = {Level.ERROR: "7.0", Level.WARNING: "5.5", Level.NOTE: "3.0"}
_PROBLEM_SEVERITY = {
    Level.ERROR: "error",
    Level.WARNING: "warning",
    Level.NOTE: "recommendation",
}

_KIND_OF_OUTCOME = {Outcome.PROVED: "pass", Outcome.UNPROVED: "open"}
_ESSENTIAL = frozenset({StepKind.ENTRY, StepKind.ACCESS, StepKind.SLEEP, StepKind.ASSERTION})


def render(report: Report, *, all_kinds: bool = False) -> str:
    """The report as a SARIF log, ending in a newline. Equal reports give equal text.

    all_kinds: proved and unproved obligations are results, too, of the kinds pass and open.

    Suppressed findings are in it, with their suppression. `read_findings` reads findings back.
    With a baseline each finding has its state, and those that are gone are in it as `absent`.
    Paths are relative to the tree; only a file outside of it keeps its absolute path.
    Raises LockcheckError when a rule names a weakness in a form that is not CWE-<number>.
    """
    return _log([_run(report, all_kinds)])


def render_series(series: SeriesReport) -> str:
    """A series as a SARIF log with one run for each patch, ending in a newline.

    `baselineState` compares a run with the state before its patch: `new` findings come with it,
    `absent` ones are gone with it. Raises LockcheckError as `render` does.
    """
    runs: list[om.Run] = []
    before: str | None = None
    for verdict in series.patches:
        run = _patch_run(series, verdict, before)
        before = run.automation_details.guid
        runs.append(run)
    return _log(runs)


def _log(runs: Sequence[om.Run]) -> str:
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [plain(run) for run in runs]}
    return json.dumps(log, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _patch_run(series: SeriesReport, verdict: PatchVerdict, before: str | None) -> om.Run:
    """The run of one patch; `before` is the guid of the run that it is compared with."""
    patch, root = verdict.patch, verdict.report.tree.root
    notices = [*series.notices, *verdict.report.notices]
    notices.extend(notice for notice in verdict.notices if notice not in notices)
    complete = verdict.report.complete and verdict.complete
    report = msgspec.structs.replace(
        verdict.report, notices=tuple(notices), complete=complete and series.base.complete
    )
    run = _run(report, all_kinds=False)
    name = f"{TOOL_NAME}-series/patch-{patch.number}"
    identity = f"{name}/{series.base.started}/{series.name}/{patch.subject}"
    run.automation_details = om.RunAutomationDetails(
        id=f"{name}/{series.base.started}",
        guid=str(uuid.uuid5(uuid.NAMESPACE_URL, INFORMATION_URI + identity)),
        description=om.Message(
            text=messages.escape(f"Patch {patch.number}/{patch.total}: {patch.subject}")
        ),
    )
    run.baseline_guid = before
    new = {id(finding) for finding in verdict.new}
    for finding, result in zip(report.findings, run.results, strict=True):
        result.baseline_state = "new" if id(finding) in new else "unchanged"
    index_of = {rule.rule_id: index for index, rule in enumerate(_all_rules(report, False))}
    for fixed in verdict.fixed:
        if fixed.finding.rule_id in index_of:
            result = _result(fixed.finding, index_of, root)
            result.baseline_state = "absent"
            if fixed.brought_by is not None:
                result.properties = {"broughtByPatch": fixed.brought_by}
            run.results.append(result)
    run.properties["patch"] = {
        key: value for key, value in msgspec.to_builtins(patch).items() if value != ""
    }
    return run


def _run(report: Report, all_kinds: bool) -> om.Run:
    root = report.tree.root
    rules = _all_rules(report, all_kinds)
    index_of = {rule.rule_id: index for index, rule in enumerate(rules)}
    weaknesses = sorted({cwe.number(name) for rule in rules for name in rule.cwe}, key=int)
    return om.Run(
        tool=om.Tool(driver=_driver(rules, bool(weaknesses))),
        # The part before the slash is GitHub's category: one and the same for every run.
        automation_details=om.RunAutomationDetails(id=f"{TOOL_NAME}/{report.started}"),
        # IMPRECISE: clang counts columns in bytes, which SARIF cannot say. The same for ASCII.
        column_kind="unicodeCodePoints",
        default_source_language="c",
        invocations=[_invocation(report)],
        original_uri_base_ids={
            _ROOT: om.ArtifactLocation(
                description=om.Message(text="The root of the kernel tree that was checked.")
            )
        },
        properties=_run_properties(report),
        results=[
            *(_result(finding, index_of, root) for finding in _findings(report)),
            *(_obligations(report, index_of, root) if all_kinds else ()),
        ],
        taxonomies=[_taxonomy(weaknesses)] if weaknesses else None,
        version_control_provenance=_provenance(report),
    )


def _findings(report: Report) -> Iterator[Finding]:
    """What is found, then what the baseline has and is there no more."""
    yield from report.findings
    yield from report.absent or ()


def _all_rules(report: Report, all_kinds: bool) -> list[RuleInfo]:
    """The rules in order of their ids, with a stand-in for any that only a result names."""
    rules = {rule.rule_id: rule for rule in report.rules}
    named = [(finding.rule_id, finding.level) for finding in _findings(report)]
    if all_kinds:
        named.extend((entry.rule_id, Level.WARNING) for entry in report.obligations)
    for rule_id, level in named:
        if rule_id not in rules:
            rules[rule_id] = RuleInfo(
                rule_id=rule_id,
                title=f"Obligation {rule_id}",
                rationale="",
                bad_example="",
                good_example="",
                level=level,
                cwe=(),
                file="",
            )
    return [rules[rule_id] for rule_id in sorted(rules)]


def _driver(rules: Sequence[RuleInfo], has_taxonomy: bool) -> om.ToolComponent:
    return om.ToolComponent(
        name=TOOL_NAME,
        full_name=f"{TOOL_NAME} {__version__}",
        version=__version__,
        semantic_version=__version__,
        information_uri=INFORMATION_URI,
        short_description=om.MultiformatMessageString(
            text="A whole-program checker of lock assertions in Linux kernel C."
        ),
        rules=[_rule(rule) for rule in rules],
        supported_taxonomies=[_taxonomy_reference()] if has_taxonomy else None,
    )


def _rule(rule: RuleInfo) -> om.ReportingDescriptor:
    weaknesses = [cwe.number(name) for name in rule.cwe]
    properties: dict[str, Any] = {
        "tags": ["concurrency", "correctness", "locking"],
        "precision": "high",
        "problem.severity": _PROBLEM_SEVERITY[rule.level],
    }
    if weaknesses:
        # A score without the tag, or the tag without a score, is not shown by GitHub.
        properties["tags"] += ["security", *(f"external/cwe/cwe-{n:0>3}" for n in weaknesses)]
        properties["security-severity"] = _SECURITY_SEVERITY[rule.level]
    return om.ReportingDescriptor(
        id=rule.rule_id,
        name=rule_help.pascal_case(rule.rule_id),
        short_description=om.MultiformatMessageString(text=rule_help.sentence(rule.title)),
        full_description=om.MultiformatMessageString(text=rule_help.full_description(rule)),
        help=om.MultiformatMessageString(
            text=rule_help.help_text(rule), markdown=rule_help.help_markdown(rule)
        ),
        help_uri=rule_help.help_uri(rule),
        default_configuration=om.ReportingConfiguration(
            level=rule.level.value, enabled=not rule.off
        ),
        properties=properties,
        relationships=[
            om.ReportingDescriptorRelationship(
                target=om.ReportingDescriptorReference(
                    id=number, tool_component=_taxonomy_reference()
                ),
                kinds=["superset"],
            )
            for number in weaknesses
        ]
        or None,
    )


def _taxonomy_reference() -> om.ToolComponentReference:
    return om.ToolComponentReference(name=cwe.TAXONOMY_NAME, guid=cwe.TAXONOMY_GUID)


def _taxonomy(numbers: Iterable[str]) -> om.ToolComponent:
    return om.ToolComponent(
        name=cwe.TAXONOMY_NAME,
        guid=cwe.TAXONOMY_GUID,
        organization="MITRE",
        short_description=om.MultiformatMessageString(
            text="The MITRE Common Weakness Enumeration."
        ),
        information_uri=cwe.TAXONOMY_URI,
        download_uri=cwe.TAXONOMY_DOWNLOAD_URI,
        is_comprehensive=False,
        taxa=[
            om.ReportingDescriptor(
                id=number,
                name=rule_help.pascal_case(cwe.title(number)),
                short_description=om.MultiformatMessageString(
                    text=rule_help.sentence(cwe.title(number))
                ),
                help_uri=cwe.definition_uri(number),
            )
            for number in numbers
        ],
    )


def _invocation(report: Report) -> om.Invocation:
    command = report.command_line
    if command:
        # Where the program is installed is nobody's business; what it was told to do is.
        command = (os.path.basename(command[0]), *command[1:])
    return om.Invocation(
        execution_successful=report.complete,
        command_line=shlex.join(command) or None,
        arguments=list(command[1:]),
        start_time_utc=report.started,
        end_time_utc=report.ended,
        tool_execution_notifications=[
            _notification(notice, report.tree.root) for notice in report.notices
        ],
    )


def _notification(notice: Notice, root: str) -> om.Notification:
    text = rule_help.sentence(notice.message)
    if notice.remedy:
        text += f" Remedy: {rule_help.sentence(notice.remedy)}"
    locations = None
    if notice.file is not None:
        locations = [_location(Location(notice.file, notice.line or 0, 0), root)]
    return om.Notification(
        message=om.Message(text=messages.escape(text)),
        # The code says what it is; GitHub's checks would want a help text to describe each.
        descriptor=om.ReportingDescriptorReference(id=notice.code),
        level=notice.severity.value,
        locations=locations,
    )


def _provenance(report: Report) -> list[om.VersionControlDetails] | None:
    """The revision that was checked; the standard allows it only with a repository's URI."""
    repository = uris.repository_uri(report.tree.git_remote)
    if repository is None or report.tree.git_revision is None:
        return None  # the revision, if known, is in the properties of the run
    return [
        om.VersionControlDetails(
            repository_uri=repository,
            revision_id=report.tree.git_revision,
            mapped_to=om.ArtifactLocation(uri_base_id=_ROOT),
        )
    ]


def _run_properties(report: Report) -> dict[str, Any]:
    """What SARIF has no place for: the tree, and the ledger of obligations."""
    tree = {"version": report.tree.version}
    if report.tree.git_revision is not None:
        tree["revision"] = report.tree.git_revision
    ledger = [
        {
            "origin": entry.origin,
            "proved": entry.proved,
            "violated": entry.violated,
            "unproved": entry.unproved,
        }
        for entry in report.ledger
    ]
    properties: dict[str, Any] = {"tree": tree, "units": report.units, "ledger": ledger}
    if report.configurations:
        properties["configurations"] = list(report.configurations)
    return properties


def _result(finding: Finding, index_of: dict[str, int], root: str) -> om.Result:
    related = [step.message for step in finding.related]
    suppressions = None
    if finding.suppression is not None:
        suppressions = [_suppression(finding.suppression, root)]
    return om.Result(
        rule_id=finding.rule_id,
        rule_index=index_of[finding.rule_id],
        kind="fail",
        level=finding.level.value,
        message=om.Message(text=messages.with_links(finding.message, related)),
        locations=[_location(finding.location, root)],
        code_flows=[_code_flow(finding.chain, root)] if finding.chain else None,
        related_locations=[
            _related(number, step, root) for number, step in enumerate(finding.related, 1)
        ]
        or None,
        partial_fingerprints={SCHEME: finding.fingerprint},
        baseline_state=finding.baseline.value if finding.baseline else None,
        suppressions=suppressions,
        properties={"configurations": list(finding.configurations)}
        if finding.configurations
        else None,
    )


def _obligations(report: Report, index_of: dict[str, int], root: str) -> Iterator[om.Result]:
    """What is no finding: proved obligations pass, unproved ones are open.

    Violated ones count in the ordinals: the others keep theirs when one is mended.
    """
    ordinals: Counter[tuple[str, ...]] = Counter()
    for entry in report.obligations:
        place = entry.location
        subject = f"{entry.origin} {entry.requirement}"
        lock = " ".join(entry.lock)
        key = (entry.rule_id, place.function, subject, lock)
        mark = fingerprint(*key, ordinals[key])
        ordinals[key] += 1
        kind = _KIND_OF_OUTCOME.get(entry.outcome)
        if kind is None:
            continue
        text = f"{entry.origin}: {entry.requirement}: {entry.reason}."
        yield om.Result(
            rule_id=entry.rule_id,
            rule_index=index_of[entry.rule_id],
            kind=kind,
            level="none",
            message=om.Message(text=messages.escape(text)),
            locations=[_location(place, root)],
            partial_fingerprints={SCHEME: mark},
        )


def _code_flow(chain: Sequence[Step], root: str) -> om.CodeFlow:
    return om.CodeFlow(
        thread_flows=[
            om.ThreadFlow(
                locations=[_flow_step(order, step, root) for order, step in enumerate(chain, 1)]
            )
        ]
    )


def _flow_step(order: int, step: Step, root: str) -> om.ThreadFlowLocation:
    if step.kind is StepKind.NOTE:
        importance = "unimportant"
    else:
        importance = "essential" if step.kind in _ESSENTIAL else "important"
    return om.ThreadFlowLocation(
        location=_location(step.location, root, message=step.message),
        kinds=list(STEP_KINDS[step.kind]),
        nesting_level=step.nesting + FIRST_LEVEL,
        execution_order=order,
        importance=importance,
    )


def _related(number: int, step: Step, root: str) -> om.Location:
    """A related location; what a SARIF location cannot say of a step is in its properties."""
    location = _location(step.location, root, message=step.message)
    location.id = number
    properties: dict[str, Any] = {}
    if step.kind is not StepKind.NOTE:
        properties["kind"] = step.kind.value
    if step.nesting:
        properties["nesting"] = step.nesting
    location.properties = properties or None
    return location


def _suppression(suppression: Suppression, root: str) -> om.Suppression:
    properties = {"rule": suppression.rule, "function": suppression.function}
    if suppression.expires is not None:
        properties["expires"] = suppression.expires
    return om.Suppression(
        kind="external",
        state="accepted",
        justification=suppression.reason,
        location=_location(Location(suppression.file, suppression.line, 0), root),
        properties=properties,
    )


def _location(location: Location, root: str, *, message: str = "") -> om.Location:
    """A place, with the function that it is in; outside of functions the file stands for it.

    A line or column below 1 means that it is not known, and is left out.
    """
    path = uris.relative_path(location.file, root)
    region = None
    if location.line >= 1:
        region = om.Region(
            start_line=location.line,
            start_column=location.column if location.column >= 1 else None,
        )
    if location.function:
        # Static functions of the same name are told apart by their file.
        logical = om.LogicalLocation(
            name=location.function,
            fully_qualified_name=f"{path}:{location.function}",
            kind="function",
        )
    else:
        logical = om.LogicalLocation(
            name=os.path.basename(path), fully_qualified_name=path, kind="module"
        )
    return om.Location(
        physical_location=om.PhysicalLocation(
            artifact_location=om.ArtifactLocation(
                uri=uris.path_to_uri(path),
                uri_base_id=None if os.path.isabs(path) else _ROOT,
            ),
            region=region,
        ),
        logical_locations=[logical],
        message=om.Message(text=messages.escape(message)) if message else None,
    )
