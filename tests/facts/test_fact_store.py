"""The cache of facts: when it answers, when it must not, and what it survives."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import pytest

from lockcheck.facts.ir import Function, UnitFacts
from lockcheck.facts.store import FactStore, FileHashes, unit_key

KEY = unit_key(["tree", "x.c", "-O2"])
NONE: frozenset[str] = frozenset()  # no function is modelled


def facts(file: str = "x.c", weight: int = 0) -> UnitFacts:
    body = ((("S", 4097, ("f", ("v", "p"), "s.a"), ("k", -1), 0),), ("ret", None, 8193))
    function = Function("f", "f", file, 4096, ("p",), (body,), True, ("note",), (0,))
    inline = msgspec.structs.replace(function, key="g@h.h", name="g", file="h.h", external=False)
    return UnitFacts(
        file=file,
        functions=(function,),
        inlines=(inline,),
        needs=("g@h.h",),
        initialisers=((("g", "ops"), ("fn", "f")),),
        records={"s": {"a": "", "b": "mutex"}},
        headers=("h.h",),
        errors=(),
        constants={"n" * weight if weight else "flag": 4},
    )


def plain(found: UnitFacts | None) -> object:
    """A value to compare: functions compare by identity."""
    return None if found is None else msgspec.to_builtins(found)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x.c"
    path.write_text("int x;\n")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "deep"


def save(cache: Path, files: list[Path], key: str = KEY, what: UnitFacts | None = None) -> None:
    store = FactStore(cache)
    store.save(key, [str(f) for f in files], what or facts(), FileHashes({}))
    store.close()


def load(cache: Path, key: str = KEY, overlay: dict[str, bytes] | None = None) -> UnitFacts | None:
    store = FactStore(cache)
    try:
        return store.load(key, FileHashes(overlay or {}), NONE)
    finally:
        store.close()


# -- hits and misses ---------------------------------------------------------------------------


def test_what_was_saved_is_loaded(cache: Path, source: Path) -> None:
    save(cache, [source])
    found = load(cache)

    assert plain(found) == plain(facts())
    assert found is not None
    # Expressions are compared and hashed as tuples.
    assert found.functions[0].blocks == facts().functions[0].blocks
    assert found.initialisers == facts().initialisers
    assert hash(found.functions[0].blocks) == hash(facts().functions[0].blocks)


def test_empty_cache_has_nothing(cache: Path) -> None:
    assert load(cache) is None


def test_another_key_is_a_miss(cache: Path, source: Path) -> None:
    save(cache, [source])

    assert load(cache, unit_key(["tree", "x.c", "-O3"])) is None


def test_changed_content_is_a_miss(cache: Path, source: Path) -> None:
    save(cache, [source])
    source.write_text("int y;\n")

    assert load(cache) is None


def test_the_same_content_written_again_is_a_hit(cache: Path, source: Path) -> None:
    save(cache, [source])
    source.unlink()
    source.write_text("int x;\n")

    assert load(cache) is not None


def test_changed_header_is_a_miss(cache: Path, source: Path, tmp_path: Path) -> None:
    header = tmp_path / "h.h"
    header.write_text("int h;\n")
    save(cache, [source, header])
    assert load(cache) is not None
    header.write_text("int hh;\n")

    assert load(cache) is None


def test_removed_header_is_a_miss(cache: Path, source: Path, tmp_path: Path) -> None:
    header = tmp_path / "h.h"
    header.write_text("int h;\n")
    save(cache, [source, header])
    header.unlink()

    assert load(cache) is None


def test_overlay_takes_the_place_of_the_file(cache: Path, source: Path) -> None:
    save(cache, [source])

    assert load(cache, overlay={str(source): b"int other;\n"}) is None
    assert load(cache, overlay={str(source): b"int x;\n"}) is not None
    assert load(cache, overlay={"/elsewhere.h": b"int other;\n"}) is not None


def test_facts_saved_under_an_overlay_need_it(cache: Path, source: Path) -> None:
    overlay = {str(source): b"int patched;\n"}
    store = FactStore(cache)
    store.save(KEY, [str(source)], facts(), FileHashes(overlay))
    store.close()

    assert load(cache) is None
    assert load(cache, overlay=overlay) is not None


def test_saving_again_replaces(cache: Path, source: Path) -> None:
    save(cache, [source])
    save(cache, [source], what=facts("y.c"))
    found = load(cache)

    assert found is not None
    assert found.file == "y.c"


# -- models ------------------------------------------------------------------------------------


def modelled(cache: Path, *names: str) -> bool:
    """Whether facts are found by a run whose models know these functions."""
    store = FactStore(cache)
    try:
        return store.load(KEY, FileHashes({}), frozenset(names)) is not None
    finally:
        store.close()


def test_facts_depend_on_the_models_that_they_met(cache: Path, source: Path) -> None:
    save(cache, [source], what=msgspec.structs.replace(facts(), hidden=("spin_lock",)))

    assert modelled(cache, "spin_lock")
    assert modelled(cache, "spin_lock", "mutex_lock")
    assert not modelled(cache)
    assert not modelled(cache, "mutex_lock")


def test_a_new_model_of_a_function_that_was_read_is_a_miss(cache: Path, source: Path) -> None:
    save(cache, [source])

    assert modelled(cache, "something_else")
    assert not modelled(cache, "g")  # g@h.h is one of the functions that the unit needs


# -- keys --------------------------------------------------------------------------------------


def test_key_depends_on_each_part_and_on_the_order() -> None:
    keys = {
        unit_key(parts)
        for parts in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], ["a"], [], ["a\0b"], ["ä"])
    }

    assert len(keys) >= 7
    assert unit_key(["a", "b"]) == unit_key(iter(("a", "b")))


def test_key_depends_on_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockcheck.facts.store.__version__", "0.0.0-other")

    assert unit_key(["tree", "x.c", "-O2"]) != KEY


def test_file_names_that_are_not_utf8_have_a_key() -> None:
    assert unit_key(["\udcff.c"]) != unit_key(["\udcfe.c"])


def test_hashes_are_of_the_content(source: Path, tmp_path: Path) -> None:
    (tmp_path / "y.c").write_text("int x;\n")
    hashes = FileHashes({})

    assert hashes.of(str(source)) == hashes.of(str(tmp_path / "y.c")) != ""
    assert hashes.of(str(tmp_path / "absent.c")) == ""


# -- damage ------------------------------------------------------------------------------------


def database(cache: Path) -> Path:
    (found,) = cache.glob("*.sqlite")
    return found


def test_corrupt_database_is_an_empty_cache(cache: Path, source: Path) -> None:
    save(cache, [source])
    for extra in cache.glob("*.sqlite-*"):
        extra.unlink()
    database(cache).write_bytes(b"this is no database at all" * 100)
    store = FactStore(cache)

    assert store.load(KEY, FileHashes({}), NONE) is None
    store.save(KEY, [str(source)], facts(), FileHashes({}))
    store.close()


@pytest.mark.parametrize("column", ["files", "facts"])
@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"(\x02", b"i\x01\x00\x00\x00"])
def test_corrupt_entry_is_a_miss(cache: Path, source: Path, column: str, content: bytes) -> None:
    save(cache, [source])
    with sqlite3.connect(database(cache)) as db:
        db.execute(f"UPDATE unit SET {column} = ?", (content,))
    db.close()

    assert load(cache) is None


def test_database_of_another_program_is_an_empty_cache(cache: Path, source: Path) -> None:
    save(cache, [source])
    with sqlite3.connect(database(cache)) as db:
        db.execute("DROP TABLE unit")
        db.execute("CREATE TABLE unit (colour TEXT)")
    db.close()

    assert load(cache) is None
    save(cache, [source])


def test_cache_that_cannot_be_made_is_an_empty_cache(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("")
    save(tmp_path / "file", [source])

    assert load(tmp_path / "file") is None
    assert load(tmp_path / "file" / "below") is None


def test_closed_store_answers_nothing(cache: Path, source: Path) -> None:
    save(cache, [source])
    store = FactStore(cache)
    store.close()

    assert store.load(KEY, FileHashes({}), NONE) is None
    store.save(KEY, [str(source)], facts(), FileHashes({}))
    store.close()


# -- several processes -------------------------------------------------------------------------


def _work(cache: str, source: str, start: int) -> int:
    """Save 50 units and load them again; how many came back."""
    store = FactStore(Path(cache))
    hashes = FileHashes({})
    hits = 0
    for number in range(start, start + 50):
        key = unit_key([str(number)])
        store.save(key, [source], facts(f"{number}.c"), hashes)
        found = store.load(key, hashes, NONE)
        hits += found is not None and found.file == f"{number}.c"
    store.close()
    return hits


def test_two_processes_at_once(cache: Path, source: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_work, str(cache), str(source), start) for start in (0, 25)]
        assert [job.result(timeout=120) for job in jobs] == [50, 50]

    store = FactStore(cache)
    found = [store.load(unit_key([str(n)]), FileHashes({}), NONE) for n in range(75)]
    store.close()
    assert [unit.file for unit in found if unit is not None] == [f"{n}.c" for n in range(75)]


# -- size --------------------------------------------------------------------------------------


def present(cache: Path, count: int) -> list[int]:
    store = FactStore(cache)
    hashes = FileHashes({})
    found = [n for n in range(count) if store.load(unit_key([str(n)]), hashes, NONE) is not None]
    store.close()
    return found


def fill(cache: Path, source: Path, count: int) -> None:
    store = FactStore(cache)
    for number in range(count):
        store.save(unit_key([str(number)]), [str(source)], facts(weight=2000), FileHashes({}))
    store.close()


def test_a_cache_that_is_too_large_loses_half(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockcheck.facts.store._MAX_BYTES", 10_000)
    fill(cache, source, 10)

    assert len(present(cache, 10)) == 5


def test_a_cache_within_its_size_loses_nothing(cache: Path, source: Path) -> None:
    fill(cache, source, 10)

    assert present(cache, 10) == list(range(10))


def test_the_oldest_go_first(cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cache, source, 4)
    with sqlite3.connect(database(cache)) as db:
        for number in (1, 3):
            db.execute("UPDATE unit SET used = 1 WHERE key = ?", (unit_key([str(number)]),))
    db.close()
    monkeypatch.setattr("lockcheck.facts.store._MAX_BYTES", 5_000)
    FactStore(cache).close()
    monkeypatch.undo()

    assert present(cache, 4) == [0, 2]


@pytest.mark.xfail(strict=True, reason="an entry is as old as its last save, not its last use")
def test_use_keeps_an_entry(cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Entries that every run loads are the last to go.
    fill(cache, source, 4)
    with sqlite3.connect(database(cache)) as db:
        for number in range(4):
            db.execute(
                "UPDATE unit SET used = ? WHERE key = ?", (number + 1, unit_key([str(number)]))
            )
    db.close()
    store = FactStore(cache)
    assert store.load(unit_key(["0"]), FileHashes({}), NONE) is not None
    monkeypatch.setattr("lockcheck.facts.store._MAX_BYTES", 5_000)
    store.close()
    monkeypatch.undo()

    assert 0 in present(cache, 4)


def test_a_cache_that_stays_too_large_goes_on_losing(
    cache: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, source, 200)
    monkeypatch.setattr("lockcheck.facts.store._MAX_BYTES", 1_000)
    for _ in range(6):
        FactStore(cache).close()

    assert len(present(cache, 200)) < 10
