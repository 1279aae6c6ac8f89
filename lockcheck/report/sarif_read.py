"""Findings read back from SARIF that lockcheck wrote, for baselines and for comparing runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from lockcheck.errors import LockcheckError
from lockcheck.findings.fingerprint import SCHEME
from lockcheck.findings.model import (
    BaselineState,
    Finding,
    Level,
    Location,
    Step,
    StepKind,
    Suppression,
)
from lockcheck.report import messages, uris
from lockcheck.report.sarif_vocabulary import FIRST_LEVEL, STEP_KINDS, TOOL_NAME

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


class _ResultProperties(_Read, frozen=True):
    configurations: tuple[str, ...] = ()


class _Result(_Read, frozen=True):
    rule_id: str
    level: Level
    message: _Message
    locations: tuple[_Location, ...]
    partial_fingerprints: dict[str, str]
    code_flows: tuple[_CodeFlow, ...] = ()
    related_locations: tuple[_Location, ...] = ()
    suppressions: tuple[_Suppression, ...] = ()
    baseline_state: BaselineState | None = None
    properties: _ResultProperties = _ResultProperties()


class _AnyResult(_Read, frozen=True):
    kind: str = "fail"
    baseline_state: str = ""


class _Driver(_Read, frozen=True):
    name: str


class _Tool(_Read, frozen=True):
    driver: _Driver


class _Invocation(_Read, frozen=True):
    execution_successful: bool = True


class _Results(_Read, frozen=True):
    results: tuple[msgspec.Raw, ...] = ()
    invocations: tuple[_Invocation, ...] = ()


class _AnyRun(_Read, frozen=True):
    tool: _Tool


class _Log(_Read, frozen=True):
    version: str
    runs: tuple[msgspec.Raw, ...]


class EarlierRun(NamedTuple):
    """What a log says of the run that wrote it; complete: whether everything was analysed."""

    findings: tuple[Finding, ...]
    complete: bool


def read_findings(text: str | bytes, *, file: str | None = None) -> tuple[Finding, ...]:
    """The findings of a SARIF log that lockcheck wrote, in the order in which they stand there.

    text: the log. `read_findings(render(report))` equals `report.findings`, except that paths
        below the tree's root have become relative to it.
    file: where it was read from, for the error.
    Runs of other tools in the same log are passed over, and so are findings that were gone
    already when it was written.
    Raises LockcheckError when the text is not SARIF 2.1.0, or a result lacks what we write.
    """
    return read_run(text, file=file).findings


def read_run(text: str | bytes, *, file: str | None = None) -> EarlierRun:
    """As `read_findings`, with what the log says of the run itself."""
    findings: list[Finding] = []
    ours = 0
    complete = True
    try:
        log = msgspec.json.decode(text, type=_Log)
        if log.version != "2.1.0":
            raise _unreadable(f"its version is {log.version}, not 2.1.0", file)
        for raw in log.runs:
            # Another tool's results need not have what ours have: look at the name first.
            if msgspec.json.decode(raw, type=_AnyRun).tool.driver.name == TOOL_NAME:
                ours += 1
                run = msgspec.json.decode(raw, type=_Results)
                complete = complete and all(i.execution_successful for i in run.invocations)
                findings.extend(_run_findings(run, file))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(str(error), file) from error
    except RecursionError as error:
        raise _unreadable("it nests too deeply", file) from error
    if not ours:
        raise _unreadable(f"no run of {TOOL_NAME} in it", file)
    return EarlierRun(tuple(findings), complete)


def _run_findings(run: _Results, file: str | None) -> Iterator[Finding]:
    for found in run.results:
        what = msgspec.json.decode(found, type=_AnyResult)
        # Obligations that are met, or open, are no findings.
        if what.kind == "fail" and what.baseline_state != BaselineState.ABSENT:
            yield _finding(msgspec.json.decode(found, type=_Result), file)


def _unreadable(why: str, file: str | None) -> LockcheckError:
    return LockcheckError(
        f"cannot read this as SARIF that lockcheck wrote: {why}",
        file=file,
        remedy="give a file written by `lockcheck baseline -o FILE`, or by "
        "`lockcheck check --format sarif -o FILE`",
    )


def _finding(result: _Result, file: str | None) -> Finding:
    if SCHEME not in result.partial_fingerprints:
        others = [name for name in result.partial_fingerprints if name.startswith(f"{TOOL_NAME}/")]
        if others:
            raise LockcheckError(
                f"its fingerprints are of the kind {others[0]}, those of this version of "
                f"{TOOL_NAME} are {SCHEME}: they cannot be compared",
                file=file,
                remedy="write it anew with this version (`lockcheck baseline -o FILE`)",
            )
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
            _step(
                step.location,
                _KIND_OF_STEP.get(step.kinds, StepKind.NOTE),
                max(0, step.nesting_level - FIRST_LEVEL),
            )
            for code_flow in result.code_flows
            for thread_flow in code_flow.thread_flows
            for step in thread_flow.locations
        ),
        related=related,
        fingerprint=result.partial_fingerprints[SCHEME],
        suppression=_suppression(result.suppressions[0]) if result.suppressions else None,
        baseline=result.baseline_state,
        configurations=result.properties.configurations,
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
