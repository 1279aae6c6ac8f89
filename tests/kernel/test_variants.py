"""The thread's patch on 6.1 analyses cleanly; each way to get it wrong is found, and only that."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest
from kernel_trees import DIRECTORIES, JOBS, kernel_tree
from variants import RIGHT, WRONG, WRONG_6_12, Expected, Variant, apply

from lockcheck.config import Config
from lockcheck.findings.model import Finding, Report
from lockcheck.session import analyse
from lockcheck.workspace import Workspace

pytestmark = pytest.mark.kernel


def _fits(finding: Finding, expected: Expected) -> bool:
    return (
        finding.rule_id == expected.rule
        and (not expected.function or finding.location.function == expected.function)
        and all(words in finding.message for words in expected.words)
    )


Workspaces = Callable[[str], Workspace]


@pytest.fixture(scope="session")
def base(workspace: Workspaces) -> Callable[[str], set[str]]:
    """The fingerprints of what is found in a tree as it is, by version."""

    @functools.cache
    def of(version: str) -> set[str]:
        return {f.fingerprint for f in workspace(version).report().findings}

    return of


@pytest.mark.parametrize("variant", [*RIGHT, *WRONG], ids=lambda variant: variant.name)
def test_variant(variant: Variant, workspace: Workspaces, base: Callable[[str], set[str]]) -> None:
    _check(_report(workspace, "6.1", variant), variant, base("6.1"))


@pytest.mark.parametrize("variant", WRONG_6_12, ids=lambda variant: variant.name)
def test_variant_on_6_12(
    variant: Variant, workspace: Workspaces, base: Callable[[str], set[str]]
) -> None:
    _check(_report(workspace, "6.12", variant), variant, base("6.12"))


def test_a_run_of_its_own_says_the_same(workspace: Workspaces, facts_cache: str) -> None:
    """What is left out of the other variants, as it takes three times as long."""
    variant = WRONG[0]
    tree = kernel_tree("6.1")
    overlay = apply(tree.root, variant.edits)
    config = Config(tree, DIRECTORIES, jobs=JOBS, cache=facts_cache, overlay=overlay)
    alone = analyse(config)
    among_others = _report(workspace, "6.1", variant)

    assert alone.findings == among_others.findings
    assert alone.ledger == among_others.ledger


def _report(workspace: Workspaces, version: str, variant: Variant) -> Report:
    return workspace(version).report(apply(kernel_tree(version).root, variant.edits))


def _check(report: Report, variant: Variant, base: set[str]) -> None:
    """A variant's findings are those of the tree, and exactly the expected ones beside them."""
    assert report.complete, report.notices
    assert base <= {f.fingerprint for f in report.findings}
    left = [f for f in report.findings if f.fingerprint not in base]
    for expected in variant.expected:
        found = next((f for f in left if _fits(f, expected)), None)
        assert found is not None, f"not found: {expected}\n" + _show(report.findings)
        left.remove(found)
    assert not left, "beyond what was expected:\n" + _show(left)


def _show(findings: Sequence[Finding]) -> str:
    return "\n".join(f"{f.location}: {f.message} [{f.rule_id}]" for f in findings)
