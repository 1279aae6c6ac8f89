"""Lock states of the whole program, solved on demand and bottom-up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

import msgspec

from lockcheck.callgraph.effects import stored_field
from lockcheck.callgraph.program import Program
from lockcheck.facts.folding import is_local
from lockcheck.facts.ir import UNKNOWN, Event, Expr, Function
from lockcheck.lockstate.asked_if import asked_if
from lockcheck.lockstate.balance import settle
from lockcheck.lockstate.flow import certain_calls
from lockcheck.lockstate.freshness import Freshness
from lockcheck.lockstate.guards import guard, held_conditions
from lockcheck.lockstate.memory import Memory
from lockcheck.lockstate.solver import At, Return, Solved, Solver
from lockcheck.lockstate.state import Fact, Held, State
from lockcheck.lockstate.summary import NO_SUMMARY, Condition, Exit, Summary, Unsure, join
from lockcheck.lockstate.terms import (
    is_entry_term,
    is_small,
    lock_class,
    object_root,
    root,
    surely_different,
)
from lockcheck.lockstate.transfer import Oracle
from lockcheck.lockstate.values import reads_memory
from lockcheck.models.loader import FunctionModel
from lockcheck.queries import Cycle, FunctionQuery, Query, Settling

MAX_EXITS = 8  # ways of leaving a function that its callers tell apart
_PURE_PARAMETERS = 3
_PURE_BLOCKS = 16
_SMALL = 8  # blocks of a function whose result is worth following


class Analysis:
    """Answers for functions of one program. Everything is computed once.

    solved: function → its states. Of one that was read.
    summary: function → what a call of it does to locks, and what it returns.
    is_query_helper: function → whether it is small and may return what it asked about locks.
    is_pure: function → whether it only looks: small, no loop, no store outside itself, as its
        callees. Its result is the same for the same arguments while nothing that it reads is
        stored to.
    only_asserts: function → whether it is a helper that makes an assertion, and does nothing else.
    asserts_sometimes: function → the classes of locks that it asserts under a condition, by way of
        helpers.
    or_else_helpers: function → those that it calls which assert locks unless something else is so,
        each with the classes of these locks.
    """

    def __init__(self, program: Program, watched: frozenset[str] = frozenset()) -> None:
        """`watched`: names of functions whose calls leave a mark in the state."""
        self.program = program
        queries = self.queries = program.queries
        settling = self.settling = Settling(queries, self._settle)
        # A function that is being summarised already (recursion) counts as doing nothing.
        # UNSOUND: recursion through a function with a net effect on locks.
        self.summary = FunctionQuery(settling, self._summarise_if_any, NO_SUMMARY)
        self.solved: FunctionQuery[str, Solved] = FunctionQuery(
            settling, self._solve, None, once=False
        )
        self.is_query_helper = FunctionQuery(settling, self._is_query_helper, False)
        self.is_pure = FunctionQuery(settling, self._is_pure, False)
        self.only_asserts = FunctionQuery(settling, self._only_asserts, False)
        self.asserts_sometimes = Query(queries, self._asserts_sometimes)
        self._asserts_or_else = Query(queries, self._find_or_else)
        self.or_else_helpers = Query(queries, self._find_or_else_helpers)
        self._conditions = Query(queries, self._asked_if)
        self._certain = Query(queries, self._certain_calls)
        self._is_entry: dict[Expr, bool] = {}
        self._freshness = Freshness(self)
        self.is_unshared = self._freshness.is_unshared
        self.memory = Memory(program.effects, program.models.back_pointers, program.fixed)
        self._oracle = Oracle(
            models=program.models,
            model=program.model,
            summary=self.summary,
            targets=self._targets,
            memory=self.memory,
            is_zeroed=self._freshness.is_zeroed,
            is_new=self._freshness.is_new_result,
            publishes=self._freshness.passing_publishes,
            watched=watched,
            is_query_helper=self.is_query_helper,
            is_pure=self.is_pure,
        )

    def _settle(self, cycle: Cycle) -> None:
        """Work out all that is asked of functions that call each other, in a fixed order."""
        members = [member for member in cycle if self.program.model(member) is None]
        for member in members:
            self.is_query_helper(member)
            self.summary(member)
        for member in members:
            self.solved(member)
            self.is_pure(member)
            self.only_asserts(member)
            self._freshness.settle(member, len(self.function(member).params))

    def _targets(self, key: str, number: int) -> tuple[str, ...]:
        call = self.program.calls.get(key, {}).get(number)
        return () if call is None else call.targets

    def function(self, key: str) -> Function:
        return self.program.functions[key]

    def _solve(self, key: str) -> Solved:
        return Solved(self, key)

    def solver(self, key: str) -> Solver:
        """What solves a function."""
        return Solver(self.function(key), self._oracle)

    def is_settled(self, key: str) -> bool:
        """Whether all lock states of a function, and its ways out, were followed."""
        return self.solved(key).settled and self.summary(key).settled

    def unsettled(self) -> list[str]:
        """The functions that were asked about and of which some states were not followed."""
        found = [n for n in self.solved.known() if not n.stale and not n.value.settled]
        found += [n for n in self.summary.known() if not n.stale and not n.value.settled]
        if found and self.queries.tracking:
            live = self.queries.live()
            found = [node for node in found if node in live]
        return sorted({node.key for node in found})

    def states_at(self, key: str, call: int) -> list[At]:
        return self.solved(key).calls.get(call, [])

    def _is_query_helper(self, key: str) -> bool:
        function = self.function(key)
        return (
            len(function.blocks) <= _SMALL
            and not function.loops
            and any(self._asks(target) for target in self._direct_callees(function))
            and not any(self._asserts(target) for target in self._direct_callees(function))
        )

    def _is_pure(self, key: str) -> bool:
        function = self.program.functions.get(key)
        model = self.program.model(key)
        return (model is not None and model == FunctionModel(called=model.called)) or (
            function is not None
            and model is None
            and 0 < len(function.params) <= _PURE_PARAMETERS
            and len(function.blocks) <= _PURE_BLOCKS
            and not function.loops
            and all(is_local(e[2]) for b, _ in function.blocks for e in b if e[0] == "S")
            and all(self.is_pure(target) for target in self._direct_callees(function))
            and all(call.targets for call in self.program.calls[key].values())
        )

    def asked_if(self, at: At, key: str, loc: int) -> frozenset[Expr]:
        """The values, as a state has them, that decide whether an assertion is made.

        Those of parameters are left out: what callers pass decides them.
        """
        conditions = self._conditions((key, loc))
        if not conditions:
            return frozenset()  # mostly: then the state is not copied
        return frozenset(
            term
            for term in decided_terms(at.state, conditions)
            if not is_entry_term(term) or reads_memory(term)
        )

    def _asserts_sometimes(self, key: str) -> frozenset[str]:
        found: set[str] = set()
        for call in self.program.calls[key].values():
            for target in call.targets:
                if not self._is_helper(target) or not self._conditions((key, call.event[1])):
                    continue
                for exit_ in self.summary(target).exits:
                    locks = (c.term[1] for c in exit_.guard if c.term[0] == "held")
                    found.update(lock_class(lock) or "" for lock in locks)
        return frozenset(found - {""})

    def _find_or_else_helpers(self, key: str) -> tuple[tuple[str, frozenset[str]], ...]:
        targets = {t for call in self.program.calls[key].values() for t in call.targets}
        found = ((target, self._asserts_or_else(target)) for target in sorted(targets))
        return tuple(pair for pair in found if pair[1])

    def _find_or_else(self, key: str) -> frozenset[str]:
        """The classes of locks in whose place a small function takes something else, too."""
        function = self.program.functions.get(key)
        if function is None or self.program.model(key) or not self._makes_assertion(function):
            return frozenset()
        found: set[str] = set()
        for number, call in self.program.calls[key].items():
            if not any(map(self._asserts, call.targets)):
                continue
            for at in self.states_at(key, number):
                if any(map(self.is_no_lock, looked_at(function, call.event[1], at.state))):
                    missing = (t[1] for t, f in at.state.facts.items() if t[0] == "held")
                    found.update(lock_class(lock) or "" for lock in missing)
        return frozenset(found - {""})

    def is_no_lock(self, term: Expr) -> bool:
        """Whether a value that an assertion looks at could meet it in place of a lock.

        A counter is no such value: that nobody holds a reference any more is known where it is so.
        """
        return term[0] not in ("k", "held") and not self.counts(term)

    def counts(self, term: Expr) -> bool:
        """Whether a value is computed from a counter of references."""
        if term[0] == "l" and term[1][0] == "f":
            return self.program.effects.is_counter(term[1][2])
        return any(self.counts(part) for part in term[1:] if type(part) is tuple and part)

    def _is_helper(self, key: str) -> bool:
        return key in self.program.functions and self.only_asserts(key)

    def _asked_if(self, place: tuple[str, int]) -> tuple[Expr, ...]:
        key, loc = place
        return asked_if(self.function(key), loc, self._only_looks, self.only_asserts(key))

    def _only_looks(self, event: Event) -> bool:
        if event[0] == "C":
            callee = event[3]
            return bool(callee[0] == "fn") and (
                self._asserts(callee[1])
                or self._asks(callee[1])
                or self.is_pure(callee[1])
                or self._is_helper(callee[1])
            )
        return bool(event[0] in ("R", "A") or event[2][0] == "v")

    def _direct_callees(self, function: Function) -> Iterator[str]:
        for call in self.program.calls.get(function.key, {}).values():
            yield from call.targets

    def _only_asserts(self, key: str) -> bool:
        blocks = self.function(key).blocks
        return (
            self._makes_assertion(self.function(key))
            and all(self._only_looks(event) for events, _ in blocks for event in events)
            and not any(end[0] == "ret" and end[1] is not None for _, end in blocks)
        )

    def _makes_assertion(self, function: Function) -> bool:
        return (
            len(function.blocks) <= _SMALL
            and not function.loops
            and any(
                self._asserts(target) or self._is_helper(target)
                for target in self._direct_callees(function)
            )
        )

    def _asserted_by(self, function: Function, solved: Solved) -> tuple[Condition, ...]:
        """What is held when a small function returns, because it asserts that."""
        if not solved.returns or not self._makes_assertion(function):
            return ()
        held = [set(held_conditions(returned.state)) for returned in solved.returns]
        return tuple(
            sorted(
                (
                    condition
                    for condition in set.intersection(*held)
                    if condition.value == ("k", 1) and condition.term[1][0] != "section"
                ),
                key=repr,
            )
        )

    def _asserts(self, key: str) -> bool:
        model = self.program.model(key)
        return model is not None and bool(model.asserts)

    def _asks(self, key: str) -> bool:
        model = self.program.model(key)
        if model is not None:
            return model.query is not None
        return key in self.program.functions and self.is_query_helper(key)

    def is_certain(self, key: str, call: int) -> bool:
        """Whether every way through a function makes a call."""
        return call in self._certain(key)

    def _certain_calls(self, key: str) -> frozenset[int]:
        return certain_calls(self.function(key))

    def are_apart(self, a: Expr, b: Expr) -> bool:
        """Whether two lock terms surely name different objects."""
        if surely_different(a, b):
            return True
        if "g" not in (root(a)[0], root(b)[0]):
            return False
        return self.program.secluded(a) != self.program.secluded(b)

    # -- summaries -----------------------------------------------------------------------------

    def _summarise_if_any(self, key: str) -> Summary:
        function = self.program.functions.get(key)
        if function is None or not self._is_interesting(function):
            return NO_SUMMARY
        return self._summarise(function)

    def _is_interesting(self, function: Function) -> bool:
        """Whether a function can change the lockset, or is small enough to follow its result."""
        if len(function.blocks) <= _SMALL and not function.loops:
            return True
        for call in self.program.calls[function.key].values():
            for target in call.targets:
                model = self.program.model(target)
                if model is not None:
                    if model.locks:
                        return True
                elif self.summary(target).has_effect:
                    return True
        return False

    def _summarise(self, function: Function) -> Summary:
        solved = self.solved(function.key)
        exits: dict[object, Exit] = {}
        asks = self.is_query_helper(function.key)
        for returned in solved.returns:
            exit_ = self._exit(returned)
            key: tuple[object, ...] = (exit_.acquired, exit_.released, exit_.truth)
            if asks:
                held = held_conditions(returned.state)
                exit_ = msgspec.structs.replace(exit_, guard=(*held, *exit_.guard))
                key = (*key, held)
            known = exits.get(key)
            exits[key] = exit_ if known is None else join(known, exit_)
        found = settle(_told_by_null(tuple(exits.values())))
        if not any(exit_.has_effect for exit_ in found) and not (asks and len(found) > 1):
            only = reduce(join, found) if found else None
            if only is None:
                return NO_SUMMARY
            held = self._asserted_by(function, solved)
            if only.result is None and not (only.fields or only.stores or held):
                return NO_SUMMARY
            return Summary((Exit(held, (), (), only.result, None, only.fields, (), only.stores),))
        if len(found) > MAX_EXITS:
            found = _whatever_they_return(found)
        if len(found) > MAX_EXITS:
            # UNSOUND: too many ways to leave; those that change least are kept.
            found = tuple(sorted(found, key=lambda e: len(e.acquired) + len(e.released)))
        return Summary(found[:MAX_EXITS], len(found) <= MAX_EXITS)

    def _exit(self, returned: Return) -> Exit:
        state, value = returned.state, returned.value
        acquired = _effects(state.held)
        released = _effects(state.dropped)
        fields = _fields(returned)
        if fields:
            value = None  # a struct by value: what counts is its members
        truth = None if value is None else state.decide(value)
        result = value if value is not None and is_entry_term(value) else None
        unsure = tuple(
            sorted(
                (
                    Unsure(_entry_lock(t), doubt.mode, taken, doubt.levels - 1)
                    for t, doubt in state.unsure.items()
                    for taken in (True, False)
                    if doubt.levels > 1 and (doubt.taken if taken else doubt.dropped)
                ),
                key=repr,
            )
        )
        stores = tuple(
            (address, value)
            for address, value in state.stores.items()
            if object_root(address)[0] == "p" and self.is_entry_value(state, value)
        )
        return Exit(
            self.entry_guard(state), acquired, released, result, truth, fields, unsure, stores
        )

    # -- guards --------------------------------------------------------------------------------

    def is_entry_value(self, state: State, term: Expr, fact: Fact | None = None) -> bool:
        """Whether a term still says what it said at entry: nothing it loads was stored since.

        fact: what is known of its value now, when all that is ever stored there is other than that,
        nothing was.
        """
        effects = self.program.effects
        is_entry = self._is_entry.get(term)
        if is_entry is None:
            is_entry = self._is_entry[term] = is_entry_term(term) and is_small(term)
        if not is_entry:
            return False
        reads = effects.remembered.get(term)
        if reads is None:
            reads = effects.read_by(term)
        if not reads & state.stored:
            return True
        if fact is None or fact.equal is None or term[0] != "l":
            return False
        name = stored_field(term[1])
        return (
            name is not None
            and not effects.read_by(term[1]) & state.stored
            and not effects.may_store(name, fact.equal)
        )

    def entry_guard(self, state: State) -> tuple[Condition, ...]:
        """What branches have said so far about the values at entry, nearest to them first."""
        return guard(state, lambda term, fact: self.is_entry_value(state, term, fact))


def decided_terms(state: State, values: Iterable[Expr]) -> Iterator[Expr]:
    """The terms of those values whose truth a state knows, without negations.

    A value that a branch has pinned to a number is wanted as what it is, not as the number.
    """
    unpinned = state.copy()
    unpinned.facts = {}
    for value in values:
        term = unpinned.evaluate(value)
        while term[0] == "o1" and term[1] == "!":
            term = term[2]
        if state.decide(term) is not None:
            yield term


def looked_at(function: Function, loc: int, state: State) -> Iterator[Expr]:
    """What an assertion at a place of a function has looked at to get to a state."""
    return decided_terms(
        state, (end[1] for _, end in function.blocks if end[0] == "br" and end[4] == loc)
    )


def _effects(locks: Mapping[Expr, Held]) -> tuple[tuple[Expr, str], ...]:
    """Locks that were taken, or dropped, as callers understand them: as often as it was done."""
    return tuple(
        sorted(
            ((_entry_lock(t), h.mode) for t, h in locks.items() for _ in range(h.depth)), key=repr
        )
    )


def _entry_lock(term: Expr) -> Expr:
    """A lock term that callers understand: itself, or its class when the instance is unknown."""
    if is_entry_term(term):
        return term
    return ("class", lock_class(term) or "an unknown lock")


def _whatever_they_return(exits: tuple[Exit, ...]) -> tuple[Exit, ...]:
    """Exits that do the same to locks as one, so that fewer are left."""
    kept: dict[object, Exit] = {}
    for exit_ in exits:
        known = kept.get((exit_.acquired, exit_.released))
        kept[exit_.acquired, exit_.released] = exit_ if known is None else join(known, exit_)
    return tuple(kept.values())


def _told_by_null(exits: tuple[Exit, ...]) -> tuple[Exit, ...]:
    """Exits of a function that returns NULL, or zero, where it has not taken the lock.

    What it returns with the lock, when that is computed, is not NULL: nobody could tell otherwise.
    """
    without = [exit_ for exit_ in exits if not exit_.acquired]
    if not without or any(exit_.truth is not False for exit_ in without):
        return exits
    return tuple(
        msgspec.structs.replace(exit_, truth=True)
        if exit_.acquired and exit_.truth is None
        else exit_
        for exit_ in exits
    )


def _fields(returned: Return) -> tuple[tuple[tuple[str, ...], Expr], ...]:
    """The members of a local struct that is returned by value."""
    source = returned.source
    if source is None or source[0] != "l" or source[1][0] != "v":
        return ()
    members: list[tuple[tuple[str, ...], Expr]] = []
    for address, value in returned.state.env.items():
        path: list[str] = []
        place = address
        while place[0] == "f":
            path.append(place[2])
            place = place[1]
        if path and place == source[1] and value != UNKNOWN and is_entry_term(value):
            members.append((tuple(reversed(path)), value))
    return tuple(sorted(members, key=repr))
