"""The process that analyses, so that the server answers its client at any time.

A check is given up where the analysis tells of its progress; questions that came meanwhile are
answered there, too, from the last check that went to its end.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import deque
from multiprocessing.connection import Connection
from typing import NoReturn

from lockcheck.config import Config
from lockcheck.errors import LockcheckError
from lockcheck.findings.answers import FunctionAnswer, MissingAssertion, PlaceAnswer
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
    Request,
    Step,
    Stopped,
)
from lockcheck.rules.places import Places
from lockcheck.workspace import Workspace

_STEPS = 8  # a phase is told of in so many steps


class _Cancelled(Exception):
    """Nobody wants the check that runs any more."""


class _Inbox:
    """Requests that have come, in order; the connection's end ends the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Request] = deque()

    def next(self) -> Request:
        if not self._waiting:
            self._receive()
        return self._waiting.popleft()

    def look(self) -> None:
        """Take in what has come, without waiting."""
        while self._connection.poll():
            self._receive()

    def _receive(self) -> None:
        try:
            self._waiting.append(self._connection.recv())
        except (EOFError, OSError):
            raise SystemExit(0) from None

    def is_outdated(self, number: int) -> bool:
        """Whether a check was cancelled, or another one was asked for."""
        return any(
            isinstance(request, Check) or (isinstance(request, Cancel) and request.number == number)
            for request in self._waiting
        )

    def questions(self) -> list[AskPlace | AskAssertions]:
        """Take the questions out."""
        found = [r for r in self._waiting if isinstance(r, AskPlace | AskAssertions)]
        self._waiting = deque(r for r in self._waiting if r not in found)
        return found


class _Worker:
    """Implements lockcheck.progress.Progress: there it looks at what has come."""

    def __init__(self, connection: Connection, config: Config) -> None:
        self._connection = connection
        self._inbox = _Inbox(connection)
        self._places: Places | None = None
        self._number = 0
        self._phase, self._total, self._done = "", 0, 0
        self._workspace = Workspace(config, self)
        units = frozenset(command.file for command in self._workspace.commands.commands)
        self._send(Ready(str(config.tree.root), units))

    def _send(self, reply: Reply) -> None:
        try:
            self._connection.send(reply)
        except OSError:
            raise SystemExit(0) from None

    def close(self) -> None:
        """End the processes that it started."""
        self._workspace.close()

    # -- progress ------------------------------------------------------------------------------

    def begin(self, phase: str, total: int | None) -> None:
        """Tell of it."""
        self._phase, self._total, self._done = phase, total or 0, 0
        self._tell()

    def advance(self, what: str) -> None:
        """Tell of it now and then, and look whether anything else is wanted."""
        self._done += 1
        if self._done % max(1, self._total // _STEPS) == 0:
            self._tell()
        self._look()

    def end(self) -> None:
        """Look whether anything else is wanted."""
        self._look()

    def _tell(self) -> None:
        if self._number:
            self._send(Step(self._number, self._phase, self._done, self._total or None))

    def _look(self) -> None:
        if not self._number:
            return  # not checking
        self._inbox.look()
        for question in self._inbox.questions():
            self._answer(question)
        if self._inbox.is_outdated(self._number):
            raise _Cancelled

    # -- requests ------------------------------------------------------------------------------

    def serve(self) -> NoReturn:
        """Answer until the other end closes."""
        while True:
            request = self._inbox.next()
            if isinstance(request, Check):
                self._check(request)
            elif isinstance(request, AskPlace | AskAssertions):
                self._answer(request)

    def _check(self, request: Check) -> None:
        self._number = request.number
        try:
            # Several may wait: only the last one is wanted.
            self._inbox.look()
            if self._inbox.is_outdated(request.number):
                raise _Cancelled
            report = self._workspace.report(request.overlay, self)
            program = self._workspace.program
            if program is not None:
                self._places = Places(program, report.obligations)
            self._number = 0
            self._send(Done(request.number, report))
            self._expect(request)
        except _Cancelled:
            self._send(Stopped(request.number, ""))
        except LockcheckError as error:
            self._send(Stopped(request.number, str(error)))
        except Exception as error:  # the next text may be one that does not bring it about
            _trace(error)
            self._send(Stopped(request.number, f"internal error: {type(error).__name__}: {error}"))
        finally:
            self._number = 0

    def _expect(self, request: Check) -> None:
        """Get ready for the next edit, unless it is there already."""
        self._inbox.look()
        if request.edited and not self._inbox.is_outdated(request.number):
            self._workspace.expect_edits(request.edited, request.overlay)

    def _answer(self, question: AskPlace | AskAssertions) -> None:
        value: FunctionAnswer | PlaceAnswer | list[MissingAssertion] | None = None
        try:
            if self._places is not None:
                value = _look_up(self._places, question)
        except Exception as error:  # a question must not end the process
            _trace(error)
        self._send(Answer(question.number, value))


def _look_up(
    places: Places, question: AskPlace | AskAssertions
) -> FunctionAnswer | PlaceAnswer | list[MissingAssertion] | None:
    if isinstance(question, AskAssertions):
        return places.missing_assertions(question.file, question.line, question.findings)
    if question.is_call:
        key = places.named(question.word, question.file)
        if key is not None:
            return places.function(key)
    if places.is_lock(question.word):
        key = places.function_at(question.file, question.line)
        if key is not None:
            return places.held(key, question.line)
    return None


def _trace(error: Exception) -> None:
    if os.environ.get("LOCKCHECK_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)


def main(connection: Connection, config: Config) -> None:
    """Serve one configuration until the connection closes. The process's entry point."""
    os.dup2(2, 1)  # standard output is the server's, for its client alone
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides what an interrupt means
    signal.signal(signal.SIGTERM, _terminate)  # unwinding ends the workers that parse
    try:
        worker = _Worker(connection, config)
    except LockcheckError as error:
        connection.send(Failed(str(error)))
        return
    except Exception as error:
        _trace(error)
        connection.send(Failed(f"internal error: {type(error).__name__}: {error}"))
        return
    try:
        worker.serve()
    except SystemExit as end:
        worker.close()
        # To take all that is known apart, as the interpreter would, takes seconds.
        os._exit(end.code if isinstance(end.code, int) else 1)


def _terminate(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
