"""Places for mutants of atomic sections and of balance, and the edits that make them.

Each edit is of whole lines of one function, so that several fit into one run, and it keeps the
number of lines.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mutants_source import Source

from lockcheck.callgraph.program import Program, Reach
from lockcheck.facts.ir import unpack
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.entries import Entries
from lockcheck.lockstate.sleeping import atomic_sections, sections_entered

INCLUDES = "".join(f"#include <linux/{name}.h>\n" for name in ("delay", "mutex", "slab", "uaccess"))
HELPERS = """static void lockcheck_three(void) { msleep(1); }
static void lockcheck_two(void) { lockcheck_three(); }
static void lockcheck_one(void) { lockcheck_two(); }
struct lockcheck_operations_FILE { void (*hook)(void); };
static void lockcheck_hook(void) { msleep(1); }
static struct lockcheck_operations_FILE lockcheck_operations = { .hook = lockcheck_hook };
static DEFINE_MUTEX(lockcheck_mutex);
"""
SLEEPERS = {
    "mutex_lock": "mutex_lock(&lockcheck_mutex); mutex_unlock(&lockcheck_mutex);",
    "msleep": "msleep(1);",
    "kmalloc": "kfree(kmalloc(8, GFP_KERNEL));",
    "copy_from_user": "{ char c; if (copy_from_user(&c, (void __user *)8, 1)) c = 0; }",
    "callee": "lockcheck_one();",
    "hook": "lockcheck_operations.hook();",
}
# Lines in front of the mutants of a file that needs the helpers; #line does not count for all.
ADDED_LINES = (INCLUDES + HELPERS).count("\n") + 1
HOOK, DROPPED, EARLY = "sleeping-hook", "dropped-unlock", "early-return"
SITE_KINDS = (*SLEEPERS, HOOK, DROPPED, EARLY)
SLEEP_RULES = frozenset({"sleep-in-atomic", "might-sleep", "timer-no-sleep",
                         "rcu-callback-no-sleep", "mmu-notifier-no-sleep",
                         "commit-hook-no-sleep"})  # fmt: skip
# A lock that is left is also found where it is taken again.
BALANCE_RULES = frozenset({"unbalanced-lock", "self-deadlock", "sleep-in-atomic"})
ORDER_RULES = frozenset({"self-deadlock", "lock-inversion", "kvm-lock-order", "irq-unsafe-lock"})
_MAX_TARGETS = 8  # functions that a pointer may lead to
_STATEMENT = re.compile(r"\t+(?:[\w>.*-]+ = )?(?P<call>\w+)\([^;]*\);$")
_OPENS = re.compile(r"\s*(?:\}\s*)?(?:if|else|for|while|do|switch|case)\b")
_UNLOCK = re.compile(r"\t+\w*(?:unlock|up_read|up_write|enable|restore)\w*\(.*\);$")
_LEAVES = re.compile(r"\t\t+(?:return\b|goto\b).*;$")
_GOTO = re.compile(r"(?P<indent>\t\t+)goto (?P<label>\w+);$")
_RETURN = re.compile(r"\treturn\b.*;$")


class Mutant(NamedTuple):
    """An edit. lines: new texts by number, from 1. section: what is entered, or dropped, there."""

    kind: str
    file: str
    function: str
    line: int
    section: str
    edit: str
    lines: tuple[tuple[int, str], ...]

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line} {self.function}()"


class Sources:
    """The files of the unmutated tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sources: dict[str, Source] = {}

    def source(self, file: str) -> Source:
        if file not in self._sources:
            text = (self.root / file).read_text("utf-8", "surrogateescape")
            self._sources[file] = Source(file, text)
        return self._sources[file]

    def overlay(self, mutants: Sequence[Mutant]) -> dict[str, bytes]:
        """The files with their mutants, one for a function at the most."""
        found: dict[str, bytes] = {}
        for file in sorted({mutant.file for mutant in mutants}):
            source = self.source(file)
            lines = list(source.lines)
            mine = [mutant for mutant in mutants if mutant.file == file]
            for mutant in mine:
                for number, text in mutant.lines:
                    lines[number - 1] = text
            if any(mutant.kind in SLEEPERS or mutant.kind == HOOK for mutant in mine):
                first = min(source.functions[mutant.function].start for mutant in mine)
                at = _behind_includes(lines[: first - 1])
                # Lines keep their numbers: what finds a mutant tells where.
                helpers = HELPERS.replace("FILE", re.sub(r"\W", "_", file))
                here = (INCLUDES + helpers).rstrip("\n").split("\n")
                lines[at] = "\n".join([lines[at], *here, f"#line {at + 2}"])
            found[file] = "\n".join(lines).encode("utf-8", "surrogateescape")
        return found


