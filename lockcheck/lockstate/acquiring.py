"""Which locks functions take, directly or through callees, by which calls and under what.

The counterpart of lockstate.sleeping for locks. Waiting counts as taking: for readers (a grace
period), and for a function that runs elsewhere, as a work does, for the locks that it takes. So
lockdep sees it, too: Documentation/locking/lockdep-design.rst; include/linux/workqueue.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from typing import NamedTuple

from lockcheck.callgraph.perfunction import PerFunction
from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import Expr, Function
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.callview import CallView, Views
from lockcheck.lockstate.doubts import MAX_TARGETS
from lockcheck.lockstate.runners import Runner, RunnerFinder, member_of
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import is_entry_term, lock_class, strip_lock
from lockcheck.models.loader import WRITE, FunctionModel
from lockcheck.models.ordering import Ordering, OrderModels
from lockcheck.queries import Cycle, FunctionQuery, Inputs, Settling

GRACE = "grace"  # mode: waits for all readers, and holds nothing
NO_SUBCLASS, ANY_SUBCLASS = 0, -1
MAX_WAYS = 160  # locks kept for one function
MAX_FOR_LOCK = 2  # different guards for one lock
MAX_RUNNERS = 3  # functions of one object that is waited for
MAX_QUEUED = 8  # functions that run on behalf of a pointer's object: a thread, a queue
MAX_GUARD = 8
_NO_ORDERING = Ordering()


class LockWay(NamedTuple):
    """One way in which a function takes a lock, or waits for whoever holds it.

    lock: over the function's entry terms; ("class", name) when the instance was not followed.
    mode: "write", "read" or GRACE. subclass: lockdep's.
    guard: conditions over entry terms; empty: always possible.
    dropped: locks of callers that are dropped before it comes to that.
    gates: classes of the locks that are held exclusively on the way.
    call, loc: the call in this function. target, slot: what is called there, and how.
    waits: the call does not call the target but waits for it to end. waited: so does one below.
    below: the number of the target's way, None when it is a primitive; see `LockWays.along`. Were
        that way itself here, all callers would change with a line of the target.
    alone: whether that is one of the target's by itself, and not of what it waits for.
    length: calls down to the primitive. maybes: those that are made on some ways only.
    backs_off: it gives up rather than deadlock among locks of its class.
    last: it may happen only when the last reference to an object is dropped.
    """

    lock: Expr
    mode: str
    subclass: int
    guard: tuple[Condition, ...]
    dropped: frozenset[Expr]
    gates: frozenset[str]
    call: int
    loc: int
    target: str
    slot: str | None
    waits: bool
    waited: bool
    below: int | None
    alone: bool
    length: int
    maybes: int
    backs_off: bool
    last: bool


class Taking(NamedTuple):
    """What one function takes.

    ways: shortest first. nested: its state at a call, and the way of what is taken there while
        something is held, in the function's own terms, which need not be entry terms.
    """

    ways: tuple[LockWay, ...]
    nested: tuple[tuple[At, LockWay], ...]


class LockReach:
    """From which functions of a program calls lead to locks, whatever the arguments.

    runners: what objects such as works run, by the member or variable that is the object.
    """

    def __init__(self, program: Program, silent: PerFunction[bool], runners: RunnerFinder) -> None:
        """`silent`: functions that turn lockdep off, and those that run when the machine ends."""
        self.program = program
        self._order = program.models.order
        functions = program.functions
        self._silent = {
            key
            for key, is_silent in zip(functions, silent.all(functions.values()), strict=True)
            if is_silent
        }
        self.runners = runners.find(program)
        self.candidates = self._reach_locks()

    def _ordering(self, key: str) -> Ordering:
        return self._order.functions.get(key.split("@", 1)[0], _NO_ORDERING)

    def takes(self, key: str) -> bool:
        """Whether a primitive takes a lock, or waits for one."""
        ordering = self._ordering(key)
        if ordering.attempt:
            return False
        if ordering.waits_for or ordering.runs is not None:
            return True
        model = self.program.model(key)
        return model is not None and any(not effect.section for effect in model.acquires)

    def _reach_locks(self) -> frozenset[str]:
        work = [name for name in self.program.callers if self.takes(name)]
        seen: set[str] = set()
        while work:
            for site in self.program.callers.get(work.pop(), ()):
                caller = site.caller
                if (
                    caller not in seen
                    and caller not in self._silent
                    and self.program.model(caller) is None
                    and not self._ordering(caller).attempt
                ):
                    seen.add(caller)
                    work.append(caller)
        return frozenset(seen)


def _silence(order: OrderModels) -> Callable[[Function], bool]:
    """Tells whether a function turns lockdep off, or runs when the machine goes down."""
    off = set(order.off)
    goes_down = re.compile("|".join(map(translate, order.not_below)) or r"(?!)").match

    def is_silent(function: Function) -> bool:
        return bool(goes_down(function.name)) or any(
            event[0] == "S" and event[2][0] == "f" and event[2][2] in off
            for events, _ in function.blocks
            for event in events
        )

    return is_silent


class LockWays:
    """Answers which locks functions take. Computed on demand, once each.

    taking: function → what it takes. ways: the ways in which it does, shortest first.
    UNSOUND: recursion is not followed: what a function takes when it is entered again, it takes the
    first time.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._order = analysis.program.models.order
        self._lock_records = analysis.program.models.lock_records
        self._reach: LockReach | None = None
        self._silent = PerFunction(_silence(self._order))
        self._runners = RunnerFinder(self._order)
        queries = analysis.queries
        self._is_candidate: Inputs[str, bool] = Inputs(
            queries, lambda key: key in self.reach.candidates
        )
        self._takes: Inputs[str, bool] = Inputs(queries, lambda key: self.reach.takes(key))
        self._runs: Inputs[str, frozenset[Runner]] = Inputs(
            queries, lambda place: self.reach.runners.get(place, frozenset())
        )
        settling = Settling(queries, self._settle)
        self.taking = FunctionQuery(settling, self._collect, _NOTHING)
        self._taking_alone = FunctionQuery(settling, self._collect_alone, _NOTHING)
        # What callers ask for: the states in `nested` are others whenever they are worked out.
        self.ways: FunctionQuery[str, tuple[LockWay, ...]] = FunctionQuery(
            settling, lambda key: self.taking(key).ways, (), once=False
        )
        self._ways_alone: FunctionQuery[str, tuple[LockWay, ...]] = FunctionQuery(
            settling, lambda key: self._taking_alone(key).ways, (), once=False
        )
        self._views = Views(analysis)

    @property
    def reach(self) -> LockReach:
        """What is known of the program as a whole."""
        if self._reach is None or self._reach.program is not self._program.latest:
            self._reach = LockReach(self._program.latest, self._silent, self._runners)
        return self._reach

    def _settle(self, cycle: Cycle) -> None:
        for key in cycle:
            self.taking(key)
            self._taking_alone(key)

    def _ordering(self, key: str) -> Ordering:
        return self._order.functions.get(key.split("@", 1)[0], _NO_ORDERING)

    def along(self, way: LockWay) -> Iterator[LockWay]:
        """A way, and those below it, down to the function that calls the primitive."""
        yield way
        while way.below is not None:
            ways = self._ways_alone if way.alone else self.ways
            way = ways(way.target)[way.below]
            yield way

    def _collect_alone(self, key: str) -> Taking:
        """What a function takes by itself.

        Work may wait for work that waits for it, so what is waited for is followed once.
        See fixtures/self-deadlock/good_works_wait.c. UNSOUND: a lock that is taken two waits away.
        """
        return self._collect(key, alone=True)

    def _collect(self, key: str, alone: bool = False) -> Taking:
        if not self._is_candidate(key):
            return _NOTHING
        nested: list[tuple[At, LockWay]] = []
        best: dict[tuple[Expr, str, int], list[LockWay]] = {}
        asks_for_last = any(
            self._ordering(target).last
            for call in self._program.calls[key].values()
            for target in call.targets
        )
        for number, call in sorted(self._program.calls[key].items()):
            if len(call.targets) > MAX_TARGETS:
                continue  # UNSOUND: see lockstate.doubts.unsure_whom
            targets = [t for t in call.targets if self._is_candidate(t) or self._takes(t)]
            if not targets:
                continue
            sure = len(call.targets) == 1 and self._analysis.is_certain(key, number)
            for at in self._analysis.states_at(key, number):
                holding = bool(at.state.held)
                for target in targets:
                    for way in self.at_call(key, number, target, at, alone):
                        if not sure:
                            last = way.last or asks_for_last
                            way = way._replace(maybes=way.maybes + 1, last=last)
                        if holding:
                            nested.append((at, way))
                        _keep(best, self._at_entry(way, at))
        ways = [way for same in best.values() for way in same]
        ways.sort(key=lambda way: (way.length, len(way.guard), way.loc, repr(way.lock)))
        return Taking(tuple(ways[:MAX_WAYS]), tuple(nested))

    def taken_at(self, key: str, number: int) -> Iterator[LockWay]:
        """What a call takes, in its caller's terms."""
        for at in self._analysis.states_at(key, number):
            for target in self._program.calls[key][number].targets:
                if self._is_candidate(target) or self._takes(target):
                    yield from self.at_call(key, number, target, at)

    def at_call(
        self, key: str, number: int, target: str, at: At, alone: bool = False
    ) -> Iterator[LockWay]:
        """What a call takes, in the caller's own terms; alone: not what it waits for."""
        call = self._program.calls[key][number]
        view = self._views.at(key, at)
        guard: tuple[Condition, ...] = view.guard
        if call.slot is not None:
            through = view.through(target)
            if through is False:
                return
            if through is not None:
                guard = (through, *guard)
        start = LockWay(
            ("class", ""), WRITE, NO_SUBCLASS, guard, self._dropped(at), frozenset(), number,
            call.event[1], target, call.slot, False, False, None, alone, 1, 0, False, False,
        )  # fmt: skip
        ordering = self._ordering(target)
        if ordering.runs is not None:
            if not alone:
                yield from self._waited(start, ordering, at)
            return
        model = self._program.model(target)
        if model is not None or ordering.waits_for:
            yield from self._primitive(start, model, ordering, at.terms[1:])
            return
        ways = self._ways_alone if alone else self.ways
        for below, way in enumerate(ways(target)):
            lifted = self._lift(way, below, start, view)
            if lifted is not None:
                yield lifted

    def _primitive(
        self,
        start: LockWay,
        model: FunctionModel | None,
        ordering: Ordering,
        args: tuple[Expr, ...],
    ) -> Iterator[LockWay]:
        for readers in ordering.waits_for:
            if readers.section is not None:
                yield start._replace(lock=readers.section, mode=GRACE)
            elif readers.argument is not None and readers.argument < len(args):
                yield start._replace(lock=self.lock_term(args[readers.argument]), mode=GRACE)
        if model is None or ordering.attempt:
            return
        subclass = _subclass(ordering, args)
        for effect in model.acquires:
            if effect.section:
                continue
            if effect.argument is None:
                term = effect.lock
            elif effect.argument < len(args):
                term = effect.in_object(args[effect.argument])
            else:
                continue
            if term is not None:
                yield start._replace(
                    lock=self.lock_term(term),
                    mode=effect.mode,
                    subclass=subclass,
                    backs_off=ordering.backs_off,
                    last=ordering.last,
                )

    def _waited(self, start: LockWay, ordering: Ordering, at: At) -> Iterator[LockWay]:
        """What the function of an object takes that a call waits for."""
        runs = ordering.runs
        assert runs is not None
        if runs.argument + 1 >= len(at.terms):
            return
        thing = at.terms[runs.argument + 1]
        if runs.inside:
            thing = at.state.evaluate(("f", thing, runs.inside))
        if runs.stored:
            thing = thing[1] if thing[0] == "l" else ("u",)
        runners = self._runs(member_of(thing) or "")
        if len({runner.function for runner in runners}) > (
            MAX_QUEUED if runs.stored else MAX_RUNNERS
        ):
            return
        for runner in sorted(runners, key=repr):
            key = runner.function
            given = tuple(map(at.state.evaluate, runner.argument(thing)))
            view = CallView(self._analysis, At(at.state, (("fn", key), *given)))
            waiting = start._replace(target=key, waits=True, waited=True, alone=True)
            for below, way in enumerate(self._ways_alone(key)):
                if way.mode != GRACE:
                    lifted = self._lift(way, below, waiting, view)
                    if lifted is not None:
                        yield lifted._replace(gates=frozenset())

    def _lift(self, way: LockWay, below: int, start: LockWay, view: CallView) -> LockWay | None:
        """A callee's way as the call's own, in the caller's terms; None if it cannot happen."""
        guard: list[Condition] = []
        for condition in way.guard:
            above = view.lift(condition)
            if above is False:
                return None
            if above is not None:
                guard.append(above)
        guard.extend(c for c in start.guard if c not in guard)
        lock = view.evaluate(way.lock)
        dropped = start.dropped
        if way.dropped:
            dropped = dropped | {self._term_or_class(lock, view) for lock in way.dropped}
        return start._replace(
            lock=self.lock_term(lock) if lock is not None else _class_of(way.lock),
            mode=way.mode,
            subclass=way.subclass,
            guard=tuple(guard[:MAX_GUARD]),
            dropped=dropped,
            gates=way.gates,
            waited=start.waited or way.waited,
            below=below,
            length=way.length + 1,
            maybes=way.maybes,
            last=way.last,
            backs_off=way.backs_off,
        )

    def _at_entry(self, way: LockWay, at: At) -> LockWay:
        """A way for callers: in entry terms, with the locks that are held around it."""
        state = at.state
        lock = way.lock
        if lock[0] not in ("section", "class") and not self._analysis.is_entry_value(state, lock):
            lock = _class_of(lock)
        dropped = way.dropped
        if dropped:
            dropped = frozenset(d if is_entry_term(d) else _class_of(d) for d in dropped)
        gates = way.gates
        if state.held:
            gates = gates | exclusive_classes(at)
        return way._replace(lock=lock, dropped=dropped, gates=gates)

    def _dropped(self, at: At) -> frozenset[Expr]:
        state = at.state
        if not state.dropped and not state.unsure:
            return frozenset()
        unsure = (lock for lock, doubt in state.unsure.items() if doubt.dropped)
        return frozenset((*state.dropped, *unsure))

    def _term_or_class(self, lock: Expr, view: CallView) -> Expr:
        term = view.evaluate(lock)
        return _class_of(lock) if term is None else self.lock_term(term)

    def lock_term(self, term: Expr) -> Expr:
        """The lock that a primitive was given: the outermost one."""
        term = strip_lock(term, self._lock_records)
        if term[0] == "g":
            return self._program.models.aliases.get(term[1], term)
        return term


