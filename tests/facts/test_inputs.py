"""Whether everything that facts were made from is as it was, as a view of the files tells it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lockcheck.facts.inputs import NO_FILE, Disk, SourceView, UnitInputs, digest


def absent(directory: Path, *names: str) -> UnitInputs:
    return UnitInputs((), ((str(directory), names),))


def read(path: Path) -> UnitInputs:
    return UnitInputs(((str(path), digest(path.read_bytes())),))


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x.c").write_text("int x;\n")
    (tmp_path / "y.c").write_text("int x;\n")
    view = SourceView()

    assert view.of(str(tmp_path / "x.c")) == view.of(str(tmp_path / "y.c")) != NO_FILE
    assert view.of(str(tmp_path / "z.c")) == NO_FILE
    assert view.of(str(tmp_path)) == NO_FILE


def test_a_name_that_must_not_be_there(tmp_path: Path) -> None:
    wanted = absent(tmp_path, "a.h", "b.h")
    assert SourceView().matches(wanted)
    (tmp_path / "c.h").touch()
    assert SourceView().matches(wanted)
    (tmp_path / "b.h").touch()

    assert not SourceView().matches(wanted)


def test_a_directory_that_must_not_be_there(tmp_path: Path) -> None:
    wanted = absent(tmp_path / "linux")
    assert SourceView().matches(wanted)
    (tmp_path / "linux").touch()  # a file is none
    assert SourceView().matches(wanted)
    (tmp_path / "linux").unlink()
    (tmp_path / "linux").mkdir()

    assert not SourceView().matches(wanted)


def test_a_new_file_of_an_overlay_is_there(tmp_path: Path) -> None:
    new = tmp_path / "linux/deep/a.h"
    view = SourceView({str(new): b"new"})

    assert view.of(str(new)) == digest(b"new")
    assert view.of(str(tmp_path / "linux/../linux/deep/a.h")) == digest(b"new")
    assert not view.matches(absent(new.parent, "a.h"))
    assert not view.matches(absent(tmp_path / "linux"))
    assert not view.matches(absent(tmp_path, "linux"))
    assert view.matches(absent(new.parent, "b.h"))


def test_a_file_that_an_overlay_takes_away(tmp_path: Path) -> None:
    old = tmp_path / "a.h"
    old.write_text("old")
    view = SourceView({str(old): None, str(tmp_path / "never.h"): None})

    assert view.of(str(old)) == NO_FILE
    assert not view.matches(read(old))
    assert view.matches(absent(tmp_path, "a.h", "never.h"))
    assert SourceView().matches(read(old))


def test_an_overlay_is_found_through_a_link(tmp_path: Path) -> None:
    """As by clang, which knows files by their inode."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.h").write_text("old")
    (tmp_path / "link").symlink_to("real")
    view = SourceView({str(tmp_path / "real/a.h"): b"patched"})

    assert view.of(str(tmp_path / "link/a.h")) == digest(b"patched")
    assert view.of(f"{tmp_path}/link/../real/./a.h") == digest(b"patched")


def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.h").write_text(name)
    link = tmp_path / "link"
    link.symlink_to("one")
    wanted = read(link / "a.h")
    assert SourceView().matches(wanted)
    link.unlink()
    link.symlink_to("two")

    assert not SourceView().matches(wanted)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_directory_that_cannot_be_read_matches_nothing(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o300)

    assert not SourceView().matches(absent(tmp_path / "closed", "a.h"))


def test_what_a_disk_remembers_is_what_is_there(tmp_path: Path) -> None:
    """Same size, same times, as close together as can be: another content is still another one."""
    disk = Disk()
    path = tmp_path / "a.h"
    for number in range(50):
        path.write_text(f"{number:03}")
        os.utime(path, (1_000_000_000, 1_000_000_000))

        assert SourceView({}, disk).of(str(path)) == digest(f"{number:03}".encode())


def test_a_disk_remembers_a_settled_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h"
    path.write_text("one")
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr("lockcheck.facts.inputs.time.time_ns", lambda: later)
    disk = Disk()
    first = SourceView({}, disk).of(str(path))
    opened: list[str] = []
    monkeypatch.setattr("builtins.open", lambda name, *_, **__: opened.append(name))

    assert SourceView({}, disk).of(str(path)) == first
    assert opened == []
