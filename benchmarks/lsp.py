"""Time from an edit to its diagnostics, as an editor sees it.

    python benchmarks/lsp.py --tree SRC --build BUILD FILE PATHS...

Starts `lockcheck lsp`, opens FILE (relative to the tree), waits for the first diagnostics, then
edits it again and again. The seconds are those from the change to the diagnostics of that version,
the delay of the server included. The first edit of each kind is told apart: it changes what the one
before did as well, which the server may not be ready for.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import statistics
import sys
import time
from pathlib import Path

from lsprotocol import types
from pygls.lsp.client import LanguageClient

EDITS = (
    ("a comment at the end", lambda text: text + "/* edited */\n"),
    ("a line at the top", lambda text: "\n" + text),
    ("a new function", lambda text: text + "static int edited(int a)\n{\n\treturn a + 1;\n}\n"),
    ("a statement in a function", lambda text: _in_function(text, "\tif (!kvm)\n\t\treturn;\n")),
)


def _in_function(text: str, statement: str) -> str:
    """With a statement at the beginning of the last long function that is given a `kvm`."""
    heads = r"^(?:static )?void \w+\([^)]*struct kvm \*kvm\b[^)]*\)\n\{\n(?=(?:.+\n|\n){9})"
    found = list(re.finditer(heads, text, re.M))
    at = found[-1].end() if found else text.index("\n{\n") + 3
    return text[:at] + statement + text[at:]


async def run(arguments: argparse.Namespace) -> None:
    client = LanguageClient("benchmark", "1")
    told: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()
    client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda params: told.put_nowait(params))
    client.feature(types.WINDOW_LOG_MESSAGE)(lambda params: None)
    client.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: print(params.message))
    command = [sys.executable, "-c", "from lockcheck.cli import main; main()", "lsp", "--stdio",
               "--tree", arguments.tree]  # fmt: skip
    if arguments.build:
        command += ["--build", arguments.build]
    if arguments.cache:
        command += ["--cache", arguments.cache]
    root = Path(arguments.tree).resolve()
    file = root / arguments.file
    uri = file.as_uri()

    async def diagnostics(version: int) -> tuple[float, int]:
        while True:
            params = await told.get()
            if params.uri == uri and params.version == version:
                return time.monotonic(), len(params.diagnostics)

    def cpu() -> float:
        """CPU seconds of the server's process that analyses, and of what it started."""
        assert client._server is not None
        pids = _children(client._server.pid)
        return sum(_cpu(pid) for pid in (*pids, *(p for pid in pids for p in _children(pid))))

    begin = time.monotonic()
    await client.start_io(*command, *arguments.paths)
    await client.initialize_async(
        types.InitializeParams(
            types.ClientCapabilities(),
            workspace_folders=[types.WorkspaceFolder(root.as_uri(), "tree")],
        )
    )
    client.initialized(types.InitializedParams())
    text = file.read_text()
    client.text_document_did_open(
        types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, "c", 0, text))
    )
    ended, count = await diagnostics(0)
    print(f"start to first diagnostics: {ended - begin:.2f} s ({count} in {arguments.file})")
    versions = itertools.count(1)
    for name, edit in EDITS:
        seconds, used = [], cpu()
        for number in range(arguments.repeat + 1):
            version = next(versions)
            new = edit(text) + f"/* {number} */\n"
            begin = time.monotonic()
            client.text_document_did_change(
                types.DidChangeTextDocumentParams(
                    types.VersionedTextDocumentIdentifier(version, uri),
                    [types.TextDocumentContentChangeWholeDocument(new)],
                )
            )
            ended, count = await diagnostics(version)
            seconds.append(ended - begin)
            if not number:
                # The server gets ready for more edits of a text beside everything else.
                await asyncio.sleep(arguments.settle)
                used = cpu()
        first, *seconds = seconds
        each = ", ".join(f"{s:.2f}" for s in seconds)
        used = (cpu() - used) / arguments.repeat
        print(
            f"{name}: first {first:.2f} s, "
            f"then median {statistics.median(seconds):.2f} s ({each}), "
            f"{used:.2f} s of CPU each, {count} diagnostics"
        )
    for line, word in enumerate(text.split("\n")):
        if word.startswith(("bool kvm_zap", "static int direct_page_fault")):
            begin = time.monotonic()
            column = word.index("(") - 1
            await client.text_document_hover_async(
                types.HoverParams(types.TextDocumentIdentifier(uri), types.Position(line, column))
            )
            print(f"hover at {word[: column + 1].split()[-1]}(): {time.monotonic() - begin:.2f} s")
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()


def _stat(pid: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _children(parent: int) -> list[str]:
    folders = (folder.name for folder in Path("/proc").glob("[0-9]*"))
    return [pid for pid in folders if _stat(pid)[1:2] == [str(parent)]]


def _cpu(pid: str) -> float:
    ticks = sum(map(int, _stat(pid)[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", required=True)
    parser.add_argument("--build")
    parser.add_argument("--cache")
    parser.add_argument(
        "--settle", type=float, default=30, help="seconds after the first edit of a kind"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("file")
    parser.add_argument("paths", nargs="+")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
