"""Paths that leave a function with a lock that its other paths have dropped.

Precision first. That some ways out of a function hold a lock and others do not says little: nearly
always a condition was lost that the two have in common (see lockstate.balance). So a path counts
only where no such condition can be: on the way from where the lock was taken to the return, at
every branch from which a release could still be reached, the lock is held whatever way led there.
Then the branch cannot be about whether the lock was taken, and the path that goes past the release
is the odd one out. A function whose result says that the lock was kept (a pointer or zero where the
others return an error), or whose callers drop it, is a helper.

As with Engler et al., "Bugs as deviant behavior" (SOSP 2001), the other paths are the witness.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import Expr, Function, Terminator, successors
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.flow import backwards, forwards
from lockcheck.lockstate.handover import HandOver, classes
from lockcheck.lockstate.locksets import Held
from lockcheck.lockstate.solver import Return
from lockcheck.lockstate.terms import lock_class, object_root, root
from lockcheck.models.loader import FunctionModel


class Left(NamedTuple):
    """A lock that a path leaves behind.

    loc: of the return. held: where the lock was taken. released: where another path drops it.
    lock: the lock, or a section. together: the lock that was taken with a section and has been
        dropped without it.
    """

    function: str
    loc: int
    lock: Expr
    held: Held
    released: int
    together: Expr | None = None


class BalanceAnalysis:
    """Finds locks that functions of one program leave held."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program: Program = analysis.program
        self._others = HandOver(analysis)

    def find(self) -> Iterator[Left]:
        """All locks left behind, by function; each once, at the first return that leaves it."""
        for key in sorted(self._program.functions):
            if self._program.model(key) is None and self._takes(key):
                yield from self._in_function(key)

    def _takes(self, key: str) -> bool:
        return any(
            (model := self._program.model(target)) is not None and bool(model.acquires)
            for call in self._program.calls[key].values()
            for target in call.targets
        )

    def _in_function(self, key: str) -> Iterator[Left]:
        function = self._program.functions[key]
        solved = self._analysis.solved(key)
        if not self._analysis.is_settled(key):
            return
        if any(kind == "acquires" for kind, _ in function.contracts):
            return
        told: set[Expr] = set()
        for left in sorted(solved.returns, key=lambda r: r.loc):
            for lock, held in left.state.held.items():
                if lock in told or not self._is_sure(lock, left):
                    continue
                found = self._left(function, lock, held, left, solved.returns)
                if found is not None and not self._others.callers_drop(key, lock):
                    told.add(lock)
                    yield found

    def _left(
        self, function: Function, lock: Expr, held: Held, left: Return, returns: list[Return]
    ) -> Left | None:
        """A lock, or section, that is left at a return, where nothing excuses that."""
        model = self._primitive(function, held.loc)
        if model is None or held.depth > 1:
            return None
        if lock[0] == "section" and any(not e.section for e in model.acquires):
            if self._enters_alone(function, lock) or self._enters_twice(function, lock):
                return None
            return self._left_over(function, lock, held, left)
        if self._is_last_case(function, lock, left):
            return None
        after = {loc: released for released, loc in self._returns_after(function, lock)}
        others = [r for r in returns if r.loc in after and _is_without(r, lock)]
        if self._was_dropped(function.key, lock):
            return None
        if not self._passes_by(function, lock, held, left):
            return None
        if not others or all(_told_apart(left, other) for other in others):
            # A helper, unless nobody drops what it has kept.
            if self._others.callers_may(function.key, lock):
                return None
            if not others and (lock[0] == "section" or _has_dropped_any(left)):
                return None
            # With a failure nobody hands a lock over.
            if not others and _kind(left) != "failed" and self._others.anybody_may(lock):
                return None
        released = min((after[r.loc] for r in others), default=0)
        return Left(function.key, left.loc, lock, held, released)

    def _was_dropped(self, key: str, lock: Expr) -> bool:
        """Whether a function drops a lock of the class that it was called with."""
        return any(
            _same_class(lock, other)
            for states in self._analysis.solved(key).inputs.values()
            for state in states.values()
            for other in (*state.dropped, *(o for o, d in state.unsure.items() if d.dropped))
        )

    def _enters_twice(self, function: Function, section: Expr) -> bool:
        """Whether several locks of a function enter a section: whose is left, nobody can tell."""
        places = {
            call.event[1]
            for call in self._program.calls[function.key].values()
            for target in call.targets
            if (model := self._program.model(target)) is not None
            and any(effect.section == section[1] for effect in model.acquires)
        }
        return len(places) > 1

    def _enters_alone(self, function: Function, section: Expr) -> bool:
        """Whether a function enters a section without a lock, too: then it may be what is left."""
        for call in self._program.calls[function.key].values():
            for target in call.targets:
                model = self._program.model(target)
                if model is None:
                    for exit_ in self._analysis.summary(target).exits:
                        if any(lock == section for lock, _ in exit_.acquired):
                            return True
                elif {e.section for e in model.acquires} >= {section[1]} and all(
                    e.section for e in model.acquires
                ):
                    return True
        return False

    @staticmethod
    def _left_over(function: Function, section: Expr, held: Held, left: Return) -> Left | None:
        """A section that was entered with a lock, which has been dropped without leaving it."""
        for lock, ended in left.state.ended.items():
            # The place of the taking is not kept with what was dropped: the last one counts.
            if lock[0] == "section" or lock in left.state.held or ended.loc < held.loc:
                continue
            if any(other in left.state.held or other in left.state.dropped
                   for other in left.state.ended if other[0] != "section"):  # fmt: skip
                return None
            return Left(function.key, left.loc, section, held, ended.loc, lock)
        return None

    def _returns_after(self, function: Function, lock: Expr) -> Iterator[tuple[int, int]]:
        """Releases of a lock that the function has taken, with the returns that come after them."""
        for block, (events, _) in enumerate(function.blocks):
            for event in events:
                if event[0] != "C" or not self._drops(function, event[2], lock):
                    continue
                for after in forwards(function, block):
                    terminator = function.blocks[after][1]
                    if terminator[0] == "ret":
                        yield event[1], terminator[2]

    def _is_last_case(self, function: Function, lock: Expr, left: Return) -> bool:
        """Whether a return is reached because a value is none of several: there may be no such.

        `if (s == A) { …; unlock } if (s == B) { …; unlock }`, where there is no third state. A
        value that is none of them at the releases either says nothing.
        """
        none_of = {
            term: fact.differs
            for term, fact in left.state.facts.items()
            if fact.equal is None and len(fact.differs) > 1
        }
        if left.loc == 0 and self._ends_as_last_case(function, lock):
            return True
        if not none_of:
            return False
        releases = [
            at
            for events, _ in function.blocks
            for event in events
            if event[0] == "C" and self._drops(function, event[2], lock)
            for at in self._analysis.states_at(function.key, event[2])
        ]
        return any(
            not releases
            or any((fact := at.state.facts.get(term)) is None or not fact.differs >= values
                   for at in releases)
            for term, values in none_of.items()
        )  # fmt: skip

    def _ends_as_last_case(self, function: Function, lock: Expr) -> bool:
        """Whether the way past the releases to the end is that a value is not some constant."""
        releasing = {
            block
            for block, (events, _) in enumerate(function.blocks)
            if any(e[0] == "C" and self._drops(function, e[2], lock) for e in events)
        }
        before = releasing | backwards(function, releasing)
        return any(
            block in before and _is_left_by_inequality(terminator, before)
            for block, (_, terminator) in enumerate(function.blocks)
        )

    def _drops(self, function: Function, number: int, lock: Expr) -> bool:
        """Whether a call is a release, by a primitive, of a lock that is held there."""
        call = self._program.calls[function.key].get(number)
        models = [self._program.model(target) for target in (call.targets if call else ())]
        effects = [effect for model in models if model is not None for effect in model.releases]
        if lock[0] == "section":
            return all(effect.section for effect in effects) and any(
                effect.section == lock[1] for effect in effects
            )
        name = lock_class(lock)
        records = self._program.models.lock_records
        return any(
            lock in at.state.held
            and name in classes(tuple(e for e in effects if not e.section), at, records)
            for at in (self._analysis.states_at(function.key, number) if effects else ())
        )

    @staticmethod
    def _is_sure(lock: Expr, left: Return) -> bool:
        """Whether a lock that is held at a return has a name there."""
        if lock[0] in ("class", "u") or lock in left.state.unsure:
            return False
        return root(lock)[0] not in ("phi", "u", "v")

    def _primitive(self, function: Function, loc: int) -> FunctionModel | None:
        """The lock primitive that is called at a place."""
        for call in self._program.calls[function.key].values():
            if call.event[1] == loc:
                for target in call.targets:
                    model = self._program.model(target)
                    if model is not None and model.acquires:
                        return model
        return None

    # -- the way past the release --------------------------------------------------------------

    def _passes_by(self, function: Function, lock: Expr, held: Held, left: Return) -> bool:
        """Whether a path leads past all releases, at branches that do not tell of the lock."""
        inputs = self._analysis.solved(function.key).inputs
        name = lock_class(lock)
        start: set[int] = set()
        releasing: set[int] = set()
        for index, (events, _) in enumerate(function.blocks):
            for event in events:
                if event[0] != "C":
                    continue
                call = self._program.calls[function.key].get(event[2])
                for target in () if call is None else call.targets:
                    model = self._program.model(target)
                    if model is None:
                        summary = self._analysis.summary(target)
                        if any(lock_class(t) == name for e in summary.exits
                               for t, _ in e.released):  # fmt: skip
                            releasing.add(index)
                    elif any((e.section == lock[1]) if lock[0] == "section" else not e.section
                             for e in model.releases):  # fmt: skip
                        releasing.add(index)
                if event[1] == held.loc:
                    start.add(index)
        may_release = backwards(function, releasing)
        work = [s for block in start for s in successors(function.blocks[block][1])]
        for block in start:
            events, terminator = function.blocks[block]
            if terminator[0] == "ret" and terminator[2] == left.loc:
                # Taken right before the return, it is taken for the caller.
                return any(event[1] > held.loc for event in events if event[0] == "C")
        seen: set[int] = set()
        while work:
            block = work.pop()
            if block in seen:
                continue
            seen.add(block)
            states = inputs.get(block, {}).values()
            with_it = [s for s in states if lock in s.held and lock not in s.unsure]
            if not with_it or self._gives_away(function, block, lock):
                continue
            terminator = function.blocks[block][1]
            if terminator[0] == "ret":
                if terminator[2] == left.loc:
                    return True
                continue
            branches = terminator[0] in ("br", "sw")
            if branches and block in may_release and len(with_it) != len(states):
                continue
            work.extend(successors(terminator))
        return False

    def _gives_away(self, function: Function, block: int, lock: Expr) -> bool:
        """Whether a block calls what was not read with the object of a lock: it may drop it."""
        place = object_root(lock)
        if place[0] in ("g", "section"):
            return False
        for event in function.blocks[block][0]:
            if event[0] != "C":
                continue
            call = self._program.calls[function.key].get(event[2])
            targets = () if call is None else call.targets
            if targets and all(
                t in self._program.functions or self._program.model(t) is not None for t in targets
            ):
                continue
            for at in self._analysis.states_at(function.key, event[2]):
                if any(object_root(arg) == place for arg in at.terms[1:]):
                    return True
        return False


