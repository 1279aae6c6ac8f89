"""Patterns of rules: C expressions with typed metavariables, matched against terms.

A pattern is parsed by pycparser, so it is C or it is refused; `[*]` stands for any element. It is
bound to a tree by looking each of its fields up in the records that the tree declares, so that a
field that does not exist is an error and not a silent rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from pycparser import c_ast, c_parser

from lockcheck.errors import LockcheckError
from lockcheck.facts.ir import Expr

_MAX_STEPS = 32
_POINTERS = frozenset({"p", "l", "c", "phi", "co"})
_ANY_ELEMENT = "__lockcheck_any"
_VARIABLE = re.compile(r"struct\s+(\w+)\s*\*$")


class Member(msgspec.Struct, frozen=True):
    """One step of a pattern: `->name` (arrow) or `.name`."""

    name: str
    arrow: bool


class Element(msgspec.Struct, frozen=True):
    """One step of a pattern: `[*]`."""


class Pattern(msgspec.Struct, frozen=True):
    """A parsed pattern: a metavariable and the steps from it."""

    text: str
    variable: str
    steps: tuple[Member | Element, ...]


class BoundPattern(msgspec.Struct, frozen=True):
    """A pattern whose fields are known to the tree. `fields[i]` belongs to `steps[i]`, "" for [*].

    tail: the record of the datum itself, "" for a scalar.
    """

    pattern: Pattern
    fields: tuple[str, ...]
    tail: str

    @property
    def last_field(self) -> str:
        return next(name for name in reversed(self.fields) if name)

    def match(self, term: Expr) -> Expr | None:
        """The metavariable's value if the address `term` is this datum, else None.

        ("u",) when it is the datum of an object that the term does not name.
        """
        return self._match(term, len(self.fields))

    def match_inside(self, term: Expr) -> Expr | None:
        """The same for an address in or at the datum: a member of it, an element of it."""
        for _ in range(_MAX_STEPS):
            found = self.match(term)
            if found is not None or term[0] not in ("f", "i"):
                return found
            term = term[1]
        return None

    def steps_inside(self, term: Expr) -> int:
        """How many members and elements below the datum an address is that lies in it."""
        steps = 0
        while self.match(term) is None and term[0] in ("f", "i"):
            term = term[1]
            steps += 1
        return steps

    def _match(self, term: Expr, count: int) -> Expr | None:
        if count == 0:
            return term
        step = self.pattern.steps[count - 1]
        if isinstance(step, Element):
            if term[0] == "l":
                return self._match(term[1], count - 1)  # *p is p[0]
            if term[0] == "o" and term[1] in ("+", "-"):
                base = term[2]  # *(p + i) is p[i]
            elif term[0] == "i":
                base = term[1]
            else:
                return None
            # An array of pointers is loaded from before the next index, an array of arrays is not.
            return self._match(base[1] if base[0] == "l" else base, count - 1)
        if term[0] != "f" or term[2] != self.fields[count - 1]:
            return None
        base = term[1]
        if count == 1:
            return None if base == ("u",) else base
        if step.arrow:
            return self._match(base[1], count - 1) if base[0] == "l" else None
        if base[0] in _POINTERS and isinstance(self.pattern.steps[count - 2], Member):
            return ("u",)  # a pointer to the member around it: the object is not named
        return self._match(base, count - 1)

    def lock_class(self) -> str:
        """The lock class that this pattern names."""
        return self.last_field

    def build(self, value: Expr) -> Expr:
        """The address that the pattern names when its metavariable is `value`."""
        term = value
        for index, step in enumerate(self.pattern.steps):
            if isinstance(step, Element):
                term = ("i", term, ("u",))
            else:
                if step.arrow and index:
                    term = ("l", term)
                term = ("f", term, self.fields[index])
        return term


def parse_variables(declared: Mapping[str, str]) -> dict[str, str]:
    """Metavariable → record tag, from declarations such as `struct kvm *`. Raises ValueError."""
    variables: dict[str, str] = {}
    for name, ctype in declared.items():
        found = _VARIABLE.match(ctype.strip())
        if found is None:
            raise ValueError(f"the type of {name} must be a pointer to a struct: '{ctype}'")
        variables[name] = found.group(1)
    return variables


def parse_pattern(text: str, variables: Mapping[str, str]) -> Pattern:
    """Parse one pattern. Raises ValueError with what is wrong with it."""
    source = re.sub(r"\[\s*\*\s*\]", f"[{_ANY_ELEMENT}]", text)
    try:
        tree = c_parser.CParser().parse(f"int f(void) {{ return {source}; }}")
    except Exception as error:  # pycparser raises ParseError, and AssertionError on odd input
        raise ValueError(f"not a C expression: '{text}'") from error
    body = tree.ext[0].body.block_items if len(tree.ext) == 1 else None
    if body is None or len(body) != 1 or not isinstance(body[0], c_ast.Return):
        raise ValueError(f"not a C expression: '{text}'")
    steps: list[Member | Element] = []
    expr = body[0].expr
    if isinstance(expr, c_ast.UnaryOp) and expr.op == "&":
        expr = expr.expr  # `&kvm->mmu_lock` is how C passes a lock
    variable = _steps(expr, steps, text)
    if variable not in variables:
        raise ValueError(f"'{variable}' in '{text}' is not declared under 'where'")
    if not steps:
        raise ValueError(f"'{text}' names no field")
    return Pattern(text, variable, tuple(steps))


def _steps(node: Any, steps: list[Member | Element], text: str) -> str:
    if isinstance(node, c_ast.StructRef):
        variable = _steps(node.name, steps, text)
        steps.append(Member(node.field.name, node.type == "->"))
        return variable
    if isinstance(node, c_ast.ArrayRef):
        if not isinstance(node.subscript, c_ast.ID) or node.subscript.name != _ANY_ELEMENT:
            raise ValueError(f"an index in a pattern is always [*]: '{text}'")
        variable = _steps(node.name, steps, text)
        steps.append(Element())
        return variable
    if isinstance(node, c_ast.ID):
        return str(node.name)
    raise ValueError(f"only fields and elements can be named in a pattern: '{text}'")


class UnknownRecord(Exception):
    """The units read never touch a record that the pattern needs."""

    def __init__(self, record: str) -> None:
        super().__init__(record)
        self.record = record


class UnknownField(Exception):
    """A record has no such field in this tree."""

    def __init__(self, record: str, field: str) -> None:
        super().__init__(f"struct {record} has no field '{field}'")
        self.record = record
        self.field = field


def bind(
    pattern: Pattern, variables: Mapping[str, str], records: Mapping[str, Mapping[str, str]]
) -> BoundPattern:
    """Look the fields of a pattern up. Raises UnknownRecord or UnknownField."""
    record = variables[pattern.variable]
    fields: list[str] = []
    for step in pattern.steps:
        if isinstance(step, Element):
            fields.append("")
            continue
        known = records.get(record)
        if known is None:
            raise UnknownRecord(record)
        if step.name not in known:
            raise UnknownField(record, step.name)
        fields.append(f"{record}.{step.name}")
        record = known[step.name]
    return BoundPattern(pattern, tuple(fields), record)


def pattern_error(error: ValueError, file: str, line: int) -> LockcheckError:
    """A mistake in a pattern, as the user is told of it."""
    return LockcheckError(
        str(error),
        file=file,
        line=line,
        remedy="write it as C, e.g. slot->arch.gfn_track[*][*]; [*] is any element",
    )
