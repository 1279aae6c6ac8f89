"""A process for what can be found out beside other work."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")


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
        target=_work, args=(receiver, sender, function, arguments), daemon=True
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


def _work(
    receiver: Connection, sender: Connection, function: Callable[..., Any], arguments: Any
) -> None:
    receiver.close()  # else nothing would tell that nobody listens any more
    # An interrupt is the parent's. When that ends this process, the stack unwinds: what kbuild
    # started, for one, is ended with whoever waits for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.suppress(BrokenPipeError):
        try:
            sender.send((function(*arguments), None))
        except BrokenPipeError:
            raise
        except Exception as error:
            sender.send((None, error))
