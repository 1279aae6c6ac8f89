"""A unit cut in two: what stands before an edit is parsed once, the rest as often as it changes.

The text before the cut becomes a header of its own, which libclang keeps precompiled. The rest
keeps its lines, and the preprocessor's counter goes on where it was, so that what is made from them
is the same as in one piece.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from ctypes import c_char_p, c_int, c_ubyte, c_uint, c_ushort, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from lockcheck.lower.decls import Declarations
from lockcheck.lower.nodes import TreeReader
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang
from lockcheck.parse.libclang import (
    CXCursor,
    CXSourceLocation,
    CXSourceRange,
    CXUnsavedFile,
    text_of,
)
from lockcheck.parse.unit import ParsedUnit, ParseFailure
from lockcheck.quick.pieces import NotExact, PieceLowering

_FLAGS = 0x200 | 0x4 | 0x100  # KeepGoing, PrecompiledPreamble, CreatePreambleOnFirstParse
_IN_MEMORY = 1 << 2  # StorePreamblesInMemory
_SUFFIX = ".lockcheck-before"
_COUNT = "lockcheck_count"
HEAD_LINES = 4  # what the rest begins with needs so many lines


@cache
def cut_library() -> Any:
    """The C library, with what only this package calls."""
    lib = libclang.load()
    more: dict[str, tuple[list[Any], Any]] = {
        "clang_reparseTranslationUnit": ([c_void_p, c_uint, c_void_p, c_uint], c_int),
        "clang_createIndexWithOptions": ([c_void_p], c_void_p),
        "clang_getFile": ([c_void_p, c_char_p], c_void_p),
        "clang_getLocation": ([c_void_p, c_void_p, c_uint, c_uint], CXSourceLocation),
        "clang_getRangeEnd": ([CXSourceRange], CXSourceLocation),
        "clang_getCursor": ([c_void_p, CXSourceLocation], CXCursor),
    }
    for name, (arguments, result) in more.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = arguments, result
    return lib


class _IndexOptions(ctypes.Structure):
    """CXIndexOptions of clang-c/Index.h; `flags` are its bit-fields."""

    _fields_ = (
        ("size", c_uint),
        ("priority_for_indexing", c_ubyte),
        ("priority_for_editing", c_ubyte),
        ("flags", c_ushort),
        ("preamble_path", c_char_p),
        ("invocation_path", c_char_p),
    )


def cut_index() -> Any:
    """An index that keeps precompiled text in memory: a file would be left by a killed process."""
    options = _IndexOptions(ctypes.sizeof(_IndexOptions), 0, 0, _IN_MEMORY, None, None)
    index = cut_library().clang_createIndexWithOptions(ctypes.byref(options))
    if not index:
        raise NotExact("libclang has another idea of what an index can be told")
    return index


class CutUnit(ParsedUnit):
    """A unit in two parts, whose second part is parsed again and again.

    Its cursors are good until the next `parse`.
    """

    def __init__(
        self,
        index: Any,
        root: Path,
        file: str,
        directory: Path,
        arguments: Sequence[str],
        overlay: Mapping[str, bytes],
        before: bytes,
    ) -> None:
        """The arguments are those of ParsedUnit. before: the text up to the cut, whole lines.

        Raises NotExact when the text cannot be cut there, ParseFailure.
        """
        self._lib = cut_library()
        self.file = file
        self.directory = directory
        self.handle = None
        self._root = root
        self._main = str(root / file)
        self.before_file = self._main + _SUFFIX
        self._line = before.count(b"\n") + 1
        self._count = 0
        if self._line <= HEAD_LINES or not before.endswith(b"\n"):
            raise NotExact("there is no room before it")
        self._overlay = dict(overlay)
        self._overlay[self.before_file] = before + b"enum { %s = __COUNTER__ };\n" % _COUNT.encode()
        encoded = [argument.encode() for argument in arguments]
        argv = (c_char_p * len(encoded))(*encoded)
        unsaved = self._unsaved(b"")
        handle = c_void_p()
        here = os.getcwd()
        os.chdir(directory)
        try:
            status = self._lib.clang_parseTranslationUnit2(
                index, self._main.encode(), argv, len(encoded), unsaved, len(unsaved),
                c_uint(_FLAGS), ctypes.byref(handle),
            )  # fmt: skip
        finally:
            os.chdir(here)
        if status != 0 or not handle.value:
            raise ParseFailure(f"libclang could not parse it (status {status})")
        self.handle = handle
        self._take()
        self._count = self._first_count()

    def parse(self, line: int, rest: bytes) -> None:
        """Parse with another text after the cut, which begins on that line.

        Raises NotExact when there are errors, ParseFailure.
        """
        unsaved = self._unsaved(rest, line)
        here = os.getcwd()
        os.chdir(self.directory)
        try:
            status = self._lib.clang_reparseTranslationUnit(
                self.handle, len(unsaved), unsaved, _FLAGS
            )
        finally:
            os.chdir(here)
        if status != 0:
            self.handle = None  # it can only be thrown away, and that is for the process's end
            raise ParseFailure(f"libclang could not parse it again (status {status})")
        self._take()

    def _unsaved(self, rest: bytes, line: int = 0) -> Any:
        """What libclang is to read in place of files."""
        # The semicolon ends what is kept precompiled: the counter is not kept with it.
        head = b'#include "%s"\n;\n' % self.before_file.encode()
        if self._count:
            head += b"#if 0 * (%s)\n#endif\n" % b"+".join([b"__COUNTER__"] * self._count)
        line = line or self._line
        text = head + b"\n" * (line - 1 - head.count(b"\n")) + rest
        files = {**self._overlay, self._main: text}
        return (CXUnsavedFile * len(files))(
            *(CXUnsavedFile(path.encode(), text, len(text)) for path, text in files.items())
        )

    def _take(self) -> None:
        self.cursor = self._lib.clang_getTranslationUnitCursor(self.handle)
        self.errors = tuple(self._errors(self._root))
        self._files: list[tuple[str, int]] = []
        self.headers = ()
        if self.errors:
            raise NotExact("it does not compile")

    def _first_count(self) -> int:
        """How often the counter was asked before the cut."""
        for cursor in reversed(TreeReader().children(self.cursor)):
            if cursor.kind == K.ENUM_DECL:
                for child in TreeReader().children(cursor):
                    if text_of(self._lib.clang_getCursorSpelling(child)) == _COUNT:
                        value: int = self._lib.clang_getEnumConstantDeclValue(child)
                        return value
        raise NotExact("the end of the first part was not found")

    def at(self, line: int, column: int) -> Any:
        """The cursor at a place of the second part."""
        file = self._lib.clang_getFile(self.handle, self._main.encode())
        location = self._lib.clang_getLocation(self.handle, file, line, column)
        return self._lib.clang_getCursor(self.handle, location)


class CutLowering(PieceLowering):
    """Lowers definitions of the second part."""

    def __init__(
        self, parsed: CutUnit, root: Path, reader: TreeReader, opaque: Iterable[str]
    ) -> None:
        """The arguments of PieceLowering."""
        super().__init__(parsed, root, reader, frozenset(opaque))
        self._cut = parsed

    def declarations(self) -> Declarations:
        """What declarations say, with nothing remembered."""
        return _CutDeclarations(self._reader, self._cut, self._root)


class _CutDeclarations(Declarations):
    def __init__(self, reader: TreeReader, cut: CutUnit, root: Path) -> None:
        super().__init__(reader, cut.handle, cut.file, root, cut.directory)
        self._cut = cut

    def file_of(self, cursor: Any) -> str:
        file = super().file_of(cursor)
        return self._cut.file if file.endswith(_SUFFIX) else file

    def members(self, record: Any) -> list[tuple[str, Any]]:
        """In the order of the text: libclang shows inner records of precompiled ones first."""
        found = super().members(record)
        places = []
        for _, cursor in found:
            self.location(cursor)
            places.append((self._file.value, self._offset.value))
        if len(set(places)) < len(places) and len({c.kind for _, c in found}) > 1:
            raise NotExact("the order of members is not known")
        if len({file for file, _ in places}) > 1:
            raise NotExact("the members are not in one file")
        order = sorted(range(len(found)), key=lambda n: places[n][1])
        return [found[n] for n in order]
