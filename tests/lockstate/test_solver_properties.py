"""The solver against all concrete runs of random programs.

Soundness: what is held at a mark in some run is among the states that the solver gives.
Precision: for straight programs whose branches ask parameters, the solver gives nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from programs import Lockset, analysis, held
from structured import HELPER_VARIABLES, LOCKS, NUMBERS, VARIABLES, Config, Program, Run, text_of

PROGRAMS = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        # Two locks taken more than once exceed the budget; test_solver_locks has a test for that.
        patch.setattr("lockcheck.lockstate.solver.MAX_STATES", 1000)
        yield tmp_path_factory.mktemp("random")


def solver(folder: Path, text: str) -> dict[int, set[Lockset]]:
    note(text)
    found = analysis(folder, text)
    seen = held(found)
    assert not found.unsettled()
    return seen


# -- strategies --------------------------------------------------------------------------------


def conditions(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    name, number = st.sampled_from(names), st.sampled_from(NUMBERS)
    simple = st.one_of(
        st.tuples(st.just("true"), name),
        st.tuples(st.just("not"), name),
        st.tuples(st.sampled_from(["eq", "ne"]), name, number),
        st.just(("?",)),
    )
    return st.one_of(simple, simple, st.tuples(st.sampled_from(["and", "or"]), simple, simple))


def programs(
    names: tuple[str, ...], *, loops: bool, marks: bool = True, help_: bool = False
) -> st.SearchStrategy[Program]:
    name, lock = st.sampled_from(names), st.sampled_from(range(len(LOCKS)))
    value = st.one_of(st.sampled_from(NUMBERS), name, st.none())
    plain = [
        st.tuples(st.just("lock"), lock),
        st.tuples(st.just("unlock"), lock),
        st.tuples(st.just("set"), name, value),
        st.just(("return",)),
    ]
    if marks:
        plain.append(st.just(("mark",)))
    if help_:
        plain.append(st.tuples(st.just("help"), name, name))
    simple = st.one_of(plain)

    def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        block = st.lists(inner, max_size=4).map(tuple)
        kinds = [
            st.tuples(st.just("if"), conditions(names), block, block),
            st.tuples(st.just("try"), block, block),
            # The same question before and after, which kernel code asks so often.
            st.tuples(conditions(names), lock, block).map(_bracket),
        ]
        if loops:
            body = st.lists(
                st.one_of(inner, st.sampled_from([("break",), ("continue",)])), max_size=4
            ).map(tuple)
            kinds.append(st.tuples(st.just("while"), conditions(names), body))
        return st.one_of(kinds)

    statement = st.recursive(simple, nested, max_leaves=12)
    return st.lists(statement, min_size=1, max_size=7).map(_legal)


def _bracket(parts: tuple[Any, int, Program]) -> Any:
    condition, lock, body = parts
    take: Any = ("if", condition, (("lock", lock),), ())
    drop: Any = ("if", condition, (("unlock", lock),), ())
    return ("block", take, *body, drop)


def _legal(statements: list[Any]) -> Program:
    """Statements without brackets, and without break and continue outside of loops."""
    return tuple(_flatten(statements, False))


def _flatten(statements: Any, in_loop: bool) -> Iterator[Any]:
    for s in statements:
        if s[0] == "block":
            yield from _flatten(s[1:], in_loop)
        elif s[0] in ("break", "continue"):
            if in_loop:
                yield s
        elif s[0] == "if":
            yield (*s[:2], tuple(_flatten(s[2], in_loop)), tuple(_flatten(s[3], in_loop)))
        elif s[0] == "try":
            yield ("try", tuple(_flatten(s[1], in_loop)), tuple(_flatten(s[2], in_loop)))
        elif s[0] == "while":
            yield (*s[:2], tuple(_flatten(s[2], True)))
        else:
            yield s


def check_sound(run: Run, seen: dict[int, set[Lockset]]) -> None:
    for mark, locksets in run.marks.items():
        assert locksets <= seen.get(mark, set()), f"mark({mark})"


# -- soundness ---------------------------------------------------------------------------------


@PROGRAMS
@given(programs(VARIABLES, loops=False))
def test_sound_without_loops(folder: Path, program: Program) -> None:
    run = Run()
    run.whole(program)

    check_sound(run, solver(folder, text_of(program)))


@PROGRAMS
@given(programs(VARIABLES, loops=True))
def test_sound_with_loops(folder: Path, program: Program) -> None:
    run = Run()
    run.whole(program)

    check_sound(run, solver(folder, text_of(program)))


@PROGRAMS
@given(
    programs(VARIABLES, loops=False, help_=True),
    programs(HELPER_VARIABLES, loops=True, marks=False),
    st.one_of(st.sampled_from(HELPER_VARIABLES), st.sampled_from(NUMBERS)),
)
def test_sound_with_a_helper(
    folder: Path, program: Program, helper: Program, result: str | int
) -> None:
    run = Run(helper=helper, helper_result=result)
    run.whole(program)

    check_sound(run, solver(folder, text_of(program, helper, result)))


# -- precision ---------------------------------------------------------------------------------

VALUATIONS = frozenset(product((0, 1), (0, 1)))
LITERALS: dict[Any, frozenset[tuple[int, int]]] = {
    None: VALUATIONS,
    ("true", "a"): frozenset(v for v in VALUATIONS if v[0]),
    ("not", "a"): frozenset(v for v in VALUATIONS if not v[0]),
    ("true", "b"): frozenset(v for v in VALUATIONS if v[1]),
    ("eq", "b", 0): frozenset(v for v in VALUATIONS if not v[1]),
}


@st.composite
def straight(draw: st.DrawFn) -> Program:
    """Lock operations and marks, each under at most one literal, that are right in every run."""
    where: list[frozenset[tuple[int, int]]] = [frozenset(), frozenset()]
    program: list[Any] = []
    for _ in range(draw(st.integers(1, 12))):
        literal = draw(st.sampled_from(list(LITERALS)))
        runs = LITERALS[literal]
        lock = draw(st.sampled_from([0, 1]))
        statement: Any = ("mark",)
        if draw(st.booleans()):
            if not where[lock] & runs:
                statement = ("lock", lock)
                where[lock] |= runs
            elif runs <= where[lock]:
                statement = ("unlock", lock)
                where[lock] -= runs
        program.append(statement if literal is None else ("if", literal, (statement,), ()))
    return (*program, ("mark",))


@PROGRAMS
@given(straight())
def test_precise_without_loops_and_unknowns(folder: Path, program: Program) -> None:
    run = Run()
    run.whole(program)
    assert not run.spoilt

    assert solver(folder, text_of(program)) == run.marks


# -- the interpreter ---------------------------------------------------------------------------


def test_the_interpreter_itself() -> None:
    program: Program = (
        ("while", ("?",), (("lock", 0), ("mark",), ("if", ("?",), (("break",),), ()),
                           ("unlock", 0))),
        ("mark",),
        ("if", ("eq", "a", 2), (("set", "x", 1),), ()),
        ("if", ("and", ("true", "x"), ("true", "b")), (("lock", 1),), (("return",),)),
        ("mark",),
    )  # fmt: skip
    run = Run()
    end = run.whole(program)

    spin, both = frozenset({"t->spin"}), frozenset({"t->spin", "t->rw"})
    assert run.marks == {0: {spin}, 1: {spin, frozenset()}, 2: {both, frozenset({"t->rw"})}}
    assert not run.spoilt
    assert {c.held for c in end.returned} == {spin, frozenset()}
    assert Config((2, 1, 1, 0, 0), both) in end.on


def test_the_interpreter_ends_wrong_runs() -> None:
    run = Run()
    end = run.whole((("unlock", 0), ("mark",)))

    assert run.spoilt
    assert run.marks == {0: set()}
    assert end.on == set()
