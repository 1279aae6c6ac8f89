"""Assertions that are made under a condition: `if (!pinned(obj)) assert_held(obj);`.

That is `assert(pinned(obj) || held(obj))`: the condition is another way to meet it, as if it stood
in the assertion itself. What counts is a branch whose one side begins with the assertion and whose
other side goes on. An early return does not: what is left out after it has not been met.
"""

from __future__ import annotations

from collections.abc import Callable

from lockcheck.facts.ir import Event, Expr, Function, successors


def asked_if(
    function: Function, loc: int, is_idle: Callable[[Event], bool], is_helper: bool = False
) -> tuple[Expr, ...]:
    """The values of the branches that decide whether an assertion is made, and nothing else yet.

    loc: where the assertion is, or the call of a function that makes it.
    is_idle: whether an event only looks.
    is_helper: whether the function does nothing but assert: then an early return meets it, too.
    """
    found: list[Expr] = []
    for number, (events, _) in enumerate(function.blocks):
        for index, event in enumerate(events):
            if event[0] == "C" and event[1] == loc:
                if all(map(is_idle, events[:index])):
                    found.extend(_branches_before(function, number, loc, is_idle, is_helper))
                break
    return tuple(dict.fromkeys(found))


def _branches_before(
    function: Function, block: int, own: int, is_idle: Callable[[Event], bool], is_helper: bool
) -> list[Expr]:
    blocks = function.blocks
    before: dict[int, list[int]] = {}
    for number, (_, terminator) in enumerate(blocks):
        for successor in successors(terminator):
            before.setdefault(successor, []).append(number)

    def backwards(starts: set[int], passing: Callable[[int], bool]) -> set[int]:
        seen = set(starts)
        work = list(starts)
        while work:
            for earlier in before.get(work.pop(), ()):
                if earlier not in seen and passing(earlier):
                    seen.add(earlier)
                    work.append(earlier)
        return seen

    region = backwards({block}, lambda b: all(map(is_idle, blocks[b][0])))
    returning = {b for b, (_, terminator) in enumerate(blocks) if terminator[0] == "ret"}
    avoiding = backwards(returning - {block}, lambda b: b != block)  # ways past the assertion
    found: list[Expr] = []
    for number, (_, terminator) in enumerate(blocks):
        if terminator[0] != "br" or number in function.loops or terminator[4] == own:
            continue
        to = [side for side in terminator[2:4] if side in region and side not in avoiding]
        past = [side for side in terminator[2:4] if side in avoiding]
        if to and past and (is_helper or not _leaves(function, past[0], is_idle)):
            found.append(terminator[1])
    return found


def _leaves(function: Function, block: int, is_idle: Callable[[Event], bool]) -> bool:
    events, terminator = function.blocks[block]
    return bool(terminator[0] == "ret") and all(map(is_idle, events))
