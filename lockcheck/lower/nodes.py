"""The AST of one function as light nodes, read in one raw visit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from lockcheck.parse import kinds as K
from lockcheck.parse import libclang

# Types and unevaluated operands hold expressions that are never executed.
_SKIPPED_BELOW = frozenset({K.SIZEOF_EXPR, K.TYPE_REF, K.PARM_DECL})


class Node:
    """One cursor with its children in source order."""

    __slots__ = ("children", "cursor", "kind")

    def __init__(self, kind: int, cursor: Any) -> None:
        self.kind = kind
        self.cursor = cursor
        self.children: list[Node] = []


class TreeReader:
    """Reads subtrees. One per worker: it owns the callback that libclang calls."""

    def __init__(self) -> None:
        self._lib = libclang.load()
        self._stack: list[tuple[int, Node]] = []
        self._failure: BaseException | None = None
        self._callback = libclang.VISITOR(self._guarded(self._visit))
        self._found: list[Any] = []
        self._list_callback = libclang.VISITOR(self._guarded(self._list))

    def _guarded(self, visit: Callable[[Any, Any, Any], int]) -> Callable[[Any, Any, Any], int]:
        """An exception cannot cross the C frames: stop the visit, raise it afterwards."""

        def guarded(cursor: Any, parent: Any, data: Any) -> int:
            try:
                return visit(cursor, parent, data)
            except BaseException as error:
                self._failure = error
                return libclang.BREAK

        return guarded

    def _visit(self, cursor: Any, parent: Any, _data: Any) -> int:
        kind: int = cursor.kind
        stack = self._stack
        parent_key = parent.d1 if 100 <= parent.kind < 300 else parent.d0
        while stack[-1][0] != parent_key and len(stack) > 1:
            stack.pop()
        node = Node(kind, cursor)
        stack[-1][1].children.append(node)
        if kind in _SKIPPED_BELOW or kind >= K.FIRST_ATTRIBUTE:
            return libclang.CONTINUE  # an attribute shares the pointer of its declaration
        stack.append((cursor.d1 if 100 <= kind < 300 else cursor.d0, node))
        return libclang.RECURSE

    def _list(self, cursor: Any, _parent: Any, _data: Any) -> int:
        self._found.append(cursor)
        return libclang.CONTINUE

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def read(self, cursor: Any) -> Node:
        """The whole subtree of a declaration, statement or expression."""
        kind: int = cursor.kind
        root = Node(kind, cursor)
        self._stack = [(cursor.d1 if 100 <= kind < 300 else cursor.d0, root)]
        self._lib.clang_visitChildren(cursor, self._callback, None)
        self._raise_failure()
        return root

    def children(self, cursor: Any) -> list[Any]:
        """The direct children of a cursor, as cursors."""
        self._found = []
        self._lib.clang_visitChildren(cursor, self._list_callback, None)
        self._raise_failure()
        found, self._found = self._found, []
        return found


# Kernel expressions nest deeply: statement expressions in macros in conditions.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))
