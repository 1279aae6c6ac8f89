"""Answering questions about a place in a file: a function, a lock, an assertion that is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import unpack
from lockcheck.findings.answers import (
    FunctionAnswer,
    HeldLock,
    MissingAssertion,
    PlaceAnswer,
    Requirement,
)
from lockcheck.findings.model import Finding, LedgerEntry
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.sleeping import SleepAnalysis, SleepWay
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import lock_class
from lockcheck.models.loader import ANY, SECTION, WRITE
from lockcheck.rules.evidence import Evidencer, name_of
from lockcheck.rules.questions import Questions, common_locks

_LEVELS = 3  # calls down to what a function asks for on behalf of others
_MAX_REQUIREMENTS = 12
_MAX_PATHS = 12
_ABSENT = "absent"


class Places:
    """Answers about one program and the obligations that were found in it."""

    def __init__(self, program: Program, obligations: Sequence[LedgerEntry]) -> None:
        self._program = program
        self._analysis = Analysis(program)
        self._questions = Questions(program, self._analysis)
        self._sleeping: SleepAnalysis | None = None
        self._words = Evidencer(program)
        self._obligations: dict[tuple[str, str], list[LedgerEntry]] = defaultdict(list)
        for entry in obligations:
            self._obligations[entry.location.file, entry.location.function].append(entry)
        self._by_file: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for key, function in program.functions.items():
            self._by_file[function.file].append((unpack(function.loc)[0], key))
        for starts in self._by_file.values():
            starts.sort()
        self._requires: dict[str, tuple[Requirement, ...]] = {}

    def function_at(self, file: str, line: int) -> str | None:
        """The key of the last function that begins at or above a line; where it ends is not known.

        file: relative to the tree. line: from 1.
        """
        found: str | None = None
        for start, key in self._by_file.get(file, ()):
            if start > line:
                break
            found = key
        return found

    def named(self, name: str, file: str) -> str | None:
        """The key of a function by its C name: the one of the file first. None: no such function.

        It has to be one that was read.
        """
        for key in (f"{name}@{file}", name):
            if key in self._program.functions:
                return key
        others = [key for key in self._program.functions if name_of(key) == name]
        return min(others) if others else None

    def is_lock(self, member: str) -> bool:
        """Whether some struct has a member of that name that is a lock."""
        locks = self._program.models.lock_records
        return any(fields.get(member) in locks for fields in self._program.records.values())

    # -- functions -----------------------------------------------------------------------------

    def function(self, key: str) -> FunctionAnswer:
        """Everything that is known of a function, by its key."""
        if self._sleeping is None:
            self._sleeping = SleepAnalysis(self._analysis)
        ways = self._sleeping.ways(key)
        exits = self._analysis.summary(key).exits
        return FunctionAnswer(
            why=self._questions.contexts_of(key),
            requires=self.requires(key),
            acquires=self._effects(key, [exit_.acquired for exit_ in exits]),
            releases=self._effects(key, [exit_.released for exit_ in exits]),
            sleeps=() if not ways else tuple(self._way(ways[0])),
            conditional=not any(self._analysis.is_certain(key, way.call) for way in ways),
        )

    def _effects(
        self, key: str, exits: Sequence[tuple[tuple[tuple[object, ...], str], ...]]
    ) -> tuple[tuple[HeldLock, bool], ...]:
        found: dict[HeldLock, int] = {}
        for locks in exits:
            for lock in {self._questions.lock(key, lock) for lock in locks}:
                found[lock] = found.get(lock, 0) + 1
        return tuple(sorted((lock, count == len(exits)) for lock, count in found.items()))

    def _way(self, way: SleepWay) -> Iterator[str]:
        at: SleepWay | None = way
        while at is not None:
            yield f"{self._words.called(at.target)}()"
            if at.below is None:
                yield at.because
            at = at.below

    def requires(self, key: str) -> tuple[Requirement, ...]:
        """The locks that a function asks of its callers, for itself or for what it calls."""
        found = self._required(key, _LEVELS, frozenset())
        return found[:_MAX_REQUIREMENTS]

    def _required(self, key: str, levels: int, above: frozenset[str]) -> tuple[Requirement, ...]:
        known = self._requires.get(key)
        if known is not None:
            return known
        function = self._program.functions[key]
        entries = self._obligations.get((function.file, function.name), ())
        asserted = {e.lock[0] for e in entries if e.origin != e.rule_id and len(e.lock) == 1}
        found: dict[tuple[str, str], Requirement] = {}
        for entry in entries:
            if len(entry.lock) != 1 or entry.modes[:1] in ((_ABSENT,), (SECTION,), ()):
                continue
            name, mode = entry.lock[0], entry.modes[0]
            if self._holds(self._states(key, entry), name):
                continue
            found.setdefault(
                (name, mode),
                Requirement(name, mode, entry.requirement, name_of(key), name in asserted),
            )
        if levels and key not in above:
            for need in self._below(key, levels, above):
                found.setdefault(
                    (need.lock_class, need.mode),
                    Requirement(
                        need.lock_class, need.mode, need.text, need.owner,
                        need.lock_class in asserted,
                    ),
                )  # fmt: skip
        # Held for write is held: the weaker one says nothing new.
        strong = {name for name, mode in found if mode == WRITE}
        result = tuple(n for n in found.values() if n.mode != ANY or n.lock_class not in strong)
        if levels == _LEVELS:
            self._requires[key] = result
        return result

    def _below(self, key: str, levels: int, above: frozenset[str]) -> Iterator[Requirement]:
        for number, call in sorted(self._program.calls[key].items()):
            if call.slot is not None or self._program.model(key) is not None:
                continue
            for target in call.targets:
                if target not in self._program.functions:
                    continue
                needs = self._required(target, levels - 1, above | {key})
                if needs:
                    states = self._analysis.states_at(key, number)
                    yield from (n for n in needs if not self._holds(states, n.lock_class))

    def _states(self, key: str, entry: LedgerEntry) -> list[At]:
        place = (entry.location.line, entry.location.column)
        return [at for loc, states in self._events(key) if unpack(loc) == place for at in states]

    def _events(self, key: str) -> Iterator[tuple[int, list[At]]]:
        """Places in the file, and the states there."""
        solved = self._analysis.solved(key)
        absolute = self._program.functions[key].absolute
        for number, states in solved.calls.items():
            yield absolute(self._program.calls[key][number].event[1]), states
        for event, states in solved.accesses:
            yield absolute(event[1]), states

    def _holds(self, states: Sequence[At], name: str) -> bool:
        """Whether a function has itself taken, or dropped, a lock of a class in all states."""
        return bool(states) and all(
            any(lock_class(term) == name for term in (*at.state.held, *at.state.dropped))
            for at in states
        )

    # -- places --------------------------------------------------------------------------------

    def held(self, key: str, line: int) -> PlaceAnswer:
        """What is held at a line of a function."""
        events = [(unpack(loc), states) for loc, states in self._events(key)]
        after = sorted((place, number) for number, (place, _) in enumerate(events)
                       if place[0] >= line)  # fmt: skip
        if after:
            (at_line, column), _ = after[0]
            states = [a.state for place, found in events if place == (at_line, column)
                      for a in found]  # fmt: skip
        else:  # behind the last event
            at_line = line
            states = [returned.state for returned in self._analysis.solved(key).returns]
        locksets = [
            set(context.locks)
            for state in states
            for context in self._questions.held_at(key, state)
        ] or [{self._questions.lock(key, (t, h.mode)) for t, h in s.held.items()} for s in states]
        always = common_locks(locksets)
        classes = {lock.lock_class for lock in always}
        some = {x for locks in locksets for x in locks if x.lock_class not in classes}
        return PlaceAnswer(
            name_of(key), at_line, always, tuple(sorted(some)), len(locksets), bool(states)
        )

    # -- assertions ----------------------------------------------------------------------------

    def missing_assertions(
        self, file: str, line: int, findings: Sequence[Finding]
    ) -> list[MissingAssertion]:
        """Assertions that could be added to the function at a line, and for findings.

        Those for a finding go into the functions between where it is reported and where the lock
        is needed.
        """
        keys: dict[str, None] = {}
        here = self.function_at(file, line)
        if here is not None:
            keys[here] = None
        for finding in findings:
            places = [step.location for step in finding.chain]
            last = max((i for i, at in enumerate(places) if at == finding.location), default=-1)
            for place in places[last + 1 :]:
                key = self.named(place.function, place.file)
                if key is not None:
                    keys[key] = None
        return [missing for key in keys for missing in self._missing(key)]

    def _missing(self, key: str) -> Iterator[MissingAssertion]:
        for need in self.requires(key):
            macro = self._program.models.lock_assertions.get(need.mode)
            paths = tuple(self._paths(need.lock_class))
            if not need.asserted and macro is not None and paths:
                yield MissingAssertion(self._words.definition(key), need.lock_class, macro, paths)

    def _paths(self, name: str) -> Iterator[tuple[str, str]]:
        """Where a lock class is found: in its own struct, and behind members of that type."""
        record, dot, member = name.partition(".")
        if not dot:
            return
        yield record, member
        behind = [
            (tag, field)
            for tag, fields in sorted(self._program.records.items())
            for field, kind in sorted(fields.items())
            if kind == record and field.isidentifier()
        ]
        pointers = self._pointers({f"{tag}.{field}" for tag, field in behind})
        found = [
            (tag, f"{field}->{member}") for tag, field in behind if f"{tag}.{field}" in pointers
        ]
        # The same name for the member and its type is what most pointers have.
        found.sort(key=lambda path: (not path[1].startswith(f"{record}->"), path))
        yield from found[:_MAX_PATHS]

    def _pointers(self, fields: set[str]) -> set[str]:
        """Those of some members that code loads: pointers, not objects inside of the struct."""
        found: set[str] = set()
        pending: list[object] = [
            part
            for function in self._program.functions.values()
            for events, terminator in function.blocks
            for part in (*events, terminator)
        ]
        while pending:
            term = pending.pop()
            if isinstance(term, tuple) and term:
                if term[0] == "l" and term[1][0] == "f" and term[1][2] in fields:
                    found.add(term[1][2])
                pending.extend(part for part in term if isinstance(part, tuple))
        return found
