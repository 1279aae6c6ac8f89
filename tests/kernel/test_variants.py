"""The thread's patch on 6.1 analyses cleanly; each way to get it wrong is found, and only that."""

from __future__ import annotations

import pytest
from conftest import DIRECTORIES, JOBS, kernel_tree
from variants import BASE, BASE_6_12, RIGHT, WRONG, WRONG_6_12, Expected, Variant, apply

from lockcheck.config import Config
from lockcheck.findings.model import Finding
from lockcheck.session import analyse

pytestmark = pytest.mark.kernel


def _fits(finding: Finding, expected: Expected) -> bool:
    return (
        finding.rule_id == expected.rule
        and (not expected.function or finding.location.function == expected.function)
        and all(words in finding.message for words in expected.words)
    )


@pytest.mark.parametrize("variant", [*RIGHT, *WRONG], ids=lambda variant: variant.name)
def test_variant(variant: Variant, facts_cache: str) -> None:
    _check("6.1", variant, BASE, facts_cache)


@pytest.mark.parametrize("variant", WRONG_6_12, ids=lambda variant: variant.name)
def test_variant_on_6_12(variant: Variant, facts_cache: str) -> None:
    _check("6.12", variant, BASE_6_12, facts_cache)


def _check(version: str, variant: Variant, base: Expected, facts_cache: str) -> None:
    tree = kernel_tree(version)
    report = analyse(
        Config(
            tree=tree,
            paths=DIRECTORIES,
            jobs=JOBS,
            cache=facts_cache,
            overlay=apply(tree.root, variant.edits),
        )
    )
    assert report.complete, report.notices
    left = list(report.findings)
    for expected in (base, *variant.expected):
        found = next((f for f in left if _fits(f, expected)), None)
        assert found is not None, f"not found: {expected}\n" + _show(report.findings)
        left.remove(found)
    assert not left, "beyond what was expected:\n" + _show(left)


def _show(findings: object) -> str:
    assert isinstance(findings, (list, tuple))
    return "\n".join(f"{f.location}: {f.message} [{f.rule_id}]" for f in findings)
