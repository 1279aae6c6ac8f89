"""Brace initialisers: which member each value goes to."""

from __future__ import annotations

from typing import Any

from lockcheck.facts.ir import Expr
from lockcheck.lower.decls import Declarations
from lockcheck.lower.nodes import Node
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang

_ATTRIBUTES = range(K.FIRST_ATTRIBUTE, K.LAST_ATTRIBUTE + 1)


def list_members(
    decls: Declarations, place: Expr, node: Node, ctype: Any
) -> list[tuple[Expr, Node]]:
    """Pairs of member address and initialiser node of one `{…}`, designated or by position.

    IMPRECISE: members by position assume that braces are not left out in nested aggregates.
    """
    lib = libclang.load()
    canonical = lib.clang_getCanonicalType(ctype)
    if canonical.kind in K.ARRAY_TYPES:
        return _elements(decls, place, node)
    record = decls.definition_of_type(canonical)
    return [] if record is None else _fields(decls, place, node, record)


def _elements(decls: Declarations, place: Expr, node: Node) -> list[tuple[Expr, Node]]:
    members: list[tuple[Expr, Node]] = []
    position = 0
    for child in _values(node):
        value = child
        if child.kind == K.UNEXPOSED_EXPR and len(child.children) >= 2:
            index = decls.evaluate(child.children[0].cursor)
            position = position if index is None else index
            value = child.children[-1]
        members.append((("i", place, ("k", position)), value))
        position += 1
    return members


def _fields(decls: Declarations, place: Expr, node: Node, record: Any) -> list[tuple[Expr, Node]]:
    lib = libclang.load()
    layout = decls.members(record)
    names = [name for name, _ in layout]
    members: list[tuple[Expr, Node]] = []
    position = 0
    for child in _values(node):
        path = [c for c in child.children if c.kind == K.MEMBER_REF]
        if child.kind == K.UNEXPOSED_EXPR and path and child.children[-1].kind != K.MEMBER_REF:
            address = place
            first = ""
            for step in path:
                name = decls.field(lib.clang_getCursorReferenced(step.cursor)).name
                if name:
                    address = ("f", address, name)
                    first = first or name
            members.append((address, child.children[-1]))
            position = names.index(first) + 1 if first in names else position + 1
            continue
        if position < len(layout):
            name, cursor = layout[position]
            if name:
                members.append((("f", place, name), child))
            elif child.kind == K.INIT_LIST:
                members.extend(_fields(decls, place, child, cursor))
        position += 1
    return members


def _values(node: Node) -> list[Node]:
    return [c for c in node.children if c.kind not in _ATTRIBUTES and c.kind != K.TYPE_REF]
