"""What is found out in a process beside other work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lockcheck import beside as beside_module
from lockcheck.beside import Sent, beside
from lockcheck.errors import LockcheckError


def test_the_result_comes_back() -> None:
    with beside(divmod, 7, 2) as wait:
        assert wait() == (3, 1)


def test_an_error_comes_back_whole() -> None:
    def fail() -> None:
        raise LockcheckError("wrong", file="f", line=3, remedy="mend it")

    with pytest.raises(LockcheckError) as caught, beside(fail) as wait:
        wait()
    assert str(caught.value) == "f:3: wrong\n  remedy: mend it"


def test_it_ends_with_an_error_of_the_block() -> None:
    with pytest.raises(ZeroDivisionError), beside(time.sleep, 600):
        raise ZeroDivisionError


def test_a_process_that_dies_is_told() -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(EOFError), beside(die) as wait:
        wait()


def test_a_result_that_nobody_wants_blocks_nothing() -> None:
    with beside(bytes, 10_000_000):
        pass


def test_what_is_sent_comes_in_order_and_ends() -> None:
    def send(tell: Callable[[int], None], count: int) -> None:
        for number in range(count):
            tell(number)

    sent: Sent[int] = Sent(send, 3)
    try:
        assert list(sent) == [0, 1, 2]
        assert list(sent) == []
    finally:
        sent.close()


def test_nobody_has_to_receive_for_it_to_go_on(tmp_path: Path) -> None:
    def send(tell: Callable[[bytes], None]) -> None:
        tell(bytes(10_000_000))
        (tmp_path / "went on").touch()
        tell(b"last")

    sent: Sent[bytes] = Sent(send)
    try:
        _wait_for(tmp_path / "went on")
        assert [len(value) for value in sent] == [10_000_000, 4]
    finally:
        sent.close()


@pytest.mark.parametrize("leaves_a_child", [False, True])
def test_a_sender_that_dies_has_ended(leaves_a_child: bool) -> None:
    def send(tell: Callable[[str], None]) -> None:
        tell("first")
        if leaves_a_child:  # which holds the pipe for longer than this test may take
            subprocess.Popen(["sleep", "20"], close_fds=False)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    sent: Sent[str] = Sent(send)
    try:
        assert list(sent) == ["first"]
    finally:
        sent.close()


def test_a_sender_that_fails_has_ended() -> None:
    def send(tell: Callable[[int], None]) -> None:
        tell(1)
        raise ValueError

    sent: Sent[int] = Sent(send)
    try:
        assert list(sent) == [1]
    finally:
        sent.close()


def test_closing_ends_a_sender_at_once() -> None:
    sent: Sent[int] = Sent(lambda tell: time.sleep(600))
    started = time.monotonic()
    sent.close()
    assert time.monotonic() - started < 60


def _wait_for(file: Path) -> None:
    for _ in range(600):
        if file.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{file} did not come")


HANGS = """
import ctypes, os, signal, sys
from multiprocessing import get_context
from lockcheck.child import end_with_parent

def hang(parent, told):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent, signal.Signals(int(sys.argv[1])))
    told.send(os.getpid())
    ctypes.CDLL(None).pause()  # as libclang may: nothing of Python runs in this thread

context = get_context("fork")
receiver, sender = context.Pipe(duplex=False)
context.Process(target=hang, args=(os.getpid(), sender), daemon=True).start()
print(receiver.recv(), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_hangs_ends_with_its_parent(how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HANGS, str(int(how))], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while is_running(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # nobody need have looked after it


def test_what_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_module, "_END_SECONDS", 0.2)

    def stay(tell: Callable[[int], None]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tell(os.getpid())
        time.sleep(600)

    sent: Sent[int] = Sent(stay)
    process = next(iter(sent))
    sent.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_signal_that_meets_a_finalizer_ends_it_all_the_same(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Thing:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)  # the handler runs before this returns

    def stay(tell: Callable[[int], None]) -> None:
        tell(os.getpid())
        Thing()
        time.sleep(20)
        tell(0)

    sent: Sent[int] = Sent(stay)
    assert len(list(sent)) == 1
    sent.close()
    assert capfd.readouterr().err == ""
