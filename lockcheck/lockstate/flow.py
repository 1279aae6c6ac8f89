"""Questions about one function's control and data flow that need no lock state."""

from __future__ import annotations

from lockcheck.facts.ir import Expr, Function, successors


def certain_calls(function: Function) -> frozenset[int]:
    """The calls in blocks that no way from the entry to a return leaves out."""
    blocks = function.blocks
    passed: dict[int, int] = {0: 1}  # block → bits of the blocks that all ways to it have passed
    work = [0]
    while work:
        block = work.pop()
        for successor in successors(blocks[block][1]):
            known = passed.get(successor)
            merged = passed[block] if known is None else known & passed[block]
            merged |= 1 << successor
            if merged != known:
                passed[successor] = merged
                work.append(successor)
    always: int | None = None
    for block, before in passed.items():
        if blocks[block][1][0] == "ret":
            always = before if always is None else always & before
    return frozenset(
        event[2]
        for index, (events, _) in enumerate(blocks)
        if (always or 0) >> index & 1
        for event in events
        if event[0] == "C"
    )


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


def forwards(function: Function, block: int) -> set[int]:
    """The blocks to which control may come from one, that one included."""
    found = {block}
    work = [block]
    while work:
        for later in successors(function.blocks[work.pop()][1]):
            if later not in found:
                found.add(later)
                work.append(later)
    return found


def backwards(function: Function, blocks: set[int]) -> set[int]:
    """The blocks from which control may come to some blocks, those themselves left out at first."""
    before: dict[int, list[int]] = {}
    for index, (_, terminator) in enumerate(function.blocks):
        for successor in successors(terminator):
            before.setdefault(successor, []).append(index)
    found: set[int] = set()
    work = list(blocks)
    while work:
        for earlier in before.get(work.pop(), ()):
            if earlier not in found:
                found.add(earlier)
                work.append(earlier)
    return found


def calls_after(function: Function, number: int) -> list[int]:
    """The calls to which control may come from behind a call."""
    found: list[int] = []
    for index, (events, terminator) in enumerate(function.blocks):
        calls = [event[2] for event in events if event[0] == "C"]
        if number in calls:
            found.extend(calls[calls.index(number) + 1 :])
            reached: set[int] = set()
            for successor in successors(terminator):
                reached |= forwards(function, successor)
            for later in sorted(reached):
                if later != index:
                    found.extend(e[2] for e in function.blocks[later][0] if e[0] == "C")
                else:
                    found.extend(calls[: calls.index(number)])
    return found
