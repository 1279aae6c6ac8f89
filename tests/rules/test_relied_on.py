"""What rests on an assertion is proved as far as the assertion is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockcheck.config import Config
from lockcheck.findings.model import LedgerEntry, Outcome
from lockcheck.session import analyse
from lockcheck.source.tree import find_tree

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RULE = """\
id: queue-length
title: A queue's length is touched without its lock
level: error
cwe: [CWE-667]
rationale: Queues are shared.
examples: {bad: q->length++;, good: spin_lock(&q->lock);}
kind: guarded-data
where: {q: struct queue *}
data: [q->length]
write: [{lock: q->lock}]
read: [{lock: q->lock}]
"""


def ledger(file: str, rule: Path) -> dict[tuple[str, str], LedgerEntry]:
    """(function, origin) → the obligation there."""
    report = analyse(Config(tree=find_tree(FIXTURES), paths=(file,), rules=(str(rule),), jobs=1))
    assert report.complete, report.notices
    return {(e.location.function, e.origin): e for e in report.obligations}


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    path = tmp_path / "queue.yaml"
    path.write_text(RULE)
    return path


def test_what_rests_on_a_violated_assertion_is_not_proved(rule: Path) -> None:
    entries = ledger("lock-assertion/bad_relied_on.c", rule)
    assert entries["queue_add_all", "lockdep_assert_held"].outcome is Outcome.VIOLATED
    for place, culprit in (
        (("queue_add", "lockdep_assert_held"), "queue_add_all()"),
        (("queue_add", "queue-length"), "queue_add()"),
    ):
        entry = entries[place]
        assert entry.outcome is Outcome.UNPROVED
        assert entry.reason == f"it rests on an assertion in {culprit} that is not proved"


def test_what_rests_on_an_assertion_that_nobody_calls(rule: Path) -> None:
    entries = ledger("lock-assertion/good_relied_on.c", rule)
    assert len(entries) == 4
    for entry in entries.values():
        if entry.origin != "queue-length":
            assert entry.outcome is Outcome.UNPROVED
            assert entry.reason == "no caller of queue_refill() in the units read"
            assert entry.no_caller


def test_what_rests_on_a_proved_assertion_says_so(rule: Path) -> None:
    entries = ledger("lock-assertion/good_caller_two_up.c", rule)
    outcomes = {entry.outcome for entry in entries.values()}
    assert outcomes == {Outcome.PROVED}
    rule_reasons = {e.reason for e in entries.values() if e.origin == "queue-length"}
    assert rule_reasons == {
        "met in every context; in some of them as an assertion on the way says, which is "
        "proved itself"
    }
