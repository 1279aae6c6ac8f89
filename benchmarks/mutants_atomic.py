"""How much sleeping in atomic context, how many locks left behind or nested wrongly, it detects.

    benchmarks/mutants_atomic.py [--tree VERSION] [--kind KIND] [--limit N] [--seed S]
                                 [--json FILE] [--write]

Edits real functions of the prepared trees through an overlay, no file is touched. A sleeping
mutant gets a statement that may sleep right behind a statement that enters an atomic section; a
sleeping hook gets one first in a function to which a pointer leads in atomic context; a balance
mutant loses an unlock in front of a `return` or `goto`, or returns where it should go to the label
that unlocks; mutants_order.py has the ones that take a lock twice, in another order, or with
interrupts on. Mutants sit in different functions and are analysed in a few runs; those of inverted
pairs, and all with --alone, each in its own.

Detected: a finding of the rules in question, in the function or on a chain through it, that the
unmutated tree has not. What other rules say of a mutated function follows from the mutant: without
the lock that it drops, say. Any other new finding is collateral. A function to which this
configuration leaves no way is told apart: nothing can be found there.

Prints a table by kind and section, and those that were missed; --write puts both into
docs/mutants.md. --json keeps the results of each run, and what is there already is not run again.
See benchmarks/mutants.py for locks that are missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from mutants import PAGE, PATHS, VERSIONS, _kernel_tree, _say
from mutants_order import ENABLED, ORDER_KINDS, make_order
from mutants_reach import Tree
from mutants_report import replace_part
from mutants_sites import (
    ADDED_LINES,
    BALANCE_RULES,
    DROPPED,
    EARLY,
    HOOK,
    ORDER_RULES,
    SITE_KINDS,
    SLEEP_RULES,
    SLEEPERS,
    Mutant,
    Places,
    choose,
)

from lockcheck import session
from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Severity
from lockcheck.findings.model import Finding, Report, StepKind
from lockcheck.lockstate.analysis import Analysis
from lockcheck.rules import engine

KINDS = (*SITE_KINDS, *ORDER_KINDS)
# Kinds that go into one run: what their mutants bring is told apart by the function.
# There is one finding for a pair of locks: in one run, mutants of a pair would hide each other.
ONE_BY_ONE = "inverted-pair"
GROUPS = (
    (*SLEEPERS, HOOK),
    (DROPPED, EARLY),
    tuple(kind for kind in ORDER_KINDS if kind != ONE_BY_ONE),
    (ONE_BY_ONE,),
)

Results = dict[str, dict[str, Any]]  # by tree and kind and so on: what came of each run


def main() -> int:
    """Make and analyse mutants; the exit status is 0 even if some are missed, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(description="mutants of atomic sections and of balance")
    parser.add_argument("--tree", choices=VERSIONS, action="append")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--limit", type=int, default=20, help="of a kind and a tree")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--path", action="append", help="of the tree; the default is KVM and GVT")
    parser.add_argument("--alone", action="store_true", help="a run for each mutant")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/lockcheck"))
    parser.add_argument("--json", type=Path, help="keep the results there, go on from them")
    parser.add_argument("--list", action="store_true", help="say what there is, analyse nothing")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    results: Results = {}
    if options.json is not None and options.json.exists():
        results = json.loads(options.json.read_text())
    status = 0
    try:
        for version in options.tree or VERSIONS:
            _run(version, options, results)
    except KeyboardInterrupt:
        _say("interrupted: what follows is not everything")
        status = 130
    except LockcheckError as error:
        _say(f"mutants: {error}")
        return 2
    if not options.list:
        text = render(results.values())
        print(text)
        if options.write and status == 0:
            replace_part(PAGE, "benchmarks/mutants_atomic.py", f"Seed {options.seed}.\n\n{text}")
    return status


def analyse_base(config: Config) -> tuple[Report, Analysis]:
    """The report of the unmutated tree, and the analysis that it came from."""
    kept: list[Analysis] = []

    def keep(*arguments: Any) -> Analysis:
        kept.append(Analysis(*arguments))
        return kept[-1]

    with patch.object(engine, "Analysis", keep):
        return session.analyse(config), kept[0]


