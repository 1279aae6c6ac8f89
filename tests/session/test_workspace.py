"""A workspace reads again only what a change reaches, and reports what a run of its own would."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import time
import weakref
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lockcheck import units
from lockcheck import workspace as workspace_module
from lockcheck.config import Config
from lockcheck.findings.model import Report
from lockcheck.lower.worker import PlacedJob, UnitJob
from lockcheck.session import analyse
from lockcheck.source.commands import CommandSet
from lockcheck.source.tree import find_tree
from lockcheck.units import Contents
from lockcheck.workspace import Workspace

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
FILE = "demo/page_track.c"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The demo's units in a tree of their own."""
    root = tmp_path / "linux"
    root.mkdir()
    for entry in FIXTURES.iterdir():
        if entry.is_file():
            shutil.copy(entry, root)
        elif entry.name in ("demo", "include", "arch"):
            shutil.copytree(entry, root / entry.name)
    entries = json.loads((root / "compile_commands.json").read_text())
    kept = [entry for entry in entries if entry["file"].startswith("demo/")]
    (root / "compile_commands.json").write_text(json.dumps(kept))
    return Config(tree=find_tree(root), paths=("demo",))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The units that were parsed."""
    parsed: list[str] = []
    original = units.read_units

    def note(jobs: object, *rest: object) -> object:
        parsed.extend(job.file for job in jobs)  # type: ignore[attr-defined]
        return original(jobs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(units, "read_units", note)
    return parsed


class Ahead:
    """The units that were parsed by other processes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.here = os.getpid()

    def note(self, job: UnitJob) -> None:
        if os.getpid() != self.here:
            with self.file.open("a") as file:
                print(job.file, file=file)

    def take(self) -> list[str]:
        """Those since the last time."""
        found = self.file.read_text().split() if self.file.exists() else []
        self.file.unlink(missing_ok=True)
        return found


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ahead:
    parsed = Ahead(tmp_path / "parsed")
    read_units, read_placed_units = units.read_units, units.read_placed_units

    def note(jobs: list[UnitJob], *rest: object) -> object:
        for job in jobs:
            parsed.note(job)
        return read_units(jobs, *rest)  # type: ignore[arg-type]

    def note_placed(jobs: list[PlacedJob], *rest: object) -> object:
        for job, _ in jobs:
            parsed.note(job)
        return read_placed_units(jobs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(units, "read_units", note)
    monkeypatch.setattr(units, "read_placed_units", note_placed)
    return parsed


def timeless(report: Report) -> Report:
    return msgspec.structs.replace(report, started="", ended="")


def alone(config: Config, overlay: Contents) -> Report:
    return timeless(analyse(msgspec.structs.replace(config, overlay=overlay)))


def test_only_units_that_include_a_changed_file_are_read_again(
    config: Config, read: list[str]
) -> None:
    workspace = Workspace(config)
    base = workspace.report()
    assert len(read) == base.units == 3
    assert base.findings
    read.clear()
    assert timeless(workspace.report()) == timeless(base)
    assert read == []
    text = (config.tree.root / FILE).read_bytes()
    moved = {FILE: b"\n\n\n" + text}
    after = workspace.report(moved)
    assert read == [FILE]
    assert timeless(after) == alone(config, moved)
    assert after.findings != base.findings
    read.clear()
    assert timeless(workspace.report({})) == timeless(base)
    assert read == []


def test_an_edit_that_was_expected_is_not_read_in_full(config: Config, read: list[str]) -> None:
    workspace = Workspace(config)
    workspace.report()
    workspace.expect_edits(FILE)
    editor = workspace._units._editor
    assert editor is not None
    assert editor.is_ready(60)
    text = (config.tree.root / FILE).read_bytes()
    body = text.index(b"{\n", text.index(b"\nvoid ")) + 2
    read.clear()
    for edited in (
        text + b"/* end */\n",
        b"\n" + text,
        text[:body] + b"\t;\n" + text[body:],
        text[:body] + b"\tif (1)\n\t\treturn;\n" + text[body:],
        text.replace(b"write_lock(&", b"read_lock(&", 1).replace(
            b"write_unlock(&", b"read_unlock(&", 1
        ),
    ):
        assert timeless(workspace.report({FILE: edited})) == alone(config, {FILE: edited})
        assert [file for file in read if file != FILE] == ["demo/kvmgt.c", "demo/x86.c"]
        assert read.count(FILE) == 1, edited.decode()
        read.clear()
    workspace.close()


def test_a_file_that_was_saved_is_seen(config: Config, read: list[str]) -> None:
    workspace = Workspace(config)
    base = workspace.report()
    read.clear()
    path = config.tree.root / FILE
    path.write_bytes(b"/* saved */\n" + path.read_bytes())
    after = timeless(workspace.report())
    assert read == [FILE]
    assert after == alone(config, {})
    assert [f.location.line for f in after.findings] != [f.location.line for f in base.findings]


def test_a_unit_that_is_gone_is_not_read(config: Config) -> None:
    workspace = Workspace(config)
    assert workspace.report().units == 3
    assert workspace.report({FILE: None}).units == 2


def test_an_error_ends_with_the_contents_that_have_it(config: Config) -> None:
    workspace = Workspace(config)
    base = workspace.report()
    broken = workspace.report({FILE: b"int broken( {\n"})
    assert not broken.complete
    assert "unit-has-errors" in [notice.code for notice in broken.notices]
    assert timeless(workspace.report()) == timeless(base)


def test_places_move_with_their_function(config: Config) -> None:
    """Facts do not say where in its file a function is; reports do."""
    workspace = Workspace(config)
    before = workspace.report()
    text = (config.tree.root / FILE).read_bytes()
    after = workspace.report({FILE: b"\n" * 10 + text})
    lines = {o.requirement: o.location.line for o in before.obligations if o.location.file == FILE}
    moved = {o.requirement: o.location.line for o in after.obligations if o.location.file == FILE}
    assert lines
    assert moved == {requirement: line + 10 for requirement, line in lines.items()}


def test_units_of_expected_reports_are_read_beside(config: Config, read: list[str]) -> None:
    text = (config.tree.root / FILE).read_bytes()
    states: list[Contents] = [
        {FILE: b"\n\n\n" + text},
        {FILE: b"int broken( {\n"},
        {FILE: None},
        {FILE: text},
    ]
    with closing(Workspace(config, expected=[{}, *states])) as workspace:
        workspace.report()
        reports = [workspace.report(state) for state in states]
    assert read == []
    assert [timeless(report) for report in reports] == [alone(config, state) for state in states]


def test_units_are_read_once_where_states_agree_on_what_they_read(
    config: Config, ahead: Ahead
) -> None:
    other = "demo/x86.c"
    text = (config.tree.root / FILE).read_bytes()
    more = (config.tree.root / other).read_bytes()
    header = "demo/page_track.h"
    declared = (config.tree.root / header).read_bytes()
    states: list[Contents] = [
        {FILE: b"\n" + text},
        {FILE: b"\n" + text, other: b"\n" + more},
        {FILE: b"\n\n" + text, other: b"\n" + more},
        {FILE: b"\n\n" + text, other: b"\n" + more, header: b"\n" + declared},
    ]
    with closing(Workspace(config, expected=[{}, *states])) as workspace:
        workspace.report()
        reports = [timeless(workspace.report(state)) for state in states]
    third = "demo/kvmgt.c"
    base, last = [FILE, other, third], [FILE, other, third]
    assert sorted(ahead.take()) == sorted([*base, FILE, other, FILE, *last])
    assert reports == [alone(config, state) for state in states]


def test_what_is_expected_need_not_come(config: Config, read: list[str]) -> None:
    text = (config.tree.root / FILE).read_bytes()
    other = {FILE: b"\n" + text}
    expected: list[Contents] = [{}, {FILE: None}, {FILE: b"\n\n" + text}]
    with closing(Workspace(config, expected=expected)) as workspace:
        workspace.report()
        assert read == []
        assert timeless(workspace.report(other)) == alone(config, other)
    assert FILE in read


@pytest.mark.parametrize("too_early", [True, False])
def test_a_reader_that_died_is_done_without(
    config: Config, read: list[str], monkeypatch: pytest.MonkeyPatch, too_early: bool
) -> None:
    text = (config.tree.root / FILE).read_bytes()
    state = {FILE: b"\n\n\n" + text}
    here = os.getpid()
    find_commands = workspace_module.find_commands

    def die(*_: object) -> None:
        if not too_early:
            time.sleep(1)  # it has told how units are compiled by then
        os.kill(os.getpid(), signal.SIGKILL)

    def find_commands_or_die(config: Config) -> CommandSet:
        if too_early and os.getpid() != here:
            die()
        return find_commands(config)

    monkeypatch.setattr(workspace_module, "find_commands", find_commands_or_die)
    monkeypatch.setattr(units.Units, "read_ahead", die)
    with closing(Workspace(config, expected=[{}, state])) as workspace:
        workspace.report()
        read.clear()
        report = workspace.report(state)
    assert read == [FILE]
    assert timeless(report) == alone(config, state)


def test_patches_that_come_again_are_read_from_the_cache(
    config: Config, read: list[str], ahead: Ahead, tmp_path: Path
) -> None:
    config = msgspec.structs.replace(config, cache=str(tmp_path / "cache"))
    state = {FILE: b"\n\n\n" + (config.tree.root / FILE).read_bytes()}

    def report() -> Report:
        with closing(Workspace(config, expected=[{}, state])) as workspace:
            workspace.report()
            return timeless(workspace.report(state))

    first = report()
    assert ahead.take().count(FILE) == 2
    again = report()
    assert ahead.take() == read == []
    assert again == first == alone(config, state)


def test_what_is_typed_is_not_kept(config: Config, read: list[str], tmp_path: Path) -> None:
    config = msgspec.structs.replace(config, cache=str(tmp_path / "cache"))
    state = {FILE: b"\n\n\n" + (config.tree.root / FILE).read_bytes()}
    Workspace(config).report(state)
    read.clear()
    Workspace(config).report(state)
    assert read == [FILE]


def test_the_memory_of_one_before_is_freed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_module, "_MANY_OBJECTS", 0)
    workspace = Workspace(config)
    workspace.report()
    program = weakref.ref(workspace.program)
    workspace.close()
    del workspace
    gc.collect()
    assert program() is not None  # its parts refer to each other, and nobody looks at them
    Workspace(config).close()
    assert program() is None
