"""The thread's patch on 6.1 analyses cleanly; each way to get it wrong is found, and only that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from conftest import DIRECTORIES, JOBS, kernel_tree
from variants import RIGHT, WRONG, WRONG_6_12, Edit, Expected, Variant, apply

from lockcheck.config import Config
from lockcheck.findings.model import Finding, Report
from lockcheck.session import analyse

pytestmark = pytest.mark.kernel


def _fits(finding: Finding, expected: Expected) -> bool:
    return (
        finding.rule_id == expected.rule
        and (not expected.function or finding.location.function == expected.function)
        and all(words in finding.message for words in expected.words)
    )


@pytest.fixture(scope="session")
def base(facts_cache: str) -> dict[str, set[str]]:
    """The fingerprints of what is found in the trees as they are."""
    return {
        version: {f.fingerprint for f in _report(version, (), facts_cache).findings}
        for version in ("6.1", "6.12")
    }


@pytest.mark.parametrize("variant", [*RIGHT, *WRONG], ids=lambda variant: variant.name)
def test_variant(variant: Variant, facts_cache: str, base: dict[str, set[str]]) -> None:
    _check("6.1", variant, base, facts_cache)


@pytest.mark.parametrize("variant", WRONG_6_12, ids=lambda variant: variant.name)
def test_variant_on_6_12(variant: Variant, facts_cache: str, base: dict[str, set[str]]) -> None:
    _check("6.12", variant, base, facts_cache)


def _report(version: str, edits: Sequence[Edit], facts_cache: str) -> Report:
    tree = kernel_tree(version)
    return analyse(
        Config(
            tree=tree,
            paths=DIRECTORIES,
            jobs=JOBS,
            cache=facts_cache,
            overlay=apply(tree.root, edits),
        )
    )


def _check(version: str, variant: Variant, base: dict[str, set[str]], facts_cache: str) -> None:
    """A variant's findings are those of the tree, and exactly the expected ones beside them."""
    report = _report(version, variant.edits, facts_cache)
    assert report.complete, report.notices
    assert base[version] <= {f.fingerprint for f in report.findings}
    left = [f for f in report.findings if f.fingerprint not in base[version]]
    for expected in variant.expected:
        found = next((f for f in left if _fits(f, expected)), None)
        assert found is not None, f"not found: {expected}\n" + _show(report.findings)
        left.remove(found)
    assert not left, "beyond what was expected:\n" + _show(left)


def _show(findings: Sequence[Finding]) -> str:
    return "\n".join(f"{f.location}: {f.message} [{f.rule_id}]" for f in findings)
