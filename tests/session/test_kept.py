"""Answers of a run serve the next one, and change nothing of what it says."""

from __future__ import annotations

import json
import pickle
import random
import re
import shutil
import zlib
from pathlib import Path

import msgspec
import pytest

from lockcheck import kept, runs
from lockcheck.config import Config
from lockcheck.findings.model import Report
from lockcheck.lockstate.solver import Solver
from lockcheck.session import analyse
from lockcheck.source.tree import find_tree
from lockcheck.units import Contents
from lockcheck.workspace import Workspace

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
DIRECTORIES = ("lock-assertion", "lock-inversion", "sleep-in-atomic", "demo")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Fixtures of several rules, in a tree of their own."""
    root = tmp_path_factory.mktemp("linux")
    for entry in FIXTURES.iterdir():
        if entry.is_file():
            shutil.copy(entry, root)
        elif entry.name in (*DIRECTORIES, "include", "arch"):
            shutil.copytree(entry, root / entry.name)
    entries = json.loads((root / "compile_commands.json").read_text())
    wanted = [entry for entry in entries if entry["file"].startswith(DIRECTORIES)]
    (root / "compile_commands.json").write_text(json.dumps(wanted))
    return Config(tree=find_tree(root), paths=DIRECTORIES, jobs=2)


@pytest.fixture(scope="module")
def cached(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The same with a cache in which answers of one run are kept."""
    cached = msgspec.structs.replace(config, cache=str(tmp_path_factory.mktemp("cache")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_WORTH_KEEPING", 0)
        analyse(cached)
    assert kept.kept_files(Path(str(cached.cache)))
    return cached


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that were solved."""
    keys: list[str] = []
    original = Solver.solve

    def note(self: Solver) -> object:
        keys.append(self._function.key)
        return original(self)

    monkeypatch.setattr(Solver, "solve", note)
    return keys


def timeless(report: Report) -> Report:
    return msgspec.structs.replace(report, started="", ended="")


def edited(config: Config, seed: int) -> Contents:
    """One statement of some fixture is left out, doubled, or moved up by one."""
    chance = random.Random(seed)
    root = config.tree.root
    files = sorted(p for d in DIRECTORIES for p in (root / d).glob("*.c"))
    while True:
        file = chance.choice(files)
        lines = file.read_text().split("\n")
        calls = [n for n, line in enumerate(lines) if re.match(r"\t+\w[\w>.\-]*\(.*\);$", line)]
        if calls:
            break
    number = chance.choice(calls)
    how = chance.choice(("out", "twice", "up"))
    if how == "out":
        del lines[number]
    elif how == "twice":
        lines.insert(number, lines[number])
    else:
        lines[number - 1 : number + 1] = lines[number], lines[number - 1]
    return {str(file.relative_to(root)): "\n".join(lines).encode()}


def test_the_next_run_solves_nothing(cached: Config, solved: list[str]) -> None:
    first = analyse(msgspec.structs.replace(cached, cache=None))
    assert solved
    assert first.findings
    solved.clear()
    assert timeless(analyse(cached)) == timeless(first)
    assert solved == []


def test_an_edit_solves_what_it_reaches(cached: Config, solved: list[str]) -> None:
    file = "lock-assertion/bad_caller_two_up.c"
    text = (cached.tree.root / file).read_bytes()
    analyse(msgspec.structs.replace(cached, overlay={file: b"\n" + text}))
    assert solved == []  # it only moved
    analyse(msgspec.structs.replace(cached, overlay={file: text + b"int more(void) { return 1; }"}))
    assert len(solved) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_an_edit_is_reported_as_without_answers(config: Config, cached: Config, seed: int) -> None:
    """By a run that takes answers in, and by a workspace that has seen other edits before."""
    lasting = Workspace(cached)
    lasting.report(edited(config, seed + 100))
    overlay = edited(config, seed)
    expected = timeless(analyse(msgspec.structs.replace(config, overlay=overlay)))
    assert timeless(analyse(msgspec.structs.replace(cached, overlay=overlay))) == expected
    assert timeless(lasting.report(overlay)) == expected
    assert timeless(lasting.report()) == timeless(analyse(config))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"nonsense",
    ],
)
def test_a_damaged_file_is_one_that_is_not_there(
    config: Config, cached: Config, tmp_path: Path, damage: object
) -> None:
    assert callable(damage)
    (file,) = kept.kept_files(Path(str(cached.cache)))
    shutil.copytree(file.parent, tmp_path, dirs_exist_ok=True)
    (tmp_path / file.name).write_bytes(damage(file.read_bytes()))
    report = analyse(msgspec.structs.replace(cached, cache=str(tmp_path)))
    assert timeless(report) == timeless(analyse(config))


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


def test_a_file_makes_no_other_objects() -> None:
    evil = memoryview(zlib.compress(pickle.dumps(_Evil())))
    run = kept.KeptRun({}, b"", [evil, evil, evil])
    assert run.answers(None) is None  # type: ignore[arg-type]
    assert run.unread(None)(0) == ([], [])  # type: ignore[arg-type]


def test_old_files_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MAX_FILES", 2)
    nothing = kept.Kept([], [], [])
    for number in range(4):
        kept.KeptRuns(tmp_path, str(number)).save({"field": number}, b"state", nothing)
    assert len(kept.kept_files(tmp_path)) == 2
    run = kept.KeptRuns(tmp_path, "3").load()
    assert run is not None
    assert run.bits == {"field": 3}
    assert run.state == b"state"
    assert kept.KeptRuns(tmp_path, "0").load() is None
    assert kept.clear_kept(tmp_path) > 0
    assert kept.kept_files(tmp_path) == []


def test_a_directory_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    runs = kept.KeptRuns(file, "question")
    runs.save({}, b"", kept.Kept([], [], []))
    assert runs.load() is None
