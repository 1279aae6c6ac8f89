"""Reports as a real run over the 6.1 tree makes them."""

from __future__ import annotations

import msgspec
import pytest

from lockcheck.errors import Notice, Severity
from lockcheck.findings.fingerprint import fingerprint
from lockcheck.findings.model import (
    Finding,
    LedgerCount,
    LedgerEntry,
    Level,
    Location,
    Outcome,
    Report,
    RuleInfo,
    Step,
    StepKind,
    Suppression,
    TreeInfo,
)

KVMGT = "drivers/gpu/drm/i915/gvt/kvmgt.c"
PAGE_TRACK = "arch/x86/kvm/mmu/page_track.c"

PROTECT_TABLE = RuleInfo(
    rule_id="gvt-protect-table",
    title="The write-protect hash table of a vGPU is used under its lock",
    rationale=(
        "`kvmgt_protect_table_add()` and `_del()` change the table under `kvm->mmu_lock`.\n\n"
        "A walk without it follows entries that are freed under its feet."
    ),
    bad_example="if (kvmgt_gfn_is_write_protected(info, gfn))\n\treturn;",
    good_example=(
        "write_lock(&kvm->mmu_lock);\nif (kvmgt_gfn_is_write_protected(info, gfn))\n\tgoto out;"
    ),
    level=Level.WARNING,
    cwe=("CWE-667", "CWE-416"),
    file="rules/gvt-protect-table.yaml",
)

TRACK_WRITE = RuleInfo(
    rule_id="gfn-track-write",
    title="Write-tracking counts are updated under mmu_lock held for write",
    rationale="The update is a read-modify-write, so a lock held for read does not make it safe.",
    bad_example="slot->arch.gfn_track[mode][index] += count;",
    good_example="lockdep_assert_held_write(&kvm->mmu_lock);",
    level=Level.ERROR,
    cwe=("CWE-667",),
    file="rules/gfn-track-write.yaml",
)


def protect_table_finding() -> Finding:
    """The real bug of 6.1: the table is read on the emulated-write path without mmu_lock."""
    here = Location(KVMGT, 1625, 6, "kvmgt_page_track_write")
    return Finding(
        rule_id="gvt-protect-table",
        level=Level.WARNING,
        message=(
            "kvmgt_page_track_write() reads the write-protect hash table without kvm->mmu_lock"
        ),
        location=here,
        chain=(
            Step(
                StepKind.ENTRY,
                Location("arch/x86/kvm/x86.c", 7468, 12, "emulator_write_phys"),
                "no caller in the units read",
            ),
            Step(
                StepKind.CALL,
                Location("arch/x86/kvm/x86.c", 7476, 2, "emulator_write_phys"),
                "emulator_write_phys() calls kvm_page_track_write()",
            ),
            Step(
                StepKind.ACQUIRE,
                Location(PAGE_TRACK, 264, 8, "kvm_page_track_write"),
                "takes head->track_srcu (SRCU read side)",
                1,
            ),
            Step(
                StepKind.CALL,
                Location(PAGE_TRACK, 268, 4, "kvm_page_track_write"),
                "calls n->track_write, which is kvmgt_page_track_write() (set at kvmgt.c:664)",
                1,
            ),
            Step(StepKind.ACCESS, here, "reads info->ptable without kvm->mmu_lock", 2),
        ),
        related=(
            Step(
                StepKind.NOTE,
                Location(KVMGT, 366, 2, "kvmgt_protect_table_add"),
                "changed here under kvm->mmu_lock",
            ),
        ),
        fingerprint=fingerprint(
            "gvt-protect-table",
            "kvmgt_page_track_write",
            "struct intel_vgpu.ptable",
            "struct kvm.mmu_lock",
            0,
        ),
    )


def suppressed_finding() -> Finding:
    return Finding(
        rule_id="gfn-track-write",
        level=Level.ERROR,
        message=(
            "update of slot->arch.gfn_track needs kvm->mmu_lock held for write; "
            "update_gfn_track() holds nothing"
        ),
        location=Location(PAGE_TRACK, 87, 2, "update_gfn_track"),
        chain=(),
        related=(),
        fingerprint=fingerprint(
            "gfn-track-write", "update_gfn_track", "gfn_track", "struct kvm.mmu_lock", 0
        ),
        suppression=Suppression(
            rule="gfn-track-write",
            function="update_gfn_*",
            reason="the slot is not visible to others yet",
            file="lockcheck.toml",
            line=3,
            expires="2031-01-31",
        ),
    )


NOTICES = (
    Notice(
        Severity.ERROR,
        "unit-not-parsed",
        "unknown type name 'u46'",
        file="arch/x86/kvm/vmx/vmx.c",
        line=12,
        remedy="mend the error, or leave the file out",
    ),
    Notice(Severity.WARNING, "no-lockdep", "the tree is configured without LOCKDEP"),
)


def _entry(
    outcome: Outcome, line: int, reason: str, *, rule: str = "gvt-protect-table", **changes: object
) -> LedgerEntry:
    entry = LedgerEntry(
        outcome=outcome,
        origin=rule,
        rule_id=rule,
        location=Location(KVMGT, line, 2, "__kvmgt_protect_table_find"),
        requirement="walk of info->ptable needs kvm->mmu_lock held",
        lock=("kvm.mmu_lock",),
        reason=reason,
    )
    return msgspec.structs.replace(entry, **changes)


# Two that agree in everything but their line, with a violated one between them.
OBLIGATIONS = (
    _entry(Outcome.PROVED, 355, "held in every context"),
    _entry(Outcome.VIOLATED, 356, "a call chain reaches it without the lock: see the finding"),
    _entry(Outcome.PROVED, 357, "held in every context"),
    _entry(
        Outcome.UNPROVED,
        366,
        "nobody in the units read calls it",
        origin="lockdep_assert_held",
        rule="lock-assertion",
        requirement="ops[i](x) held or q->lock held",
        lock=("ops.lock", "q.lock"),
        no_caller=True,
    ),
    _entry(
        Outcome.UNPROVED,
        370,
        "the call through ops[i](x) is not resolved",
        origin="lockdep_assert_held",
        rule="lock-assertion",
    ),
)


@pytest.fixture
def judged(report: Report) -> Report:
    """The report with its obligations: two proved, one violated, two unproved."""
    return msgspec.structs.replace(report, obligations=OBLIGATIONS)


@pytest.fixture
def report() -> Report:
    """One finding shown, one suppressed, one unit not parsed: an incomplete run."""
    return Report(
        findings=(suppressed_finding(), protect_table_finding()),
        notices=NOTICES,
        rules=(TRACK_WRITE, PROTECT_TABLE),
        tree=TreeInfo(
            root="/src/linux",
            version="6.1.192",
            git_revision="0123456789abcdef0123456789abcdef01234567",
            git_remote="https://git.example.org/linux.git",
        ),
        ledger=(
            LedgerCount("gfn-track-write", 12, 1, 0),
            LedgerCount("gvt-protect-table", 4, 1, 2),
        ),
        units=70,
        command_line=("lockcheck", "check", "arch/x86/kvm", "drivers/gpu/drm/i915/gvt"),
        started="2026-01-02T03:04:05Z",
        ended="2026-01-02T03:04:25Z",
        complete=False,
    )
