"""Parsing one translation unit with libclang."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from ctypes import c_char_p, c_size_t, c_uint, c_void_p
from pathlib import Path
from typing import Any

from lockcheck.parse import libclang
from lockcheck.parse.libclang import CXUnsavedFile, text_of

_ERROR_SEVERITY = 3
_KEEP_GOING = 0x200
_MAX_ERRORS = 5


class ParseFailure(Exception):
    """libclang gave no translation unit at all (unreadable file, crash)."""


class ParsedUnit:
    """A parsed unit; `close` it (or use it as a context manager) to free its memory.

    cursor: the translation unit cursor.
    errors: (file, line, message) of diagnostics of severity error, at most a few.
    headers: files that were read, as spelt by clang, the unit's own first.
    """

    def __init__(
        self,
        index: Any,
        root: Path,
        file: str,
        directory: Path,
        arguments: Sequence[str],
        overlay: Mapping[str, bytes],
    ) -> None:
        """Parse `file` (relative to `root`) as `arguments` say, from `directory`.

        overlay: contents that replace files, by absolute path. Raises ParseFailure.
        """
        lib = libclang.load()
        self._lib = lib
        self.file = file
        self.directory = directory
        encoded = [argument.encode() for argument in arguments]
        argv = (c_char_p * len(encoded))(*encoded)
        unsaved = (CXUnsavedFile * len(overlay))(
            *(CXUnsavedFile(path.encode(), text, len(text)) for path, text in overlay.items())
        )
        handle = c_void_p()
        here = os.getcwd()
        os.chdir(directory)  # -I paths of kbuild are relative to the build directory
        try:
            status = lib.clang_parseTranslationUnit2(
                index,
                str(root / file).encode(),
                argv,
                len(encoded),
                unsaved,
                len(overlay),
                c_uint(_KEEP_GOING),
                ctypes.byref(handle),
            )
        finally:
            os.chdir(here)
        if status != 0 or not handle.value:
            raise ParseFailure(f"libclang could not parse it (status {status})")
        self.handle: c_void_p | None = handle
        self.cursor = lib.clang_getTranslationUnitCursor(handle)
        self.errors = tuple(self._errors(root))
        self._files = self._included()
        self.headers: tuple[str, ...] = tuple(name for name, _ in self._files)

    def _errors(self, root: Path) -> list[tuple[str, int, str]]:
        lib = self._lib
        found: list[tuple[str, int, str]] = []
        for number in range(lib.clang_getNumDiagnostics(self.handle)):
            diagnostic = lib.clang_getDiagnostic(self.handle, number)
            if lib.clang_getDiagnosticSeverity(diagnostic) >= _ERROR_SEVERITY:
                file = c_void_p()
                line, column, offset = c_uint(), c_uint(), c_uint()
                lib.clang_getExpansionLocation(
                    lib.clang_getDiagnosticLocation(diagnostic),
                    ctypes.byref(file),
                    ctypes.byref(line),
                    ctypes.byref(column),
                    ctypes.byref(offset),
                )
                name = text_of(lib.clang_getFileName(file)) if file.value else self.file
                full = self.directory / name
                if full.is_relative_to(root):
                    name = full.relative_to(root).as_posix()
                found.append(
                    (name, line.value, text_of(lib.clang_getDiagnosticSpelling(diagnostic)))
                )
            lib.clang_disposeDiagnostic(diagnostic)
            if len(found) == _MAX_ERRORS:
                break
        return found

    def _included(self) -> list[tuple[str, int]]:
        """Name and handle of every file that was read, each once, the unit's own first."""
        files: dict[int, str] = {}

        def visit(file: int, _stack: Any, _depth: int, _data: Any) -> None:
            if file not in files:
                files[file] = text_of(self._lib.clang_getFileName(file))

        self._lib.clang_getInclusions(self.handle, libclang.INCLUSION_VISITOR(visit), None)
        return [(name, file) for file, name in files.items()]

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """(name as spelt by clang, content that it read) of every file."""
        size = c_size_t()
        for name, file in self._files:
            start = self._lib.clang_getFileContents(self.handle, file, ctypes.byref(size))
            yield name, ctypes.string_at(start, size.value) if start else b""

    def inclusions(self) -> set[tuple[str, str]]:
        """(name of the file that includes, name of the file that is included)."""
        names = {file: name for name, file in self._files}
        found: set[tuple[str, str]] = set()

        def visit(file: int, stack: Any, depth: int, _data: Any) -> None:
            if depth:
                by = c_void_p()
                self._lib.clang_getExpansionLocation(stack[0], ctypes.byref(by), None, None, None)
                found.add((names.get(by.value or 0, ""), names[file]))

        self._lib.clang_getInclusions(self.handle, libclang.INCLUSION_VISITOR(visit), None)
        return found

    def close(self) -> None:
        if self.handle is not None:
            self._lib.clang_disposeTranslationUnit(self.handle)
            self.handle = None

    def __enter__(self) -> ParsedUnit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
