"""A process for what can be found out beside other work."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from lockcheck.child import end_with_parent

T = TypeVar("T")

_LOOK_SECONDS = 0.5  # how soon it is noticed that the other process has died
_AGAIN_SECONDS = 0.01  # after which a signal is tried again
_END_SECONDS = 5  # how long the other process may take to end in good order


@contextlib.contextmanager
def beside(function: Callable[..., T], *arguments: Any) -> Iterator[Callable[[], T]]:
    """Call a function in a process of its own; gives what waits for the result.

    The wait raises what the function raised, and EOFError when the process died. It ends with the
    block, at once after an error. It does one thing and ends, so it ends without its parent, too:
    the executors of the library would wait for more.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_work, args=(os.getpid(), receiver, sender, function, arguments), daemon=True
    )
    process.start()
    sender.close()

    def wait() -> T:
        value, error = receiver.recv()
        if error is not None:
            raise error
        result: T = value
        return result

    try:
        yield wait
    except BaseException:
        process.terminate()
        raise
    finally:
        receiver.close()
        process.join()


class Sent(Generic[T]):
    """What a process of its own sends, which may be far ahead of whoever receives it.

    Unlike `beside`, it may start processes. `close` ends it, and must be called.
    """

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        """Start `function(send, *arguments)`; each `send(value)` returns at once."""
        context = get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_send, args=(os.getpid(), self._receiver, sender, function, arguments)
        )
        self._process.start()
        sender.close()

    def __iter__(self) -> Iterator[T]:
        """What was not received yet. It ends with the function, by whatever end that comes to."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                while not self._receiver.poll(_LOOK_SECONDS):
                    # Its children hold the pipe as well: there need not be an end of file.
                    if not self._process.is_alive() and not self._receiver.poll():
                        return
                yield self._receiver.recv()

    def close(self) -> None:
        """End the process, wherever it is."""
        self._process.terminate()
        self._receiver.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()  # its children end with it
            self._process.join()


def _send(
    parent: int,
    receiver: Connection,
    sender: Connection,
    function: Callable[..., None],
    arguments: Any,
) -> None:
    receiver.close()
    _be_a_child(parent)
    queue: SimpleQueue[Any] = SimpleQueue()
    end = object()

    def pass_on() -> None:
        with contextlib.suppress(BrokenPipeError):
            while (value := queue.get()) is not end:
                sender.send(value)

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    with contextlib.suppress(Exception):  # it only works ahead: whoever receives finds out alone
        function(queue.put, *arguments)
    queue.put(end)
    thread.join()


def _work(
    parent: int,
    receiver: Connection,
    sender: Connection,
    function: Callable[..., Any],
    arguments: Any,
) -> None:
    receiver.close()  # else nothing would tell that nobody listens any more
    _be_a_child(parent)
    with contextlib.suppress(BrokenPipeError):
        try:
            sender.send((function(*arguments), None))
        except BrokenPipeError:
            raise
        except Exception as error:
            sender.send((None, error))


def _be_a_child(parent: int) -> None:
    """An interrupt is the parent's. When that ends this process, the stack unwinds: what kbuild
    started, for one, is ended with whoever waits for it. So it is when the parent dies.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, lambda *_: sys.exit(1))
    report = sys.unraisablehook

    def not_here(ignored: sys.UnraisableHookArgs) -> None:
        if isinstance(ignored.exc_value, SystemExit):
            # The signal met code that nothing can be raised from, such as what a garbage collector
            # calls. Once more, when that is over.
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            report(ignored)

    sys.unraisablehook = not_here
    end_with_parent(parent, signal.SIGTERM)
