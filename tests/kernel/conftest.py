"""The prepared kernel trees. A tree that is missing fails the test: it is never skipped."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lockcheck.config import Config
from lockcheck.source.tree import KernelTree, find_tree
from lockcheck.workspace import Workspace

REPOSITORY = Path(__file__).parents[2]
DIRECTORIES = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915/gvt")
JOBS = os.cpu_count() or 1


def kernel_tree(version: str) -> KernelTree:
    """The tree of scripts/kernel-tree, fetched and prepared if it is not there yet."""
    done = subprocess.run(
        [REPOSITORY / "scripts" / "kernel-tree", version],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    source, build = done.stdout.split()
    return find_tree(Path(source), Path(build))


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
