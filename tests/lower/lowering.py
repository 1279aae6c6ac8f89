"""Lowering of small pieces of C, and ways to look at the result that survive renumbered blocks."""

from __future__ import annotations

from pathlib import Path

from lockcheck.facts.ir import Event, Expr, Function, UnitFacts
from lockcheck.lower.nodes import TreeReader
from lockcheck.lower.unit import UnitLowering
from lockcheck.parse import libclang
from lockcheck.parse.unit import ParsedUnit

# What the header shims make of the kernel's own macros, and functions to leave traces with.
PRELUDE = """\
typedef unsigned long size_t;
#define NULL ((void *)0)
#define __cleanup(func) \\
	__attribute__((__cleanup__(func))) __attribute__((annotate("lockcheck:cleanup:" #func)))
#define __noreturn __attribute__((__noreturn__, annotate("lockcheck:noreturn")))
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) do { *(volatile __typeof__(x) *)&(x) = (value); } while (0)
#define container_of(ptr, type, member) ({ \\
	void *__member = (void *)(ptr); \\
	((type *)(__member - __builtin_offsetof(type, member))); })
int a(void); int b(void); int c(void); int d(void);
void use(int value); void use_pointer(const void *pointer); void drop(int *local);
void die(void) __noreturn;
"""
_ARGUMENTS = ("-std=gnu11", "--target=x86_64-linux-gnu", "-O2", "-Wno-everything")
# A path may pass a block this often: enough to see a loop run, leave, and run again.
_VISITS = 2


def lower(folder: Path, code: str, headers: dict[str, str] | None = None) -> UnitFacts:
    """Return the facts of one unit, `x.c` in `folder`, with PRELUDE in front of it."""
    root = folder.resolve()
    (root / "prelude.h").write_text(PRELUDE)
    for name, text in (headers or {}).items():
        (root / name).write_text(text)
    (root / "x.c").write_text(code)
    arguments = [*_ARGUMENTS, "-include", "prelude.h"]
    index = libclang.load().clang_createIndex(0, 0)
    with ParsedUnit(index, root, "x.c", root, arguments, {}) as parsed:
        assert parsed.errors == ()
        return UnitLowering(parsed, root, TreeReader(), set(), ()).lower()


def function(facts: UnitFacts, name: str = "f") -> Function:
    (found,) = (f for f in (*facts.functions, *facts.inlines) if f.name == name)
    return found


def lower_function(folder: Path, code: str, name: str = "f") -> Function:
    return function(lower(folder, code), name)


def paths(found: Function) -> set[str]:
    """Return each way through a function as the names of what it calls and what it returns.

    `a b =1`: calls a(), then b(), and returns 1. `=` alone: returns nothing known by constant.
    `!` control does not come back. Loops run up to twice.
    """
    complete: set[str] = set()
    stack: list[tuple[int, tuple[str, ...], tuple[int, ...], dict[Expr, Expr]]]
    stack = [(0, (), (), {})]
    while stack:
        block, words, seen, kept = stack.pop()
        if seen.count(block) >= _VISITS:
            continue
        events, end = found.blocks[block]
        words = (*words, *(callee_name(e) for e in events if e[0] == "C"))
        # A return value is kept in a temporary while cleanups run.
        kept = kept | {("l", e[2]): e[3] for e in events if e[0] == "S"}
        if end[0] == "ret":
            value = kept.get(end[1], end[1])
            number = str(value[1]) if value is not None and value[0] == "k" else ""
            complete.add(" ".join((*words, f"={number}")))
        elif end[0] == "end":
            complete.add(" ".join((*words, "!")))
        else:
            stack.extend((target, words, (*seen, block), kept) for target in successors(end))
    return complete


def successors(end: Event) -> tuple[int, ...]:
    if end[0] == "jmp":
        return (end[1],)
    if end[0] == "br":
        return (end[2], end[3])
    return (*(target for _, _, target in end[2]), end[3])


def callee_name(event: Event) -> str:
    callee = event[3]
    return callee[1].split("@")[0] if callee[0] == "fn" else "?"


def events(found: Function, kind: str) -> list[Event]:
    """Return all events of a kind (C, S, R), in block order."""
    return [event for block, _ in found.blocks for event in block if event[0] == kind]


def stores(found: Function) -> list[tuple[Expr, Expr, int]]:
    """Return (address, value, how) of the stores that reach beyond the function's own locals."""
    return [(e[2], e[3], e[4]) for e in events(found, "S") if root(e[2])[0] != "v"]


def reads(found: Function) -> list[tuple[Expr, int]]:
    return [(event[2], event[3]) for event in events(found, "R")]


def calls(found: Function) -> list[tuple[Expr, tuple[Expr, ...]]]:
    return [(event[3], event[4]) for event in events(found, "C")]


def returned(found: Function) -> Expr:
    """Return the value of the only return statement."""
    (end,) = (end for _, end in found.blocks if end[0] == "ret")
    return end[1]


def root(address: Expr) -> Expr:
    while address[0] in ("f", "i"):
        address = address[1]
    return address


def var(name: str) -> Expr:
    return ("v", name)


def load(address: Expr) -> Expr:
    return ("l", address)


def field(base: Expr, name: str) -> Expr:
    return ("f", base, name)


def element(base: Expr, index: Expr) -> Expr:
    return ("i", base, index)


def number(value: int) -> Expr:
    return ("k", value)
