"""Control flow: loops, switches, jumps, cleanups, and where control ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from lowering import callee_name, events, lower_function, paths


def code_paths(folder: Path, body: str, parameters: str = "int n") -> set[str]:
    return paths(lower_function(folder, f"int f({parameters}) {{ {body} }}"))


# -- loops -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for (int i = 0; a(); b()) c(); return 0;", {"a =0", "a c b a =0"}),
        ("for (; a(); b()) c(); return 0;", {"a =0", "a c b a =0"}),
        ("for (n = 0; a();) c(); return 0;", {"a =0", "a c a =0"}),
        ("for (; a();) c(); return 0;", {"a =0", "a c a =0"}),
        ("for (;;) { if (a()) break; } return 0;", {"a =0", "a a =0"}),
        ("for (;; n++) { if (a()) break; } return 0;", {"a =0", "a a =0"}),
        ("for (n = 1;; n++) { if (a()) break; } return 0;", {"a =0", "a a =0"}),
        ("for (n = 1, b();;) { if (a()) break; } return 0;", {"b a =0", "b a a =0"}),
        ("for (;;) a();", set()),
        ("for (; (n = a());) c(); return 0;", {"a =0", "a c a =0"}),
        ("while (a()) b(); return 0;", {"a =0", "a b a =0"}),
        ("while (1) { if (a()) return 1; }", {"a =1", "a a =1"}),
        ("do a(); while (b()); return 0;", {"a b =0", "a b a b =0"}),
        ("do { if (a()) break; if (b()) continue; c(); } while (0); return 0;",
         {"a =0", "a b =0", "a b c =0"}),
    ],
)  # fmt: skip
def test_loops(tmp_path: Path, body: str, expected: set[str]) -> None:
    assert code_paths(tmp_path, body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for (d(); a();) c(); return 0;", {"d a =0", "d a c a =0"}),
        ("for (d();; b()) { if (c()) break; } return 0;", {"d c =0", "d c b c =0"}),
        ("for (;; b()) { if (c()) break; } return 0;", {"c =0", "c b c =0"}),
        ("for (d();;) { if (c()) break; } return 0;", {"d c =0", "d c c =0"}),
        ("for (; a(), b();) c(); return 0;", {"a b =0", "a b c a b =0"}),
    ],
)
def test_loops_with_a_call_beside_an_absent_part(
    tmp_path: Path, body: str, expected: set[str]
) -> None:
    assert code_paths(tmp_path, body) == expected


def test_continue_goes_to_the_step(tmp_path: Path) -> None:
    body = "for (; a(); b()) { if (c()) continue; d(); } return 0;"

    assert code_paths(tmp_path, body) >= {"a =0", "a c b a =0", "a c d b a =0"}


def test_loop_heads_are_marked(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path, "int f(int n) { while (a()) b(); again: if (c()) goto again; }"
    )

    heads = {callee_name(found.blocks[head][0][0]) for head in found.loops}
    assert heads == {"a", "c"}


def test_constant_conditions_are_decided(tmp_path: Path) -> None:
    body = "if (0) a(); if (1 && n) b(); while (0) c(); return 0;"

    assert code_paths(tmp_path, body) == {"=0", "b =0"}


# -- switch ------------------------------------------------------------------------------------


def test_switch_falls_through_and_breaks(tmp_path: Path) -> None:
    body = "switch (n) { case 1: a(); case 2: b(); break; case 3: c(); break; } return 0;"

    assert code_paths(tmp_path, body) == {"a b =0", "b =0", "c =0", "=0"}


def test_default_may_stand_anywhere(tmp_path: Path) -> None:
    body = "switch (n) { case 1: return 1; default: a(); case 2: return 2; }"

    assert code_paths(tmp_path, body) == {"=1", "a =2", "=2"}


def test_case_labels_share_a_block_and_ranges_are_kept(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path,
        """
        enum kind { FIRST = -2, SECOND };
        int f(int n) {
            switch (n) { case FIRST: case 4: return 1; case 10 ... 12: return 2; }
            return 0;
        }""",
    )

    (switch,) = (end for _, end in found.blocks if end[0] == "sw")
    values = {(low, high): found.blocks[block][1][1] for low, high, block in switch[2]}
    assert values == {(-2, -2): ("k", 1), (4, 4): ("k", 1), (10, 12): ("k", 2)}


@pytest.mark.parametrize(
    ("label", "low", "high"),
    [
        *(
            pytest.param(*values)
            for values in (
                ("-22", -22, -22),
                ("-5 ... -2", -5, -2),
                ("1 + 2", 3, 3),
                ("~7", -8, -8),
                ("1 << 4", 16, 16),
            )
        ),
        ("(-3)", -3, -3),
        ("'a'", 97, 97),
    ],
)
def test_case_label_is_an_expression(tmp_path: Path, label: str, low: int, high: int) -> None:
    found = lower_function(tmp_path, f"int f(int n) {{ switch (n) {{ case {label}: a(); }} }}")

    (switch,) = (end for _, end in found.blocks if end[0] == "sw")
    assert switch[2][0][:2] == (low, high)


def test_continue_in_a_switch_belongs_to_the_loop(tmp_path: Path) -> None:
    body = "while (a()) { switch (n) { case 1: continue; case 2: break; } b(); } return 0;"

    assert code_paths(tmp_path, body) == {"a =0", "a a =0", "a b a =0"}


# -- goto, asm goto ----------------------------------------------------------------------------


def test_goto_forward_and_back(tmp_path: Path) -> None:
    body = "again: a(); if (n) goto out; if (b()) goto again; c(); out: return 0;"

    assert code_paths(tmp_path, body) >= {"a =0", "a b c =0", "a b a =0"}


def test_label_of_an_asm_goto_stays_reachable(tmp_path: Path) -> None:
    body = 'asm goto("" : : : : fail); a(); return 1; fail: b(); return 2;'

    assert code_paths(tmp_path, body) == {"a =1", "b =2"}


def test_computed_goto_reaches_every_label(tmp_path: Path) -> None:
    body = "static void *t[] = { &&one, &&two }; goto *t[n]; one: a(); return 1; two: return 2;"

    assert code_paths(tmp_path, body) == {"a =1", "=2"}


def test_local_labels_of_one_name_are_two(tmp_path: Path) -> None:
    body = """
        { __label__ out; if (n) goto out; a(); out: ; }
        { __label__ out; if (n) goto out; b(); out: ; }
        return 0;"""

    assert code_paths(tmp_path, body) == {"=0", "a =0", "b =0", "a b =0"}


def test_label_whose_address_is_taken_is_no_target_of_a_plain_asm(tmp_path: Path) -> None:
    # The kernel's _THIS_IP_, which every lockdep annotation contains.
    body = """
        a();
        asm volatile("" : : : "memory");
        b();
        use_pointer(({ __label__ here; here: (void *)&&here; }));
        return 0;"""

    assert code_paths(tmp_path, body) == {"a b use_pointer =0"}


# -- cleanups ----------------------------------------------------------------------------------


def test_cleanups_run_in_reverse_order_at_the_end_of_their_scope(tmp_path: Path) -> None:
    body = """
        { int x __cleanup(drop) = a(); int y __cleanup(drop) = b(); c(); }
        return 0;"""
    found = lower_function(tmp_path, f"int f(int n) {{ {body} }}")

    assert paths(found) == {"a b c drop drop =0"}
    dropped = [e[4][0] for e in events(found, "C") if callee_name(e) == "drop"]
    assert dropped == [("v", "y"), ("v", "x")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("int x __cleanup(drop) = a(); if (n) return 1; b(); return 0;",
         {"a drop =1", "a b drop =0"}),
        ("if (n) goto out; { int x __cleanup(drop) = a(); if (b()) goto out; c(); } out: return 0;",
         {"=0", "a b drop =0", "a b c drop =0"}),
        ("while (a()) { int x __cleanup(drop) = b(); if (c()) continue; if (d()) break; }"
         " return 0;",
         {"a =0", "a b c drop a =0", "a b c d drop =0", "a b c d drop a =0"}),
        ("for (int x __cleanup(drop) = a(), *done = 0; x && !done; done = NULL + 1) b();"
         " return 0;",
         {"a drop =0", "a b drop =0"}),
        ("switch (n) { case 1: { int x __cleanup(drop) = a(); if (b()) break; c(); } } return 0;",
         {"=0", "a b drop =0", "a b c drop =0"}),
        ("again: { int x __cleanup(drop) = a(); if (b()) goto again; } return 0;",
         {"a b drop =0", "a b drop a b drop =0"}),
    ],
)  # fmt: skip
def test_cleanups_run_on_every_way_out(tmp_path: Path, body: str, expected: set[str]) -> None:
    got = code_paths(tmp_path, body)

    # A path round the loop twice says nothing new; each expected way must be there as it is.
    assert expected <= got
    assert all(path.count("drop") <= path.count("a") for path in got)


def test_goto_back_over_a_declaration_runs_its_cleanup(tmp_path: Path) -> None:
    body = "again: ; int x __cleanup(drop) = a(); if (b()) goto again; return 0;"

    assert code_paths(tmp_path, body) == {"a b drop =0", "a b drop a b drop =0"}


def test_value_of_return_is_read_before_the_cleanups(tmp_path: Path) -> None:
    found = lower_function(tmp_path, "int f(int n) { int x __cleanup(drop) = a(); return x; }")

    (block,) = (block for block, end in found.blocks if end[0] == "ret")
    kinds = [(e[0], callee_name(e) if e[0] == "C" else "") for e in block]
    assert kinds[-2:] == [("S", ""), ("C", "drop")]


def test_statement_expression_is_a_scope(tmp_path: Path) -> None:
    body = "use(({ int x __cleanup(drop) = a(); b(); x; })); return 0;"

    assert code_paths(tmp_path, body) == {"a b drop use =0"}


# -- noreturn ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["die()", "__builtin_unreachable()", "__builtin_trap()"])
def test_control_does_not_come_back(tmp_path: Path, end: str) -> None:
    got = code_paths(tmp_path, f"if (n) {{ {end}; a(); }} b(); return 0;")

    assert "b =0" in got
    assert not any("a" in path.split() for path in got)
    assert any(path.endswith("!") for path in got)


def test_noreturn_of_a_definition_counts_before_it(tmp_path: Path) -> None:
    found = lower_function(
        tmp_path,
        "static void stop(void); int f(int n) { if (n) stop(); return 0; }"
        "static __noreturn void stop(void) { for (;;) a(); }",
    )

    assert paths(found) == {"stop !", "=0"}


# -- conditions and values with control flow ---------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("if (a() && b()) return 1; return 0;", {"a =0", "a b =0", "a b =1"}),
        ("if (a() || b()) return 1; return 0;", {"a =1", "a b =0", "a b =1"}),
        ("if (!(a() && !b()) || c()) return 1; return 0;",
         {"a =1", "a b =1", "a b c =1", "a b c =0"}),
        ("if (__builtin_expect(!!(a() || b()), 0)) return 1; return 0;",
         {"a =1", "a b =1", "a b =0"}),
        ("use(a() && b()); return 0;", {"a use =0", "a b use =0"}),
        ("use(n ? a() : b()); return 0;", {"a use =0", "b use =0"}),
        ("use(a() ?: b()); return 0;", {"a use =0", "a b use =0"}),
        ("if (({ a(); b(); })) return 1; return 0;", {"a b =1", "a b =0"}),
        ("int r = ({ if (n) goto out; a(); }); use(r); out: return 0;", {"=0", "a use =0"}),
        ("while (n) { int r = ({ if (a()) break; b(); }); use(r); } return 0;",
         {"=0", "a =0", "a b use =0", "a b use a =0"}),
        ("return sizeof(a()) == 1;", {"=0"}),
        ("__typeof__(a()) x = b(); return 0;", {"b =0"}),
        ("use(__builtin_choose_expr(sizeof(int) == 4, a(), b())); return 0;", {"a use =0"}),
        ("use(__builtin_choose_expr(sizeof(int) == 8, a(), b())); return 0;", {"b use =0"}),
        ("a(), b(); return 0;", {"a b =0"}),
        ("int x; if ((x = a()) < 0) return 1; return 0;", {"a =1", "a =0"}),
    ],
)  # fmt: skip
def test_expressions_with_control_flow(tmp_path: Path, body: str, expected: set[str]) -> None:
    assert code_paths(tmp_path, body) == expected


@pytest.mark.xfail(strict=True, reason="_Generic is taken for unevaluated, with what it selects")
def test_generic_selection_evaluates_what_it_selects(tmp_path: Path) -> None:
    body = "use(_Generic(n, long: a(), int: b())); return 0;"

    assert code_paths(tmp_path, body) == {"b use =0"}


CLAIM = "extern void __lockcheck_claim(int so); struct s { int x, y; };"


def claims(folder: Path, condition: str) -> list[str]:
    """What is claimed, other than by branches, where `condition` is claimed not to be so."""
    body = f"void f(struct s *p, int n) {{ __lockcheck_claim(!({condition})); use(n); }}"
    found = lower_function(folder, f"{CLAIM} {body}")
    assert not events(found, "R")
    return [str(event[2]) for event in events(found, "A")]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("!n", 1),
        ("p->x", 1),
        ("!n || p->x || p->y", 3),
        ("!(n && p->x)", 2),
        ("0", 0),
    ],
)
def test_claims_read_nothing(tmp_path: Path, condition: str, expected: int) -> None:
    assert len(claims(tmp_path, condition)) == expected


def test_a_claim_that_not_both_are_so_is_a_branch(tmp_path: Path) -> None:
    body = f"{CLAIM} int f(void) {{ __lockcheck_claim(!(a() && b())); return 0; }}"
    assert paths(lower_function(tmp_path, body)) == {"a =0", "a b =0", "a b !"}
