"""Which fields a call may change: what a caller knew of them before does not hold after it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from lockcheck.callgraph.components import components
from lockcheck.callgraph.perfunction import PerFunction
from lockcheck.facts.folding import is_local
from lockcheck.facts.ir import Event, Expr, Function, successors

FieldSet = int  # one bit for each field that some function stores to


def stored_field(address: Expr) -> str | None:
    """The field that a store to an address changes: an array of it counts as one."""
    while address[0] == "i":
        address = address[1]
    return address[2] if address[0] == "f" else None


def keeps_zero(address: Expr, value: Expr) -> bool:
    """Whether a store leaves a place zero that was: of zero, or of some of its own bits."""
    if value == ("k", 0):
        return True
    return value[0] == "o" and value[1] == "&" and ("l", address) in value[2:]


def _parameter(value: Expr, function: Function) -> int | None:
    """The number of the parameter that a value is, as it came in."""
    if value[0] != "l" or value[1][0] != "v" or value[1][1] not in function.params:
        return None
    return function.params.index(value[1][1])


_COUNTER = "(a counter)"  # stands for all counters, and no term is loaded from it


class Stores(NamedTuple):
    """What one function stores to, apart from its callees.

    own: fields. filled: those of them that something else than zero is stored to.
    whole: whether it stores through a bare pointer; through: the parameters which that may be.
    given_on: (callee, number there, number here) of parameters that are handed on as they are.
    values: (field, constant) of each store, None for what is no constant.
    """

    own: FieldSet
    filled: FieldSet
    whole: bool
    through: tuple[int, ...]
    given_on: tuple[tuple[str, int, int], ...]
    values: tuple[tuple[str, int | None], ...]


class StoreReader:
    """Finds what single functions store to, for all versions of a program.

    bits: the number that each field has in a set of fields. loads: the fields that terms are loaded
    from, of those terms where no function has a say in it.
    """

    def __init__(self, counters: Container[str], bits: Mapping[str, int] | None = None) -> None:
        """`counters`: see StoreEffects. `bits`: numbers that fields have already."""
        self.counters = counters
        self.bits: dict[str, int] = dict(bits or {})
        self.stores = PerFunction(self._stores)
        self.looked_at = PerFunction(_looked_at)
        self.loads: dict[Expr, FieldSet] = {}
        self._numbered = 0

    def read(self, functions: Iterable[Function]) -> list[Stores]:
        """What the functions of one version of the program store to."""
        found = self.stores.all(functions)
        if self._numbered != len(self.bits):  # fields that nobody stored to have got a number
            self._numbered = len(self.bits)
            self.loads = {}
        return found

    def _stores(self, function: Function) -> Stores:
        own = filled = 0
        through: set[int] = set()
        whole = False
        given_on: set[tuple[str, int, int]] = set()
        values: set[tuple[str, int | None]] = set()
        for events, _ in function.blocks:
            for event in events:
                if event[0] == "S":
                    name = stored_field(event[2])
                    if name is None and not is_local(event[2]) and event[2][0] != "g":
                        whole = True
                        number = _parameter(event[2], function)
                        through.update(range(len(function.params)) if number is None else (number,))
                    if name in self.counters:
                        name = None if keeps_zero(event[2], event[3]) else _COUNTER
                    if name is not None:
                        value = event[3]
                        values.add((name, value[1] if value[0] == "k" else None))
                        bit = 1 << self.bits.setdefault(name, len(self.bits))
                        if is_local(event[2]):
                            continue  # gone by the time that a caller could look
                        own |= bit
                        if not keeps_zero(event[2], event[3]):
                            filled |= bit
                elif event[0] == "C" and event[3][0] == "fn":
                    for place, arg in enumerate(event[4]):
                        number = _parameter(arg, function)
                        if number is not None:
                            given_on.add((event[3][1], place, number))
        return Stores(own, filled, whole, tuple(through), tuple(given_on), tuple(values))


def _looked_at(function: Function) -> tuple[str, ...]:
    """The fields that a function reads."""
    names = {
        stored_field(event[2])
        for events, _ in function.blocks
        for event in events
        if event[0] == "R"
    }
    return tuple(name for name in names if name is not None)


class StoreEffects:
    """Fields stored by each function, its callees included.

    remembered: answers of `read_by` that need not be asked for again.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        callees: Mapping[str, frozenset[str]],
        reader: StoreReader,
        writers: Iterable[str] = (),
    ) -> None:
        """`reader`: that of the program before, if this is another version of it. Its counters are
        fields that every object has, whose stores say nothing of one object.
        `writers`: functions that were not read and store to what they are given.

        UNSOUND: what a branch said of such a counter counts on after a callee changed it.
        """
        self._reader = reader
        self._counters = reader.counters
        self._functions = functions
        self._callees = callees
        self._looks: dict[str, FieldSet] = {}
        self._constructs: dict[str, FieldSet] = {}
        self._sure: dict[str, FieldSet] = {}
        self._bits = reader.bits
        self.remembered: dict[Expr, FieldSet] = {}
        self._masks: dict[str, FieldSet] = {}
        self._values: dict[str, set[int | None]] = defaultdict(set)
        own: dict[str, FieldSet] = {}
        self._filled: dict[str, FieldSet] = {}  # stores of more than zero
        writers = frozenset(writers)
        self._whole: set[str] = set(writers)  # functions that store through bare pointers
        # Parameters that are stored through as a whole, and which are handed on as which.
        self._whole_by: set[tuple[str, int]] = set()
        self._given_on: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)
        for key, stores in zip(functions, reader.read(functions.values()), strict=True):
            own[key], self._filled[key] = stores.own, stores.filled
            if stores.whole:
                self._whole.add(key)
                self._whole_by.update((key, number) for number in stores.through)
            for callee, there, here in stores.given_on:
                self._given_on[callee, there].add((key, here))
            for name, value in stores.values:
                self._values[name].add(value)
        self._follow_given_on(writers)
        graph = {
            key: [callee for callee in callees.get(key, ()) if callee in functions]
            for key in functions
        }
        # Functions that call each other → all of those, sorted.
        self.cycles: dict[str, tuple[str, ...]] = {}
        for component in components(graph):
            mask = 0
            if len(component) > 1 or component[0] in graph[component[0]]:
                members = tuple(sorted(component))
                self.cycles.update(dict.fromkeys(members, members))
            for key in component:
                mask |= own[key]
                for callee in graph[key]:
                    mask |= self._masks.get(callee, 0)
            for key in component:
                self._masks[key] = mask
        # What is found out about a cycle must not hang on where it is entered first.
        for key in sorted(self.cycles):
            self._certain(key)
            self._looks_at(key)

    def _follow_given_on(self, writers: Container[str]) -> None:
        """Who hands a pointer on to a function that stores through it, stores through it, too."""
        work = list(self._whole_by)
        work += [place for place in self._given_on if place[0] in writers]
        while work:
            for caller in self._given_on.get(work.pop(), ()):
                if caller not in self._whole_by:
                    self._whole_by.add(caller)
                    work.append(caller)

    @property
    def bits(self) -> Mapping[str, int]:
        """The number of each field in a set of fields."""
        return self._bits

    def may_store(self, name: str, value: int) -> bool:
        """Whether some store to a field may be of a value."""
        known = self._values.get(name, ())
        return None in known or value in known

    def knows(self, key: str) -> bool:
        """Whether a function was read."""
        return key in self._functions

    def counts(self, key: str) -> bool:
        """Whether a call of a function may store to a counter."""
        return bool(self.of(key) & self.field(_COUNTER))

    def is_counter(self, name: str) -> bool:
        """Whether a field is one that every counter has."""
        return name in self._counters

    def stores_whole(self, key: str, number: int) -> bool:
        """Whether a function stores to what a parameter points to as a whole, itself or below.

        UNSOUND: deeper calls than those of its own count only where the parameter is handed on as
        it is; functions that were not read do not.
        """
        return (
            key in self._whole
            or (key, number) in self._whole_by
            or any(callee in self._whole for callee in self._callees.get(key, ()))
        )

    def field(self, name: str) -> FieldSet:
        """The set of one field; empty for a field that nobody stores to."""
        bit = self._bits.get(name)
        return 0 if bit is None else 1 << bit

    def of(self, key: str) -> FieldSet:
        """The fields that a call of a function may store to; none for one that was not read.

        UNSOUND: functions outside the units read are taken to store nothing that matters here.
        """
        return self._masks.get(key, 0)

    def constructs(self, key: str) -> FieldSet:
        """The fields of an object under construction that a call of a function stores to.

        UNSOUND: what the function and its direct callees may store counts, and of what lies deeper
        only what is stored on every path. An object under construction is not yet in the states
        from which the deeper paths start; see fixtures/lock-assertion/good_new_object.c.
        """
        known = self._constructs.get(key)
        if known is None:
            known = self._filled.get(key, 0) | self._certain(key)
            for callee in self._callees.get(key, ()):
                known |= self._filled.get(callee, 0) | self._certain(callee)
            self._constructs[key] = known
        return known

    def _certain(self, key: str) -> FieldSet:
        """The fields that every way through a function stores to."""
        known = self._sure.get(key)
        if known is not None:
            return known
        self._sure[key] = 0  # recursion
        function = self._functions.get(key)
        if function is None:
            return 0
        own = [self._certain_in(events) for events, _ in function.blocks]
        after: dict[int, FieldSet] = {}
        result: FieldSet | None = None
        arriving: dict[int, FieldSet] = {0: 0}
        work = [0]
        while work:
            block = work.pop()
            leaving = arriving[block] | own[block]
            if after.get(block) == leaving:
                continue
            after[block] = leaving
            terminator = function.blocks[block][1]
            for successor in successors(terminator):
                before = arriving.get(successor)
                merged = leaving if before is None else before & leaving
                if merged != before or successor not in after:
                    arriving[successor] = merged
                    work.append(successor)
        for block, leaving in after.items():
            if function.blocks[block][1][0] == "ret":
                result = leaving if result is None else result & leaving
        self._sure[key] = result or 0
        return self._sure[key]

    def _certain_in(self, events: tuple[Event, ...]) -> FieldSet:
        mask = 0
        for event in events:
            if event[0] == "S" and not keeps_zero(event[2], event[3]):
                name = stored_field(event[2])
                mask |= 0 if name is None else self.field(name)
            elif event[0] == "C" and event[3][0] == "fn":
                mask |= self._certain(event[3][1])
        return mask

    def _looks_at(self, key: str) -> FieldSet:
        """The fields that a function and its callees read."""
        known = self._looks.get(key)
        if known is None:
            self._looks[key] = 0  # recursion
            known = 0
            function = self._functions.get(key)
            for name in () if function is None else self._reader.looked_at(function):
                known |= self.field(name)
            for callee in self._callees.get(key, ()):
                if callee in self._functions:
                    known |= self._looks_at(callee)
            self._looks[key] = known
        return known

    def read_by(self, term: Expr) -> FieldSet:
        """The fields that the value of a term is loaded from."""
        known = self.remembered.get(term)
        if known is None:
            known = self.remembered[term] = self._read_by(term)[0]
        return known

    def _read_by(self, term: Expr) -> tuple[FieldSet, bool]:
        """The same, and whether that hangs on what functions of this version read."""
        known = self._reader.loads.get(term)
        if known is not None:
            return known, False
        mask, hangs = 0, False
        if term[0] == "l":
            name = stored_field(term[1])
            mask = 0 if name is None else self.field(name)
        elif term[0] == "ap":
            mask, hangs = self._looks_at(term[1]), True
        for part in term[1:]:
            if type(part) is tuple and part:
                more, hangs_more = self._read_by(part)
                mask, hangs = mask | more, hangs or hangs_more
        if not hangs:
            self._reader.loads[term] = mask
        return mask, hangs
