"""What each function says by itself: versions of a program share it, and are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from lockcheck.callgraph.calls import Call
from lockcheck.callgraph.effects import StoreReader
from lockcheck.callgraph.globals import Addresses, addresses_in
from lockcheck.callgraph.perfunction import PerFunction
from lockcheck.callgraph.slots import Flows, flows_in
from lockcheck.facts.ir import Event, Expr, Function
from lockcheck.models.loader import Models


class Called(NamedTuple):
    """The calls of one function.

    direct: all of them in their order, by their id, as if each were direct and its target read.
    indirect: the calls of those whose target is not named. targets: the names of the others.
    """

    direct: dict[int, Call]
    indirect: tuple[Event, ...]
    targets: frozenset[str]


class Outlines:
    """Looks at functions one by one."""

    def __init__(self, models: Models, bits: Mapping[str, int] | None) -> None:
        """`bits`: numbers of fields, see StoreReader."""
        self._models = models
        self.calls: PerFunction[Called] = PerFunction(_called)
        self.flows: PerFunction[Flows] = PerFunction(partial(flows_in, models=models))
        self.addresses: PerFunction[Addresses] = PerFunction(
            partial(addresses_in, keeps_nothing=self._is_lock_primitive)
        )
        self.pointees = PerFunction(_pointees)
        self.stores = StoreReader(models.counters, bits)

    def _is_lock_primitive(self, key: str) -> bool:
        model = self._models.functions.get(key.split("@", 1)[0])
        return model is not None and (model.locks or model.query is not None)


def _called(function: Function) -> Called:
    direct: dict[int, Call] = {}
    indirect: list[Event] = []
    for events, _ in function.blocks:
        for event in events:
            if event[0] == "C":
                callee = event[3]
                if callee[0] == "fn":
                    direct[event[2]] = Call(event, (callee[1],), None)
                else:
                    direct[event[2]] = Call(event, (), None)
                    indirect.append(event)
    targets = frozenset(target for call in direct.values() for target in call.targets)
    return Called(direct, tuple(indirect), targets)


def _pointees(function: Function) -> frozenset[tuple[str, str]]:
    """The fields that something is stored to, with the field or variable whose address it is."""
    return frozenset(
        (event[2][2], named_place(event[3]))
        for events, _ in function.blocks
        for event in events
        if event[0] == "S" and event[2][0] == "f" and event[3] != ("k", 0)
    )


def named_place(value: Expr) -> str:
    """The field or variable that an address names, "" for any other value."""
    while value[0] == "i":
        value = value[1]
    if value[0] == "f":
        return str(value[2])
    return str(value[1]) if value[0] == "g" else ""
