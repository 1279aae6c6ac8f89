"""A program that becomes another one, while queries note what they have looked at."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import Any, TypeVar

import msgspec

from lockcheck.callgraph.calls import Call
from lockcheck.callgraph.effects import FieldSet, StoreEffects
from lockcheck.callgraph.program import Program, Reach
from lockcheck.callgraph.slots import SlotGraph
from lockcheck.facts.ir import Expr, Function
from lockcheck.queries import Inputs, Queries

V = TypeVar("V")

_ABSENT: Any = object()


class WatchedProgram(Program):
    """Looks like a program, and is the latest version of one.

    It has no state of a program of its own: what it is asked goes to that version.
    """

    def __init__(self, program: Program) -> None:
        self._latest = program
        queries = self.queries = Queries(tracking=True)
        queries.cycles = program.effects.cycles
        self.models = program.models
        self._modelled = program._modelled
        self.functions = _WatchedMapping(
            queries, lambda: self._latest.functions, is_same, _function_token
        )
        self.calls = _WatchedMapping(queries, lambda: self._latest.calls, token=_calls_token)
        self.callers = _WatchedMapping(queries, lambda: self._latest.callers)
        self.records = _WatchedMapping(queries, lambda: self._latest.records)
        self.fixed = _WatchedMapping(queries, lambda: self._latest.fixed)
        self.effects = _WatchedEffects(queries, lambda: self._latest.effects)
        self._reach: Inputs[str, Reach] = Inputs(queries, lambda key: self._latest.reach(key))
        self._outside_slots: Inputs[str, frozenset[str]] = Inputs(
            queries, lambda key: self._latest.outside_slots(key)
        )
        self._numbers: Inputs[tuple[str, str], int | None] = Inputs(
            queries, lambda key: self._latest.parameter_number(*key)
        )
        self._pointees_of: Inputs[str, frozenset[str]] = Inputs(
            queries, lambda field: self._latest.pointees(field)
        )
        self._secluded_in: Inputs[Expr, str | None] = Inputs(
            queries, lambda place: self._latest.secluded(place)
        )
        self._held_by: Inputs[str, frozenset[str]] = Inputs(
            queries, lambda field: self._latest.callbacks(field)
        )
        self._flows: Inputs[str, frozenset[str]] = Inputs(
            queries, lambda slot: self._latest.flows_to(slot)
        )
        self._stored_in: Inputs[str, frozenset[str]] = Inputs(
            queries, lambda key: self._latest.stored_in(key)
        )

    def become(self, program: Program) -> None:
        """Be another version from now on: with the same models, and made after this one."""
        assert program.models == self.models
        self._latest = program
        self.queries.cycles = program.effects.cycles
        self.queries.next_version()

    @property
    def latest(self) -> Program:
        """The program itself, for those who look at it once."""
        return self._latest

    @property
    def slots(self) -> SlotGraph:  # type: ignore[override]
        """Where function pointers flow: to be looked at outside of queries only."""
        return self._latest.slots

    @property
    def guarded(self) -> dict[tuple[str, str], str]:  # type: ignore[override]
        """Annotations of members: to be looked at outside of queries only."""
        return self._latest.guarded

    @property
    def initialisers(self) -> list[tuple[Expr, Expr]]:
        """(address, value) of static initialisers that hold functions."""
        return self._latest.initialisers

    def reach(self, key: str) -> Reach:
        """As of the latest version."""
        return self._reach(key)

    def outside_slots(self, key: str) -> frozenset[str]:
        """As of the latest version."""
        return self._outside_slots(key)

    def parameter_number(self, function: str, name: str) -> int | None:
        """As of the latest version."""
        return self._numbers((function, name))

    def pointees(self, field: str) -> frozenset[str]:
        """As of the latest version."""
        return self._pointees_of(field)

    def secluded(self, place: Expr) -> str | None:
        """As of the latest version."""
        return self._secluded_in(place)

    def callbacks(self, field: str) -> frozenset[str]:
        """As of the latest version."""
        return self._held_by(field)

    def flows_to(self, slot: str) -> frozenset[str]:
        """As of the latest version."""
        return self._flows(slot)

    def stored_in(self, key: str) -> frozenset[str]:
        """As of the latest version."""
        return self._stored_in(key)


class _WatchedMapping(dict[Any, V]):
    """A mapping of the latest version, by entry."""

    def __init__(
        self,
        queries: Queries,
        latest: Callable[[], dict[Any, V]],
        alike: Callable[[V, V], bool] | None = None,
        token: Callable[[V], Any] | None = None,
    ) -> None:
        def are_alike(new: V, old: V) -> bool:
            if new is _ABSENT or old is _ABSENT:
                return new is old
            return new == old if alike is None else alike(new, old)

        super().__init__()

        def token_of(value: V) -> Any:
            if value is _ABSENT:
                return None
            return (value,) if token is None else (token(value),)

        self._entry: Inputs[Any, V] = Inputs(
            queries, lambda key: latest().get(key, _ABSENT), are_alike, token_of
        )
        # Kept for no other run: there, it has changed.
        self._whole: Inputs[None, dict[Any, V]] = Inputs(queries, lambda _: latest(), None, _new)

    def __getitem__(self, key: Any) -> V:
        found = self._entry(key)
        if found is _ABSENT:
            raise KeyError(key)
        return found

    def get(self, key: Any, default: Any = None) -> Any:
        found = self._entry(key)
        return default if found is _ABSENT else found

    def __contains__(self, key: object) -> bool:
        return self._entry(key) is not _ABSENT

    def __iter__(self) -> Iterator[Any]:
        return iter(self._whole(None))

    def __len__(self) -> int:
        return len(self._whole(None))

    def keys(self) -> KeysView[Any]:  # type: ignore[override]
        return self._whole(None).keys()

    def values(self) -> ValuesView[V]:  # type: ignore[override]
        return self._whole(None).values()

    def items(self) -> ItemsView[Any, V]:  # type: ignore[override]
        return self._whole(None).items()


class _WatchedEffects(StoreEffects):
    """What functions store to, in the latest version."""

    def __init__(self, queries: Queries, latest: Callable[[], StoreEffects]) -> None:
        self._latest = latest
        self.remembered = {}  # whoever asks is noted
        self._of: Inputs[str, FieldSet] = Inputs(queries, lambda key: latest().of(key))
        self._built: Inputs[str, FieldSet] = Inputs(queries, lambda key: latest().constructs(key))
        self._stores_whole: Inputs[tuple[str, int], bool] = Inputs(
            queries, lambda key: latest().stores_whole(*key)
        )
        self._counting: Inputs[str, bool] = Inputs(queries, lambda key: latest().counts(key))
        self._known: Inputs[str, bool] = Inputs(queries, lambda key: latest().knows(key))
        self._field: Inputs[str, FieldSet] = Inputs(queries, lambda name: latest().field(name))
        self._fields_read: Inputs[Expr, FieldSet] = Inputs(
            queries, lambda term: latest().read_by(term)
        )
        self._may_store: Inputs[tuple[str, int], bool] = Inputs(
            queries, lambda key: latest().may_store(*key)
        )

    def of(self, key: str) -> FieldSet:
        return self._of(key)

    def constructs(self, key: str) -> FieldSet:
        return self._built(key)

    def stores_whole(self, key: str, number: int) -> bool:
        return self._stores_whole((key, number))

    def counts(self, key: str) -> bool:
        return self._counting(key)

    def knows(self, key: str) -> bool:
        return self._known(key)

    def field(self, name: str) -> FieldSet:
        return self._field(name)

    def read_by(self, term: Expr) -> FieldSet:
        return self._fields_read(term)

    def may_store(self, name: str, value: int) -> bool:
        return self._may_store((name, value))

    def is_counter(self, name: str) -> bool:
        return self._latest().is_counter(name)


def _new(value: object) -> float:
    return math.nan  # equals nothing, itself included


def _function_token(function: Function) -> bytes:
    """Equal for functions that say the same, as is_same has it."""
    said = (
        *(function.blocks, function.params, function.own_place, function.contracts),
        *(function.loops, function.external, function.file),
    )
    return hashlib.blake2b(msgspec.msgpack.encode(said, enc_hook=str), digest_size=16).digest()


def _calls_token(calls: dict[int, Call]) -> tuple[Any, ...]:
    """What calls lead to; what they say is part of the function."""
    return tuple((number, call.targets, call.slot) for number, call in calls.items())


def is_same(a: Function, b: Function) -> bool:
    """Whether two versions of a function say the same, wherever in their files they stand."""
    return (
        (a.blocks is b.blocks or a.blocks == b.blocks)
        and a.params == b.params
        and a.own_place == b.own_place
        and a.contracts == b.contracts
        and a.loops == b.loops
        and a.external == b.external
        and a.file == b.file
    )