class Places(Sources):
    """The unmutated tree: its sources, and what the analysis knows of it."""

    def __init__(self, root: Path, analysis: Analysis) -> None:
        super().__init__(root)
        self._analysis = analysis
        self._program: Program = analysis.program
        self._sections = frozenset(atomic_sections(self._program.models))

    def all(self, kind: str) -> list[Mutant]:
        """All mutants of a kind."""
        makers = {HOOK: self._sleeping_hooks, DROPPED: self._dropped, EARLY: self._early}
        made = makers[kind]() if kind in makers else self._sleepers(kind)
        return sorted(set(made))

    # -- places --------------------------------------------------------------------------------

    def _functions(self) -> Iterator[tuple[str, Source]]:
        """Functions of units whose lines are their own, by key."""
        for key in sorted(self._program.functions):
            function = self._program.functions[key]
            if not function.file.endswith(".c") or self._program.model(key) is not None:
                continue
            source = self.source(function.file)
            if function.name in source.functions and not self._is_dead(key):
                yield key, source

    def _is_dead(self, key: str) -> bool:
        """Whether this configuration leaves a function at once: a helper is the constant 0."""
        calls = self._program.calls[key]
        takes = [
            number
            for number, call in calls.items()
            if any((m := self._program.model(t)) is not None and m.locks for t in call.targets)
        ]
        return bool(takes) and not any(self._analysis.states_at(key, n) for n in takes)

    def is_reached(self, file: str, name: str) -> bool:
        """Whether control gets to a function in this configuration, as the analysis has it."""
        key = next(
            k for k, f in self._program.functions.items() if (f.file, f.name) == (file, name)
        )
        work, seen = [key], {key}
        while work:
            key = work.pop()
            callers = self._program.callers.get(key, ())
            if not callers or self._program.reach(key) is Reach.CALLBACK:
                return True
            for site in callers:
                if site.caller not in seen and self._analysis.states_at(site.caller, site.call):
                    seen.add(site.caller)
                    work.append(site.caller)
        return False

    def _primitives(self, key: str, source: Source) -> Iterator[tuple[int, list[object]]]:
        """Calls of primitives that are statements of their own, by line."""
        function = self._program.functions[key]
        text = source.functions[function.name]
        for call in self._program.calls[key].values():
            line = unpack(function.absolute(call.event[1]))[0]
            if not text.first < line < text.last or not _STATEMENT.match(source.line(line)):
                continue
            if _hangs_on_line_above(source, line):
                continue
            models = [m for t in call.targets if (m := self._program.model(t)) is not None]
            if models:
                yield line, models

    def _sleepers(self, kind: str) -> Iterator[Mutant]:
        for key, source in self._functions():
            for line, models in self._primitives(key, source):
                if not any(
                    effect.section in self._sections and effect.when is None
                    for model in models
                    for effect in model.acquires  # type: ignore[attr-defined]
                ):
                    continue
                text = source.line(line)
                name = _called(text)
                edit = f"{SLEEPERS[kind]} behind {text.strip()}"
                lines = ((line, f"{text} {SLEEPERS[kind]}"),)
                function = self._program.functions[key]
                yield Mutant(kind, function.file, function.name, line, name, edit, lines)

    def _sleeping_hooks(self) -> Iterator[Mutant]:
        hooks = self._atomic_hooks()
        for key, source in self._functions():
            if key not in hooks:
                continue
            function = self._program.functions[key]
            line = source.functions[function.name].first
            text = source.line(line)
            edit = f"msleep(1); first, {hooks[key]}"
            lines = ((line, f"\tmsleep(1); {text.lstrip()}"),)
            yield Mutant(HOOK, function.file, function.name, line, hooks[key], edit, lines)

    def _atomic_hooks(self) -> dict[str, str]:
        """Functions to which a pointer leads in atomic context, and how they are called."""
        found: dict[str, str] = {}
        entries = Entries(self._program, trusting=False)
        for key in sorted(self._program.functions):
            door = entries.enters(key, self._sections)
            if door is not None:
                found[key] = door[0].split(" is called ", 1)[-1].split(":", 1)[0]
            for number, call in self._program.calls[key].items():
                if call.slot is None or len(call.targets) > _MAX_TARGETS:
                    continue
                if any(sections_entered(at.state, self._sections)
                       for at in self._analysis.states_at(key, number)):  # fmt: skip
                    for target in call.targets:
                        found.setdefault(target, f"through {call.slot.split('@', 1)[0]}")
        return found

    def _dropped(self) -> Iterator[Mutant]:
        for key, source in self._functions():
            for line, models in self._primitives(key, source):
                text = source.line(line)
                drops = any(model.releases for model in models)  # type: ignore[attr-defined]
                if drops and _UNLOCK.match(text) and _LEAVES.match(source.line(line + 1)):
                    name, function = _called(text), self._program.functions[key]
                    if not text.startswith("\t\t"):
                        continue
                    edit = f"without {text.strip()} before {source.line(line + 1).strip()}"
                    lines = ((line, ""),)
                    yield Mutant(DROPPED, function.file, function.name, line, name, edit, lines)

    def _early(self) -> Iterator[Mutant]:
        for key, source in self._functions():
            function = self._program.functions[key]
            text = source.functions[function.name]
            drops = {line: _called(source.line(line))
                     for line, models in self._primitives(key, source)
                     if any(model.releases for model in models)}  # type: ignore[attr-defined]  # fmt: skip
            for line in range(text.first, text.last):
                found = _GOTO.match(source.line(line))
                if found is None:
                    continue
                label = next((n for n in range(line, text.last)
                              if source.line(n).strip() == f"{found['label']}:"), None)  # fmt: skip
                if label is None or label + 1 not in drops:
                    continue
                last = label + 1
                while last + 1 in drops:
                    last += 1
                while not source.line(last + 1).strip():
                    last += 1
                leave = source.line(last + 1)
                if not _RETURN.match(leave):
                    continue
                edit = f"{leave.strip()} instead of goto {found['label']};"
                lines = ((line, f"{found['indent']}{leave.strip()}"),)
                yield Mutant(EARLY, function.file, function.name, line, drops[label + 1], edit,
                             lines)  # fmt: skip


