"""A process for what can be found out beside other work."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context


@contextlib.contextmanager
def beside() -> Iterator[ProcessPoolExecutor]:
    """One process that does what is submitted. It ends with the block, at once after an error."""
    before = set(active_children())
    pool = ProcessPoolExecutor(1, get_context("fork"), _end_quietly)
    try:
        yield pool
    except BaseException:
        for child in set(active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown()


def _end_quietly() -> None:
    """Leave an interrupt to the parent; when it ends this process, unwind: others may depend on it.

    What kbuild started, for one, is ended with whoever waits for it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
