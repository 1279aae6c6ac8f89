"""What clients and trees may do wrong: the server says so, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lsp_editor import DEVICE, ROOT, SECONDS, WRONG, Editor, Start, make_tree
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from lockcheck.lsp import server as module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "linux")


async def send(editor: Editor, body: bytes) -> None:
    writer = editor.client.protocol.writer
    assert writer is not None
    result: Any = writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    if asyncio.iscoroutine(result):
        await result


def message(method: str, params: Any, **more: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()


async def works(editor: Editor, tree: Path) -> None:
    """A session like any other is still possible."""
    uri = editor.open(tree / "drivers/device.c")
    assert len(await editor.diagnostics(uri, 1)) == 1
    assert "Traceback" not in editor.shown + editor.logged


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="half a message"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"17", id="a number"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param(message("textDocument/didOpen", {"textDocument": 3}), id="wrong types"),
        pytest.param(message("textDocument/didOpen", None), id="no parameters"),
        pytest.param(message("textDocument/didSave", {}), id="missing parameters"),
        pytest.param(message("lockcheck/nothing", {}), id="an unknown notification"),
        pytest.param(message("$/cancelRequest", {"id": 99}), id="an unknown request cancelled"),
        pytest.param(
            message("window/workDoneProgress/cancel", {"token": "x"}), id="an unknown token"
        ),
        pytest.param(
            message("textDocument/didClose", {"textDocument": {"uri": "file:///nowhere.c"}}),
            id="closed before it was open",
        ),
        pytest.param(
            message(
                "textDocument/didChange",
                {"textDocument": {"uri": "file:///x.c", "version": 3}, "contentChanges": [{}]},
            ),
            id="a change of nothing",
        ),
    ],
)
async def test_nonsense_is_logged(start: Start, tree: Path, body: bytes) -> None:
    editor = await start()
    await editor.initialize(tree)
    await send(editor, body)
    await works(editor, tree)


@pytest.mark.asyncio
async def test_an_unknown_request_is_answered_with_an_error(start: Start, tree: Path) -> None:
    editor = await start()
    await editor.initialize(tree)
    with pytest.raises(JsonRpcException):
        await asyncio.wait_for(
            editor.client.text_document_rename_async(
                types.RenameParams(
                    types.TextDocumentIdentifier("file:///x.c"), types.Position(0, 0), "y"
                )
            ),
            SECONDS,
        )
    await works(editor, tree)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nowhere", "nowhere does not exist"),
        ("no tree", "no kernel tree here"),
        ("unconfigured", "it has no .config"),
        ("unprepared", "autoconf.h is missing"),
        ("no such path", "nowhere in the tree"),
        ("no such rules", "no such rule file"),
        ("wrong type", "Expected `array`"),
        ("unknown option", "sets what there is not: path"),
        ("no jobs", "jobs has to be 1 or more"),
    ],
)
async def test_trees_and_settings(start: Start, tree: Path, case: str, message: str) -> None:
    options: dict[str, Any] = {
        "nowhere": {"tree": "nowhere"},
        "no such path": {"paths": ["nowhere"]},
        "no such rules": {"rules": ["nowhere"]},
        "wrong type": {"paths": 3},
        "unknown option": {"path": ["drivers"]},
        "no jobs": {"jobs": 0},
    }.get(case, {})
    folder = tree
    if case == "no tree":
        folder = tree.parent / "empty"
        folder.mkdir()
    if case == "unconfigured":
        (tree / ".config").unlink()
    if case == "unprepared":
        (tree / "include/generated/autoconf.h").unlink()
    editor = await start()
    await editor.initialize(folder, options={"lockcheck": options})
    await editor.until(lambda: message in editor.shown)
    assert "remedy: " in editor.shown
    assert "Traceback" not in editor.shown
    editor.open(tree / "drivers/device.c")


@pytest.mark.asyncio
async def test_files_that_are_none_of_its_business(start: Start, tree: Path) -> None:
    editor = await start()
    await editor.initialize(tree)
    outside = tree.parent / "outside.c"
    outside.write_text("int x;\n")
    editor.open(outside)
    for uri in (
        "untitled:Untitled-1",
        "https://x.invalid/a.c",
        "file:a.c",
        "file:///a%00b",
        "%",
        "",
    ):
        item = types.TextDocumentItem(uri, "c", 1, "int x;\n")
        editor.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        assert await editor.hover(uri, 0, 4) is None
        assert await editor.actions(uri, 0) == []
    await works(editor, tree)
    assert "outside.c is in none of the trees" in editor.logged
    assert "untitled:Untitled-1 is no file" in editor.logged
    assert outside.as_uri() not in editor.published


@pytest.mark.asyncio
async def test_a_huge_text_is_left_out(start: Start, tree: Path) -> None:
    editor = await start()
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c")
    assert len(await editor.diagnostics(uri, 1)) == 1
    editor.change(uri, 2, DEVICE + "/" * (module._MAX_TEXT + 1))
    await editor.until(lambda: "too large" in editor.logged)
    editor.change(uri, 3, DEVICE)
    assert await editor.diagnostics(uri, 3) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "text", ["\0" * 1000, "\ud800\udc80 int x;\n", "", "(" * 20000, "é" * 5000]
)
async def test_texts_that_are_no_c(start: Start, tree: Path, text: str) -> None:
    editor = await start()
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c", text)
    await editor.diagnostics(uri, 1)
    editor.change(uri, 2, WRONG)
    assert [d.code for d in await editor.diagnostics(uri, 2)] == ["gfn-track-write"]


@pytest.mark.asyncio
async def test_positions_that_are_nowhere(start: Start, tree: Path) -> None:
    editor = await start()
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c")
    await editor.diagnostics(uri, 1)
    for line, character in ((0, 2**31 - 1), (2**31 - 1, 0), (5, 10_000)):
        await editor.hover(uri, line, character)
        assert await editor.actions(uri, line) == [] or line == 5


@pytest.mark.asyncio
async def test_a_process_that_dies_is_started_again(start: Start, tree: Path) -> None:
    editor = await start()
    await editor.initialize(tree)
    uri = editor.open(tree / "drivers/device.c")
    assert len(await editor.diagnostics(uri, 1)) == 1
    server = editor.client._server
    assert server is not None
    for pid in analysing(server.pid):
        os.kill(pid, signal.SIGKILL)
    await editor.until(lambda: "ended by itself" in editor.shown)
    editor.change(uri, 2, DEVICE)
    assert await editor.diagnostics(uri, 2) == []


def analysing(server: int) -> list[int]:
    """The server's processes that analyse."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == server and "spawn_main" in command:
            found.append(int(folder.name))
    return found


def run(*arguments: str, standard_input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = "from lockcheck.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "lsp", *arguments],
        input=standard_input,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_client_that_goes_away_without_a_word() -> None:
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_exit_without_shutdown() -> None:
    body = message("exit", None)
    done = run(standard_input=b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (done.returncode, done.stderr) == (1, b"")


def test_without_the_library_the_remedy_is_told() -> None:
    program = (
        "import sys; sys.modules['pygls'] = None; sys.argv[1:] = ['lsp'];"
        "from lockcheck.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "needs pygls, which is not installed" in done.stderr
    assert "pip install 'lockcheck[lsp]'" in done.stderr


def test_options_that_exclude_each_other() -> None:
    assert run("--cache", "x", "--no-cache").returncode == 2
