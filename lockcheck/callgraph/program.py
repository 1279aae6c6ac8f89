"""The whole program: every function that was read, who calls it, and who may call it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from lockcheck.callgraph.calls import Call, CallSite
from lockcheck.callgraph.effects import StoreEffects
from lockcheck.callgraph.globals import Secluded
from lockcheck.callgraph.outlines import Called, Outlines, named_place
from lockcheck.callgraph.slots import (
    MAX_ARGUMENT_FLOW,
    Flows,
    SlotGraph,
    result_slot,
    slot_of,
    trampoline_slot,
)
from lockcheck.facts.ir import Expr, Function, UnitFacts
from lockcheck.models.loader import FunctionModel, Models
from lockcheck.queries import Queries

_UNKNOWN = object()


class Reach(Enum):
    """How control can enter a function from outside the units read."""

    CALLBACK = "callback"  # its address is stored where nobody in the units calls it
    EXTERNAL = "external"  # other units may call it by name
    NONE = "none"  # nothing refers to it


class Program:
    """Functions, calls and function pointer flow of all units of a run."""

    def __init__(
        self,
        units: Iterable[UnitFacts],
        models: Models,
        bits: Mapping[str, int] | None = None,
        before: Program | None = None,
    ) -> None:
        """`bits`: numbers that fields had in an earlier run on such a program.
        `before`: the version of the program before this, made with the same models.
        """
        self.models = models
        self._modelled: dict[str, Any] = {} if before is None else before._modelled
        self._outlines: Outlines = Outlines(models, bits) if before is None else before._outlines
        self.queries = Queries()
        self.functions: dict[str, Function] = {}
        self.records: dict[str, dict[str, str]] = {}
        self.guarded: dict[tuple[str, str], str] = {}  # (record, member) → the lock as C text
        self._initialisers: list[tuple[Expr, Expr]] = []
        self.fixed: dict[Expr, Expr] = {}  # what members of constant objects hold, by address
        own: set[str] = set()
        for unit in units:
            own.update(function.key for function in unit.functions)
            for function in (*unit.functions, *unit.inlines):
                self.functions.setdefault(function.key, function)
            for tag, fields in unit.records.items():
                self.records.setdefault(tag, {}).update(fields)
            self._initialisers.extend(unit.initialisers)
            self.fixed.update(unit.fixed)
            for record, field, lock in unit.guarded:
                self.guarded.setdefault((record, field), lock)
        self._params = {key: function.params for key, function in self.functions.items()}
        self.slots = SlotGraph(self._params)
        called = self._outlines.calls.all(self.functions.values())
        self._flow(called)
        self.calls: dict[str, dict[int, Call]] = {}
        self.callers: dict[str, list[CallSite]] = defaultdict(list)
        self._called_slots: set[str] = set()
        self._pointees: dict[str, set[str]] | None = None
        self._secluded: Secluded | None = None
        self._outside: dict[str, frozenset[str]] = {}
        self._link(called)
        self._drop_unreached(own)
        callees = {
            key: frozenset(target for call in calls.values() for target in call.targets)
            for key, calls in self.calls.items()
        }
        writers = {
            target
            for targets in callees.values()
            for target in targets
            if (model := self.model(target)) is not None and model.writes
        }
        self.effects: StoreEffects = StoreEffects(
            self.functions,
            callees,
            self._outlines.stores,
            writers,
        )
        self.queries.cycles = self.effects.cycles

    @property
    def latest(self) -> Program:
        """Itself; of a program that becomes another one, the version that it is now."""
        return self

    def model(self, key: str) -> FunctionModel | None:
        """The model of a function, by its C name."""
        known = self._modelled.get(key, _UNKNOWN)
        if known is _UNKNOWN:
            known = self._modelled[key] = self.models.functions.get(key.split("@", 1)[0])
        model: FunctionModel | None = known
        return model

    # -- construction --------------------------------------------------------------------------

    def _flow(self, called: Iterable[Called]) -> None:
        flows = Flows(self.models)
        for address, value in self._initialisers:
            slot = slot_of(address, "")
            if slot is None:
                continue
            if slot.startswith("variable ") and self._keeps_alive(slot):
                continue
            flows.store(slot, value, "", {})
        self.slots.add(flows)
        for flows in self._outlines.flows.all(self.functions.values()):
            self.slots.add(flows)
        self.slots.solve()
        passed = Flows(self.models)
        for key, calls in zip(self.functions, called, strict=True):
            for event in calls.indirect:
                targets, _ = self.resolve(key, event[3])
                if len(targets) <= MAX_ARGUMENT_FLOW:
                    for target in targets:
                        passed.call(target, event[4], key, {})
        self.slots.add(passed)
        self.slots.solve()

    def _keeps_alive(self, slot: str) -> bool:
        name = slot.removeprefix("variable ").split("@", 1)[0].rsplit(".", 1)[-1]
        return any(fnmatchcase(name, pattern) for pattern in self.models.keep_alive)

    def resolve(self, function: str, callee: Expr) -> tuple[tuple[str, ...], str | None]:
        """The possible targets of a callee expression in `function`, and its slot."""
        if callee[0] == "fn":
            key: str = callee[1]
            if key not in self.functions:
                slot = trampoline_slot(key)
                targets = self.slots.targets(slot)
                if targets:
                    return tuple(sorted(targets)), slot
            return (key,), None
        place: str | None = None
        if callee[0] == "c":
            return self._returned(function, callee[1])
        if callee[0] == "l":
            place = slot_of(callee[1], function)
        elif callee[0] in ("g", "f", "i"):
            place = slot_of(callee, function)
        if place is None:
            return (), None
        return tuple(sorted(self.slots.targets(place))), place

    def _returned(self, function: str, call: int) -> tuple[tuple[str, ...], str | None]:
        """The targets of a pointer that is called as soon as another call has returned it."""
        for events, _ in self.functions[function].blocks:
            for event in events:
                if event[0] == "C" and event[2] == call and event[3][0] == "fn":
                    place = result_slot(event[3][1])
                    return tuple(sorted(self.slots.targets(place))), place
        return (), None

    def _link(self, called: Iterable[Called]) -> None:
        functions, callers, trampolines = self.functions, self.callers, self.slots.trampolines
        for key, outline in zip(functions, called, strict=True):
            calls = outline.direct
            if outline.indirect or not trampolines.isdisjoint(outline.targets):
                calls = {}
                for number, call in outline.direct.items():
                    targets, slot = self.resolve(key, call.event[3])
                    calls[number] = Call(call.event, targets, slot)
            self.calls[key] = calls
            for number, (event, targets, slot) in calls.items():
                if slot is not None:
                    self._called_slots.add(slot)
                for target in targets:
                    callers[target].append(CallSite(key, number, event[1], slot))
        for sites in callers.values():
            sites.sort()

    def _drop_unreached(self, own: set[str]) -> None:
        """Forget header functions that nothing in these units reaches.

        A cache may deliver them with the unit that happened to read them first.
        """
        work = [*own, *self.slots.written_by]
        live: set[str] = set()
        while work:
            key = work.pop()
            if key in live or key not in self.functions:
                continue
            live.add(key)
            for call in self.calls[key].values():
                work.extend(call.targets)
        for key in [key for key in self.functions if key not in live]:
            del self.functions[key]
            del self.calls[key]
        for target, sites in list(self.callers.items()):
            self.callers[target] = [site for site in sites if site.caller in live]

    # -- questions -----------------------------------------------------------------------------

    def reach(self, key: str) -> Reach:
        """How a function can be entered other than by the calls that were read."""
        if self.outside_slots(key):
            return Reach.CALLBACK
        function = self.functions.get(key)
        if function is not None and function.external:
            return Reach.EXTERNAL
        return Reach.NONE

    def outside_slots(self, key: str) -> frozenset[str]:
        """The slots that a function is stored in and that nobody in the units calls through."""
        known = self._outside.get(key)
        if known is None:
            stored = self.slots.written_by.get(key, set())
            known = frozenset(slot for slot in stored if not self._is_called(slot))
            self._outside[key] = known
        return known

    def _is_called(self, slot: str) -> bool:
        """Whether some call in the units goes through what is stored in `slot`."""
        return bool(self.slots.flows_to(slot) & self._called_slots)

    def parameter_number(self, function: str, name: str) -> int | None:
        """Which parameter of a function that was read has a name, counted from 0."""
        names = self._params.get(function, ())
        return names.index(name) if name in names else None

    def pointees(self, field: str) -> frozenset[str]:
        """The fields and variables whose addresses a field holds; "" for ones that are not seen."""
        if self._pointees is None:
            self._pointees = defaultdict(set)
            for address, value in self._initialisers:
                if address[0] == "f":
                    self._pointees[address[2]].add(named_place(value))
            for stores in self._outlines.pointees.all(self.functions.values()):
                for name, place in stores:
                    self._pointees[name].add(place)
        return frozenset(self._pointees.get(field, ()))

    def secluded(self, place: Expr) -> str | None:
        """The static variable that a place lies in, or behind, if no pointer leads there."""
        if self._secluded is None:
            addresses = self._outlines.addresses.all(self.functions.values())
            self._secluded = Secluded(addresses, self._initialisers)
        return self._secluded.root(place)

    @property
    def initialisers(self) -> list[tuple[Expr, Expr]]:
        """(address, value) of static initialisers that hold functions."""
        return self._initialisers

    def callbacks(self, field: str) -> frozenset[str]:
        """The functions that a field may hold."""
        return self.slots.targets(field)

    def flows_to(self, slot: str) -> frozenset[str]:
        """All slots that what is stored in `slot` may reach, itself included."""
        return self.slots.flows_to(slot)

    def stored_in(self, key: str) -> frozenset[str]:
        """The slots that a function is stored in."""
        return frozenset(self.slots.written_by.get(key, ()))
