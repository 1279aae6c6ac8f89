"""What is known of memory besides the stores that were seen: effects of calls, and relations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from lockcheck.callgraph.effects import StoreEffects
from lockcheck.facts.ir import Expr
from lockcheck.lockstate.terms import FOUND


class Memory:
    """Effects of a program's functions, and pointers that lead back (models of relations)."""

    def __init__(
        self,
        effects: StoreEffects,
        back_pointers: Iterable[tuple[str, tuple[str, ...]]],
        fixed: Mapping[Expr, Expr],
    ) -> None:
        """`fixed`: what members of constant objects hold, by address."""
        self.fixed = fixed
        self.effects = effects
        self._back: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for field, through in back_pointers:
            self._back[field].append(through)

    def facts_on(self, terms: Iterable[Expr], fields: int) -> list[Expr]:
        """The terms that are loaded from some of the fields."""
        found: list[Expr] = []
        remembered, read_by = self.effects.remembered, self.effects.read_by
        for term in terms:
            reads = remembered.get(term)
            if reads is None:
                reads = read_by(term)
            if reads & fields:
                found.append(term)
        return found

    def loaded_from(self, addresses: Iterable[Expr], fields: int) -> set[Expr]:
        """The addresses whose contents hang on some of the fields."""
        return {
            address
            for address, term in ((address, ("l", address)) for address in addresses)
            if self.facts_on((term,), fields)
        }

    def leads_back(self, address: Expr) -> Expr | None:
        """The object that a pointer stored at `address` is known to lead back to."""
        if address[0] != "f":
            return None
        for through in self._back.get(address[2], ()):
            base = _reached_from(address[1], through)
            if base is not None:
                return base
        return None


def _reached_from(term: Expr, through: tuple[str, ...]) -> Expr | None:
    """The object from which `term` was reached by the fields `through`."""
    if term[0] == "ap" and term[1] == FOUND:
        term = _container(term[2], through[-1])
    elif term[0] == "l":
        term = term[1]
    for field in reversed(through):
        while term[0] == "i":
            term = term[1]
        if term[0] != "f" or term[2] != field:
            return None
        term = term[1]
    return term


def _container(term: Expr, field: str) -> Expr:
    """The place of the container that something was looked up in."""
    while term[0] in ("l", "f") and not (term[0] == "f" and term[2] == field):
        term = term[1]
    return term
