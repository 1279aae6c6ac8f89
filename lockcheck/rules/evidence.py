"""From a violation to a finding: where it is reported, what it says, and the chain."""

from __future__ import annotations

from collections import deque

from lockcheck.callgraph.program import Program, Reach
from lockcheck.facts.ir import unpack
from lockcheck.findings.model import Location, Step, StepKind
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.terms import spell
from lockcheck.lockstate.verdicts import Edge, Evidence, Verdict, Violation
from lockcheck.models.loader import READ, SECTION, SHARED


def name_of(key: str) -> str:
    """The C name in a function key."""
    return key.split("@", 1)[0]


def proof_text(by_class: bool, asserted: bool) -> str:
    """What a proof rests on."""
    text = "met in every context"
    if asserted:
        text += "; in some of them as an assertion on the way says, which is proved itself"
    if by_class:
        text += "; in some of them known by the class of the lock alone"
    return text


def without_text(need: Need) -> str:
    """What must not be: a lock held, or a section entered."""
    if need.term is None or need.term[0] != "section":
        return f"{need.text} held"
    return need.text


def absence_text(need: Need) -> str:
    """The same as a requirement."""
    if need.term is None or need.term[0] != "section":
        return f"{need.text} not held"
    return f"no {need.text}"


class Evidencer:
    """Builds locations, chains and words for findings of one program."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def location(self, function: str, loc: int) -> Location:
        """A place in a function. Events of a function lie in the function's own file."""
        facts = self._program.functions[function]
        line, column = unpack(facts.absolute(loc))
        return Location(facts.file, line, column, name_of(function))

    def definition(self, function: str) -> Location:
        return self.location(function, self._program.functions[function].own_place)

    def end(self, function: str) -> int:
        """The last place of a function where something happens: of a return that is not written."""
        found = self._program.functions[function]
        return max((event[1] for events, _ in found.blocks for event in events), default=found.loc)

    def place(self, function: str, loc: int) -> str:
        """A short mention of a place: `kvmgt.c:1621`."""
        location = self.location(function, loc)
        return f"{location.file.rsplit('/', 1)[-1]}:{location.line}"

    # -- chains --------------------------------------------------------------------------------

    def chain(
        self,
        edges: tuple[Edge, ...],
        function: str,
        evidence: tuple[Evidence, ...],
        entry: str = "",
    ) -> tuple[list[Step], int]:
        """Steps down to `function` with the lock events on the way; the nesting inside of it.

        entry: how control gets to the outermost function, where that is known.
        """
        steps = self.chain_down(edges, function, entry)
        depth = steps[-1].nesting + 1 if len(steps) > 1 else 0
        for e in evidence:
            if e.held.loc == 0:
                continue  # an assertion said so, there is no event to show
            at = next(
                (
                    index
                    for index, step in enumerate(steps)
                    if step.kind is StepKind.CALL and step.location.function == name_of(e.function)
                ),
                len(steps),
            )
            nesting = steps[at].nesting if at < len(steps) else depth
            steps.insert(at, self.evidence_step(e, nesting))
        return steps, depth

    def chain_down(self, edges: tuple[Edge, ...], function: str, entry: str = "") -> list[Step]:
        """Steps from an entry point down to `function`. `edges`: innermost first."""
        steps: list[Step] = []
        calls = [(edge.caller, edge.loc, edge.slot) for edge in reversed(edges)]
        below = [caller for caller, _, _ in calls[1:]] + [function] * bool(calls)
        top = calls[0][0] if calls else function
        above = [] if self._is_entry(top) else self._way_from_entry(top)
        full = [(c, loc, slot, b) for (c, loc, slot), b in zip(calls, below, strict=True)]
        full = above + full
        top = full[0][0] if full else function
        if entry and not above:
            text = entry
        elif self._program.reach(top) is Reach.CALLBACK:
            text = f"{name_of(top)}() is called from outside the units read, by its address"
        else:
            text = f"{name_of(top)}()"
        steps.append(Step(StepKind.ENTRY, self.definition(top), text, 0))
        for depth, (caller, loc, slot, callee) in enumerate(full):
            through = "" if slot is None else f" through {spell_slot(slot)}"
            steps.append(
                Step(
                    StepKind.CALL,
                    self.location(caller, loc),
                    f"{name_of(caller)}() calls {name_of(callee)}(){through}",
                    depth,
                )
            )
        return steps

    def _is_entry(self, function: str) -> bool:
        return self._program.reach(function) is Reach.CALLBACK

    def _way_from_entry(self, function: str) -> list[tuple[str, int, str | None, str]]:
        """The shortest way of calls from an entry point to `function`, outermost first."""
        towards: dict[str, tuple[str, int, str | None, str] | None] = {function: None}
        queue = deque([function])
        while queue:
            key = queue.popleft()
            sites = self._program.callers.get(key, [])
            if key != function and (self._is_entry(key) or not sites):
                way: list[tuple[str, int, str | None, str]] = []
                step = towards[key]
                while step is not None:
                    way.append(step)
                    step = towards[step[3]]
                return way
            for site in sites:
                if site.caller not in towards:
                    towards[site.caller] = (site.caller, site.loc, site.slot, key)
                    queue.append(site.caller)
        return []

    def has_no_caller(self, function: str) -> bool:
        """Whether neither a call nor a pointer in the units leads to a function."""
        return not self._program.callers.get(function) and not self._is_entry(function)

    # -- where a violation belongs -------------------------------------------------------------

    def culprit(self, violation: Violation) -> int | None:
        """The edge of the path that should have held the lock; None: the access itself.

        That is the last edge if it holds the lock in the wrong mode or dropped it. Otherwise,
        going up from the access, the first caller that fails where another caller of the same
        function holds the lock, and on from there while that goes on.
        """
        path = violation.path
        if path and path[-1].verdict is Verdict.BROKEN:
            return len(path) - 1
        found: int | None = None
        for index, met in enumerate(violation.siblings):
            if met:
                found = index
            elif found is not None:
                break
        return found

    def failing(self, violation: Violation) -> dict[tuple[str, int], int]:
        """The calls of the path of which another caller meets the requirement, by (caller, place).

        Empty where somebody dropped the lock or took it in the wrong mode: there it is clear.
        """
        path = violation.path
        if path and path[-1].verdict is Verdict.BROKEN:
            return {}
        return {(path[i].caller, path[i].loc): i for i, met in enumerate(violation.siblings) if met}

    def why(
        self,
        function: str,
        edges: tuple[Edge, ...],
        culprit: int | None,
        evidence: tuple[Evidence, ...],
        without: str = "without it",
    ) -> str:
        """Who does not hold the lock, or what they did to it instead."""
        at_fault = function if culprit is None else edges[culprit].caller
        called = [function, *(edge.caller for edge in edges)]
        callee = None if culprit is None else name_of(called[culprit])
        own = [e for e in evidence if e.function == at_fault and e.held.loc]
        if own:
            text = self.evidence_text(own[-1])
            return text if callee is None else f"{text} and calls {callee}()"
        if callee is not None:
            return f"{name_of(at_fault)}() calls {callee}() {without}"
        top = name_of(called[-1])
        if edges:
            return f"nothing on the way from {top}() takes it"
        return f"{top}() does not take it, and it is called from outside"

    # -- words ---------------------------------------------------------------------------------

    def need_text(self, text: str, mode: str, lock_kind: str) -> str:
        """`kvm->mmu_lock held for write`, by what kind of lock it is."""
        if lock_kind == SECTION:
            return f"a read section of {text}"
        if lock_kind == SHARED and mode != READ:
            return f"{text} held for write"
        return f"{text} held"

    def evidence_text(self, evidence: Evidence) -> str:
        """What a function did with the lock that it needed."""
        function = evidence.function
        where = self.place(function, evidence.held.loc)
        lock = evidence.need.text
        if evidence.dropped:
            return f"{name_of(function)}() drops {lock} (at {where})"
        if evidence.need.absent:
            term = evidence.need.term
            if term is not None and term[0] == "section":
                return f"{name_of(function)}() enters it (at {where})"
            return f"{name_of(function)}() holds {lock} (taken at {where})"
        return f"{name_of(function)}() holds {lock} for {evidence.held.mode} (taken at {where})"

    def evidence_step(self, evidence: Evidence, nesting: int) -> Step:
        function = evidence.function
        kind = StepKind.RELEASE if evidence.dropped else StepKind.ACQUIRE
        if evidence.dropped:
            done = "dropped"
        else:
            term = evidence.need.term
            done = f"taken for {evidence.held.mode}"
            if term is not None and term[0] == "section":
                done = "entered"
            elif evidence.need.absent:
                done = "taken"
        return Step(
            kind,
            self.location(function, evidence.held.loc),
            f"{evidence.need.text} is {done} here",
            nesting,
        )

    def called(self, key: str) -> str:
        """A function's name as the source writes it: a model may know the macro around it."""
        model = self._program.model(key)
        return name_of(key) if model is None or not model.called else model.called

    def spell(self, function: str, term: tuple[object, ...]) -> str:
        return spell(term, self._program.functions[function].params)

    def lock(self, function: str, term: tuple[object, ...]) -> str:
        """A lock as C spells it, "a lock" where no expression of the function names it."""
        text = self.spell(function, term)
        return "a lock" if text == "…" else text


def spell_slot(slot: str) -> str:
    """A slot in words: `struct x.field`, `the variable y`."""
    for prefix in ("variable ", "trampoline "):
        if slot.startswith(prefix):
            return name_of(slot.removeprefix(prefix))
    if slot.startswith("local "):
        return name_of(slot.rsplit(" ", 1)[-1])
    if slot.startswith("result "):
        return "a returned pointer"
    return f"struct {slot}"
