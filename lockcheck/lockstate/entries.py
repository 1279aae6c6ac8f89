"""Entry points: where control comes in from outside of the units, and what is held then."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple

from lockcheck.callgraph.program import Program, Reach
from lockcheck.lockstate.needs import Need, fits
from lockcheck.models.loader import EntryHeld, EntryModel


class Incoming(Enum):
    """What entering a function from outside says of a requirement."""

    CLOSED = "closed"  # only the calls that were read enter it
    MET = "met"
    FAILED = "failed"
    UNKNOWN = "unknown"  # nobody says what is held
    NO_CALLER = "no caller"  # other units may call it by name, or nobody does


class Entry(NamedTuple):
    """One verdict on entering a function; `text` says how control gets there.

    deferred: what control comes in for was begun by others, who may have dropped an object then.
    """

    incoming: Incoming
    text: str
    deferred: bool = False


class Entries:
    """Answers for the functions of one program."""

    def __init__(self, program: Program, trusting: bool) -> None:
        """`trusting`: callers outside hold none of the locks in question, if no model says more.

        So it is for a rule, whose locks belong to the units that it is about.
        """
        self._program = program
        self._trusting = trusting
        self._models: dict[str, EntryModel | None] = {}
        self._named_models: dict[str, EntryModel | None] = {}
        self._by_name = tuple(
            (pattern, model)
            for model in program.models.entries
            for pattern in model.through
            if pattern.endswith("()")
        )
        self._by_slot = tuple(
            (pattern, model)
            for model in program.models.entries
            for pattern in model.through
            if not pattern.endswith("()")
        )

    def judge(self, key: str, needs: tuple[Need, ...]) -> Entry:
        """What control from outside says of needs of which one has to be met."""
        program = self._program
        name = key.split("@", 1)[0]
        unknown: str | None = None
        met: str | None = None
        for slot, model in self._doors(key):
            how = f"{name}() is called {_through(slot)}"
            if model is None and not self._trusting:
                unknown = f"{how}, which no unit that was read calls"
                continue
            if model is None:
                return Entry(Incoming.FAILED, f"{name}() is called from outside the units read, "
                             "by its address")  # fmt: skip
            verdict = self._decide(model, needs)
            text = f"{how}: {model.what}"
            if verdict is Incoming.FAILED:
                return Entry(verdict, text, model.deferred)
            if verdict is Incoming.UNKNOWN:
                unknown = f"{text}; whether it holds the lock is not known"
            else:
                met = text
        if unknown is not None:
            return Entry(Incoming.UNKNOWN, unknown)
        if met is not None:
            return Entry(Incoming.MET, met)
        named = self._named(name)
        if named is not None:
            return Entry(self._decide(named, needs), f"{name}() is an entry point: {named.what}")
        if program.callers.get(key):
            return Entry(Incoming.CLOSED, "")
        if program.reach(key) is Reach.EXTERNAL:
            return Entry(Incoming.NO_CALLER, f"no caller of {name}() in the units read")
        return Entry(Incoming.NO_CALLER, f"{name}() is never called")

    def is_private(self, key: str) -> bool:
        """Whether control from outside comes while nobody else can reach the object passed."""
        models = [model for _, model in self._doors(key) if model is not None]
        return bool(models) and all(model.private for model in models)

    def holds(self, key: str) -> tuple[EntryHeld, ...]:
        """What models say is held when control comes in from outside."""
        for _, model in self._doors(key):
            if model is not None:
                return model.holds
        named = self._named(key.split("@", 1)[0])
        return () if named is None else named.holds

    def enters(self, key: str, names: Collection[str]) -> tuple[str, frozenset[str]] | None:
        """How control comes in from outside within sections of some names, and within which."""
        name = key.split("@", 1)[0]
        for slot, model in self._doors(key):
            held = () if model is None else (h.lock_class for h in model.holds)
            entered = frozenset(held) & frozenset(names)
            if model is not None and entered:
                return f"{name}() is called {_through(slot)}: {model.what}", entered
        return None

    def interrupts(self, key: str) -> Iterator[tuple[str, str, bool]]:
        """How control comes in by interrupts, by which kind, and whether the object is private."""
        name = key.split("@", 1)[0]
        for slot, model in self._doors(key):
            if model is not None and model.interrupt:
                how = f"{name}() is called {_through(slot)}: {model.what}"
                yield how, model.interrupt, model.private

    def given_to(self, key: str, places: tuple[str, ...]) -> str | None:
        """The first of some places, as models name them, that a function is stored in."""
        for slot in sorted(self._program.stored_in(key)):
            for reached in (slot, *sorted(self._program.flows_to(slot) - {slot})):
                place = self._place(reached)
                if any(fnmatchcase(place, pattern) for pattern in places):
                    return place
        return None

    def _named(self, name: str) -> EntryModel | None:
        if name not in self._named_models:
            self._named_models[name] = next(
                (model for pattern, model in self._by_name if fnmatchcase(name, pattern[:-2])), None
            )
        return self._named_models[name]

    def _doors(self, key: str) -> list[tuple[str, EntryModel | None]]:
        """The slots through which control comes in from outside, with what models say of them.

        What is given to a function that was read comes in where that function stores it.
        """
        doors: list[tuple[str, EntryModel | None]] = []
        for slot in sorted(self._program.outside_slots(key)):
            model = self._of_slot(slot)
            if model is None:
                further = sorted(self._program.flows_to(slot) - {slot})
                known = [(s, m) for s in further if (m := self._of_slot(s)) is not None]
                doors.extend(known or [(slot, None)])
            else:
                doors.append((slot, model))
        return doors

    def _of_slot(self, slot: str) -> EntryModel | None:
        place = self._place(slot)
        if place not in self._models:
            self._models[place] = next(
                (model for pattern, model in self._by_slot if fnmatchcase(place, pattern)), None
            )
        return self._models[place]

    def _place(self, slot: str) -> str:
        """A slot as models name it: "record.field", "function#argument"."""
        if slot.startswith("local "):
            _, function, name = slot.split(" ", 2)
            number = self._program.parameter_number(function, name)
            return f"{function.split('@', 1)[0]}{name if number is None else f'#{number}'}"
        return slot.removeprefix("variable ").split("@", 1)[0]

    def _decide(self, model: EntryModel, needs: tuple[Need, ...]) -> Incoming:
        """MET when one of the needs is met by what the model says is held."""
        failed = True
        for need in needs:
            if any(held.lock_class in need.denied for held in model.holds):
                failed = False
            held = any(_is_it(held.lock_class, need) and fits(held.mode, need.mode)
                       for held in model.holds)  # fmt: skip
            if held is not need.absent:
                failed = False
        if not failed:
            return Incoming.MET
        if model.private or any(need.vague for need in needs):
            return Incoming.UNKNOWN
        maybe = any(
            self._is_of_type(need, model.may_hold_types)
            or any(fnmatchcase(n, pattern) for n in _names(need) for pattern in model.may_hold)
            for need in needs
        )
        return Incoming.UNKNOWN if maybe else Incoming.FAILED

    def _is_of_type(self, need: Need, types: frozenset[str]) -> bool:
        """Whether a lock is a field of one of these types; one that is no field may be."""
        if not types or (need.term is not None and need.term[0] == "section"):
            return False
        record, _, member = need.lock_class.partition(".")
        kind = self._program.records.get(record, {}).get(member)
        return kind is None or kind in types


def _through(slot: str) -> str:
    if slot.startswith("local "):
        _, function, _ = slot.split(" ", 2)
        return f"by {function.split('@', 1)[0]}(), which it is given to"
    if slot.startswith(("variable ", "result ", "trampoline ")):
        return f"through {slot.split(' ', 1)[1].split('@', 1)[0]}"
    return f"through struct {slot}"


def _names(need: Need) -> tuple[str, ...]:
    """The names under which an entry model may list a needed lock."""
    term = need.term
    if term is not None and term[0] == "section" and len(term) > 2:
        return tuple(term[2])
    return (need.lock_class.split("@", 1)[0], *need.pointees)


def _is_it(name: str, need: Need) -> bool:
    return name in _names(need)
