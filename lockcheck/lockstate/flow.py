"""Questions about one function's control and data flow that need no lock state."""

from __future__ import annotations

from lockcheck.facts.ir import Expr, Function


def returned_calls(function: Function) -> set[int]:
    """Calls whose results a function may return, by way of local variables."""
    sources: dict[Expr, set[Expr]] = {}
    wanted: list[Expr] = []
    for events, terminator in function.blocks:
        for event in events:
            if event[0] == "S" and event[2][0] == "v" and event[3][0] in ("c", "l"):
                sources.setdefault(event[2], set()).add(event[3])
        if terminator[0] == "ret" and terminator[1] is not None:
            wanted.append(terminator[1])
    found: set[int] = set()
    seen: set[Expr] = set()
    while wanted:
        value = wanted.pop()
        if value in seen:
            continue
        seen.add(value)
        if value[0] == "c":
            found.add(value[1])
        elif value[0] == "l":
            wanted.extend(sources.get(value[1], ()))
    return found
