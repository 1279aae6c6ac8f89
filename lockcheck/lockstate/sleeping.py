"""May-sleep: which functions may sleep, by which call, under which arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from lockcheck.callgraph.components import components
from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.context_tests import ContextTests
from lockcheck.lockstate.doubts import MAX_TARGETS
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.state import State
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import is_entry_term, substitute
from lockcheck.models.loader import FunctionModel, Models
from lockcheck.queries import Inputs, Query

MAX_WAYS = 4  # different guards kept for one function
ATOMIC = "atomic context"  # the section, as models name it
MAX_TURNS = 4  # how often functions that call each other in a circle are looked at
ANY_NUMBER = 100  # of sections that may have been left
NOTHING: frozenset[str] = frozenset()


class SleepWay(NamedTuple):
    """One way in which a function may sleep.

    guard: over the function's entry terms; empty: always possible.
    call, loc: the call in this function that sleeps or leads to sleep.
    target: the function called there; slot: how, when the call is indirect.
    below: the way of the target, None when it is a modelled primitive.
    because: why the primitive sleeps. lock: the lock that it takes, as an expression of the
        calling function, None when it takes none.
    length: calls down to the primitive.
    dropped: sections of the caller's that are left at the time, and how often.
    denied: sections of which a branch on the way has said that they are not entered.
    own: the way is in a section that a function on it has entered itself.
    maybes: how many functions on the way, above the lowest, go on under conditions only.
    by_context: whether a branch on the way asks in which context the kernel is (see models).
    """

    guard: tuple[Condition, ...]
    call: int
    loc: int
    target: str
    slot: str | None
    below: SleepWay | None
    because: str
    length: int
    lock: Expr | None = None
    dropped: tuple[tuple[str, int], ...] = ()
    denied: frozenset[str] = NOTHING
    own: bool = False
    maybes: int = 0
    by_context: bool = False


_Ways = dict[str, tuple[SleepWay, ...]]


class SleepReach:
    """From which functions of a program calls lead to sleep, whatever the arguments.

    circles: for each of them those that call each other in a circle with it, callees first.
    """

    def __init__(self, program: Program, is_end: Callable[[str], bool]) -> None:
        """`is_end`: whether a function is a primitive that sleeps."""
        self.program = program
        self.candidates = self._reach_sleepers(is_end)
        self.circles = self._find_circles()

    def _reach_sleepers(self, is_end: Callable[[str], bool]) -> frozenset[str]:
        work = [name for name in self.program.callers if is_end(name)]
        seen: set[str] = set()
        while work:
            for site in self.program.callers.get(work.pop(), ()):
                if site.caller not in seen and self.program.model(site.caller) is None:
                    seen.add(site.caller)
                    work.append(site.caller)
        return frozenset(seen)

    def _find_circles(self) -> dict[str, tuple[str, ...]]:
        graph = {
            key: [
                target
                for call in self.program.calls[key].values()
                for target in call.targets
                if target in self.candidates
            ]
            for key in sorted(self.candidates)
        }
        found: dict[str, tuple[str, ...]] = {}
        for component in components(graph):
            members = tuple(_callees_first(graph, component))
            for member in members:
                found[member] = members
        return found


def _callees_first(graph: Mapping[str, list[str]], component: list[str]) -> Iterator[str]:
    """The nodes of a component in postorder, from the first by name."""
    inside = set(component)
    seen = {min(component)}
    path = [(min(component), iter(graph[min(component)]))]
    while path:
        node, rest = path[-1]
        for child in rest:
            if child in inside and child not in seen:
                seen.add(child)
                path.append((child, iter(graph[child])))
                break
        else:
            path.pop()
            yield node


class SleepAnalysis:
    """Answers whether functions may sleep. Computed on demand, once each."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._reach = SleepReach(self._program.latest, self._is_end)
        queries = analysis.queries
        self._circle: Inputs[str, tuple[str, ...]] = Inputs(
            queries, lambda key: self._latest_reach().circles.get(key, ())
        )
        self._in_circle = Query(queries, self._find_in_circle)
        self._turning: list[_Ways] = []  # what is known so far in circles that are looked at
        self._atomic = frozenset(atomic_sections(self._program.models))
        self._context_tests = ContextTests(self._program.models.context_variables)
        constants = self._program.models.constants
        self._masks = frozenset(("k", value) for value in constants.values())

    def _is_end(self, name: str) -> bool:
        """Whether a function is a primitive that is looked for."""
        model = self._program.models.functions.get(name.split("@", 1)[0])
        return model is not None and model.sleeps is not None

    def _latest_reach(self) -> SleepReach:
        if self._reach.program is not self._program.latest:
            self._reach = SleepReach(self._program.latest, self._is_end)
        return self._reach

    def ways(self, key: str) -> tuple[SleepWay, ...]:
        """The ways in which a function may sleep, shortest first."""
        for known in self._turning:
            if key in known:
                return known[key]
        members = self._circle(key)
        return self._in_circle(members)[key] if members else ()

    def _find_in_circle(self, members: tuple[str, ...]) -> _Ways:
        """The ways of functions that call each other, or of one alone."""
        ways: _Ways = dict.fromkeys(members, ())
        self._turning.append(ways)
        try:
            turns = len(members) > 1 or members[0] in self._callees(members[0])
            for _ in range(MAX_TURNS if turns else 1):
                changed = False
                for member in members:
                    found = _shortest(self._collect(member))
                    changed = changed or ways[member] != found
                    ways[member] = found
                if not changed:
                    break
        finally:
            self._turning.pop()
        return ways

    def _callees(self, key: str) -> Iterator[str]:
        for call in self._program.calls[key].values():
            yield from call.targets

    def at(self, key: str, number: int) -> Iterator[tuple[At, SleepWay]]:
        """The ways in which a call of a function may lead to sleep, in each of its states."""
        call = self._program.calls[key][number]
        for target in call.targets:
            for at in self._analysis.states_at(key, number):
                for way in self._at_call(key, number, call.event[1], target, call.slot, at):
                    yield at, way

    def may_sleep(self, key: str) -> bool:
        """Whether calls lead from a function to a primitive that sleeps, whatever the arguments."""
        model = self._program.model(key)
        if model is not None:
            return model.sleeps is not None
        return bool(self._circle(key))

    def guards_from(
        self, way: SleepWay, path: tuple[tuple[str, int], ...]
    ) -> list[tuple[Condition, ...]]:
        """The guards that a way leaves at the top of a path of calls, none if it cannot happen.

        path: (caller, call) from the top down; the last call enters the function of the way.
        """
        guards = [way.guard]
        for key, number in reversed(path):
            lifted = {
                above
                for at in self._analysis.states_at(key, number)
                for guard in guards
                if (above := self._lift(guard, at, at.terms[1:])) is not None
            }
            guards = sorted(lifted, key=repr)[:MAX_WAYS]
        return guards

    def hangs_on_flags(self, guard: tuple[Condition, ...]) -> bool:
        """Whether a guard asks for flags that nobody on the way has told."""
        return any(map(self.is_about_flags, guard))

    def is_about_flags(self, condition: Condition) -> bool:
        """Whether a condition asks for the bits by which an allocation may sleep."""
        term = condition.term
        return bool(term[0] == "o" and term[1] == "&" and term[3] in self._masks)

    def _collect(self, key: str) -> list[SleepWay]:
        found: list[SleepWay] = []
        for number, call in sorted(self._program.calls[key].items()):
            if len(call.targets) > MAX_TARGETS:
                continue  # UNSOUND: a field that every kind of object has; see doubts.unsure_whom
            for target in call.targets:
                for at in self._analysis.states_at(key, number):
                    found.extend(self._at_call(key, number, call.event[1], target, call.slot, at))
        return found

    def _at_call(
        self, key: str, number: int, loc: int, target: str, slot: str | None, at: At
    ) -> list[SleepWay]:
        through: tuple[Condition, ...] = ()
        if slot is not None:
            callee = at.terms[0]
            if callee[0] == "fn" and callee[1] != target and callee[1] in self._program.functions:
                return []
            if callee[0] != "fn" and self._analysis.is_entry_value(at.state, callee):
                through = (Condition(callee, ("fn", target), True),)
        args = at.terms[1:]
        denied = sections_denied(at.state)
        entered = sections_entered(at.state, self._atomic)
        ended = self._end(key, number, loc, target, slot, at)
        if ended is not None:
            return ended
        found: list[SleepWay] = []
        for way in self.ways(target):
            if entered.keys() & way.denied:
                continue
            guard = self._lift(way.guard, at, args)
            if guard is not None:
                maybe = not self._analysis.is_certain(key, number)
                found.append(
                    SleepWay(
                        (*through, *guard), number, loc, target, slot, way, way.because,
                        way.length + 1, None,
                        left_above(at.state, way.dropped), denied | way.denied,
                        way.own or bool(still_entered(entered, way.dropped)), way.maybes + maybe,
                        way.by_context or self._asks_context(at.state, guard),
                    )
                )  # fmt: skip
        return found

    def _end(
        self, key: str, number: int, loc: int, target: str, slot: str | None, at: At
    ) -> list[SleepWay] | None:
        """The ways that end at a call of a function with a model, None for another function."""
        model = self._program.model(target)
        if model is None:
            return None
        entered = sections_entered(at.state, self._atomic)
        if model.sleeps is None or entered.keys() & model.sleeps.not_in:
            return []
        leaves = tuple((name, 1) for name in model.sleeps.leaves)
        lock = _lock_argument(model, self._program.calls[key][number].event[4])
        return [
            SleepWay(
                guard, number, loc, target, slot, None, model.sleeps.because, 1, lock,
                left_above(at.state, leaves), sections_denied(at.state) | model.sleeps.not_in,
                bool(still_entered(entered, leaves)), 0, self._asks_context(at.state, guard),
            )
            for guard in self._primitive(model, at, at.terms[1:])
        ]  # fmt: skip

    def _primitive(
        self, model: FunctionModel, at: At, args: tuple[Expr, ...]
    ) -> list[tuple[Condition, ...]]:
        """The guards under which a primitive sleeps, none when it does not."""
        sleeps = model.sleeps
        if sleeps is None:
            return []
        if sleeps.when_zero is not None:
            return self._if_zero(at, args[sleeps.when_zero : sleeps.when_zero + 1])
        if sleeps.argument is None:
            return [self._analysis.entry_guard(at.state)]
        if sleeps.argument >= len(args):
            return []
        flags = args[sleeps.argument]
        mask = self._program.models.constants[sleeps.flag]
        if flags[0] != "ite" or not is_entry_term(flags[1]):
            guard = self._with_flags(at, flags, mask)
            return [] if guard is None else [guard]
        guards: list[tuple[Condition, ...]] = []
        for chosen, is_zero in ((flags[2], False), (flags[3], True)):
            guard = self._with_flags(at, chosen, mask)
            if guard is not None:
                guards.append((*guard, Condition(flags[1], ("k", 0), is_zero)))
        return guards

    def _if_zero(self, at: At, argument: tuple[Expr, ...]) -> list[tuple[Condition, ...]]:
        """The guard under which an argument is zero, none when nobody can say that it is."""
        if not argument:
            return []
        guard = self._analysis.entry_guard(at.state)
        truth = at.state.decide(argument[0])
        if truth is None and self._analysis.is_entry_value(at.state, argument[0]):
            return [(*guard, Condition(argument[0], ("k", 0), True))]
        return [guard] if truth is False else []

    def _with_flags(self, at: At, flags: Expr, mask: int) -> tuple[Condition, ...] | None:
        """The guard under which `flags` has the bits of `mask`, None when it has not."""
        truth = _has_bits(flags, mask)
        flags = _reduced(flags, mask)
        bits = at.state.evaluate(("o", "&", flags, ("k", mask)))
        if truth is None:
            truth = at.state.decide(bits)
        if truth is False:
            return None
        guard = self._analysis.entry_guard(at.state)
        if truth is True:
            return guard
        if not self._analysis.is_entry_value(at.state, bits):
            return None  # UNSOUND: flags that nobody can say are taken for ones that do not sleep
        return (*guard, Condition(bits, ("k", 0), False))

    def _asks_context(self, state: State, guard: tuple[Condition, ...]) -> bool:
        return self._context_tests.any_in((*state.facts, *(c.term for c in guard)))

    def _may_point(self, term: Expr, function: str) -> bool:
        """Whether a pointer may lead to a function: one of a field, if one of the few there."""
        if term[0] != "l" or term[1][0] != "f":
            return bool(term[0] == "p")
        targets = self._program.callbacks(term[1][2])
        return bool(function in targets)

    def _lift(
        self, guard: tuple[Condition, ...], at: At, args: tuple[Expr, ...]
    ) -> tuple[Condition, ...] | None:
        lifted: list[Condition] = []
        for condition in guard:
            term = substitute(condition.term, args)
            if term is None:
                if self.is_about_flags(condition):
                    return None
                continue
            if self.is_about_flags(condition):
                if term[0] == "k" and term[1]:
                    continue
                _, _, flags, mask = condition.term
                passed = substitute(flags, args)
                there = None if passed is None else self._with_flags(at, passed, mask[1])
                if there is None:
                    return None
                lifted.extend(c for c in there if self.is_about_flags(c))
                continue
            term = at.state.evaluate(term)
            truth = at.state.decide(("o", "==", term, condition.value))
            if truth is None:
                if condition.value[0] == "fn" and not self._may_point(term, condition.value[1]):
                    return None
                if self._analysis.is_entry_value(at.state, term):
                    lifted.append(Condition(term, condition.value, condition.equal))
            elif truth != condition.equal:
                return None
        lifted.extend(c for c in self._analysis.entry_guard(at.state) if c not in lifted)
        return tuple(lifted)


