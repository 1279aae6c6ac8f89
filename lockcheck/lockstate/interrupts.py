"""Locks that interrupts take, and where a task holds them with those interrupts on.

An interrupt that comes while the lock is held on the same CPU waits for it for ever. By class, as
lockdep has it (Documentation/locking/lockdep-design.rst, "Single-lock state rules"), but for all
paths. A lock that was only tried for is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.acquiring import GRACE, LockWay, LockWays, class_name
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.contexts import ContextFinder, Surroundings
from lockcheck.lockstate.entries import Entries
from lockcheck.lockstate.initialised import Initialisers
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import root
from lockcheck.models.loader import READ
from lockcheck.models.ordering import InterruptContext
from lockcheck.queries import Query

_VARIABLE = "variable "
MAX_MAYBES = 3  # calls on the way to the lock that are made on some ways only
MAX_TAKES = 4  # of one lock by interrupts that are looked at
NEW = "the object is new there, or about to go: nobody else can reach it"
FAR_BELOW = "the interrupt takes it under conditions in too many functions that are not followed"
LAST = "the interrupt takes it only when the last reference to an object goes"
NO_ENTRY = "no chain of calls from a known entry point comes there with them on"
RECLASSED = "the source gives the lock lock classes of its own"
UNSURE = "whether they are off is not known on all paths"
WHICH = "such locks are of several lockdep classes, and which of them these are of is not followed"


class Taken(NamedTuple):
    """A lock that an interrupt takes. entry: how it comes in, in words."""

    function: str
    way: LockWay
    context: InterruptContext
    entry: str


class Exposed(NamedTuple):
    """A lock that is taken while interrupts are on, by the function's own call of a primitive."""

    function: str
    way: LockWay
    held: frozenset[str]  # the sections entered then
    unsure: frozenset[str]
    unshared: bool


class IrqUnsafe(NamedTuple):
    """Both sides. surroundings: how the task gets there.

    why: what is not decided; "" for a claim, None where those interrupts are off.
    """

    exposed: Exposed
    taken: Taken
    surroundings: Surroundings | None
    why: str | None


