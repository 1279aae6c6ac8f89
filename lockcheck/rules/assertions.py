"""Rule kind assertion: what the source itself promises of locks holds for every caller.

An assertion is a branch to a function that models know as its failed end (see the header shims):
what that branch says of locks is what was asked, and one of it has to be otherwise. A contract on
the declaration (`__must_hold`) asks the same at the function's entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from lockcheck.facts.ir import Expr, Function
from lockcheck.lockstate.analysis import Analysis, looked_at
from lockcheck.lockstate.doubts import ALTERNATIVE, reason_in
from lockcheck.lockstate.needs import Need
from lockcheck.lockstate.requirements import Checker
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.state import State
from lockcheck.lockstate.terms import lock_class, spell, strip_lock
from lockcheck.lockstate.verdicts import (
    Asserted,
    Context,
    Edge,
    Evidence,
    Gap,
    Reason,
    Unshared,
    Verdict,
    Violation,
)
from lockcheck.models.loader import ANY, SECTION
from lockcheck.queries import Query

MAX_WRAPPERS = 6  # header functions around an assertion that are taken apart by their callers

# Contracts that ask something of the caller, and how the source writes them.
CONTRACTS = {
    "must_hold": "__must_hold",
    "must_hold_shared": "__must_hold_shared",
    "releases": "__releases",
}
_CUT = "{}() has too many different lock states to follow them all"


class Promise(NamedTuple):
    """An assertion or contract as the source states it.

    needs: for each way to fail the locks of which one would have met it; empty for one that was
        decided on the spot.
    number: counts those of a function.
    """

    function: str
    loc: int
    origin: str
    asked: tuple[tuple[At | None, tuple[Need, ...]], ...]
    text: str
    number: int = 0


class Instance(NamedTuple):
    """A promise as one place has to keep it: its own function, or a caller of a header's.

    function, loc: that place. via: the calls down to the promise, innermost first.
    """

    promise: Promise
    function: str
    loc: int
    needs: tuple[Need, ...]
    violations: tuple[Violation, ...]
    evidence: tuple[Evidence, ...]
    unproved: tuple[Reason, ...]
    broken: bool
    by_class: bool
    asserted: frozenset[Asserted]  # the other assertions on which it rests

    @property
    def is_proved(self) -> bool:
        return not (self.broken or self.violations or self.unproved)


class PromiseFinder:
    """Finds what functions promise."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._records = analysis.program.models.lock_records

    def find(self, key: str) -> Iterator[Promise]:
        """The promises of one function."""
        function = self._program.functions[key]
        if self._program.model(key) is None:  # else the model says what it does
            yield from self._asserted(function)
            yield from self._contracts(function)

    def _asserted(self, function: Function) -> Iterator[Promise]:
        ends: dict[tuple[int, str], list[int]] = defaultdict(list)
        asking: dict[Expr, set[int]] = defaultdict(set)
        for number, call in self._program.calls[function.key].items():
            for target in call.targets:
                model = self._program.model(target)
                if model is not None and model.asserts:
                    ends[call.event[1], model.asserts].append(number)
        if not ends:
            return
        solved = self._analysis.solved(function.key)
        for number, call in self._program.calls[function.key].items():
            for target in call.targets:
                model = self._program.model(target)
                if model is not None and model.query is not None:
                    asking["c", number].add(call.event[1])
        for (loc, origin), numbers in sorted(ends.items()):
            asked: list[tuple[At | None, tuple[Need, ...]]] = []
            reached = False
            before = 0
            for number in sorted(numbers):
                own = {c for c, locs in asking.items() if loc in locs and before < c[1] <= number}
                before = number
                for at in solved.calls.get(number, ()):
                    reached = True
                    needs = self._needs(function, at.state, own, asking.keys() - own)
                    if needs:
                        asked.append((at, needs))
            if reached and not asked:
                continue  # it asks for no lock
            text = " or ".join(dict.fromkeys(n.text for _, needs in asked for n in needs))
            yield Promise(function.key, loc, origin, tuple(asked), text)

    def _needs(
        self, function: Function, state: State, own: set[Expr], others: set[Expr]
    ) -> tuple[Need, ...]:
        """What the branch to a failed end says of locks, as needs of which one would do."""
        here: set[Expr] = set()
        elsewhere: set[Expr] = set()
        for calls, terms in ((own, here), (others, elsewhere)):
            for call in calls:
                term = state.env.get(call)
                if term is not None and term[0] == "held":
                    terms.add(term)
        needs: list[Need] = []
        for term, fact in state.facts.items():
            if term[0] == "held" and (term in here or term not in elsewhere):
                needs.append(self.need(function, term[1], term[2], bool(fact.equal)))
        return tuple(sorted(needs, key=lambda need: (need.absent, need.text)))

    def need(self, function: Function, lock: Expr, mode: str, absent: bool) -> Need:
        """A need for a lock in a function's own terms."""
        lock = strip_lock(lock, self._records)
        text = lock[1] if lock[0] == "section" else spell(lock, function.params)
        if lock[0] != "l" or lock[1][0] != "f":
            return Need(lock, lock_class(lock) or "", mode, text, absent)
        pointees = self._program.pointees(lock[1][2])
        known = tuple(sorted(name for name in pointees if name))
        return Need(
            lock,
            lock_class(lock) or "",
            mode,
            text,
            absent,
            known,
            len(known) != len(pointees) or not known,
        )

    def _contracts(self, function: Function) -> Iterator[Promise]:
        for kind, lock in function.contracts:
            origin = CONTRACTS.get(kind)
            term = self._entry_term(function, lock)
            if origin is None or term is None:
                continue
            need = self.need(function, term, ANY, False)
            yield Promise(function.key, function.own_place, origin, ((None, (need,)),), need.text)

    def _entry_term(self, function: Function, lock: Expr) -> Expr | None:
        state = State()
        for index, name in enumerate(function.params):
            state.env[("v", name)] = ("p", index)
        if lock[0] == "label":
            return self._program.models.aliases.get(lock[1])
        return state.evaluate(lock)


