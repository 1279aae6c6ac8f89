"""Which fields a call may change: what a caller knew of them before does not hold after it."""

from __future__ import annotations

from collections.abc import Container, Mapping

import networkx

from lockcheck.facts.ir import Expr, Function

FieldSet = int  # one bit for each field that some function stores to


def stored_field(address: Expr) -> str | None:
    """The field that a store to an address changes: an array of it counts as one."""
    while address[0] == "i":
        address = address[1]
    return address[2] if address[0] == "f" else None


class StoreEffects:
    """Fields stored by each function, its callees included."""

    def __init__(
        self,
        functions: Mapping[str, Function],
        callees: Mapping[str, frozenset[str]],
        counters: Container[str] = (),
    ) -> None:
        """`counters`: fields that every object has, whose stores say nothing of one object.

        UNSOUND: what a branch said of such a counter counts on after a callee changed it.
        """
        self._counters = counters
        self._functions = functions
        self._callees = callees
        self._looks: dict[str, FieldSet] = {}
        self._bits: dict[str, int] = {}
        self._masks: dict[str, FieldSet] = {}
        own = {key: self._own(function) for key, function in functions.items()}
        graph = networkx.DiGraph()
        graph.add_nodes_from(functions)
        graph.add_edges_from(
            (key, callee)
            for key, targets in callees.items()
            for callee in targets
            if callee in functions
        )
        # Components come callees first.
        for component in networkx.strongly_connected_components(graph):
            mask = 0
            for key in component:
                mask |= own[key]
                for callee in graph.successors(key):
                    mask |= self._masks.get(callee, 0)
            for key in component:
                self._masks[key] = mask

    def _own(self, function: Function) -> FieldSet:
        mask = 0
        for events, _ in function.blocks:
            for event in events:
                if event[0] == "S":
                    name = stored_field(event[2])
                    if name is not None and name not in self._counters:
                        mask |= 1 << self._bits.setdefault(name, len(self._bits))
        return mask

    def field(self, name: str) -> FieldSet:
        """The set of one field; empty for a field that nobody stores to."""
        bit = self._bits.get(name)
        return 0 if bit is None else 1 << bit

    def of(self, key: str) -> FieldSet:
        """The fields that a call of a function may store to; none for one that was not read.

        UNSOUND: functions outside the units read are taken to store nothing that matters here.
        """
        return self._masks.get(key, 0)

    def _looks_at(self, key: str) -> FieldSet:
        """The fields that a function and its callees read."""
        known = self._looks.get(key)
        if known is None:
            self._looks[key] = 0  # recursion
            known = 0
            for events, _ in self._functions[key].blocks:
                for event in events:
                    if event[0] == "R":
                        name = stored_field(event[2])
                        known |= 0 if name is None else self.field(name)
            for callee in self._callees.get(key, ()):
                if callee in self._functions:
                    known |= self._looks_at(callee)
            self._looks[key] = known
        return known

    def read_by(self, term: Expr) -> FieldSet:
        """The fields that the value of a term is loaded from."""
        mask = 0
        if term[0] == "l":
            name = stored_field(term[1])
            mask = 0 if name is None else self.field(name)
        elif term[0] == "ap":
            mask = self._looks_at(term[1])
        for part in term[1:]:
            if type(part) is tuple and part:
                mask |= self.read_by(part)
        return mask
