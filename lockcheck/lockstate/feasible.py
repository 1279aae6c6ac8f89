"""Whether the conditions of a chain can hold: some caller has to let them."""

from __future__ import annotations

from collections.abc import Callable

from lockcheck.callgraph.calls import CallSite
from lockcheck.callgraph.program import Reach
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.callview import CallView
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.verdicts import Context, Edge
from lockcheck.queries import Query

MAX_GUARD_LEVELS = 5  # how far up it is asked whether conditions can hold


class Feasibility:
    """Answers are remembered. `view_of`: the view of a state at a call."""

    def __init__(
        self, analysis: Analysis, view_of: Callable[[CallSite | Edge, At], CallView]
    ) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._view_of = view_of
        self._some_caller_lets = Query(analysis.queries, self._ask_callers)

    def is_possible(
        self, context: Context, edge: Edge, says_so: Callable[[At], bool] = lambda _: True
    ) -> bool:
        """Whether some caller of an edge's function lets the conditions of its chain hold.

        says_so: whether a state at the call is one that the edge speaks of.
        """
        guards = {
            guard
            for at in self._analysis.states_at(edge.caller, edge.call)
            if (guard := self.lifted(context.function, context.guard, edge, at)) is not None
            and says_so(at)
        }
        return any(self._may_hold(edge.caller, guard, MAX_GUARD_LEVELS) for guard in guards)

    def may_hold(self, function: str, guard: tuple[Condition, ...]) -> bool:
        """Whether some caller of a function lets conditions on its entry values hold."""
        return self._may_hold(function, guard, MAX_GUARD_LEVELS)

    def lifted(
        self, function: str, guard: tuple[Condition, ...], site: CallSite | Edge, at: At
    ) -> tuple[Condition, ...] | None:
        """What a callee's conditions, and those on the way, ask of a caller's own entry values."""
        view = self._view_of(site, at)
        found = [] if site.slot is None else [view.through(function)]
        found.extend(view.lift(condition) for condition in guard)
        if any(condition is False for condition in found):
            return None
        kept = [c for c in (*found, *view.guard) if isinstance(c, Condition)]
        return tuple(dict.fromkeys(kept))

    def _may_hold(self, function: str, guard: tuple[Condition, ...], levels: int) -> bool:
        """Whether control may come to a function with some conditions on its entry values."""
        if not guard or levels == 0 or self._program.reach(function) is Reach.CALLBACK:
            return True
        return self._some_caller_lets((function, guard, levels))

    def _ask_callers(self, asked: tuple[str, tuple[Condition, ...], int]) -> bool:
        function, guard, levels = asked
        sites = self._program.callers.get(function, ())
        return not sites or any(
            self._may_hold(site.caller, above, levels - 1)
            for site in sites
            for at in self._analysis.states_at(site.caller, site.call)
            if (above := self.lifted(function, guard, site, at)) is not None
        )
