"""Memory accesses: access paths, array depth, flags; calls and their targets."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowering import (
    calls,
    element,
    field,
    function,
    load,
    lower,
    lower_function,
    number,
    reads,
    returned,
    stores,
    var,
)

from lockcheck.facts.ir import INIT, ONCE, TEST, UNKNOWN, UPDATE

TYPES = """
struct arch { unsigned short *t[2]; struct { int direct; union { int left; int right; }; }; };
struct slot { int id; struct arch a; int list[4]; struct slot *next; };
struct slot global;
static struct slot own;
"""
SLOT = load(var("s"))
TABLE = field(field(SLOT, "slot.a"), "arch.t")
POINTER = element(TABLE, load(var("m")))
COUNT = element(load(POINTER), load(var("i")))


def body(folder: Path, text: str, result: str = "int") -> tuple:
    code = f"{TYPES} {result} f(struct slot *s, int m, int i) {{ {text} }}"
    found = lower_function(folder, code)
    return found, stores(found), reads(found)


# -- access paths ------------------------------------------------------------------------------


def test_element_and_pointer_array_differ_in_depth(tmp_path: Path) -> None:
    _, written, read = body(tmp_path, "s->a.t[m][i] = 1; s->a.t[m] = NULL; return 0;")

    assert written == [(COUNT, number(1), 0), (POINTER, number(0), 0)]
    assert read == [(POINTER, 0)]


def test_local_pointers_keep_the_path_through_their_value(tmp_path: Path) -> None:
    found, written, _ = body(tmp_path, "unsigned short *p = s->a.t[m]; p[i]++; *p = 3; return 0;")

    (first, second) = written
    assert first[0] == element(load(var("p")), load(var("i")))
    assert second[0] == load(var("p"))
    assert any(e[2:] == (var("p"), load(POINTER), INIT) for e in found.blocks[0][0] if e[0] == "S")


def test_array_decays_to_its_address(tmp_path: Path) -> None:
    found, written, read = body(tmp_path, "int *q = s->list; q[1] = 2; s->list[i] = 3; return 0;")

    assert read == []
    assert found.blocks[0][0][0][3] == field(SLOT, "slot.list")
    assert written[1][0] == element(field(SLOT, "slot.list"), load(var("i")))


def test_fields_of_unnamed_members_belong_to_the_record_around(tmp_path: Path) -> None:
    _, written, _ = body(tmp_path, "s->a.direct = 1; s->a.right = 2; return 0;")

    arch = field(SLOT, "slot.a")
    assert [w[0] for w in written] == [field(arch, "arch.direct"), field(arch, "arch.right")]


def test_address_of_a_dereference_is_no_access(tmp_path: Path) -> None:
    _, written, read = body(tmp_path, "use_pointer(&s->a.t[m]); use_pointer(&s->next); return 0;")

    assert (written, read) == ([], [])


def test_globals_and_statics_are_named(tmp_path: Path) -> None:
    _, written, _ = body(tmp_path, "global.id = 1; own.id = 2; (&own)->id = 3; return 0;")

    own = field(("g", "own@x.c"), "slot.id")
    assert [w[0] for w in written] == [field(("g", "global"), "slot.id"), own, own]


def test_static_local_is_named_by_its_function(tmp_path: Path) -> None:
    _, written, read = body(tmp_path, "static int count; count++; return count;")

    assert [w[0] for w in written] == [("g", "f.count")]
    assert read == [(("g", "f.count"), 0)]


def test_inner_variable_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    found, _, _ = body(tmp_path, "int x = 1; { int x = 2; use(x); } use(x); return 0;")

    (inner,), (outer,) = (args for _, args in calls(found))
    assert inner != outer
    assert outer == load(var("x"))


def test_container_of_names_record_and_field(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path,
        f"{TYPES} struct slot *f(struct arch *n) {{ return container_of(n, struct slot, a); }}",
    )

    kind, value, name = returned(found)
    assert (kind, name) == ("co", "slot.a")
    assert value[0] == "l"


def test_container_of_over_a_nested_member(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path,
        f"{TYPES} struct slot *f(void *n) {{ return container_of(n, struct slot, a.direct); }}",
    )

    assert returned(found)[0] == "co"


def test_struct_assignment_is_one_access_of_each_side(tmp_path: Path) -> None:
    _, written, read = body(tmp_path, "*s = *s->next; return 0;")

    following = load(field(SLOT, "slot.next"))
    assert written == [(SLOT, load(following), 0)]
    assert (following, 0) in read


# -- flags -------------------------------------------------------------------------------------


def test_once_is_marked(tmp_path: Path) -> None:
    _, written, read = body(
        tmp_path, "WRITE_ONCE(s->a.t[m][i], 4); return READ_ONCE(s->a.t[m][i]);"
    )

    assert written == [(COUNT, number(4), ONCE)]
    assert (COUNT, ONCE) in read
    assert (COUNT, 0) not in read


@pytest.mark.parametrize(
    "condition",
    [
        "!s->next",
        "s->next",
        "s->next == NULL",
        "NULL != s->next",
        "!!s->next",
        "__builtin_expect(!!(s->next), 1)",
        "s->next && m",
    ],
)
def test_comparison_with_zero_is_a_test(tmp_path: Path, condition: str) -> None:
    _, _, read = body(tmp_path, f"if ({condition}) return 1; return 0;")

    assert read == [(field(SLOT, "slot.next"), TEST)]


def test_test_through_read_once_has_both_flags(tmp_path: Path) -> None:
    _, _, read = body(tmp_path, "return !READ_ONCE(s->next);")

    assert read == [(field(SLOT, "slot.next"), ONCE | TEST)]


@pytest.mark.parametrize("condition", ["s->id == 3", "s->id > 0", "s->next->id"])
def test_other_comparisons_read_the_value(tmp_path: Path, condition: str) -> None:
    _, _, read = body(tmp_path, f"if ({condition}) return 1; return 0;")

    assert read[0][1] == 0


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("s->id += 2", ("o", "+", load(field(SLOT, "slot.id")), number(2))),
        ("s->id -= 2", ("o", "-", load(field(SLOT, "slot.id")), number(2))),
        ("s->id |= 2", ("o", "|", load(field(SLOT, "slot.id")), number(2))),
        ("s->id <<= 2", ("o", "<<", load(field(SLOT, "slot.id")), number(2))),
        ("++s->id", ("o", "+", load(field(SLOT, "slot.id")), number(1))),
        ("s->id--", ("o", "-", load(field(SLOT, "slot.id")), number(1))),
    ],
)
def test_compound_assignment_is_one_update(tmp_path: Path, statement: str, value: tuple) -> None:
    _, written, read = body(tmp_path, f"{statement}; return 0;")

    assert written == [(field(SLOT, "slot.id"), value, UPDATE)]
    assert read == []


def test_postfix_value_is_the_old_one(tmp_path: Path) -> None:
    found, written, _ = body(tmp_path, "return s->id++;")

    kind, place = returned(found)
    assert kind == "l"
    assert place[0] == "v"
    assert written[0][2] == UPDATE


def test_assignment_reads_its_right_side_first(tmp_path: Path) -> None:
    found, _, _ = body(tmp_path, "s->id = s->next->id; return 0;")

    assert [event[0] for event in found.blocks[0][0]] == ["R", "R", "S"]


def test_initialiser_of_a_local_is_marked(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path, f"{TYPES} void f(void) {{ struct slot x = {{ .id = 1, .a.direct = 2 }}; }}"
    )

    assert [event[2:] for event in found.blocks[0][0]] == [
        (var("x"), number(0), INIT),
        (field(var("x"), "slot.id"), number(1), INIT),
        (field(field(var("x"), "slot.a"), "arch.direct"), number(2), INIT),
    ]


def test_asm_output_is_an_update(tmp_path: Path) -> None:
    _, written, _ = body(tmp_path, 'asm volatile("lock; incl %0" : "+m"(s->id)); return 0;')

    assert written == [(field(SLOT, "slot.id"), UNKNOWN, UPDATE)]


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("0xc0u & ~0x40u", 0x80),
        ("1 << 10", 1024),
        ("-7", -7),
        ("(unsigned char)0x1ff", 0xFF),
        ("(signed char)0x80", -128),
        ("sizeof(int)", 4),
        ("!3", 0),
        ("__builtin_constant_p(3) ? 1 : 2", 2),
        ("'a'", 97),
    ],
)
def test_constants_are_folded(tmp_path: Path, expression: str, value: int) -> None:
    found, _, _ = body(tmp_path, f"return {expression};")

    result = returned(found)
    # A conditional leaves its value in a temporary, whose only store is of the chosen side.
    stored = [event[3] for block, _ in found.blocks for event in block if event[0] == "S"]
    assert result == number(value) or stored == [number(value)]


@pytest.mark.parametrize(("expression", "value"), [("-7 / 2", -3), ("-7 % 2", -1)])
def test_division_of_negative_constants_rounds_towards_zero(
    tmp_path: Path, expression: str, value: int
) -> None:
    found, _, _ = body(tmp_path, f"return {expression};")

    assert returned(found) == number(value)


def test_unsigned_constants_wrap(tmp_path: Path) -> None:
    found, _, _ = body(tmp_path, "return ~0u >> 28;")

    assert returned(found) == number(15)


# -- calls and function pointers ---------------------------------------------------------------

OPS = """
struct ops { int (*open)(int x); void (*close)(void); struct { int (*inner)(int x); } sub;
             int (*table[3])(int x); };
