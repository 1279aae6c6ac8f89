"""Whole programs from small pieces of C, and questions to ask of their lock states.

`mark(n)` is a function that nobody models and nobody defines: tests put it where they want to know
what is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from lockcheck.callgraph.program import Program
from lockcheck.facts.ir import Expr, UnitFacts
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.state import Held, State
from lockcheck.lockstate.terms import spell
from lockcheck.lower.nodes import TreeReader
from lockcheck.lower.unit import UnitLowering
from lockcheck.models.loader import load_models
from lockcheck.parse import libclang
from lockcheck.parse.unit import ParsedUnit

# What the kernel's lock macros expand to, as externs; the models know these names.
PRELUDE = """\
typedef unsigned long size_t;
typedef _Bool bool;
#define NULL ((void *)0)
#define true 1
#define false 0
#define __always_inline inline __attribute__((__always_inline__))
#define __cleanup(func) \\
	__attribute__((__cleanup__(func))) __attribute__((annotate("lockcheck:cleanup:" #func)))
#define container_of(ptr, type, member) ({ \\
	void *__member = (void *)(ptr); \\
	((type *)(__member - __builtin_offsetof(type, member))); })

typedef struct raw_spinlock { unsigned value; } raw_spinlock_t;
typedef struct spinlock { union { struct raw_spinlock rlock; }; } spinlock_t;
typedef struct { unsigned readers; unsigned writer; } rwlock_t;
struct mutex { unsigned owner; };
struct rw_semaphore { unsigned count; };
struct srcu_struct { unsigned index; };

void _raw_spin_lock(raw_spinlock_t *l); void _raw_spin_unlock(raw_spinlock_t *l);
void _raw_spin_lock_irq(raw_spinlock_t *l); void _raw_spin_unlock_irq(raw_spinlock_t *l);
unsigned long _raw_spin_lock_irqsave(raw_spinlock_t *l);
void _raw_spin_unlock_irqrestore(raw_spinlock_t *l, unsigned long flags);
int _raw_spin_trylock(raw_spinlock_t *l);
void _raw_read_lock(rwlock_t *l); void _raw_read_unlock(rwlock_t *l);
void _raw_write_lock(rwlock_t *l); void _raw_write_unlock(rwlock_t *l);
int _raw_read_trylock(rwlock_t *l); int _raw_write_trylock(rwlock_t *l);
void mutex_lock(struct mutex *m); void mutex_unlock(struct mutex *m);
int mutex_trylock(struct mutex *m); int mutex_lock_interruptible(struct mutex *m);
void down_read(struct rw_semaphore *s); void up_read(struct rw_semaphore *s);
void down_write(struct rw_semaphore *s); void up_write(struct rw_semaphore *s);
void downgrade_write(struct rw_semaphore *s);
int srcu_read_lock(struct srcu_struct *s); void srcu_read_unlock(struct srcu_struct *s, int i);
void __rcu_read_lock(void); void __rcu_read_unlock(void);
void bit_spin_lock(int bit, unsigned long *word);
void bit_spin_unlock(int bit, unsigned long *word);

static __always_inline void spin_lock(spinlock_t *l) { _raw_spin_lock(&l->rlock); }
static __always_inline void spin_unlock(spinlock_t *l) { _raw_spin_unlock(&l->rlock); }
static __always_inline int spin_trylock(spinlock_t *l) { return _raw_spin_trylock(&l->rlock); }
static __always_inline raw_spinlock_t *spinlock_check(spinlock_t *l) { return &l->rlock; }
static __always_inline void spin_unlock_irqrestore(spinlock_t *l, unsigned long flags)
{ _raw_spin_unlock_irqrestore(&l->rlock, flags); }

void *kmalloc(size_t size, unsigned flags);
void mark(int place);
int unknown(void); void use_pointer(const void *pointer); void use(int value);

struct thing {
	rwlock_t rw; spinlock_t spin; struct mutex mutex; struct rw_semaphore sem;
	struct srcu_struct srcu; unsigned long word; int count; int flags;
	struct thing *next; struct thing *other; spinlock_t *pointer;
	struct { spinlock_t lock; int value; } slots[4];
};
"""
_ARGUMENTS = ("-std=gnu11", "--target=x86_64-linux-gnu", "-O2", "-Wno-everything")


@cache
def _index() -> Any:
    return libclang.load().clang_createIndex(0, 0)


def units(
    folder: Path, sources: dict[str, str], headers: dict[str, str] | None = None
) -> list[UnitFacts]:
    """The facts of units that are read one after the other, as one worker would."""
    root = folder.resolve()
    (root / "prelude.h").write_text(PRELUDE)
    for name, text in {**(headers or {}), **sources}.items():
        (root / name).write_text(text)
    models = load_models()
    reader, lowered = TreeReader(), set[str]()
    found: list[UnitFacts] = []
    for name in sources:
        arguments = [*_ARGUMENTS, "-include", "prelude.h", "-I", str(root)]
        with ParsedUnit(_index(), root, name, root, arguments, {}) as parsed:
            assert parsed.errors == ()
            lowering = UnitLowering(parsed, root, reader, lowered, frozenset(models.functions))
            found.append(lowering.lower())
    return found


def program(folder: Path, text: str, **more: str) -> Program:
    """The program of `x.c`, with PRELUDE in front; `more`: further units by their stem."""
    sources = {"x.c": text, **{f"{stem}.c": code for stem, code in more.items()}}
    return Program(units(folder, sources), load_models())


def analysis(folder: Path, text: str, **more: str) -> Analysis:
    return Analysis(program(folder, text, **more))


def key_of(found: Program, name: str) -> str:
    """The key of the only function of a name."""
    (key,) = (k for k in found.functions if k.split("@", 1)[0] == name)
    return key


def names(keys: Iterable[str]) -> set[str]:
    return {key.split("@", 1)[0] for key in keys}


def indirect(found: Program, caller: str) -> list[set[str]]:
    """The names of the targets of each call through a pointer, in source order."""
    calls = found.calls[key_of(found, caller)].values()
    return [
        names(call.targets)
        for call in sorted(calls, key=lambda call: call.event[1])
        if call.event[3][0] != "fn"
    ]


def direct(found: Program, caller: str) -> set[str]:
    calls = found.calls[key_of(found, caller)].values()
    return {n for call in calls if call.event[3][0] == "fn" for n in names(call.targets)}


# -- lock states -------------------------------------------------------------------------------

Lockset = frozenset[str]


def lockset(*locks: str) -> Lockset:
    """A lockset as `held` gives it: "t->rw read", "t->spin", "RCU read"."""
    return frozenset(locks)


NOTHING = lockset()


def _lock_text(term: Expr, held: Held, params: tuple[str, ...]) -> str:
    text = spell(term, params) + (" read" if held.mode == "read" else "")
    if term[0] == "class":
        text = f"some {text}"
    return text if held.depth == 1 else f"{text} x{held.depth}"


# Spin locks turn preemption off as well; tests/lockstate/test_sections.py looks at that.
_BESIDE = ("section", "preemption off")


def locks_of(state: State, params: tuple[str, ...]) -> Lockset:
    """The locks that a state holds, without what spin locks bring with them."""
    return frozenset(_lock_text(t, h, params) for t, h in state.held.items() if t != _BESIDE)


def possible(state: State, params: tuple[str, ...]) -> Iterator[Lockset]:
    """`locks_of` a state, with and without each lock that a callee may have taken or dropped."""
    known = [locks_of(state, params)]
    for term, doubt in state.unsure.items():
        if term != _BESIDE:
            text = _lock_text(term, Held(doubt.mode, doubt.loc), params)
            known = [locks for k in known for locks in (k | {text}, k - {text})]
    yield from known


def held(found: Analysis, function: str = "f") -> dict[int, set[Lockset]]:
    """mark(n) → the locksets that the solver sees there; a mark no path reaches has none."""
    key = key_of(found.program, function)
    params = found.function(key).params
    seen: dict[int, set[Lockset]] = {}
    for number, call in found.program.calls[key].items():
        if "mark" not in call.targets:
            continue
        kind, place = call.event[4][0]
        assert kind == "k"
        seen.setdefault(place, set()).update(
            locks for at in found.states_at(key, number) for locks in possible(at.state, params)
        )
    return seen


def held_in(
    folder: Path, body: str, parameters: str = "struct thing *t", before: str = ""
) -> dict[int, set[Lockset]]:
    """`held` of a function with this body, after the declarations `before`."""
    found = analysis(folder, f"{before}\nint f({parameters})\n{{ {body}\nreturn 0; }}\n")
    seen = held(found)
    assert not found.unsettled()
    return seen


def returned_locks(found: Analysis, function: str = "f") -> set[Lockset]:
    """The locksets with which a function returns."""
    key = key_of(found.program, function)
    params = found.function(key).params
    return {locks_of(r.state, params) for r in found.solved(key).returns}


def dropped_locks(found: Analysis, function: str = "f") -> set[Lockset]:
    """Locks of the caller that a function has dropped when it returns."""
    key = key_of(found.program, function)
    params = found.function(key).params
    return {
        frozenset(_lock_text(t, h, params) for t, h in r.state.dropped.items() if t != _BESIDE)
        for r in found.solved(key).returns
    }
