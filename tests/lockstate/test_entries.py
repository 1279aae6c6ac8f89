"""Entering a function from outside: what models say is held, and what nobody knows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from assertions import ASSERTIONS, PROVED, UNPROVED, VIOLATED, endings, gaps
from programs import program, units

from lockcheck.callgraph.program import Program
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.entries import Entries, Incoming
from lockcheck.lockstate.needs import Need
from lockcheck.models.loader import ANY, READ, WRITE, EntryHeld, EntryModel, load_models

RW = Need(("f", ("p", 0), "thing.rw"), "thing.rw", ANY, "t->rw")
TABLE = """
struct table { int (*run)(struct thing *); };
static int f(struct thing *t) { return t->count; }
const struct table ops = { .run = f };
"""


def entries(folder: Path, text: str, *models: EntryModel, trusting: bool = False) -> Entries:
    found = Program(
        units(folder, {"x.c": text}), msgspec.structs.replace(load_models(), entries=models)
    )
    return Entries(found, trusting)


def entry(
    *through: str, holds: tuple[EntryHeld, ...] = (), may_hold: tuple[str, ...] = ()
) -> EntryModel:
    return EntryModel(through, "a test", holds, may_hold)


def judged(found: Entries, *needs: Need, key: str = "f@x.c") -> Incoming:
    return found.judge(key, needs).incoming


def test_a_modelled_field_says_what_is_held(tmp_path: Path) -> None:
    held = (EntryHeld("thing.rw", READ),)
    found = entries(tmp_path, TABLE, entry("table.run", holds=held))

    assert judged(found, RW) is Incoming.MET
    assert judged(found, msgspec.structs.replace(RW, mode=READ)) is Incoming.MET
    assert judged(found, msgspec.structs.replace(RW, mode=WRITE)) is Incoming.FAILED
    assert found.holds("f@x.c") == held


def test_nothing_more_is_held_than_the_model_says(tmp_path: Path) -> None:
    assert judged(entries(tmp_path, TABLE, entry("table.run")), RW) is Incoming.FAILED


def test_absence_is_met_where_nothing_is_held(tmp_path: Path) -> None:
    absent = msgspec.structs.replace(RW, absent=True)
    held = (EntryHeld("thing.rw", WRITE),)

    assert judged(entries(tmp_path, TABLE, entry("table.run")), absent) is Incoming.MET
    found = entries(tmp_path, TABLE, entry("table.run", holds=held))
    assert judged(found, absent) is Incoming.FAILED


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("thing.rw", Incoming.UNKNOWN),
        ("thing.*", Incoming.UNKNOWN),
        ("*", Incoming.UNKNOWN),
        ("other.*", Incoming.FAILED),
    ],
)
def test_what_may_be_held_is_not_decided(tmp_path: Path, pattern: str, expected: Incoming) -> None:
    found = entries(tmp_path, TABLE, entry("table.run", may_hold=(pattern,)))

    assert judged(found, RW) is expected


def test_any_one_need_will_do(tmp_path: Path) -> None:
    other = Need(None, "thing.spin", ANY, "t->spin")
    held = (EntryHeld("thing.spin", WRITE),)
    found = entries(tmp_path, TABLE, entry("table.run", holds=held))

    assert judged(found, RW, other) is Incoming.MET
    assert judged(found, RW) is Incoming.FAILED


def test_a_section_is_met_by_what_implies_it(tmp_path: Path) -> None:
    section = load_models().section("atomic context")
    atomic = Need(section, "atomic context", ANY, "atomic context")
    found = entries(tmp_path, TABLE, entry("table.run", holds=(EntryHeld("softirqs off", WRITE),)))

    assert judged(found, atomic) is Incoming.MET
    assert judged(found, msgspec.structs.replace(atomic, absent=True)) is Incoming.FAILED


def test_a_vague_pointer_is_not_decided(tmp_path: Path) -> None:
    vague = msgspec.structs.replace(RW, vague=True)

    assert judged(entries(tmp_path, TABLE, entry("table.run")), vague) is Incoming.UNKNOWN


def test_an_unmodelled_field_is_unknown_or_holds_nothing(tmp_path: Path) -> None:
    assert judged(entries(tmp_path, TABLE), RW) is Incoming.UNKNOWN
    assert judged(entries(tmp_path, TABLE, trusting=True), RW) is Incoming.FAILED


def test_one_modelled_place_that_fails_is_enough(tmp_path: Path) -> None:
    text = TABLE + "struct more { int (*go)(struct thing *); }; const struct more m = { f };"

    assert judged(entries(tmp_path, text, entry("table.run")), RW) is Incoming.FAILED
    held = (EntryHeld("thing.rw", WRITE),)
    assert judged(entries(tmp_path, text, entry("table.run", holds=held)), RW) is Incoming.UNKNOWN


def test_functions_that_are_called_by_name(tmp_path: Path) -> None:
    text = "int sys_go(struct thing *t) { return t->count; }"
    found = entries(tmp_path, text, entry("sys_*()"))

    assert judged(found, RW, key="sys_go") is Incoming.FAILED
    assert judged(entries(tmp_path, text), RW, key="sys_go") is Incoming.NO_CALLER


def test_functions_that_only_units_call_are_closed(tmp_path: Path) -> None:
    text = "static int f(struct thing *t) { return 0; } int g(struct thing *t) { return f(t); }"

    assert judged(entries(tmp_path, text), RW) is Incoming.CLOSED


def test_what_is_passed_to_a_function_of_others(tmp_path: Path) -> None:
    text = """int start(int (*run)(struct thing *), int n);
    static int f(struct thing *t) { return 0; } int g(void) { return start(f, 1); }"""

    assert judged(entries(tmp_path, text, entry("start#0")), RW) is Incoming.FAILED
    assert judged(entries(tmp_path, text, entry("start#1")), RW) is Incoming.UNKNOWN


def test_what_is_passed_on_by_a_wrapper(tmp_path: Path) -> None:
    text = """int start(int (*run)(struct thing *), int n);
    static inline int begin(int (*run)(struct thing *)) { return start(run, 1); }
    static int f(struct thing *t) { return 0; } int g(void) { return begin(f); }"""

    assert judged(entries(tmp_path, text, entry("start#0")), RW) is Incoming.FAILED


def test_the_first_model_that_fits_counts(tmp_path: Path) -> None:
    held = (EntryHeld("thing.rw", WRITE),)
    found = entries(tmp_path, TABLE, entry("table.run", holds=held), entry("table.*"))

    assert judged(found, RW) is Incoming.MET


# -- promises, all the way up ------------------------------------------------------------------


def ended(folder: Path, text: str) -> list[str]:
    return endings(Analysis(program(folder, ASSERTIONS + text)))


NEED = "static void need(struct thing *t) { assert_held(&t->rw); t->count++; }\n"
OPS = "const struct file_operations ops = { .unlocked_ioctl = enter };"


@pytest.mark.parametrize(
    "body, expected",
    [
        ("need(t);", VIOLATED),
        ("_raw_read_lock(&t->rw); need(t); _raw_read_unlock(&t->rw);", PROVED),
        ("_raw_read_lock(&t->next->rw); need(t->next); _raw_read_unlock(&t->next->rw);", PROVED),
        ("if (t->flags) need(t);", VIOLATED),
        ("int no = 0; if (no) need(t);", PROVED),
        ("_raw_write_lock(&t->rw); _raw_write_unlock(&t->rw); need(t);", VIOLATED),
    ],
)
def test_an_assertion_below_a_system_call(tmp_path: Path, body: str, expected: str) -> None:
    text = f"{NEED} static long enter(struct thing *t) {{ {body} return 0; }} {OPS}"

    assert ended(tmp_path, text) == [expected]


def test_without_an_entry_point_nothing_is_violated(tmp_path: Path) -> None:
    assert ended(tmp_path, NEED + "void g(struct thing *t) { need(t); }") == [UNPROVED]


# -- exclusive files ---------------------------------------------------------------------------


def test_no_chain_goes_through_two_exclusive_files(tmp_path: Path) -> None:
    text = {
        "vmx.c": ASSERTIONS + "int common(struct thing *t);\n"
        "int vmx_deep(struct thing *t) { assert_held(&t->rw); return 0; }",
        "svm.c": ASSERTIONS + "int common(struct thing *t);\n"
        "static long enter(struct thing *t) { return common(t); }" + OPS,
        "mid.c": ASSERTIONS + "int vmx_deep(struct thing *t);\n"
        "int common(struct thing *t) { return vmx_deep(t); }",
    }
    models = load_models()
    facts = units(tmp_path, text)
    apart = msgspec.structs.replace(models, exclusive=(("vmx.c", "svm.c"),))

    assert endings(Analysis(Program(facts, models))) == [VIOLATED]
    assert VIOLATED not in endings(Analysis(Program(facts, apart)))


def test_reasons_name_the_caller(tmp_path: Path) -> None:
    text = f"""{ASSERTIONS} {NEED}
    struct table {{ void (*run)(struct thing *); }}; const struct table ops = {{ need }};"""
    (why,) = gaps(Analysis(program(tmp_path, text)))

    assert "need()" in why
    assert "table.run" in why


# -- what is given to a function that was read ----------------------------------------------------

GIVEN = """
struct table { int (*run)(struct thing *); };
void set(struct table *table, int number, int (*run)(struct thing *)) { table->run = run; }
static int f(struct thing *t) { return t->count; }
int g(struct table *table) { set(table, 1, f); return 0; }
"""


@pytest.mark.parametrize("through", ["table.run", "set#2"])
def test_a_function_comes_in_where_it_is_stored_in_the_end(tmp_path: Path, through: str) -> None:
    held = (EntryHeld("thing.rw", READ),)
    found = entries(tmp_path, GIVEN, entry(through, holds=held))

    assert judged(found, RW) is Incoming.MET
    assert found.holds("f@x.c") == held


def test_the_place_that_comes_first_counts(tmp_path: Path) -> None:
    nothing, held = entry("set#2"), entry("table.run", holds=(EntryHeld("thing.rw", READ),))

    assert judged(entries(tmp_path, GIVEN, held, nothing), RW) is Incoming.FAILED


def test_a_function_that_is_given_to_one_without_a_model(tmp_path: Path) -> None:
    assert judged(entries(tmp_path, GIVEN, entry("set#1")), RW) is Incoming.UNKNOWN


# -- types that may be held ------------------------------------------------------------------------


def test_a_lock_of_a_type_that_may_be_held(tmp_path: Path) -> None:
    model = msgspec.structs.replace(entry("table.run"), may_hold_types=frozenset({"mutex"}))
    found = entries(tmp_path, TABLE, model)
    mutex = Need(("f", ("p", 0), "thing.mutex"), "thing.mutex", ANY, "t->mutex")

    assert judged(found, mutex) is Incoming.UNKNOWN
    assert judged(found, RW) is Incoming.FAILED


def test_a_lock_of_a_type_that_is_not_known_may_be_held(tmp_path: Path) -> None:
    model = msgspec.structs.replace(entry("table.run"), may_hold_types=frozenset({"mutex"}))
    lock = Need(("g", "big_lock"), "big_lock", ANY, "big_lock")

    assert judged(entries(tmp_path, TABLE, model), lock) is Incoming.UNKNOWN


def test_a_section_is_of_no_type(tmp_path: Path) -> None:
    model = msgspec.structs.replace(entry("table.run"), may_hold_types=frozenset({"mutex"}))
    rcu = Need(("section", "RCU"), "RCU", ANY, "RCU")

    assert judged(entries(tmp_path, TABLE, model), rcu) is Incoming.FAILED
