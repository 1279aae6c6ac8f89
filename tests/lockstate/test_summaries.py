"""What calls do to the lockset: helpers that lock, drop, decide and hand on."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import (
    NOTHING,
    Lockset,
    analysis,
    dropped_locks,
    held,
    held_in,
    key_of,
    lockset,
    returned_locks,
)

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.summary import Condition, Exit, Summary

RW, SPIN = lockset("t->rw"), lockset("t->spin")
TAKE, DROP = "_raw_write_lock(&t->rw);", "_raw_write_unlock(&t->rw);"
HELPERS = f"""
static void take(struct thing *t) {{ {TAKE} }}
static void drop(struct thing *t) {{ {DROP} }}
"""
FLAG = "struct thing *t, int flag"


def summary(folder: Path, text: str, name: str = "f") -> Summary:
    found = analysis(folder, text)
    return found.summary(key_of(found.program, name))


def seen_with(
    folder: Path, helper: str, body: str, parameters: str = "struct thing *t"
) -> dict[int, set[Lockset]]:
    return held_in(folder, body, parameters, HELPERS + helper)


# -- helpers -----------------------------------------------------------------------------------


def test_helper_that_locks_and_helper_that_drops(tmp_path: Path) -> None:
    seen = seen_with(tmp_path, "", "take(t); mark(1); drop(t); mark(2);")

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_helper_names_the_lock_of_its_own_argument(tmp_path: Path) -> None:
    seen = seen_with(tmp_path, "", "take(t->next); mark(1); take(u); mark(2); drop(t->next);"
                     " mark(3);", "struct thing *t, struct thing *u")  # fmt: skip

    assert seen[1] == {lockset("t->next->rw")}
    assert seen[2] == {lockset("t->next->rw", "u->rw")}
    assert seen[3] == {lockset("u->rw")}


def test_helper_of_a_helper_in_another_unit(tmp_path: Path) -> None:
    found = analysis(
        tmp_path,
        "void outer(struct thing *n, int id); int f(struct thing *t) { outer(t, 1); mark(1);"
        " _raw_write_unlock(&t->rw); mark(2); return 0; }",
        y="static void inner(rwlock_t *l) { _raw_write_lock(l); }"
        " void outer(struct thing *n, int id) { inner(&n->rw); }",
    )

    assert held(found) == {1: {RW}, 2: {NOTHING}}


def test_helper_with_a_lock_pointer(tmp_path: Path) -> None:
    helper = "static void lock_it(spinlock_t *l) { spin_lock(l); }"
    seen = seen_with(
        tmp_path, helper, "lock_it(&t->spin); mark(1); spin_unlock(&t->spin); mark(2);"
    )

    assert seen == {1: {SPIN}, 2: {NOTHING}}


@pytest.mark.parametrize(
    "helper",
    [
        "if (t->count) return 0; {take} return 1;",
        "int r = 0; if (t->count) {{ {take} r = 1; }} return r;",
        "if (!unknown()) goto out; {take} return 1; out: return 0;",
        "return _raw_write_trylock(&t->rw);",
        "if (_raw_write_trylock(&t->rw)) return 1; return 0;",
        "return !!_raw_write_trylock(&t->rw);",
        "int got = _raw_write_trylock(&t->rw); use(1); return got;",
    ],
)
@pytest.mark.parametrize("kind", ["int", "bool"])
def test_helper_that_says_whether_it_took_the_lock(tmp_path: Path, helper: str, kind: str) -> None:
    text = f"static {kind} may_take(struct thing *t) {{ {helper.format(take=TAKE)} }}"
    seen = seen_with(
        tmp_path, text, f"if (may_take(t)) {{ mark(1); {DROP} }} else mark(2); mark(3);"
    )

    assert seen == {1: {RW}, 2: {NOTHING}, 3: {NOTHING}}


def test_helper_that_returns_an_error_without_the_lock(tmp_path: Path) -> None:
    text = f"""static int begin(struct thing *t) {{ {TAKE} if (t->count) {{ {DROP} return -16; }}
    return 0; }}"""
    seen = seen_with(tmp_path, text, "int r = begin(t); if (r) { mark(2); return r; } mark(1);")

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_helper_that_returns_the_locked_object_or_null(tmp_path: Path) -> None:
    text = f"""static struct thing *get(struct thing *t) {{ if (!t->count) return NULL;
    {TAKE} return t; }}"""
    seen = seen_with(
        tmp_path, text, "struct thing *p = get(t); if (!p) { mark(1); return 0; } mark(2);"
        f"{DROP} mark(3);",
    )  # fmt: skip

    assert seen[1] == {NOTHING}
    assert seen[2] == {RW}
    assert seen[3] == {NOTHING}


def test_helper_whose_argument_chooses_the_mode(tmp_path: Path) -> None:
    text = """static void lock_by(struct thing *t, bool shared)
    { if (shared) _raw_read_lock(&t->rw); else _raw_write_lock(&t->rw); }
    static void unlock_by(struct thing *t, bool shared)
    { if (shared) _raw_read_unlock(&t->rw); else _raw_write_unlock(&t->rw); }"""
    seen = seen_with(
        tmp_path,
        text,
        """lock_by(t, true); mark(1); unlock_by(t, true); mark(2); lock_by(t, false); mark(3);
        unlock_by(t, false); mark(4); lock_by(t, flag); mark(5); unlock_by(t, flag); mark(6);""",
        FLAG,
    )

    assert seen[1] == {lockset("t->rw read")}
    assert seen[3] == {RW}
    assert seen[5] == {RW, lockset("t->rw read")}
    assert seen[2] == seen[4] == seen[6] == {NOTHING}


def test_helper_that_locks_when_a_field_says_so(tmp_path: Path) -> None:
    text = f"static void maybe(struct thing *t) {{ if (t->flags) {TAKE} }}"
    seen = seen_with(
        tmp_path, text, "if (t->flags) { maybe(t); mark(1); } else { maybe(t); mark(2); }"
    )

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_helper_that_drops_and_retakes(tmp_path: Path) -> None:
    text = f"static void relax(struct thing *t) {{ {DROP} use(1); {TAKE} }}"
    seen = seen_with(tmp_path, text, f"{TAKE} relax(t); mark(1); {DROP} mark(2);")

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_helper_that_takes_the_lock_of_a_static_object(tmp_path: Path) -> None:
    text = "static spinlock_t big; static void lock_big(void) { spin_lock(&big); }"
    seen = seen_with(tmp_path, text, "lock_big(); mark(1); spin_unlock(&big); mark(2);")

    assert seen == {1: {lockset("big")}, 2: {NOTHING}}


def test_helper_with_a_section(tmp_path: Path) -> None:
    text = """static void enter(void) { __rcu_read_lock(); }
    static void leave(void) { __rcu_read_unlock(); }"""
    seen = seen_with(tmp_path, text, "enter(); mark(1); leave(); mark(2);")

    assert seen == {1: {lockset("RCU read")}, 2: {NOTHING}}


def test_helper_that_returns_the_lock(tmp_path: Path) -> None:
    text = "static spinlock_t *the_lock(struct thing *t) { return &t->next->spin; }"
    seen = seen_with(
        tmp_path, text, "spin_lock(the_lock(t)); mark(1); spin_unlock(the_lock(t)); mark(2);"
    )

    assert seen == {1: {lockset("t->next->spin")}, 2: {NOTHING}}


def test_helper_of_whose_lock_only_the_class_is_known(tmp_path: Path) -> None:
    text = """struct thing *find(int id);
    static void lock_some(int id) { struct thing *p = find(id); spin_lock(&p->spin); }"""
    seen = seen_with(tmp_path, text, "lock_some(1); mark(1);")

    assert seen == {1: {lockset("some thing.spin")}}


def test_unknown_functions_leave_locks_alone(tmp_path: Path) -> None:
    assert seen_with(tmp_path, "", f"{TAKE} use(1); use_pointer(t); mark(1);") == {1: {RW}}


def test_helper_through_a_pointer(tmp_path: Path) -> None:
    text = """struct locks { void (*take)(struct thing *); };
    static struct locks table = { .take = take };"""
    seen = seen_with(tmp_path, text, "table.take(t); mark(1); drop(t); mark(2);")

    assert seen == {1: {RW}, 2: {NOTHING}}


@pytest.mark.xfail(
    strict=True, reason="UNSOUND: the first target of an indirect call speaks for all"
)
def test_helpers_of_different_effect_through_a_pointer(tmp_path: Path) -> None:
    text = """static void take_spin(struct thing *t) { spin_lock(&t->spin); }
    static void choose(struct thing *t, int flag)
    { void (*run)(struct thing *) = flag ? take : take_spin; run(t); }"""
    seen = seen_with(tmp_path, text, "choose(t, flag); mark(1);", FLAG)

    assert {RW, SPIN} <= seen[1]


def test_constant_function_pointer_is_called_as_such(tmp_path: Path) -> None:
    seen = seen_with(tmp_path, "", "void (*run)(struct thing *) = take; run(t); mark(1);")

    assert seen == {1: {RW}}


def test_recursion_without_a_net_effect(tmp_path: Path) -> None:
    text = f"""static void walk(struct thing *t, int depth)
    {{ {TAKE} {DROP} if (depth) walk(t->next, depth - 1); }}"""
    seen = seen_with(tmp_path, text, f"walk(t, 3); mark(1); {TAKE} walk(t, 2); mark(2);")

    assert seen == {1: {NOTHING}, 2: {RW}}


def test_mutual_recursion_with_a_net_effect(tmp_path: Path) -> None:
    text = f"""static void odd(struct thing *t, int n);
    static void even(struct thing *t, int n) {{ if (!n) {{ {TAKE} return; }} odd(t, n - 1); }}
    static void odd(struct thing *t, int n) {{ even(t, n); }}"""
    seen = seen_with(tmp_path, text, "even(t, flag); mark(1);", FLAG)

    assert RW in seen[1]


# -- guards ------------------------------------------------------------------------------------

GUARD = f"""
typedef struct {{ rwlock_t *lock; }} class_write_t;
static __always_inline void class_write_destructor(class_write_t *_T)
{{ if (_T->lock) {{ _raw_write_unlock(_T->lock); }} }}
static __always_inline class_write_t class_write_constructor(rwlock_t *l)
{{ class_write_t _t = {{ .lock = l }}, *_T = &_t; _raw_write_lock(_T->lock); return _t; }}
static __always_inline void *class_write_lock_ptr(class_write_t *_T) {{ return _T->lock; }}
typedef struct mutex *class_mutex_t;
static __always_inline void class_mutex_destructor(struct mutex **p)
{{ struct mutex *_T = *p; if (_T) {{ mutex_unlock(_T); }} }}
static __always_inline struct mutex *class_mutex_constructor(struct mutex *_T)
{{ mutex_lock(_T); return _T; }}
{HELPERS}
"""
WRITE = "class_write_t g __cleanup(class_write_destructor) = class_write_constructor(&t->rw);"
MUTEX = "class_mutex_t m __cleanup(class_mutex_destructor) = class_mutex_constructor(&t->mutex);"


def guarded(folder: Path, body: str) -> dict[int, set[Lockset]]:
    return held_in(folder, body, "struct thing *t, int flag", GUARD)


def test_guard_ends_with_its_scope(tmp_path: Path) -> None:
    seen = guarded(tmp_path, f"mark(1); {{ {WRITE} mark(2); }} mark(3);")

    assert seen == {1: {NOTHING}, 2: {RW}, 3: {NOTHING}}


def test_guard_that_is_a_pointer(tmp_path: Path) -> None:
    seen = guarded(tmp_path, f"{{ {MUTEX} mark(1); }} mark(2);")

    assert seen == {1: {lockset("t->mutex")}, 2: {NOTHING}}


@pytest.mark.parametrize("leave", ["return 1", "goto out"])
def test_guard_ends_on_every_way_out(tmp_path: Path, leave: str) -> None:
    text = f"""int f(struct thing *t, int flag) {{ {{ {WRITE} if (flag) {leave}; mark(1); }}
    mark(2); out: return 0; }}"""
    found = analysis(tmp_path, GUARD + text)

    assert held(found) == {1: {RW}, 2: {NOTHING}}
    assert returned_locks(found) == {NOTHING}


def test_guards_in_a_loop(tmp_path: Path) -> None:
    seen = guarded(
        tmp_path,
        f"while (unknown()) {{ {WRITE} mark(1); if (flag) continue; if (t->count) break;"
        " mark(2); } mark(3);",
    )

    assert seen == {1: {RW}, 2: {RW}, 3: {NOTHING}}


def test_scoped_guard(tmp_path: Path) -> None:
    seen = guarded(
        tmp_path,
        """for (class_write_t scope __cleanup(class_write_destructor) =
             class_write_constructor(&t->rw), *done = NULL;
             class_write_lock_ptr(&scope) && !done; done = (void *)1) { mark(1); }
        mark(2);""",
    )

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_two_guards(tmp_path: Path) -> None:
    seen = guarded(tmp_path, f"{{ {MUTEX} mark(1); {{ {WRITE} mark(2); }} mark(3); }} mark(4);")

    assert seen == {
        1: {lockset("t->mutex")},
        2: {RW | lockset("t->mutex")},
        3: {lockset("t->mutex")},
        4: {NOTHING},
    }


# -- summaries ---------------------------------------------------------------------------------

LOCK = ("f", ("p", 0), "thing.rw")
PREEMPTION = (("section", "preemption off"), "write")  # beside every spinning lock


def test_summary_of_a_function_that_does_nothing_to_locks(tmp_path: Path) -> None:
    text = f"void f(struct thing *t) {{ {TAKE} use(1); {DROP} }}"

    assert not summary(tmp_path, text).has_effect


def test_summary_of_a_function_that_locks(tmp_path: Path) -> None:
    (only,) = summary(tmp_path, f"void f(struct thing *t) {{ {TAKE} }}").exits

    assert (only.acquired, only.released) == (((LOCK, "write"), PREEMPTION), ())


def test_summary_of_a_function_that_drops(tmp_path: Path) -> None:
    (only,) = summary(tmp_path, f"void f(struct thing *t) {{ {DROP} }}").exits

    assert (only.acquired, only.released) == ((), ((LOCK, "write"), PREEMPTION))


def test_summary_of_a_function_that_drops_and_retakes(tmp_path: Path) -> None:
    assert not summary(tmp_path, f"void f(struct thing *t) {{ {DROP} {TAKE} }}").has_effect


def test_summary_tells_exits_by_result(tmp_path: Path) -> None:
    text = f"int f(struct thing *t) {{ if (unknown()) return 0; {TAKE} return 1; }}"
    exits = summary(tmp_path, text).exits

    assert {(e.truth, e.has_effect) for e in exits} == {(True, True), (False, False)}


def test_summary_tells_exits_by_guard(tmp_path: Path) -> None:
    exits = summary(tmp_path, f"void f(struct thing *t, int n) {{ if (n) {TAKE} }}").exits
    guards = {e.has_effect: e.guard for e in exits}

    assert [(c.term, c.value, c.equal) for c in guards[True]] == [(("p", 1), ("k", 0), False)]
    assert [(c.term, c.value, c.equal) for c in guards[False]] == [(("p", 1), ("k", 0), True)]


UNSURE = [((), {LOCK, PREEMPTION[0]})]


def told_apart_by(exits: tuple[Exit, ...]) -> list[tuple[tuple[Condition, ...], set[Expr]]]:
    """The guard of each way out, and the locks that nobody can tell about."""
    return [(e.guard, {unsure.lock for unsure in e.unsure}) for e in exits]


def test_guard_over_a_value_that_was_stored_to_is_left_out(tmp_path: Path) -> None:
    text = f"""void f(struct thing *t) {{ t->flags = unknown(); if (t->flags) {TAKE} }}"""
    exits = summary(tmp_path, text).exits

    assert told_apart_by(exits) == UNSURE


def test_what_the_result_tells_apart_is_sure(tmp_path: Path) -> None:
    text = f"int f(struct thing *t) {{ if (unknown()) return 0; {TAKE} return 1; }}"

    assert all(not exit_.unsure for exit_ in summary(tmp_path, text).exits)


def test_different_errors_tell_apart(tmp_path: Path) -> None:
    text = f"int f(struct thing *t) {{ if (unknown()) return -1; {TAKE} return -2; }}"

    assert all(not exit_.unsure for exit_ in summary(tmp_path, text).exits)


def test_exits_that_differ_for_no_reason_are_one(tmp_path: Path) -> None:
    text = f"void f(struct thing *t) {{ if (unknown()) {TAKE} if (unknown()) {DROP} }}"
    (only,) = summary(tmp_path, text).exits

    assert {(u.lock, u.taken) for u in only.unsure} == {
        (lock, taken) for lock in (LOCK, PREEMPTION[0]) for taken in (True, False)
    }


HOP = "static void maybe(struct thing *t) { if (unknown()) { _raw_write_lock(&t->rw); } }"


def test_a_doubt_is_passed_on_to_a_few_callers(tmp_path: Path) -> None:
    text = HOP + "".join(
        f"static void f{n}(struct thing *t) {{ {f'f{n - 1}' if n else 'maybe'}(t); }}"
        for n in range(4)
    )
    found = analysis(tmp_path, text)
    unsure = [found.summary(key_of(found.program, f"f{n}")).has_effect for n in range(4)]

    assert unsure == [True, True, False, False]


@pytest.mark.parametrize("after, held", [(TAKE, {RW}), (DROP, {NOTHING})])
def test_what_is_done_next_settles_a_doubt(tmp_path: Path, after: str, held: set[Lockset]) -> None:
    assert seen_with(tmp_path, HOP, f"maybe(t); {after} mark(1);") == {1: held}


def test_a_doubt_survives_where_paths_meet(tmp_path: Path) -> None:
    seen = seen_with(tmp_path, HOP, "if (unknown()) maybe(t); mark(1);")

    assert seen == {1: {NOTHING, RW}}


def test_guard_over_an_element_that_was_stored_to_is_left_out(tmp_path: Path) -> None:
    text = f"""struct v {{ int on[4]; }};
    void f(struct thing *t, struct v *v) {{ v->on[1] = unknown(); if (v->on[1]) {TAKE} }}"""
    exits = summary(tmp_path, text).exits

    assert told_apart_by(exits) == UNSURE


def test_guard_over_what_a_callee_stored_to_is_left_out(tmp_path: Path) -> None:
    text = f"""static void set(struct thing *t) {{ t->flags = unknown(); }}
    void f(struct thing *t) {{ set(t); if (t->flags) {TAKE} }}"""
    exits = summary(tmp_path, text).exits

    assert told_apart_by(exits) == UNSURE


def test_guard_over_a_parameter_that_was_assigned_to_is_left_out(tmp_path: Path) -> None:
    text = f"void f(struct thing *t, int n) {{ n = unknown(); if (n) {TAKE} }}"

    assert told_apart_by(summary(tmp_path, text).exits) == UNSURE


def test_result_of_a_getter(tmp_path: Path) -> None:
    text = "struct thing *f(struct thing *t, int n) { return t->next->other; }"
    (only,) = summary(tmp_path, text).exits

    next_ = ("l", ("f", ("p", 0), "thing.next"))
    assert only.result == ("l", ("f", next_, "thing.other"))


def test_result_that_hangs_on_a_call_is_unknown(tmp_path: Path) -> None:
    assert all(
        e.result is None for e in summary(tmp_path, "int f(int n) { return unknown(); }").exits
    )


def test_members_of_a_struct_returned_by_value(tmp_path: Path) -> None:
    text = """struct pair { struct thing *a; int n; };
    struct pair f(struct thing *t) { struct pair p = { .a = t->next, .n = 3 }; return p; }"""
    (only,) = summary(tmp_path, text).exits

    assert dict(only.fields) == {
        ("pair.a",): ("l", ("f", ("p", 0), "thing.next")),
        ("pair.n",): ("k", 3),
    }


def test_what_a_function_drops_of_its_caller(tmp_path: Path) -> None:
    found = analysis(tmp_path, f"void f(struct thing *t, int n) {{ if (n) return; {DROP} }}")

    assert dropped_locks(found) == {NOTHING, RW}


def test_downgrade_in_a_helper(tmp_path: Path) -> None:
    text = "static void lower(struct thing *t) { downgrade_write(&t->sem); }"
    seen = seen_with(tmp_path, text, "down_write(&t->sem); lower(t); mark(1); up_read(&t->sem);"
                     " mark(2);")  # fmt: skip

    assert seen == {1: {lockset("t->sem read")}, 2: {NOTHING}}


def test_nested_srcu_in_a_helper(tmp_path: Path) -> None:
    text = "static int enter(struct thing *t) { return srcu_read_lock(&t->srcu); }"
    seen = seen_with(
        tmp_path,
        text,
        """int i = enter(t); int j = enter(t); mark(1); srcu_read_unlock(&t->srcu, j); mark(2);
        srcu_read_unlock(&t->srcu, i); mark(3);""",
    )

    assert seen[1] == {lockset("t->srcu read x2")}
    assert seen[2] == {lockset("t->srcu read")}
    assert seen[3] == {NOTHING}


def test_helper_that_enters_srcu_twice(tmp_path: Path) -> None:
    text = """static void twice(struct thing *t)
    { srcu_read_lock(&t->srcu); srcu_read_lock(&t->srcu); }"""
    seen = seen_with(
        tmp_path,
        text,
        "twice(t); srcu_read_unlock(&t->srcu, 0); mark(1); srcu_read_unlock(&t->srcu, 1); mark(2);",
    )

    assert seen == {1: {lockset("t->srcu read")}, 2: {NOTHING}}


def test_helper_that_leaves_srcu_twice(tmp_path: Path) -> None:
    text = """static void leave(struct thing *t)
    { srcu_read_unlock(&t->srcu, 0); srcu_read_unlock(&t->srcu, 1); }"""
    seen = seen_with(
        tmp_path,
        text,
        "srcu_read_lock(&t->srcu); srcu_read_lock(&t->srcu); leave(t); mark(1);",
    )

    assert seen == {1: {NOTHING}}
