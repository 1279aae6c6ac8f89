"""Which fields a call may store to: its callees', through recursion and pointers."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import key_of, program

from lockcheck.callgraph.program import Program

RECORD = "struct s { int a; int b; int c; struct s *next; int (*run)(struct s *); };"
FIELDS = ("s.a", "s.b", "s.c", "s.next")


def stored(found: Program, function: str) -> set[str]:
    mask = found.effects.of(key_of(found, function))
    return {name for name in FIELDS if mask & found.effects.field(name)}


def test_own_stores(tmp_path: Path) -> None:
    text = RECORD + "int f(struct s *p) { p->a = 1; p->next->b++; return p->c; }"

    assert stored(program(tmp_path, text), "f") == {"s.a", "s.b"}


def test_stores_of_callees(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        RECORD
        + """static void deep(struct s *p) { p->c = 1; }
        static void middle(struct s *p) { p->b = 1; deep(p); }
        void f(struct s *p) { p->a = 1; middle(p); }""",
    )

    assert stored(found, "f") == {"s.a", "s.b", "s.c"}
    assert stored(found, "middle") == {"s.b", "s.c"}
    assert stored(found, "deep") == {"s.c"}


def test_recursion_gives_each_the_stores_of_all(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        RECORD
        + """static void odd(struct s *p, int n);
        static void even(struct s *p, int n) { p->a = n; if (n) odd(p, n - 1); }
        static void odd(struct s *p, int n) { p->b = n; if (n) even(p, n - 1); }
        void f(struct s *p) { p->c = 0; even(p, 3); }
        void apart(struct s *p) { p->next = p; }""",
    )

    assert stored(found, "even") == stored(found, "odd") == {"s.a", "s.b"}
    assert stored(found, "f") == {"s.a", "s.b", "s.c"}
    assert stored(found, "apart") == {"s.next"}


def test_recursion_through_a_pointer(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        RECORD
        + """static int run(struct s *p) { p->a = 1; return p->next->run(p->next); }
        static int other(struct s *p) { p->b = 1; return run(p); }
        void set(struct s *p) { p->run = p->a ? run : other; }""",
    )

    assert stored(found, "run") == stored(found, "other") == {"s.a", "s.b"}


def test_stores_through_every_target_of_an_indirect_call(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        RECORD
        + """static int one(struct s *p) { p->a = 1; return 0; }
        static int two(struct s *p) { p->b = 1; return 0; }
        void set(struct s *p, int c) { if (c) p->run = one; else p->run = two; }
        void f(struct s *p) { p->run(p); }""",
    )

    assert stored(found, "f") == {"s.a", "s.b"}


def test_functions_that_were_not_read_store_nothing(tmp_path: Path) -> None:
    found = program(tmp_path, RECORD + "void ext(struct s *p); void f(struct s *p) { ext(p); }")

    assert stored(found, "f") == set()
    assert found.effects.of("ext") == 0


def test_a_field_that_nobody_stores_to_is_in_no_set(tmp_path: Path) -> None:
    found = program(tmp_path, RECORD + "int f(struct s *p) { p->a = 1; return p->c; }")

    assert found.effects.field("s.c") == 0
    assert found.effects.field("s.a") != 0


def test_element_of_an_array_field_counts_as_a_store(tmp_path: Path) -> None:
    text = "struct s { int a[4]; int b; }; void f(struct s *p, int i) { p->a[i] = 1; }"
    found = program(tmp_path, text)

    assert found.effects.of("f") & found.effects.field("s.a")


def test_member_of_a_member_counts_as_its_own_field(tmp_path: Path) -> None:
    text = """struct in { int x; }; struct s { struct in a; int b; };
    void f(struct s *p) { p->a.x = 1; }"""
    found = program(tmp_path, text)

    assert found.effects.field("in.x") != 0
    assert found.effects.of("f") == found.effects.field("in.x")


def test_fields_that_a_term_is_read_from(tmp_path: Path) -> None:
    found = program(tmp_path, RECORD + "void f(struct s *p) { p->a = 1; p->next = p; p->b = 1; }")
    effects = found.effects
    after = ("l", ("f", ("l", ("f", ("p", 0), "s.next")), "s.a"))

    assert effects.read_by(after) == effects.field("s.a") | effects.field("s.next")
    assert effects.read_by(("o", "==", after, ("k", 0))) == effects.read_by(after)
    # The address of a field is not read from it.
    assert effects.read_by(("f", ("p", 0), "s.b")) == 0
    assert effects.read_by(("k", 3)) == 0


# -- new objects, and counters -----------------------------------------------------------------


def constructed(found: Program, function: str) -> set[str]:
    mask = found.effects.constructs(key_of(found, function))
    return {name for name in FIELDS if mask & found.effects.field(name)}


@pytest.mark.parametrize(
    "body, expected",
    [
        ("p->a = 1;", {"s.a"}),
        ("p->a = 0;", set()),
        ("p->a &= 3;", set()),
        ("p->a |= 3;", {"s.a"}),
        ("if (p->c) p->a = 1;", {"s.a"}),
        ("one(p);", {"s.b"}),
        ("maybe(p);", {"s.b"}),
        ("deep(p);", {"s.b"}),
        ("deep_maybe(p);", set()),
        ("deep_both(p);", {"s.b"}),
    ],
)
def test_fields_that_a_call_sets_up(tmp_path: Path, body: str, expected: set[str]) -> None:
    found = program(
        tmp_path,
        RECORD
        + f"""static void one(struct s *p) {{ p->b = 1; }}
        static void maybe(struct s *p) {{ if (p->c) p->b = 1; }}
        static void deep(struct s *p) {{ one(p); }}
        static void deep_maybe(struct s *p) {{ maybe(p); }}
        static void deep_both(struct s *p) {{ if (p->c) one(p); else p->b = 2; }}
        void keep(struct s *p) {{ one(p); maybe(p); deep(p); deep_maybe(p); deep_both(p); }}
        void f(struct s *p) {{ {body} }}""",
    )

    assert constructed(found, "f") == expected
    assert constructed(found, "f") <= stored(found, "f")


def test_values_that_are_stored_somewhere(tmp_path: Path) -> None:
    found = program(tmp_path, RECORD + "void f(struct s *p, int n) { p->a = 1; p->b = n; }")

    assert found.effects.may_store("s.a", 1)
    assert not found.effects.may_store("s.a", 2)
    assert found.effects.may_store("s.b", 2)
    assert not found.effects.may_store("s.c", 0)


def test_stores_to_counters_say_nothing_of_other_counters(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        """typedef struct { int counter; } atomic_t; struct o { atomic_t n; int a; };
        void f(struct o *p) { p->n.counter++; } void g(struct o *p) { p->a = 1; f(p); }
        void h(struct o *p) { p->n.counter = 0; }""",
    )
    effects = found.effects

    assert effects.field("atomic_t.counter") == 0
    assert effects.is_counter("atomic_t.counter")
    assert effects.counts(key_of(found, "f"))
    assert effects.counts(key_of(found, "g"))
    assert not effects.counts(key_of(found, "h"))


def test_pointers_that_are_handed_on(tmp_path: Path) -> None:
    found = program(
        tmp_path,
        """static void deep(int *p) { *p = 1; } static void deeper(int *p) { deep(p); }
        static void deepest(int *p) { deeper(p); }
        static int look(int *p) { return *p; } static int looks(int *p) { return look(p); }
        void f(int *p) { deepest(p); looks(p); }
        void both(int *p, int *q) { deepest(q); looks(p); }""",
    )

    def is_stored(name: str, number: int = 0) -> bool:
        return found.effects.stores_whole(key_of(found, name), number)

    assert all(map(is_stored, ("deep", "deeper", "deepest", "f")))
    assert not is_stored("looks")
    assert (is_stored("both", 0), is_stored("both", 1)) == (False, True)
