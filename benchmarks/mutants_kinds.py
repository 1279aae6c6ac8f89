"""The kinds of mutants: edits that take away a lock that some stated obligation needs."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mutants_reach import Reached, Tree, members
from mutants_source import LockUse, SourceFunction, parameters

KINDS = (
    "drop-pair",
    "read-for-write",
    "unlock-early",
    "drop-section",
    "other-instance",
    "new-caller",
)
_SECTION_FAMILIES = ("srcu", "rcu")
# Handlers that a user enters with no lock held; what they call directly is a place for a new call.
_HANDLERS = ("kvm_vm_ioctl", "kvm_arch_vm_ioctl", "intel_vgpu_ioctl")
_HOST_DEPTH = 2
_LEAVES = re.compile(r"\b(goto|return|break|continue)\b|\b\w*(unlock|up_write|up_read)\w*\(")


class Mutant(NamedTuple):
    """One edit of one file. `lines` replace lines of the file, by number."""

    kind: str
    file: str
    function: str
    line: int
    edit: str
    lines: dict[int, str]
    member: str
    target: Reached

    @property
    def chain(self) -> str:
        return " → ".join(self.target.chain)

    def apply(self, tree: Tree) -> bytes:
        lines = list(tree.sources[self.file].lines)
        for number, text in self.lines.items():
            lines[number - 1] = text
        return "\n".join(lines).encode("utf-8", "surrogateescape")


def make(tree: Tree, kind: str, seed: str) -> list[Mutant]:
    """All mutants of a kind, in an order that the seed decides; at most one for each function."""
    rng = random.Random(f"{seed} {kind}")
    if kind == "new-caller":
        made = list(_new_callers(tree))
    else:
        maker = _MAKERS[kind]
        made = [
            mutant
            for key in sorted(tree.uses)
            for use in tree.uses[key]
            for mutant in maker(tree, use)
        ]
    return spread(made, rng)


def spread(made: list[Mutant], rng: random.Random) -> list[Mutant]:
    """Mutants in a random order, at most one for each function, spread over the locks."""
    rng.shuffle(made)
    chosen: dict[tuple[str, str], Mutant] = {}
    for mutant in made:
        chosen.setdefault((mutant.file, mutant.function), mutant)
    # Spread over the locks: one of each in turn.
    queues: dict[str, list[Mutant]] = {}
    for mutant in chosen.values():
        queues.setdefault(mutant.member, []).append(mutant)
    order: list[Mutant] = []
    while any(queues.values()):
        order.extend(queue.pop(0) for queue in queues.values() if queue)
    return order


def _targets(tree: Tree, use: LockUse, first: int = 0, last: int = 0) -> list[Reached]:
    """What the lock is needed for, where no other lock of the function would do instead."""
    found = tree.reached(use, first or use.takes[0].line, last or use.drops[-1].line)
    others = {
        other.member
        for other in tree.uses[tree.keys[use.function.file, use.function.name]]
        if other is not use
    }
    return [r for r in found if not (members(r.entry) - {use.member}) & others]


def _mutant(kind: str, use: LockUse, edit: str, lines: dict[int, str], target: Reached) -> Mutant:
    function = use.function
    line = use.takes[0].line
    return Mutant(kind, function.file, function.name, line, edit, lines, use.member, target)


def _changed(tree: Tree, use: LockUse, change: Callable[[str, bool], str]) -> dict[int, str]:
    """The lines of the lock's calls with each call rewritten; told whether it takes the lock."""
    source = tree.sources[use.function.file]
    lines: dict[int, str] = {}
    for places, takes in ((use.takes, True), (use.drops, False)):
        for place in places:
            line = lines.get(place.line, source.line(place.line))
            lines[place.line] = line.replace(place.text, change(place.text, takes))
    return lines


def _without(text: str, takes: bool) -> str:
    if not text.endswith(";"):
        return "0"  # the condition of a failed attempt
    before = re.match(r"((?:\w+ )?\w+ = )", text) if takes else None
    return f"{before[1]}0;" if before else ";"


def _drop_pair(tree: Tree, use: LockUse) -> Iterator[Mutant]:
    if use.family in _SECTION_FAMILIES:
        return
    for target in _targets(tree, use)[:1]:
        edit = f"without {use.takes[0].call}({use.lock}) and its unlock"
        yield _mutant("drop-pair", use, edit, _changed(tree, use, _without), target)


def _drop_section(tree: Tree, use: LockUse) -> Iterator[Mutant]:
    if use.family not in _SECTION_FAMILIES:
        return
    for target in _targets(tree, use)[:1]:
        edit = f"without {use.takes[0].call}({use.lock}) and its unlock"
        yield _mutant("drop-section", use, edit, _changed(tree, use, _without), target)


def _read_for_write(tree: Tree, use: LockUse) -> Iterator[Mutant]:
    words = {"write": ("write_", "read_"), "down_write": ("_write", "_read")}.get(use.family)
    if words is None:
        return
    for target in _targets(tree, use):
        if "for write" not in target.entry.requirement:
            continue
        edit = f"{use.takes[0].call}({use.lock}) → {use.takes[0].call.replace(*words)}"
        changed = _changed(tree, use, lambda text, takes: text.replace(*words, 1))
        yield _mutant("read-for-write", use, edit, changed, target)
        return


