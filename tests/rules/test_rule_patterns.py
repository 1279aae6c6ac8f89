"""Patterns of rules: what is refused, what a pattern matches, at which depth."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import analysis, key_of

from lockcheck.lockstate.terms import spell
from lockcheck.rules.pattern import (
    BoundPattern,
    Element,
    Member,
    UnknownField,
    UnknownRecord,
    bind,
    parse_pattern,
    parse_variables,
)

VARIABLES = {"s": "slot", "v": "vm"}
TYPES = """
struct leaf { int n; int m; };
struct arch { unsigned short *t[2]; unsigned short *one; int grid[3][4]; struct leaf leaf;
	struct leaf *leaves; struct leaf fixed[2]; struct leaf **table; };
struct slot { int id; struct arch a; struct slot *next; struct vm *vm; int list[4]; };
struct vm { rwlock_t lock; struct slot *slots; };
"""


# -- parsing -----------------------------------------------------------------------------------


def test_steps() -> None:
    pattern = parse_pattern("s->a.t[*][*]", VARIABLES)

    assert pattern.variable == "s"
    assert pattern.steps == (Member("a", True), Member("t", False), Element(), Element())
    assert pattern.text == "s->a.t[*][*]"


@pytest.mark.parametrize("text", ["s->a.t[ * ][*]", " s->a . t[*][*] ", "(s->a).t[*][*]"])
def test_spaces_and_parentheses_do_not_matter(text: str) -> None:
    assert parse_pattern(text, VARIABLES).steps == parse_pattern("s->a.t[*][*]", VARIABLES).steps


def test_address_is_the_place() -> None:
    assert parse_pattern("&v->lock", VARIABLES).steps == (Member("lock", True),)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "only fields and elements"),
        ("s->", "not a C expression"),
        ("s->a.t[*", "not a C expression"),
        ("s->a..t", "not a C expression"),
        ("s->a; return s", "not a C expression"),
        ("s->a; } int g(void) { return s->b", "not a C expression"),
        ("struct slot", "not a C expression"),
        ("q->a", "'q' in 'q->a' is not declared"),
        ("s", "names no field"),
        ("s->a.t[0]", "always [*]"),
        ("s->a.t[i]", "always [*]"),
        ("s->a.t[*][1]", "always [*]"),
        ("f(s)->a", "only fields and elements"),
        ("s->a + 1", "only fields and elements"),
        ("*s->next", "only fields and elements"),
        ("s->a.*", "not a C expression"),
        ("*", "not a C expression"),
        ("-1", "only fields and elements"),
        ("&s->a.t->", "not a C expression"),
    ],
)
def test_mistakes_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_pattern(text, VARIABLES)

    assert words in str(error.value)


@pytest.mark.parametrize("text", ["(&s->a)->t", "(&s->list)[*]"])
def test_address_inside_of_a_pattern_is_refused(text: str) -> None:
    # Taken as `s->a->t` it would be a rule that matches nothing.
    with pytest.raises(ValueError):
        parse_pattern(text, VARIABLES)


def test_variables() -> None:
    declared = {"s": "struct slot *", "v": "struct vm*", "w": "  struct  wide  * "}

    assert parse_variables(declared) == {"s": "slot", "v": "vm", "w": "wide"}


@pytest.mark.parametrize(
    "ctype", ["slot", "slot *", "struct slot", "struct slot **", "int", "", "struct *", "union u *"]
)
def test_variables_are_pointers_to_structs(ctype: str) -> None:
    with pytest.raises(ValueError, match="must be a pointer to a struct"):
        parse_variables({"s": ctype})


# -- binding -----------------------------------------------------------------------------------

RECORDS = {
    "slot": {"a": "arch", "id": "", "vm": "vm"},
    "arch": {"t": "", "leaf": "leaf"},
    "leaf": {"n": ""},
    "vm": {"lock": "rwlock_t"},
}


def bound(text: str) -> BoundPattern:
    return bind(parse_pattern(text, VARIABLES), VARIABLES, RECORDS)


def test_fields_are_bound_to_their_records() -> None:
    found = bound("s->a.t[*][*]")

    assert found.fields == ("slot.a", "arch.t", "", "")
    assert found.last_field == found.lock_class() == "arch.t"
    assert bound("s->vm->lock").fields == ("slot.vm", "vm.lock")
    assert bound("s->vm->lock").tail == "rwlock_t"


def test_unknown_record() -> None:
    with pytest.raises(UnknownRecord) as error:
        bind(parse_pattern("x->a", {"x": "absent"}), {"x": "absent"}, RECORDS)

    assert error.value.record == "absent"


@pytest.mark.parametrize(
    "text, record, field",
    [("s->b", "slot", "b"), ("s->a.u[*]", "arch", "u"), ("s->a.leaf.k", "leaf", "k")],
)
def test_unknown_field(text: str, record: str, field: str) -> None:
    with pytest.raises(UnknownField) as error:
        bound(text)

    assert (error.value.record, error.value.field) == (record, field)
    assert str(error.value) == f"struct {record} has no field '{field}'"


def test_build_is_matched_by_its_own_pattern() -> None:
    for text in ("s->a.t[*][*]", "s->id", "s->vm->lock", "s->a.leaf.n"):
        pattern = bound(text)
        assert pattern.match(pattern.build(("p", 0))) == ("p", 0)


# -- matching ----------------------------------------------------------------------------------


def matched(folder: Path, pattern: str, body: str) -> list[str | None]:
    """For each store of `f` to memory in order: what the metavariable is, or None."""
    text = f"{TYPES}\nvoid f(struct slot *s, struct vm *v, int i, int j) {{ {body} }}"
    found = analysis(folder, text)
    key = key_of(found.program, "f")
    datum = bind(parse_pattern(pattern, VARIABLES), VARIABLES, found.program.records)
    bases: list[str | None] = []
    for event, ats in found.solved(key).accesses:
        if event[0] != "S":
            continue
        (base,) = {datum.match_inside(at.terms[0]) for at in ats}
        bases.append(None if base is None else spell(base, found.function(key).params))
    return bases


@pytest.mark.parametrize(
    "body",
    [
        "s->a.t[i][j] = 1;",
        "s->a.t[0][1]++;",
        "*s->a.t[i] = 1;",
        "*(s->a.t[i] + j) = 1;",
        "unsigned short *p = s->a.t[i]; p[j] = 1;",
        "unsigned short *p = &s->a.t[i][j]; *p += 2;",
        "unsigned short **p = s->a.t; p[i][j] = 1;",
        "struct arch *a = &s->a; a->t[i][j] = 1;",
        "unsigned short *p = s->a.t[i] + j; *p = 1;",
        "(*s).a.t[i][j] = 1;",
        "(&s->a)->t[i][j] = 1;",
    ],
)
def test_element_behind_an_array_of_pointers(tmp_path: Path, body: str) -> None:
    assert matched(tmp_path, "s->a.t[*][*]", body) == ["s"]
    assert matched(tmp_path, "s->a.t[*]", body) == [None]


@pytest.mark.parametrize(
    "body", ["s->a.t[i] = NULL;", "unsigned short **p = &s->a.t[1]; *p = NULL;"]
)
def test_pointer_in_an_array_is_not_what_it_points_to(tmp_path: Path, body: str) -> None:
    assert matched(tmp_path, "s->a.t[*][*]", body) == [None]
    assert matched(tmp_path, "s->a.t[*]", body) == ["s"]


@pytest.mark.parametrize(
    "pattern, body",
    [
        ("s->a.t[*]", "*s->a.t = NULL;"),
        ("s->list[*]", "*s->list = 1;"),
        ("s->a.grid[*][*]", "*s->a.grid[i] = 1;"),
        ("s->a.fixed[*].n", "s->a.fixed->n = 1;"),
    ],
)
def test_first_element_of_an_array_by_dereference(tmp_path: Path, pattern: str, body: str) -> None:
    assert matched(tmp_path, pattern, body) == ["s"]


@pytest.mark.parametrize("body", ["s->a.one[i] = 1;", "*s->a.one = 1;"])
def test_element_behind_a_pointer(tmp_path: Path, body: str) -> None:
    assert matched(tmp_path, "s->a.one[*]", body) == ["s"]
    assert matched(tmp_path, "s->a.one", body) == [None]
    assert matched(tmp_path, "s->a.one", "s->a.one = NULL;") == ["s"]
    assert matched(tmp_path, "s->a.one[*]", "s->a.one = NULL;") == [None]


def test_array_of_arrays(tmp_path: Path) -> None:
    body = "s->a.grid[i][j] = 1; int *row = s->a.grid[2]; row[j] = 1;"

    assert matched(tmp_path, "s->a.grid[*][*]", body) == ["s", "s"]


def test_a_datum_includes_its_members_and_elements(tmp_path: Path) -> None:
    assert matched(tmp_path, "s->a", "s->a.leaf.n = 1; s->a.grid[1][2] = 1;") == ["s", "s"]
    assert matched(tmp_path, "s->list", "s->list[i] = 1;") == ["s"]
    assert matched(tmp_path, "s->a.leaf", "s->a.leaf.m = 1;") == ["s"]
    # What a pointer in it points to is another object.
    assert matched(tmp_path, "s->a", "s->a.leaves->n = 1;") == [None]


def test_member_of_an_element(tmp_path: Path) -> None:
    assert matched(tmp_path, "s->a.fixed[*].n", "s->a.fixed[i].n = 1;") == ["s"]
    assert matched(tmp_path, "s->a.fixed[*].n", "s->a.fixed[i].m = 1;") == [None]
    assert matched(tmp_path, "s->a.leaves[*].n", "s->a.leaves[i].n = 1;") == ["s"]
    assert matched(tmp_path, "s->a.table[*]->n", "s->a.table[i]->n = 1;") == ["s"]


def test_first_element_without_an_index(tmp_path: Path) -> None:
    assert matched(tmp_path, "s->a.leaves[*].n", "s->a.leaves->n = 1;") == ["s"]


def test_pointer_to_an_element_of_an_array_of_structs(tmp_path: Path) -> None:
    body = "struct leaf *l = &s->a.fixed[i]; l->n = 1; struct leaf *m = s->a.leaves + i; m->n = 1;"

    assert matched(tmp_path, "s->a.fixed[*].n", body) == ["s", None]
    assert matched(tmp_path, "s->a.leaves[*].n", body) == [None, "s"]


def test_metavariable_is_any_expression_of_its_type(tmp_path: Path) -> None:
    body = "s->next->id = 1; v->slots[i].id = 1; s->vm->slots->id = 1;"

    assert matched(tmp_path, "s->id", body) == ["s->next", "v->slots[i]", "s->vm->slots"]


def test_dereference_on_the_way(tmp_path: Path) -> None:
    assert matched(tmp_path, "s->next->id", "s->next->id = 1; s->id = 1;") == ["s", None]
    assert matched(tmp_path, "s->next->id", "struct slot *n = s->next; n->id = 1;") == ["s"]


def test_field_of_the_same_name_in_another_record(tmp_path: Path) -> None:
    text = "struct other { int id; }; void g(struct other *o) { o->id = 1; }"

    assert matched(tmp_path, "s->id", f"}} {text} void h(struct slot *s) {{ s->id = 1;") == []
