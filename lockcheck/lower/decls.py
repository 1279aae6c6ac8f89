"""What declarations say, asked of libclang once each and remembered for the unit."""

from __future__ import annotations

import ctypes
from ctypes import c_uint, c_void_p
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from lockcheck.facts.ir import Expr, pack
from lockcheck.lower.nodes import TreeReader
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang
from lockcheck.parse.libclang import text_of

NORETURN_MARK = "lockcheck:noreturn"
GUARD_MARK = "lockcheck:guarded_by:"
CLEANUP_MARK = "lockcheck:cleanup:"


class FunctionDecl(NamedTuple):
    """A function as its callers see it. `definition` is None when no body is in the unit."""

    key: str
    name: str
    definition: Any
    in_main_file: bool
    noreturn: bool


class FieldDecl(NamedTuple):
    """A field. `name` is "record.field"; an anonymous struct or union member has name ""."""

    name: str
    is_array: bool


class VariableDecl(NamedTuple):
    """A global or static variable."""

    address: Expr
    is_array: bool
    value: int | None  # of a constant


class Declarations:
    """Declaration facts of one translation unit."""

    def __init__(
        self, reader: TreeReader, handle: Any, main_file: str, root: Path, directory: Path
    ) -> None:
        """`handle`: the translation unit, for what libclang asks of it directly."""
        self._lib = libclang.load()
        self.handle = handle
        self._reader = reader
        self._main_file = main_file
        self._root = root
        self._directory = directory
        self._functions: dict[int, FunctionDecl] = {}
        self._fields: dict[int, FieldDecl] = {}
        self._globals: dict[int, VariableDecl] = {}
        self._files: dict[int, str] = {}
        self._arrays: dict[int, bool] = {}
        self._enum_values: dict[int, int] = {}
        self._record_tags: dict[int, str] = {}
        self.records: dict[str, dict[str, str]] = {}
        self.guarded: dict[tuple[str, str], str] = {}
        self._file = c_void_p()
        self._line = c_uint()
        self._column = c_uint()
        self._offset = c_uint()
        self._out = tuple(
            ctypes.byref(x) for x in (self._file, self._line, self._column, self._offset)
        )

    def location(self, cursor: Any) -> int:
        """Packed line and column where the cursor's text is written or its macro is used."""
        lib = self._lib
        lib.clang_getExpansionLocation(lib.clang_getCursorLocation(cursor), *self._out)
        return pack(self._line.value, self._column.value)

    def file_of(self, cursor: Any) -> str:
        """The file of a cursor, relative to the tree where it lies in it."""
        lib = self._lib
        lib.clang_getExpansionLocation(lib.clang_getCursorLocation(cursor), *self._out)
        handle = self._file.value
        if handle is None:
            return ""
        name = self._files.get(handle)
        if name is None:
            name = intern(self.relative(text_of(lib.clang_getFileName(handle))))
            self._files[handle] = name
        return name

    def is_own(self, cursor: Any) -> bool:
        """Whether a declaration belongs to this unit, rather than to a header it includes."""
        return self._is_own_file(self.file_of(cursor))

    def _is_own_file(self, file: str) -> bool:
        """The main file, and source files that it includes (kernel/sched/build_policy.c does)."""
        return file == self._main_file or file.endswith(".c")

    def relative(self, path: str) -> str:
        """A path as reports name it: relative to the tree, else as given."""
        full = self._directory / path
        try:
            return full.relative_to(self._root).as_posix()
        except ValueError:
            pass
        try:
            return full.resolve().relative_to(self._root).as_posix()
        except ValueError:
            return full.as_posix()

    def annotations(self, cursor: Any) -> tuple[str, ...]:
        """The texts of annotate attributes on a declaration: what the header shims leave there."""
        return tuple(
            text_of(self._lib.clang_getCursorSpelling(child))
            for child in self._reader.children(cursor)
            if child.kind == K.ANNOTATE_ATTRIBUTE
        )

    def function(self, cursor: Any) -> FunctionDecl:
        """The function that a FunctionDecl cursor declares."""
        known = self._functions.get(cursor.d0)
        if known is not None:
            return known
        lib = self._lib
        name = intern(text_of(lib.clang_getCursorSpelling(cursor)))
        definition = lib.clang_getCursorDefinition(cursor)
        if lib.clang_Cursor_isNull(definition):
            definition = None
        where = definition if definition is not None else cursor
        key = name
        file = ""
        if lib.clang_Cursor_getStorageClass(where) == K.STORAGE_STATIC or definition is not None:
            file = self.file_of(where)
        if lib.clang_Cursor_getStorageClass(where) == K.STORAGE_STATIC:
            key = intern(f"{name}@{file}")
        noreturn = NORETURN_MARK in self.annotations(cursor) or (
            definition is not None and NORETURN_MARK in self.annotations(definition)
        )
        own = definition is not None and self._is_own_file(file)
        found = FunctionDecl(key, name, definition, own, noreturn)
        self._functions[cursor.d0] = found
        return found

    def field(self, cursor: Any) -> FieldDecl:
        """The field that a FieldDecl cursor declares."""
        known = self._fields.get(cursor.d0)
        if known is not None:
            return known
        lib = self._lib
        name = text_of(lib.clang_getCursorSpelling(cursor))
        kind = lib.clang_getCanonicalType(lib.clang_getCursorType(cursor)).kind
        tag = self._record_tag(lib.clang_getCursorSemanticParent(cursor))
        # libclang names an unnamed member after its type: "struct outer::(anonymous at …)"
        full = "" if not name or "(" in name else intern(f"{tag}.{name}")
        found = FieldDecl(full, kind in K.ARRAY_TYPES)
        self._fields[cursor.d0] = found
        return found

    def _record_tag(self, record: Any) -> str:
        """The tag of a record; fields of an unnamed one count as fields of the one around it."""
        known = self._record_tags.get(record.d0)
        if known is not None:
            return known
        lib = self._lib
        definition = lib.clang_getCursorDefinition(record)
        if not lib.clang_Cursor_isNull(definition):
            record = definition
        tag = text_of(lib.clang_getCursorSpelling(record))
        if not tag or "(" in tag:
            outer = lib.clang_getCursorSemanticParent(record)
            is_record = outer.kind in (K.STRUCT_DECL, K.UNION_DECL)
            tag = self._record_tag(outer) if is_record else "(unnamed)"
        self._record_tags[record.d0] = tag
        self._note_fields(record, self.records.setdefault(tag, {}))
        return tag

    def _note_fields(self, record: Any, fields: dict[str, str]) -> None:
        lib = self._lib
        for child in self._reader.children(record):
            if child.kind == K.FIELD_DECL:
                name = text_of(lib.clang_getCursorSpelling(child))
                if name and "(" not in name:
                    fields[name] = self.type_tag(lib.clang_getCursorType(child))
                    if lib.clang_Cursor_hasAttrs(child):
                        self._note_guard(record, child, name)
            elif child.kind in (K.STRUCT_DECL, K.UNION_DECL):
                name = text_of(lib.clang_getCursorSpelling(child))
                if not name or "(" in name:
                    self._note_fields(child, fields)

    def _note_guard(self, record: Any, field: Any, name: str) -> None:
        """Note the lock that a field's `__guarded_by` names."""
        for text in self.annotations(field):
            if text.startswith(GUARD_MARK):
                tag = text_of(self._lib.clang_getCursorSpelling(record))
                self.guarded[tag, name] = text.removeprefix(GUARD_MARK).strip()

    def type_tag(self, ctype: Any) -> str:
        """The record tag that a type is, points to or is an array of; else "" (scalars)."""
        lib = self._lib
        ctype = lib.clang_getCanonicalType(ctype)
        while True:
            if ctype.kind in K.ARRAY_TYPES:
                ctype = lib.clang_getCanonicalType(lib.clang_getArrayElementType(ctype))
            elif ctype.kind == K.TYPE_POINTER:
                ctype = lib.clang_getCanonicalType(lib.clang_getPointeeType(ctype))
            else:
                break
        if ctype.kind != K.TYPE_RECORD:
            return ""
        declaration = lib.clang_getTypeDeclaration(ctype)
        name = text_of(lib.clang_getCursorSpelling(declaration))
        return self._record_tag(declaration) if "(" in name else name

    def note_record(self, ctype: Any) -> None:
        """Note the fields of the record that a type is or points to."""
        lib = self._lib
        ctype = lib.clang_getCanonicalType(ctype)
        while ctype.kind == K.TYPE_POINTER:
            ctype = lib.clang_getCanonicalType(lib.clang_getPointeeType(ctype))
        if ctype.kind == K.TYPE_RECORD:
            definition = lib.clang_getCursorDefinition(lib.clang_getTypeDeclaration(ctype))
            if not lib.clang_Cursor_isNull(definition):
                self._record_tag(definition)

    def members(self, record: Any) -> list[tuple[str, Any]]:
        """The direct members of a record in order: ("record.field", field cursor).

        An anonymous struct or union is one member, ("", its own declaration cursor).
        """
        lib = self._lib
        tag = self._record_tag(record)
        found: list[tuple[str, Any]] = []
        for child in self._reader.children(record):
            if child.kind == K.FIELD_DECL:
                name = text_of(lib.clang_getCursorSpelling(child))
                if name and "(" not in name:
                    found.append((intern(f"{tag}.{name}"), child))
            elif child.kind in (K.STRUCT_DECL, K.UNION_DECL) and (
                lib.clang_Cursor_isAnonymousRecordDecl(child)
            ):
                found.append(("", child))
        return found

    def definition_of_type(self, ctype: Any) -> Any:
        """The declaration cursor of a record type, None for any other type."""
        lib = self._lib
        ctype = lib.clang_getCanonicalType(ctype)
        return lib.clang_getTypeDeclaration(ctype) if ctype.kind == K.TYPE_RECORD else None

    def type_text(self, cursor: Any) -> str:
        """The canonical type of an expression, as text."""
        lib = self._lib
        ctype = lib.clang_getCanonicalType(lib.clang_getCursorType(cursor))
        return text_of(lib.clang_getTypeSpelling(ctype))

    def variable(self, cursor: Any, enclosing: str) -> VariableDecl:
        """A variable that is not a plain local; `enclosing` is the function key, or ""."""
        known = self._globals.get(cursor.d0)
        if known is not None:
            return known
        lib = self._lib
        name = text_of(lib.clang_getCursorSpelling(cursor))
        if enclosing:
            key = f"{enclosing}.{name}"
        elif lib.clang_Cursor_getStorageClass(cursor) == K.STORAGE_STATIC:
            key = f"{name}@{self.file_of(cursor)}"
        else:
            key = name
        found = VariableDecl(("g", intern(key)), self.is_array(cursor), self._constant(cursor))
        self._globals[cursor.d0] = found
        return found

    def _constant(self, cursor: Any) -> int | None:
        """The value of a `const` variable with a constant initialiser in sight."""
        lib = self._lib
        if not lib.clang_isConstQualifiedType(lib.clang_getCursorType(cursor)):
            return None
        initialiser = lib.clang_Cursor_getVarDeclInitializer(cursor)
        return None if lib.clang_Cursor_isNull(initialiser) else self.evaluate(initialiser)

    def is_array(self, cursor: Any) -> bool:
        """Whether a declared variable is an array."""
        known = self._arrays.get(cursor.d0)
        if known is None:
            known = self.type_kind(cursor) in K.ARRAY_TYPES
            self._arrays[cursor.d0] = known
        return known

    def type_kind(self, cursor: Any) -> int:
        """The canonical type kind of an expression."""
        lib = self._lib
        kind: int = lib.clang_getCanonicalType(lib.clang_getCursorType(cursor)).kind
        return kind

    def enum_value(self, cursor: Any) -> int:
        known = self._enum_values.get(cursor.d0)
        if known is None:
            known = self._lib.clang_getEnumConstantDeclValue(cursor)
            self._enum_values[cursor.d0] = known
        return known

    def evaluate(self, cursor: Any) -> int | None:
        """The value of an integer constant expression, if it is one."""
        lib = self._lib
        result = lib.clang_Cursor_Evaluate(cursor)
        if not result:
            return None
        try:
            if lib.clang_EvalResult_getKind(result) != 1:
                return None
            value: int = lib.clang_EvalResult_getAsLongLong(result)
            return value
        finally:
            lib.clang_EvalResult_dispose(result)
