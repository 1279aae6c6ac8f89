"""What a state says of the question whether a lock is held: by its lockset, and by branches."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.needs import Need, asserted, at_entry, could_meet, find, fits
from lockcheck.lockstate.state import Held, State
from lockcheck.models.loader import ANY, READ, WRITE

LAWS = settings(max_examples=200, deadline=None, derandomize=True)
A: Expr = ("f", ("p", 0), "thing.rw")
B: Expr = ("f", ("p", 1), "thing.rw")
CHILD: Expr = ("f", ("l", ("f", ("p", 0), "thing.next")), "thing.rw")
OTHER: Expr = ("f", ("p", 0), "thing.spin")
LOCKS = st.sampled_from([A, B, CHILD, OTHER])
MODES = st.sampled_from([READ, WRITE])
ASKED = st.sampled_from([READ, WRITE, ANY])
RCU: Expr = ("section", "an RCU read section", ("RCU", "RCU-bh"))


def need(term: Expr | None, mode: str = ANY, name: str = "thing.rw") -> Need:
    return Need(term, name, mode, "the lock")


# -- questions ---------------------------------------------------------------------------------


def test_a_fresh_state_knows_nothing() -> None:
    assert State().holds(("held", A, ANY)) is None


@LAWS
@given(LOCKS, MODES, ASKED)
def test_what_was_taken_is_held_in_its_mode(lock: Expr, mode: str, asked: str) -> None:
    state = State()
    state.acquire(lock, mode, 1)

    assert state.holds(("held", lock, asked)) is fits(mode, asked)


@LAWS
@given(LOCKS, LOCKS, MODES, ASKED)
def test_only_the_same_instance_counts(lock: Expr, other: Expr, mode: str, asked: str) -> None:
    state = State()
    state.acquire(lock, mode, 1)

    assert (state.holds(("held", other, asked)) is None) == (other != lock)


@LAWS
@given(LOCKS, MODES)
def test_what_the_caller_held_and_we_dropped_is_not_held(lock: Expr, mode: str) -> None:
    state = State()
    state.release(lock, mode, 1)

    assert state.holds(("held", lock, ANY)) is False
    assert state.holds(("held", lock, mode)) is False


@LAWS
@given(LOCKS, ASKED, st.booleans())
def test_a_branch_is_remembered(lock: Expr, asked: str, truth: bool) -> None:
    state = State()
    state.assume(("held", lock, asked), truth)

    assert state.holds(("held", lock, asked)) is truth
    assert state.decide(("held", lock, asked)) is truth
    assert state.decide(("o1", "!", ("held", lock, asked))) is not truth


@LAWS
@given(LOCKS, MODES, ASKED)
def test_modes_imply_each_other_as_they_do(lock: Expr, said: str, asked: str) -> None:
    held, absent = State(), State()
    held.assume(("held", lock, said), True)
    absent.assume(("held", lock, ANY), False)

    assert held.holds(("held", lock, ANY)) is True
    assert absent.holds(("held", lock, asked)) is False
    if asked not in (said, ANY):
        assert held.holds(("held", lock, asked)) is not True


@LAWS
@given(LOCKS, MODES, st.booleans())
def test_the_lockset_comes_before_what_branches_said(lock: Expr, mode: str, said: bool) -> None:
    state = State()
    state.assume(("held", lock, ANY), said)
    state.acquire(lock, mode, 1)

    assert state.holds(("held", lock, ANY)) is True


@pytest.mark.parametrize("name, expected", [("RCU", True), ("RCU-bh", True), ("other", None)])
def test_a_section_is_entered_by_what_implies_it(name: str, expected: bool | None) -> None:
    state = State()
    state.acquire(("section", name), READ, 1)

    assert state.holds(("held", RCU, ANY)) is expected


def test_sections_nest() -> None:
    state = State()
    for loc in range(3):
        state.acquire(("section", "RCU"), READ, loc)
    for loc in range(2):
        state.release(("section", "RCU"), READ, loc)
    assert state.holds(("held", RCU, ANY)) is True
    state.release(("section", "RCU"), READ, 9)

    assert state.holds(("held", RCU, ANY)) is None


def test_an_unknown_lock_is_never_remembered() -> None:
    state = State()
    state.assume(("held", ("u",), ANY), True)

    assert state.facts == {}


# -- needs -------------------------------------------------------------------------------------


def test_the_same_instance_comes_before_its_class() -> None:
    locks = {B: Held(WRITE, 1), A: Held(READ, 2)}
    match = find(locks, need(A))

    assert match is not None
    assert (match.held.loc, match.exact) == (2, True)


def test_the_same_path_from_another_parameter_is_another_lock() -> None:
    assert find({B: Held(WRITE, 1)}, need(A)) is None


def test_a_path_that_may_lead_to_the_same_lock_meets_by_class() -> None:
    match = find({CHILD: Held(WRITE, 1)}, need(A))

    assert match is not None
    assert not match.exact


def test_a_need_known_by_class_prefers_an_entry_in_another_mode_to_none() -> None:
    match = find({A: Held(READ, 1)}, need(None, WRITE))

    assert match is not None
    assert match.held.mode == READ


@LAWS
@given(LOCKS, MODES, ASKED)
def test_a_lock_of_another_class_never_meets(lock: Expr, mode: str, asked: str) -> None:
    assert find({lock: Held(mode, 1)}, need(None, asked, "elsewhere.lock")) is None


def test_a_pointer_is_met_by_what_it_may_point_to() -> None:
    pointer = Need(("l", ("f", ("p", 0), "s.lock")), "s.lock", ANY, "s->lock", False, ("thing.rw",))
    match = find({A: Held(WRITE, 1)}, pointer)

    assert match is not None
    assert not match.exact


@LAWS
@given(LOCKS, MODES, ASKED)
def test_an_assertion_that_was_passed_meets_a_need(lock: Expr, said: str, asked: str) -> None:
    state = State()
    state.assume(("held", lock, said), True)
    name = lock[2]
    match = asserted(state, need(lock, asked, name))

    assert (match is not None) == fits(said, asked)
    assert match is None or match.exact


def test_an_assertion_of_a_lock_that_was_dropped_since_meets_nothing() -> None:
    state = State()
    state.assume(("held", A, ANY), True)
    state.release(A, WRITE, 1)

    assert asserted(state, need(A)) is None


def test_an_assertion_about_another_instance_meets_by_class_or_not_at_all() -> None:
    state = State()
    state.assume(("held", CHILD, WRITE), True)
    match = asserted(state, need(A, WRITE))
    assert match is not None
    assert not match.exact
    state = State()
    state.assume(("held", B, WRITE), True)

    assert asserted(state, need(A, WRITE)) is None


def test_a_need_that_hangs_on_a_local_goes_up_by_its_class() -> None:
    assert at_entry(need(A)) == need(A)
    assert at_entry(need(("f", ("c", 3), "thing.rw"))) == need(None)


@LAWS
@given(LOCKS, MODES, ASKED)
def test_a_lock_that_could_meet_a_need_is_found(lock: Expr, mode: str, asked: str) -> None:
    wanted = need(A, asked)
    match = find({lock: Held(mode, 1)}, wanted)
    found = match is not None and fits(match.held.mode, asked)

    assert could_meet(lock, mode, wanted) == found
    assert not could_meet(lock, mode, Need(A, "thing.rw", asked, "x", absent=True))


# -- values of which one of several is known ---------------------------------------------------


IN: Expr = ("o", "==", ("p", 0), ("in", 1, 2))


def test_one_of_several_numbers() -> None:
    state = State()
    assert state.decide(IN) is None
    state.assume(("o", "==", ("p", 0), ("k", 2)), True)
    assert state.decide(IN) is True
    state = State()
    state.assume(("o", "==", ("p", 0), ("k", 3)), True)

    assert state.decide(IN) is False


def test_none_of_several_numbers() -> None:
    state = State()
    state.assume(("o", "==", ("p", 0), ("k", 1)), False)
    assert state.decide(IN) is None
    state.assume(("o", "==", ("p", 0), ("k", 2)), False)
    assert state.decide(IN) is False
    state = State()
    state.assume(("o", "!=", ("p", 0), ("in", 1, 2)), True)

    assert state.decide(("o", "==", ("p", 0), ("k", 1))) is False
    assert state.decide(("o", "==", ("p", 0), ("k", 2))) is False
    assert state.decide(("o", "==", ("p", 0), ("k", 3))) is None


def test_one_of_several_numbers_says_nothing_of_each() -> None:
    state = State()
    state.assume(IN, True)

    assert state.decide(("o", "==", ("p", 0), ("k", 1))) is None
