"""Sections: what spin locks and their relatives turn off, and what implies what."""

from __future__ import annotations

from pathlib import Path

import pytest
from assertions import ASSERTIONS, PROVED, VIOLATED, endings
from programs import analysis, key_of

from lockcheck.lockstate.analysis import Analysis


def depth(found: Analysis, name: str, function: str = "f") -> set[int]:
    """How deep a section is at mark()."""
    key = key_of(found.program, function)
    depths: set[int] = set()
    for number, call in found.program.calls[key].items():
        if "mark" in call.targets:
            for at in found.states_at(key, number):
                held = at.state.held.get(("section", name))
                depths.add(0 if held is None else held.depth)
    return depths


@pytest.mark.parametrize(
    "take, section, expected",
    [
        ("spin_lock(&t->spin);", "preemption off", 1),
        ("_raw_read_lock(&t->rw);", "preemption off", 1),
        ("_raw_write_lock(&t->rw);", "preemption off", 1),
        ("spin_lock(&t->spin); _raw_read_lock(&t->rw);", "preemption off", 2),
        ("spin_lock(&t->spin); spin_unlock(&t->spin);", "preemption off", 0),
        ("_raw_spin_lock_irq(&t->spin.rlock);", "interrupts off", 1),
        ("_raw_spin_lock_irq(&t->spin.rlock);", "preemption off", 1),
        ("spin_lock(&t->spin);", "interrupts off", 0),
        ("mutex_lock(&t->mutex);", "preemption off", 0),
        ("down_read(&t->sem);", "preemption off", 0),
        ("__rcu_read_lock();", "preemption off", 0),
        ("if (!spin_trylock(&t->spin)) return 1;", "preemption off", 1),
        ("if (spin_trylock(&t->spin)) return 1;", "preemption off", 0),
    ],
)
def test_what_a_lock_turns_off(tmp_path: Path, take: str, section: str, expected: int) -> None:
    found = analysis(tmp_path, f"int f(struct thing *t) {{ {take} mark(1); return 0; }}")

    assert depth(found, section) == {expected}


@pytest.mark.parametrize("count", range(1, 8))
def test_nesting_is_counted(tmp_path: Path, count: int) -> None:
    body = "__rcu_read_lock();" * count + "mark(1);" + "__rcu_read_unlock();" * count
    found = analysis(tmp_path, f"int f(void) {{ {body} return 0; }}")

    assert depth(found, "RCU") == {count}
    assert not [r for r in found.solved(key_of(found.program, "f")).returns if r.state.held]


@pytest.mark.parametrize(
    "around, atomic",
    [
        (("spin_lock(&t->spin);", "spin_unlock(&t->spin);"), True),
        (("__rcu_read_lock();", "__rcu_read_unlock();"), True),
        (("_raw_spin_lock_irq(&t->spin.rlock);", "_raw_spin_unlock_irq(&t->spin.rlock);"), True),
        (("mutex_lock(&t->mutex);", "mutex_unlock(&t->mutex);"), False),
        (("int i = srcu_read_lock(&t->srcu);", "srcu_read_unlock(&t->srcu, i);"), False),
        (("", ""), False),
    ],
)
def test_atomic_context(tmp_path: Path, around: tuple[str, str], atomic: bool) -> None:
    text = f"""{ASSERTIONS}
    static void wait(struct thing *t) {{ might_sleep(); t->count = 0; }}
    static long enter(struct thing *t) {{ {around[0]} wait(t); {around[1]} return 0; }}
    const struct file_operations ops = {{ .unlocked_ioctl = enter }};"""

    assert endings(analysis(tmp_path, text)) == [VIOLATED if atomic else PROVED]
