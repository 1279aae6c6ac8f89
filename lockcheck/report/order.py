"""The order of locks as text, as a Graphviz graph, as a Mermaid flow chart and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from lockcheck.findings.order_answers import Nesting, OrderAnswer


def order_json(answer: OrderAnswer) -> str:
    """With the fields of lockcheck.findings.order_answers."""
    return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n"


def order_text(answer: OrderAnswer) -> str:
    """Each lock with those that are taken inside of it, and a place for each."""
    if not answer.nestings:
        return "no locks nest in the units read\n"
    lines: list[str] = []
    for outer, group in groupby(answer.nestings, key=lambda nesting: nesting.outer):
        lines.append(outer)
        for nesting in group:
            where = f"{nesting.location.file}:{nesting.location.line}"
            more = "" if nesting.places == 1 else f" (and {nesting.places - 1} more)"
            waits = ", whose readers are waited for" if nesting.waits else ""
            lines.append(f"  > {nesting.inner}{waits}")
            lines.append(f"      {where}: {nesting.text}{more}")
    for circle in answer.cycles:
        lines.append(f"in circles: {', '.join(circle)}")
    return "\n".join(lines) + "\n"


def order_dot(answer: OrderAnswer) -> str:
    """A graph for Graphviz: from outer to inner, what nests in circles in red."""
    lines = ["digraph locks {", "  rankdir=LR;", "  node [shape=box];"]
    inside = _circle_of(answer)
    for nesting in answer.nestings:
        style = [f"label={json.dumps(str(nesting.places))}"]
        if nesting.waits:
            style.append("style=dashed")
        if _is_in_circle(nesting, inside):
            style.append("color=red")
        ends = f"{json.dumps(nesting.outer)} -> {json.dumps(nesting.inner)}"
        lines.append(f"  {ends} [{', '.join(style)}];")
    return "\n".join([*lines, "}"]) + "\n"


def order_mermaid(answer: OrderAnswer) -> str:
    """A Mermaid flow chart, for documents that draw it; what nests in circles is red."""
    lines = ["flowchart LR"]
    numbers = {name: f"n{i}" for i, name in enumerate(_names(answer.nestings))}
    lines.extend(f'  {number}["{name}"]' for name, number in numbers.items())
    inside = _circle_of(answer)
    red: list[str] = []
    for index, nesting in enumerate(answer.nestings):
        arrow = "-.->" if nesting.waits else "-->"
        lines.append(f"  {numbers[nesting.outer]} {arrow} {numbers[nesting.inner]}")
        if _is_in_circle(nesting, inside):
            red.append(str(index))
    if red:
        lines.append(f"  linkStyle {','.join(red)} stroke:red")
    return "\n".join(lines) + "\n"


def _names(nestings: Iterable[Nesting]) -> Iterator[str]:
    yield from sorted({name for nesting in nestings for name in (nesting.outer, nesting.inner)})


def _circle_of(answer: OrderAnswer) -> dict[str, int]:
    return {name: number for number, circle in enumerate(answer.cycles) for name in circle}


def _is_in_circle(nesting: Nesting, inside: dict[str, int]) -> bool:
    outer = inside.get(nesting.outer)
    return (
        nesting.outer != nesting.inner and outer is not None and outer == inside.get(nesting.inner)
    )
