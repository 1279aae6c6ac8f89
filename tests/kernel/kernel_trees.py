"""The prepared kernel trees. A tree that is missing fails the test: it is never skipped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lockcheck.source.tree import KernelTree, find_tree

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
