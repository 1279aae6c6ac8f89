"""Branches that ask in which context the kernel is: `if (oops_in_progress)`, `system_state`."""

from __future__ import annotations

from collections.abc import Iterable

from lockcheck.facts.ir import Expr


class ContextTests:
    """Tells values that a variable of the models decides, whose value is not followed."""

    def __init__(self, variables: frozenset[str]) -> None:
        self._variables = variables
        self._known: dict[Expr, bool] = {}

    def any_in(self, terms: Iterable[Expr]) -> bool:
        """Whether one of some values tells in which context the kernel is."""
        return any(map(self._tells, terms))

    def _tells(self, term: Expr) -> bool:
        known = self._known.get(term)
        if known is None:
            named = term[0] in ("g", "ap") and str(term[1]).split("@", 1)[0] in self._variables
            known = named or any(
                self._tells(part) for part in term[1:] if type(part) is tuple and part
            )
            self._known[term] = known
        return known
