"""The lock state inside one function: a fixpoint over its control-flow graph.

Path-sensitive where lock states differ, merged where they agree (property simulation: Das, Lerner,
Seigle, "ESP: path-sensitive program verification in polynomial time", PLDI 2002). So a lock that
is taken under a flag is told from one that is not, and the flag decides later branches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import reduce
from heapq import heappop, heappush
from operator import or_
from typing import NamedTuple, Protocol

from lockcheck.callgraph.effects import keeps_zero, stored_field
from lockcheck.facts.folding import is_local
from lockcheck.facts.ir import ONCE, UNKNOWN, Event, Expr, Function
from lockcheck.lockstate.flags import live_flags, tested_local
from lockcheck.lockstate.state import Since, State
from lockcheck.lockstate.summary import Exit
from lockcheck.lockstate.switches import switch
from lockcheck.lockstate.terms import is_small, lock_class, object_root, root
from lockcheck.lockstate.transfer import Oracle, Transfer
from lockcheck.models.loader import ANY

MAX_STATES = 32  # lock states kept apart in one block
_BY_FLAGS = 8  # states in one block up to which flags keep them apart, too
_FORKS = 8  # states inside of a block that are kept apart without a look at what they hold
_UNTOUCHED: Since = (0, frozenset())
MAX_STEPS = 6000  # states walked through blocks in one function


Inputs = dict[int, dict[object, State]]  # block → the states that arrive there, by their keys


class At(NamedTuple):
    """A state at an event, with what the event's expressions evaluate to there."""

    state: State
    terms: tuple[Expr, ...]  # call: callee and arguments; access: the address


class Return(NamedTuple):
    state: State
    value: Expr | None  # the term returned
    source: Expr | None  # the expression, for struct values
    loc: int


class Solving(Protocol):
    """What makes solvers."""

    def solver(self, key: str) -> Solver:
        """The solver of a function that was read."""
        ...


class Solved:
    """A function's states where they matter. What was not asked for is not worked out.

    returns: the states with which it returns.
    settled: false when the fixpoint ran out of its budget.
    """

    def __init__(self, source: Solving, key: str) -> None:
        self._source = source
        self._key = key
        solver = source.solver(key)
        self._solver: Solver | None = solver
        inputs, settled = solver.solve()
        self._inputs = inputs
        self._calls: dict[int, list[At]] | None = None
        self._accesses: list[tuple[Event, list[At]]] = []
        self.settled = settled
        self.views: dict[int, object] = {}  # what is found out about states here, by identity
        self.returns = solver.returns(inputs)

    def __getstate__(self) -> dict[str, object]:
        """Without the solver, which knows the program, and what is found out again."""
        return {**self.__dict__, "_solver": None, "views": {}}

    def _observe(self) -> None:
        if self._solver is None:  # the states come from another run
            self._solver = self._source.solver(self._key)
        self._calls, self._accesses = self._solver.observe(self._inputs)

    def touches(self, name: str) -> bool:
        """Whether a lock of a class is taken or dropped in some state."""
        return any(
            lock_class(lock) == name
            for states in self._inputs.values()
            for state in states.values()
            for lock in (*state.held, *state.dropped, *state.ended, *state.unsure)
        )

    @property
    def inputs(self) -> Inputs:
        """The states with which control comes to each block."""
        return self._inputs

    @property
    def calls(self) -> dict[int, list[At]]:
        """Call id → states right before the call."""
        if self._calls is None:
            self._observe()
        assert self._calls is not None
        return self._calls

    @property
    def accesses(self) -> list[tuple[Event, list[At]]]:
        """(event, states right before it) of stores and reads outside locals.

        The terms are the address and, for a store, the value.
        """
        if self._calls is None:
            self._observe()
        return self._accesses


