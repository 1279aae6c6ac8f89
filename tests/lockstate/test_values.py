"""Values that decide: query helpers, functions that only look, new objects, counters, relations."""

from __future__ import annotations

from pathlib import Path

import pytest
from assertions import ASSERTIONS, PROVED, UNPROVED, VIOLATED, endings
from programs import analysis, held_in, key_of, lockset

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.memory import Memory

NEED = "static void need(struct thing *t) { assert_held(&t->rw); t->count++; }\n"
OPS = "const struct file_operations ops = { .unlocked_ioctl = enter };"
READ_LOCK, READ_UNLOCK = "_raw_read_lock(&t->rw);", "_raw_read_unlock(&t->rw);"
RW = lockset("t->rw read")


def ended(folder: Path, text: str) -> list[str]:
    return endings(analysis(folder, f"{ASSERTIONS}\n{text}\n{OPS}"))


# -- query helpers -----------------------------------------------------------------------------

HELPERS = [
    "return is_held(&t->rw);",
    "return !!is_held(&t->rw);",
    "if (is_held(&t->rw)) return 1; return 0;",
    "return is_held(&t->rw) || is_held(&t->spin);",
    "if (is_held(&t->spin)) return 1; return is_held(&t->rw);",
]


@pytest.mark.parametrize("body", HELPERS)
@pytest.mark.parametrize(
    "around, expected", [((READ_LOCK, READ_UNLOCK), PROVED), (("", ""), VIOLATED)]
)
def test_a_helper_that_asks(
    tmp_path: Path, body: str, around: tuple[str, str], expected: str
) -> None:
    text = f"""static int ask(struct thing *t) {{ {body} }}
    static void need(struct thing *t) {{ assert_that(ask(t)); t->count++; }}
    static long enter(struct thing *t) {{ {around[0]} need(t); {around[1]} return 0; }}"""

    assert ended(tmp_path, text) == [expected]


def test_a_helper_that_asks_for_both(tmp_path: Path) -> None:
    text = f"""static int ask(struct thing *t) {{ return is_held(&t->rw) && is_held(&t->spin); }}
    static void need(struct thing *t) {{ assert_that(ask(t)); t->count++; }}
    static long enter(struct thing *t) {{ {READ_LOCK} need(t); {READ_UNLOCK} return 0; }}"""

    assert ended(tmp_path, text) == [VIOLATED]


def test_what_a_helper_asks_is_recognised(tmp_path: Path) -> None:
    found = analysis(
        tmp_path,
        ASSERTIONS
        + """int ask(struct thing *t) { return is_held(&t->rw); }
        int twice(struct thing *t) { return ask(t) || is_held(&t->spin); }
        int other(struct thing *t) { return t->count; }
        int loops(struct thing *t) { while (t->count) use(is_held(&t->rw)); return 0; }
        int tells(struct thing *t) { assert_held(&t->rw); return 1; }""",
    )
    helpers = {n for n in ("ask", "twice", "other", "loops", "tells")
               if found.is_query_helper(key_of(found.program, n))}  # fmt: skip

    assert helpers == {"ask", "twice"}


# -- functions that only look ------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, pure",
    [
        ("return t->count;", True),
        ("if (t->flags) return t->count; return t->next != NULL;", True),
        ("int n = t->count; n++; return n;", True),
        ("return deeper(t);", True),
        ("t->count++; return 1;", False),
        ("return unknown();", False),
        ("while (t->next) t = t->next; return t->count;", False),
        ("spin_lock(&t->spin); return 1;", False),
    ],
)
def test_who_only_looks(tmp_path: Path, body: str, pure: bool) -> None:
    found = analysis(
        tmp_path,
        "static int deeper(struct thing *t) { return t->flags & 4; }"
        f"int look(struct thing *t) {{ {body} }} int keep(struct thing *t) {{ return deeper(t); }}",
    )

    assert found.is_pure(key_of(found.program, "look")) is pure


LOOKS = "static int look(struct thing *t) { return t->flags && t->next; }"


def test_what_only_looks_says_the_same_twice(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (look(t)) {READ_LOCK} mark(1); if (look(t)) {{ mark(2); {READ_UNLOCK} }} mark(3);",
        before=LOOKS,
    )

    assert seen == {1: {RW, lockset()}, 2: {RW}, 3: {lockset()}}


@pytest.mark.xfail(
    strict=True, reason="UNSOUND: a store does not end what a function that only looks has said"
)
def test_what_only_looks_may_say_something_else_after_a_store(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (look(t)) {READ_LOCK} t->flags = unknown(); if (look(t)) mark(1);",
        before=LOOKS,
    )

    assert seen == {1: {RW, lockset()}}


def test_what_only_looks_is_asked_of_one_object(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (look(t)) {READ_LOCK} if (look(t->other)) mark(1);",
        before=LOOKS,
    )

    assert seen == {1: {RW, lockset()}}


# -- new objects -------------------------------------------------------------------------------

ALLOC = "void *kzalloc(size_t size, unsigned flags);"


def reached(folder: Path, body: str, before: str = "") -> set[int]:
    seen = held_in(folder, body, before=ALLOC + before)
    return {place for place, locksets in seen.items() if locksets}


