"""What runs elsewhere: the functions of works, timers and threads, by the place of the object.

A place is the member or variable that is the object (a work), or that holds a pointer to it (a
task, a queue of works). How a function's argument is found from the place is told, too: a thread is
given what it was created with, often the object that its task lies in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from lockcheck.callgraph.perfunction import PerFunction
from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import Event, Expr, Function
from lockcheck.models.ordering import Ordering, OrderModels

_Called: TypeAlias = tuple[Event, Ordering]  # a call, and the model of what it calls


class Runner(NamedTuple):
    """A function that an object runs.

    up: the members between the object that the function is given and the place, from the place
        outwards; down: those from there to what it is given. None: what it is given is not known.
    """

    function: str
    up: tuple[str, ...] = ()
    down: tuple[str, ...] | None = ()

    def argument(self, place: Expr) -> tuple[Expr, ...]:
        """The function's argument, for an object at a place; nothing if it is not known."""
        if self.down is None:
            return ()
        for member in self.up:
            while place[0] == "i":
                place = place[1]
            if place[0] != "f" or place[2] != member:
                return ()
            place = place[1]
        for member in self.down:
            place = ("f", place, member)
        return (place,)


Runners = dict[str, frozenset[Runner]]


class _Running(NamedTuple):
    """What one function says of objects that run functions."""

    told: tuple[tuple[str, Runner], ...]
    queued: tuple[tuple[str, str, Runner], ...]


class RunnerFinder:
    """Finds the functions that objects of a program run, for all versions of it."""

    def __init__(self, order: OrderModels) -> None:
        self._order = order
        self._running = PerFunction(self._run)

    def _run(self, function: Function) -> _Running:
        stores, calls = _concerned(function, self._order)
        told = (*_stored(stores), *_told(calls), *_made(function, calls))
        return _Running(told, tuple(_queued(calls)))

    def find(self, program: Program) -> Runners:
        """The functions that objects run, by place."""
        order = self._order
        found: dict[str, set[Runner]] = {}
        queued: list[tuple[str, str, Runner]] = []
        for running in self._running.all(program.functions.values()):
            for place, runner in running.told:
                found.setdefault(place, set()).add(runner)
            queued.extend(running.queued)
        for address, value in program.initialisers:
            if address[0] == "f" and address[2] in order.runs_through and value[0] == "fn":
                member = member_of(address[1])
                if member is not None:
                    found.setdefault(member, set()).add(Runner(value[1]))
        for queue, work, path in queued:
            for runner in found.get(work, set()) - found.get(queue, set()):
                if runner.up == () and runner.down == ():  # it is given the work itself
                    found.setdefault(queue, set()).add(path._replace(function=runner.function))
        return {place: frozenset(runners) for place, runners in found.items()}


def member_of(place: Expr) -> str | None:
    """The member, or variable, that an object is."""
    while place[0] == "i":
        place = place[1]
    if place[0] == "f":
        return str(place[2])
    return str(place[1]) if place[0] == "g" else None


def _concerned(function: Function, order: OrderModels) -> tuple[list[Event], list[_Called]]:
    """The stores of functions that objects run, and the calls of what has a model."""
    stores: list[Event] = []
    calls: list[_Called] = []
    for events, _ in function.blocks:
        for event in events:
            if event[0] == "C":
                named = event[3][0] == "fn"
                model = order.functions.get(event[3][1].split("@", 1)[0]) if named else None
                if model is not None:
                    calls.append((event, model))
            elif event[0] == "S" and event[2][0] == "f" and event[2][2] in order.runs_through:
                stores.append(event)
    return stores, calls


def _stored(stores: Iterable[Event]) -> Iterator[tuple[str, Runner]]:
    """Objects that are told which function they run by a store."""
    for event in stores:
        place = member_of(event[2][1])
        if place is not None and event[3][0] == "fn":
            yield place, Runner(event[3][1])


def _told(calls: Iterable[_Called]) -> Iterator[tuple[str, Runner]]:
    """Objects that are told which function they run by a call."""
    for event, model in calls:
        if model.sets is not None and max(model.sets) < len(event[4]):
            thing, value = (event[4][index] for index in model.sets)
            place = member_of(thing)
            if place is not None and value[0] == "fn":
                yield place, Runner(value[1])


def _made(function: Function, calls: Iterable[_Called]) -> Iterator[tuple[str, Runner]]:
    """Pointers to what a call has made, with the function that it runs: threads."""
    holders: dict[Expr, tuple[str, Expr]] = {}  # value → function, and what that is given
    for event, model in calls:
        if model.makes is not None and max(model.makes) < len(event[4]):
            runs, given = (event[4][index] for index in model.makes)
            if runs[0] == "fn":
                holders["c", event[2]] = runs[1], given
    if not holders:
        return
    for events, _ in function.blocks:
        for event in events:
            if event[0] != "S" or event[3] not in holders:
                continue
            runs, given = holders[event[3]]
            place = member_of(event[2])
            if event[2][0] == "v":
                holders["l", event[2]] = runs, given
            elif place is not None:
                way = path_between(event[2], given)
                yield place, Runner(runs, *((), None) if way is None else way)


def _queued(calls: Iterable[_Called]) -> Iterator[tuple[str, str, Runner]]:
    """Queues, the works that are put into them, and the way from one to the other."""
    for event, model in calls:
        queues = model.queues
        if queues is None or max(queues.queue, queues.argument) >= len(event[4]):
            continue
        queue, work = event[4][queues.queue], event[4][queues.argument]
        if queues.inside:
            work = ("f", work, queues.inside)
        if queue[0] != "l":
            continue
        place, what = member_of(queue[1]), member_of(work)
        if place is not None and what is not None:
            way = path_between(queue[1], work)
            yield place, what, Runner("", *((), None) if way is None else way)


def path_between(place: Expr, other: Expr) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The members to go up from a place, and then down, to get to another one."""
    downs = {base: tuple(reversed(up)) for base, up in _bases(other)}
    return next(((up, downs[base]) for base, up in _bases(place) if base in downs), None)


def _bases(place: Expr) -> Iterator[tuple[Expr, tuple[str, ...]]]:
    """What a place lies in, the innermost first, and the members on the way out."""
    up: tuple[str, ...] = ()
    yield place, up
    while place[0] == "f":
        up, place = (*up, place[2]), place[1]
        yield place, up
