"""Nothing of a watched program can be looked at without a note, but for what says so."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from lockcheck.callgraph.effects import StoreEffects
from lockcheck.callgraph.program import Program
from lockcheck.callgraph.watched import WatchedProgram
from lockcheck.facts.ir import Function, pack
from lockcheck.models.loader import load_models

# What is asked while a program is put together, or of models alone.
UNWATCHED = {"model", "resolve", "is_counter", "bits"}


def members(of: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(of) if not name.startswith("_")} - UNWATCHED


@pytest.mark.parametrize("base", [Program, StoreEffects])
def test_all_that_a_program_answers_is_watched(base: type) -> None:
    watched = WatchedProgram(Program((), load_models()))
    own = type(watched if base is Program else watched.effects)
    assert members(base)
    assert {name for name in members(base) if name not in vars(own)} == set()


def test_a_watched_program_has_all_that_a_program_has() -> None:
    program = Program((), load_models())
    watched = WatchedProgram(program)
    named = {name for name in vars(program) if not name.startswith("_")}
    assert {name for name in named if not hasattr(watched, name)} == set()


def function(key: str, line: int = 1, value: int = 0) -> Function:
    body = (((), ("ret", ("k", value), pack(1, 1))),)
    return Function(key, key, "a.c", pack(line, 5), (), body, True)


class Reader:
    """Counts how often a way to look at the functions was worked out."""

    def __init__(self, look: Callable[[dict[str, Function]], object]) -> None:
        from lockcheck.queries import Query

        self.program = WatchedProgram(self.version(function("f"), function("g")))
        self.times = 0

        def work_out(_: None) -> object:
            self.times += 1
            return look(self.program.functions)

        self.query: Any = Query(self.program.queries, work_out)
        self.query(None)

    @staticmethod
    def version(*functions: Function) -> Program:
        program = Program((), load_models())
        program.functions.update({f.key: f for f in functions})
        return program

    def is_asked_again(self, *functions: Function) -> bool:
        before = self.times
        self.program.become(self.version(*functions))
        self.query(None)
        return self.times != before


LOOKS: dict[str, Callable[[dict[str, Function]], object]] = {
    "[]": lambda functions: functions["f"].blocks if len(functions) > 1 else None,
    "get": lambda functions: functions.get("f"),
    "in": lambda functions: "f" in functions,
    "iter": lambda functions: list(functions),
    "sorted": lambda functions: sorted(functions),
    "len": lambda functions: len(functions),
    "keys": lambda functions: list(functions.keys()),
    "values": lambda functions: list(functions.values()),
    "items": lambda functions: list(functions.items()),
    "dict": lambda functions: dict(functions),
}


@pytest.mark.parametrize("how", LOOKS)
def test_every_way_to_look_at_a_mapping_is_noted(how: str) -> None:
    assert Reader(LOOKS[how]).is_asked_again(function("g"))


@pytest.mark.parametrize("how", ["get", "in"])
def test_what_another_function_says_is_no_matter(how: str) -> None:
    assert not Reader(LOOKS[how]).is_asked_again(function("f"), function("g", value=1))


def test_a_function_that_moved_says_the_same() -> None:
    assert not Reader(LOOKS["get"]).is_asked_again(function("f", line=9), function("g"))


def test_a_function_that_says_something_else_is_noted() -> None:
    assert Reader(LOOKS["get"]).is_asked_again(function("f", value=1), function("g"))