_NOTHING = Taking((), ())


def exclusive_classes(at: At) -> frozenset[str]:
    """The classes of the locks that a state holds exclusively."""
    return frozenset(
        name
        for lock, held in at.state.held.items()
        if held.mode == WRITE and lock[0] != "section" and (name := class_name(lock)) is not None
    )


def _keep(best: dict[tuple[Expr, str, int], list[LockWay]], way: LockWay) -> None:
    """Add a way unless a better one is known: one for each lock, and another guard."""
    if way.lock == ("class", ""):
        return
    same = best.setdefault((way.lock, way.mode, way.subclass), [])
    conditions = set(way.guard)
    for other in same:
        if (
            set(other.guard) <= conditions
            and other.dropped <= way.dropped
            and (way.last or not other.last)
            and (other.length <= way.length or len(other.guard) < len(way.guard))
        ):
            return
    same.append(way)
    same.sort(key=_rank)
    del same[MAX_FOR_LOCK:]


def _rank(way: LockWay) -> tuple[bool, int, int, int, int, int]:
    return way.last, len(way.dropped), min(len(way.guard), 1), way.maybes, way.length, way.loc


def _class_of(lock: Expr) -> Expr:
    return ("class", class_name(lock) or "")


def class_name(lock: Expr) -> str | None:
    """The name of a lock's class, as lock_class() has it; `a.b` for a member of a nested struct."""
    name = lock_class(lock)
    if name is None:
        return None
    while lock[0] in ("i", "l"):
        lock = lock[1]
    if lock[0] != "f":
        return name
    record, member = name.split(".", 1)
    inside = lock[1]
    while inside[0] in ("i", "f"):
        if inside[0] == "f":
            if not inside[2].startswith(f"{record}."):
                break
            member = f"{inside[2].split('.', 1)[1]}.{member}"
        inside = inside[1]
    return f"{record}.{member}"


def _subclass(ordering: Ordering, args: tuple[Expr, ...]) -> int:
    if ordering.subclass is None or ordering.subclass >= len(args):
        return NO_SUBCLASS
    given = args[ordering.subclass]
    return int(given[1]) if given[0] == "k" else ANY_SUBCLASS
