"""Progress is for terminals: a bar there, nothing in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from lockcheck.progress import SilentProgress, TerminalProgress, progress_for_terminal

ROOT = Path(__file__).parents[2]
COMMAND = [
    *(sys.executable, "-m", "lockcheck.cli", "check", "--tree", "fixtures"),
    *("--no-cache", "--exit-zero", "demo"),
]


def on_terminal(term: str) -> tuple[str, str]:
    """Run a check with standard error on a terminal; return what went to stdout and stderr."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "TERM": term},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        drawn = b""
        try:
            while chunk := os.read(ours, 65536):
                drawn += chunk
        except OSError:
            pass  # EIO: the last process has closed its end
        os.close(ours)
        assert process.stdout is not None
        text = process.stdout.read()
    assert process.returncode == 0
    return text, drawn.decode()


def test_a_bar_on_a_terminal_and_nothing_of_it_in_the_report() -> None:
    text, drawn = on_terminal("xterm")
    assert "units" in drawn
    assert "\033" not in text
    assert text.endswith("\n") and "lockcheck: " in text


def test_no_bar_on_a_terminal_that_cannot_draw() -> None:
    _, drawn = on_terminal("dumb")
    assert drawn == ""


def test_nothing_in_a_pipe() -> None:
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(progress_for_terminal(), TerminalProgress)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert isinstance(progress_for_terminal(), SilentProgress)


@pytest.mark.parametrize("progress", [SilentProgress(), TerminalProgress()])
def test_order_does_not_matter(progress: SilentProgress | TerminalProgress) -> None:
    """An analysis that fails in the middle leaves phases open, and ends what did not begin."""
    progress.end()
    progress.advance("a")
    progress.begin("one", 2)
    progress.begin("two", None)
    progress.advance("a.c [bold]")
    progress.end()
    progress.end()