def atomic_sections(models: Models) -> tuple[str, ...]:
    """The sections in which nothing may sleep."""
    return tuple(models.section(ATOMIC)[2])


def sections_entered(state: State, names: frozenset[str]) -> dict[str, int]:
    """The sections that a function has surely entered itself and not left, and how often.

    One of its caller's that it has left and entered again counts.
    """
    found: dict[str, int] = {}
    for entered in (state.held, state.retaken):
        for lock, held in entered.items():
            if lock[0] == "section" and lock[1] in names and lock not in state.unsure:
                found[lock[1]] = found.get(lock[1], 0) + held.depth
    return found


def still_entered(entered: Mapping[str, int], left: tuple[tuple[str, int], ...]) -> list[str]:
    """The sections that are still entered after some were left."""
    if not entered:
        return []
    counts = dict(left)
    return [name for name, depth in entered.items() if depth > counts.get(name, 0)]


def left_above(
    state: State, below: tuple[tuple[str, int], ...] = ()
) -> tuple[tuple[str, int], ...]:
    """The sections of its caller that a function, and what it calls, have left, or may have."""
    found = {
        name: left
        for name, count in below
        if (left := count - (h.depth if (h := state.held.get(("section", name))) else 0)) > 0
    }
    for lock, held in state.dropped.items():
        if lock[0] == "section":
            found[lock[1]] = found.get(lock[1], 0) + held.depth
    for lock, doubt in state.unsure.items():
        if doubt.dropped and lock[0] == "section":
            found[lock[1]] = ANY_NUMBER
    return tuple(sorted(found.items())) if found else ()


