"""Raw libclang calls.

The Python bindings of libclang make an object for every cursor and property, at 30-40 µs a
cursor. Lowering sees hundreds of thousands of them, so it calls the C library directly, with the
cursor struct passed by value (0.5 µs a cursor). Only what lowering needs is declared here.

Reference: https://clang.llvm.org/doxygen/group__CINDEX.html
"""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_longlong,
    c_size_t,
    c_uint,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any

from lockcheck.errors import LockcheckError

CLANG_SUPPORTED_MAJOR = 18


class CXCursor(Structure):
    """A cursor by value. `d0` identifies a declaration, `d1` a statement or expression."""

    _fields_ = (
        ("kind", c_int),
        ("xdata", c_int),
        ("d0", c_void_p),
        ("d1", c_void_p),
        ("d2", c_void_p),
    )


class CXString(Structure):
    _fields_ = (("data", c_void_p), ("flags", c_uint))


class CXType(Structure):
    _fields_ = (("kind", c_int), ("d0", c_void_p), ("d1", c_void_p))


class CXSourceLocation(Structure):
    _fields_ = (("p0", c_void_p), ("p1", c_void_p), ("int_data", c_uint))


class CXSourceRange(Structure):
    _fields_ = (("p0", c_void_p), ("p1", c_void_p), ("begin", c_uint), ("end", c_uint))


class CXToken(Structure):
    _fields_ = (("int_data", c_uint * 4), ("ptr_data", c_void_p))


class CXUnsavedFile(Structure):
    _fields_ = (("name", c_char_p), ("contents", c_char_p), ("length", ctypes.c_ulong))


VISITOR = CFUNCTYPE(c_int, CXCursor, CXCursor, c_void_p)
INCLUSION_VISITOR = CFUNCTYPE(None, c_void_p, POINTER(CXSourceLocation), c_uint, c_void_p)
BREAK, CONTINUE, RECURSE = 0, 1, 2

