"""Fixes of locking that the kernel's developers made, taken back: are the bugs found again?

    benchmarks/reverted.py [--tree VERSION] [--write]

Each fix that the prepared trees (scripts/kernel-tree) have is undone in an overlay, as the code was
before it; no file is touched. Found means a finding that the tree as it is does not have, in or by
way of the function that was fixed. --write puts the table into docs/triage/upstream.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lockcheck.config import Config
from lockcheck.errors import LockcheckError
from lockcheck.findings.model import Finding
from lockcheck.source.tree import find_tree
from lockcheck.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/triage/upstream.md"
PATHS = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915/gvt")
BEGIN, END = "<!-- made by benchmarks/reverted.py -->", "<!-- end -->"


class Fix(NamedTuple):
    """A fix. edits: (text that it left, text to put there); each is there once in the function."""

    tree: str
    title: str
    file: str
    function: str
    edits: tuple[tuple[str, str], ...]


_SECTION = (
    ("kvm_vcpu_srcu_read_lock(vcpu);", ";"),
    ("kvm_vcpu_srcu_read_unlock(vcpu);", ";"),
)
_X86 = "arch/x86/kvm/x86.c"
FIXES = (
    *(
        fix
        for tree in ("6.1", "6.12")
        for fix in (
            Fix(
                tree,
                "KVM: x86: Acquire SRCU in KVM_GET_MP_STATE to protect guest memory accesses",
                _X86,
                "kvm_arch_vcpu_ioctl_get_mpstate",
                _SECTION,
            ),
            Fix(
                tree,
                "KVM: x86: Acquire kvm->srcu when handling KVM_SET_VCPU_EVENTS",
                _X86,
                "kvm_arch_vcpu_ioctl",
                (
                    (
                        "kvm_vcpu_srcu_read_lock(vcpu);\n"
                        "\t\tr = kvm_vcpu_ioctl_x86_set_vcpu_events(vcpu, &events);\n"
                        "\t\tkvm_vcpu_srcu_read_unlock(vcpu);",
                        ";\n\t\tr = kvm_vcpu_ioctl_x86_set_vcpu_events(vcpu, &events);\n\t\t;",
                    ),
                ),
            ),
        )
    ),
    Fix(
        "6.12",
        "KVM: x86: Acquire SRCU read lock when handling fastpath MSR writes",
        _X86,
        "handle_fastpath_set_msr_irqoff",
        _SECTION,
    ),
    Fix(
        "6.12",
        "drm/i915/gvt: Protect gfn hash table with vgpu_lock",
        "drivers/gpu/drm/i915/gvt/kvmgt.c",
        "kvmgt_page_track_write",
        (("mutex_lock(&info->vgpu_lock);", ";"), ("mutex_unlock(&info->vgpu_lock);", ";")),
    ),
    Fix(
        "6.12",
        "KVM: Protect vcpu->pid dereference via debugfs with RCU",
        "virt/kvm/kvm_main.c",
        "vcpu_get_pid",
        (
            ("rcu_read_lock();", ";"),
            ("rcu_dereference(vcpu->pid)", "rcu_access_pointer(vcpu->pid)"),
            ("rcu_read_unlock();", ";"),
        ),
    ),
)


class Result(NamedTuple):
    """What came of one fix. found: messages of the new findings that are about it."""

    fix: Fix
    found: tuple[str, ...]
    others: tuple[str, ...]


def main() -> int:
    """Take the fixes back, one at a time; the exit status is 0 even if some are not found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tree", choices=("6.1", "6.12"), action="append")
    parser.add_argument("--cache", default=os.path.expanduser("~/.cache/lockcheck"))
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    results: list[Result] = []
    try:
        for version in options.tree or ("6.1", "6.12"):
            results.extend(_run(version, options.cache))
    except KeyboardInterrupt:
        return 130
    except (LockcheckError, LookupError, subprocess.CalledProcessError) as error:
        print(f"reverted: {error}", file=sys.stderr)
        return 2
    table = render(results)
    print(table)
    for result in results:
        for message in (*result.found, *(f"beside: {text}" for text in result.others)):
            print(f"{result.fix.tree} {result.fix.function}(): {message}")
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
    return 0


def _run(version: str, cache: str) -> Iterable[Result]:
    done = subprocess.run(
        [ROOT / "scripts" / "kernel-tree", version], stdout=subprocess.PIPE, text=True, check=True
    )
    source, build = done.stdout.split()
    workspace = Workspace(
        Config(tree=find_tree(Path(source), Path(build)), paths=PATHS, jobs=1, cache=cache)
    )
    known = {finding.fingerprint for finding in workspace.report().findings}
    for fix in FIXES:
        if fix.tree != version:
            continue
        print(f"{version} {fix.function}()", file=sys.stderr, flush=True)
        report = workspace.report({fix.file: undone(fix, (Path(source) / fix.file).read_text())})
        new = [finding for finding in report.findings if finding.fingerprint not in known]
        about = [finding for finding in new if _is_about(finding, fix.function)]
        others = [finding.message for finding in new if finding not in about]
        yield Result(fix, tuple(f"{f.message} [{f.rule_id}]" for f in about), tuple(others))


def undone(fix: Fix, text: str) -> bytes:
    """A file as it was before a fix. Raises LookupError where it is not as the fix left it."""
    for old, new in fix.edits:
        places = [n for n in _occurrences(text, old) if _function_at(text, n) == fix.function]
        if len(places) != 1:
            raise LookupError(f"{fix.file}: {fix.function}(): not as the fix left it: {old!r}")
        text = text[: places[0]] + new + text[places[0] + len(old) :]
    return text.encode()


def _occurrences(text: str, part: str) -> Iterable[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _function_at(text: str, at: int) -> str:
    """The name of the function around a place, by the layout that the kernel's style gives it."""
    body = text.rfind("\n{", 0, at)
    begin = max(text.rfind("\n\n", 0, body), text.rfind("\n}", 0, body))
    head = text[begin:body]
    return head.partition("(")[0].split()[-1].lstrip("*")


def _is_about(finding: Finding, function: str) -> bool:
    steps = [finding.location, *(step.location for step in (*finding.chain, *finding.related))]
    return any(step.function == function for step in steps)


def render(results: Iterable[Result]) -> str:
    """The table in Markdown."""
    lines = ["| tree | fix, taken back | found by |", "|---|---|---|"]
    for fix, found, _ in results:
        rules = sorted({text.rsplit("[", 1)[-1].rstrip("]") for text in found})
        lines.append(f"| {fix.tree} | {fix.title} | {', '.join(rules) or 'not found'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
