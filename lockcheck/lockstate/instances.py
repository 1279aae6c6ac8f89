"""Whether a term names one object all the time that a function runs."""

from __future__ import annotations

from collections.abc import Iterator

from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import UNKNOWN, Expr, Function, successors
from lockcheck.lockstate.state import State
from lockcheck.lockstate.terms import FOUND, subterms
from lockcheck.queries import Query


class Instances:
    """Answers for the functions of one program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._in_cycles = Query(program.queries, self._cyclic)

    def is_one(self, key: str, state: State, lock: Expr) -> bool:
        """Whether a term that names a lock named the same one when it was taken, or dropped."""
        effects = self._program.effects
        if effects.read_by(lock) & state.stored:
            return False
        function = self._program.functions[key]
        return all(self._is_steady(function, part) for part in subterms(lock)) and not _recurs(lock)

    def _is_steady(self, function: Function, part: Expr) -> bool:
        """Whether a leaf means one thing all the time, not one for each turn of a loop."""
        if part == UNKNOWN or part[0] in ("class", "ite") or part[:2] == ("ap", FOUND):
            return False
        if part[0] == "phi":
            return part[1] not in self._in_cycles(function.key)
        if part[0] == "c":
            return all(
                block not in self._in_cycles(function.key)
                for block, (events, _) in enumerate(function.blocks)
                if any(event[0] == "C" and event[2] == part[1] for event in events)
            )
        return True

    def _cyclic(self, key: str) -> frozenset[int]:
        function = self._program.functions[key]
        return frozenset(_cyclic_blocks(function)) if function.loops else frozenset()


def _recurs(term: Expr) -> bool:
    """Whether a path goes through a pointer from a record to another one of its kind.

    Such paths are cut short (see State._load), so that one term stands for several objects.
    """
    while term[0] in ("f", "i", "l", "co"):
        if term[0] == "f" and term[1][0] == "l" and term[1][1][0] == "f":
            record = term[2].split(".", 1)[0]
            if record == term[1][1][2].split(".", 1)[0]:
                return True
        term = term[1]
    return False


def _cyclic_blocks(function: Function) -> Iterator[int]:
    """The blocks from which control may come back to themselves."""
    following = [successors(terminator) for _, terminator in function.blocks]
    for block in range(len(following)):
        seen: set[int] = set()
        work = list(following[block])
        while work:
            at = work.pop()
            if at in seen:
                continue
            seen.add(at)
            work.extend(following[at])
        if block in seen:
            yield block