struct device { const struct ops *ops; struct ops own; };
static int one(int x) { return x; }
static int two(int x) { return x + 1; }
static void end(void) { }
extern int far(int x);
"""
ONE, TWO, END, FAR = ("fn", "one@x.c"), ("fn", "two@x.c"), ("fn", "end@x.c"), ("fn", "far")


def initialisers(folder: Path, code: str) -> dict:
    return dict(lower(folder, OPS + code).initialisers)


def test_call_through_a_field_names_the_field(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path,
        f"{OPS} int f(struct device *d) {{ return d->ops->open(1) + (*d->own.sub.inner)(2); }}",
    )

    device = load(var("d"))
    through_ops = field(load(field(device, "device.ops")), "ops.open")
    through_own = field(field(field(device, "device.own"), "ops.sub"), "ops.inner")
    assert [callee for callee, _ in calls(found)] == [load(through_ops), load(through_own)]


def test_call_of_a_parameter_and_of_a_result(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path,
        "typedef int (*fn_t)(int); fn_t pick(int x); int f(fn_t g) { g(1); return pick(2)(3); }",
    )

    first, second, third = calls(found)
    assert first[0] == load(var("g"))
    assert second[0] == ("fn", "pick")
    assert third[0][0] == "c"


def test_functions_are_values_with_and_without_address_of(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path, f"{OPS} void take(int (*g)(int)); void f(void) {{ take(one); take(&far); }}"
    )

    assert [args for _, args in calls(found)] == [(ONE,), (FAR,)]


def test_function_is_assigned_by_a_statement(tmp_path: Path) -> None:
    found = lower_function(tmp_path, f"{OPS} void f(struct device *d) {{ d->own.open = one; }}")

    own = field(load(var("d")), "device.own")
    assert stores(found) == [(field(own, "ops.open"), ONE, 0)]


def test_ops_table_with_designators(tmp_path: Path) -> None:
    found = initialisers(
        tmp_path,
        "const struct ops o = { .open = one, .close = &end, .sub = { .inner = two },"
        " .table = { [1] = far, one } };",
    )

    ops = ("g", "o")
    assert found == {
        field(ops, "ops.open"): ONE,
        field(ops, "ops.close"): END,
        field(field(ops, "ops.sub"), "ops.inner"): TWO,
        element(field(ops, "ops.table"), number(1)): FAR,
        element(field(ops, "ops.table"), number(2)): ONE,
    }


def test_ops_table_by_position(tmp_path: Path) -> None:
    found = initialisers(tmp_path, "const struct ops o = { one, end };")

    assert found == {field(("g", "o"), "ops.open"): ONE, field(("g", "o"), "ops.close"): END}


def test_ops_table_by_position_with_a_nested_record(tmp_path: Path) -> None:
    found = initialisers(tmp_path, "const struct ops o = { one, end, { two }, { far } };")

    ops = ("g", "o")
    assert found[field(field(ops, "ops.sub"), "ops.inner")] == TWO
    assert found[element(field(ops, "ops.table"), number(0))] == FAR


def test_arrays_of_functions_and_of_tables(tmp_path: Path) -> None:
    found = initialisers(
        tmp_path,
        "static int (*table[])(int) = { one, two };"
        "struct ops many[] = { { .open = one }, [3] = { .open = two } };"
        "int use_it(int i) { return table[i](1); }",
    )

    assert found == {
        element(("g", "table@x.c"), number(0)): ONE,
        element(("g", "table@x.c"), number(1)): TWO,
        field(element(("g", "many"), number(0)), "ops.open"): ONE,
        field(element(("g", "many"), number(3)), "ops.open"): TWO,
    }


def test_initialiser_that_points_to_a_table(tmp_path: Path) -> None:
    found = initialisers(
        tmp_path,
        "static const struct ops o = { .open = one };"
        "struct device dev = { .ops = &o, .own.open = two };",
    )

    device = ("g", "dev")
    assert found[field(device, "device.ops")] == ("g", "o@x.c")
    assert found[field(field(device, "device.own"), "ops.open")] == TWO


def test_table_in_a_static_local(tmp_path: Path) -> None:
    found = initialisers(
        tmp_path, "const void *f(void) { static const struct ops o = { .open = one }; return &o; }"
    )

    assert found == {field(("g", "f.o"), "ops.open"): ONE}


def test_conditional_between_functions_is_decided_by_its_constant(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path, f"{OPS} void f(struct device *d) {{ d->own.open = 0 ? one : two; }}"
    )

    values = {event[3] for block, _ in found.blocks for event in block if event[0] == "S"}
    assert TWO in values
    assert ONE not in values


def test_table_in_a_compound_literal_is_not_lost(tmp_path: Path) -> None:
    found = initialisers(
        tmp_path, "struct device dev = { .ops = &(const struct ops){ .open = one } };"
    )

    assert ONE in found.values()


# -- units -------------------------------------------------------------------------------------


def test_inline_function_of_a_header_is_lowered_once_and_only_when_reached(tmp_path: Path) -> None:
    header = """
        static inline int inner(int x) { return x; }
        static inline int reached(int x) { return inner(x); }
        static inline int alone(int x) { return inner(x); }
    """
    code = '#include "h.h"\nint f(int x) { return reached(x); } int g(int x) { return reached(x); }'
    facts = lower(tmp_path, code, {"h.h": header})

    assert sorted(inline.key for inline in facts.inlines) == ["inner@h.h", "reached@h.h"]
    assert {inline.file for inline in facts.inlines} == {"h.h"}


def test_keys_tell_static_from_external(tmp_path: Path) -> None:
    facts = lower(tmp_path, "static int own(void) { return 1; } int f(void) { return own(); }")

    assert [(f.key, f.external) for f in facts.functions] == [("own@x.c", False), ("f", True)]
    assert function(facts, "f").params == ()


def test_facts_hold_no_absolute_path(tmp_path: Path) -> None:
    facts = lower(
        tmp_path, f"{TYPES} {OPS} int f(struct device *d) {{ return !d->own.sub.inner; }}"
    )

    assert str(tmp_path) not in repr(facts.records)
