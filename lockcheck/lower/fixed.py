"""What the members of a constant object hold: `static const struct mm_walk_ops ops = { … }`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lockcheck.facts.ir import Expr
from lockcheck.lower.expressions import ExpressionLowering
from lockcheck.lower.initialisers import list_members
from lockcheck.lower.nodes import Node
from lockcheck.parse import kinds as K

_NAMED = frozenset({K.DECL_REF_EXPR, K.UNARY_OPERATOR})
_KNOWN = frozenset({"fn", "g", "f", "k"})


def fixed_members(
    lowering: ExpressionLowering, address: Expr, node: Node, ctype: Any
) -> Iterator[tuple[Expr, Expr]]:
    """(address, value) of each member that is a number, a function or a pointer, nested ones too.

    What the initialiser leaves out is zero. Unions and arrays are left out.
    """
    lib, decls = lowering.lib, lowering.decls
    record = decls.definition_of_type(ctype)
    if node.kind != K.INIT_LIST or record is None or record.kind != K.STRUCT_DECL:
        return
    given: set[Expr] = set()
    for member, value_node in list_members(decls, address, node, ctype):
        given.add(member)
        inner = lib.clang_getCursorType(value_node.cursor)
        if value_node.kind == K.INIT_LIST:
            yield from fixed_members(lowering, member, value_node, inner)
            continue
        value = _value(lowering, value_node)
        if value is not None:
            yield member, value
    for name, cursor in decls.members(record):
        member = ("f", address, name)
        kind = lib.clang_getCanonicalType(lib.clang_getCursorType(cursor)).kind
        if name and member not in given and kind != K.TYPE_RECORD and kind not in K.ARRAY_TYPES:
            yield member, ("k", 0)


def _value(lowering: ExpressionLowering, node: Node) -> Expr | None:
    while node.kind in (K.PAREN_EXPR, K.UNEXPOSED_EXPR, K.C_STYLE_CAST) and node.children:
        node = node.children[-1]
    number = lowering.decls.evaluate(node.cursor)
    if number is not None:
        return ("k", number)
    value = lowering.value(node) if node.kind in _NAMED else None
    return value if value is not None and value[0] in _KNOWN else None
