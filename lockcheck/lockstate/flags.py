"""Locals that remember which way was taken: `ok = false; goto out;` … `if (ok)`.

States that agree in their locks are merged (ADR 6), and what such a local says of the way goes with
them. From where its value is known to its last test, states that it tells apart are kept apart
(ADR 20).
"""

from __future__ import annotations

from collections import Counter

from lockcheck.facts.ir import Expr, Function, Terminator, successors

Flags = tuple[Expr, ...]


def live_flags(function: Function) -> dict[int, Flags]:
    """For each block the flags that may still be tested from its beginning on, as addresses.

    A flag is a local that is tested by itself or against a constant, and tested again, or set to a
    constant in one place and to something else in another. Blocks without any are left out.
    """
    flags = _flags(function)
    if not flags:
        return {}
    read: dict[int, set[Expr]] = {}
    written: dict[int, set[Expr]] = {}
    before: dict[int, list[int]] = {}
    for block, (events, terminator) in enumerate(function.blocks):
        stores: set[Expr] = set()
        for event in events:
            if event[0] != "S":
                continue
            source = _copied(event[3])
            if source in flags and event[2] in flags and source not in stores:
                read.setdefault(block, set()).add(source)
            if event[2] in flags:
                stores.add(event[2])
        if stores:
            written[block] = stores
        tested = tested_local(terminator)
        if tested in flags and tested not in stores:
            read.setdefault(block, set()).add(tested)
        for successor in successors(terminator):
            before.setdefault(successor, []).append(block)
    live: dict[int, set[Expr]] = {}
    work = [(block, flag) for block, tests in read.items() for flag in tests]
    while work:
        block, flag = work.pop()
        if flag in live.setdefault(block, set()):
            continue
        live[block].add(flag)
        work.extend(
            (earlier, flag)
            for earlier in before.get(block, ())
            if flag not in written.get(earlier, ())
        )
    return {block: tuple(sorted(found)) for block, found in live.items() if found}


def _copied(value: Expr) -> Expr | None:
    """The local that a value is read from, if it is nothing else."""
    return value[1] if value[0] == "l" and value[1][0] == "v" else None


def tested_local(terminator: Terminator) -> Expr | None:
    """The local that a branch asks for, if it asks for nothing else."""
    if terminator[0] != "br":
        return None
    value: Expr = terminator[1]
    while value[0] == "o1" and value[1] == "!":
        value = value[2]
    if value[0] == "o" and value[1] in ("==", "!="):
        one, other = value[2], value[3]
        if "k" not in (one[0], other[0]):
            return None
        value = other if one[0] == "k" else one
    return value[1] if value[0] == "l" and value[1][0] == "v" else None


def _flags(function: Function) -> set[Expr]:
    tests = Counter(
        local
        for _, terminator in function.blocks
        if (local := tested_local(terminator)) is not None
    )
    if not tests:
        return set()
    stores: Counter[Expr] = Counter()
    constant: set[Expr] = set()
    copies: dict[Expr, Expr] = {}
    for events, _ in function.blocks:
        for event in events:
            if event[0] == "S" and event[2][0] == "v":
                stores[event[2]] += 1
                if event[3][0] == "k":
                    constant.add(event[2])
                source = _copied(event[3])
                if source is not None and event[2] in tests:
                    copies[event[2]] = source
    flags = {flag for flag, n in tests.items() if n > 1 or (flag in constant and stores[flag] > 1)}
    for copy, source in copies.items():
        # `ok = a && b;`: the lowering keeps the outcome in a local of its own.
        if stores[copy] == 1 and source in constant and stores[source] > 1:
            flags |= {copy, source}
    return flags
