"""Words and chains for the order of locks."""

from __future__ import annotations

from lockcheck.findings.model import Step, StepKind
from lockcheck.lockstate.acquiring import GRACE, LockWay, LockWays, class_name
from lockcheck.lockstate.contexts import Surroundings
from lockcheck.lockstate.deadlocks import Side
from lockcheck.lockstate.ordering import OrderEdge
from lockcheck.models.loader import READ
from lockcheck.rules.evidence import Evidencer, name_of, spell_slot


class OrderWords:
    """Chains and words for order edges."""

    def __init__(self, evidence: Evidencer, ways: LockWays) -> None:
        self._evidence = evidence
        self._ways = ways
        self.location = evidence.location
        self.place = evidence.place

    def held(self, edge: OrderEdge) -> str:
        return self.lock(edge.function, edge.held)

    def taken(self, edge: OrderEdge) -> str:
        return self.lock(edge.function, edge.way.lock)

    def lock(self, function: str, lock: tuple[object, ...]) -> str:
        """A lock as the function may write it, else its class."""
        if lock[0] not in ("class", "section"):
            text = self._evidence.spell(function, lock)
            if not any(odd in text for odd in ("…", "((", "(result", "#")):
                return text
        return (
            f"a {(class_name(lock) or '').split('@', 1)[0]}"
            if lock[0] != "section"
            else str(lock[1])
        )

    def by_way(self, way: LockWay) -> str:
        if way.below is None:
            return ""
        return f" by way of {name_of(way.target)}()"

    def nesting(self, edge: OrderEdge) -> str:
        """`f() takes b by way of g() while it holds a`."""
        name, way = name_of(edge.function), edge.way
        verb = "waits for all readers of" if way.mode == GRACE else "takes"
        how = " for read" if edge.mode == READ and edge.held[0] != "section" else ""
        taken = f"{self.taken(edge)}{self.by_way(way)}"
        return f"{name}() {verb} {taken} while it holds {self.held(edge)}{how}"

    def chain(self, side: Side) -> tuple[Step, ...]:
        """From the entry point over the lock that is held down to the one that is taken."""
        edge, words = side.edge, self._evidence
        steps = self.context(edge.function, side.context)
        depth = len(side.context.chain)
        held = self.held(edge)
        done = "entered" if edge.held[0] == "section" else f"taken for {edge.mode}"
        steps.append(
            Step(
                StepKind.ACQUIRE,
                words.location(edge.function, edge.held_loc),
                f"{held} is {done} here",
                depth,
            )
        )
        steps.extend(self.down(edge.function, edge.way, depth))
        return tuple(steps)

    def context(self, function: str, context: Surroundings) -> list[Step]:
        """From an entry point down to a function."""
        calls, words = context.chain, self._evidence
        top = calls[0].caller if calls else function
        steps = [Step(StepKind.ENTRY, words.definition(top), context.entry, 0)]
        for depth, call in enumerate(calls):
            through = "" if call.slot is None else f" through {spell_slot(call.slot)}"
            text = f"{name_of(call.caller)}() calls {name_of(call.callee)}(){through}"
            steps.append(Step(StepKind.CALL, words.location(call.caller, call.loc), text, depth))
        return steps

    def entry(self, function: str, text: str) -> Step:
        """How control comes in."""
        return Step(StepKind.ENTRY, self._evidence.definition(function), text, 0)

    def down(self, function: str, way: LockWay, depth: int) -> list[Step]:
        """From a function down to the primitive."""
        steps: list[Step] = []
        *calls, last = self._ways.along(way)
        for call in calls:
            through = "" if call.slot is None else f" through {spell_slot(call.slot)}"
            verb = "waits for" if call.waits else "calls"
            text = f"{name_of(function)}() {verb} {name_of(call.target)}(){through}"
            where = self._evidence.location(function, call.loc)
            steps.append(Step(StepKind.CALL, where, text, depth))
            function, depth = call.target, depth + 1
        called = self._evidence.called(last.target)
        lock = self.lock(function, last.lock)
        verb = "waits for all readers of" if last.mode == GRACE else "takes"
        text = f"{name_of(function)}() calls {called}(), which {verb} {lock}"
        kind = StepKind.SLEEP if last.mode == GRACE else StepKind.ACQUIRE
        steps.append(Step(kind, self._evidence.location(function, last.loc), text, depth))
        return steps
