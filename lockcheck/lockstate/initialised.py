"""Where locks are initialised: lockdep has one class for all that one call initialises.

Source: the static `lock_class_key` in the macros of include/linux/{spinlock,rwlock}.h, and
Documentation/locking/lockdep-design.rst, "Lock-class".
"""

from __future__ import annotations

from typing import NamedTuple

from lockcheck.callgraph.perfunction import PerFunction
from lockcheck.facts.ir import Expr, Function
from lockcheck.lockstate.acquiring import LockWays, class_name
from lockcheck.lockstate.analysis import Analysis
from lockcheck.queries import Query


class _Outline(NamedTuple):
    """calls: the numbers of calls that initialise a lock. stored: classes set by an assignment."""

    calls: tuple[int, ...]
    stored: tuple[str, ...]


class Initialisers:
    """Counts the places where locks of a class are initialised, in one program."""

    def __init__(self, analysis: Analysis, ways: LockWays) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._ways = ways
        self._outline = PerFunction(self._look)
        self._called_in = Query(analysis.queries, self._find_called)

    def places(self, wanted: frozenset[str]) -> dict[str, int]:
        """How many places initialise locks of the wanted classes; those with none are left out.

        An inline function of a header counts as several: each unit has a key of its own for it.
        """
        found: dict[str, int] = {}
        functions = self._program.functions
        for key, outline in zip(functions, self._outline.all(functions.values()), strict=True):
            names = (*outline.stored, *(self._called_in(key) if outline.calls else ()))
            for name in wanted.intersection(names):
                several = functions[key].file.endswith(".h")
                found[name] = found.get(name, 0) + (2 if several else names.count(name))
        return found

    def _look(self, function: Function) -> _Outline:
        calls: list[int] = []
        stored: list[str] = []
        for events, _ in function.blocks:
            for event in events:
                if event[0] == "C" and event[3][0] == "fn":
                    if self._argument(event[3][1]) is not None:
                        calls.append(event[2])
                elif event[0] == "S" and _is_literal(event[3]):
                    # Without lockdep's debugging, `*lock = (spinlock_t) { … }` is all there is.
                    name = class_name(event[2])
                    if name is not None:
                        stored.append(name)
        return _Outline(tuple(calls), tuple(stored))

    def _find_called(self, key: str) -> tuple[str, ...]:
        names: list[str] = []
        for number in self._outline(self._analysis.function(key)).calls:
            found: set[str] = set()
            for at in self._analysis.states_at(key, number):
                argument = self._argument(at.terms[0][1])
                if argument is not None and argument + 1 < len(at.terms):
                    found.add(class_name(self._ways.lock_term(at.terms[argument + 1])) or "")
            names.extend(found - {""})
        return tuple(names)

    def _argument(self, name: str) -> int | None:
        model = self._program.models.order.functions.get(name.partition("@")[0])
        return None if model is None else model.initialises


def _is_literal(value: Expr) -> bool:
    """Whether a value is what a compound literal left in a variable without a name."""
    return bool(value[0] == "l" and value[1][0] == "v" and value[1][1].startswith("?"))
