"""Brace initialisers: which member each value goes to."""

from __future__ import annotations

from sys import intern
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
    is_array = canonical.kind in K.ARRAY_TYPES
    tag = "" if is_array else decls.type_tag(ctype)
    fields = list(decls.records.get(tag, ())) if tag else []
    members: list[tuple[Expr, Node]] = []
    position = 0
    for child in node.children:
        if child.kind in _ATTRIBUTES or child.kind == K.TYPE_REF:
            continue
        path = [c for c in child.children if c.kind == K.MEMBER_REF]
        if child.kind == K.UNEXPOSED_EXPR and path and child.children[-1].kind != K.MEMBER_REF:
            address = place
            for step in path:
                name = decls.field(lib.clang_getCursorReferenced(step.cursor)).name
                if name:
                    address = ("f", address, name)
            members.append((address, child.children[-1]))
            last = address[2].rsplit(".", 1)[-1] if address[0] == "f" else ""
            position = fields.index(last) + 1 if last in fields else position + 1
            continue
        if is_array:
            value = child
            if child.kind == K.UNEXPOSED_EXPR and len(child.children) >= 2:
                index = decls.evaluate(child.children[0].cursor)
                position = position if index is None else index
                value = child.children[-1]
            members.append((("i", place, ("k", position)), value))
        elif position < len(fields):
            members.append((("f", place, intern(f"{tag}.{fields[position]}")), child))
        position += 1
    return members
