"""Where function pointers flow: from assignments, initialisers, arguments and returns to calls.

A slot is a place that may hold a function: a field (of every object of its record, as Andersen's
field-based analysis has it), a variable, a local or parameter, a return value, or a function that
is only declared (the trampoline of a static call). Arrays count as one place.

UNSOUND: a function pointer that passes through integers, unions of other types or a copy by
memcpy() to another record type is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lockcheck.facts.ir import Expr, Function
from lockcheck.models.loader import Models

# More targets than this at one call say more about the approximation than about the program.
MAX_ARGUMENT_FLOW = 64

_TRAMPOLINE = "trampoline "


def field_slot(field: str) -> str:
    return field


def local_slot(function: str, name: str) -> str:
    return f"local {function} {name}"


def variable_slot(key: str) -> str:
    return f"variable {key}"


def result_slot(function: str) -> str:
    return f"result {function}"


def trampoline_slot(function: str) -> str:
    return f"{_TRAMPOLINE}{function}"


def slot_of(address: Expr, function: str) -> str | None:
    """The slot of an address as it stands in the code of `function`."""
    head = address[0]
    while head == "i":
        address = address[1]
        head = address[0]
        if head == "l":
            address = address[1]
            head = address[0]
    if head == "f":
        return field_slot(address[2])
    if head == "v":
        return local_slot(function, address[1])
    if head == "g":
        return variable_slot(address[1])
    return None


class Flows:
    """Flows that code states.

    direct: (slot, function) pairs. edges: (slot, slot that it flows to) pairs.
    given: (callee, number, kind, what) of arguments: "fn" with a function, "l" with the slot that
        one is loaded from, "g" with the slot of a table.
    """

    __slots__ = ("_models", "direct", "edges", "given")

    def __init__(self, models: Models) -> None:
        self._models = models
        self.direct: list[tuple[str, str]] = []
        self.edges: list[tuple[str, str]] = []
        self.given: list[tuple[str, int, str, str]] = []

    def store(self, slot: str, value: Expr, function: str, calls: dict[int, str]) -> None:
        """`slot` may hold what `value` evaluates to in `function`."""
        head = value[0]
        if head == "fn":
            self.direct.append((slot, value[1]))
        elif head == "l":
            source = slot_of(value[1], function)
            if source is not None and source != slot:
                self.edges.append((source, slot))
        elif head == "c":
            callee = calls.get(value[1])
            if callee is not None:
                self.edges.append((result_slot(callee), slot))

    def call(
        self, callee: str, args: tuple[Expr, ...], function: str, calls: dict[int, str]
    ) -> None:
        """`function` hands arguments to `callee`."""
        model = self._models.functions.get(callee.split("@", 1)[0])
        if model is not None and model.assigns is not None:
            target, value = model.assigns
            if len(args) > max(target, value) and args[target][0] == "fn":
                slot = trampoline_slot(args[target][1])
                self.store(slot, args[value], function, calls)
            return
        for number, argument in enumerate(args):
            head = argument[0]
            if head == "fn":
                self.given.append((callee, number, head, argument[1]))
            elif head == "l":
                source = slot_of(argument[1], function)
                if source is not None:
                    self.given.append((callee, number, head, source))
            elif head == "g":
                self.given.append((callee, number, head, variable_slot(argument[1])))


def flows_in(function: Function, models: Models) -> Flows:
    """All flows inside one function and to the functions it calls directly."""
    flows = Flows(models)
    key = function.key
    calls: dict[int, str] = {}
    for events, terminator in function.blocks:
        for event in events:
            kind = event[0]
            if kind == "S":
                slot = slot_of(event[2], key)
                if slot is not None:
                    flows.store(slot, event[3], key, calls)
            elif kind == "C":
                callee = event[3]
                if callee[0] == "fn":
                    calls[event[2]] = callee[1]
                    flows.call(callee[1], event[4], key, calls)
        if terminator[0] == "ret" and terminator[1] is not None:
            flows.store(result_slot(key), terminator[1], key, calls)
    return flows


class SlotGraph:
    """Collects flows, then tells which functions each slot may hold."""

    def __init__(self, params: Mapping[str, tuple[str, ...]]) -> None:
        """`params`: the names of the parameters of each function that was read."""
        self._params = params
        self._direct: dict[str, set[str]] = defaultdict(set)
        self._edges: dict[str, set[str]] = defaultdict(set)
        self._targets: dict[str, set[str]] = {}
        self.trampolines: set[str] = set()  # functions that are only declared and set elsewhere
        self.written_by: dict[str, set[str]] = defaultdict(set)  # function → slots it is stored in

    def add(self, flows: Flows) -> None:
        """Take flows in; what follows from them is known after `solve`."""
        for slot, function in flows.direct:
            self._direct[slot].add(function)
            self.written_by[function].add(slot)
        for source, slot in flows.edges:
            self._edges[source].add(slot)
        params = self._params
        for callee, number, kind, what in flows.given:
            names = params.get(callee, ())
            name = names[number] if number < len(names) else f"#{number}"
            parameter = local_slot(callee, name)
            if kind == "fn":
                self._direct[parameter].add(what)
                self.written_by[what].add(parameter)
            elif kind == "g":
                # A table that the callee fills in or calls from through its parameter.
                self._edges[parameter].add(what)
            elif what != parameter:
                self._edges[what].add(parameter)

    def solve(self) -> None:
        """Propagate; call again after adding flows."""
        targets: dict[str, set[str]] = {slot: set(fns) for slot, fns in self._direct.items()}
        work = list(targets)
        while work:
            slot = work.pop()
            functions = targets[slot]
            for successor in self._edges.get(slot, ()):
                known = targets.setdefault(successor, set())
                before = len(known)
                known |= functions
                if len(known) != before:
                    work.append(successor)
        self._targets = targets
        self.trampolines = {
            slot.removeprefix(_TRAMPOLINE) for slot in targets if slot.startswith(_TRAMPOLINE)
        }

    def targets(self, slot: str) -> frozenset[str]:
        """The functions that a slot may hold."""
        return frozenset(self._targets.get(slot, ()))

    def reached_from(self, records: Iterable[str]) -> dict[str, str]:
        """Slot → field, for every slot that a field of one of the records flows to."""
        wanted = tuple(f"{record}." for record in records)
        found: dict[str, str] = {}
        for slot in sorted({*self._direct, *self._edges}):
            if slot.startswith(wanted):
                for reached in self.flows_to(slot):
                    found.setdefault(reached, slot)
                found[slot] = slot
        return found

    def flows_to(self, slot: str) -> frozenset[str]:
        """All slots that what is stored in `slot` may reach, itself included."""
        seen = {slot}
        work = [slot]
        while work:
            for successor in self._edges.get(work.pop(), ()):
                if successor not in seen:
                    seen.add(successor)
                    work.append(successor)
        return frozenset(seen)
