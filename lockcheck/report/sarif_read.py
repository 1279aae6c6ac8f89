"""Findings read back from SARIF that lockcheck wrote, for baselines and for comparing runs."""

from __future__ import annotations

import msgspec

from lockcheck.errors import LockcheckError
from lockcheck.findings.fingerprint import SCHEME
from lockcheck.findings.model import Finding, Level, Location, Step, StepKind, Suppression
from lockcheck.report import messages, uris
from lockcheck.report.sarif_vocabulary import STEP_KINDS, TOOL_NAME

_KIND_OF_STEP = {kinds: kind for kind, kinds in STEP_KINDS.items()}


class _Read(msgspec.Struct, frozen=True, rename="camel"):
    """Base of the parts of a log that are read; everything else in the log is passed over."""


class _Message(_Read, frozen=True):
    text: str = ""


class _Artifact(_Read, frozen=True):
    uri: str


class _Region(_Read, frozen=True):
    start_line: int = 0
    start_column: int = 0


class _Physical(_Read, frozen=True):
    artifact_location: _Artifact
    region: _Region = _Region()


class _Logical(_Read, frozen=True):
    name: str = ""
    kind: str = ""


class _StepProperties(_Read, frozen=True):
    kind: StepKind = StepKind.NOTE
    nesting: int = 0


class _Location(_Read, frozen=True):
    physical_location: _Physical
    logical_locations: tuple[_Logical, ...] = ()
    message: _Message = _Message()
    properties: _StepProperties = _StepProperties()


class _FlowStep(_Read, frozen=True):
    location: _Location
    kinds: tuple[str, ...] = ()
    nesting_level: int = 0


class _ThreadFlow(_Read, frozen=True):
    locations: tuple[_FlowStep, ...]


class _CodeFlow(_Read, frozen=True):
    thread_flows: tuple[_ThreadFlow, ...]


class _SuppressionProperties(_Read, frozen=True):
    rule: str
    function: str
    expires: str | None = None


class _Suppression(_Read, frozen=True):
    location: _Location
    properties: _SuppressionProperties
    justification: str = ""


class _Result(_Read, frozen=True):
    rule_id: str
    level: Level
    message: _Message
    locations: tuple[_Location, ...]
    partial_fingerprints: dict[str, str]
    code_flows: tuple[_CodeFlow, ...] = ()
    related_locations: tuple[_Location, ...] = ()
    suppressions: tuple[_Suppression, ...] = ()


class _AnyResult(_Read, frozen=True):
    kind: str = "fail"
    baseline_state: str = ""


class _Driver(_Read, frozen=True):
    name: str


class _Tool(_Read, frozen=True):
    driver: _Driver


class _Results(_Read, frozen=True):
    results: tuple[msgspec.Raw, ...] = ()


class _AnyRun(_Read, frozen=True):
    tool: _Tool


class _Log(_Read, frozen=True):
    version: str
    runs: tuple[msgspec.Raw, ...]


def read_findings(text: str | bytes, *, file: str | None = None) -> tuple[Finding, ...]:
    """The findings of a SARIF log that lockcheck wrote, in the order in which they stand there.

    text: the log. `read_findings(render(report))` equals `report.findings`, except that paths
        below the tree's root have become relative to it.
    file: where it was read from, for the error.
    Runs of other tools in the same log are passed over.
    Raises LockcheckError when the text is not SARIF 2.1.0, or a result lacks what we write.
    """
    findings: list[Finding] = []
    ours = 0
    try:
        log = msgspec.json.decode(text, type=_Log)
        if log.version != "2.1.0":
            raise _unreadable(f"its version is {log.version}, not 2.1.0", file)
        for raw in log.runs:
            # Another tool's results need not have what ours have: look at the name first.
            if msgspec.json.decode(raw, type=_AnyRun).tool.driver.name == TOOL_NAME:
                ours += 1
                run = msgspec.json.decode(raw, type=_Results)
                # Obligations that are met, or open, are no findings; nor is what is gone.
                for found in run.results:
                    any_result = msgspec.json.decode(found, type=_AnyResult)
                    if any_result.kind == "fail" and any_result.baseline_state != "absent":
                        findings.append(_finding(msgspec.json.decode(found, type=_Result), file))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(str(error), file) from error
    if not ours:
        raise _unreadable(f"no run of {TOOL_NAME} in it", file)
    return tuple(findings)


def _unreadable(why: str, file: str | None) -> LockcheckError:
    return LockcheckError(
        f"cannot read this as SARIF that lockcheck wrote: {why}",
        file=file,
        remedy="give a file written by `lockcheck check --format sarif -o FILE`",
    )


def _finding(result: _Result, file: str | None) -> Finding:
    if len(result.locations) != 1 or SCHEME not in result.partial_fingerprints:
        raise _unreadable(f"a result of {result.rule_id} has no location or no fingerprint", file)
    related = tuple(
        _step(place, place.properties.kind, place.properties.nesting)
        for place in result.related_locations
    )
    links = [step.message for step in related]
    return Finding(
        rule_id=result.rule_id,
        level=result.level,
        message=messages.without_links(result.message.text, links),
        location=_location(result.locations[0]),
        chain=tuple(
            _step(step.location, _KIND_OF_STEP.get(step.kinds, StepKind.NOTE), step.nesting_level)
            for code_flow in result.code_flows
            for thread_flow in code_flow.thread_flows
            for step in thread_flow.locations
        ),
        related=related,
        fingerprint=result.partial_fingerprints[SCHEME],
        suppression=_suppression(result.suppressions[0]) if result.suppressions else None,
    )


def _step(place: _Location, kind: StepKind, nesting: int) -> Step:
    return Step(
        kind=kind,
        location=_location(place),
        message=messages.unescape(place.message.text),
        nesting=nesting,
    )


def _location(place: _Location) -> Location:
    functions = [logical.name for logical in place.logical_locations if logical.kind == "function"]
    physical = place.physical_location
    return Location(
        file=uris.uri_to_path(physical.artifact_location.uri),
        line=physical.region.start_line,
        column=physical.region.start_column,
        function=functions[0] if functions else "",
    )


def _suppression(suppression: _Suppression) -> Suppression:
    entry = _location(suppression.location)
    return Suppression(
        rule=suppression.properties.rule,
        function=suppression.properties.function,
        reason=suppression.justification,
        file=entry.file,
        line=entry.line,
        expires=suppression.properties.expires,
    )
