"""How many mutants of the kernel's locking lockcheck detects.

    benchmarks/mutants.py [--tree VERSION] [--kind KIND] [--limit N] [--seed S] [--write]

Edits real functions of the prepared trees (scripts/kernel-tree) so that a lock is missing which a
proved obligation needs, by the ledger of the unmutated tree, or so that one is taken twice or in
another order (mutants_order.py), and analyses each mutant through an overlay: no file is touched. A
mutant is detected when there is a finding that the unmutated tree does not have, on a chain through
the mutated function or in what it calls. Any other new finding is collateral. Prints a table by
kind and those that were missed; --write puts both into docs/mutants.md and keeps what is written
there by hand. --json adds the results of this run to those of a file, so that trees and kinds can
be run apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mutants_kinds import KINDS, Mutant, make
from mutants_order import ENABLED, ORDER_KINDS, make_order
from mutants_reach import Tree
from mutants_report import Result, render, write

from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Severity
from lockcheck.findings.model import Finding, LedgerEntry, Report
from lockcheck.source.tree import KernelTree, find_tree
from lockcheck.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
PATHS = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915/gvt")
VERSIONS = ("6.1", "6.12")
ALL_KINDS = (*KINDS, *ORDER_KINDS)
PAGE = ROOT / "docs" / "mutants.md"


def main() -> int:
    """Make and analyse mutants; the exit status is 0 even if some are missed, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(description="mutants of the kernel's locking")
    parser.add_argument("--tree", choices=VERSIONS, action="append")
    parser.add_argument("--kind", choices=ALL_KINDS, action="append")
    parser.add_argument("--limit", type=int, default=5, help="of a kind and a tree; 0: run nothing")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/lockcheck"))
    parser.add_argument("--json", type=Path, help="add to, and report, the results in this file")
    parser.add_argument("--list", action="store_true", help="say what there is, analyse nothing")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    results = _load(options.json)
    status = 0
    try:
        for version in (options.tree or VERSIONS) if options.limit else ():
            _run(version, options, results)
    except KeyboardInterrupt:
        _say("interrupted: what follows is not everything")
        status = 130
    except (LockcheckError, subprocess.CalledProcessError) as error:
        _say(f"mutants: {error}")
        return 2
    if options.list:
        return status
    print(render(results.values()))
    if options.write and status == 0:
        write(PAGE, render(results.values()), options.seed)
    return status


def _load(path: Path | None) -> dict[str, Result]:
    if path is None or not path.exists():
        return {}
    return {key: Result(**value) for key, value in json.loads(path.read_text()).items()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _kernel_tree(version: str) -> KernelTree:
    done = subprocess.run(
        [ROOT / "scripts" / "kernel-tree", version], stdout=subprocess.PIPE, text=True, check=True
    )
    source, build = done.stdout.split()
    return find_tree(Path(source), Path(build))


def _run(version: str, options: argparse.Namespace, results: dict[str, Result]) -> None:
    tree = _kernel_tree(version)
    config = Config(tree=tree, paths=PATHS, jobs=1, cache=options.cache, enable=ENABLED)
    _say(f"{version}: the unmutated tree")
    workspace = Workspace(config)  # its reports equal those of runs of their own
    base = workspace.report()
    assert workspace.program is not None
    source = Tree(tree.root, workspace.program, base.obligations)
    for kind in options.kind or ALL_KINDS:
        candidates = (make_order if kind in ORDER_KINDS else make)(source, kind, options.seed)
        _say(f"{version} {kind}: {len(candidates)} functions to choose from")
        done = 0
        for mutant in candidates:
            if done == options.limit:
                break
            if options.list:
                _say(f"  {mutant.file}:{mutant.line} {mutant.edit}; {mutant.chain}: "
                     f"{mutant.target.entry.requirement}")  # fmt: skip
                continue
            result = _judge(version, workspace, base, source, mutant)
            done += not result.broken
            results[f"{version} {kind} {mutant.file} {mutant.function}"] = result
            word = "does not compile" if result.broken else "ok" if result.detected else "MISSED"
            extra = f", {len(result.collateral)} collateral" if result.collateral else ""
            _say(f"  {word}{extra}: {mutant.function}(): {mutant.edit} ({result.seconds:.0f} s)")
            if options.json is not None:
                _save(options.json, results)


def _save(path: Path, results: dict[str, Result]) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps({key: value._asdict() for key, value in results.items()}))
    partial.replace(path)


def _judge(version: str, workspace: Workspace, base: Report, tree: Tree, mutant: Mutant) -> Result:
    started = time.monotonic()
    report = workspace.report({mutant.file: mutant.apply(tree)})
    seconds = time.monotonic() - started
    known = {finding.fingerprint for finding in base.findings}
    new = [finding for finding in report.findings if finding.fingerprint not in known]
    below = tree.below(tree.keys[mutant.file, mutant.function]) | set(mutant.target.chain)
    related = [f for f in new if _is_about(f, mutant.function, below)]
    errors = [n.message for n in report.notices if n.severity is Severity.ERROR]
    return Result(
        version=version,
        kind=mutant.kind,
        file=mutant.file,
        function=mutant.function,
        line=mutant.line,
        edit=mutant.edit,
        chain=mutant.chain,
        requirement=f"{mutant.target.entry.origin}: {mutant.target.entry.requirement}",
        broken=errors[0] if errors else "",
        detected=[_text(f) for f in related],
        collateral=[_text(f) for f in new if f not in related],
        ledger=_changes(base.obligations, report.obligations),
        seconds=seconds,
    )


def _is_about(finding: Finding, function: str, below: set[str]) -> bool:
    steps = [finding.location, *(s.location for s in (*finding.chain, *finding.related))]
    return (
        any(step.function == function for step in steps)
        or f"{function}()" in finding.message
        or finding.location.function in below
    )


def _text(finding: Finding) -> str:
    where = finding.location
    return f"{where.file}:{where.line} {where.function}(): {finding.message} [{finding.rule_id}]"


def _changes(before: Iterable[LedgerEntry], after: Iterable[LedgerEntry]) -> list[str]:
    """The obligations that ended otherwise than in the unmutated tree."""

    def ends(entries: Iterable[LedgerEntry]) -> Counter[tuple[str, str, str, str, str]]:
        return Counter(
            (e.location.file, e.location.function, e.origin, e.requirement,
             f"{e.outcome.value}, {e.reason}")
            for e in entries
        )  # fmt: skip

    old, new = ends(before), ends(after)
    gone = {key[:4]: key[4] for key in old - new}
    return [
        f"{key[1]}() {key[2]}: {key[3]}: {gone.get(key[:4], 'not stated')} → {key[4]}"
        for key in sorted(new - old)
    ]


if __name__ == "__main__":
    sys.exit(main())
