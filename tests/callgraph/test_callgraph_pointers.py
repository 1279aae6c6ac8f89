"""Which functions a call may reach: directly, through fields, variables, arguments and returns."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import direct, indirect, key_of, names, program

from lockcheck.callgraph.program import Reach

OPS = """
struct ops { int (*open)(int); int (*close)(int); };
static int first(int x) { return x; }
static int second(int x) { return x + 1; }
static int third(int x) { return x + 2; }
"""


def only(folder: Path, text: str, caller: str = "f") -> set[str]:
    """The targets of the only call through a pointer in `caller`."""
    (targets,) = indirect(program(folder, OPS + text), caller)
    return targets


def test_direct_calls(tmp_path: Path) -> None:
    found = program(tmp_path, OPS + "int f(int x) { return first(second(x)) + unknown(); }")

    assert direct(found, "f") == {"first", "second", "unknown"}
    assert indirect(found, "f") == []


def test_callers_are_listed_in_order_with_their_call(tmp_path: Path) -> None:
    found = program(tmp_path, OPS + "int g(int x) { return first(x); } int f(void) {"
                    " first(1); return first(2); }")  # fmt: skip

    sites = found.callers[key_of(found, "first")]
    assert [site.caller for site in sites] == ["f", "f", "g"]
    assert all(site.slot is None for site in sites)
    assert {found.calls[s.caller][s.call].targets for s in sites} == {(key_of(found, "first"),)}


def test_static_functions_of_one_name_in_two_units_are_two(tmp_path: Path) -> None:
    unit = "static int same(void) {{ return {0}; }} int {1}(void) {{ return same(); }}"
    found = program(tmp_path, unit.format(1, "f"), y=unit.format(2, "g"))

    assert found.calls["f"][next(iter(found.calls["f"]))].targets == ("same@x.c",)
    assert found.calls["g"][next(iter(found.calls["g"]))].targets == ("same@y.c",)


def test_external_function_is_called_across_units(tmp_path: Path) -> None:
    found = program(
        tmp_path, "int g(void); int f(void) { return g(); }", y="int g(void) { return 1; }"
    )

    assert [site.caller for site in found.callers["g"]] == ["f"]


# -- fields ------------------------------------------------------------------------------------


def test_designated_initialiser(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        OPS
        + """static const struct ops a = { .open = first, .close = second };
        static struct ops b = { .close = third };
        int f(struct ops *o) { return o->open(1); }
        int g(struct ops *o) { return o->close(1); }""",
    )

    assert indirect(found, "f") == [{"first"}]
    assert indirect(found, "g") == [{"second", "third"}]


def test_positional_initialiser(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        OPS
        + """struct ops a = { first, second };
        int f(struct ops *o) { return o->open(1); }
        int g(struct ops *o) { return o->close(1); }""",
    )

    assert indirect(found, "f") == [{"first"}]
    assert indirect(found, "g") == [{"second"}]


def test_array_of_ops_tables(tmp_path: Path) -> None:
    text = """static struct ops all[] = { { first, second }, [2] = { .open = third } };
    int f(int i) { return all[i].open(1); }"""

    assert only(tmp_path, text) == {"first", "third"}


def test_nested_ops_table(tmp_path: Path) -> None:
    text = """struct outer { int id; struct ops inner; };
    static struct outer o = { 1, { first, .close = second } };
    int f(struct outer *p) { return p->inner.open(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_table_of_a_static_local(tmp_path: Path) -> None:
    text = """int f(struct ops *o) { static const struct ops mine = { .open = first };
    o = (struct ops *)&mine; return o->open(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_local_table_on_the_stack(tmp_path: Path) -> None:
    text = """static int run(struct ops *o) { return o->open(1); }
    int f(void) { struct ops mine = { .open = first }; return run(&mine); }"""

    assert only(tmp_path, text, "run") == {"first"}


def test_assignment_to_a_field_by_statement(tmp_path: Path) -> None:
    text = """void set(struct ops *o, int c) { o->open = c ? first : second; }
    void set_again(struct ops *o) { o->open = &third; }
    int f(struct ops *o) { return o->open(1); }"""

    assert only(tmp_path, text) == {"first", "second", "third"}


def test_assignment_of_one_field_to_another(tmp_path: Path) -> None:
    text = """struct wrapped { int (*saved)(int); };
    static struct ops a = { .open = first };
    void wrap(struct wrapped *w, struct ops *o) { w->saved = o->open; }
    int f(struct wrapped *w) { return w->saved(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_pointer_to_a_pointer_is_dereferenced_or_not(tmp_path: Path) -> None:
    text = """static struct ops a = { .open = first };
    int f(struct ops *o) { return (*o->open)(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_call_through_a_local_copy_of_a_field(tmp_path: Path) -> None:
    text = """static struct ops a = { .open = first };
    int f(struct ops *o) { int (*run)(int) = o->open; if (!run) return 0; return run(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_fields_of_one_name_in_two_records_are_two(tmp_path: Path) -> None:
    text = """struct other { int (*open)(int); };
    static struct other b = { .open = second }; static struct ops a = { .open = first };
    int f(struct ops *o) { return o->open(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_handler_in_a_struct_that_is_passed_by_pointer(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        OPS
        + """struct range { int start; int (*handler)(struct range *); };
        static int on_zap(struct range *r) { return r->start; }
        static int on_age(struct range *r) { return -r->start; }
        static int walk(const struct range *r) { struct range copy; copy.handler = r->handler;
            return copy.handler(&copy); }
        int zap(void) { struct range r = { .handler = on_zap }; return walk(&r); }
        int age(void) { struct range r; r.handler = on_age; return walk(&r); }""",
    )

    assert indirect(found, "walk") == [{"on_zap", "on_age"}]


def test_struct_copied_whole_carries_its_functions(tmp_path: Path) -> None:
    text = """static struct ops a = { .open = first };
    int f(void) { struct ops mine = a; return mine.open(1); }"""

    assert only(tmp_path, text) == {"first"}


# -- arrays, variables -------------------------------------------------------------------------


def test_array_of_functions(tmp_path: Path) -> None:
    text = """static int (*const handlers[])(int) = { first, [3] = second };
    int f(int i) { return handlers[i](1); }"""

    assert only(tmp_path, text) == {"first", "second"}


def test_array_of_functions_filled_by_statement(tmp_path: Path) -> None:
    text = """static int (*handlers[4])(int);
    void add(int i) { handlers[i] = third; }
    int f(int i) { return handlers[i] ? handlers[i](1) : 0; }"""

    assert only(tmp_path, text) == {"third"}


def test_array_of_functions_in_a_struct(tmp_path: Path) -> None:
    text = """struct vm { int (*exits[4])(int); };
    static struct vm it = { .exits = { [1] = first, [2] = second } };
    int f(struct vm *v, int i) { return v->exits[i](1); }"""

    assert only(tmp_path, text) == {"first", "second"}


def test_global_variable(tmp_path: Path) -> None:
    text = """int (*hook)(int); void set(void) { hook = first; }
    int f(void) { return hook(1); }"""

    assert only(tmp_path, text) == {"first"}


def test_conditional_local(tmp_path: Path) -> None:
    text = """int f(int c) { int (*run)(int) = first; if (c) run = second; return run(1); }"""

    assert only(tmp_path, text) == {"first", "second"}


# -- arguments and returns ---------------------------------------------------------------------


def test_function_passed_as_an_argument_from_two_callers(tmp_path: Path) -> None:
    text = """static int apply(int (*run)(int), int x) { return run(x); }
    int f(void) { return apply(first, 1); } int g(void) { return apply(&second, 2); }"""

    assert only(tmp_path, text, "apply") == {"first", "second"}


def test_argument_handed_on(tmp_path: Path) -> None:
    text = """static int inner(int (*run)(int)) { return run(1); }
    static int outer(int x, int (*run)(int)) { return inner(run); }
    int f(void) { return outer(1, first); }"""

    assert only(tmp_path, text, "inner") == {"first"}


def test_argument_across_units(tmp_path: Path) -> None:
    declare = "int apply(int (*run)(int));"
    found = program(
        tmp_path,
        f"{declare} static int cb(int x) {{ return x; }} int f(void) {{ return apply(cb); }}",
        y=f"{declare} int apply(int (*run)(int)) {{ return run(1); }}",
    )

    assert indirect(found, "apply") == [{"cb"}]


def test_argument_to_a_function_that_is_called_through_a_pointer(tmp_path: Path) -> None:
    text = """struct walk { int (*each)(int (*run)(int)); };
    static int all(int (*run)(int)) { return run(1); }
    static struct walk w = { .each = all };
    int f(struct walk *p) { return p->each(first); }"""

    assert only(tmp_path, text, "all") == {"first"}


def test_argument_stored_into_a_field_by_the_callee(tmp_path: Path) -> None:
    text = """static void init(struct ops *o, int (*run)(int)) { o->open = run; }
    void setup(struct ops *o) { init(o, first); init(o, second); }
    int f(struct ops *o) { return o->open(1); }"""

    assert only(tmp_path, text) == {"first", "second"}


def test_returned_function_pointer(tmp_path: Path) -> None:
    text = """typedef int (*run_t)(int);
    static run_t pick(int c) { return c ? first : second; }
    int f(int c) { run_t run = pick(c); return run(1); }"""

    assert only(tmp_path, text) == {"first", "second"}


def test_returned_function_pointer_is_called_at_once(tmp_path: Path) -> None:
    text = """typedef int (*run_t)(int);
    static run_t pick(int c) { if (c) return first; return second; }
    int f(int c) { return pick(c)(1); }"""

    assert only(tmp_path, text) == {"first", "second"}


def test_returned_table(tmp_path: Path) -> None:
    text = """static struct ops a = { .open = first };
    static struct ops *table(void) { return &a; }
    int f(void) { return table()->open(1); }"""

    assert only(tmp_path, text) == {"first"}


# -- static calls ------------------------------------------------------------------------------

STATIC_CALL = """
struct static_call_key { void *func; };
extern struct static_call_key __SCK__op;
int __SCT__op(int x);
void __static_call_update(struct static_call_key *key, void *tramp, void *func);
"""


def test_static_call_goes_to_what_updates_name(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        OPS
        + STATIC_CALL
        + """void up(int c) {
            if (c) __static_call_update(&__SCK__op, &__SCT__op, first);
            else __static_call_update(&__SCK__op, (void *)__SCT__op, (void *)second); }
        int f(void) { return __SCT__op(1); }""",
    )

    assert direct(found, "f") == {"first", "second"}
    assert [site.caller for site in found.callers[key_of(found, "first")]] == ["f"]


def test_static_call_updated_from_an_ops_table(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        OPS
        + STATIC_CALL
        + """static struct ops vendor = { .open = first }; static struct ops active;
        void copy(struct ops *from) { active.open = from->open; }
        void up(void) { __static_call_update(&__SCK__op, &__SCT__op, active.open); }
        int f(void) { return __SCT__op(1); }""",
    )

    assert direct(found, "f") == {"first"}


def test_static_call_that_nobody_updates_stays_itself(tmp_path: Path) -> None:
    found = program(tmp_path, STATIC_CALL + "int f(void) { return __SCT__op(1); }")

    assert direct(found, "f") == {"__SCT__op"}


# -- reach -------------------------------------------------------------------------------------


def reach(folder: Path, text: str, name: str = "first") -> Reach:
    found = program(folder, OPS + text)
    return found.reach(key_of(found, name))


def test_unreferenced_static_function_is_reached_by_nothing(tmp_path: Path) -> None:
    assert reach(tmp_path, "int f(void) { return 0; }") is Reach.NONE
    assert reach(tmp_path, "int f(void) { return first(1); }") is Reach.NONE


def test_external_function_is_reached_by_name(tmp_path: Path) -> None:
    assert reach(tmp_path, "int f(void) { return 0; }", "f") is Reach.EXTERNAL


def test_function_in_a_table_that_nobody_here_calls_is_a_callback(tmp_path: Path) -> None:
    assert reach(tmp_path, "struct ops a = { .open = first };") is Reach.CALLBACK


def test_function_in_a_table_that_is_called_here_is_no_callback(tmp_path: Path) -> None:
    text = "static struct ops a = { .open = first }; int f(void) { return a.open(1); }"

    assert reach(tmp_path, text) is Reach.NONE


def test_function_in_a_called_and_in_an_uncalled_slot_is_a_callback(tmp_path: Path) -> None:
    text = """static struct ops a = { .open = first, .close = first };
    int f(void) { return a.open(1); }"""

    assert reach(tmp_path, text) is Reach.CALLBACK


def test_function_whose_slot_flows_into_a_called_one_is_no_callback(tmp_path: Path) -> None:
    text = """static struct ops a = { .open = first };
    int f(void) { int (*run)(int) = a.open; return run(1); }"""

    assert reach(tmp_path, text) is Reach.NONE


def test_function_given_to_code_that_was_not_read_is_a_callback(tmp_path: Path) -> None:
    text = "void register_it(int (*run)(int)); void f(void) { register_it(first); }"

    assert reach(tmp_path, text) is Reach.CALLBACK


def test_function_given_to_code_that_never_calls_it_is_a_callback(tmp_path: Path) -> None:
    text = """static int (*hook)(int); static void set(int (*run)(int)) { hook = run; }
    void f(void) { set(first); }"""

    assert reach(tmp_path, text) is Reach.CALLBACK


def test_external_function_that_is_stored_is_a_callback(tmp_path: Path) -> None:
    text = "int f(int x) { return x; } struct ops a = { .open = f };"

    assert reach(tmp_path, text, "f") is Reach.CALLBACK


@pytest.mark.parametrize(
    "name", ["__UNIQUE_ID___addressable_first_12", "__addressable_first7", "__ksymtab_first"]
)
def test_variables_that_keep_a_symbol_are_no_references(tmp_path: Path, name: str) -> None:
    text = f"static void *{name} __attribute__((used)) = (void *)(unsigned long)&first;"

    assert reach(tmp_path, text) is Reach.NONE


def test_a_variable_of_another_name_is_a_reference(tmp_path: Path) -> None:
    text = "static void *__initcall_first __attribute__((used)) = (void *)(unsigned long)&first;"

    assert reach(tmp_path, text) is Reach.CALLBACK


def test_static_call_target_is_no_callback(tmp_path: Path) -> None:
    text = """void up(void) { __static_call_update(&__SCK__op, &__SCT__op, first); }
    int f(void) { return __SCT__op(1); }"""

    assert reach(tmp_path, STATIC_CALL + text) is Reach.NONE


def test_comparison_with_a_function_is_no_reference(tmp_path: Path) -> None:
    assert reach(tmp_path, "int f(void *p) { return p == (void *)first; }") is Reach.NONE


# -- callbacks of a field ----------------------------------------------------------------------


def test_callbacks_of_a_field(tmp_path: Path) -> None:
    found = program(tmp_path, OPS + "struct ops a = { first }; struct ops b = { .open = second };")

    assert names(found.callbacks("ops.open")) == {"first", "second"}
    assert found.callbacks("ops.close") == frozenset()
