"""Choices of constants: computing with one is computing with each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lockcheck.facts.folding import binary
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.choices import choice, combine, is_known
from lockcheck.lockstate.state import State
from lockcheck.lockstate.values import CHOSEN, Fact

TEST: Expr = ("p", 0)
NUMBERS = st.integers(-8, 8)
OPERATIONS = st.sampled_from(["+", "-", "&", "|", "==", "!=", "<", ">="])


@given(OPERATIONS, NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_each_side_is_computed(op: str, a: int, b: int, other: int, swapped: bool) -> None:
    either, number = choice(TEST, ("k", a), ("k", b)), ("k", other)
    found = combine(op, number, either) if swapped else combine(op, either, number)
    sides = [
        binary(op, number, ("k", side)) if swapped else binary(op, ("k", side), number)
        for side in (a, b)
    ]

    assert found == choice(TEST, *sides)


def test_addresses_are_compared() -> None:
    either: Expr = ("ite", TEST, ("g", "x"), ("g", "y"))

    assert combine("==", either, ("k", 0)) == ("k", 0)
    assert combine("==", either, ("g", "x")) == ("ite", TEST, ("k", 1), ("k", 0))
    assert combine("!=", either, ("g", "z")) == ("k", 1)


def test_what_is_no_constant_is_left_alone() -> None:
    either: Expr = ("ite", TEST, ("p", 1), ("k", 2))

    assert not is_known(either)
    assert combine("+", either, ("k", 1)) == ("o", "+", either, ("k", 1))
    assert combine("==", ("ite", TEST, ("g", "x"), ("k", 5)), ("k", 5))[0] == "o"


def test_a_branch_on_a_choice_tells_its_test() -> None:
    state = State()
    state.assume(("ite", TEST, ("k", 4), ("k", 0)), True)

    assert state.facts == {TEST: Fact(None, frozenset({0}))}
    assert state.evaluate(("ite", TEST, ("k", 4), ("k", 0))) == ("k", 4)


def test_two_constants_that_meet() -> None:
    one, other, third = State(), State(), State()
    for state, number in ((one, 2), (other, 4), (third, 8)):
        state.env[("v", "x")] = ("k", number)

    assert one.merge(other, 3)
    met = one.env[("v", "x")]
    assert met == ("ite", ("phi", CHOSEN - 3, ("v", "x")), ("k", 2), ("k", 4))
    assert one.decide(met) is True
    assert one.evaluate(("o", "&", met, ("k", 8))) == ("k", 0)
    assert not one.merge(other, 3)
    assert one.merge(third, 3)
    assert one.env[("v", "x")] == ("phi", 3, ("v", "x"))


def test_what_differs_on_both_sides_differs_where_they_meet() -> None:
    one, other, third = State(), State(), State()
    for number, state in enumerate((one, other, third)):
        state.env[("v", "x")] = ("c", number)
    for state in (one, other):
        state.assume(("o", "==", state.env[("v", "x")], ("p", 0)), False)

    one.merge(other, 3)
    met: Expr = ("phi", 3, ("v", "x"))
    assert one.decide(("o", "==", met, ("p", 0))) is False
    one.merge(third, 3)
    assert one.decide(("o", "==", met, ("p", 0))) is None
