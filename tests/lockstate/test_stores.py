"""Stores to fields of objects in memory: what is known of them, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import NOTHING, held_in, lockset

SPIN = lockset("t->spin")
HELPERS = """
static void set(struct thing *t) { t->count = unknown(); }
static void look(struct thing *t) { use(t->count); }
static void start(struct thing *t, int n) { t->count = n; t->flags = 0; }
"""


def reached(folder: Path, body: str, before: str) -> set[int]:
    """The marks that some path gets to."""
    return {mark for mark, locks in held_in(folder, body, before=before).items() if locks}


@pytest.mark.parametrize("between", ["", "look(t);", "t->flags = 1;", "use(1);"])
def test_a_stored_result_decides_later_branches(tmp_path: Path, between: str) -> None:
    body = f"t->count = spin_trylock(&t->spin); {between} if (t->count) mark(1); else mark(2);"

    assert held_in(tmp_path, body, before=HELPERS) == {1: {SPIN}, 2: {NOTHING}}


@pytest.mark.parametrize(
    "between",
    [
        "set(t);",
        "t->next->count = 1;",  # perhaps the same object
        "mutex_lock(&t->mutex);",  # whoever held it may have changed what it guards
        "take(t);",
        "take(&t->count);",
    ],
)
def test_what_others_may_have_stored_to_is_not_known(tmp_path: Path, between: str) -> None:
    body = f"t->count = spin_trylock(&t->spin); {between} if (t->count) mark(1); else mark(2);"
    seen = held_in(tmp_path, body, before=f"{HELPERS} void take(void *p);")

    assert len(seen[1]) == len(seen[2]) == 2


def test_what_a_helper_leaves_in_a_local(tmp_path: Path) -> None:
    body = "struct thing local; start(&local, 0); if (local.count) mark(1); else mark(2);"

    assert reached(tmp_path, body, HELPERS) == {2}


def test_members_that_a_callee_does_not_store_to_are_kept(tmp_path: Path) -> None:
    body = """struct thing local; local.flags = 0; set(&local);
    if (local.flags) mark(1); else mark(2); if (local.count) mark(3);"""

    assert reached(tmp_path, body, HELPERS) == {2, 3}


def test_members_of_a_constant_object(tmp_path: Path) -> None:
    before = """struct ops { int mode; int other; void (*run)(void); };
    static const struct ops ops = { .mode = 1 };"""
    body = """if (ops.mode) mark(1); else mark(2); if (ops.other) mark(3); if (ops.run) mark(4);"""

    assert reached(tmp_path, body, before) == {1}


def test_members_of_an_object_that_is_not_constant(tmp_path: Path) -> None:
    before = "struct ops { int mode; }; static struct ops ops = { .mode = 1 };"

    assert reached(tmp_path, "if (ops.mode) mark(1); else mark(2);", before) == {1, 2}


def test_a_pointer_that_is_moved_on_in_a_loop_is_not_null(tmp_path: Path) -> None:
    body = """struct thing *p = 0; for (int i = 0; i < 9; i++) {
        if (!p++) { p = t->next; if (!p) break; spin_lock(&t->spin); }
        mark(1);
        if (unknown()) continue;
        spin_unlock(&t->spin); p = 0; mark(2);
    }"""

    assert held_in(tmp_path, body) == {1: {SPIN}, 2: {NOTHING}}
