"""Carrying a lock requirement from where it arises up to where it is met, or to an entry point.

A requirement that a function does not meet itself is rewritten into the names of each caller and
asked there again, until a lock meets it, the object turns out to be nobody else's yet, or control
comes from outside. Guards travel along: a caller that contradicts one is not a path.
"""

from __future__ import annotations

from collections import deque

from lockcheck.callgraph.calls import CallSite
from lockcheck.callgraph.program import Reach
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.callview import CallView, Views, is_pointer, parameter_object
from lockcheck.lockstate.construction import is_set_up
from lockcheck.lockstate.context_tests import ContextTests
from lockcheck.lockstate.doubts import (
    ALTERNATIVE,
    ANOTHER,
    BY_CONTEXT,
    LAST_REFERENCE,
    MAX_MAYBES,
    MAX_TARGETS,
    SETS_UP,
    SOMETIMES,
    UNSETTLED,
    WITH_AND_WITHOUT,
    doubt_of,
    doubted,
    drops_another,
    either_mode,
    is_table,
    reason_in,
    unsure_whom,
)
from lockcheck.lockstate.entries import Entries, Incoming
from lockcheck.lockstate.feasible import Feasibility
from lockcheck.lockstate.judging import Judge
from lockcheck.lockstate.looked_at import LookedAt, through_call
from lockcheck.lockstate.needs import Need, at_entry, could_meet
from lockcheck.lockstate.seen import Seen
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.verdicts import (
    Asserted,
    Context,
    Edge,
    Gap,
    Judgement,
    Outcome,
    Reason,
    Unshared,
    Verdict,
    Violation,
)
from lockcheck.queries import Query

MAX_SIBLING_LEVELS = 4  # how far up it is looked for a caller that takes the lock
MAX_DROPS = 12  # functions in a row that drop the lock
MAX_SITES = 8000  # calls looked at for one obligation
MAX_NODES = 4000  # function contexts looked at for one obligation


