"""Which fields a call may store to: its callees', through recursion and pointers."""

from __future__ import annotations

from pathlib import Path

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
