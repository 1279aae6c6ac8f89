"""Contracts on declarations: which lock the text of an annotation names."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowering import field, load, lower, lower_function, var

from lockcheck.facts.ir import Expr

LOCKS = """
typedef struct { int value; } spinlock_t;
struct inner { spinlock_t lock; spinlock_t *pointer; };
struct outer { spinlock_t lock; struct inner inner; struct inner *far; struct outer *next;
	struct { spinlock_t unnamed; }; };
spinlock_t big;
spinlock_t *pointed;
#define must_hold(x) __attribute__((annotate("lockcheck:must_hold:" #x)))
#define must_hold_shared(x) __attribute__((annotate("lockcheck:must_hold_shared:" #x)))
#define acquires(x) __attribute__((annotate("lockcheck:acquires:" #x)))
#define releases(x) __attribute__((annotate("lockcheck:releases:" #x)))
#define must_hold_all(...) __attribute__((annotate("lockcheck:must_hold:" #__VA_ARGS__)))
"""
BASE: Expr = load(var("o"))
LOCK: Expr = field(BASE, "outer.lock")


def contracts(
    folder: Path, attribute: str, parameters: str = "struct outer *o"
) -> tuple[tuple[str, Expr], ...]:
    """The contracts of a function with an attribute on its definition's declaration."""
    code = f"{LOCKS} void f({parameters}) {attribute}; void f({parameters}) {{ a(); }}"
    return lower_function(folder, code).contracts


@pytest.mark.parametrize(
    ("text", "lock"),
    [
        ("&o->lock", LOCK),
        ("o->lock", LOCK),
        ("(&o->lock)", LOCK),
        ("&o->inner.lock", field(field(BASE, "outer.inner"), "inner.lock")),
        ("o->inner.pointer", load(field(field(BASE, "outer.inner"), "inner.pointer"))),
        ("&o->far->lock", field(load(field(BASE, "outer.far")), "inner.lock")),
        ("&o->next->next->lock",
         field(load(field(load(field(BASE, "outer.next")), "outer.next")), "outer.lock")),
        ("&(*o).lock", LOCK),
        ("RCU", ("label", "RCU")),
        ("rcu_bh", ("label", "rcu_bh")),
    ],
)  # fmt: skip
def test_the_lock_that_a_text_names(tmp_path: Path, text: str, lock: Expr) -> None:
    assert contracts(tmp_path, f"must_hold({text})") == (("must_hold", lock),)


@pytest.mark.parametrize(
    "text", ["find_lock(o)", "o->absent", "stranger->lock", "o + 1", "&o->", "", '"text"', "3"]
)
def test_a_text_that_names_no_lock_states_nothing(tmp_path: Path, text: str) -> None:
    assert contracts(tmp_path, f"must_hold({text})") == ()


def test_globals(tmp_path: Path) -> None:
    ((_, lock),) = contracts(tmp_path, "must_hold(&big)")

    assert lock[0] == "g"
    assert lock[1].split("@")[0] == "big"


def test_a_parameter_that_is_the_lock(tmp_path: Path) -> None:
    assert contracts(tmp_path, "must_hold(l)", "spinlock_t *l") == (("must_hold", load(var("l"))),)
    assert contracts(tmp_path, "must_hold(*l)", "spinlock_t *l") == (("must_hold", load(var("l"))),)


def test_members_of_unnamed_structs(tmp_path: Path) -> None:
    ((kind, lock),) = contracts(tmp_path, "must_hold(&o->unnamed)")

    assert kind == "must_hold"
    assert lock[0] == "f"
    assert lock[2].endswith("unnamed")


def test_several_locks_in_one_attribute(tmp_path: Path) -> None:
    found = contracts(tmp_path, "must_hold_all(&o->lock, &o->far->lock)")

    assert [lock for _, lock in found] == [
        LOCK, field(load(field(BASE, "outer.far")), "inner.lock"),
    ]  # fmt: skip


def test_each_kind_is_told_apart(tmp_path: Path) -> None:
    found = contracts(
        tmp_path, "releases(&o->lock) acquires(&o->lock) must_hold_shared(&o->inner.lock)"
    )

    assert {kind for kind, _ in found} == {"releases", "acquires", "must_hold_shared"}


def test_the_same_contract_twice_is_one(tmp_path: Path) -> None:
    assert len(contracts(tmp_path, "must_hold(&o->lock) must_hold(o->lock)")) == 1


def test_on_the_definition_itself(tmp_path: Path) -> None:
    code = f"{LOCKS} static void f(struct outer *o) must_hold(&o->lock) {{ a(); }}"

    assert lower_function(tmp_path, code).contracts == (("must_hold", LOCK),)


@pytest.mark.xfail(
    strict=True, reason="what a declaration says is read with the names of the definition"
)
def test_a_declaration_may_name_its_parameters_otherwise(tmp_path: Path) -> None:
    code = f"""{LOCKS} void f(struct outer *other) must_hold(&other->lock);
    void f(struct outer *o) {{ a(); }}"""

    assert lower_function(tmp_path, code).contracts == (("must_hold", LOCK),)


def test_a_declaration_in_a_header(tmp_path: Path) -> None:
    headers = {"h.h": f"{LOCKS} void f(struct outer *o) must_hold(&o->lock);"}
    facts = lower(tmp_path, '#include "h.h"\nvoid f(struct outer *o) { a(); }', headers)
    (found,) = facts.functions

    assert found.contracts == (("must_hold", LOCK),)


def test_functions_without_annotations_state_nothing(tmp_path: Path) -> None:
    assert lower_function(tmp_path, "void f(void) { a(); }").contracts == ()
    code = 'void f(void) __attribute__((annotate("other:must_hold:x"))); void f(void) { a(); }'
    assert lower_function(tmp_path, code).contracts == ()
