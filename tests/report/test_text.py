"""Text output: exact, because editors parse it and reviewers read it."""

from __future__ import annotations

import re

import msgspec
import pytest

from lockcheck.errors import Notice, Severity
from lockcheck.findings.model import LedgerCount, Location, Report, Step, StepKind
from lockcheck.report import text

EXPECTED = """\
drivers/gpu/drm/i915/gvt/kvmgt.c:1625:6: warning: kvmgt_page_track_write() reads the \
write-protect hash table without kvm->mmu_lock [gvt-protect-table]
arch/x86/kvm/x86.c:7468:12: note: in emulator_write_phys(): no caller in the units read
arch/x86/kvm/x86.c:7476:2: note: emulator_write_phys() calls kvm_page_track_write()
arch/x86/kvm/mmu/page_track.c:264:8: note: in kvm_page_track_write(): \
takes head->track_srcu (SRCU read side)
arch/x86/kvm/mmu/page_track.c:268:4: note: in kvm_page_track_write(): \
calls n->track_write, which is kvmgt_page_track_write() (set at kvmgt.c:664)
drivers/gpu/drm/i915/gvt/kvmgt.c:1625:6: note: in kvmgt_page_track_write(): \
reads info->ptable without kvm->mmu_lock
drivers/gpu/drm/i915/gvt/kvmgt.c:366:2: note: in kvmgt_protect_table_add(): \
changed here under kvm->mmu_lock
arch/x86/kvm/vmx/vmx.c:12: error: lockcheck: unknown type name 'u46' [unit-not-parsed]
  remedy: mend the error, or leave the file out
lockcheck: warning: the tree is configured without LOCKDEP [no-lockdep]
lockcheck: 20 obligations: 16 proved, 2 violated, 2 unproved
  rule                 proved  violated  unproved
  gfn-track-write          12         1         0
  gvt-protect-table         4         1         2
lockcheck: 2 obligations are unproved: `lockcheck ledger --state unproved` tells why
lockcheck: 1 finding, 1 suppressed, 70 units read; \
INCOMPLETE: not everything was analysed, see the errors above
"""


def test_the_whole_form(report: Report) -> None:
    assert text.render(report) == EXPECTED


def test_suppressed_findings_are_shown_with_their_reason_on_demand(report: Report) -> None:
    lines = text.render(report, show_suppressed=True).splitlines()
    assert lines[0] == (
        "arch/x86/kvm/mmu/page_track.c:87:2: error: update of slot->arch.gfn_track needs "
        "kvm->mmu_lock held for write; update_gfn_track() holds nothing [gfn-track-write]"
    )
    assert lines[1] == (
        "lockcheck.toml:3: note: suppressed here (until 2031-01-31): "
        "the slot is not visible to others yet"
    )


def test_a_clean_run(report: Report) -> None:
    clean = msgspec.structs.replace(report, findings=(), notices=(), ledger=(), complete=True)
    assert text.render(clean) == "lockcheck: 0 findings, 0 suppressed, 70 units read\n"


def test_colour_changes_nothing_but_colour(report: Report) -> None:
    coloured = text.render(report, colour=True)
    assert "\033[1;35mwarning:\033[0m" in coloured
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == EXPECTED
    assert "\033" not in text.render(report)


@pytest.mark.parametrize("kind", list(StepKind))
def test_a_step_without_words_still_says_why_it_is_shown(report: Report, kind: StepKind) -> None:
    step = Step(kind, Location("a.c", 1, 2, "f"), "")
    finding = msgspec.structs.replace(report.findings[1], chain=(step,))
    lines = text.render(msgspec.structs.replace(report, findings=(finding,))).splitlines()
    assert re.fullmatch(r"a\.c:1:2: note: in f\(\): \w.*", lines[1])


def test_a_chain_that_closes_with_the_finding_itself_is_not_printed_twice(report: Report) -> None:
    finding = report.findings[1]
    last = Step(StepKind.ACCESS, finding.location, finding.message)
    finding = msgspec.structs.replace(finding, chain=(last,), related=())
    report = msgspec.structs.replace(report, findings=(finding,), notices=(), ledger=())
    shown = text.render(report)
    assert len(shown.splitlines()) == 2


def test_one_diagnostic_is_one_line_and_sends_no_escapes(report: Report) -> None:
    notice = Notice(Severity.NOTE, "odd", "two\nlines\033[31m", remedy="one\nthing")
    shown = text.render(msgspec.structs.replace(report, findings=(), notices=(notice,)))
    assert shown.splitlines()[:2] == [
        "lockcheck: note: two lines\\x1b[31m [odd]",
        "  remedy: one thing",
    ]


def test_an_entry_that_is_only_a_name_says_why_it_is_shown(report: Report) -> None:
    step = Step(StepKind.ENTRY, Location("a.c", 3, 1, "start"), "start()")
    finding = msgspec.structs.replace(report.findings[0], chain=(step,), suppression=None)
    lines = text.render(msgspec.structs.replace(report, findings=(finding,))).splitlines()
    assert "a.c:3:1: note: in start(): the chain begins here" in lines


def test_notices_with_one_remedy_show_it_once(report: Report) -> None:
    notices = tuple(
        Notice(Severity.ERROR, "unit-has-errors", "no header", f"{name}.c", 1, "prepare it")
        for name in "abc"
    )
    lines = text.render(msgspec.structs.replace(report, findings=(), notices=notices)).splitlines()
    assert lines[2:4] == [
        "c.c:1: error: lockcheck: no header [unit-has-errors]",
        "  remedy: prepare it",
    ]
    assert sum("remedy" in line for line in lines) == 1


def closing(report: Report, *ledger: LedgerCount) -> list[str]:
    """What follows the findings and notices of a report with this ledger."""
    shown = msgspec.structs.replace(report, findings=(), notices=(), ledger=ledger, complete=True)
    return text.render(shown).splitlines()


def test_the_ledger_has_rules_first_and_assertions_under_the_same_columns(report: Report) -> None:
    counts = (
        LedgerCount("srcu_dereference_check", 1032, 6, 0),
        LedgerCount("gvt-protect-table", 4, 1, 0),
        LedgerCount("__releases", 1, 0, 0),
    )
    assert closing(report, *counts) == [
        "lockcheck: 1044 obligations: 1037 proved, 7 violated, 0 unproved",
        "  rule                      proved  violated  unproved",
        "  gvt-protect-table              4         1         0",
        "  assertion",
        "  __releases                     1         0         0",
        "  srcu_dereference_check      1032         6         0",
        "lockcheck: 0 findings, 0 suppressed, 70 units read",
    ]


def test_a_ledger_of_assertions_alone_has_the_heading(report: Report) -> None:
    lines = closing(report, LedgerCount("might_sleep", 0, 0, 1))
    assert lines[:4] == [
        "lockcheck: 1 obligation: 0 proved, 0 violated, 1 unproved",
        "  assertion      proved  violated  unproved",
        "  might_sleep         0         0         1",
        "lockcheck: 1 obligation is unproved: `lockcheck ledger --state unproved` tells why",
    ]


def test_notices_alone_are_those_of_the_report(report: Report) -> None:
    assert text.notices(report) in EXPECTED
    assert text.notices(report).count("\n") == 3
