"""One tree of a session: its process, what was asked of it, and what its client was told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from lsprotocol import types

from lockcheck.config import Config
from lockcheck.errors import Notice
from lockcheck.findings.answers import MissingAssertion
from lockcheck.findings.model import Finding, Report
from lockcheck.lsp import diagnostics as diags
from lockcheck.lsp.messages import (
    Answer,
    AskAssertions,
    AskPlace,
    Cancel,
    Check,
    Done,
    Failed,
    Ready,
    Reply,
    Step,
    Stopped,
)
from lockcheck.lsp.process import Process
from lockcheck.lsp.text import Text

_MAX_RESTARTS = 3  # of a process that dies, until something is saved


class Document(NamedTuple):
    """A file that is open in the client."""

    uri: str
    path: Path
    version: int | None
    text: str


class Progress(Protocol):
    """Shows how far one check is; see lockcheck.lsp.bar.Bar."""

    token: str

    def report(self, phase: str, done: int, total: int | None) -> None: ...
    def end(self, message: str) -> None: ...


class Client(Protocol):
    """What a tree needs of the server."""

    def publish(
        self, uri: str, version: int | None, diagnostics: list[types.Diagnostic]
    ) -> None: ...
    def log(self, text: str) -> None: ...
    def complain(self, text: str) -> None: ...
    def show_progress(self) -> Progress: ...


class Tree:
    """Checks one tree whenever its documents change. Everything happens in the server's loop."""

    def __init__(
        self,
        config: Config,
        delay: float,
        client: Client,
        documents: Mapping[str, Document],
    ) -> None:
        """documents: what is open, by URI; the server keeps it up to date."""
        self.config = config
        self._delay = delay
        self._client = client
        self._documents = documents
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._process: Process | None = None
        self._ready: Ready | None = None
        self._restarts = 0
        self._timer: asyncio.TimerHandle | None = None
        self._running = 0  # the number of the check that runs, 0 for none
        self._bar: Progress | None = None
        self._checked: dict[str, bytes | None] = {}  # the overlay of the check that runs
        self._gone: set[str] = set()  # files that were deleted
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._told: dict[str, list[types.Diagnostic]] = {}  # by file
        self._good: dict[str, list[types.Diagnostic]] = {}
        self._good_errors: set[tuple[str | None, str]] = set()
        self.report: Report | None = None  # the last one that was good

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process and the first check."""
        self._process = Process(self.config, self._hear)
        self.check()

    def stop(self) -> None:
        """Have the process end, and hear no more of it."""
        if self._process is not None:
            self._process.stop()

    def close(self) -> None:
        """End the process; what the client was told is taken back."""
        self._drop_check("closed")
        for future in self._waiting.values():
            future.cancel()
        if self._process is not None:
            self._process.close()
            self._process = None

    def withdraw(self) -> None:
        """Take all diagnostics back."""
        for file in list(self._told):
            self._tell(file, [])

    def _drop_check(self, why: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._running = 0
        if self._bar is not None:
            self._bar.end(why)
            self._bar = None

    # -- files ---------------------------------------------------------------------------------

    def relative(self, path: Path) -> str | None:
        """A file's path relative to the tree, None for one that is not in it."""
        return self.config.tree.relative(path)

    def forget(self, file: str, *, gone: bool) -> None:
        """A file was changed, made (or deleted: `gone`) outside of the client."""
        (self._gone.add if gone else self._gone.discard)(file)

    def _open(self) -> dict[str, Document]:
        found = {}
        for document in self._documents.values():
            file = self.relative(document.path)
            if file is not None:
                found[file] = document
        return found

    def _overlay(self) -> dict[str, bytes | None]:
        """All that differs from the files on disk."""
        overlay: dict[str, bytes | None] = {}
        root = self.config.tree.root
        units = self._ready.units if self._ready else frozenset()
        for file in self._gone & units:
            if not (root / file).exists():
                overlay[file] = None
        for file, document in self._open().items():
            text = document.text.encode("utf-8", "replace")
            try:
                same = (root / file).read_bytes() == text
            except OSError:
                same = False
            if not same:
                overlay[file] = text
        return overlay

    # -- checking ------------------------------------------------------------------------------

    def check(self, delay: float | None = None, *, again: bool = False) -> None:
        """Check after a delay without another call; at once without `delay`.

        again: start a process that had failed once more.
        """
        if again:
            self._restarts = 0
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay or 0, self._check)

    def changed(self) -> None:
        """Text was changed: check when that ends."""
        self.check(self._delay)

    def _check(self) -> None:
        self._timer = None
        if self._process is None:
            if self._restarts >= _MAX_RESTARTS:
                return
            self._restarts += 1
            self._process = Process(self.config, self._hear)
        number = next(self._numbers)
        self._checked = self._overlay()
        self._running = number
        if self._bar is None:
            self._bar = self._client.show_progress()
        self._process.send(Check(number, self._checked, next(reversed(self._open()), "")))

    def has_bar(self, token: object) -> bool:
        """Whether a progress token is this tree's."""
        return self._bar is not None and self._bar.token == token

    def cancel(self) -> None:
        """Stop the check that runs; the client keeps what it was told before."""
        if self._running and self._process is not None:
            self._process.send(Cancel(self._running))

    # -- replies -------------------------------------------------------------------------------

    def _hear(self, reply: Reply) -> None:
        """Called in the process's thread."""
        self._loop.call_soon_threadsafe(self._take, self._process, reply)

    def _take(self, process: Process | None, reply: Reply) -> None:
        if process is not self._process and not isinstance(reply, Ready):
            return  # of one that was closed
        if isinstance(reply, Ready):
            self._ready = reply
        elif isinstance(reply, Failed):
            self._fail(reply.text)
        elif isinstance(reply, Answer):
            future = self._waiting.pop(reply.number, None)
            if future is not None and not future.done():
                future.set_result(reply.value)
        elif reply.number == self._running:
            if isinstance(reply, Step):
                if self._bar is not None:
                    self._bar.report(reply.phase, reply.done, reply.total)
                return
            checked = self._checked
            self._drop_check("cancelled" if isinstance(reply, Stopped) else "done")
            if isinstance(reply, Done):
                self._accept(reply.report, checked)
            elif reply.error:
                self._client.complain(reply.error)
            else:
                self._client.log("the check was cancelled")

    def _fail(self, text: str) -> None:
        self._drop_check("failed")
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()
        if self._process is not None:
            self._process.close()
            self._process = None
        self._client.complain(text)

    # -- what the client is told ---------------------------------------------------------------

    def _accept(self, report: Report, checked: dict[str, bytes | None]) -> None:
        text_of = _reader(self.config.tree.root, checked)
        opened = self._open()
        errors = [n for n in report.notices if n.code in diags.HAS_ERRORS and n.file]
        broken = [
            n
            for n in errors
            if n.file in opened or (checked and (n.file, n.message) not in self._good_errors)
        ]
        kept = bool(broken) and self.report is not None
        if not kept:
            self.report = report
            self._good = diags.diagnostics(report, text_of)
            self._good_errors = {(n.file, n.message) for n in errors}
        found = {file: list(items) for file, items in self._good.items()}
        for notice in broken:
            found.setdefault(notice.file or "", []).append(
                diags.of_notice(notice, text_of, kept=kept)
            )
        for notice in self._other_notices(report):
            self._client.log(f"{notice.severity}: {notice.message}")
        if self._ready is not None:
            for file in opened:
                if file.endswith(".c") and file not in self._ready.units:
                    found.setdefault(file, []).append(diags.not_read(file, self.config.paths))
        for file in {*self._told, *found, *opened}:
            self._tell(file, found.get(file, []), document=opened.get(file))

    def _other_notices(self, report: Report) -> list[Notice]:
        return [n for n in report.notices if n.code not in diags.HAS_ERRORS]

    def _tell(
        self, file: str, found: list[types.Diagnostic], document: Document | None = None
    ) -> None:
        if document is None and self._told.get(file, []) == found:
            return
        if found:
            self._told[file] = found
        else:
            self._told.pop(file, None)
        uri = (self.config.tree.root / file).as_uri() if document is None else document.uri
        self._client.publish(uri, None if document is None else document.version, found)

    # -- questions -----------------------------------------------------------------------------

    async def about(self, file: str, line: int, word: str, *, is_call: bool) -> object:
        """What is known of a word at a place: a FunctionAnswer, a PlaceAnswer or None."""
        return await self._ask(lambda number: AskPlace(number, file, line, word, is_call))

    async def assertions(
        self, file: str, line: int, findings: tuple[Finding, ...]
    ) -> list[MissingAssertion]:
        """The assertions that could be added."""
        found = await self._ask(lambda number: AskAssertions(number, file, line, findings))
        return found if isinstance(found, list) else []

    async def _ask(self, make: Callable[[int], AskPlace | AskAssertions]) -> object:
        if self._process is None or self.report is None:
            return None
        number = next(self._numbers)
        future: asyncio.Future[object] = self._loop.create_future()
        self._waiting[number] = future
        self._process.send(make(number))
        try:
            return await future
        finally:
            self._waiting.pop(number, None)


def _reader(root: Path, overlay: Mapping[str, bytes | None]) -> Callable[[str], Text]:
    """Texts of files as they were checked, each read once."""
    known: dict[str, Text] = {}

    def text_of(file: str) -> Text:
        text = known.get(file)
        if text is None:
            content = overlay.get(file)
            if content is None:
                try:
                    content = (root / file).read_bytes()
                except OSError:
                    content = b""
            text = known[file] = Text(content.decode("utf-8", "replace"))
        return text

    return text_of
