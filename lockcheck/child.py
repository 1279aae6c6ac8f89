"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
import time

_LOOK_SECONDS = 0.5


def end_with_parent(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Have this process sent a signal soon after its parent has died, whatever it is at then.

    parent: its process number, as the parent told it: it may be dead by now. A process that hangs
    in a library notices nothing else. (PR_SET_PDEATHSIG would come when the *thread* ends that
    started the process, too.)
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os.kill(os.getpid(), how)

    threading.Thread(target=watch, name="parent", daemon=True).start()