class InterruptLocks:
    """Finds them in one program."""

    def __init__(self, analysis: Analysis, ways: LockWays) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._ways = ways
        self._contexts_of = analysis.program.models.order.interrupts
        self._entries = Entries(analysis.program, trusting=False)
        self._initialisers = Initialisers(analysis, ways)
        self._taken_by = Query(analysis.queries, self._find_taken)
        self._exposed_in = Query(analysis.queries, self._find_exposed)

    def find(self, contexts: ContextFinder, reclassed: frozenset[str]) -> Iterator[IrqUnsafe]:
        """All pairs, by function; one for each lock and function, a claim if there is one."""
        candidates = sorted(self._ways.reach.candidates)
        taken: dict[str, list[Taken]] = {}
        for key in candidates:
            for one in self._taken_by(key):
                taken.setdefault(class_name(one.way.lock) or "", []).append(one)
        several = self._of_several_classes(candidates, frozenset(taken)) if taken else frozenset()
        for key in candidates if taken else ():
            best: dict[str, IrqUnsafe] = {}
            for exposed in self._exposed_in(key):
                name = class_name(exposed.way.lock) or ""
                home = _home(exposed.way.lock)
                others = [o for o in taken.get(name, ()) if _may_be(home, _home(o.way.lock))]
                for one in sorted(others, key=_plainness)[:MAX_TAKES]:
                    found = self._decide(exposed, one, contexts, name in reclassed)
                    unknown = None in (home, _home(one.way.lock))
                    if found.why == "" and name in several and unknown:
                        found = found._replace(why=WHICH)
                    if name not in best or _rank(found) < _rank(best[name]):
                        best[name] = found
            yield from best.values()

    # -- interrupts ----------------------------------------------------------------------------

    def _find_taken(self, key: str) -> tuple[Taken, ...]:
        """What a function takes that is called in an interrupt."""
        found: list[Taken] = []
        for entry, name, private in self._entries.interrupts(key):
            for way in self._ways.ways(key):
                if way.mode == GRACE or way.waited or class_name(way.lock) is None:
                    continue
                if not (private and root(way.lock)[0] == "p"):
                    found.append(Taken(key, way, self._contexts_of[name], entry))
        return tuple(found)

    # -- tasks ---------------------------------------------------------------------------------

    def _find_exposed(self, key: str) -> tuple[Exposed, ...]:
        """Locks that a function takes itself without turning all interrupts off."""
        off = {name for context in self._contexts_of.values() for name in context.off}
        found: dict[Expr, Exposed] = {}
        for number, call in sorted(self._program.calls[key].items()):
            for target in call.targets:
                model = self._program.model(target)
                if model is None or not any(not effect.section for effect in model.acquires):
                    continue
                enters = frozenset(e.section for e in model.acquires if e.section)
                if "" in enters or not enters:
                    continue  # a lock that sleeps: no interrupt takes it
                for at in self._analysis.states_at(key, number):
                    sections = enters | _sections(at)
                    unsure = (
                        frozenset(lock[1] for lock in at.state.unsure if lock[0] == "section") & off
                    )
                    for way in self._ways.at_call(key, number, target, at):
                        if class_name(way.lock) is None:
                            continue
                        unshared = way.lock[0] != "class" and self._analysis.is_unshared(
                            key, at.state, way.lock
                        )
                        one = Exposed(key, way, sections, unsure, unshared)
                        known = found.get(way.lock)
                        if known is None or _openness(one) < _openness(known):
                            found[way.lock] = one
        return tuple(found.values())

    def _of_several_classes(self, candidates: list[str], taken: frozenset[str]) -> frozenset[str]:
        """The names whose locks may be of several classes, by what they are part of."""
        homes: dict[str, set[str]] = {}
        for key in candidates:
            for way in self._ways.ways(key):
                home = _home(way.lock)
                if home is not None:
                    homes.setdefault(class_name(way.lock) or "", set()).add(home)
        places = self._initialisers.places(taken)
        return frozenset(name for name in taken if _are_several(homes.get(name), places.get(name)))

    # -- both ----------------------------------------------------------------------------------

    def _decide(
        self, exposed: Exposed, taken: Taken, contexts: ContextFinder, reclassed: bool
    ) -> IrqUnsafe:
        off = taken.context.off
        if exposed.held & off or (exposed.way.mode == READ and taken.way.mode == READ):
            return IrqUnsafe(exposed, taken, None, None)
        why = ""
        if exposed.unshared:
            why = NEW
        elif taken.way.last:
            why = LAST
        elif reclassed:
            why = RECLASSED
        elif taken.way.maybes > MAX_MAYBES:
            why = FAR_BELOW
        elif exposed.unsure & off:
            why = UNSURE
        found = contexts.contexts(exposed.function, guard=exposed.way.guard).contexts
        open_ones = [c for c in found if not _names(c) & off]
        if found and not open_ones:
            return IrqUnsafe(exposed, taken, None, None)
        side = next((c for c in open_ones if c.complete and not c.private), None)
        if not why and side is None:
            why = NO_ENTRY
        return IrqUnsafe(exposed, taken, side, why)


def _home(lock: Expr) -> str | None:
    """The member or variable that the object of a lock is; None where a pointer leads to it.

    Lockdep tells locks of containers apart by where they are initialised: by what they are part of,
    more often than not; see fixtures/irq-unsafe-lock/good_two_containers.c. Where it is one place,
    they are of one class, whatever they are part of: bad_one_initialiser.c.
    """
    if lock[0] != "f":
        return None
    record, place = lock[2].split(".", 1)[0], lock[1]
    while place[0] == "i" or (place[0] == "f" and place[2].startswith(f"{record}.")):
        place = place[1]
    if place[0] == "f":
        return str(place[2])
    return f"{_VARIABLE}{place[1]}" if place[0] == "g" else None


def _are_several(homes: set[str] | None, places: int | None) -> bool:
    """Whether locks of one name may be of several classes.

    homes: what the objects are. places: how many initialise them; None if none was seen.
    """
    if places is not None and places > 1:
        return True
    if homes is None or len(homes) == 1:
        return False
    # A variable may be initialised where it is defined.
    return places is None or any(home.startswith(_VARIABLE) for home in homes)


def _may_be(home: str | None, other: str | None) -> bool:
    return home is None or other is None or home == other


def _sections(at: At) -> frozenset[str]:
    return frozenset(lock[1] for lock in at.state.held if lock[0] == "section")


def _names(context: Surroundings) -> frozenset[str]:
    """The sections in which control comes to a function; models name them as classes."""
    return frozenset(str(lock[1]) for lock, _ in context.locks if lock[0] in ("section", "class"))


def _rank(found: IrqUnsafe) -> int:
    return 0 if found.why == "" else 2 if found.why is None else 1


def _openness(exposed: Exposed) -> tuple[bool, int, int]:
    return exposed.unshared, len(exposed.unsure), len(exposed.held)


def _plainness(taken: Taken) -> tuple[bool, bool, int, int, str]:
    way = taken.way
    return way.last, way.maybes > MAX_MAYBES, way.maybes, way.length, taken.function
