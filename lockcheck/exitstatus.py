"""How a command ends: the exit status, the one message, and no worker left behind."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NoReturn

import click

from lockcheck.errors import LockcheckError

# How long workers may take to end after an interrupt before they are killed.
_PATIENCE_SECONDS = 2.0


class ExitStatus(IntEnum):
    """What the shell is told."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    INCOMPLETE = 3  # wins over FINDINGS: what was not read may hold more
    INTERNAL = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 128 + signal.SIGINT
    TERMINATED = 128 + signal.SIGTERM


HELP = """\b
Exit status:
  0    clean: everything was analysed, nothing found
  1    findings that no suppression accepts
  2    an error in options, configuration, rules or tree; no report is written
  3    incomplete: something could not be analysed, with or without findings
  70   an error in lockcheck itself
  130  interrupted"""


class GuardedGroup(click.Group):
    """A group of commands that turns whatever ends one of them into an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Whoever calls sees click's exceptions only, never a stack trace."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (LockcheckError, KeyboardInterrupt, Exception) as error:
            with _undisturbed():
                _end_workers()
                status = _explain(error)
            ctx.exit(status)


def run(command: click.Command, name: str) -> NoReturn:
    """Run `command` as the program `name` and end the process."""
    _open_standard_streams()
    _listen()
    try:
        command(prog_name=name)
    except SystemExit as end:
        status = end.code
    finally:
        _end_workers()
        # The work is over: from here on Ctrl-C ends the process without a stack trace.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _leave(status)


def _leave(status: object) -> NoReturn:
    """End the process, at once if it can be: to free a large program takes a second."""
    if isinstance(status, int) and threading.active_count() == 1:
        with contextlib.suppress(OSError, ValueError):  # then Python tells of it in its own way
            sys.stdout.flush()
            sys.stderr.flush()
            atexit._run_exitfuncs()
            os._exit(status)
    sys.exit(status)  # type: ignore[arg-type]


def _open_standard_streams() -> None:
    """Open what was closed (`>&-`) on /dev/null, else the next file that is opened takes its place.

    Python sets such a stream to None, on which everything that prints would fail.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        mode = os.O_WRONLY if number else os.O_RDONLY
        descriptor = os.open(os.devnull, mode)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
        setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def _explain(error: BaseException) -> ExitStatus:
    """Print why the command ended."""
    if isinstance(error, LockcheckError):
        _complain(f"error: {error}")
        return ExitStatus.USAGE
    if isinstance(error, KeyboardInterrupt):
        _complain("interrupted")
        return ExitStatus.INTERRUPTED
    if os.environ.get("LOCKCHECK_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    _complain(f"internal error: {summary}; please report this, with what LOCKCHECK_DEBUG=1 prints")
    return ExitStatus.INTERNAL


def _complain(message: str) -> None:
    """Print a message to standard error, if there is still somebody to read it."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"lockcheck: {message}", err=True)


def _end_workers() -> None:
    """End the workers that still run: nobody wants their results any more."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(_PATIENCE_SECONDS)
        if child.is_alive():
            child.kill()
            child.join()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """While cleaning up, another Ctrl-C is not heard."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which is the one that Ctrl-C interrupts
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listen() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does: whoever started workers ends them.

    Workers are forked with these handlers. One that has not yet replaced them has nothing to
    unwind, and no trace of its own to print.
    """
    program = os.getpid()

    def terminate(number: int, frame: object) -> NoReturn:
        if os.getpid() != program:
            os._exit(ExitStatus.TERMINATED)
        sys.exit(ExitStatus.TERMINATED)

    def interrupt(number: int, frame: object) -> NoReturn:
        if os.getpid() != program:
            os._exit(ExitStatus.INTERRUPTED)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    # A shell without job control starts programs with SIGINT ignored: that stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
