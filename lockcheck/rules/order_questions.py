"""Answering `order`: how locks nest over the whole program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from lockcheck.errors import LockcheckError
from lockcheck.findings.order_answers import Nesting, OrderAnswer
from lockcheck.lockstate.acquiring import GRACE
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.ordering import OrderEdge, Orders
from lockcheck.rules.evidence import Evidencer
from lockcheck.rules.order_words import OrderWords


def answer_order(analysis: Analysis, lock: str | None = None, cycles: bool = False) -> OrderAnswer:
    """The order of one program's locks.

    lock: only what nests directly with this class; `struct` before it may be left out.
    cycles: only what nests in circles. Raises LockcheckError for a lock that nests with none.
    """
    orders = Orders(analysis).take_in()
    words = OrderWords(Evidencer(analysis.program), orders.ways)
    nestings = [
        _nesting([edge for edge in edges if not edge.unshared], words)
        for _, edges in sorted(orders.edges.items())
        if any(not edge.unshared for edge in edges)
    ]
    circles = _circles(nestings)
    if cycles:
        inside = {name: number for number, circle in enumerate(circles) for name in circle}
        nestings = [
            n
            for n in nestings
            if n.outer != n.inner and n.outer in inside and inside[n.outer] == inside.get(n.inner)
        ]
    if lock is not None:
        name = lock.removeprefix("struct ").strip()
        known = {n.outer for n in nestings} | {n.inner for n in nestings}
        if name not in known and not cycles:
            raise LockcheckError(
                f"{name} nests with no other lock in the units read", remedy=_similar(name, known)
            )
        nestings = [n for n in nestings if name in (n.outer, n.inner)]
        circles = [circle for circle in circles if name in circle]
    return OrderAnswer(tuple(nestings), tuple(circles))


def _nesting(edges: list[OrderEdge], words: OrderWords) -> Nesting:
    best = min(edges, key=lambda e: (e.way.length, e.way.maybes, e.function, e.way.loc))
    return Nesting(
        outer=best.outer.text,
        inner=best.inner.text,
        waits=all(edge.way.mode == GRACE for edge in edges),
        places=len({(edge.function, edge.way.loc) for edge in edges}),
        location=words.location(best.function, best.way.loc),
        text=words.nesting(best),
    )


def _circles(nestings: Iterable[Nesting]) -> list[tuple[str, ...]]:
    """The strongly connected sets of more than one class."""
    import networkx  # it takes a sixth of a second to load: only who asks for circles pays for it

    graph = networkx.DiGraph((n.outer, n.inner) for n in nestings)
    found = networkx.strongly_connected_components(graph)
    return sorted(tuple(sorted(names)) for names in found if len(names) > 1)


def _similar(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, 3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return "name a lock as `lockcheck order` prints it, e.g. kvm.lock"
