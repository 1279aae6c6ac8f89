"""Which obligations a place of a function leads to, by the call graph of the unmutated tree."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mutants_source import RCU, LockUse, Source

from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import unpack
from lockcheck.findings.model import LedgerEntry, Outcome

_MAX_DEPTH = 6
_MAX_TARGETS = 8
_ABSENT = re.compile(r" not held|^not: |^must not |^no | is taken ")  # not that a lock is held
_SECTIONS = {"an RCU read section": RCU, "any RCU read section": RCU}


class Reached(NamedTuple):
    """An obligation, and the functions from the mutated one down to it."""

    entry: LedgerEntry
    chain: tuple[str, ...]


def members(entry: LedgerEntry) -> frozenset[str]:
    """The last names of the lock classes that would do, as `LockUse.member` has them."""
    if not entry.lock and entry.origin in ("rcu_dereference", "list_for_each_entry_rcu"):
        return frozenset((RCU,))
    return frozenset(
        _SECTIONS.get(name) or name.split("@")[0].rsplit(".", 1)[-1] for name in entry.lock
    )


class Tree:
    """The unmutated tree: sources, call graph, ledger."""

    def __init__(self, root: Path, program: Program, ledger: Iterable[LedgerEntry]) -> None:
        self.program = program
        self.stated: dict[tuple[str, str], list[LedgerEntry]] = defaultdict(list)
        for entry in ledger:
            self.stated[entry.location.file, entry.location.function].append(entry)
        files = {f.file for f in program.functions.values() if f.file.endswith(".c")}
        self.sources = {
            file: Source(file, (root / file).read_text("utf-8", "surrogateescape"))
            for file in sorted(files)
        }
        self.keys = {(f.file, f.name): key for key, f in program.functions.items()}
        self.uses: dict[str, list[LockUse]] = {}
        for file, source in self.sources.items():
            for function in source.functions.values():
                key = self.keys.get((file, function.name))
                if key is not None:
                    self.uses[key] = list(source.uses(function))
        self.taken = {key: {use.member for use in uses} for key, uses in self.uses.items()}

    def reached(self, use: LockUse, first: int, last: int) -> list[Reached]:
        """Proved obligations for this lock that the lines of its function lead to, nearest first.

        Calls of functions that take such a lock themselves are not followed.
        """
        key = self.keys[use.function.file, use.function.name]
        file = use.function.file
        found = [
            Reached(entry, (use.function.name,))
            for entry in self.stated[file, use.function.name]
            if first <= entry.location.line <= last and self._needs(entry, use)
        ]
        work: deque[tuple[str, tuple[str, ...]]] = deque()
        seen = {key}
        for call in self.program.calls[key].values():
            line = unpack(self.program.functions[key].absolute(call.event[1]))[0]
            if first <= line <= last and len(call.targets) <= _MAX_TARGETS:
                work.extend((target, (use.function.name,)) for target in call.targets)
        while work:
            target, above = work.popleft()
            function = self.program.functions.get(target)
            if function is None or target in seen or len(above) > _MAX_DEPTH:
                continue
            seen.add(target)
            chain = (*above, function.name)
            wanted = [e for e in self.stated[function.file, function.name] if self._needs(e, use)]
            taken = self.taken.get(target, set())
            if taken & {use.member} or any(members(e) & taken for e in wanted):
                continue
            found.extend(Reached(entry, chain) for entry in wanted)
            for call in self.program.calls[target].values():
                if len(call.targets) <= _MAX_TARGETS:
                    work.extend((below, chain) for below in call.targets)
        return found

    def _needs(self, entry: LedgerEntry, use: LockUse) -> bool:
        if entry.outcome is not Outcome.PROVED or _ABSENT.search(entry.requirement):
            return False
        if use.member not in members(entry):
            return False
        if use.member == "lock":  # too common a name: the one before it must agree
            tail = re.split(r"->|\.", use.lock)[-2:]
            return re.search(rf"\b{tail[0]}(->|\.)lock\b", entry.requirement) is not None
        return True

    def below(self, key: str, limit: int = _MAX_DEPTH) -> set[str]:
        """Names of the functions that calls lead to, itself included."""
        seen, work = {key}, deque([(key, 0)])
        while work:
            current, depth = work.popleft()
            if depth < limit and current in self.program.calls:
                for call in self.program.calls[current].values():
                    for target in call.targets:
                        if target not in seen:
                            seen.add(target)
                            work.append((target, depth + 1))
        return {key.split("@", 1)[0] for key in seen}
