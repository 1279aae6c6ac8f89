"""Processes that read units."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from lockcheck.lower import worker


def _work(ready: Connection, parent: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as whoever starts workers may have it
    worker._initialise(worker._Setup(Path("/"), [{}], frozenset(), frozenset(), parent))
    ready.send(None)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # what the pool does with whatever a unit raises
            continue


def test_a_worker_that_is_told_to_end_does_so_at_once() -> None:
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, os.getpid()), daemon=True)
    process.start()
    here.recv()
    process.terminate()
    process.join(10)
    try:
        assert process.exitcode == -signal.SIGTERM
    finally:
        process.kill()
        process.join()
