"""Lowering of lvalues: names, members, elements, and what a pointer points to."""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any

from lockcheck.facts import folding
from lockcheck.facts.ir import INIT, UNKNOWN, Expr
from lockcheck.lower.cfg import CfgBuilder
from lockcheck.lower.decls import Declarations, FunctionDecl
from lockcheck.lower.nodes import Node
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang


def strip(node: Node) -> Node:
    """Without parentheses and `__extension__`."""
    while True:
        if node.kind == K.PAREN_EXPR and node.children:
            node = node.children[-1]
        else:
            return node


class AddressLowering:
    """Addresses of lvalues. Values come from the subclass: a pointer's value is an address."""

    def __init__(
        self, decls: Declarations, key: str, reach: Callable[[FunctionDecl], None]
    ) -> None:
        self.lib = libclang.load()
        self.decls = decls
        self.key = key
        self.cfg = CfgBuilder()
        self.reach = reach
        self._locals: dict[int, str] = {}
        self._names: set[str] = set()
        self._temporaries = 0
        self._begin = 0
        self.static_initialisers: list[tuple[Expr, Expr]] = []
        self.fixed: list[tuple[Expr, Expr]] = []  # members of constant objects

    # -- names ---------------------------------------------------------------------------------

    def declare_local(self, cursor: Any, name: str) -> Expr:
        """A local variable; a name that is used again in another scope gets a number."""
        unique = name
        number = 1
        while unique in self._names:
            number += 1
            unique = f"{name}#{number}"
        unique = intern(unique)
        self._names.add(unique)
        self._locals[cursor.d0] = unique
        return ("v", unique)

    def temporary(self) -> Expr:
        self._temporaries += 1
        return ("v", intern(f"?{self._temporaries}"))

    def where(self, cursor: Any) -> int:
        """Where a cursor is, from the line on which the function begins."""
        return self.decls.location(cursor) - self._begin

    def unnamed_object(self, node: Node) -> Expr:
        """The address of a static object without a name, by the place of its literal."""
        file, loc = self.decls.file_of(node.cursor), self.where(node.cursor)
        return ("g", intern(f"literal {self.key.split('@', 1)[0]}:{loc}@{file}"))

    def store(self, address: Expr, value: Expr, how: int, node: Node) -> None:
        self.cfg.emit(("S", self.where(node.cursor), address, value, how))

    def value(self, node: Node, how: int = 0) -> Expr:
        raise NotImplementedError

    def initialise(self, place: Expr, node: Node, ctype: Any) -> None:
        raise NotImplementedError

    # -- addresses -----------------------------------------------------------------------------

    def is_lvalue(self, node: Node) -> bool:
        kind = node.kind
        if kind == K.PAREN_EXPR:
            return bool(node.children) and self.is_lvalue(node.children[-1])
        if kind == K.DECL_REF_EXPR:
            return self.lib.clang_getCursorReferenced(node.cursor).kind in (
                K.VAR_DECL,
                K.PARM_DECL,
            )
        if kind == K.UNARY_OPERATOR:
            op = self.lib.clang_getCursorUnaryOperatorKind(node.cursor)
            return op == K.UO_DEREF or (op == K.UO_EXTENSION and self.is_lvalue(node.children[0]))
        return kind in (K.MEMBER_REF_EXPR, K.ARRAY_SUBSCRIPT, K.COMPOUND_LITERAL)

    def address(self, node: Node) -> Expr:
        """The address of an lvalue."""
        node = strip(node)
        kind = node.kind
        if kind == K.DECL_REF_EXPR:
            return self.named(node)
        if kind == K.MEMBER_REF_EXPR:
            return self._member(node)
        if kind == K.ARRAY_SUBSCRIPT and len(node.children) == 2:
            base = self.value(node.children[0])
            return folding.element(base, self.value(node.children[1]))
        if kind == K.UNARY_OPERATOR:
            pointer = self.value(node.children[0])
            if pointer[0] == "o" and pointer[1] in ("+", "-"):
                return folding.element(pointer[2], pointer[3])  # *(p + i) is p[i]
            if self._decays(node.children[0]):
                return folding.element(pointer, ("k", 0))  # *array is array[0]
            return pointer
        if kind == K.COMPOUND_LITERAL:
            place = self.temporary()
            self.initialise(place, node.children[-1], self.lib.clang_getCursorType(node.cursor))
            return place
        return self._spill(node)

    def _spill(self, node: Node) -> Expr:
        """A struct value that is no lvalue, e.g. `f().x`: put it in a temporary."""
        place = self.temporary()
        self.store(place, self.value(node), INIT, node)
        return place

    def named(self, node: Node) -> Expr:
        cursor = self.lib.clang_getCursorReferenced(node.cursor)
        kind = cursor.kind
        if kind == K.FUNCTION_DECL:
            return self.function_value(cursor)
        if kind == K.ENUM_CONSTANT_DECL:
            return ("k", self.decls.enum_value(cursor))
        name = self._locals.get(cursor.d0)
        if name is not None:
            return ("v", name)
        if kind in (K.VAR_DECL, K.PARM_DECL):
            return self.decls.variable(cursor, "").address
        return UNKNOWN

    def constant(self, node: Node) -> int | None:
        """The value of a constant global that a name refers to."""
        cursor = self.lib.clang_getCursorReferenced(node.cursor)
        return self.decls.variable(cursor, "").value if cursor.kind == K.VAR_DECL else None

    def function_value(self, cursor: Any) -> Expr:
        decl = self.decls.function(cursor)
        if decl.definition is not None and not decl.in_main_file:
            self.reach(decl)
        return ("fn", decl.key)

    def _member(self, node: Node) -> Expr:
        field = self.decls.field(self.lib.clang_getCursorReferenced(node.cursor))
        if not node.children:
            return UNKNOWN
        child = node.children[0]
        inner = strip(child)
        if self.is_lvalue(inner):
            base = self.address(inner)
        elif inner.kind == K.UNEXPOSED_EXPR or self.decls.type_kind(inner.cursor) == K.TYPE_POINTER:
            base = self.value(inner)
            if self._decays(inner):
                base = folding.element(base, ("k", 0))  # array->member
        else:
            base = self._spill(inner)
        return ("f", base, field.name) if field.name else base

    def _decays(self, node: Node) -> bool:
        """Whether a pointer value is an array that decays to its first element."""
        while node.kind in (K.PAREN_EXPR, K.UNEXPOSED_EXPR) and len(node.children) == 1:
            node = node.children[0]
        return self.is_lvalue(node) and self.is_array(node)

    def is_array(self, node: Node) -> bool:
        node = strip(node)
        if node.kind == K.DECL_REF_EXPR:
            cursor = self.lib.clang_getCursorReferenced(node.cursor)
            return self.decls.is_array(cursor)
        if node.kind == K.MEMBER_REF_EXPR:
            return self.decls.field(self.lib.clang_getCursorReferenced(node.cursor)).is_array
        return self.decls.type_kind(node.cursor) in K.ARRAY_TYPES

    def is_volatile(self, node: Node) -> bool:
        """Whether an lvalue is `*(volatile T *)…`, the form of READ_ONCE() and WRITE_ONCE()."""
        node = strip(node)
        if node.kind != K.UNARY_OPERATOR:
            return False
        inner = strip(node.children[0])
        if inner.kind != K.C_STYLE_CAST:
            return False
        lib = self.lib
        pointee = lib.clang_getPointeeType(lib.clang_getCursorType(inner.cursor))
        return bool(lib.clang_isVolatileQualifiedType(pointee))
