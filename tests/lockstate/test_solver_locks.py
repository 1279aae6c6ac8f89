"""What is held at a place of one function: primitives, branches, loops, aliases."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import NOTHING, analysis, held, held_in, lockset, returned_locks

RW, SPIN = lockset("t->rw"), lockset("t->spin")
READ = lockset("t->rw read")
TAKE, DROP = "_raw_write_lock(&t->rw);", "_raw_write_unlock(&t->rw);"
TAKE_READ, DROP_READ = "_raw_read_lock(&t->rw);", "_raw_read_unlock(&t->rw);"
FLAG = "struct thing *t, int shared, int other"


# -- primitives --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "take, drop, inside",
    [
        (TAKE, DROP, RW),
        (TAKE_READ, DROP_READ, READ),
        ("spin_lock(&t->spin);", "spin_unlock(&t->spin);", SPIN),
        ("mutex_lock(&t->mutex);", "mutex_unlock(&t->mutex);", lockset("t->mutex")),
        ("down_read(&t->sem);", "up_read(&t->sem);", lockset("t->sem read")),
        ("down_write(&t->sem);", "up_write(&t->sem);", lockset("t->sem")),
        ("__rcu_read_lock();", "__rcu_read_unlock();", lockset("RCU read")),
        (
            "int i = srcu_read_lock(&t->srcu);",
            "srcu_read_unlock(&t->srcu, i);",
            lockset("t->srcu read"),
        ),
        (
            "bit_spin_lock(3, &t->word);",
            "bit_spin_unlock(3, &t->word);",
            lockset("t->word"),
        ),
        (
            "unsigned long flags; do { flags = _raw_spin_lock_irqsave(spinlock_check(&t->spin)); }"
            " while (0);",
            "spin_unlock_irqrestore(&t->spin, flags);",
            lockset("t->spin", "interrupts off"),
        ),
        (
            "_raw_spin_lock_irq(&t->spin.rlock);",
            "_raw_spin_unlock_irq(&t->spin.rlock);",
            lockset("t->spin", "interrupts off"),
        ),
    ],
)
def test_taken_and_dropped(tmp_path: Path, take: str, drop: str, inside: frozenset[str]) -> None:
    seen = held_in(tmp_path, f"mark(1); {take} mark(2); {drop} mark(3);")

    assert seen == {1: {NOTHING}, 2: {inside}, 3: {NOTHING}}


def test_two_locks_are_dropped_in_any_order(tmp_path: Path) -> None:
    seen = held_in(tmp_path, f"{TAKE} spin_lock(&t->spin); mark(1); {DROP} mark(2);")

    assert seen == {1: {RW | SPIN}, 2: {SPIN}}


def test_locks_of_two_objects_are_two(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"{TAKE} _raw_write_lock(&u->rw); mark(1); {DROP} mark(2);",
        "struct thing *t, struct thing *u",
    )

    assert seen == {1: {lockset("t->rw", "u->rw")}, 2: {lockset("u->rw")}}


def test_downgrade(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        "down_write(&t->sem); downgrade_write(&t->sem); mark(1); up_read(&t->sem); mark(2);",
    )

    assert seen == {1: {lockset("t->sem read")}, 2: {NOTHING}}


def test_read_sections_nest(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        """int i = srcu_read_lock(&t->srcu); int j = srcu_read_lock(&t->srcu); mark(1);
        srcu_read_unlock(&t->srcu, j); mark(2); srcu_read_unlock(&t->srcu, i); mark(3);
        __rcu_read_lock(); __rcu_read_lock(); __rcu_read_unlock(); mark(4); __rcu_read_unlock();
        mark(5);""",
    )

    assert seen == {
        1: {lockset("t->srcu read x2")},
        2: {lockset("t->srcu read")},
        3: {NOTHING},
        4: {lockset("RCU read")},
        5: {NOTHING},
    }


def test_drop_and_retake(tmp_path: Path) -> None:
    seen = held_in(tmp_path, f"{TAKE} mark(1); {DROP} mark(2); {TAKE} mark(3); {DROP} mark(4);")

    assert seen == {1: {RW}, 2: {NOTHING}, 3: {RW}, 4: {NOTHING}}


# -- trylock -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "if (spin_trylock(&t->spin)) { mark(1); spin_unlock(&t->spin); } else mark(2);",
        "if (!spin_trylock(&t->spin)) { mark(2); return 0; } mark(1); spin_unlock(&t->spin);",
        "int got = spin_trylock(&t->spin); if (got) mark(1); else mark(2);",
        "int got = !!spin_trylock(&t->spin); if (got) mark(1); else mark(2);",
        "bool got = spin_trylock(&t->spin); if (!got) mark(2); else mark(1);",
        "if (_raw_spin_trylock(&t->spin.rlock) == 0) mark(2); else mark(1);",
        "if (__builtin_expect(!!(spin_trylock(&t->spin)), 1)) mark(1); else mark(2);",
        "if (t->count && spin_trylock(&t->spin)) mark(1); else mark(2);",
        "while (!spin_trylock(&t->spin)) mark(2); mark(1);",
        "switch (_raw_spin_trylock(&t->spin.rlock)) { case 0: mark(2); break; default: mark(1); }",
    ],
)
def test_trylock(tmp_path: Path, body: str) -> None:
    assert held_in(tmp_path, body) == {1: {SPIN}, 2: {NOTHING}}


@pytest.mark.parametrize(
    "body",
    [
        "if (mutex_lock_interruptible(&t->mutex)) { mark(2); return -4; } mark(1);",
        "int r = mutex_lock_interruptible(&t->mutex); if (r) { mark(2); return r; } mark(1);",
        "int r = mutex_lock_interruptible(&t->mutex); if (r == 0) mark(1); else mark(2);",
    ],
)
def test_lock_that_returns_zero_when_taken(tmp_path: Path, body: str) -> None:
    assert held_in(tmp_path, body) == {1: {lockset("t->mutex")}, 2: {NOTHING}}


def test_trylock_whose_result_nobody_asks(tmp_path: Path) -> None:
    seen = held_in(tmp_path, "spin_trylock(&t->spin); mark(1);")

    assert seen == {1: {SPIN, NOTHING}}


# -- correlated branches -----------------------------------------------------------------------


def test_mode_by_a_parameter(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"""if (shared) {TAKE_READ} else {TAKE} mark(1);
        if (shared) mark(2); else mark(3);
        if (shared) {DROP_READ} else {DROP} mark(4);""",
        FLAG,
    )

    assert seen == {1: {READ, RW}, 2: {READ}, 3: {RW}, 4: {NOTHING}}


@pytest.mark.parametrize(
    "first, second",
    [
        ("shared", "shared != 0"),
        ("shared == 3", "!(shared != 3)"),
        ("!shared", "shared == 0"),
        ("t->flags", "t->flags"),
        ("t->flags & 4", "(t->flags & 4) != 0"),
        ("!!(t->flags & 4)", "t->flags & 4"),
    ],
)
def test_lock_and_unlock_under_the_same_condition(tmp_path: Path, first: str, second: str) -> None:
    seen = held_in(
        tmp_path, f"if ({first}) {TAKE} mark(1); if ({second}) {{ mark(2); {DROP} }} mark(3);", FLAG
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW}, 3: {NOTHING}}


def test_flag_variable(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"""bool locked = false; if (unknown()) {{ {TAKE} locked = true; }} mark(1);
        if (locked) {{ mark(2); {DROP} }} else mark(3); mark(4);""",
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW}, 3: {NOTHING}, 4: {NOTHING}}


def test_flag_variable_across_a_join_of_equal_locksets(tmp_path: Path) -> None:
    # The flag is merged over `other`, and must still tell the lock.
    seen = held_in(
        tmp_path,
        f"""int locked = 0; if (shared) {{ {TAKE} locked = 1; }} if (other) use(1); else use(2);
        if (locked) {{ mark(1); {DROP} }} mark(2);""",
        FLAG,
    )

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_condition_kept_in_a_local_before_the_lock(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"int need = shared && other; if (need) {TAKE} use(1); if (need) {DROP} mark(1);",
        FLAG,
    )

    assert seen == {1: {NOTHING}}


def test_one_condition_implies_the_other(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (shared == 1) {TAKE} if (shared == 2) mark(1); if (shared == 1) {DROP} mark(2);",
        FLAG,
    )

    assert seen == {1: {NOTHING}, 2: {NOTHING}}


def test_unrelated_condition_gives_both(tmp_path: Path) -> None:
    seen = held_in(tmp_path, f"if (shared) {TAKE} if (other) {DROP} mark(1);", FLAG)

    assert seen == {1: {RW, NOTHING}}


def test_condition_that_changes_is_asked_again(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path, f"if (shared) {TAKE} shared = unknown(); if (shared) mark(1); else mark(2);", FLAG
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


# -- control flow ------------------------------------------------------------------------------


def test_goto_error_paths(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"""int r = -22; if (!t->next) goto out; {TAKE} if (t->count) goto unlock;
        spin_lock(&t->spin); mark(1); if (unknown()) goto unlock_both; r = 0;
        unlock_both: spin_unlock(&t->spin); unlock: mark(2); {DROP} out: mark(3); return r;""",
    )

    assert seen == {1: {RW | SPIN}, 2: {RW}, 3: {NOTHING}}


def test_goto_back(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path, f"retry: mark(1); {TAKE} mark(2); if (unknown()) {{ {DROP} goto retry; }} {DROP}"
    )

    assert seen == {1: {NOTHING}, 2: {RW}}


@pytest.mark.parametrize(
    "loop",
    [
        "for (i = 0; i < t->count; i++) {{ {} }}",
        "while (i++ < t->count) {{ {} }}",
        "do {{ {} }} while (unknown());",
    ],
)
def test_lock_in_every_pass_of_a_loop(tmp_path: Path, loop: str) -> None:
    body = loop.format(f"mark(1); {TAKE} mark(2); {DROP}")
    seen = held_in(tmp_path, f"int i = 0; {body} mark(3);")

    assert seen == {1: {NOTHING}, 2: {RW}, 3: {NOTHING}}


def test_break_and_continue_under_the_lock(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"""for (;;) {{ {TAKE} if (unknown()) break; if (unknown()) {{ {DROP} continue; }}
        mark(1); {DROP} mark(2); }} mark(3); {DROP}""",
    )

    assert seen == {1: {RW}, 2: {NOTHING}, 3: {RW}}


def test_lock_dropped_for_a_while_inside_a_loop(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"{TAKE} while (unknown()) {{ mark(1); if (t->count) {{ {DROP} mark(2); {TAKE} }} }}"
        f" mark(3); {DROP} mark(4);",
    )

    assert seen == {1: {RW}, 2: {NOTHING}, 3: {RW}, 4: {NOTHING}}


def test_lock_kept_at_the_end_of_a_loop_body(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path, f"while (unknown()) {{ mark(1); {TAKE} if (t->count) {DROP} }} mark(2);"
    )

    assert {NOTHING, RW} <= seen[1]
    assert {NOTHING, RW} <= seen[2]


def test_switch(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"""switch (shared) {{ case 0: {TAKE} mark(1); break;
        case 1: {TAKE_READ} /* falls through */ case 2: mark(2); break;
        case 5 ... 7: spin_lock(&t->spin); break; default: mark(3); }} mark(4);
        switch (shared) {{ case 0: mark(5); {DROP} break; case 1: mark(6); {DROP_READ} break; }}""",
        FLAG,
    )

    assert seen[1] == {RW}
    assert seen[2] == {READ, NOTHING}
    assert seen[3] == {NOTHING}
    assert seen[4] == {RW, READ, SPIN, NOTHING}
    assert seen[5] == {RW}
    assert seen[6] == {READ}


def test_dead_code_has_no_state(tmp_path: Path) -> None:
    seen = held_in(tmp_path, f"if (0) {{ {TAKE} mark(1); }} mark(2); return 0; mark(3);")

    assert seen.get(1, set()) == set()
    assert seen[2] == {NOTHING}
    assert seen.get(3, set()) == set()


def test_contradicting_branches_have_no_state(tmp_path: Path) -> None:
    seen = held_in(tmp_path, f"if (shared) {TAKE} if (shared) return 0; mark(1);", FLAG)

    assert seen == {1: {NOTHING}}


# -- which lock --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "take",
    [
        "rwlock_t *l = &t->rw; _raw_write_lock(l);",
        "rwlock_t *l, *m; l = &t->rw; m = l; _raw_write_lock(m);",
        "struct thing *u = t; _raw_write_lock(&u->rw);",
        "struct { struct thing *in; } box = { t }; _raw_write_lock(&box.in->rw);",
        "rwlock_t *l = unknown() ? &t->rw : &t->rw; _raw_write_lock(l);",
        "unsigned long *w = &t->word; struct thing *u = container_of(w, struct thing, word);"
        " _raw_write_lock(&u->rw);",
        "struct thing *us[2] = { t, t }; _raw_write_lock(&us[1]->rw);",
        "struct thing **where = &t; _raw_write_lock(&(*where)->rw);",
    ],
)
def test_alias_of_a_lock(tmp_path: Path, take: str) -> None:
    assert held_in(tmp_path, f"{take} mark(1); {DROP} mark(2);") == {1: {RW}, 2: {NOTHING}}


def test_container_of_a_parameter(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        """struct outer *o = container_of(t, struct outer, inner); spin_lock(&o->lock); mark(1);
        spin_unlock(&container_of(t, struct outer, inner)->lock); mark(2);""",
        before="struct outer { int id; struct thing inner; spinlock_t lock; };",
    )

    assert seen == {1: {lockset("((struct outer *)t)->lock")}, 2: {NOTHING}}


def test_container_of_an_inner_lock_and_back(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        "spin_lock(&container_of(&o->inner, struct outer, inner)->lock); mark(1);",
        "struct outer *o",
        "struct outer { int id; struct thing inner; spinlock_t lock; };",
    )

    assert seen == {1: {lockset("o->lock")}}


def test_pointer_to_a_lock_in_a_field(tmp_path: Path) -> None:
    seen = held_in(tmp_path, "spin_lock(t->pointer); mark(1); spin_unlock(t->pointer); mark(2);")

    assert seen == {1: {lockset("t->pointer")}, 2: {NOTHING}}


def test_global_lock(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        "spin_lock(&big); mark(1); spin_unlock(&big); mark(2);",
        before="static spinlock_t big;",
    )

    assert seen == {1: {lockset("big")}, 2: {NOTHING}}


@pytest.mark.parametrize("index", ["2", "t->count", "i"])
def test_element_of_an_array_of_locks(tmp_path: Path, index: str) -> None:
    seen = held_in(
        tmp_path,
        f"spin_lock(&t->slots[{index}].lock); mark(1); spin_unlock(&t->slots[{index}].lock);"
        " mark(2);",
        "struct thing *t, int i",
    )

    (inside,) = seen[1]
    assert len(inside) == 1
    assert seen[2] == {NOTHING}


def test_elements_of_an_array_in_a_loop(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        """for (int i = 0; i < 4; i++) { mark(1); spin_lock(&t->slots[i].lock); mark(2);
        spin_unlock(&t->slots[i].lock); } mark(3);""",
    )

    assert seen[1] == {NOTHING}
    assert all(len(locks) == 1 for locks in seen[2])
    assert seen[3] == {NOTHING}


def test_list_of_objects_in_a_loop(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        """struct thing *p; for (p = t->next; p; p = p->next) { mark(1); spin_lock(&p->spin);
        mark(2); spin_unlock(&p->spin); } mark(3);""",
    )

    assert seen[1] == {NOTHING}
    assert seen[2] == {lockset("p->spin")} or all(len(locks) == 1 for locks in seen[2])
    assert seen[3] == {NOTHING}


def test_unlock_by_another_name_of_the_same_class(tmp_path: Path) -> None:
    # The only lock of that class that is held.
    seen = held_in(tmp_path, "spin_lock(&t->next->spin); spin_unlock(&t->other->spin); mark(1);")

    assert NOTHING in seen[1] or seen[1] == {lockset("t->next->spin")}


# -- values ------------------------------------------------------------------------------------


def test_local_whose_address_was_given_away_is_unknown(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"int on = 1; use_pointer(&on); if (on) {TAKE} mark(1);",
        before="",
    )

    assert seen == {1: {RW, NOTHING}}


def test_local_pointer_whose_address_was_given_away_is_unknown(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        "struct thing *p = t; use_pointer(&p); _raw_write_lock(&p->rw); mark(1);",
    )

    assert RW not in seen[1]


def test_member_of_a_local_struct_given_away_is_unknown(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"struct {{ int a; int b; }} s = {{ 1, 2 }}; use_pointer(&s); if (s.a) {TAKE} mark(1);",
    )

    assert seen == {1: {RW, NOTHING}}


def test_phi_at_a_join(tmp_path: Path) -> None:
    # Which object it is differs, but lock and unlock mean the same one.
    seen = held_in(
        tmp_path,
        """struct thing *p = t; if (unknown()) p = u; spin_lock(&p->spin); mark(1);
        spin_unlock(&p->spin); mark(2);""",
        "struct thing *t, struct thing *u",
    )

    (inside,) = seen[1]
    assert len(inside) == 1
    assert inside.isdisjoint({"t->spin", "u->spin"})
    assert seen[2] == {NOTHING}


@pytest.mark.parametrize("swap", [False, True])
def test_member_changed_in_one_branch_only(tmp_path: Path, swap: bool) -> None:
    # One side knows the member only as part of a struct that was copied whole.
    change = "use(1); } else { s.a = 0;" if swap else "s.a = 0; } else { use(1);"
    seen = held_in(
        tmp_path,
        f"""struct pair s = *p; if (unknown()) {{ {change} }}
        if (p->a) {{ if (s.a) {TAKE} mark(1); }}""",
        "struct thing *t, struct pair *p",
        "struct pair { int a; int b; };",
    )

    assert seen == {1: {RW, NOTHING}}


def test_value_that_both_branches_agree_on_stays_known(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"int on; if (unknown()) {{ use(1); on = 1; }} else on = 1; if (on) {TAKE} mark(1);",
    )

    assert seen == {1: {RW}}


def test_constants_that_differ_by_a_parameter(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"int on = shared ? 1 : 0; if (other) use(1); if (on) {TAKE} if (shared) mark(1);"
        " else mark(2);",
        FLAG,
    )

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_store_to_the_field_of_a_condition_ends_what_was_known(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path, f"if (t->flags) {TAKE} t->flags = unknown(); if (t->flags) mark(1); else mark(2);"
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


def test_store_to_the_same_field_of_another_object_does_so_too(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (t->flags) {TAKE} u->flags = 0; if (t->flags) mark(1); else mark(2);",
        "struct thing *t, struct thing *u",
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


def test_store_to_another_field_does_not(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path, f"if (t->flags) {TAKE} t->count = 0; if (t->flags) mark(1); else mark(2);"
    )

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_store_to_the_global_of_a_condition(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (on) {TAKE} on = unknown(); if (on) mark(1); else mark(2);",
        before="static int on;",
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


def test_store_to_the_element_of_a_condition(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (v->on[i]) {TAKE} v->on[i] = unknown(); if (v->on[i]) mark(1); else mark(2);",
        "struct thing *t, struct vector *v, int i",
        "struct vector { int on[4]; };",
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


def test_store_through_the_pointer_of_a_condition(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (*on) {TAKE} *on = unknown(); if (*on) mark(1); else mark(2);",
        "struct thing *t, int *on",
    )

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


def test_store_by_a_callee_ends_what_was_known(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"if (t->flags) {TAKE} clear(t); if (t->flags) mark(1); else mark(2);",
        before="static void clear(struct thing *t) { t->flags = 0; }",
    )

    assert NOTHING in seen[2]
    assert RW in seen[2]


def test_result_of_each_call_is_its_own(tmp_path: Path) -> None:
    seen = held_in(tmp_path, f"if (unknown()) {TAKE} if (unknown()) mark(1); else mark(2);")

    assert seen == {1: {RW, NOTHING}, 2: {RW, NOTHING}}


def test_result_of_a_call_in_a_loop_is_new_in_each_pass(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path,
        f"""int r; do {{ r = unknown(); if (r) {{ {TAKE} break; }} }} while (t->count);
        if (r) {{ mark(1); {DROP} }} mark(2);""",
    )

    assert seen == {1: {RW}, 2: {NOTHING}}


def test_constant_folding_decides_branches(tmp_path: Path) -> None:
    seen = held_in(
        tmp_path, f"int n = 3; n += 2; if (n == 5) {TAKE} if (n * 2 > 10) {DROP} mark(1);"
    )

    assert seen == {1: {RW}}


# -- budget ------------------------------------------------------------------------------------


def test_what_a_function_returns_with(tmp_path: Path) -> None:
    text = f"int f(struct thing *t, int n) {{ {TAKE} if (n) return 1; {DROP} return 0; }}"

    assert returned_locks(analysis(tmp_path, text)) == {RW, NOTHING}


def test_function_without_states_in_excess_is_settled(tmp_path: Path) -> None:
    found = analysis(tmp_path, f"int f(struct thing *t) {{ {TAKE} mark(1); {DROP} return 0; }}")
    held(found)

    assert found.unsettled() == []


def test_function_that_exceeds_its_budget_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockcheck.lockstate.solver.MAX_STEPS", 10)
    steps = " ".join(f"if (unknown()) use({i});" for i in range(20))
    found = analysis(tmp_path, f"int f(struct thing *t) {{ {TAKE} {steps} mark(1); }}")
    held(found)

    assert found.unsettled() == ["f"]


def test_function_with_too_many_lock_states_is_reported(tmp_path: Path) -> None:
    # 2^6 locksets reach the mark: those that are left out must not be left out in silence.
    fields = " ".join(f"spinlock_t l{i};" for i in range(6))
    steps = " ".join(f"if (unknown()) spin_lock(&m->l{i});" for i in range(6))
    text = f"struct many {{ {fields} }}; int f(struct many *m) {{ {steps} mark(1); return 0; }}"
    found = analysis(tmp_path, text)

    assert len(held(found)[1]) == 64 or found.unsettled() == ["f"]


def test_a_lock_that_the_caller_gave_is_not_the_one_that_was_taken_here(tmp_path: Path) -> None:
    body = "spin_lock(&t->spin); spin_unlock(l); mark(1); spin_lock(l); spin_unlock(&t->spin);"
    seen = held_in(tmp_path, f"{body} mark(2);", "struct thing *t, spinlock_t *l")

    assert seen == {1: {lockset("t->spin")}, 2: {NOTHING}}


def test_a_parameter_whose_lock_is_held_is_not_null(tmp_path: Path) -> None:
    seen = held_in(tmp_path, "spin_lock(&t->spin); if (!t) mark(1); mark(2);")

    assert seen == {1: set(), 2: {lockset("t->spin")}}
