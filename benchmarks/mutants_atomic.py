"""How much sleeping in atomic context, and how many locks left behind, lockcheck detects.

    benchmarks/mutants_atomic.py [--tree VERSION] [--kind KIND] [--limit N] [--seed S] [--json FILE]

Edits real functions of the prepared trees through an overlay, no file is touched. A sleeping
mutant gets a statement that may sleep right behind a statement that enters an atomic section; a
balance mutant loses an unlock in front of a `return` or `goto`. Mutants of one kind sit in
different functions and are analysed in one run. Detected: the function has a finding of a rule
about sleeping, or about balance, that the unmutated tree has not. Prints a table by kind and
section, and those that were missed. See benchmarks/mutants.py for locks that are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import mutants
from mutants import PATHS, VERSIONS, _analyse_base, _kernel_tree, _ReadOnlyStore

from lockcheck import session
from lockcheck.callgraph.program import Program
from lockcheck.config import Config
from lockcheck.errors import Severity
from lockcheck.facts.ir import unpack

INCLUDES = "".join(f"#include <linux/{name}.h>\n" for name in ("delay", "mutex", "slab", "uaccess"))
HELPERS = """static void lockcheck_three(void) { msleep(1); }
static void lockcheck_two(void) { lockcheck_three(); }
static void lockcheck_one(void) { lockcheck_two(); }
struct lockcheck_operations { void (*hook)(void); };
static void lockcheck_hook(void) { msleep(1); }
static struct lockcheck_operations lockcheck_operations = { .hook = lockcheck_hook };
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
BALANCE = "dropped-unlock"
SLEEP_RULES = frozenset({"sleep-in-atomic", "might-sleep", "timer-no-sleep",
                         "rcu-callback-no-sleep", "mmu-notifier-no-sleep"})  # fmt: skip
BALANCE_RULES = frozenset({"unbalanced-lock"})
_STATEMENT = re.compile(r"\t+[a-z_]*(?:lock|disable|save)[a-z_]*\(.*\);$")
_OPENS = re.compile(r"\s*(?:\}\s*)?(?:if|else|for|while|do|switch|case)\b")
_UNLOCK = re.compile(r"\t\t+[a-z_]*(?:unlock|up_read|up_write|enable|restore)[a-z_]*\(.*\);$")
_LEAVES = re.compile(r"\t\t+(?:return\b|goto\b).*;$")


class Site(NamedTuple):
    """A line, counted from 1, of a function that can be mutated; section: what is entered there."""

    file: str
    function: str
    line: int
    section: str


def _sites(root: Path, program: Program, kind: str) -> Iterator[Site]:
    """Every place for a mutant: in units only, where statements stand on lines of their own."""
    texts: dict[str, list[str]] = {}
    for key in sorted(program.functions):
        function = program.functions[key]
        if not function.file.endswith(".c") or program.model(key) is not None:
            continue
        if function.file not in texts:
            texts[function.file] = (root / function.file).read_text("utf-8").split("\n")
        lines = texts[function.file]
        for call in program.calls[key].values():
            models = [m for t in call.targets if (m := program.model(t)) is not None]
            line = unpack(call.event[1])[0]
            text, before = lines[line - 1], lines[line - 2]
            if _OPENS.match(before) and not before.rstrip().endswith("{"):
                continue
            if kind == BALANCE:
                after = lines[line]
                drops = any(model.releases for model in models)
                if drops and _UNLOCK.match(text) and _LEAVES.match(after):
                    yield Site(function.file, function.name, line, text.strip().split("(", 1)[0])
            elif _STATEMENT.match(text) and any(
                effect.section for model in models for effect in model.acquires
            ):
                yield Site(function.file, function.name, line, text.strip().split("(", 1)[0])


def _choose(sites: list[Site], limit: int, seed: str) -> list[Site]:
    """Some of the sites, one for a function, and as many of each section as can be."""
    shuffled = sorted(set(sites))
    random.Random(seed).shuffle(shuffled)
    seen: set[tuple[str, str]] = set()
    by_section: dict[str, list[Site]] = defaultdict(list)
    for site in shuffled:
        if (site.file, site.function) not in seen:
            seen.add((site.file, site.function))
            by_section[site.section].append(site)
    chosen: list[Site] = []
    while len(chosen) < limit and any(by_section.values()):
        for section in sorted(by_section):
            if by_section[section] and len(chosen) < limit:
                chosen.append(by_section[section].pop())
    return chosen


