"""The ledger in its forms, and what its filters take."""

from __future__ import annotations

import csv
import io
import json
import re

import msgspec
import pytest

from lockcheck.findings.model import LedgerEntry, Outcome, Report
from lockcheck.report import ledger
from lockcheck.report.ledger_table import as_table

replace = msgspec.structs.replace


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("kvm.mmu_lock", [355, 356, 357, 370]),
        ("struct kvm.mmu_lock", [355, 356, 357, 370]),
        ("mmu_lock", [355, 356, 357, 370]),
        ("*mmu_lock", [355, 356, 357, 370]),
        ("q.*", [366]),  # the second lock of its entry
        ("mmu", []),
    ],
)
def test_a_lock_fits_with_and_without_its_record(
    judged: Report, pattern: str, lines: list[int]
) -> None:
    wanted = ledger.Filter(lock=pattern)
    assert [e.location.line for e in judged.obligations if wanted.takes(e)] == lines


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (ledger.Filter(), [355, 356, 357, 366, 370]),
        (ledger.Filter(states=("proved", "violated")), [355, 356, 357]),
        (ledger.Filter(file="drivers/gpu/*"), [355, 356, 357, 366, 370]),
        (ledger.Filter(file="kvmgt.c"), []),
        (ledger.Filter(function="__kvmgt_*", origin="lockdep_*"), [366, 370]),
        (ledger.Filter(states=("unproved",), lock="kvm.*"), [370]),
    ],
)
def test_every_filter_must_fit(judged: Report, wanted: ledger.Filter, lines: list[int]) -> None:
    assert [e.location.line for e in judged.obligations if wanted.takes(e)] == lines


def test_text_is_one_line_for_each(judged: Report) -> None:
    first, *_ = ledger.as_text(judged.obligations).splitlines()
    assert first == (
        "drivers/gpu/drm/i915/gvt/kvmgt.c:355:2: __kvmgt_protect_table_find(): "
        "[gvt-protect-table] proved: walk of info->ptable needs kvm->mmu_lock held -- "
        "held in every context"
    )


def odd(entry: LedgerEntry) -> LedgerEntry:
    """An obligation outside of functions, with words that could upset a terminal."""
    place = replace(entry.location, function="")
    return replace(entry, location=place, reason="two\nlines [red]ops[i]\033[31m")


def test_text_sends_no_escapes(judged: Report) -> None:
    shown = ledger.as_text([odd(judged.obligations[0])])
    assert "\033" not in shown and "two lines [red]ops[i]\\x1b[31m" in shown
    assert ":355:2: [gvt-protect-table]" in shown


def test_json_has_exactly_the_columns(judged: Report) -> None:
    entries = json.loads(ledger.as_json(judged.obligations))
    assert entries[3] == {
        "state": "unproved",
        "origin": "lockdep_assert_held",
        "rule": "lock-assertion",
        "file": "drivers/gpu/drm/i915/gvt/kvmgt.c",
        "line": 366,
        "column": 2,
        "function": "__kvmgt_protect_table_find",
        "requirement": "ops[i](x) held or q->lock held",
        "lock": ["ops.lock", "q.lock"],
        "reason": "nobody in the units read calls it",
        "no_caller": True,
    }
    assert json.loads(ledger.as_json([])) == []


def test_csv_says_what_json_says(judged: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(ledger.as_csv(judged.obligations))))
    entries = json.loads(ledger.as_json(judged.obligations))
    assert list(rows[0]) == list(entries[0])
    assert [row["lock"] for row in rows] == [";".join(entry["lock"]) for entry in entries]
    assert [json.loads(row["no_caller"]) for row in rows] == [e["no_caller"] for e in entries]


def test_the_summary_leaves_out_what_nobody_calls(judged: Report) -> None:
    lines = [line.split() for line in ledger.summary(judged.obligations).splitlines()]
    assert lines[1:] == [
        ["gvt-protect-table", "2", "1", "0", "0", "67", "%"],
        ["lockdep_assert_held", "0", "0", "2", "1", "0", "%"],
        ["all", "2", "1", "2", "1", "50", "%"],
    ]


def test_the_summary_says_all_of_all_only(judged: Report) -> None:
    proved = judged.obligations[0]
    open_one = replace(proved, outcome=Outcome.UNPROVED)
    assert " 99 %" in ledger.summary([*[proved] * 999, open_one])
    assert " 100 %" in ledger.summary([proved])
    assert ledger.summary([replace(open_one, no_caller=True)]).splitlines()[-1].endswith("-")
    assert ledger.summary([]) == "no obligations\n"


def test_a_choice_by_outcome_has_no_share(judged: Report) -> None:
    shown = ledger.summary(judged.obligations, share=False)
    assert "share" not in shown and "%" not in shown
    assert ledger.as_text(judged.obligations, share=False).endswith(f"\n\n{shown}")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_fits_and_loses_nothing(judged: Report, width: int) -> None:
    shown = as_table(judged.obligations, width=width, colour=False)
    table, numbers = shown.split("\n\n")
    assert "\033" not in shown
    assert max(map(len, table.splitlines())) <= width
    assert numbers == ledger.summary(judged.obligations)
    states = [line.split()[0] for line in table.splitlines()[1:] if not line.startswith(" ")]
    assert states == [entry.outcome.value for entry in judged.obligations]
    if width == 200:  # nothing is folded
        for entry in judged.obligations:
            assert f"{entry.location.file}:{entry.location.line}" in table
            assert f"[{entry.origin}] {entry.requirement}" in table and entry.reason in table


def test_a_table_takes_source_for_no_markup(judged: Report) -> None:
    shown = as_table([odd(judged.obligations[0])], width=200, colour=False)
    assert "two lines [red]ops[i]\\x1b[31m" in shown and "\033" not in shown


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_colour_changes_nothing_but_colour(
    judged: Report, terminal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", terminal)
    coloured = as_table(judged.obligations, width=100, colour=True)
    plain = as_table(judged.obligations, width=100, colour=False)
    assert "\033[" in coloured
    bare = re.sub(r"\033\[[0-9;]*m", "", coloured).splitlines()
    assert [line.rstrip() for line in bare] == plain.splitlines()
    assert as_table([], width=100, colour=True) == "no obligations\n"
