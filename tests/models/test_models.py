"""The models that come with the package, and what is refused in a model file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

from lockcheck.errors import LockcheckError
from lockcheck.models import loader
from lockcheck.models.loader import (
    EXCLUSIVE,
    READ,
    SECTION,
    SHARED,
    WRITE,
    Models,
    check_constants,
    load_models,
)
from lockcheck.models.ordering import OrderModels, read_ordering
from lockcheck.yamlfile import load_yaml

FILES = sorted(
    (
        entry
        for entry in resources.files("lockcheck.models").joinpath("data").iterdir()
        if entry.name.endswith(".yaml")
    ),
    key=lambda entry: entry.name,
)
NAME = re.compile(r"[A-Za-z_]\w*|\(asm\)")  # an asm statement counts as a call of (asm)


# -- the data ----------------------------------------------------------------------------------


def test_there_are_models() -> None:
    models = load_models()

    assert len(models.functions) > 200
    assert {"spinlock_t", "rwlock_t", "mutex", "srcu_struct"} <= set(models.lock_records)
    assert models.keep_alive


@pytest.mark.parametrize("file", FILES, ids=lambda entry: entry.name)
def test_every_name_of_a_file_is_loaded(file: Traversable) -> None:
    top = load_yaml(file.read_text("utf-8"), file.name)
    names = [name for entry in top.items("functions") for name in entry.strings("names")]

    assert names or top.get("functions") is None
    assert set(names) <= set(load_models().functions)
    assert all(NAME.fullmatch(name) for name in names)


def test_every_file_says_something() -> None:
    for file in FILES:
        top = load_yaml(file.read_text("utf-8"), file.name)
        parts = (
            "functions", "entry-points", "back-pointers", "exclusive", "ordering", "preempt-rt",
        )  # fmt: skip

        assert any(top.get(part) is not None for part in parts), file.name


def test_every_name_is_modelled_once() -> None:
    names = Counter(
        name
        for file in FILES
        for entry in load_yaml(file.read_text("utf-8"), file.name).items("functions")
        for name in entry.strings("names")
    )

    assert [name for name, count in names.items() if count > 1] == []
    assert set(names) == set(load_models().functions)


def test_every_entry_says_something() -> None:
    empty = [name for name, model in load_models().functions.items() if model == type(model)()]

    assert empty == []


def test_every_sleep_flag_is_a_constant() -> None:
    models = load_models()
    check_constants(models)
    flags = {m.sleeps.flag for m in models.functions.values() if m.sleeps and m.sleeps.flag}

    assert flags
    assert flags <= set(models.constants)
    assert all(models.constants[flag] > 0 for flag in flags)


def test_sleep_flags_are_reported_by_a_header_shim() -> None:
    shims = resources.files("lockcheck.source").joinpath("shims/linux")
    text = "".join(entry.read_text("utf-8") for entry in shims.iterdir())

    for name in load_models().constants:
        assert f"__lockcheck_constant_{name}" in text


def test_missing_constant_is_refused() -> None:
    models = load_models()
    with pytest.raises(LockcheckError, match="no constant"):
        check_constants(Models(models.functions, models.lock_records, {}, ()))


def test_constants_of_the_tree_come_before_the_default() -> None:
    models = load_models()
    changed = models.with_constants({"gfp_direct_reclaim": 0x80, "unheard_of": 1})

    assert changed.constants["gfp_direct_reclaim"] == 0x80
    assert "unheard_of" not in changed.constants
    assert changed.functions is models.functions


def test_modes_fit_the_kind_of_lock() -> None:
    models = load_models()

    assert set(models.lock_records.values()) <= {EXCLUSIVE, SHARED, SECTION}
    for name, model in models.functions.items():
        for effect in (*model.acquires, *model.releases):
            assert effect.mode in (READ, WRITE), name
            named = (effect.argument is not None, effect.lock is not None)
            assert sum(named) == 1, name
            assert (effect.section != "") == (
                effect.lock is not None and effect.lock[0] == "section"
            ), name


PAIRS = [
    ("_raw_spin_lock", "_raw_spin_unlock"),
    ("_raw_spin_lock_bh", "_raw_spin_unlock_bh"),
    ("_raw_spin_lock_irq", "_raw_spin_unlock_irq"),
    ("_raw_spin_lock_irqsave", "_raw_spin_unlock_irqrestore"),
    ("_raw_read_lock", "_raw_read_unlock"),
    ("_raw_read_lock_bh", "_raw_read_unlock_bh"),
    ("_raw_read_lock_irq", "_raw_read_unlock_irq"),
    ("_raw_read_lock_irqsave", "_raw_read_unlock_irqrestore"),
    ("_raw_write_lock", "_raw_write_unlock"),
    ("_raw_write_lock_bh", "_raw_write_unlock_bh"),
    ("_raw_write_lock_irq", "_raw_write_unlock_irq"),
    ("_raw_write_lock_irqsave", "_raw_write_unlock_irqrestore"),
    ("mutex_lock", "mutex_unlock"),
    ("mutex_lock_nested", "mutex_unlock"),
    ("mutex_lock_killable", "mutex_unlock"),
    ("mutex_trylock", "mutex_unlock"),
    ("_raw_spin_trylock", "_raw_spin_unlock"),
    ("_raw_spin_trylock_bh", "_raw_spin_unlock_bh"),
    ("ww_mutex_lock", "ww_mutex_unlock"),
    ("rt_mutex_lock", "rt_mutex_unlock"),
    ("down_read", "up_read"),
    ("down_read_trylock", "up_read"),
    ("down_write", "up_write"),
    ("down_write_killable", "up_write"),
    ("percpu_down_read", "percpu_up_read"),
    ("percpu_down_write", "percpu_up_write"),
    ("rcu_read_lock", "rcu_read_unlock"),
    ("__rcu_read_lock", "__rcu_read_unlock"),
    ("rcu_read_lock_bh", "rcu_read_unlock_bh"),
    ("rcu_read_lock_sched", "rcu_read_unlock_sched"),
    ("srcu_read_lock", "srcu_read_unlock"),
    ("srcu_down_read", "srcu_up_read"),
    ("write_seqlock", "write_sequnlock"),
    ("write_seqlock_bh", "write_sequnlock_bh"),
    ("write_seqlock_irq", "write_sequnlock_irq"),
    ("__write_seqlock_irqsave", "write_sequnlock_irqrestore"),
    ("read_seqlock_excl", "read_sequnlock_excl"),
    ("bit_spin_lock", "bit_spin_unlock"),
    ("bit_spin_lock", "__bit_spin_unlock"),
    ("local_bh_disable", "local_bh_enable"),
    ("arch_local_irq_save", "arch_local_irq_restore"),
]


@pytest.mark.parametrize("take, drop", PAIRS)
def test_what_is_taken_is_what_is_dropped(take: str, drop: str) -> None:
    functions = load_models().functions
    taken = {(e.argument, e.section, e.mode) for e in functions[take].acquires}
    dropped = {(e.argument, e.section, e.mode) for e in functions[drop].releases}

    assert taken == dropped
    assert not functions[take].releases
    assert not functions[drop].acquires


def test_every_lock_function_can_be_paired() -> None:
    functions = load_models().functions
    taken = {(e.section, e.mode) for m in functions.values() for e in m.acquires}
    dropped = {(e.section, e.mode) for m in functions.values() for e in m.releases}

    assert taken == dropped


@pytest.mark.parametrize(
    "name, sleeps",
    [
        ("mutex_lock", True),
        ("mutex_lock_interruptible", True),
        ("mutex_trylock", False),
        ("mutex_unlock", False),
        ("down_write", True),
        ("down_write_trylock", False),
        ("down", True),
        ("_raw_spin_lock", False),
        ("_raw_write_lock", False),
        ("__rcu_read_lock", False),
        ("srcu_read_lock", False),
        ("synchronize_srcu", True),
        ("msleep", True),
    ],
)
def test_who_sleeps(name: str, sleeps: bool) -> None:
    assert (load_models().functions[name].sleeps is not None) == sleeps


# -- mistakes ----------------------------------------------------------------------------------

GOOD = """\
constants:
  flag: 4