def sections_denied(state: State) -> frozenset[str]:
    """The sections of which branches have said that they are not entered."""
    denied: set[str] = set()
    for term, fact in state.facts.items():
        if term[0] == "held" and fact.equal == 0 and term[1][0] == "section":
            denied.update(term[1][2] if len(term[1]) > 2 else term[1][1:2])
    return frozenset(denied) if denied else NOTHING


def _lock_argument(model: FunctionModel, args: tuple[Expr, ...]) -> Expr | None:
    for effect in model.acquires:
        if effect.argument is not None and effect.argument < len(args):
            return args[effect.argument]
    return None


def _reduced(flags: Expr, mask: int) -> Expr:
    """The flags without what says nothing of the bits of `mask`."""
    if flags[0] == "o" and flags[1] in ("&", "|") and flags[3][0] == "k":
        kept = flags[3][1] & mask
        if kept == (0 if flags[1] == "|" else mask):
            return _reduced(flags[2], mask)
    if flags[0] == "ite":
        parts = (_reduced(flags[2], mask), _reduced(flags[3], mask))
        if parts[0] == parts[1]:
            return parts[0]
    return flags


def _has_bits(flags: Expr, mask: int) -> bool | None:
    """Whether flag arithmetic leaves the bits of `mask` set, if its form tells."""
    if flags[0] == "k":
        return bool(flags[1] & mask)
    if flags[0] == "ite":
        both = {_has_bits(flags[2], mask), _has_bits(flags[3], mask)}
        return both.pop() if len(both) == 1 else None
    if flags[0] == "o" and flags[1] in ("&", "|"):
        parts = (_has_bits(flags[2], mask), _has_bits(flags[3], mask))
        decisive = bool(flags[1] == "|")
        if decisive in parts:
            return decisive
        if parts == (not decisive, not decisive):
            return not decisive
    return None


def _shortest(ways: list[SleepWay]) -> tuple[SleepWay, ...]:
    """The shortest way for each call and guard, and no guard that a weaker one covers."""
    kept: list[SleepWay] = []
    for way in sorted(ways, key=_rank):
        conditions = set(way.guard)
        if any(o.call == way.call and _is_weaker(o, way, conditions) for o in kept):
            continue
        kept.append(way)
        if len(kept) == MAX_WAYS:
            break
    return tuple(kept)


def _rank(way: SleepWay) -> tuple[object, ...]:
    doubtful = bool(way.dropped or way.denied or way.own or way.by_context)
    return len(way.guard) > 0, doubtful, way.maybes, way.length, way.loc, way.target


def _is_weaker(a: SleepWay, b: SleepWay, conditions: set[Condition]) -> bool:
    """Whether a way is possible wherever another one is."""
    return (
        set(a.guard) <= conditions
        and all(count <= dict(b.dropped).get(name, 0) for name, count in a.dropped)
        and a.denied <= b.denied
        and a.own <= b.own
        and a.by_context <= b.by_context
    )