def _overlay(root: Path, kind: str, chosen: list[Site]) -> dict[str, bytes]:
    """The files with their mutants."""
    found: dict[str, bytes] = {}
    for file in sorted({site.file for site in chosen}):
        lines = (root / file).read_text("utf-8").split("\n")
        for site in chosen:
            if site.file == file and kind == BALANCE:
                lines[site.line - 1] = ""
            elif site.file == file:
                lines[site.line - 1] += " " + SLEEPERS[kind]
        if kind != BALANCE:
            last = _behind_includes(lines)
            lines[last] += "\n" + INCLUDES + HELPERS
        found[file] = "\n".join(lines).encode()
    return found


def _behind_includes(lines: list[str]) -> int:
    """The last line of the includes at the top that is in no #if."""
    last = depth = 0
    for number, text in enumerate(lines):
        if text == "{":
            break
        if text.startswith("#if"):
            depth += 1
        elif text.startswith("#endif"):
            depth -= 1
        elif text.startswith("#include") and depth == 0:
            last = number
    return last


def main() -> int:
    """Make and analyse mutants; the exit status is 0 even if some are missed."""
    kinds = (*SLEEPERS, BALANCE)
    parser = argparse.ArgumentParser(description="mutants of atomic sections and of balance")
    parser.add_argument("--tree", choices=VERSIONS, action="append")
    parser.add_argument("--kind", choices=kinds, action="append")
    parser.add_argument("--limit", type=int, default=20, help="of a kind and a tree")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--path", action="append", help="of the tree; the default is KVM and GVT")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/lockcheck"))
    parser.add_argument("--json", type=Path, help="write the results there, too")
    options = parser.parse_args()
    table: dict[str, Counter[str]] = defaultdict(Counter)
    missed: list[str] = []
    for version in options.tree or VERSIONS:
        tree = _kernel_tree(version)
        paths = tuple(options.path or PATHS)
        config = Config(tree=tree, paths=paths, jobs=1, cache=options.cache)
        base, program = _analyse_base(config)
        known = {finding.fingerprint for finding in base.findings}
        for kind in options.kind or kinds:
            chosen = _choose(list(_sites(tree.root, program, kind)), options.limit, options.seed)
            overlay = _overlay(tree.root, kind, chosen)
            with patch.object(session, "FactStore", _ReadOnlyStore):
                report = session.analyse(
                    Config(tree=tree, paths=paths, jobs=1, cache=options.cache, overlay=overlay)
                )
            errors = [n.message for n in report.notices if n.severity is Severity.ERROR]
            if errors:
                mutants._say(f"{version} {kind}: {errors[0]}")
            rules = BALANCE_RULES if kind == BALANCE else SLEEP_RULES
            new = [f for f in report.findings if f.fingerprint not in known and f.rule_id in rules]
            places = {(f.location.file, f.location.function) for f in new}
            places |= {(s.location.file, s.location.function) for f in new for s in f.related}
            for site in chosen:
                hit = (site.file, site.function) in places
                table[kind]["made"] += 1
                table[kind]["detected"] += hit
                if not hit:
                    where = f"{site.file}:{site.line} {site.function}() {site.section}"
                    missed.append(f"{version} {kind} {where}")
            others = places - {(site.file, site.function) for site in chosen}
            table[kind]["collateral"] += len(others)
            mutants._say(f"{version} {kind}: {table[kind]}")
    print("| kind | made | detected | collateral |\n|---|---|---|---|")
    for kind, counts in table.items():
        print(f"| {kind} | {counts['made']} | {counts['detected']} | {counts['collateral']} |")
    print("\n".join(["", *missed]))
    if options.json is not None:
        found = {"table": {k: dict(v) for k, v in table.items()}, "missed": missed}
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
