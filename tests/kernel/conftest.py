"""What tests of kernel trees share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import pytest
from kernel_trees import DIRECTORIES, JOBS, kernel_tree

from lockcheck.config import Config
from lockcheck.workspace import Workspace


@pytest.fixture(scope="session")
def facts_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One cache for all tests, those of other workers too, so that each unit is parsed once.

    LOCKCHECK_TEST_CACHE names one that stays, for those who run these tests again and again.
    """
    kept = os.environ.get("LOCKCHECK_TEST_CACHE")
    if kept:
        return kept
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return str(base / "facts")


@pytest.fixture(scope="session")
def workspace(facts_cache: str) -> Callable[[str], Workspace]:
    """The workspace of a tree, by version. Its reports equal those of runs of their own."""

    @functools.cache
    def of(version: str) -> Workspace:
        tree = kernel_tree(version)
        return Workspace(Config(tree=tree, paths=DIRECTORIES, jobs=JOBS, cache=facts_cache))

    return of
