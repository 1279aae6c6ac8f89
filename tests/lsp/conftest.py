"""A language server for each test."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from lsp_editor import PROGRAM, ROOT, SECONDS, Editor, Start
from pytest_lsp import make_test_lsp_client


@pytest_asyncio.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a server, with the arguments of `lockcheck lsp`, and a client for it."""
    started: list[Editor] = []

    async def start_one(*arguments: str) -> Editor:
        client = make_test_lsp_client()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        command = [sys.executable, "-c", PROGRAM, "lsp", "--stdio", *arguments]
        await client.start_io(*command, env=environment, cwd=str(tmp_path))
        editor = Editor(client)
        started.append(editor)
        return editor

    yield start_one
    for editor in started:
        await asyncio.wait_for(editor.client.shutdown_session(), SECONDS)
        await editor.client.stop()