def all_mutants(
    places: Places, base: Report, analysis: Analysis, kind: str, seed: str
) -> list[Mutant]:
    """All mutants of a kind in the tree that was analysed."""
    if kind in SITE_KINDS:
        return places.all(kind)
    tree = Tree(places.root, analysis.program, base.obligations)
    return [
        Mutant(kind, m.file, m.function, m.line, kind, m.edit, tuple(m.lines.items()))
        for m in make_order(tree, kind, seed)
    ]


def _run(version: str, options: argparse.Namespace, results: Results) -> None:
    paths = tuple(options.path or PATHS)
    asked = f"{options.seed} {options.limit}{' alone' if options.alone else ''} {' '.join(paths)}"
    groups = {
        f"{version} {' '.join(kinds)} {asked}": kinds
        for group in GROUPS
        if (kinds := [kind for kind in group if kind in (options.kind or KINDS)])
    }
    if not options.list and not options.alone:
        groups = {name: kinds for name, kinds in groups.items() if name not in results}
    if not groups:
        return
    tree = _kernel_tree(version)
    config = Config(tree=tree, paths=paths, jobs=1, cache=options.cache, enable=ENABLED)
    _say(f"{version}: the unmutated tree")
    base, analysis = analyse_base(config)
    places = Places(tree.root, analysis)
    for group, kinds in groups.items():
        made = {kind: all_mutants(places, base, analysis, kind, options.seed) for kind in kinds}
        chosen = choose_apart(made, options.limit, options.seed)
        _say(f"{version} {' '.join(kinds)}: {len(chosen)} mutants")
        if options.list:
            for mutant in chosen:
                _say(f"  {mutant.kind} {mutant.name}: {mutant.edit}")
            continue
        alone = options.alone or ONE_BY_ONE in kinds
        for number, batch in enumerate([[m] for m in chosen] if alone else [chosen]):
            name = f"{group} {number}" if alone else group
            if name in results:
                continue
            results[name] = _judge(version, config, base, places, batch)
            for entry in results[name]["mutants"]:
                word = "ok" if entry["detected"] else "MISSED" if entry["reached"] else "no way"
                _say(f"  {word}: {entry['kind']} {entry['file']}:{entry['line']} "
                     f"{entry['function']}(): {entry['edit']}")  # fmt: skip
            if options.json is not None:
                partial = options.json.with_name(options.json.name + ".part")
                partial.write_text(json.dumps(results, indent=1))
                partial.replace(options.json)


def choose_apart(
    made: dict[str, list[Mutant]], limit: int, seed: str, files: Collection[str] | None = None
) -> list[Mutant]:
    """Some mutants of each kind, in different functions: those first of which there are few.

    files: the only ones that may have mutants, if not None.
    """
    taken: set[tuple[str, str]] = set()
    chosen: list[Mutant] = []
    for kind in sorted(made, key=lambda kind: len(made[kind])):
        free = [
            mutant
            for mutant in made[kind]
            if (mutant.file, mutant.function) not in taken
            and (files is None or mutant.file in files)
        ]
        some = choose(free, limit, seed)
        taken |= {(m.file, m.function) for m in some}
        chosen += some
    return sorted(chosen)


def _judge(
    version: str, config: Config, base: Report, places: Places, batch: Sequence[Mutant]
) -> dict[str, Any]:
    started = time.monotonic()
    report = session.analyse(msgspec.structs.replace(config, overlay=places.overlay(batch)))
    seconds = time.monotonic() - started
    known = {finding.fingerprint for finding in base.findings}
    new = [finding for finding in report.findings if finding.fingerprint not in known]
    used: set[str] = set()
    entries = []
    for mutant in batch:
        about = [f for f in new if _tells(f, mutant)]
        used.update(f.fingerprint for f in about)
        detected = [_text(f) for f in about]
        reached = bool(detected) or places.is_reached(mutant.file, mutant.function)
        entries.append(
            {**mutant._asdict(), "version": version, "detected": detected, "reached": reached}
        )
    left = [f for f in new if f.fingerprint not in used]
    following = [f for f in left if any(_is_about(f, mutant) for mutant in batch)]
    errors = [n.message for n in report.notices if n.severity is Severity.ERROR]
    return {
        "version": version,
        "mutants": entries,
        "following": [_text(f) for f in following],
        "collateral": [_text(f) for f in left if f not in following],
        "errors": errors,
        "seconds": seconds,
    }