lock-records:
  my_lock: exclusive
functions:
  - names: [my_lock]
    acquire: [{argument: 0, mode: write}]
  - names: [my_alloc]
    allocates: true
    sleeps: {because: waits, flag: flag, argument: 1}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose data/ takes the place of the package's model files."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(loader.resources, "files", lambda package: tmp_path)
    load_models.cache_clear()
    yield tmp_path / "data"
    load_models.cache_clear()


def test_good_file(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    (folder / "readme.txt").write_text("no model")
    models = load_models()

    assert set(models.functions) == {"my_lock", "my_alloc"}
    assert models.functions["my_lock"].acquires[0].argument == 0
    assert models.functions["my_alloc"].allocates
    assert models.constants == {"flag": 4}


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("functions:", "function:", 5, "unknown key 'function'"),
        ("    acquire:", "    aquire:", 7, "unknown key 'aquire'"),
        ("    allocates: true", "    alocates: true", 9, "unknown key 'alocates'"),
        ("mode: write}", "mod: write}", 7, "unknown key 'mod'"),
        ("mode: write}", "mode: exclusive}", 7, "must be one of"),
        ("mode: write}", "mode: write, when: never}", 7, "must be one of"),
        ("{argument: 0, ", "{", 7, "name one of: argument, section"),
        ("{argument: 0, ", "{argument: 0, section: RCU, ", 7, "name one of: argument, section"),
        ("argument: 0", "argument: first", 7, "whole number"),
        ("my_lock: exclusive", "my_lock: exclusiv", 4, "must be one of"),
        ("  flag: 4", "  flag: four", 2, "whole number"),
        ("because: waits, ", "", 10, "needs 'because'"),
        (", argument: 1", "", 10, "needs 'argument'"),
        ("flag: flag, ", "flags: flag, ", 10, "unknown key 'flags'"),
        ("[my_alloc]", "my_alloc", 8, "must be a list"),
        ("[my_alloc]", "[my_lock]", 8, "my_lock has a model already"),
        ("[{argument: 0, mode: write}]", "{argument: 0}", 7, "must be a list"),
        ("functions:\n", "functions: [\n", None, "not valid YAML"),
    ],
)
def test_typo_is_refused_with_file_and_line(
    folder: Path, old: str, new: str, line: int | None, words: str
) -> None:
    assert old in GOOD
    (folder / "a.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(LockcheckError) as error:
        load_models()

    assert words in str(error.value)
    assert error.value.file == "a.yaml"
    assert line is None or error.value.line == line


@pytest.mark.parametrize(
    "entry, words",
    [
        ("- acquire: [{argument: 0}]", "names"),
        ("- names: []\n    acquire: [{argument: 0}]", "names"),
        ("- names: [x]\n    downgrade: {argument: 0, mode: read}", "mode"),
        ("- names: [x]\n    assigns: {target: 0, value: 1, from: 2}", "from"),
        ("- names: [x]", "x"),
    ],
)
@pytest.mark.xfail(strict=True, reason="the loader takes these mistakes without a word")
def test_quiet_mistakes_are_refused(folder: Path, entry: str, words: str) -> None:
    (folder / "a.yaml").write_text(f"functions:\n  {entry}\n")
    with pytest.raises(LockcheckError, match=words):
        load_models()


def test_name_in_two_files(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text("functions:\n  - names: [other, my_alloc]\n    writes: [0]\n")
    with pytest.raises(LockcheckError, match="my_alloc has a model already") as error:
        load_models()

    assert (error.value.file, error.value.line) == ("b.yaml", 2)


@pytest.mark.xfail(strict=True, reason="`allocates: false` counts as true")
def test_false_is_not_true(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD.replace("allocates: true", "allocates: false"))

    assert not load_models().functions["my_alloc"].allocates


def test_preempt_rt_takes_the_place_of_other_models() -> None:
    models = load_models()
    real_time = models.for_preempt_rt()

    assert models.functions["spin_lock"].sleeps is None
    assert real_time.functions["spin_lock"].sleeps is not None
    assert real_time.functions["_raw_spin_lock"] == models.functions["_raw_spin_lock"]
    assert set(real_time.functions) >= set(models.functions)
    assert real_time.entries[len(models.rt_entries) :] == models.entries


def test_interrupts_of_entry_points_are_known() -> None:
    models = load_models()

    kinds = {entry.interrupt for entry in (*models.entries, *models.rt_entries)}
    assert kinds - {""} == set(models.order.interrupts)


# -- the order of locks ------------------------------------------------------------------------


def test_order_models_speak_of_functions_that_are_modelled_or_only_wait() -> None:
    models = load_models()
    order = models.order

    for name, model in order.functions.items():
        if model.subclass is not None or model.backs_off:
            assert models.functions[name].acquires, name
    assert order.runs_through
    assert order.off
    assert order.not_below


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ordering:\n  - names: [a]\n    attemt: true\n", "unknown key 'attemt'"),
        ("ordering:\n  - names: [a]\n  - names: [a]\n", "the order of a is told already"),
        ("ordering:\n  - names: [a]\n    runs: {inside: x}\n", "needs 'argument'"),
        ("ordering:\n  - names: [a]\n    subclass: one\n", "must be a whole number"),
        ("ordering:\n  - names: [a]\n    makes: {function: 0}\n", "needs 'given'"),
        ("ordering:\n  - names: [a]\n    queues: {queue: 0}\n", "needs 'argument'"),
        ("interrupts: {hardirq: {what: an interrupt, of: [x]}}\n", "unknown key 'of'"),
    ],
)
def test_a_mistake_in_an_order_model_is_told(text: str, message: str) -> None:
    with pytest.raises(LockcheckError, match=re.escape(message)):
        read_ordering(load_yaml(text, "x.yaml"), OrderModels())