def _same_class(lock: Expr, other: Expr) -> bool:
    if "section" in (lock[0], other[0]):
        return lock == other
    name = lock_class(lock)
    return lock == other or name is None or lock_class(other) == name


def _is_left_by_inequality(terminator: Terminator, inside: set[int]) -> bool:
    """Whether control leaves some blocks at a branch because a value is not equal to a constant."""
    if terminator[0] == "sw":
        return any(successor not in inside for successor in successors(terminator))
    if terminator[0] != "br":
        return False
    value, then, otherwise = terminator[1], terminator[2], terminator[3]
    while value[0] == "o1" and value[1] == "!":
        value, then, otherwise = value[2], otherwise, then
    if value[0] != "o" or value[1] not in ("==", "!=") or "k" not in (value[2][0], value[3][0]):
        return False
    return (otherwise if value[1] == "==" else then) not in inside


def _has_dropped_any(left: Return) -> bool:
    """Whether a lock was dropped that nobody has seen being taken: it may be this one."""
    return any(lock[0] != "section" for lock in left.state.dropped) or any(
        doubt.dropped for doubt in left.state.unsure.values()
    )


def _is_without(returned: Return, lock: Expr) -> bool:
    return lock not in returned.state.held and lock not in returned.state.unsure


def _told_apart(left: Return, other: Return) -> bool:
    """Whether the result, or an argument, tells that a return has kept the lock."""
    mine, theirs = _kind(left), _kind(other)
    return (mine not in (theirs, "failed")) or _by_argument(left, other)


def _by_argument(left: Return, other: Return) -> bool:
    """Whether an argument tells that a return has kept the lock."""
    return any(_contradict(left, other, term) for term in left.state.facts if _is_argument(term))


def _kind(returned: Return) -> str:
    """How a return looks to a caller: "failed" for a negative number, else the constant."""
    value = returned.value
    if value is None:
        return "nothing"
    if value[0] == "k":
        return "failed" if value[1] < 0 else str(value[1])
    truth = returned.state.decide(value)
    if truth is False:
        return "0"
    if returned.state.decide(("o", "<", value, ("k", 0))):
        return "failed"
    return "nonzero" if truth else "unknown"


def _is_argument(term: Expr) -> bool:
    """Whether a value is one that the caller passes, not what that points to."""
    while term[0] in ("o", "o1"):
        term = term[2]
    return bool(term[0] == "p")


def _contradict(left: Return, other: Return, term: Expr) -> bool:
    mine, theirs = left.state.facts.get(term), other.state.facts.get(term)
    if mine is None or theirs is None:
        return False
    if mine.equal is not None:
        return theirs.equal not in (None, mine.equal) or mine.equal in theirs.differs
    return theirs.equal is not None and theirs.equal in mine.differs
