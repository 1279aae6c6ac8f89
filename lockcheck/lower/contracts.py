"""Contracts that a function's declaration states: `__must_hold(&kvm->lock)` and its relatives.

The header shims leave their text behind as annotations. sparse writes locks loosely: `rq->lock` is
the lock itself, `ptl` a pointer to one, `RCU` no variable at all. The type of what is named tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from lockcheck.facts.ir import Expr
from lockcheck.lower.decls import Declarations
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang

MARK = "lockcheck:"
KINDS = frozenset({"must_hold", "must_hold_shared", "acquires", "releases"})

_Typed = tuple[Expr, Any]  # the address of an lvalue and its type


def read_contracts(
    decls: Declarations,
    annotations: tuple[str, ...],
    parameters: Mapping[str, Any],
    variable: Callable[[str], Expr | None],
) -> tuple[tuple[str, Expr], ...]:
    """The contracts among the annotations of a function: (kind, lock).

    parameters: name → type. variable: the address of a global by name, None if there is none.
    A lock is an address in terms of the parameters, or ("label", name) for what names no variable.
    Texts that cannot be read (calls, macros that expand to nothing) state nothing.
    """
    found: list[tuple[str, Expr]] = []
    for annotation in annotations:
        if not annotation.startswith(MARK):
            continue
        kind, _, text = annotation.removeprefix(MARK).partition(":")
        if kind not in KINDS:
            continue
        for part in _split(text):
            lock = _Reader(decls, parameters, variable).lock(part)
            if lock is not None:
                found.append((kind, lock))
    return tuple(dict.fromkeys(found))


def _split(text: str) -> list[str]:
    """The arguments of an attribute, apart at commas outside of parentheses."""
    parts: list[str] = [""]
    depth = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


@cache
def _parse(text: str) -> Any:
    """The expression of a contract as pycparser sees it, None if it is none."""
    from pycparser import c_parser  # costly to load, and few units need it

    try:
        tree = c_parser.CParser().parse(f"int f(void) {{ return {text}; }}")
        return tree.ext[0].body.block_items[0].expr
    except Exception:  # pycparser raises ParseError, and AssertionError on odd input
        return None


class _Reader:
    def __init__(
        self,
        decls: Declarations,
        parameters: Mapping[str, Any],
        variable: Callable[[str], Expr | None],
    ) -> None:
        self._lib = libclang.load()
        self._decls = decls
        self._parameters = parameters
        self._variable = variable

    def lock(self, text: str) -> Expr | None:
        tree = _parse(text)
        if tree is None:
            return None
        if type(tree).__name__ == "UnaryOp" and tree.op == "&":
            place = self._place(tree.expr)
            return None if place is None else place[0]
        if type(tree).__name__ == "ID" and tree.name not in self._parameters:
            return self._variable(tree.name) or ("label", tree.name)
        place = self._place(tree)
        if place is None:
            return None
        address, ctype = place
        is_pointer = ctype is not None and ctype.kind == K.TYPE_POINTER
        return ("l", address) if is_pointer else address

    def _place(self, tree: Any) -> _Typed | None:
        """The address that an lvalue names, and its type where it is known."""
        kind = type(tree).__name__
        if kind == "ID":
            ctype = self._parameters.get(tree.name)
            if ctype is not None:
                return ("v", tree.name), self._lib.clang_getCanonicalType(ctype)
            address = self._variable(tree.name)
            return None if address is None else (address, None)
        if kind == "UnaryOp" and tree.op == "*":
            inner = self._place(tree.expr)
            if inner is None or inner[1] is None or inner[1].kind != K.TYPE_POINTER:
                return None
            return ("l", inner[0]), self._pointee(inner[1])
        if kind == "StructRef":
            return self._member(tree)
        return None

    def _pointee(self, ctype: Any) -> Any:
        return self._lib.clang_getCanonicalType(self._lib.clang_getPointeeType(ctype))

    def _member(self, tree: Any) -> _Typed | None:
        base = self._place(tree.name)
        if base is None or base[1] is None:
            return None
        address, ctype = base
        if tree.type == "->":
            if ctype.kind != K.TYPE_POINTER:
                return None
            address, ctype = ("l", address), self._pointee(ctype)
        record = self._decls.definition_of_type(ctype)
        if record is None:
            return None
        found = self._find(self._lib.clang_getCursorDefinition(record), tree.field.name)
        if found is None:
            return None
        name, cursor = found
        member = self._lib.clang_getCanonicalType(self._lib.clang_getCursorType(cursor))
        return ("f", address, name), member

    def _find(self, record: Any, field: str) -> tuple[str, Any] | None:
        """A member by name, in unnamed structs and unions too."""
        if self._lib.clang_Cursor_isNull(record):
            return None
        for name, cursor in self._decls.members(record):
            if name == "":
                inner = self._find(cursor, field)
                if inner is not None:
                    return inner
            elif name.rsplit(".", 1)[-1] == field:
                return name, cursor
        return None
