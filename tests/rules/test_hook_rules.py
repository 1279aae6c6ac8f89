"""What hooks must not do: sleep, take a lock, call a function; from one, or wherever stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_user_rules import COMMON, Bench

from lockcheck.errors import LockcheckError
from lockcheck.rules.loader import parse_rule
from lockcheck.rules.model import SLEEP, Forbidden, HookMustNot

HOOK = f"""\
id: box-hook
{COMMON}kind: hook-must-not
"""
HOOKS = """
static void shrink(struct box *b) { b->count--; }
static void tidy(struct box *b) { shrink(b); }
static void tick(struct box *b) { spin_lock(&b->lock); b->count++; spin_unlock(&b->lock); }
static const struct box_ops ops = { .commit = tidy, .tick = tick };
void box_commit(struct box *b) { b->ops = &ops; b->ops->commit(b); b->ops->tick(b); }
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_hook_must_not_take_a_lock(bench: Bench) -> None:
    rule = HOOK + "from: box_commit\nthrough: [struct box_ops]\nmust-not: [{take: struct box.lock}]"
    report = bench.check(HOOKS, rule)

    (finding,) = (f for f in report.findings if f.rule_id == "box-hook")
    assert finding.location.function == "tick"
    assert "may take box.lock" in finding.message


def test_a_hook_must_not_call_a_function(bench: Bench) -> None:
    rule = HOOK + "through: [struct box_ops.commit]\nmust-not: [{call: shrink}]"
    report = bench.check(HOOKS, rule)

    (finding,) = (f for f in report.findings if f.rule_id == "box-hook")
    assert finding.location.function == "tidy"
    assert "it is called through struct box_ops.commit" in finding.message


def test_a_hook_that_does_neither_is_proved(bench: Bench) -> None:
    rule = HOOK + "through: [struct box_ops]\nmust-not: [sleep, {call: box_commit}]"
    report = bench.check(HOOKS, rule)

    assert [f for f in report.findings if f.rule_id == "box-hook"] == []
    (count,) = (c for c in report.ledger if c.origin == "box-hook")
    assert (count.proved, count.violated, count.unproved) == (4, 0, 0)


def test_both_spellings_of_no_sleep() -> None:
    old = f"id: h\n{COMMON}kind: hook-no-sleep\nfrom: f\nthrough: [struct ops]\n"
    new = old.replace("hook-no-sleep", "hook-must-not") + "must-not: [sleep]\n"

    expected = HookMustNot("f", ("ops",), (), (SLEEP,))
    assert parse_rule(old, "old", builtin=False).check == expected
    assert parse_rule(new, "new", builtin=False).check == expected


def test_what_must_not_be_is_checked() -> None:
    rule = f"id: h\n{COMMON}kind: hook-must-not\nthrough: [call_rcu#1]\n"

    with pytest.raises(LockcheckError, match="must not do"):
        parse_rule(rule, "rule", builtin=False)
    with pytest.raises(LockcheckError, match="class of locks"):
        parse_rule(rule + "must-not: [{take: 'b->lock'}]\n", "rule", builtin=False)
    check = parse_rule(rule + "must-not: [{take: rtnl_mutex}]\n", "rule", builtin=False).check
    assert check == HookMustNot("", (), ("call_rcu#1",), (Forbidden("take", "rtnl_mutex"),))
