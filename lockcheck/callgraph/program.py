"""The whole program: every function that was read, who calls it, and who may call it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from lockcheck.callgraph.effects import StoreEffects
from lockcheck.callgraph.globals import Secluded
from lockcheck.callgraph.slots import (
    MAX_ARGUMENT_FLOW,
    SlotGraph,
    result_slot,
    slot_of,
    trampoline_slot,
)
from lockcheck.facts.ir import Event, Expr, Function, UnitFacts
from lockcheck.models.loader import FunctionModel, Models
from lockcheck.queries import Queries


class CallSite(NamedTuple):
    """One call of one function: `caller` is its key, `call` the call's id there."""

    caller: str
    call: int
    loc: int
    slot: str | None  # the slot of an indirect call, None for a direct one


class Call(NamedTuple):
    """A call as its caller sees it."""

    event: Event
    targets: tuple[str, ...]  # keys, sorted; a modelled or external function too
    slot: str | None


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
    ) -> None:
        """`bits`: see StoreEffects; given if there was a version of the program before this."""
        self.models = models
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
        self.slots = SlotGraph(models)
        self._flow()
        self.calls: dict[str, dict[int, Call]] = {}
        self.callers: dict[str, list[CallSite]] = defaultdict(list)
        self._called_slots: set[str] = set()
        self._pointees: dict[str, set[str]] | None = None
        self._secluded: Secluded | None = None
        self._outside: dict[str, frozenset[str]] = {}
        self._link()
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
            models.counters,
            writers,
            bits,
        )
        self.queries.cycles = self.effects.cycles

    @property
    def latest(self) -> Program:
        """Itself; of a program that becomes another one, the version that it is now."""
        return self

    def model(self, key: str) -> FunctionModel | None:
        """The model of a function, by its C name."""
        return self.models.functions.get(key.split("@", 1)[0])

    # -- construction --------------------------------------------------------------------------

    def _flow(self) -> None:
        for address, value in self._initialisers:
            slot = slot_of(address, "")
            if slot is None:
                continue
            if slot.startswith("variable ") and self._keeps_alive(slot):
                continue
            self.slots.store(slot, value, "", {})
        for function in self.functions.values():
            self.slots.add_function(function, self._params)
        self.slots.solve()
        for function in self.functions.values():
            for events, _ in function.blocks:
                for event in events:
                    if event[0] == "C" and event[3][0] != "fn":
                        targets, _ = self.resolve(function.key, event[3])
                        if 0 < len(targets) <= MAX_ARGUMENT_FLOW:
                            self.slots.pass_arguments(targets, event[4], function.key, self._params)
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

    def _link(self) -> None:
        for key, function in self.functions.items():
            calls: dict[int, Call] = {}
            for events, _ in function.blocks:
                for event in events:
                    if event[0] != "C":
                        continue
                    targets, slot = self.resolve(key, event[3])
                    calls[event[2]] = Call(event, targets, slot)
                    if slot is not None:
                        self._called_slots.add(slot)
                    for target in targets:
                        self.callers[target].append(CallSite(key, event[2], event[1], slot))
            self.calls[key] = calls
        for sites in self.callers.values():
            sites.sort(key=lambda site: (site.caller, site.call))

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
                    self._pointees[address[2]].add(_named_place(value))
            for function in self.functions.values():
                for events, _ in function.blocks:
                    for event in events:
                        if event[0] == "S" and event[2][0] == "f" and event[3] != ("k", 0):
                            self._pointees[event[2][2]].add(_named_place(event[3]))
        return frozenset(self._pointees.get(field, ()))

    def secluded(self, place: Expr) -> str | None:
        """The static variable that a place lies in, or behind, if no pointer leads there."""
        if self._secluded is None:
            self._secluded = Secluded(
                self.functions.values(), self._initialisers, self._is_lock_primitive
            )
        return self._secluded.root(place)

    def _is_lock_primitive(self, key: str) -> bool:
        model = self.model(key)
        return model is not None and (model.locks or model.query is not None)

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


def _named_place(value: Expr) -> str:
    """The field or variable that an address names, "" for any other value."""
    while value[0] == "i":
        value = value[1]
    if value[0] == "f":
        return str(value[2])
    return str(value[1]) if value[0] == "g" else ""