class Checker:
    """Decides requirements. One per rule: `unshared` and `trusting` are the rule's."""

    def __init__(
        self,
        analysis: Analysis,
        unshared: Unshared,
        trusting: bool = True,
        believing: bool = True,
    ) -> None:
        """`trusting`: see Entries; `believing`: see lockcheck.lockstate.judging.Judge."""
        self._analysis = analysis
        self._program = analysis.program
        self._entries = Entries(analysis.program, trusting)
        self._trusting = trusting
        self._unshared = unshared
        self._judge = Judge(analysis, unshared, believing)
        self.judge = self._judge.judge
        self._views = Views(analysis)
        self._looked_at = LookedAt(analysis)
        self._edges = Query(analysis.queries, self._ask_callers)
        self._outcomes: Query[tuple[Context, tuple[Edge, ...]], Outcome] = Query(
            analysis.queries, lambda asked: self._follow(*asked)
        )
        self._believing = believing
        self._context_tests = ContextTests(analysis.program.models.context_variables)
        self._met = Query(analysis.queries, self._is_met_by_all)
        self._feasibility = Feasibility(analysis, self._view)

    def context(
        self,
        function: str,
        at: At,
        needs: tuple[Need, ...],
        datum: Expr | None,
        alternatives: frozenset[Expr] = frozenset(),
        counted: bool = False,
    ) -> Context:
        """The requirement at the entry of `function`, from its state where the need arises.

        alternatives: values, other than of locks, of which one could meet the requirement.
        counted: see Context.
        """
        view = CallView(self._analysis, at)
        known, unknown = view.told(alternatives)
        return Context(
            function,
            tuple(at_entry(need) for need in needs),
            parameter_object(datum),
            view.guard,
            view.offered,
            view.opaque,
            self.part(function),
            self._looked_at.members(function, at),
            ALTERNATIVE if unknown else "",
            alternatives=known,
            counted=counted,
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

    def edges(self, context: Context, depth: int = 0) -> list[Edge]:
        """What each caller of a context's function says, in a fixed order.

        depth: of questions within questions whether a dropped lock was held.
        """
        return self._edges((context, depth))

    def _ask_callers(self, asked: tuple[Context, int]) -> list[Edge]:
        context, depth = asked
        found: list[Edge] = []
        for site in self._program.callers.get(context.function, ()):
            found.extend(self._ask(context, site, depth))
        return found

    def _ask(self, context: Context, site: CallSite, depth: int) -> list[Edge]:
        found: dict[tuple[object, ...], Edge] = {}
        part = self.part(site.caller)
        if part and context.part and part != context.part:
            return []
        for at in self._analysis.states_at(site.caller, site.call):
            said, above = self._ask_state(context, site, at, depth)
            if (
                above is not None
                and not self._trusting
                and is_set_up(self._analysis, site.caller, at, context.looked_at)
            ):
                above = doubted(above, SETS_UP)
            if said.verdict is not Verdict.INFEASIBLE:
                edge = Edge(
                    site.caller, site.call, site.loc, site.slot,
                    said.verdict, above, said.evidence, said.by_class, said.why, said.asserted,
                )  # fmt: skip
                found.setdefault((said.verdict, above, said.by_class, said.asserted), edge)
        edges = list(found.values())
        if not (self._trusting or self._analysis.is_settled(site.caller)):
            edges = [self._unsettled(context, edge) for edge in edges]
        if not self._trusting and site.slot is not None and not is_table(site.slot):
            targets = len(self._program.calls[site.caller][site.call].targets)
            if targets > MAX_TARGETS:
                edges = [unsure_whom(edge, targets) for edge in edges]
        if not any(edge.verdict is Verdict.HELD for edge in edges):
            return edges
        if all(need.absent for need in context.needs):
            return edges
        if self._trusting:
            return either_mode(edges) if context.opaque or context.guard else edges
        return [self._unless_conditional(site, edge) for edge in edges]

    def _unsettled(self, context: Context, edge: Edge) -> Edge:
        """What a function says of whose lock states some were cut, or taken for others.

        Nothing is in doubt about a lock that it has nothing to do with.
        """
        solved = self._analysis.solved(edge.caller)
        if not any(need.absent or solved.touches(need.lock_class) for need in context.needs):
            return edge
        if edge.above is not None:
            return edge._replace(above=doubted(edge.above, UNSETTLED))
        if edge.verdict is Verdict.BROKEN:
            return edge._replace(verdict=Verdict.UNDECIDED, why=UNSETTLED)
        return edge

    def is_settled(self, function: str) -> bool:
        """Whether all lock states of a function were followed."""
        return self._analysis.is_settled(function)

    def _unless_conditional(self, site: CallSite, edge: Edge) -> Edge:
        """A call at which the lock is held on other paths, as a condition on data decides.

        Where the lock was dropped, or a try for it failed, no condition excuses.
        """
        if edge.verdict not in (Verdict.BROKEN, Verdict.LIFTED):
            return edge
        if any(e.dropped for e in edge.evidence) or self._has_failed_try(site):
            return edge
        if edge.above is not None:
            return edge._replace(above=doubted(edge.above, WITH_AND_WITHOUT))
        return edge._replace(verdict=Verdict.UNDECIDED, why=WITH_AND_WITHOUT)

    def _has_failed_try(self, site: CallSite) -> bool:
        """Whether a caller makes conditional attempts at locks before a call."""
        for number, call in self._program.calls[site.caller].items():
            for target in call.targets if number < site.call else ():
                model = self._program.model(target)
                if model is not None and any(e.when is not None for e in model.acquires):
                    return True
        return False

    def _view(self, site: CallSite | Edge, at: At) -> CallView:
        return self._views.at(site.caller, at)

    def _maybes(self, context: Context, site: CallSite | Edge) -> int:
        """How many functions may or may not go on; beyond the bound, and where nobody asks, all
        the same, so that there are fewer contexts."""
        if context.maybes > MAX_MAYBES or not context.needs[0].absent:
            return context.maybes
        return context.maybes + (not self._analysis.is_certain(site.caller, site.call))

    def _ask_state(
        self, context: Context, site: CallSite | Edge, at: At, depth: int
    ) -> tuple[Judgement, Context | None]:
        view = self._view(site, at)
        guard: list[Condition] = []
        if site.slot is not None:
            through = view.through(context.function)
            if through is False:
                return _INFEASIBLE, None
            if through is not None:
                guard.append(through)
        for condition in context.guard:
            lifted = view.lift(condition)
            if lifted is False:
                return _INFEASIBLE, None
            if lifted is not None:
                guard.append(lifted)
        needs = tuple(view.rename(need) for need in context.needs)
        datum = None if context.datum is None else view.evaluate(context.datum)
        offered = view.rename_offered(context.offered)
        if any(
            could_meet(lock, mode, need, self._analysis.are_apart)
            for lock, mode in offered
            for need in needs
        ):
            return Judgement(Verdict.HELD), None
        said = self._judge.judge(site.caller, at.state, needs, datum)
        open_needs = said.open_needs
        chosen, unknown = view.told(self._chosen_by(context, site, at))
        if said.verdict is Verdict.BROKEN and not self._trusting and drops_another(said.evidence):
            return Judgement(Verdict.UNDECIDED, evidence=said.evidence, why=ANOTHER), None
        left = bool(chosen or unknown) or not all(map(view.confirms, context.alternatives))
        by_context = context.needs[0].absent and self._context_tests.any_in(at.state.facts)
        if said.verdict is Verdict.BROKEN and (left or by_context):
            why = ALTERNATIVE if left else BY_CONTEXT
            return Judgement(Verdict.UNDECIDED, evidence=said.evidence, why=why), None
        if said.verdict is Verdict.BROKEN and all(e.dropped and not e.own for e in said.evidence):
            open_needs = needs  # whether there was a lock to drop, its callers say
        elif said.verdict is not Verdict.LIFTED:
            return said, None
        guard.extend(c for c in view.guard if c not in guard)
        why = BY_CONTEXT if by_context else self._asked_sometimes(site.caller, context)
        above = Context(
            site.caller,
            tuple(at_entry(need) for need in open_needs),
            parameter_object(datum),
            tuple(guard),
            (*(pair for pair in offered if is_pointer(pair[0])), *view.offered),
            context.opaque or view.opaque,
            context.part or self.part(site.caller),
            through_call(context.looked_at, at) | self._views.looked_at(site.caller, at),
            context.doubt
            or (reason_in(site.caller, why, ()).text if why else "")
            or (ALTERNATIVE if unknown or not all(map(view.keeps, context.alternatives)) else ""),
            self._maybes(context, site),
            (
                *chosen,
                *(c for a in context.alternatives if isinstance(c := view.lift(a), Condition)),
            ),
            context.counted,
        )
        if said.verdict is Verdict.BROKEN:
            if self._is_met_above(above, depth):
                return said, None
            return Judgement(Verdict.LIFTED), above
        return said, above

    def _asked_sometimes(self, function: str, below: Context) -> str:
        """Why a function that asserts a needed lock in some cases leaves the others undecided.

        `if (queued) assert_held(rq); …; if (running) use(rq);` is called without the lock as well,
        and whether one condition implies the other is a matter of the data. So does one that calls
        a helper which takes something else for the lock, beside what needs it.
        """
        needed = {need.lock_class for need in below.needs if not need.absent}
        if not needed:
            return ""
        if not needed.isdisjoint(self._analysis.asserts_sometimes(function)):
            return SOMETIMES
        helpers = self._analysis.or_else_helpers(function)
        if any(t != below.function and not needed.isdisjoint(locks) for t, locks in helpers):
            return SOMETIMES
        return ""

    def _chosen_by(self, context: Context, site: CallSite | Edge, at: At) -> frozenset[Expr]:
        """The values that decide whether a helper is called that does nothing but assert."""
        absent = any(need.absent for need in context.needs)
        if absent or not self._analysis.only_asserts(context.function):
            return frozenset()
        return self._analysis.asked_if(at, site.caller, site.loc)

    # -- the whole way up ----------------------------------------------------------------------

    def decide(self, start: Context, below: tuple[Edge, ...] = ()) -> Outcome:
        """Follow a requirement up from the entry of the function where it arises.

        below: edges that led up to that function, when it is not the obligation's own.
        """
        return self._outcomes((start, below))

    def _follow(self, start: Context, below: tuple[Edge, ...]) -> Outcome:
        parents: dict[Context, tuple[Context, Edge] | None] = {start: None}
        queue = deque([start])
        seen = Seen()
        seen.add(start)
        violations: list[Violation] = []
        unproved: list[Reason] = []
        held = by_class = False
        asserted: set[Asserted] = set()
        asked = 0
        while queue:
            context = queue.popleft()
            asked += len(self._program.callers.get(context.function, ()))
            if len(parents) > MAX_NODES or asked > MAX_SITES:
                unproved.append(Reason(Gap.BUDGET, "it has too many callers to ask them all"))
                break
            for edge in self.edges(context):
                broken = edge.verdict is Verdict.BROKEN
                if broken and not self._is_possible(context, edge):
                    continue
                held = held or edge.verdict is Verdict.HELD
                by_class = by_class or edge.by_class
                if edge.asserted is not None:
                    asserted.add(edge.asserted)
                doubt = doubt_of(context)
                if (broken and not self._believing) or (broken and doubt):
                    unproved.append(Reason(Gap.CONDITION, doubt))
                elif broken:
                    violations.append(self._violation(parents, context, edge, below, ""))
                elif edge.verdict is Verdict.UNDECIDED:
                    unproved.append(self.undecided(edge))
                elif edge.above is not None:
                    above = seen.add(edge.above)
                    if above is not None:
                        parents[above] = (context, edge)
                        queue.append(above)
            self._enter(context, parents, violations, unproved, below)
            if not self._believing and any(r.gap is not Gap.NO_CALLER for r in unproved):
                break  # all that is asked is whether a proof holds without assertions
        reasons = tuple(dict.fromkeys(unproved))
        return Outcome(tuple(violations), reasons, held, by_class, frozenset(asserted))

    def _is_possible(self, context: Context, edge: Edge) -> bool:
        """Whether a state that breaks a requirement, and no other one at that call, can come up."""

        def says_so(at: At) -> bool:
            return self._ask_state(context, edge, at, 0)[0].verdict is Verdict.BROKEN

        return self._feasibility.is_possible(context, edge, says_so)

    def _is_met_above(self, above: Context, depth: int) -> bool:
        """Whether some caller holds the lock that a function drops.

        IMPRECISE: chains of functions that each drop it are followed to a bounded depth.
        """
        if depth >= MAX_DROPS:
            return False
        return any(self._is_met(edge, depth + 1) for edge in self.edges(above, depth + 1))

    @staticmethod
    def undecided(edge: Edge) -> Reason:
        """The reason for an edge at which a condition decides that is not followed."""
        return reason_in(edge.caller, edge.why, edge.evidence)

    def _is_met(self, edge: Edge, depth: int, levels: int = MAX_SIBLING_LEVELS) -> bool:
        """Whether a caller meets a requirement: itself, or because all of its own callers do."""
        if edge.verdict is Verdict.HELD:
            return True
        above = edge.above
        if above is None or levels == 0 or self._program.reach(above.function) is Reach.CALLBACK:
            return False
        return self._met((above, depth, levels))

    def _is_met_by_all(self, asked: tuple[Context, int, int]) -> bool:
        above, depth, levels = asked
        edges = [e for e in self.edges(above, depth) if e.verdict is not Verdict.UNSHARED]
        return bool(edges) and all(self._is_met(e, depth, levels - 1) for e in edges)

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
        doubt = doubt_of(context) or (ALTERNATIVE if context.alternatives else "")
        if not doubt and context.counted and entry.deferred:
            doubt = LAST_REFERENCE
        if entry.incoming is Incoming.FAILED and (doubt or not self._believing):
            unproved.append(Reason(Gap.CONDITION, doubt))
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
        siblings = tuple(any(self._is_met(e, 0) for e in self.edges(c)) for c in contexts)
        path = [*below, *path]
        evidence = tuple(e for edge in path for e in edge.evidence)
        return Violation(tuple(path), (*(False for _ in below), *siblings), evidence, entry)


_INFEASIBLE = Judgement(Verdict.INFEASIBLE)


class Checkers:
    """Trusting checkers of one analysis, by what their rules say; each remembers its answers."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._known: dict[tuple[Unshared, bool], Checker] = {}

    def get(self, unshared: Unshared, believing: bool) -> Checker:
        """The checker for what a rule says; see Checker."""
        known = self._known.get((unshared, believing))
        if known is None:
            known = Checker(self.analysis, unshared, believing=believing)
            self._known[unshared, believing] = known
        return known