@pytest.mark.parametrize(
    "allocate, store, expected",
    [
        ("kzalloc(64, 0)", "", set()),
        ("kmalloc(64, 0)", "", {1}),
        ("kmalloc(64, 0x100)", "", set()),
        ("kzalloc(64, 0)", "n->flags = 1;", {1}),
        ("kzalloc(64, 0)", "n->count = 1;", set()),
        ("kzalloc(64, 0)", "n->flags = 0;", set()),
        ("kzalloc(64, 0)", "fill(n);", {1}),
        ("kzalloc(64, 0)", "fill(t);", {1}),
    ],
)
def test_new_memory_is_zero_until_it_is_stored_to(
    tmp_path: Path, allocate: str, store: str, expected: set[int]
) -> None:
    fill = "static void fill(struct thing *t) { t->flags = unknown(); }"
    body = f"struct thing *n = {allocate}; if (!n) return 1; {store} if (n->flags) mark(1);"

    assert reached(tmp_path, body, fill) == expected


def test_a_function_of_ones_own_that_returns_zero_memory(tmp_path: Path) -> None:
    make = "static struct thing *make(void) { return kzalloc(64, 0); }"
    body = "struct thing *n = make(); if (!n) return 1; if (n->flags) mark(1); mark(2);"

    assert reached(tmp_path, body, make) == {2}


# -- counters ----------------------------------------------------------------------------------

COUNTER = """
typedef struct { int counter; } atomic_t;
typedef struct refcount_struct { atomic_t refs; } refcount_t;
bool refcount_dec_and_test(refcount_t *r);
struct object { refcount_t users; rwlock_t rw; int count; struct object *peer; };
static void need(struct object *o) { assert_held(&o->rw); o->count++; }
struct files { long (*unlocked_ioctl)(struct object *); };
#define file_operations files
"""


@pytest.mark.parametrize(
    "body, expected",
    [
        ("if (refcount_dec_and_test(&o->users)) need(o);", PROVED),
        ("if (!refcount_dec_and_test(&o->users)) return 0; need(o);", PROVED),
        ("if (refcount_dec_and_test(&o->users)) return 0; need(o);", VIOLATED),
        ("refcount_dec_and_test(&o->users); need(o);", VIOLATED),
    ],
)
def test_the_last_reference(tmp_path: Path, body: str, expected: str) -> None:
    text = ASSERTIONS.split("struct file_operations")[0] + COUNTER.replace(
        "struct files", "struct file_operations"
    ).replace("#define file_operations files\n", "")
    text += f"static long enter(struct object *o) {{ {body} return 0; }}"

    assert endings(analysis(tmp_path, f"{text}\n{OPS}")) == [expected]


# -- doubt -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, expected",
    [
        (f"int n = t->flags > 3; if (n) {READ_LOCK} need(t); if (n) {READ_UNLOCK}", UNPROVED),
        (f"{READ_LOCK} if (t->flags) {READ_UNLOCK} need(t);", VIOLATED),
        ("if (!_raw_read_trylock(&t->rw)) use(1); need(t);", VIOLATED),
        ("int got = _raw_read_trylock(&t->rw); if (got) need(t);", PROVED),
    ],
)
def test_calls_with_and_without(tmp_path: Path, body: str, expected: str) -> None:
    text = f"{NEED} static long enter(struct thing *t) {{ {body} return 0; }}"

    assert ended(tmp_path, text) == [expected]


# -- relations ---------------------------------------------------------------------------------

P: Expr = ("p", 0)
OWNER: Expr = ("f", ("l", ("f", P, "kvm.apic")), "apic.owner")


def memory(folder: Path, *through: str) -> Memory:
    found = analysis(folder, "int f(void) { return 0; }")
    return Memory(found.program.effects, [("apic.owner", through)], {})


def test_a_pointer_leads_back_to_where_its_object_came_from(tmp_path: Path) -> None:
    known = memory(tmp_path, "kvm.apic")

    assert known.leads_back(OWNER) == P
    assert known.leads_back(("f", ("f", P, "kvm.apic"), "apic.owner")) == P
    assert known.leads_back(("f", P, "apic.owner")) is None
    assert known.leads_back(("f", ("l", ("f", P, "kvm.other")), "apic.owner")) is None
    assert known.leads_back(("f", ("l", ("f", P, "kvm.apic")), "apic.peer")) is None
    assert known.leads_back(("g", "apic.owner")) is None


def test_a_pointer_leads_back_over_several_fields_and_elements(tmp_path: Path) -> None:
    known = memory(tmp_path, "vcpu.arch", "arch.apics")
    inner: Expr = ("i", ("f", ("f", P, "vcpu.arch"), "arch.apics"), ("k", 3))

    assert known.leads_back(("f", ("l", inner), "apic.owner")) == P
    assert known.leads_back(("f", inner, "apic.owner")) == P
    assert known.leads_back(("f", ("l", ("f", P, "arch.apics")), "apic.owner")) is None


@pytest.mark.parametrize(
    "copy, expected", [("memcpy(&quick, t, 4);", UNPROVED), ("use(quick);", PROVED)]
)
def test_what_a_model_says_is_written_is_not_known(
    tmp_path: Path, copy: str, expected: str
) -> None:
    text = f"""extern void memcpy(void *to, const void *from, unsigned long size);
    extern void use(int);
    {NEED}
    static long enter(struct thing *t) {{
        int quick = 0;
        {copy}
        if (!quick) {READ_LOCK}
        need(t);
        if (!quick) {READ_UNLOCK}
        return 0;
    }}"""

    assert ended(tmp_path, text) == [expected]
