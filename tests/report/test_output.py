"""Outputs are written whole or not at all, and what cannot be written is said early."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lockcheck.errors import LockcheckError
from lockcheck.findings.model import Report
from lockcheck.report import output, text


def listing(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_several_formats_at_once(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("text", None), ("text", tmp_path / "a.txt"), ("text", Path("-"))]
    output.write_outputs(report, pairs)
    assert (tmp_path / "a.txt").read_text() == text.render(report)
    assert capsys.readouterr().out == text.render(report) * 2
    assert listing(tmp_path) == ["a.txt"]


def test_permissions_follow_the_umask_and_an_old_file_keeps_its_own(
    report: Report, tmp_path: Path
) -> None:
    old = tmp_path / "old.txt"
    old.write_text("old")
    old.chmod(0o600)
    before = os.umask(0o027)
    try:
        output.write_outputs(report, [("text", tmp_path / "new.txt"), ("text", old)])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert old.read_text() == text.render(report)


def test_a_symbolic_link_is_followed(report: Report, tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    output.write_outputs(report, [("text", tmp_path / "link.txt")])
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == text.render(report)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_failure_in_the_middle_leaves_the_old_file_and_no_other(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail(descriptor: int) -> None:
        raise failure("no space")

    monkeypatch.setattr(os, "fsync", fail)
    expected = LockcheckError if failure is OSError else failure
    with pytest.raises(expected):
        output.write_outputs(report, [("text", target)])
    assert target.read_text() == "old"
    assert listing(tmp_path) == ["out.txt"]


def test_a_renderer_that_fails_leaves_no_output_at_all(report: Report, tmp_path: Path) -> None:
    def broken(report: Report) -> str:
        raise RuntimeError("renderer")

    formats = {**output.FORMATS, "broken": broken}
    pairs = [("text", tmp_path / "a.txt"), ("broken", tmp_path / "b.txt")]
    with pytest.raises(RuntimeError):
        output.write_outputs(report, pairs, formats=formats)
    assert listing(tmp_path) == []


def test_unwritable_is_told_with_a_remedy_before_the_analysis(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "no" / "out.txt", tmp_path, tmp_path / "file" / "out.txt"):
        with pytest.raises(LockcheckError) as caught:
            output.check_writable(path)
        assert caught.value.file == str(path)
        assert caught.value.remedy
    assert listing(tmp_path) == ["file"]


def test_missing_permission_is_told(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    fixed = tmp_path / "fixed.txt"
    fixed.write_text("x")
    # Tests may run as root, whom no mode bits stop: have the kernel's answer given here.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in (closed, fixed))
    for path in (closed / "out.txt", fixed):
        with pytest.raises(LockcheckError, match="permission"):
            output.check_writable(path)
        with pytest.raises(LockcheckError, match="permission"):
            output.write_outputs(report, [("text", path)])
    assert fixed.read_text() == "x"


def test_checking_creates_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("old")
    output.check_writable(None)
    output.check_writable(Path("-"))
    output.check_writable(Path("/dev/null"))
    output.check_writable(tmp_path / "new.txt")
    output.check_writable(tmp_path / "old.txt")
    assert listing(tmp_path) == ["old.txt"]
    assert (tmp_path / "old.txt").read_text() == "old"


def test_a_device_is_written_to_and_stays_a_device(report: Report) -> None:
    output.write_outputs(report, [("text", Path("/dev/null")), ("text", Path("/dev/null"))])
    assert not Path("/dev/null").is_file()


def test_unknown_format_and_a_path_given_twice(report: Report, tmp_path: Path) -> None:
    with pytest.raises(LockcheckError, match="unknown output format 'html'") as caught:
        output.write_outputs(report, [("html", None)])
    assert "text" in (caught.value.remedy or "")
    same = tmp_path / "x" / ".." / "a.txt"
    with pytest.raises(LockcheckError, match="same file"):
        output.write_outputs(report, [("text", tmp_path / "a.txt"), ("text", same)])
    assert listing(tmp_path) == []


def test_a_poor_locale_does_not_fail(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.write_outputs(report, [("odd", None)], formats={"odd": lambda _: "caf\u00e9\n"})
    assert raw.getvalue() == b"caf\\xe9\n"


SCRIPT = """
from lockcheck.report import output
output.write_outputs(None, [("x", None)], formats={"x": lambda _: "line\\n" * 100000})
"""


def run_script(stdout: int) -> subprocess.CompletedProcess[bytes]:
    package = Path(output.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run_script(writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_standard_output_is_one_clear_error() -> None:
    with open("/dev/full", "wb") as full:
        done = run_script(full.fileno())
    assert b"LockcheckError" in done.stderr
    assert b"Exception ignored" not in done.stderr
