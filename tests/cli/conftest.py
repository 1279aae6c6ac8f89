"""The fixture that all tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_session import Program


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(tmp_path, monkeypatch)
