"""The server's end of the process that analyses."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable

from lockcheck.config import Config
from lockcheck.lsp import worker
from lockcheck.lsp.messages import Failed, Reply, Request

_PATIENCE_SECONDS = 2.0


class Process:
    """Starts the process, sends requests, and hands every reply to a function.

    The function is called in a thread of its own. When the process dies by itself it gets a Failed.
    """

    def __init__(self, config: Config, receive: Callable[[Reply], None]) -> None:
        # A fresh interpreter: the server has threads, which a fork would not survive.
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=worker.main, args=(there, config), daemon=False)
        self._process.start()
        there.close()
        self._receive = receive
        self._closed = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def send(self, request: Request) -> None:
        """Send a request; one to a process that has died is lost."""
        with contextlib.suppress(OSError, ValueError):
            self._here.send(request)

    def _listen(self) -> None:
        failed = False
        while True:
            try:
                reply = self._here.recv()
            except (EOFError, OSError):
                break
            failed = failed or isinstance(reply, Failed)
            if not self._closed:
                self._receive(reply)
        if not self._closed and not failed:
            self._process.join(_PATIENCE_SECONDS)
            code = self._process.exitcode
            self._receive(Failed(f"the process that analyses ended by itself (status {code})"))

    def stop(self) -> None:
        """Have the process end, and whatever it started; do not wait for that."""
        self._closed = True
        self._process.terminate()

    def close(self) -> None:
        """End the process and whatever it started."""
        self.stop()
        self._process.join(_PATIENCE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        with contextlib.suppress(OSError):
            self._here.close()
