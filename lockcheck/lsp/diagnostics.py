"""Findings as diagnostics: the chain of calls is the related information."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from lsprotocol import types

from lockcheck.errors import Notice
from lockcheck.findings.model import Finding, Level, Location, Report, RuleInfo, Step
from lockcheck.lsp.text import Text
from lockcheck.report import rule_help

SOURCE = "lockcheck"
HAS_ERRORS = ("unit-has-errors", "unit-not-parsed")
NOT_READ = "not-read"

_SEVERITIES = {
    Level.ERROR: types.DiagnosticSeverity.Error,
    Level.WARNING: types.DiagnosticSeverity.Warning,
    Level.NOTE: types.DiagnosticSeverity.Information,
}

TextOf = Callable[[str], Text]  # by path relative to the tree, as it was analysed


def diagnostics(report: Report, text_of: TextOf) -> dict[str, list[types.Diagnostic]]:
    """The diagnostics of each file, by path relative to the tree. Suppressed findings are none."""
    rules = {rule.rule_id: rule for rule in report.rules}
    root = Path(report.tree.root)
    found: dict[str, list[types.Diagnostic]] = defaultdict(list)
    for finding in report.findings:
        if finding.suppression is None:
            found[finding.location.file].append(
                _diagnostic(finding, rules.get(finding.rule_id), root, text_of)
            )
    return dict(found)


def _diagnostic(
    finding: Finding, rule: RuleInfo | None, root: Path, text_of: TextOf
) -> types.Diagnostic:
    steps = [s for s in finding.chain if (s.location, s.message) != (finding.location, "")]
    return types.Diagnostic(
        range=_range(finding.location, text_of),
        message=finding.message,
        severity=_SEVERITIES[finding.level],
        code=finding.rule_id,
        code_description=(
            None if rule is None else types.CodeDescription(href=rule_help.help_uri(rule))
        ),
        source=SOURCE,
        related_information=[_related(s, root, text_of) for s in (*steps, *finding.related)],
        data={"fingerprint": finding.fingerprint},
    )


def _related(step: Step, root: Path, text_of: TextOf) -> types.DiagnosticRelatedInformation:
    place = types.Location((root / step.location.file).as_uri(), _range(step.location, text_of))
    # Clients show it as a flat list: the depth of the call is in the text.
    indent = "\u2003" * min(step.nesting, 8)
    return types.DiagnosticRelatedInformation(place, f"{indent}{step.message or step.kind.value}")


def _range(location: Location, text_of: TextOf) -> types.Range:
    return text_of(location.file).range_at(location.line, location.column)


def of_notice(notice: Notice, text_of: TextOf, *, kept: bool) -> types.Diagnostic:
    """A unit that could not be read whole. kept: its findings are those from before."""
    message = notice.message
    if kept:
        message += "; the findings shown are those of the last text without errors"
    file = notice.file or ""
    return types.Diagnostic(
        range=text_of(file).range_at(notice.line or 1, 1),
        message=message,
        severity=types.DiagnosticSeverity.Warning,
        code=notice.code,
        source=SOURCE,
    )


def not_read(file: str, paths: Mapping[str, object] | tuple[str, ...]) -> types.Diagnostic:
    """A C file that is open and belongs to no unit that is read."""
    reason = (
        "it is not below the configured paths, or the configuration does not build it"
        if paths
        else "the configuration does not build it"
    )
    return types.Diagnostic(
        range=types.Range(types.Position(0, 0), types.Position(0, 0)),
        message=f"{file} is not checked: {reason}",
        severity=types.DiagnosticSeverity.Information,
        code=NOT_READ,
        source=SOURCE,
    )
