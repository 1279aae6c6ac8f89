"""Static variables that no pointer leads to."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import program

OBJECT = ("f", ("g", "one@x.c"), "thing.mutex")
BEHIND = ("f", ("l", ("g", "two@x.c")), "thing.mutex")
START = "static struct thing one; static struct thing *two; void take(void *p);"


@pytest.mark.parametrize(
    "text",
    [
        "int f(void) { mutex_lock(&one.mutex); mutex_lock(&two->mutex); return one.count; }",
        "int f(void) { one.count = 1; two->count = 2; return 0; }",
        "int f(struct thing *t) { return t->count + one.slots[t->count].value; }",
    ],
)
def test_locks_and_fields_lead_nobody_there(tmp_path: Path, text: str) -> None:
    found = program(tmp_path, START + text)

    assert found.secluded(OBJECT) == "one@x.c"
    assert found.secluded(BEHIND) == "two@x.c"


@pytest.mark.parametrize(
    "text",
    [
        "int f(void) { mutex_lock(&one.mutex); take(&one); return 0; }",
        "int f(void) { mutex_lock(&one.mutex); take(&one.slots[1]); return 0; }",
        "int f(struct thing *t) { mutex_lock(&one.mutex); t->next = &one; return 0; }",
        "void *f(void) { mutex_lock(&one.mutex); return &one; }",
        "struct thing *all[] = { &one }; int f(void) { mutex_lock(&one.mutex); return 0; }",
        "int f(struct thing *t) { struct thing *u = t ? t : &one; take(u); return one.count; }",
    ],
)
def test_an_address_that_is_passed_on(tmp_path: Path, text: str) -> None:
    assert program(tmp_path, START + text).secluded(OBJECT) is None


@pytest.mark.parametrize(
    "text",
    [
        "int f(struct thing *t) { two = t; return two->count; }",
        "int f(void) { take(&two); return two->count; }",
        "static struct thing *two = &one; int f(void) { return two->count; }",
    ],
)
def test_a_pointer_that_is_set(tmp_path: Path, text: str) -> None:
    assert program(tmp_path, START + text).secluded(BEHIND) is None


def test_others_may_know_what_is_not_static(tmp_path: Path) -> None:
    found = program(tmp_path, "struct thing one; int f(void) { return one.count; }")

    assert found.secluded(("f", ("g", "one"), "thing.mutex")) is None


def test_a_parameter_is_no_static_variable(tmp_path: Path) -> None:
    found = program(tmp_path, START + "int f(struct thing *t) { return t->count + one.count; }")

    assert found.secluded(("f", ("p", 0), "thing.mutex")) is None