_OUT_UINT = POINTER(c_uint)
_FUNCTIONS: dict[str, tuple[list[Any], Any]] = {
    "clang_createIndex": ([c_int, c_int], c_void_p),
    "clang_disposeIndex": ([c_void_p], None),
    "clang_parseTranslationUnit2": (
        [
            c_void_p,
            c_char_p,
            POINTER(c_char_p),
            c_int,
            POINTER(CXUnsavedFile),
            c_uint,
            c_uint,
            POINTER(c_void_p),
        ],
        c_int,
    ),
    "clang_disposeTranslationUnit": ([c_void_p], None),
    "clang_getTranslationUnitCursor": ([c_void_p], CXCursor),
    "clang_visitChildren": ([CXCursor, VISITOR, c_void_p], c_uint),
    "clang_getCursorReferenced": ([CXCursor], CXCursor),
    "clang_getCursorDefinition": ([CXCursor], CXCursor),
    "clang_getCursorSemanticParent": ([CXCursor], CXCursor),
    "clang_getCursorSpelling": ([CXCursor], CXString),
    "clang_getCursorKindSpelling": ([c_int], CXString),
    "clang_getCursorBinaryOperatorKind": ([CXCursor], c_int),
    "clang_getCursorUnaryOperatorKind": ([CXCursor], c_int),
    "clang_getCursorType": ([CXCursor], CXType),
    "clang_getCanonicalType": ([CXType], CXType),
    "clang_getPointeeType": ([CXType], CXType),
    "clang_getArrayElementType": ([CXType], CXType),
    "clang_getTypeDeclaration": ([CXType], CXCursor),
    "clang_getTypeSpelling": ([CXType], CXString),
    "clang_isConstQualifiedType": ([CXType], c_uint),
    "clang_isVolatileQualifiedType": ([CXType], c_uint),
    "clang_getEnumConstantDeclValue": ([CXCursor], c_longlong),
    "clang_Cursor_getStorageClass": ([CXCursor], c_int),
    "clang_Cursor_isAnonymousRecordDecl": ([CXCursor], c_uint),
    "clang_Cursor_getVarDeclInitializer": ([CXCursor], CXCursor),
    "clang_Cursor_getNumArguments": ([CXCursor], c_int),
    "clang_Cursor_getArgument": ([CXCursor, c_uint], CXCursor),
    "clang_Cursor_hasAttrs": ([CXCursor], c_uint),
    "clang_Cursor_isNull": ([CXCursor], c_int),
    "clang_Cursor_Evaluate": ([CXCursor], c_void_p),
    "clang_EvalResult_getKind": ([c_void_p], c_int),
    "clang_EvalResult_getAsLongLong": ([c_void_p], c_longlong),
    "clang_EvalResult_dispose": ([c_void_p], None),
    "clang_getCursorLocation": ([CXCursor], CXSourceLocation),
    "clang_getCursorExtent": ([CXCursor], CXSourceRange),
    "clang_getExpansionLocation": (
        [CXSourceLocation, POINTER(c_void_p), _OUT_UINT, _OUT_UINT, _OUT_UINT],
        None,
    ),
    "clang_getRangeStart": ([CXSourceRange], CXSourceLocation),
    "clang_getRange": ([CXSourceLocation, CXSourceLocation], CXSourceRange),
    "clang_tokenize": (
        [c_void_p, CXSourceRange, POINTER(POINTER(CXToken)), POINTER(c_uint)],
        None,
    ),
    "clang_getTokenSpelling": ([c_void_p, CXToken], CXString),
    "clang_getTokenLocation": ([c_void_p, CXToken], CXSourceLocation),
    "clang_disposeTokens": ([c_void_p, POINTER(CXToken), c_uint], None),
    "clang_Location_isFromMainFile": ([CXSourceLocation], c_int),
    "clang_getFileName": ([c_void_p], CXString),
    "clang_getCString": ([CXString], c_char_p),
    "clang_disposeString": ([CXString], None),
    "clang_getFileContents": ([c_void_p, c_void_p, POINTER(c_size_t)], c_void_p),
    "clang_getInclusions": ([c_void_p, INCLUSION_VISITOR, c_void_p], None),
    "clang_getNumDiagnostics": ([c_void_p], c_uint),
    "clang_getDiagnostic": ([c_void_p, c_uint], c_void_p),
    "clang_getDiagnosticSeverity": ([c_void_p], c_int),
    "clang_getDiagnosticSpelling": ([c_void_p], CXString),
    "clang_getDiagnosticLocation": ([c_void_p], CXSourceLocation),
    "clang_disposeDiagnostic": ([c_void_p], None),
    "clang_getClangVersion": ([], CXString),
    "clang_toggleCrashRecovery": ([c_uint], None),
}


def library_path() -> Path:
    """Where the libclang of the PyPI package `libclang` lies. Raises LockcheckError without it."""
    try:
        import clang
    except ImportError as error:
        raise LockcheckError(
            "the Python package libclang is not installed", remedy="pip install libclang==18.1.1"
        ) from error
    for name in ("libclang.so", "libclang.dylib", "libclang.dll"):
        candidate = Path(clang.__path__[0]) / "native" / name
        if candidate.exists():
            return candidate
    raise LockcheckError(
        "the Python package clang is installed, but it brings no libclang library",
        remedy="pip uninstall clang; pip install libclang==18.1.1",
    )


def identity() -> str:
    """What tells one library from another, without loading it. Raises LockcheckError without it."""
    path = library_path().resolve()
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"


@cache
def load() -> Any:
    """The C library with its prototypes set. Raises LockcheckError when it cannot be used."""
    path = library_path()
    try:
        lib = ctypes.CDLL(str(path))
        for name, (argtypes, restype) in _FUNCTIONS.items():
            function = getattr(lib, name)
            function.argtypes = argtypes
            function.restype = restype
    except (OSError, AttributeError) as error:
        raise LockcheckError(
            f"libclang at {path} cannot be used: {error}",
            remedy=f"pip install 'libclang=={CLANG_SUPPORTED_MAJOR}.1.1'",
        ) from error
    return lib


def text_of(string: CXString) -> str:
    """The text of a CXString, which is disposed of."""
    lib = load()
    raw = lib.clang_getCString(string)
    text: str = raw.decode("utf-8", "replace") if raw else ""
    lib.clang_disposeString(string)
    return text


def version() -> str:
    """The version line of the library, e.g. "clang version 18.1.1"."""
    return text_of(load().clang_getClangVersion())
