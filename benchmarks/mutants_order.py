"""Mutants of the order of locks: a lock that is taken twice, two that nest the other way round, and
one that an interrupt takes, left to it with interrupts on.

They take no lock away, so no stated obligation is broken: what is to be found is the new deadlock
itself. An inverted pair is made only where the unmutated tree has a chain from an entry point for
the other order, and no lock that is held around both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from mutants_kinds import Mutant, spread
from mutants_reach import Reached, Tree
from mutants_source import LockUse, Place, parameters

from lockcheck.callgraph.program import Reach
from lockcheck.facts.ir import Expr, unpack
from lockcheck.findings.model import LedgerEntry, Location, Outcome
from lockcheck.lockstate.acquiring import class_name
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.contexts import ContextFinder
from lockcheck.lockstate.deadlocks import Deadlocks, Side
from lockcheck.lockstate.ordering import Orders
from lockcheck.models.loader import WRITE

ORDER_KINDS = ("second-lock", "inverted-pair", "interrupts-on")
_EXCLUSIVE = {
    "mutex": ("mutex_lock", "mutex_unlock"),
    "spin": ("spin_lock", "spin_unlock"),
    "write": ("write_lock", "write_unlock"),
    "down_write": ("down_write", "up_write"),
}
_LOCK_TYPES = frozenset(
    {"mutex", "spinlock", "spinlock_t", "rwlock_t", "rw_semaphore", "raw_spinlock"}
)
_MAX_MAYBES = 3
IRQ_UNSAFE = "irq-unsafe-lock"
ENABLED = (IRQ_UNSAFE,)  # off by default, and wanted here
# A call that turns interrupts off or on again, and the one that does not.
_OFF = re.compile(r"\b(\w+lock)_(?:irqsave|irqrestore|irq|bh)\((.*?)(?:, flags)?\)(?=;)")


def make_order(tree: Tree, kind: str, seed: str) -> list[Mutant]:
    """All mutants of a kind, as mutants_kinds.make() has them."""
    return spread(list(_MAKERS[kind](tree)), random.Random(f"{seed} {kind}"))


def _second_locks(tree: Tree) -> Iterator[Mutant]:
    for key in sorted(tree.uses):
        reach = tree.program.reach(key)
        if reach is not Reach.CALLBACK and not tree.program.callers.get(key):
            continue  # nothing runs it
        for use in tree.uses[key]:
            place = use.takes[0]
            if use.family not in _EXCLUSIVE or not _stands_alone(tree, use, place):
                continue
            below = _in_callee(tree, use) if use.function.start % 2 else None
            yield below or _in_place(tree, use, place)


def _stands_alone(tree: Tree, use: LockUse, place: Place) -> bool:
    """Whether a take is the only statement of its line, in a block of its own."""
    source = tree.sources[use.function.file]
    above = source.line(place.line - 1).rstrip()
    return (
        not place.condition
        and "(" not in use.lock
        and source.line(place.line).strip() == place.text
        and (above.endswith((";", "{", "}", ":", "*/")) or not above.strip())
    )


def _twice(use: LockUse, lock: str) -> str:
    take, drop = _EXCLUSIVE[use.family]
    if use.takes[0].call.startswith("raw_"):
        take, drop = f"raw_{take}", f"raw_{drop}"
    spelled = lock if use.lock == lock and "->" not in lock and "." not in lock else f"&{lock}"
    if spelled == lock:  # a bare name: a variable that is a lock, or a pointer to one
        spelled = f"&{lock}" if f"(&{lock}" in use.takes[0].text else lock
    return f"{take}({spelled}); {drop}({spelled});"


def _in_place(tree: Tree, use: LockUse, place: Place) -> Mutant:
    line = tree.sources[use.function.file].line(place.line)
    added = _twice(use, use.lock)
    edit = f"{added} right after {place.text}"
    return _mutant("second-lock", use, edit, {place.line: f"{line} {added}"}, use.function.name)


def _in_callee(tree: Tree, use: LockUse) -> Mutant | None:
    """The second lock in a function of the same file that is given what the lock lies in."""
    source = tree.sources[use.function.file]
    base, _, member = use.lock.rpartition("->")
    if not base:
        return None
    for number in range(use.takes[0].line + 1, use.drops[0].line):
        for found in re.finditer(r"\b(\w+)\(([^()]*)\)", source.line(number)):
            callee = source.functions.get(found[1])
            given = [argument.strip() for argument in found[2].split(",")]
            names = None if callee is None else parameters(callee)
            if callee is None or not names or base not in given or callee.start == callee.first:
                continue
            index = given.index(base)
            if index >= len(names) or callee.name == use.function.name:
                continue
            added = _twice(use, f"{names[index][1]}->{member}")
            first = source.line(callee.first)
            edit = f"{added} first in {callee.name}(), called at line {number}"
            lines = {callee.first: f"\t{added} {first.lstrip()}"}
            return _mutant("second-lock", use, edit, lines, callee.name)
    return None


def _inverted_pairs(tree: Tree) -> Iterator[Mutant]:
    program = tree.program
    analysis = Analysis(program)
    orders = Orders(analysis).take_in()
    deadlocks = Deadlocks(analysis, orders)
    contexts = ContextFinder(analysis)
    families = {
        name: use.family
        for key in sorted(tree.uses)
        for use in tree.uses[key]
        if use.family in _EXCLUSIVE
        and (name := _class_at(tree, key, use.takes[0].line)) is not None
    }
    for (outer, inner), edges in sorted(orders.edges.items()):
        record = outer.name.split(".", 1)[0]
        family = families.get(outer.name)
        if family is None or not inner.name.startswith(f"{record}.") or outer == inner:
            continue
        sides = [
            side
            for edge in edges
            if edge.way.maybes <= _MAX_MAYBES and edge.way.mode == edge.mode == WRITE
            and edge.held[0] == edge.way.lock[0] == "f" and edge.held[1] == edge.way.lock[1]
            and not edge.unshared and not edge.way.last and not edge.odd
            and (side := deadlocks.side(edge)) is not None
        ]  # fmt: skip
        for key in sorted(tree.uses) if sides else ():
            for use in tree.uses[key]:
                place = use.takes[0]
                base, _, _ = use.lock.rpartition("->")
                if not base or not _stands_alone(tree, use, place):
                    continue
                if _class_at(tree, key, place.line) != inner.name:
                    continue
                if any(_may_run(contexts, key, side) for side in sides):
                    yield _inverted(tree, use, family, base, outer.name, sides[0])


def _interrupts_on(tree: Tree) -> Iterator[Mutant]:
    """A lock that an interrupt takes, without what turns interrupts off, and its unlocks, too."""
    proved = {
        (entry.location.file, entry.location.line)
        for entries in tree.stated.values()
        for entry in entries
        if entry.rule_id == IRQ_UNSAFE and entry.outcome is Outcome.PROVED
    }
    for key in sorted(tree.uses):
        for use in tree.uses[key]:
            place = use.takes[0]
            if (use.function.file, place.line) not in proved or use.family == "read":
                continue  # two readers get along
            source = tree.sources[use.function.file]
            lines = {
                line: text
                for line in {p.line for p in (*use.takes, *use.drops)}
                if (text := _OFF.sub(r"\1(\2)", source.line(line))) != source.line(line)
            }
            if place.line in lines:
                edit = f"{lines[place.line].strip()} instead of {place.text}"
                yield _mutant("interrupts-on", use, edit, lines, use.function.name)


def _class_at(tree: Tree, key: str, line: int) -> str | None:
    function = tree.program.functions[key]
    for call in tree.program.calls[key].values():
        if unpack(function.absolute(call.event[1]))[0] == line and call.event[4]:
            return class_name(_strip(call.event[4][0]))
    return None


def _strip(lock: Expr) -> Expr:
    while lock[0] == "f" and lock[2].split(".", 1)[0] in _LOCK_TYPES:
        lock = lock[1]
    return lock


def _may_run(contexts: ContextFinder, key: str, side: Side) -> bool:
    """Whether a function is entered without either lock, and without what is held at the side."""
    closed = {side.edge.outer.name, side.edge.inner.name, *side.edge.gates}
    closed |= {class_name(lock) or "" for lock, mode in side.context.locks if mode == WRITE}
    return any(
        context.complete
        and not context.private
        and not closed & {class_name(lock) for lock, _ in context.locks}
        for context in contexts.contexts(key).contexts
    )


def _inverted(tree: Tree, use: LockUse, family: str, base: str, outer: str, side: Side) -> Mutant:
    take, drop = _EXCLUSIVE[family]
    place = use.takes[0]
    lock = f"&{base}->{outer.split('.', 1)[1]}"
    added = f"{take}({lock}); {drop}({lock});"
    line = tree.sources[use.function.file].line(place.line)
    edit = f"{added} right after {place.text}; the other order is in {side.edge.function}()"
    return _mutant("inverted-pair", use, edit, {place.line: f"{line} {added}"}, use.function.name)


def _mutant(kind: str, use: LockUse, edit: str, lines: dict[int, str], where: str) -> Mutant:
    function = use.function
    place = Location(function.file, use.takes[0].line, 1, where)
    requirement = f"{use.lock} is not held, or in no other order"
    entry = LedgerEntry(Outcome.PROVED, kind, kind, place, requirement, (use.member,), "")
    names = (function.name,) if where == function.name else (function.name, where)
    return Mutant(
        kind, function.file, function.name, use.takes[0].line, edit, lines, use.member,
        Reached(entry, names),
    )  # fmt: skip


_MAKERS: dict[str, Callable[[Tree], Iterator[Mutant]]] = {
    "second-lock": _second_locks,
    "inverted-pair": _inverted_pairs,
    "interrupts-on": _interrupts_on,
}