class Solver:
    """Solves one function."""

    def __init__(self, function: Function, oracle: Oracle) -> None:
        self._function = function
        self._oracle = oracle
        self._transfer = Transfer(oracle)
        self._settled = True
        self._flags = live_flags(function)
        self._is_query_helper = oracle.is_query_helper(function.key)
        self._asserting = frozenset(
            index
            for index, (events, _) in enumerate(function.blocks)
            if any(oracle.asserts(event) for event in events)
        )

    def solve(self) -> tuple[Inputs, bool]:
        """The states at the blocks, and whether the fixpoint was reached."""
        inputs = self._fixpoint()
        return inputs, self._settled

    def returns(self, inputs: Inputs) -> list[Return]:
        """The states at the function's returns."""
        found: list[Return] = []
        for block, states in sorted(inputs.items()):
            terminator = self._function.blocks[block][1]
            if terminator[0] != "ret":
                continue
            for state in states.values():
                for out in self._run(block, state.copy(), None):
                    value = terminator[1]
                    term = None if value is None else out.evaluate(value)
                    found.append(Return(out, term, value, terminator[2]))
        return found

    def observe(self, inputs: Inputs) -> tuple[dict[int, list[At]], list[tuple[Event, list[At]]]]:
        """The states right before calls and accesses, from the states at the blocks' beginnings."""
        calls: dict[int, list[At]] = defaultdict(list)
        accesses: dict[int, tuple[Event, list[At]]] = {}

        def look(event: Event, at: At) -> None:
            if event[0] == "C":
                calls[event[2]].append(at)
            else:
                accesses.setdefault(id(event), (event, []))[1].append(at)

        for block, states in sorted(inputs.items()):
            for state in states.values():
                self._run(block, state.copy(), look)
        return dict(calls), list(accesses.values())

    # -- fixpoint ------------------------------------------------------------------------------

    def _entry(self) -> State:
        state = State(self._oracle.memory)
        for index, name in enumerate(self._function.params):
            state.env[("v", name)] = ("p", index)
        for kind, lock in self._function.contracts:
            if kind != "acquires":
                term = self._transfer.contract_term(state, lock)
                if term is not None:
                    state.assume(("held", term, ANY), True)
        return state

    def _fixpoint(self) -> Inputs:
        """In-states of every block. Blocks are numbered in reverse postorder."""
        inputs: dict[int, dict[object, State]] = {0: {(): self._entry()}}
        pending: dict[int, dict[object, None]] = {0: {(): None}}  # keys in the order they came
        heap = [0]
        steps = 0
        while heap:
            block = heappop(heap)
            keys = pending.pop(block, None)
            if not keys:
                continue
            steps += len(keys)
            if steps > MAX_STEPS:
                self._settled = False
                break
            for key in keys:
                state = inputs[block].get(key)
                if state is None:
                    continue
                for out in self._run(block, state.copy(), None):
                    for successor, arriving in self._leave(block, out):
                        changed = self._arrive(inputs, successor, arriving)
                        if changed is not None:
                            if successor not in pending:
                                pending[successor] = {}
                                heappush(heap, successor)
                            pending[successor][changed] = None
        return inputs

    def _arrive(
        self, inputs: dict[int, dict[object, State]], block: int, state: State
    ) -> object | None:
        """Merge a state into a block's in-states; the key that changed, or None."""
        states = inputs.setdefault(block, {})
        key: object = state.key()
        if self._is_query_helper or block in self._asserting:
            # What the state knows of locks decides here, so it is not merged away.
            key = (key, frozenset((t, f) for t, f in state.facts.items() if t[0] == "held"))
        flags = self._flags.get(block)
        if flags and len(states) < _BY_FLAGS:
            key = (key, *(state.truth_of(flag) for flag in flags))
        known = states.get(key)
        if known is None:
            if len(states) >= MAX_STATES:
                # UNSOUND: too many lock states at once; those that were first are kept.
                self._settled = False
                return None
            states[key] = state
            return key
        return key if known.merge(state, block) else None

    def _leave(self, block: int, state: State) -> list[tuple[int, State]]:
        """The successors of a block, with what the branch to each says."""
        terminator = self._function.blocks[block][1]
        kind = terminator[0]
        if kind == "jmp":
            return [(terminator[1], state)]
        if kind == "br":
            _, value, if_true, if_false, _ = terminator
            term = state.evaluate(value)
            truth = state.decide(term)
            if truth is not None:
                _note_absence(state, term, truth)
                return [(if_true if truth else if_false, state)]
            other = state.copy()
            state.assume(term, True)
            other.assume(term, False)
            local = tested_local(terminator)
            if local is not None:
                if local in self._flags.get(if_true, ()):
                    state.pin(local)
                if local in self._flags.get(if_false, ()):
                    other.pin(local)
            return [(if_true, state), (if_false, other)]
        if kind == "sw":
            return switch(terminator, state)
        return []

    # -- unshared objects ----------------------------------------------------------------------

    def _share(self, state: State, address: Expr, value: Expr) -> None:
        """A pointer to a new object that is stored anywhere but in locals or in itself."""
        new = object_root(value)
        if new[0] != "c" or new in state.shared:
            return
        place = object_root(address)
        if place[0] != "v" and place != new:
            state.shared |= {new}

    def _share_arguments(self, state: State, number: int, args: tuple[Expr, ...]) -> None:
        for index, arg in enumerate(args):
            new = object_root(arg)
            if new[0] != "c" or new in state.shared:
                continue
            key = self._function.key
            if self._oracle.is_new(key, new[1]) and self._oracle.publishes(
                key, number, index, arg == new
            ):
                state.shared |= {new}

    # -- events --------------------------------------------------------------------------------

    def _run(
        self, block: int, state: State, observe: Callable[[Event, At], None] | None
    ) -> list[State]:
        """Walk the events of a block; calls may fork the state."""
        states = [state]
        for event in self._function.blocks[block][0]:
            kind = event[0]
            if kind == "C":
                following: list[State] = []
                for current in states:
                    following.extend(self._call(event, current, observe))
                states = following
                if len(states) > _FORKS:
                    states = self._merged(states, -event[2])
            elif kind == "S":
                for current in states:
                    address = current.evaluate(event[2])
                    value = current.evaluate(event[3])
                    if observe is not None and root(address)[0] != "v":
                        observe(event, At(current.copy(), (address, value)))
                    self._share(current, address, value)
                    current.assign(address, value)
                    if not is_local(address):
                        current.remember(address, UNKNOWN if event[4] & ONCE else value)
                    name = stored_field(address)
                    if name is not None and not is_local(address):
                        fields = self._oracle.memory.effects.field(name)
                        kept = keeps_zero(event[2], event[3])
                        current.note_stored(fields, 0 if kept else fields)
                    if event[3][0] == "l":
                        _copy_members(current, address, event[3][1])
            elif kind == "A":
                states = [current for current in states if current.believe(event[2])]
            elif observe is not None:
                for current in states:
                    address = current.evaluate(event[2])
                    observe(event, At(current.copy(), (address,)))
        return states

    def _merged(self, states: list[State], place: int) -> list[State]:
        """States that calls have forked inside of a block, merged like those that meet at one."""
        kept: dict[object, State] = {}
        for state in states:
            key = state.key()
            known = kept.get(key)
            if known is not None:
                known.merge(state, place)
            elif len(kept) < MAX_STATES:
                kept[key] = state
            else:
                self._settled = False  # UNSOUND: as in _arrive
        return list(kept.values())

    def _call(
        self, event: Event, state: State, observe: Callable[[Event, At], None] | None
    ) -> list[State]:
        _, loc, number, callee_expr, arg_exprs = event
        callee = state.evaluate(callee_expr)
        args = tuple(state.evaluate(arg) for arg in arg_exprs)
        if observe is not None:
            observe(event, At(state.copy(), (callee, *args)))
        result: Expr = ("c", number)
        self._share_arguments(state, number, args)
        if state.zeroed and self._sets_up(number):
            for arg in args:
                state.give_away(arg)
        state.facts.pop(result, None)
        state.env.pop(result, None)
        state.shared -= {result}
        if result in state.zeroed:
            state.zeroed = {new: s for new, s in state.zeroed.items() if new != result}
        if callee[0] == "fn":
            key: str = callee[1]
            model = self._oracle.model(key)
            if self._oracle.is_zeroed(key, args):
                state.zeroed = {**state.zeroed, result: _UNTOUCHED}
            if model is not None:
                for place in (args[index] for index in model.writes if index < len(args)):
                    state.overwrite(place)
                return self._transfer.apply_model(key, model, state, args, result, loc)
            self._note_effects(state, key)
            if key.partition("@")[0] in self._oracle.watched:
                state.marks |= {key}
            ways = self._transfer.apply_summary(self._oracle.summary(key), state, args, result, loc)
            for outcome, _ in ways:
                self._name_result(key, outcome, args, result)
        else:
            ways = self._indirect(number, state, args, result, loc)
        given: dict[Expr, list[int]] = {}
        for index, arg in enumerate(args):
            if arg[0] in ("v", "f", "i"):
                given.setdefault(root(arg), []).append(index)
        stored = {place: self._stored_by(number, given[place]) for place in given}
        for outcome, exit_ in ways:
            if outcome.stores:
                self._forget_given(outcome, number, args)
            for place, fields in stored.items():
                if place[0] == "v" and fields != 0:  # a callee that stores nothing leaves it alone
                    outcome.escape(place, fields)
            if exit_ is not None and exit_.stores:
                self._transfer.apply_stores(exit_, outcome, args)
        return [outcome for outcome, _ in ways]

    def _stored_by(self, number: int, arguments: list[int]) -> int | None:
        """The fields that a call may store to in what some arguments point to; None for any."""
        effects = self._oracle.memory.effects
        targets = self._oracle.targets(self._function.key, number)
        if not targets or not all(effects.knows(target) for target in targets):
            return None
        if any(effects.stores_whole(target, index) for target in targets for index in arguments):
            return None
        return reduce(or_, (effects.of(target) for target in targets))

    def _forget_given(self, state: State, number: int, args: tuple[Expr, ...]) -> None:
        """Places that a call may store to, other than by the fields that are known of it."""
        effects = self._oracle.memory.effects
        targets = self._oracle.targets(self._function.key, number)
        unknown = not targets or not all(effects.knows(target) for target in targets)
        for arg in args:
            if arg[0] in ("f", "i") or unknown:
                state.forget_stores(0, under=arg)

    def _sets_up(self, number: int) -> bool:
        """Whether a call may store to what it is given in ways that its effects do not tell."""
        effects = self._oracle.memory.effects
        for target in self._oracle.targets(self._function.key, number):
            model = self._oracle.model(target)
            if model is None and (not effects.knows(target) or effects.counts(target)):
                return True
        return False

    def _note_effects(self, state: State, key: str) -> None:
        effects = self._oracle.memory.effects
        stored = effects.of(key)
        state.forget_stores(stored)
        state.note_stored(stored, effects.constructs(key) if state.zeroed else 0)

    def _name_result(self, key: str, state: State, args: tuple[Expr, ...], result: Expr) -> None:
        """The result of a function that only looks, by what it was asked: it will say so again."""
        if result in state.env or result in state.facts or not self._oracle.is_pure(key):
            return
        applied = ("ap", key, *args)
        if all(arg != UNKNOWN for arg in args) and is_small(applied):
            state.env[result] = applied

    def _indirect(
        self, number: int, state: State, args: tuple[Expr, ...], result: Expr, loc: int
    ) -> list[tuple[State, Exit | None]]:
        """An indirect call changes the lockset only if all its targets do so alike.

        UNSOUND: targets that disagree are taken to leave the lockset alone.
        """
        targets = self._oracle.targets(self._function.key, number)
        for target in targets:
            self._note_effects(state, target)
        if not targets or len(targets) > 8:
            return [(state, None)]
        summaries = [self._oracle.summary(target) for target in targets]
        if summaries[0].has_effect and all(summary == summaries[0] for summary in summaries):
            return self._transfer.apply_summary(summaries[0], state, args, result, loc)
        return [(state, None)]


def _note_absence(state: State, term: Expr, truth: bool) -> None:
    """Keep what a branch has found out to be not held: an assertion may fail there."""
    while term[0] == "o1" and term[1] == "!":
        term, truth = term[2], not truth
    if term[0] == "held" and not truth:
        state.assume(term, False)


def _copy_members(state: State, address: Expr, source_expr: Expr) -> None:
    """`a = b` for local structs: what the members hold is copied too."""
    source = state.evaluate(source_expr)
    if source[0] not in ("v", "f", "i") or root(source)[0] != "v" or root(address)[0] != "v":
        return
    for key, value in list(state.env.items()):
        moved = _moved(key, source, address)
        if moved is not None and moved != address:
            state.env[moved] = value


def _moved(key: Expr, source: Expr, target: Expr) -> Expr | None:
    """`key` with its prefix `source` replaced by `target`."""
    if key == source:
        return target
    if key[0] not in ("f", "i"):
        return None
    base = _moved(key[1], source, target)
    return None if base is None else (key[0], base, key[2])
