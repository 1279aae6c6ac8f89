"""Carrying a lock requirement from where it arises up to where it is met, or to an entry point.

A requirement that a function does not meet itself is rewritten into the names of each caller and
asked there again, until a lock meets it, the object turns out to be nobody else's yet, or control
comes from outside. Guards travel along: a caller that contradicts one is not a path.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import NamedTuple

import msgspec

from lockcheck.callgraph.program import CallSite, Reach
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.entries import Entries, Incoming
from lockcheck.lockstate.needs import Need, asserted, at_entry, could_meet, find, fits
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.state import Held, State
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.terms import (
    is_entry_term,
    lock_class,
    object_root,
    strip_lock,
    substitute,
    surely_different,
)

MAX_SIBLING_LEVELS = 4  # how far up it is looked for a caller that takes the lock
MAX_NODES = 4000  # function contexts looked at for one obligation


class Context(msgspec.Struct, frozen=True):
    """A requirement at the entry of one function: one of `needs`, whenever `guard` holds.

    datum: the parameter whose object is touched, None when it is no parameter's.
    offered: (lock, mode) held by pointers whose class callers know: `write_lock(l)`.
    opaque: whether the requirement also hangs on conditions that callers cannot be asked about.
    conditional: whether some way through a function of the chain does not get to the place.
    doubt: why the chain may not be possible, where something that is not followed decides that.
    part: the beginning of file names that the chain has committed to, of exclusive ones.
    """

    function: str
    needs: tuple[Need, ...]
    datum: Expr | None
    guard: tuple[Condition, ...]
    offered: tuple[tuple[Expr, str], ...]
    opaque: bool
    part: str = ""
    conditional: bool = False
    doubt: str = ""


class Verdict(Enum):
    """What a place says of a requirement."""

    HELD = "held"
    UNSHARED = "unshared"  # nobody else can see the object yet, or any more
    LIFTED = "lifted"  # the caller has to say
    BROKEN = "broken"  # no caller can mend it: wrong mode, or dropped here
    UNDECIDED = "undecided"  # held in either mode, and data that we do not follow decides which
    INFEASIBLE = "infeasible"


class Judgement(NamedTuple):
    """What a place says of needs.

    open_needs: those that callers may still meet. by_class: the lock that meets them was known by
    its class only.
    """

    verdict: Verdict
    open_needs: tuple[Need, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    by_class: bool = False


class Evidence(NamedTuple):
    """A lock event that explains a verdict: held in the wrong mode, or dropped, in `function`."""

    need: Need
    held: Held
    dropped: bool
    function: str


class Edge(NamedTuple):
    """What one caller says of a context."""

    caller: str
    call: int
    loc: int
    slot: str | None
    verdict: Verdict
    above: Context | None  # for LIFTED
    evidence: tuple[Evidence, ...]
    by_class: bool = False  # for HELD
    why: str = ""  # for UNDECIDED: what decides


class Violation(NamedTuple):
    """A path on which a requirement is not met. `path` goes from the obligation's function up.

    context: the context of the obligation's own function.
    path: edges, innermost first; the last one is BROKEN, or its caller is an entry point.
    siblings: for each edge, whether another caller of the same function met the requirement.
    """

    path: tuple[Edge, ...]
    siblings: tuple[bool, ...]
    evidence: tuple[Evidence, ...]
    entry: str  # how control gets to the outermost function, "" where a caller breaks it


class Gap(Enum):
    """Why an obligation could not be decided."""

    NO_CALLER = "no caller"
    UNKNOWN_CALLER = "unknown caller"
    CONDITION = "condition"
    BUDGET = "budget"


class Reason(NamedTuple):
    """A gap in words: what would have to be known."""

    gap: Gap
    text: str


class Outcome(NamedTuple):
    """How an obligation ended. No violation and no reason: it is proved."""

    violations: tuple[Violation, ...]
    unproved: tuple[Reason, ...]
    held: bool  # some caller meets it with the lock
    by_class: bool = False  # the proof rests on the class of a lock somewhere


class Unshared(msgspec.Struct, frozen=True):
    """When nobody but the running function can reach an object (data of a rule).

    until: functions that make it known to others; a function that calls one of them has it to
        itself up to that call. after: functions that take it back. callbacks: functions that are
        called while the object is being set up or torn down.
    """

    until: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    callbacks: frozenset[str] = frozenset()


class Checker:
    """Decides requirements. One per rule: `unshared` and `trusting` are the rule's."""

    def __init__(self, analysis: Analysis, unshared: Unshared, trusting: bool = True) -> None:
        """`trusting`: see lockcheck.lockstate.entries.Entries."""
        self._analysis = analysis
        self._program = analysis.program
        self._entries = Entries(analysis.program, trusting)
        self._trusting = trusting
        self._unshared = unshared
        self._edges: dict[Context, list[Edge]] = {}
        self._publishers: dict[str, bool] = {}
        self._met: dict[tuple[Context, int], bool] = {}

    # -- one place -----------------------------------------------------------------------------

    def judge(
        self, function: str, state: State, needs: tuple[Need, ...], datum: Expr | None
    ) -> Judgement:
        """What a state says of needs in its own names: any one of them will do."""
        if self._is_unshared(function, state, datum):
            return Judgement(Verdict.UNSHARED)
        open_needs: list[Need] = []
        evidence: list[Evidence] = []
        by_class: bool | None = None
        for need in needs:
            if need.term is not None and self._analysis.is_unshared(function, state, need.term):
                return Judgement(
                    Verdict.UNSHARED
                )  # the lock is in an object that nobody else knows
            if not need.absent and self._is_last(state, need):
                return Judgement(Verdict.UNSHARED, by_class=True)
            if need.absent:
                if need.term is None:  # nobody can tell any more which lock it is
                    return Judgement(Verdict.HELD, by_class=True)
                if self._is_absent(function, state, need, open_needs, evidence):
                    return Judgement(Verdict.HELD)
                continue
            match = find(state.held, need)
            if match is not None and not fits(match.held.mode, need.mode):
                evidence.append(Evidence(need, match.held, False, function))
                continue
            match = match or asserted(state, need)
            if match is not None:
                if match.exact:
                    return Judgement(Verdict.HELD)
                by_class = True
                continue
            dropped = find(state.dropped, need)
            if dropped is not None and fits(dropped.held.mode, need.mode):
                evidence.append(Evidence(need, dropped.held, True, function))
                continue
            ended = find(state.ended, need)
            if ended is not None:
                evidence.append(Evidence(need, ended.held, True, function))
            open_needs.append(need)
        if by_class:
            return Judgement(Verdict.HELD, by_class=True)
        if not open_needs:
            return Judgement(Verdict.BROKEN, (), tuple(evidence))
        return Judgement(Verdict.LIFTED, tuple(open_needs), tuple(evidence))

    def _is_last(self, state: State, need: Need) -> bool:
        """Whether a counter of the object that holds a lock is known to be zero.

        The last reference is gone, so nobody else can reach the object.
        """
        effects = self._program.effects
        for term, fact in state.facts.items():
            if fact.equal != 0 or term[0] != "l" or term[1][0] != "f":
                continue
            if not effects.is_counter(term[1][2]):
                continue
            place, name = term[1], ""
            while place[0] in ("f", "i"):
                name = place[2] if place[0] == "f" else name
                place = place[1]
            if name.split(".", 1)[0] != need.lock_class.split(".", 1)[0]:
                continue
            named = ("f", place, need.lock_class)
            if need.term is None or not surely_different(need.term, named):
                return True
        return False

    def _is_absent(
        self,
        function: str,
        state: State,
        need: Need,
        open_needs: list[Need],
        evidence: list[Evidence],
    ) -> bool:
        """Whether a lock that must not be held is not; else what is left to ask, or says why.

        UNSOUND: only the same instance counts as held; a lock of its class may be another one.
        """
        assert need.term is not None
        match = find(state.held, need)
        if match is not None and match.exact and fits(match.held.mode, need.mode):
            evidence.append(Evidence(need, match.held, False, function))
            return False
        if state.holds(("held", need.term, need.mode)) is False:
            return True
        if need.term[0] == "section" and find(state.dropped, need) is not None:
            return True  # UNSOUND: it leaves its caller's section; that may have been entered twice
        open_needs.append(need)
        return False

    def _is_unshared(self, function: str, state: State, datum: Expr | None) -> bool:
        marks = {mark.split("@", 1)[0] for mark in state.marks}
        if marks & self._unshared.after:
            return True
        if self._publishes(function) and not marks & self._unshared.until:
            return True
        return datum is not None and self._analysis.is_unshared(function, state, datum)

    def _publishes(self, function: str) -> bool:
        known = self._publishers.get(function)
        if known is None:
            known = any(
                target.split("@", 1)[0] in self._unshared.until
                for call in self._program.calls[function].values()
                for target in call.targets
            )
            self._publishers[function] = known
        return known

    def context(
        self,
        function: str,
        at: At,
        needs: tuple[Need, ...],
        datum: Expr | None,
        conditional: bool = False,
    ) -> Context:
        """The requirement at the entry of `function`, from its state where the need arises."""
        return Context(
            function,
            tuple(at_entry(need) for need in needs),
            _parameter_object(datum),
            self._analysis.entry_guard(at.state),
            _offered(at.state),
            _is_opaque(at.state),
            self.part(function),
            conditional,
        )

    def part(self, function: str) -> str:
        """Which of the exclusive sets of files a function belongs to, "" for none."""
        file = self._program.functions[function].file
        for group in self._program.models.exclusive:
            for beginning in group:
                if file.startswith(beginning):
                    return beginning
        return ""

    # -- callers -------------------------------------------------------------------------------

    def edges(self, context: Context) -> list[Edge]:
        """What each caller of a context's function says, in a fixed order."""
        known = self._edges.get(context)
        if known is None:
            known = []
            for site in self._program.callers.get(context.function, ()):
                known.extend(self._ask(context, site))
            self._edges[context] = known
        return known

    def _ask(self, context: Context, site: CallSite) -> list[Edge]:
        found: dict[tuple[object, ...], Edge] = {}
        part = self.part(site.caller)
        if part and context.part and part != context.part:
            return []
        for at in self._analysis.states_at(site.caller, site.call):
            said, above = self._ask_state(context, site, at)
            if above is not None and self._is_construction(context, site, at):
                above = _doubted(above, _SETS_UP)
            if said.verdict is not Verdict.INFEASIBLE:
                edge = Edge(
                    site.caller, site.call, site.loc, site.slot,
                    said.verdict, above, said.evidence, said.by_class,
                )  # fmt: skip
                found.setdefault((said.verdict, above, said.by_class), edge)
        edges = list(found.values())
        if not any(edge.verdict is Verdict.HELD for edge in edges):
            return edges
        if all(need.absent for need in context.needs):
            return edges
        if self._trusting:
            return _either_mode(edges) if context.opaque or context.guard else edges
        return [self._unless_conditional(site, edge) for edge in edges]

    def _is_construction(self, context: Context, site: CallSite, at: At) -> bool:
        """Whether a call sets up an object that nobody else knows, under conditions on it.

        What the set-up has stored into the object so far is not followed, so neither is whether
        the conditions can hold; see fixtures/lock-assertion/good_new_object_conditions.c.
        """
        if self._trusting or not context.conditional:
            return False
        return any(
            term in at.state.zeroed
            or (term[0] == "c" and self._analysis.is_unshared(site.caller, at.state, term))
            for term in at.terms[1:]
        )

    def _unless_conditional(self, site: CallSite, edge: Edge) -> Edge:
        """A call at which the lock is held on other paths, as a condition on data decides.

        Where the lock was dropped, or a try for it failed, no condition excuses.
        """
        if edge.verdict not in (Verdict.BROKEN, Verdict.LIFTED):
            return edge
        if any(e.dropped for e in edge.evidence) or self._has_failed_try(site):
            return edge
        if edge.above is not None:
            return edge._replace(above=_doubted(edge.above, _WITH_AND_WITHOUT))
        return edge._replace(verdict=Verdict.UNDECIDED, why=_WITH_AND_WITHOUT)

    def _has_failed_try(self, site: CallSite) -> bool:
        """Whether a caller makes conditional attempts at locks before a call."""
        for number, call in self._program.calls[site.caller].items():
            for target in call.targets if number < site.call else ():
                model = self._program.model(target)
                if model is not None and any(e.when is not None for e in model.acquires):
                    return True
        return False

    def _ask_state(
        self, context: Context, site: CallSite, at: At
    ) -> tuple[Judgement, Context | None]:
        state, callee, args = at.state, at.terms[0], at.terms[1:]
        guard: list[Condition] = []
        if site.slot is not None:
            target: Expr = ("fn", context.function)
            if callee[0] == "fn":
                if callee != target and callee[1] in self._program.functions:
                    return _INFEASIBLE, None
            elif self._analysis.is_entry_value(state, callee):
                guard.append(Condition(callee, target, True))
        for condition in context.guard:
            term = substitute(condition.term, args)
            if term is None:
                continue
            term = state.evaluate(term)
            truth = state.decide(("o", "==", term, condition.value))
            if truth is None:
                if self._analysis.is_entry_value(state, term):
                    guard.append(Condition(term, condition.value, condition.equal))
            elif truth != condition.equal:
                return _INFEASIBLE, None
        needs = tuple(self._rename(need, args, state) for need in context.needs)
        datum = None if context.datum is None else substitute(context.datum, args)
        if datum is not None:
            datum = state.evaluate(datum)
        offered = self._rename_offered(context, args, state)
        if any(could_meet(lock, mode, need) for lock, mode in offered for need in needs):
            return Judgement(Verdict.HELD), None
        said = self.judge(site.caller, state, needs, datum)
        open_needs = said.open_needs
        if said.verdict is Verdict.BROKEN and all(e.dropped for e in said.evidence):
            open_needs = needs  # whether there was a lock to drop, its callers say
        elif said.verdict is not Verdict.LIFTED:
            return said, None
        guard.extend(c for c in self._analysis.entry_guard(state) if c not in guard)
        above = Context(
            site.caller,
            tuple(at_entry(need) for need in open_needs),
            _parameter_object(datum),
            tuple(guard),
            (*(pair for pair in offered if _is_pointer(pair[0])), *_offered(state)),
            context.opaque or _is_opaque(state),
            context.part or self.part(site.caller),
            context.conditional or not self._analysis.is_certain(site.caller, site.call),
            context.doubt,
        )
        if said.verdict is Verdict.BROKEN:
            if any(self._is_met(edge) for edge in self.edges(above)):
                return said, None
            return Judgement(Verdict.LIFTED), above
        return said, above

    def _rename_offered(
        self, context: Context, args: tuple[Expr, ...], state: State
    ) -> list[tuple[Expr, str]]:
        renamed: list[tuple[Expr, str]] = []
        for lock, mode in context.offered:
            term = substitute(lock, args)
            if term is not None:
                term = strip_lock(state.evaluate(term), self._program.models.lock_records)
                renamed.append((term, mode))
        return renamed

    def _rename(self, need: Need, args: tuple[Expr, ...], state: State) -> Need:
        if need.term is None:
            return need
        term = substitute(need.term, args)
        if term is not None:
            term = strip_lock(state.evaluate(term), self._program.models.lock_records)
        if term is not None and need.lock_class == "":
            return msgspec.structs.replace(need, term=term, lock_class=lock_class(term) or "")
        return msgspec.structs.replace(need, term=term)

    # -- the whole way up ----------------------------------------------------------------------

    def decide(self, start: Context, below: tuple[Edge, ...] = ()) -> Outcome:
        """Follow a requirement up from the entry of the function where it arises.

        below: edges that led up to that function, when it is not the obligation's own.
        """
        parents: dict[Context, tuple[Context, Edge] | None] = {start: None}
        queue = deque([start])
        seen = _Seen()
        seen.add(start)
        violations: list[Violation] = []
        unproved: list[Reason] = []
        held = by_class = False
        while queue:
            context = queue.popleft()
            if len(parents) > MAX_NODES:
                unproved.append(Reason(Gap.BUDGET, "it has too many callers to ask them all"))
                break
            for edge in self.edges(context):
                held = held or edge.verdict is Verdict.HELD
                by_class = by_class or edge.by_class
                if edge.verdict is Verdict.BROKEN and context.doubt:
                    unproved.append(Reason(Gap.CONDITION, context.doubt))
                elif edge.verdict is Verdict.BROKEN:
                    violations.append(self._violation(parents, context, edge, below, ""))
                elif edge.verdict is Verdict.UNDECIDED:
                    unproved.append(self.undecided(edge))
                elif edge.above is not None and seen.add(edge.above):
                    parents[edge.above] = (context, edge)
                    queue.append(edge.above)
            self._enter(context, parents, violations, unproved, below)
        return Outcome(tuple(violations), tuple(dict.fromkeys(unproved)), held, by_class)

    @staticmethod
    def undecided(edge: Edge) -> Reason:
        """The reason for an edge at which a condition decides that is not followed."""
        name = edge.caller.split("@", 1)[0]
        lock = edge.evidence[0].need.text if edge.evidence else "the lock"
        return Reason(Gap.CONDITION, edge.why.format(name=f"{name}()", lock=lock))

    def _is_met(self, edge: Edge, levels: int = MAX_SIBLING_LEVELS) -> bool:
        """Whether a caller meets a requirement: itself, or because all of its own callers do."""
        if edge.verdict is Verdict.HELD:
            return True
        above = edge.above
        if above is None or levels == 0 or self._program.reach(above.function) is Reach.CALLBACK:
            return False
        known = self._met.get((above, levels))
        if known is None:
            edges = [e for e in self.edges(above) if e.verdict is not Verdict.UNSHARED]
            known = bool(edges) and all(self._is_met(e, levels - 1) for e in edges)
            self._met[above, levels] = known
        return known

    def _enter(
        self,
        context: Context,
        parents: dict[Context, tuple[Context, Edge] | None],
        violations: list[Violation],
        unproved: list[Reason],
        below: tuple[Edge, ...],
    ) -> None:
        """What control that comes to a context from outside the units says."""
        key = context.function
        if key in self._unshared.callbacks:
            return
        entry = self._entries.judge(key, context.needs)
        if entry.incoming is Incoming.FAILED and context.doubt:
            unproved.append(Reason(Gap.CONDITION, context.doubt))
        elif entry.incoming is Incoming.FAILED:
            violations.append(self._violation(parents, context, None, below, entry.text))
        elif entry.incoming is Incoming.UNKNOWN:
            unproved.append(Reason(Gap.UNKNOWN_CALLER, entry.text))
        elif entry.incoming is Incoming.NO_CALLER:
            unproved.append(Reason(Gap.NO_CALLER, entry.text))

    def _violation(
        self,
        parents: dict[Context, tuple[Context, Edge] | None],
        context: Context,
        last: Edge | None,
        below: tuple[Edge, ...],
        entry: str,
    ) -> Violation:
        path: list[Edge] = [] if last is None else [last]
        contexts: list[Context] = [] if last is None else [context]
        at: Context = context
        while True:
            step = parents[at]
            if step is None:
                break
            at, edge = step
            path.append(edge)
            contexts.append(at)
        path.reverse()
        contexts.reverse()
        siblings = tuple(any(self._is_met(e) for e in self.edges(c)) for c in contexts)
        path = [*below, *path]
        evidence = tuple(e for edge in path for e in edge.evidence)
        return Violation(tuple(path), (*(False for _ in below), *siblings), evidence, entry)


