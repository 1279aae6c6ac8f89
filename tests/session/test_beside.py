"""What is found out in a process beside other work."""

from __future__ import annotations

import os
import signal
import time

import pytest

from lockcheck.beside import beside
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
