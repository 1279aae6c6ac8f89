"""Answers are worked out again when, and only when, something that they rest on has changed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lockcheck.queries import Cycle, FunctionQuery, Inputs, Queries, Query, Settling


class Sums:
    """`half` rounds down, so that it often stays as it was; `total` adds up halves."""

    def __init__(self, source: dict[str, int], tracking: bool = True) -> None:
        self.source = source
        self.asked: list[str] = []
        self.queries = Queries(tracking)
        self.number = Inputs(self.queries, lambda key: source.get(key, 0))
        self.half = Query(self.queries, self._half)
        self.total = Query(self.queries, self._total)

    def _half(self, key: str) -> int:
        self.asked.append(f"half {key}")
        return self.number(key) // 2

    def _total(self, keys: tuple[str, ...]) -> int:
        self.asked.append("total")
        return sum(map(self.half, keys))

    def change(self, **values: int) -> None:
        self.source.update(values)
        self.asked.clear()
        self.queries.next_version()


def test_an_answer_is_worked_out_once() -> None:
    sums = Sums({"a": 4, "b": 6})
    assert [sums.total(("a", "b")) for _ in range(3)] == [5, 5, 5]
    assert sums.asked == ["total", "half a", "half b"]


def test_what_comes_out_as_it_was_leaves_the_rest_alone() -> None:
    sums = Sums({"a": 4, "b": 6})
    sums.total(("a", "b"))
    sums.change(a=5)
    assert sums.total(("a", "b")) == 5
    assert sums.asked == ["half a"]


def test_what_changes_is_told_upwards() -> None:
    sums = Sums({"a": 4, "b": 6})
    sums.total(("a", "b"))
    sums.change(b=60)
    assert sums.total(("a", "b")) == 32
    assert sums.asked == ["half b", "total"]


def test_what_nobody_asked_about_again_is_forgotten() -> None:
    sums = Sums({"a": 4, "b": 6})
    sums.total(("a", "b"))
    sums.change(a=40)
    sums.queries.sweep()
    assert len(sums.total) == 0
    assert len(sums.half) == 1
    assert sums.total(("a", "b")) == 23


def test_an_error_leaves_what_is_known_whole() -> None:
    sums = Sums({"a": 4, "b": 6})
    sums.total(("a", "b"))
    sums.change(a=10)
    sums.half._make = _fails
    with pytest.raises(ValueError, match="given up"):
        sums.total(("a", "b"))
    sums.half._make = sums._half
    assert sums.total(("a", "b")) == 8


def _fails(key: str) -> int:
    raise ValueError("given up")


def test_without_tracking_answers_are_remembered_all_the_same() -> None:
    sums = Sums({"a": 4}, tracking=False)
    assert [sums.total(("a",)), sums.total(("a",))] == [2, 2]
    assert sums.asked == ["total", "half a"]
    assert sums.queries.reading is None


def test_a_run_takes_in_what_another_knew() -> None:
    one = Sums({"a": 4, "b": 6})
    one.total(("a", "b"))
    kept = one.queries.keep()
    two = Sums({"a": 4, "b": 9})
    two.queries.take_in(kept)
    assert two.total(("a", "b")) == 6
    assert two.asked == ["half b", "total"]
    two.change(a=8)
    assert two.total(("a", "b")) == 8
    assert two.asked == ["half a", "total"]


def test_answers_about_the_same_program_are_read_when_they_are_asked_for() -> None:
    one = Sums({"a": 4, "b": 6})
    one.total(("a", "b"))
    answers = one.queries.keep().answers
    two = Sums({"a": 4, "b": 6})
    read: list[int] = []
    two.queries.take_in_unread(lambda number: (read.append(number), answers[number])[1])
    assert read == []
    assert two.total(("a", "b")) == 5
    assert two.asked == []
    assert len(read) == 1
    assert two.total(("a",)) == 2  # one that is not among them
    assert two.asked == ["total"]
    assert len(read) == 2
    assert two.total(("a", "b")) == 5
    assert len(read) == 2


def test_a_query_that_is_made_later_reads_its_own_answers() -> None:
    one = Sums({"a": 4})
    Query(one.queries, lambda key: one.total(key) + 1)(("a",))
    answers = one.queries.keep().answers
    two = Sums({"a": 4})
    two.queries.take_in_unread(answers.__getitem__)
    again = Query[tuple[str, ...], int](two.queries, lambda key: pytest.fail("it is known"))
    assert again(("a",)) == 3
    two.queries.forget_unclaimed()
    other = Query[tuple[str, ...], int](two.queries, lambda key: 7)
    assert other(("a",)) == 7


def test_a_query_that_is_made_later_knows_it_too() -> None:
    one = Sums({"a": 4})
    one.total(("a",))
    late = Query(one.queries, lambda key: one.total(key) + 1)
    late(("a",))
    kept = one.queries.keep()
    two = Sums({"a": 4})
    two.queries.take_in(kept)
    again = Query[tuple[str, ...], int](two.queries, lambda key: pytest.fail("it is known"))
    assert again(("a",)) == 3


# -- functions that call each other ----------------------------------------------------------------


class Calls:
    """`reach`: how far a function sees. Provisional answers make the order count."""

    def __init__(self, calls: dict[str, tuple[str, ...]], tracking: bool = True) -> None:
        self.now = calls
        self.queries = Queries(tracking)
        self.queries.cycles = cycles(calls)
        self.calls = Inputs(self.queries, lambda key: self.now.get(key, ()))
        self.settling = Settling(self.queries, self._settle)
        self.reach = FunctionQuery(self.settling, self._reach, "?")
        self.longest = FunctionQuery(self.settling, self._longest, 0, once=False)

    def _settle(self, cycle: Cycle) -> None:
        for key in cycle:
            self.reach(key)
        for key in cycle:
            self.longest(key)

    def _reach(self, key: str) -> str:
        return key + "".join(sorted(map(self.reach, self.calls(key))))

    def _longest(self, key: str) -> int:
        return max((len(self.reach(callee)) for callee in self.calls(key)), default=0)

    def become(self, calls: dict[str, tuple[str, ...]]) -> None:
        self.now = calls
        self.queries.cycles = cycles(calls)
        self.queries.next_version()


def cycles(calls: dict[str, tuple[str, ...]]) -> dict[str, Cycle]:
    def seen_from(start: str) -> set[str]:
        seen: set[str] = set()
        work = list(calls.get(start, ()))
        while work:
            key = work.pop()
            if key not in seen:
                seen.add(key)
                work.extend(calls.get(key, ()))
        return seen

    seen = {key: seen_from(key) for key in calls}
    return {
        key: tuple(sorted(other for other in reached if key in seen[other]))
        for key, reached in seen.items()
        if key in reached
    }


def everything(calls: Calls) -> dict[str, tuple[str, int]]:
    return {key: (calls.reach(key), calls.longest(key)) for key in calls.now}


RING = {"a": ("b",), "b": ("c",), "c": ("a", "d"), "d": ()}


@pytest.mark.parametrize("first", "abcd")
def test_where_one_begins_in_a_circle_does_not_count(first: str) -> None:
    calls = Calls(RING)
    calls.reach(first)
    assert everything(calls) == everything(Calls(RING, tracking=False))
    assert calls.reach("a") == "abc?d"


@pytest.mark.parametrize("seed", range(30))
def test_each_version_is_answered_as_if_it_were_the_first(seed: int) -> None:
    chance = random.Random(seed)
    names = "abcdefgh"

    def some_calls(chance_of_one: float) -> dict[str, tuple[str, ...]]:
        return {
            key: tuple(other for other in names if chance.random() < chance_of_one) for key in names
        }

    calls = Calls(some_calls(0.15))
    everything(calls)
    for _ in range(6):
        changed = dict(calls.now)
        for key in chance.sample(names, 2):
            changed[key] = some_calls(0.2)[key]
        calls.become(changed)
        asked = chance.sample(names, 3)
        for key in asked:
            calls.longest(key)
        expected = everything(Calls(changed, tracking=False))
        assert everything(calls) == expected
        calls.queries.sweep()
        kept = calls.queries.keep()
        calls = Calls(changed)
        calls.queries.take_in(kept)
        assert everything(calls) == expected


def test_what_is_being_settled_is_left_when_it_fails() -> None:
    calls = Calls(RING)
    make: Callable[[str], str] = calls.reach._make
    calls.reach._make = _gives_up
    with pytest.raises(ValueError, match="given up"):
        calls.reach("b")
    calls.reach._make = make
    assert everything(calls) == everything(Calls(RING, tracking=False))


def _gives_up(key: str) -> str:
    raise ValueError("given up")
