"""The cache of facts: when it answers, when it must not, and what it survives."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec
import pytest

from lockcheck.facts.inputs import SourceView, UnitInputs, digest
from lockcheck.facts.ir import Function, UnitFacts
from lockcheck.facts.store import FactStore, unit_key

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


def inputs(*files: Path) -> UnitInputs:
    return UnitInputs(tuple((str(file), digest(file.read_bytes())) for file in files))


def save(cache: Path, files: list[Path], key: bytes = KEY, what: UnitFacts | None = None) -> None:
    store = FactStore(cache)
    store.save(key, inputs(*files), what or facts())
    store.close()


def load(
    cache: Path, key: bytes = KEY, overlay: dict[str, bytes | None] | None = None
) -> UnitFacts | None:
    store = FactStore(cache)
    try:
        found = store.load(key, SourceView(overlay or {}), NONE)
    finally:
        store.close()
    return None if found is None else found[0]


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
    overlay: dict[str, bytes | None] = {str(source): b"int patched;\n"}
    store = FactStore(cache)
    store.save(KEY, UnitInputs(((str(source), digest(b"int patched;\n")),)), facts())
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
        return store.load(KEY, SourceView(), frozenset(names)) is not None
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


# -- damage ------------------------------------------------------------------------------------


def database(cache: Path, name: str = "*.sqlite") -> Path:
    (found,) = cache.glob(name)
    return found


NO_DATABASE = b"this is no database at all" * 100


def test_damaged_file_is_told_and_replaced(cache: Path, source: Path) -> None:
    save(cache, [source])
    database(cache).write_bytes(NO_DATABASE)
    store = FactStore(cache)

    assert "not a database" in store.damaged
    assert store.load(KEY, SourceView(), NONE) is None
    store.save(KEY, inputs(source), facts())
    store.close()
    assert load(cache) is not None
    assert FactStore(cache).damaged == ""


def test_file_that_is_cut_is_told_and_replaced(cache: Path, source: Path) -> None:
    fill(cache, source, 20)
    content = database(cache).read_bytes()
    database(cache).write_bytes(content[: len(content) // 2])
    store = FactStore(cache)
    for number in range(20):
        store.load(unit_key([str(number)]), SourceView(), NONE)
    store.close()

    assert store.damaged
    save(cache, [source])
    assert load(cache) is not None


def test_damaged_file_that_is_in_use_stays(cache: Path, source: Path) -> None:
    """To remove it would damage what the other process writes."""
    save(cache, [source])
    other = FactStore(cache)
    database(cache).write_bytes(NO_DATABASE)
    store = FactStore(cache)

    assert "left as it is" in store.damaged
    assert store.load(KEY, SourceView(), NONE) is None
    store.save(KEY, inputs(source), facts())
    store.close()
    assert database(cache).read_bytes() == NO_DATABASE
    other.close()


@pytest.mark.parametrize("column", ["inputs", "facts"])
@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"(\x02", b"i\x01\x00\x00\x00"])
def test_corrupt_entry_is_a_miss(cache: Path, source: Path, column: str, content: bytes) -> None:
    save(cache, [source])
    with sqlite3.connect(database(cache)) as db:
        db.execute(f"UPDATE unit SET {column} = ?", (content,))
    db.close()

    assert load(cache) is None


def test_changed_bit_in_an_entry_is_a_miss(cache: Path, source: Path) -> None:
    save(cache, [source])
    with sqlite3.connect(database(cache)) as db:
        (content,) = db.execute("SELECT facts FROM unit").fetchone()
        db.execute("UPDATE unit SET facts = ?", (content.replace(b"x.c", b"y.c"),))
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


@pytest.mark.parametrize("table", ["unit", "asked"])
def test_a_database_that_lacks_a_table_is_completed(cache: Path, source: Path, table: str) -> None:
    save(cache, [source])
    with sqlite3.connect(database(cache)) as db:
        db.execute(f"DROP TABLE {table}")
    db.close()

    store = FactStore(cache)
    store.remember(b"question", [KEY])
    assert store.remembered(b"question") == [KEY]
    store.close()
    save(cache, [source])
    assert load(cache) is not None


def test_a_store_that_ends_while_it_is_asked_remembers_nothing(cache: Path) -> None:
    store = FactStore(cache)
    with sqlite3.connect(database(cache)) as db:
        db.execute("DROP TABLE asked")
    db.close()

    store.remember(b"question", [KEY])
    assert not store.works
    store.close()


def test_cache_that_cannot_be_made_is_an_empty_cache(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("")
    save(tmp_path / "file", [source])

    assert load(tmp_path / "file") is None
    assert load(tmp_path / "file" / "below") is None


def test_closed_store_answers_nothing(cache: Path, source: Path) -> None:
    save(cache, [source])
    store = FactStore(cache)
    store.close()

    assert store.load(KEY, SourceView(), NONE) is None
    store.save(KEY, inputs(source), facts())
    store.close()


# -- several processes -------------------------------------------------------------------------


def _work(cache: str, source: str, start: int) -> int:
    """Save 50 units and load them again; how many came back."""
    store = FactStore(Path(cache))
    view = SourceView()
    hits = 0
    for number in range(start, start + 50):
        key = unit_key([str(number)])
        store.save(key, inputs(Path(source)), facts(f"{number}.c"))
        found = store.load(key, view, NONE)
        hits += found is not None and found[0].file == f"{number}.c"
    store.close()
    return hits


def test_two_processes_at_once(cache: Path, source: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_work, str(cache), str(source), start) for start in (0, 25)]
        assert [job.result(timeout=120) for job in jobs] == [50, 50]

    store = FactStore(cache)
    found = [store.load(unit_key([str(n)]), SourceView(), NONE) for n in range(75)]
    store.close()
    assert [unit[0].file for unit in found if unit is not None] == [f"{n}.c" for n in range(75)]


# -- size --------------------------------------------------------------------------------------

SMALL = 1 << 19


def present(cache: Path, count: int) -> list[int]:
    store = FactStore(cache)
    view = SourceView()
    found = [n for n in range(count) if store.load(unit_key([str(n)]), view, NONE) is not None]
    store.close()
    return found


def fill(cache: Path, source: Path, count: int, max_bytes: int = 1 << 30, start: int = 0) -> None:
    store = FactStore(cache, max_bytes=max_bytes)
    for number in range(start, start + count):
        store.save(unit_key([str(number)]), inputs(source), facts(weight=20_000))
    store.close()


def age(cache: Path, used: dict[int, int]) -> None:
    with sqlite3.connect(database(cache)) as db:
        for number, when in used.items():
            db.execute("UPDATE unit SET used = ? WHERE key = ?", (when, unit_key([str(number)])))
    db.close()


def test_a_cache_never_grows_beyond_its_size(cache: Path, source: Path) -> None:
    fill(cache, source, 100, SMALL)

    assert sum(file.stat().st_size for file in cache.iterdir()) <= SMALL
    kept = present(cache, 100)
    assert 10 < len(kept) < 30
    assert kept == list(range(100 - len(kept), 100))


def test_a_run_that_does_not_end_keeps_the_size_too(cache: Path, source: Path) -> None:
    for start in range(0, 60, 10):
        store = FactStore(cache, max_bytes=SMALL)
        for number in range(start, start + 10):
            store.save(unit_key([str(number)]), inputs(source), facts(weight=20_000))
        assert database(cache).stat().st_size <= SMALL  # and it is never closed


def test_a_smaller_size_gives_space_back(cache: Path, source: Path) -> None:
    fill(cache, source, 100)
    before = database(cache).stat().st_size
    FactStore(cache, max_bytes=SMALL).close()

    assert database(cache).stat().st_size <= SMALL < before


def test_a_cache_within_its_size_loses_nothing(cache: Path, source: Path) -> None:
    fill(cache, source, 10)

    assert present(cache, 10) == list(range(10))


def test_the_oldest_go_first(cache: Path, source: Path) -> None:
    fill(cache, source, 40)
    age(cache, dict.fromkeys(range(1, 40, 2), 1))
    FactStore(cache, max_bytes=SMALL).close()

    kept = present(cache, 40)
    assert len(kept) > 10
    assert all(number % 2 == 0 for number in kept)


def test_use_keeps_an_entry(cache: Path, source: Path) -> None:
    fill(cache, source, 40)
    age(cache, {number: number + 1 for number in range(40)})
    store = FactStore(cache, max_bytes=SMALL)
    assert store.load(unit_key(["0"]), SourceView(), NONE) is not None
    store.close()

    kept = present(cache, 40)
    assert 0 in kept
    assert 1 not in kept


# -- states of one unit ------------------------------------------------------------------------


def test_a_state_that_comes_back_is_found(cache: Path, source: Path) -> None:
    save(cache, [source])
    source.write_text("int y;\n")
    save(cache, [source], what=facts("y.c"))

    found = load(cache)
    assert found is not None
    assert found.file == "y.c"
    source.write_text("int x;\n")
    found = load(cache)
    assert found is not None
    assert found.file == "x.c"


def test_only_so_many_states_are_kept(cache: Path, source: Path) -> None:
    for number in range(30):
        source.write_text(f"int x{number};\n")
        save(cache, [source])
    store = FactStore(cache)
    (use,) = store.use().trees
    store.close()

    assert use.units == 1
    assert use.entries == 8
    assert load(cache) is not None


# -- what is in it -----------------------------------------------------------------------------


def test_contents_on_trial_go_before_those_of_the_tree(cache: Path, source: Path) -> None:
    save(cache, [source])
    store = FactStore(cache)
    for number in range(20):
        tried = f"int tried_{number};\n".encode()
        on_trial = UnitInputs(((str(source), digest(tried)),))
        store.save(KEY, on_trial, facts(), on_trial=True)
    store.close()

    assert load(cache) is not None
    assert load(cache, overlay={str(source): b"int tried_19;\n"}) is not None
    assert load(cache, overlay={str(source): b"int tried_0;\n"}) is None


def test_use_tells_trees_and_versions(cache: Path, source: Path) -> None:
    for tree, names in (("/a", "xyz"), ("/b", "x")):
        store = FactStore(cache, tree)
        for name in names:
            store.save(unit_key([tree, name]), inputs(source), facts(f"{name}.c"))
        store.close()
    store = FactStore(cache)
    use = store.use()
    store.close()

    assert {(tree.tree, tree.units, tree.entries) for tree in use.trees} == {
        ("/a", 3, 3),
        ("/b", 1, 1),
    }
    assert all(tree.size > 0 and tree.used > 0 for tree in use.trees)
    assert len(use.versions) == 1
    assert use.size >= sum(tree.size for tree in use.trees)


def test_clear_empties_it(cache: Path, source: Path) -> None:
    fill(cache, source, 50)
    (cache / "facts-1.sqlite").write_text("of an older version")
    (cache / "facts-of-mine.txt").write_text("not ours")
    before = database(cache, "facts-8.sqlite").stat().st_size
    store = FactStore(cache)
    assert store.clear()
    assert store.use().trees == ()
    store.close()

    assert database(cache).stat().st_size < before / 4
    assert (cache / "facts-of-mine.txt").exists()
    save(cache, [source])
    assert load(cache) is not None


def test_clear_while_another_process_uses_it(cache: Path, source: Path) -> None:
    other = FactStore(cache)
    other.save(KEY, inputs(source), facts())
    store = FactStore(cache)
    assert store.clear()
    store.close()

    assert other.load(KEY, SourceView(), NONE) is None
    other.save(KEY, inputs(source), facts())
    other.close()
    assert load(cache) is not None