def _called(text: str) -> str:
    found = _STATEMENT.match(text)
    assert found is not None
    return found["call"]


def _hangs_on_line_above(source: Source, line: int) -> bool:
    """Whether a statement may be the only one of an `if` or of a loop without braces."""
    before = source.line(line - 1)
    while not before.strip() and line > 2:
        line -= 1
        before = source.line(line - 1)
    return not before.rstrip().endswith((";", "{", "}", ":", "*/"))


def choose(mutants: Sequence[Mutant], limit: int, seed: str) -> list[Mutant]:
    """Some of the mutants, one for a function, and as many of each section as can be."""
    shuffled = sorted(mutants)
    random.Random(seed).shuffle(shuffled)
    seen: set[tuple[str, str]] = set()
    by_section: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in shuffled:
        if (mutant.file, mutant.function) not in seen:
            seen.add((mutant.file, mutant.function))
            by_section[mutant.section].append(mutant)
    chosen: list[Mutant] = []
    while len(chosen) < limit and any(by_section.values()):
        for section in sorted(by_section):
            if by_section[section] and len(chosen) < limit:
                chosen.append(by_section[section].pop())
    return chosen


def _behind_includes(lines: list[str]) -> int:
    """The last of some lines that includes a file, outside of #if and of braces; 0 without one."""
    last = depth = braces = 0
    for number, text in enumerate(lines):
        if text.startswith("#if"):
            depth += 1
        elif text.startswith("#endif"):
            depth -= 1
        elif text.startswith("#include") and depth == braces == 0:
            last = number
        elif not text.startswith("#") and not text.endswith("\\"):
            braces += text.count("{") - text.count("}")
    return last
