"""Lowering of one parsed translation unit to its facts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from lockcheck.facts.ir import Expr, Function, UnitFacts
from lockcheck.lower.decls import Declarations, FunctionDecl
from lockcheck.lower.nodes import TreeReader
from lockcheck.lower.statements import FunctionLowering, collect_static
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang
from lockcheck.parse.libclang import text_of
from lockcheck.parse.unit import ParsedUnit

CONSTANT_PREFIX = "__lockcheck_constant_"


class UnitLowering:
    """Lowers the functions of one unit, and the header functions that they reach."""

    def __init__(
        self,
        parsed: ParsedUnit,
        root: Path,
        reader: TreeReader,
        lowered: set[str],
        opaque: Collection[str],
    ) -> None:
        """`lowered`: keys of header functions done already, extended here.

        `opaque`: names of functions whose meaning comes from a model, so that their bodies are
        not read.
        """
        self._lib = libclang.load()
        self._parsed = parsed
        self._reader = reader
        self._lowered = lowered
        self._opaque = opaque
        self._decls = Declarations(reader, parsed.handle, parsed.file, root, parsed.directory)
        self._queue: list[FunctionDecl] = []
        self._needs: dict[str, None] = {}
        self._hidden: dict[str, None] = {}
        self._by_name: dict[str, Any] | None = None
        self._top: list[Any] = []
        self._initialisers: list[tuple[Expr, Expr]] = []
        self._fixed: list[tuple[Expr, Expr]] = []

    def lower(self) -> UnitFacts:
        self._top = self._reader.children(self._parsed.cursor)
        functions: list[Function] = []
        for cursor in self._top:
            if cursor.kind not in (K.FUNCTION_DECL, K.VAR_DECL):
                continue
            if not self._decls.is_own(cursor):
                continue
            if cursor.kind == K.VAR_DECL:
                self._static(cursor)
                continue
            decl = self._decls.function(cursor)
            if decl.definition is not None and decl.definition.d0 == cursor.d0:
                functions.append(self._function(decl))
        inlines: list[Function] = []
        while self._queue:
            decl = self._queue.pop()
            inlines.append(self._function(decl))
        return UnitFacts(
            file=self._parsed.file,
            functions=tuple(functions),
            inlines=tuple(inlines),
            needs=tuple(self._needs),
            initialisers=tuple(self._initialisers),
            fixed=tuple(self._fixed),
            records=self._decls.records,
            headers=self._parsed.headers,
            errors=self._parsed.errors,
            constants=self._constants(),
            hidden=tuple(self._hidden),
            guarded=tuple((*place, text) for place, text in self._decls.guarded.items()),
        )

    def _constants(self) -> dict[str, int]:
        """The enumerators in which header shims report constants of the tree."""
        found: dict[str, int] = {}
        for cursor in self._top:
            if cursor.kind != K.ENUM_DECL:
                continue
            for child in self._reader.children(cursor):
                name = text_of(self._lib.clang_getCursorSpelling(child))
                if not name.startswith(CONSTANT_PREFIX):
                    break
                value = self._decls.enum_value(child)
                found[name.removeprefix(CONSTANT_PREFIX)] = value
        return found

    def _function(self, decl: FunctionDecl) -> Function:
        lowering = FunctionLowering(
            self._decls, decl, self._reach, self._find_function, self._find_variable
        )
        function = lowering.lower(self._reader.read(decl.definition))
        self._initialisers.extend(lowering.static_initialisers)
        self._fixed.extend(lowering.fixed)
        return function

    def _static(self, cursor: Any) -> None:
        lib = self._lib
        if lib.clang_Cursor_isNull(lib.clang_Cursor_getVarDeclInitializer(cursor)):
            return
        tree = self._reader.read(cursor)
        if not tree.children:
            return
        decl = FunctionDecl("", "", None, True, False)
        lowering = FunctionLowering(
            self._decls, decl, self._reach, self._find_function, self._find_variable
        )
        address = self._decls.variable(cursor, "").address
        collect_static(lowering, address, tree.children[-1], lib.clang_getCursorType(cursor))
        self._initialisers.extend(lowering.static_initialisers)
        self._fixed.extend(lowering.fixed)

    def _reach(self, decl: FunctionDecl) -> None:
        """A header function is referred to: lower it, once per run."""
        if decl.name in self._opaque:
            self._hidden[decl.name] = None
            return
        self._needs[decl.key] = None
        if decl.key not in self._lowered:
            self._lowered.add(decl.key)
            self._queue.append(decl)

    def _find_function(self, name: str) -> Expr | None:
        """The function that a cleanup attribute names."""
        cursor = self._declaration(name)
        if cursor is None or cursor.kind != K.FUNCTION_DECL:
            return None
        decl = self._decls.function(cursor)
        if decl.definition is not None and not decl.in_main_file:
            self._reach(decl)
        return ("fn", decl.key)

    def _find_variable(self, name: str) -> Expr | None:
        """The address of the global variable that a contract names."""
        cursor = self._declaration(name)
        if cursor is None or cursor.kind != K.VAR_DECL:
            return None
        return self._decls.variable(cursor, "").address

    def _declaration(self, name: str) -> Any:
        """The last declaration of a function or variable at file scope, None without one."""
        if self._by_name is None:
            self._by_name = {
                text_of(self._lib.clang_getCursorSpelling(cursor)): cursor
                for cursor in self._top
                if cursor.kind in (K.FUNCTION_DECL, K.VAR_DECL)
            }
        return self._by_name.get(name)