# Why an edge is undecided; {name} is the caller.
_SETS_UP = (
    "{name} passes an object that it is setting up, and what it has stored there is not followed"
)
_WITH_AND_WITHOUT = (
    "{name} calls it on paths with and without {lock}, as a condition says that is not followed"
)
_EITHER_MODE = "{name} holds {lock} for read or for write, as a condition says that is not followed"
_INFEASIBLE = Judgement(Verdict.INFEASIBLE)


def _is_pointer(lock: Expr) -> bool:
    """Whether a lock is known only as a pointer that the caller gave."""
    return lock_class(lock) is None and is_entry_term(lock)


def _offered(state: State) -> tuple[tuple[Expr, str], ...]:
    return tuple((lock, held.mode) for lock, held in state.held.items() if _is_pointer(lock))


def _is_opaque(state: State) -> bool:
    """Whether branches on the way depended on more than the values at entry."""
    return any(not is_entry_term(term) for term in state.facts if term[0] != "held")


def _either_mode(edges: list[Edge]) -> list[Edge]:
    """One call made with the lock held for write on some paths and for read on others.

    The caller chose the mode by a condition, and the callee tells the cases apart by data: which
    page it is, not which flag. No path is known on which the two disagree, so it is no violation;
    see fixtures/gfn-track-write/good_mode_follows_data.c.
    """
    return [
        edge._replace(verdict=Verdict.UNDECIDED, why=_EITHER_MODE)
        if edge.verdict is Verdict.BROKEN and not any(e.dropped for e in edge.evidence)
        else edge
        for edge in edges
    ]


def _parameter_object(datum: Expr | None) -> Expr | None:
    """The parameter in whose object a place lies: what callers can say is shared or not."""
    if datum is None:
        return None
    place = object_root(datum)
    return place if place[0] == "p" else None


def _doubted(context: Context, why: str) -> Context:
    """A context whose chain may not be possible; the first doubt is kept."""
    if context.doubt:
        return context
    lock = context.needs[0].text if context.needs else "the lock"
    name = context.function.split("@", 1)[0]
    return msgspec.structs.replace(context, doubt=why.format(name=f"{name}()", lock=lock))


class _Seen:
    """Contexts that were asked, so that none is asked that one under a weaker guard covers."""

    def __init__(self) -> None:
        self._guards: dict[tuple[object, ...], list[frozenset[Condition]]] = {}

    def add(self, context: Context) -> bool:
        """Take a context in; whether it says anything new."""
        key = (context.function, context.needs, context.datum, context.offered, context.doubt)
        known = self._guards.setdefault(key, [])
        guard = frozenset(context.guard)
        if any(weaker <= guard for weaker in known):
            return False
        known.append(guard)
        return True
