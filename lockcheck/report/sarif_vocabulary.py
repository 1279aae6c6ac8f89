"""Words that writing and reading SARIF must agree on."""

from __future__ import annotations

from lockcheck.findings.model import StepKind

TOOL_NAME = "lockcheck"

# `threadFlowLocation.kinds`, in the words that the standard suggests (§3.38.8) where it has one.
# Each is different: reading relies on it.
STEP_KINDS: dict[StepKind, tuple[str, ...]] = {
    StepKind.ENTRY: ("enter", "function"),
    StepKind.CALL: ("call", "function"),
    StepKind.ACQUIRE: ("acquire", "lock"),
    StepKind.RELEASE: ("release", "lock"),
    StepKind.ACCESS: ("memory", "danger"),
    StepKind.SLEEP: ("call", "danger"),
    StepKind.ASSERTION: ("lock", "danger"),
    StepKind.NOTE: ("note",),
}

FIRST_LEVEL = 1  # of nesting: the viewer for VS Code indents by one less, and cuts off what has 0
