"""Where function pointers flow: from assignments, initialisers, arguments and returns to calls.

A slot is a place that may hold a function: a field (of every object of its record, as Andersen's
field-based analysis has it), a variable, a local or parameter, a return value, or a function that
is only declared (the trampoline of a static call). Arrays count as one place.

UNSOUND: a function pointer that passes through integers, unions of other types or a copy by
memcpy() to another record type is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lockcheck.facts.ir import Expr, Function
from lockcheck.models.loader import Models

# More targets than this at one call say more about the approximation than about the program.
MAX_ARGUMENT_FLOW = 64


def field_slot(field: str) -> str:
    return field


def local_slot(function: str, name: str) -> str:
    return f"local {function} {name}"


def variable_slot(key: str) -> str:
    return f"variable {key}"


def result_slot(function: str) -> str:
    return f"result {function}"


def trampoline_slot(function: str) -> str:
    return f"trampoline {function}"


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


class SlotGraph:
    """Collects flows, then tells which functions each slot may hold."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._direct: dict[str, set[str]] = defaultdict(set)
        self._edges: dict[str, set[str]] = defaultdict(set)
        self._targets: dict[str, set[str]] = {}
        self.written_by: dict[str, set[str]] = defaultdict(set)  # function → slots it is stored in

    def store(self, slot: str, value: Expr, function: str, calls: dict[int, str]) -> None:
        """`slot` may hold what `value` evaluates to in `function`."""
        head = value[0]
        if head == "fn":
            self._direct[slot].add(value[1])
            self.written_by[value[1]].add(slot)
        elif head == "l":
            source = slot_of(value[1], function)
            if source is not None and source != slot:
                self._edges[source].add(slot)
        elif head == "c":
            callee = calls.get(value[1])
            if callee is not None:
                self._edges[result_slot(callee)].add(slot)

    def add_function(self, function: Function, params: dict[str, tuple[str, ...]]) -> None:
        """All flows inside one function and to the functions it calls directly."""
        key = function.key
        calls: dict[int, str] = {}
        for events, terminator in function.blocks:
            for event in events:
                kind = event[0]
                if kind == "S":
                    slot = slot_of(event[2], key)
                    if slot is not None:
                        self.store(slot, event[3], key, calls)
                elif kind == "C":
                    callee = event[3]
                    if callee[0] == "fn":
                        calls[event[2]] = callee[1]
                        self._call(callee[1], event[4], key, calls, params)
            if terminator[0] == "ret" and terminator[1] is not None:
                self.store(result_slot(key), terminator[1], key, calls)

    def _call(
        self,
        callee: str,
        args: tuple[Expr, ...],
        function: str,
        calls: dict[int, str],
        params: dict[str, tuple[str, ...]],
    ) -> None:
        model = self._models.functions.get(callee.split("@", 1)[0])
        if model is not None and model.assigns is not None:
            target, value = model.assigns
            if len(args) > max(target, value) and args[target][0] == "fn":
                slot = trampoline_slot(args[target][1])
                self.store(slot, args[value], function, calls)
            return
        names = params.get(callee, ())
        for index, argument in enumerate(args):
            head = argument[0]
            if head not in ("fn", "l", "g"):
                continue
            name = names[index] if index < len(names) else f"#{index}"
            if head == "g":
                # A table that the callee fills in or calls from through its parameter.
                table, parameter = variable_slot(argument[1]), local_slot(callee, name)
                self._edges[parameter].add(table)
            else:
                self.store(local_slot(callee, name), argument, function, calls)

    def pass_arguments(
        self,
        callees: Iterable[str],
        args: tuple[Expr, ...],
        function: str,
        params: dict[str, tuple[str, ...]],
    ) -> None:
        """An indirect call passes its arguments to each of its targets."""
        for callee in callees:
            self._call(callee, args, function, {}, params)

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
