"""What is worked out once for each function that was read, whatever program it is part of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from lockcheck.facts.ir import Function

T = TypeVar("T")

_NOTHING: Any = object()


class PerFunction(Generic[T]):
    """Results of a look at one function alone, kept from one version of a program to the next.

    Versions share the functions of units that did not change: they are known as objects.
    """

    def __init__(self, look: Callable[[Function], T]) -> None:
        self._look = look
        self._known: dict[Function, T] = {}

    def __call__(self, function: Function) -> T:
        """The result for one function."""
        found = self._known.get(function, _NOTHING)
        if found is _NOTHING:
            found = self._known[function] = self._look(function)
        result: T = found
        return result

    def all(self, functions: Iterable[Function]) -> list[T]:
        """The results for all functions of a program, in their order. Others are forgotten."""
        before = self._known
        known: dict[Function, T] = {}
        for function in functions:
            found = before.get(function, _NOTHING)
            known[function] = self._look(function) if found is _NOTHING else found
        self._known = known
        return list(known.values())