def _rules(kind: str) -> frozenset[str]:
    if kind in ORDER_KINDS:
        return ORDER_RULES
    return BALANCE_RULES if kind in (DROPPED, EARLY) else SLEEP_RULES


def _tells(finding: Finding, mutant: Mutant) -> bool:
    """Whether a finding says what is wrong with a mutant, and not with another one of the run."""
    if finding.rule_id not in _rules(mutant.kind):
        return False
    if mutant.kind not in SLEEPERS:
        return _is_about(finding, mutant)
    # A hook's rule, or an assertion's, may have it, from further up: the call is on its chain.
    calls = (
        step.location for step in finding.chain if step.kind in (StepKind.CALL, StepKind.SLEEP)
    )
    return any(
        (where.file, where.function) == (mutant.file, mutant.function)
        and where.line - mutant.line in (0, ADDED_LINES)
        for where in (finding.location, *calls)
    )


def _is_about(finding: Finding, mutant: Mutant) -> bool:
    steps = (finding.location, *(s.location for s in (*finding.chain, *finding.related)))
    return any((step.file, step.function) == (mutant.file, mutant.function) for step in steps)


def _text(finding: Finding) -> str:
    where = finding.location
    return f"{where.file}:{where.line} {where.function}(): {finding.message} [{finding.rule_id}]"


def render(runs: Iterable[dict[str, Any]]) -> str:
    """Markdown for some runs: a table by kind, one by what is entered or dropped, the missed."""
    found = list(runs)
    mutants = sorted(
        (mutant for run in found for mutant in run["mutants"]),
        key=lambda m: (KINDS.index(m["kind"]), m["version"], m["file"], m["line"]),
    )
    collateral = [(run["version"], text) for run in found for text in run["collateral"]]
    unreached = [m for m in mutants if not m["reached"]]
    mutants = [m for m in mutants if m["reached"]]
    lines = ["| kind | made | detected | missed |", "|---|---|---|---|"]
    lines += [_row(kind, [m for m in mutants if m["kind"] == kind]) for kind in KINDS]
    following = sum(len(run["following"]) for run in found)
    lines += [_row("all", mutants), "", f"Collateral: {len(collateral)}."]
    lines += [f"Of other rules on mutated functions: {following}."]
    lines += [f"Not counted, since no call gets there: {len(unreached)}.", ""]
    lines += ["By what is entered, dropped or called:", ""]
    lines += ["| statement | made | detected | missed |", "|---|---|---|---|"]
    sites = [mutant for mutant in mutants if mutant["kind"] not in ORDER_KINDS]
    for section in sorted({mutant["section"] for mutant in sites}):
        lines.append(_row(section, [m for m in sites if m["section"] == section]))
    for title, texts in (
        ("Missed", [_told(m) for m in mutants if not m["detected"]]),
        ("Not reached in this configuration", [_told(m) for m in unreached]),
        ("Collateral", [f"{version}: {text}" for version, text in collateral]),
        ("Does not compile", [f"{run['version']}: {e}" for run in found for e in run["errors"]]),
    ):  # fmt: skip
        if texts:
            lines += ["", f"### {title}", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines)


def _told(mutant: dict[str, Any]) -> str:
    where = f"{mutant['file']}:{mutant['line']}"
    what = f"{mutant['version']} {mutant['kind']}, `{mutant['function']}()` ({where})"
    return f"{what}: {mutant['edit']}"


def _row(title: str, mutants: Sequence[dict[str, Any]]) -> str:
    hits = sum(bool(mutant["detected"]) for mutant in mutants)
    return f"| {title} | {len(mutants)} | {hits} | {len(mutants) - hits} |"


if __name__ == "__main__":
    sys.exit(main())
