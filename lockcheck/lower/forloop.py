"""Which parts of a `for (init; test; step)` are there: libclang leaves absent ones out."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_uint, c_void_p
from typing import Any

from lockcheck.parse import libclang
from lockcheck.parse.libclang import CXToken, text_of

_LIMIT = 2000  # tokens between `for` and its body; macros can be long, nothing sane is longer


def semicolons(handle: Any, loop: Any, body: Any) -> tuple[int, int] | None:
    """Offsets of the two semicolons in the head of a loop, in its file.

    handle: the translation unit. None when the head is not written out, but comes from a macro.
    """
    lib = libclang.load()
    start = lib.clang_getRangeStart(lib.clang_getCursorExtent(loop))
    end = lib.clang_getRangeStart(lib.clang_getCursorExtent(body))
    if offset(start) >= offset(end):
        return None
    tokens = POINTER(CXToken)()
    count = c_uint()
    lib.clang_tokenize(
        handle, lib.clang_getRange(start, end), ctypes.byref(tokens), ctypes.byref(count)
    )
    try:
        found: list[int] = []
        depth = 0
        for index in range(min(count.value, _LIMIT)):
            text = text_of(lib.clang_getTokenSpelling(handle, tokens[index]))
            if index == 0 and text != "for":
                return None
            if text in ("(", "{", "["):
                depth += 1
            elif text in (")", "}", "]"):
                depth -= 1
            elif text == ";" and depth == 1:
                found.append(offset(lib.clang_getTokenLocation(handle, tokens[index])))
        return (found[0], found[1]) if len(found) == 2 else None
    finally:
        lib.clang_disposeTokens(handle, tokens, count)


def offset(location: Any) -> int:
    """The offset in its file of the place where a location is written or its macro is used."""
    value = c_uint()
    libclang.load().clang_getExpansionLocation(
        location, ctypes.byref(c_void_p()), ctypes.byref(c_uint()), ctypes.byref(c_uint()),
        ctypes.byref(value),
    )  # fmt: skip
    return value.value
