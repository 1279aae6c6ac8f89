"""The small tree that tests of series work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_tree import SmallTree


@pytest.fixture
def tree(tmp_path: Path) -> SmallTree:
    return SmallTree(tmp_path)
