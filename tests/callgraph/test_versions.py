"""A version of a program made after another one is the program that its units make up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import units

from lockcheck.callgraph.program import Program
from lockcheck.models.loader import load_models

COMMON = """
struct ops { void (*run)(struct thing *); void (*end)(struct thing *); };
extern struct ops table;
void first(struct thing *t); void second(struct thing *t);
"""
CALLER = """
static void on_end(struct thing *t) { t->flags = 0; }
struct ops table = { .end = on_end };
void through(struct thing *t, void (*how)(struct thing *)) { how(t); }
void enter(struct thing *t) { table.run = first; table.run(t); table.end(t); through(t, second); }
void first(struct thing *t) { t->count = 1; if (t->flags) second(t); }
"""
CALLEE = "void second(struct thing *t) { t->next = 0; first(t); }"
EDITED = """
static struct thing hidden;
static void fresh(struct thing *t) { t->word = t->other->count; *t = hidden; }
void second(struct thing *named) { spin_lock(&hidden.spin); fresh(named); table.run = fresh; }
"""


def shown(program: Program) -> dict[str, Any]:
    """What a program says, without what is numbered differently in another process."""
    effects = program.effects
    looks = ("ap", "fresh@callee.c", ("l", ("f", ("g", "x"), "thing.next")))
    names = {number: name for name, number in effects.bits.items()}

    def fields(mask: int) -> set[str]:
        return {names[number] for number in range(mask.bit_length()) if mask >> number & 1}

    return {
        "functions": set(program.functions),
        "calls": {
            k: {n: (c.targets, c.slot) for n, c in v.items()} for k, v in program.calls.items()
        },
        "callers": {k: v for k, v in program.callers.items() if v},
        "reach": {k: program.reach(k) for k in program.functions},
        "stored": {k: program.stored_in(k) for k in program.functions},
        "pointees": {f: program.pointees(f) for f in effects.bits},
        "hidden": program.secluded(("g", "hidden@callee.c")),
        "effects": {k: fields(effects.of(k)) for k in program.functions},
        "built": {k: fields(effects.constructs(k)) for k in program.functions},
        "whole": {k: effects.stores_whole(k, 0) for k in program.functions},
        "cycles": effects.cycles,
        "read": fields(effects.read_by(looks)),
        "values": {n: effects.may_store(n, 1) for n in effects.bits},
    }


@pytest.mark.parametrize("order", ["there", "back"])
def test_what_was_kept_of_the_version_before_changes_nothing(tmp_path: Path, order: str) -> None:
    header = {"common.h": COMMON}

    def facts(callee: str) -> list[Any]:
        include = '#include "common.h"\n'
        return units(tmp_path, {"caller.c": include + CALLER, "callee.c": include + callee}, header)

    old, new = (CALLEE, EDITED) if order == "there" else (EDITED, CALLEE)
    models = load_models()
    before = facts(old)
    after = [before[0], facts(new)[1]]
    first = Program(before, models)
    shown(first)
    bits = first.effects.bits
    second = Program(after, models, before=first)
    assert second.effects.bits.items() >= bits.items()
    assert second.functions["enter"] is first.functions["enter"]
    alone = Program(after, models, bits)
    found = shown(second)
    assert found == shown(alone)
    assert found["effects"]["second"] != shown(Program(before, models))["effects"]["second"]
