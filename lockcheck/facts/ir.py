"""The intermediate form: what lowering says of a function, before any lock knowledge.

Expressions are nested tuples with a one-letter head, so that they hash, compare, pickle and marshal
at C speed. Addresses and values are told apart: an address expression used as a value is a
pointer to that place.

Addresses
    ("v", name)              a local variable or parameter, by its name in this function
    ("g", key)               a global or static variable
    ("f", address, field)    a field; `field` is "record.name", e.g. "kvm.mmu_lock"
    ("i", address, value)    an array element
    any value                the place that a pointer value points to
Values
    ("l", address)           what is stored there
    ("k", int)               a constant
    ("fn", key)              a function
    ("c", id)                the result of call `id` of this function
    ("co", value, field)     container_of(value, record, name)
    ("o", op, a, b)          a binary operation; op as in C
    ("o1", op, a)            a unary operation: "!", "~", "-"
    ("u",)                   unknown

The lock state stage adds roots of its own to these (see lockstate.terms).

Events (first element tells which)
    ("C", loc, id, callee, args)     a call; callee is ("fn", key) or a pointer value
    ("S", loc, address, value, how)  a store; how is a set of the flags below
    ("R", loc, address, how)         a read of memory (reads of whole locals are not recorded)
    ("A", loc, value)        a claim: the value is not zero, else the source would have a bug
Terminators
    ("jmp", block)
    ("br", value, block if true, block if false, loc)
    ("sw", value, ((low, high, block), ...), default block, loc)
    ("ret", value or None, loc)
    ("end",)                         control never leaves (noreturn call, unreachable)

`loc` packs line and column: see `pack`. Lines are counted from the one on which the function
begins, so that a function that only moved has the same facts.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

Expr: TypeAlias = tuple[Any, ...]
Event: TypeAlias = tuple[Any, ...]
Terminator: TypeAlias = tuple[Any, ...]
Block: TypeAlias = tuple[tuple[Event, ...], Terminator]

UNKNOWN: Expr = ("u",)
ASM = "(asm)"  # the function that stands for an asm statement that sets a local variable

# How an access touches memory. An access with no flag is a plain one.
ONCE = 1  # through a volatile pointer: READ_ONCE(), WRITE_ONCE()
TEST = 2  # the value read is only compared with zero
UPDATE = 4  # read-modify-write: +=, ++
NULL = 16  # the value stored is zero (found by the solver, not by lowering)
INIT = 8  # first value of an object under construction (initialiser of a local)

_COLUMN_BITS = 12
_COLUMN_MAX = (1 << _COLUMN_BITS) - 1


def pack(line: int, column: int) -> int:
    """One integer for a place in a file."""
    return line << _COLUMN_BITS | min(column, _COLUMN_MAX)


def unpack(loc: int) -> tuple[int, int]:
    """Line and column, both 1-based."""
    return loc >> _COLUMN_BITS, loc & _COLUMN_MAX


def line_of(loc: int) -> int:
    """The beginning of the line of a place, packed."""
    return loc >> _COLUMN_BITS << _COLUMN_BITS


def successors(terminator: Terminator) -> tuple[int, ...]:
    """The blocks that a terminator may go on to."""
    kind = terminator[0]
    if kind == "jmp":
        return (terminator[1],)
    if kind == "br":
        return (terminator[2], terminator[3])
    if kind == "sw":
        return (*(target for _, _, target in terminator[2]), terminator[3])
    return ()


class Function(msgspec.Struct, frozen=True, eq=False):
    """The facts of one function definition.

    key: the name for external linkage, "name@file" for static functions.
    file: relative to the tree; also the file of every `loc` inside.
    loc: of the name, from the beginning of the file.
    blocks: blocks[0] is the entry.
    external: other units can call it by name.
    contracts: (kind, lock) of `__must_hold` and its relatives, as lower.contracts reads them.
    loops: indices of blocks that are the head of a loop or a goto target: where states are widened.
    """

    key: str
    name: str
    file: str
    loc: int
    params: tuple[str, ...]
    blocks: tuple[Block, ...]
    external: bool
    contracts: tuple[tuple[str, Expr], ...] = ()
    loops: tuple[int, ...] = ()

    def absolute(self, loc: int) -> int:
        """A place inside as one in the file."""
        return line_of(self.loc) + loc

    @property
    def own_place(self) -> int:
        """Where the function begins, as a place inside."""
        return self.loc - line_of(self.loc)


class UnitFacts(msgspec.Struct, frozen=True, eq=False):
    """What one translation unit says.

    functions: definitions in the unit's own file.
    inlines: definitions in headers that something in this unit reaches, unless the worker had
        lowered them for an earlier unit of the run.
    needs: keys of all header definitions that this unit reaches directly.
    initialisers: (address, value) pairs of static initialisers that hold functions.
    fixed: (address, value) of the members of constant objects.
    records: field names and the record or kind of their type, for each record that code touches.
    headers: files that were read, relative to the tree where they lie in it.
    errors: (file, line, message) of each error that clang reported.
    constants: values that header shims report, by the name that models use.
    guarded: (record, field, contract text) of fields that name the lock that guards them.
    hidden: names of header functions that were not read because a model stands for them.
    plain: whether it compiles only without the conditions of assertions that the configuration
        leaves out.
    """

    file: str
    functions: tuple[Function, ...]
    inlines: tuple[Function, ...]
    needs: tuple[str, ...]
    initialisers: tuple[tuple[Expr, Expr], ...]
    records: dict[str, dict[str, str]]
    headers: tuple[str, ...]
    errors: tuple[tuple[str, int, str], ...]
    constants: dict[str, int]
    hidden: tuple[str, ...] = ()
    guarded: tuple[tuple[str, str, str], ...] = ()
    plain: bool = False
    fixed: tuple[tuple[Expr, Expr], ...] = ()