class AssertionAnalysis:
    """Decides all promises of a program, once for all rules that are about some of them."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._checker = Checker(analysis, Unshared(), trusting=False)
        self._doubting = Checker(analysis, Unshared(), trusting=False, believing=False)
        self._finder = PromiseFinder(analysis)
        queries = analysis.queries
        self._promises = Query(queries, self._find_promises)
        self._decided = Query(queries, self._decide_all)
        self._decided_without = Query(queries, self._decide_without)
        self._unproved: set[Asserted] = set()
        self._instances: list[Instance] | None = None

    def begin(self) -> None:
        """The program has become another one."""
        self._unproved = set()
        self._instances = None

    def instances(self) -> list[Instance]:
        """Every place that has to keep a promise, and whether it does.

        What rests on other assertions is proved only as far as those are.
        """
        if self._instances is None:
            found = [
                instance
                for key in sorted(self._program.functions)
                for instance in self._decided(key)
            ]
            while True:
                known = len(self._unproved)
                for instance in found:
                    if not instance.is_proved:
                        self._unproved.update(_as_asserted(instance))
                if len(self._unproved) == known:
                    break
                found = [self._without_assertions(instance) for instance in found]
            self._instances = found
        return self._instances

    def _find_promises(self, key: str) -> tuple[Promise, ...]:
        return tuple(p._replace(number=n) for n, p in enumerate(self._finder.find(key)))

    def _decide_all(self, key: str) -> tuple[Instance, ...]:
        return tuple(
            instance
            for promise in self._promises(key)
            for instance in self._decide(promise, self._checker)
        )

    def _decide_without(self, place: tuple[str, int]) -> tuple[Instance, ...]:
        """The same of one promise, without what other assertions say."""
        key, number = place
        return tuple(self._decide(self._promises(key)[number], self._doubting))

    def unproved(self, asserted: frozenset[Asserted]) -> frozenset[Asserted]:
        """Those of some assertions that are not proved."""
        self.instances()
        return self._not_proved(asserted)

    def _not_proved(self, asserted: frozenset[Asserted]) -> frozenset[Asserted]:
        return frozenset(
            one
            for one in asserted
            if one in self._unproved
            or any(
                Asserted(target, one.lock_class) in self._unproved
                for call in self._program.calls[one.function].values()
                for target in call.targets
            )
        )

    def _without_assertions(self, instance: Instance) -> Instance:
        """What is left of a proof when assertions that are not proved are no part of it."""
        unproved = self._not_proved(instance.asserted) if instance.is_proved else None
        if not unproved:
            return instance
        promise = instance.promise
        for again in self._decided_without((promise.function, promise.number)):
            same = (again.function, again.loc) == (instance.function, instance.loc)
            if same and not again.is_proved:
                return instance._replace(unproved=rests_on(unproved, again.unproved))
        return instance._replace(asserted=frozenset())

    def lock_kind(self, need: Need) -> str:
        """Whether a need is for an exclusive lock, a shared one or a section."""
        if need.term is not None and need.term[0] == "section":
            return SECTION
        record, _, field = need.lock_class.partition(".")
        tag = self._program.records.get(record, {}).get(field, "")
        return self._program.models.lock_records.get(tag, "")

    def _decide(self, promise: Promise, checker: Checker) -> Iterator[Instance]:
        is_header = self._program.functions[promise.function].file.endswith(".h")
        own = _Gathered(promise, promise.function, promise.loc)
        by_caller: dict[tuple[str, int], _Gathered] = {}
        for at, needs in promise.asked:
            if at is None:
                context = Context(promise.function, needs, None, (), (), False)
            else:
                said = checker.judge(promise.function, at.state, needs, None)
                own.by_class = own.by_class or said.by_class
                own.rely(said.asserted)
                settled = checker.is_settled(promise.function)
                others = self._alternatives(promise, at)
                if said.verdict is Verdict.BROKEN and not settled:
                    name = promise.function.split("@", 1)[0]
                    own.unproved.append(Reason(Gap.BUDGET, _CUT.format(name)))
                elif said.verdict is Verdict.BROKEN and others:
                    own.unproved.append(Reason(Gap.CONDITION, ALTERNATIVE))
                elif said.verdict is Verdict.UNDECIDED:
                    own.unproved.append(reason_in(promise.function, said.why, said.evidence))
                elif said.verdict is Verdict.BROKEN:
                    own.broken = True
                    own.needs = needs
                    own.evidence = said.evidence
                if said.verdict is not Verdict.LIFTED:
                    continue
                counted = any(map(self._analysis.counts, self._looked_at(promise, at)))
                context = checker.context(
                    promise.function, at, said.open_needs, None, others, counted
                )
                own.evidence = own.evidence or said.evidence
            own.needs = own.needs or needs
            if is_header:
                self._by_caller(promise, checker, context, (), by_caller, MAX_WRAPPERS)
            else:
                self._take(checker, own, context, ())
        if not by_caller or own.broken:
            yield own.instance()
        for gathered in by_caller.values():
            yield gathered.instance()

    def _alternatives(self, promise: Promise, at: At) -> frozenset[Expr]:
        """What an assertion has looked at besides locks: each of it could have met it.

        `rcu_dereference_check(task->cgroups, task->flags & PF_EXITING)`. A counter that is zero is
        no such thing: that nobody holds a reference any more is known where it is so.
        """
        found = frozenset(filter(self._analysis.is_no_lock, self._looked_at(promise, at)))
        if any(need.absent for _, needs in promise.asked for need in needs):
            return found  # `might_sleep_if(…)` says when it sleeps: callers choose that
        return found | self._analysis.asked_if(at, promise.function, promise.loc)

    def _looked_at(self, promise: Promise, at: At) -> Iterator[Expr]:
        return looked_at(self._program.functions[promise.function], promise.loc, at.state)

    def _take(
        self, checker: Checker, gathered: _Gathered, context: Context, below: tuple[Edge, ...]
    ) -> None:
        outcome = checker.decide(context, below)
        gathered.needs = gathered.needs or context.needs
        gathered.violations.extend(outcome.violations)
        gathered.unproved.extend(outcome.unproved)
        gathered.by_class = gathered.by_class or outcome.by_class
        gathered.asserted |= outcome.asserted

    def _by_caller(
        self,
        promise: Promise,
        checker: Checker,
        context: Context,
        below: tuple[Edge, ...],
        found: dict[tuple[str, int], _Gathered],
        depth: int,
    ) -> None:
        """A wrapper in a header: each call of it is a promise of its own."""
        for edge in checker.edges(context):
            key = (edge.caller, edge.call)
            caller = self._program.functions[edge.caller]
            gathered = found.get(key)
            if gathered is None:
                gathered = _Gathered(promise, edge.caller, edge.loc)
                gathered.needs = context.needs
            is_header = caller.file.endswith(".h") and depth > 0
            if edge.verdict is Verdict.LIFTED and edge.above is not None and is_header:
                self._by_caller(promise, checker, edge.above, (*below, edge), found, depth - 1)
                continue
            found[key] = gathered
            gathered.by_class = gathered.by_class or edge.by_class
            gathered.rely(edge.asserted)
            if edge.verdict is Verdict.LIFTED and edge.above is not None:
                self._take(checker, gathered, edge.above, (*below, edge))
            elif edge.verdict is Verdict.BROKEN:
                path = (*below, edge)
                siblings = tuple(False for _ in path)
                evidence = tuple(e for step in path for e in step.evidence)
                gathered.violations.append(Violation(path, siblings, evidence, ""))
            elif edge.verdict is Verdict.UNDECIDED:
                gathered.unproved.append(checker.undecided(edge))


class _Gathered:
    """An instance in the making."""

    def __init__(self, promise: Promise, function: str, loc: int) -> None:
        self.promise = promise
        self.function = function
        self.loc = loc
        self.needs: tuple[Need, ...] = ()
        self.violations: list[Violation] = []
        self.unproved: list[Reason] = []
        self.evidence: tuple[Evidence, ...] = ()
        self.broken = False
        self.by_class = False
        self.asserted: set[Asserted] = set()

    def rely(self, asserted: Asserted | None) -> None:
        if asserted is not None:
            self.asserted.add(asserted)

    def instance(self) -> Instance:
        return Instance(
            self.promise,
            self.function,
            self.loc,
            self.needs,
            tuple(self.violations),
            self.evidence,
            tuple(dict.fromkeys(self.unproved)),
            self.broken,
            self.by_class,
            frozenset(self.asserted),
        )


def rests_on(asserted: frozenset[Asserted], without: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """The gap of a proof that rests on assertions that are not proved.

    without: the gaps of the same without those assertions; they say more where nobody calls.
    """
    if without and all(reason.gap is Gap.NO_CALLER for reason in without):
        return without
    names = sorted({one.function.split("@", 1)[0] for one in asserted})
    text = " and ".join(f"{name}()" for name in names)
    return (Reason(Gap.CONDITION, f"it rests on an assertion in {text} that is not proved"),)


def _as_asserted(instance: Instance) -> set[Asserted]:
    """The assertion as others rest on it: where it is made, or a header makes it."""
    promise = instance.promise
    return {
        Asserted(function, need.lock_class)
        for _, needs in promise.asked
        for need in needs
        for function in (promise.function, instance.function)
    }