def _unlock_early(tree: Tree, use: LockUse) -> Iterator[Mutant]:
    source = tree.sources[use.function.file]
    for place in use.drops:
        if source.line(place.line).strip() != place.text:
            continue
        take = max((t.line for t in use.takes if t.line < place.line), default=0)
        at = place.line
        while take and (found := source.statement_before(at, take + 1)) is not None:
            begin, end = found
            text = "\n".join(source.lines[begin - 1 : end])
            if _LEAVES.search(text) or re.search(r"^\w+:", text, re.MULTILINE):
                break
            targets = _targets(tree, use, begin, end)
            if targets:
                line = source.line(begin)
                indent = line[: len(line) - len(line.lstrip())]
                moved = f"{indent}{place.text} {line.lstrip()}"
                lines = {begin: moved, place.line: f"{indent};"}
                edit = f"{place.text} moved from line {place.line} to before line {begin}"
                yield _mutant("unlock-early", use, edit, lines, targets[0])._replace(line=begin)
                break
            at = begin


def _other_instance(tree: Tree, use: LockUse) -> Iterator[Mutant]:
    if use.family == "rcu":
        return
    for target in _targets(tree, use):
        if use.family == "vcpu_srcu":
            record, other = "kvm_vcpu", "{}"
        else:
            named = [n for n in target.entry.lock if n.endswith(f".{use.member}") and "@" not in n]
            if not named or not use.lock.endswith(f"->{use.member}"):
                continue
            record, other = named[0].rsplit(".", 1)[0], "{}->" + use.member
        start = use.function.start
        pointer = start % 2 == 0
        name = "lockcheck_other" if pointer else "(&lockcheck_other)"
        new = other.format(name)
        lines = _changed(tree, use, _renamer(use.lock, new))
        head = f"static struct {record} {'*' if pointer else ''}lockcheck_other; "
        lines[start] = head + tree.sources[use.function.file].line(start)
        edit = f"{use.lock} → {new}, {head.strip()}"
        yield _mutant("other-instance", use, edit, lines, target)
        return


def _renamer(lock: str, new: str) -> Callable[[str, bool], str]:
    pattern = re.compile(rf"(?<=\()(&?){re.escape(lock)}(?=[,)])")
    return lambda text, takes: pattern.sub(lambda found: found[1] + new, text)


# -- new callers -----------------------------------------------------------------------------------


def _new_callers(tree: Tree) -> Iterator[Mutant]:
    hosts = _hosts(tree)
    for (file, name), entries in sorted(tree.stated.items()):
        source = tree.sources.get(file)
        function = None if source is None else source.functions.get(name)
        locks = [
            e
            for e in entries
            if e.rule_id in ("lock-assertion", "rcu-access")
            and e.lock
            and " not held" not in e.requirement
            and "disabled" not in e.requirement
            and "context" not in e.requirement
            and not members(e) & tree.taken.get(tree.keys.get((file, name), ""), set())
        ]
        if function is None or not locks:
            continue
        wanted = set().union(*(members(e) for e in locks))
        for host, taken in hosts:
            if wanted & taken or host.name == name:
                continue
            mutant = _call_from(tree, function, host, Reached(locks[0], (host.name, name)))
            if mutant is not None:
                yield mutant


def _hosts(tree: Tree) -> list[tuple[SourceFunction, set[str]]]:
    """Functions that handlers call, with the locks that are taken on the way."""
    found: dict[str, tuple[SourceFunction, set[str]]] = {}
    work = [
        (key, 0, set[str]())
        for key in sorted(tree.program.functions)
        if key.split("@", 1)[0] in _HANDLERS
    ]
    while work:
        key, depth, above = work.pop(0)
        function = tree.program.functions.get(key)
        source = None if function is None else tree.sources.get(function.file)
        if function is None or source is None or key in found:
            continue
        text = source.functions.get(function.name)
        if text is not None:
            found[key] = (text, above)
        taken = above | tree.taken.get(key, set())
        if depth < _HOST_DEPTH:
            for call in tree.program.calls[key].values():
                if call.slot is None:
                    work.extend((target, depth + 1, taken) for target in call.targets)
    return list(found.values())


def _call_from(
    tree: Tree, callee: SourceFunction, host: SourceFunction, target: Reached
) -> Mutant | None:
    theirs, wanted = parameters(host), parameters(callee)
    static = callee.head.startswith("static")
    if theirs is None or wanted is None or (static and callee.file != host.file):
        return None
    objects = {kind: name for kind, name in theirs if kind.endswith("*")}
    if not any(kind in objects for kind, _ in wanted):
        return None
    declared, passed, arguments = [], [], []
    for number, (kind, _) in enumerate(wanted):
        if kind in objects:
            passed.append((kind, objects[kind]))
            arguments.append(objects[kind])
        else:
            declared.append(f"static {kind} lockcheck_argument_{number};")
            arguments.append(f"lockcheck_argument_{number}")
    source = tree.sources[host.file]
    call = f"{callee.name}({', '.join(arguments)});"
    first = source.line(host.first)
    prototype = " ".join(callee.head.split()) + ";"
    before = [*declared, prototype]
    if host.start % 2:
        given = ", ".join(f"{kind}{name}" for kind, name in dict.fromkeys(passed))
        before.append(f"static noinline void lockcheck_new_caller({given}) {{ {call} }}")
        names = ", ".join(name for _, name in dict.fromkeys(passed))
        inserted = f"lockcheck_new_caller({names});"
        edit = f"calls {call[:-1]} first, by way of a new function"
    else:
        inserted, edit = call, f"calls {call[:-1]} first"
    lines = {
        host.start: " ".join(before) + " " + source.line(host.start),
        host.first: f"\t{inserted} {first.lstrip()}",
    }
    if host.start == host.first:
        return None
    member = "/".join(sorted(members(target.entry)))
    return Mutant("new-caller", host.file, host.name, host.first, edit, lines, member, target)


_MAKERS: dict[str, Callable[[Tree, LockUse], Iterator[Mutant]]] = {
    "drop-pair": _drop_pair,
    "read-for-write": _read_for_write,
    "unlock-early": _unlock_early,
    "drop-section": _drop_section,
    "other-instance": _other_instance,
}
