"""Facts of a unit as bytes."""

from __future__ import annotations

import hashlib
import marshal
from typing import Any

import msgspec

from lockcheck.facts.ir import Function, UnitFacts


def pack(facts: UnitFacts) -> bytes:
    """Facts as bytes. Raises ValueError for what is nested too deeply."""
    values: list[Any] = list(msgspec.structs.astuple(facts))
    values[1] = tuple(msgspec.structs.astuple(f) for f in facts.functions)
    values[2] = tuple(msgspec.structs.astuple(f) for f in facts.inlines)
    return marshal.dumps(tuple(values))


def unpack(content: bytes) -> UnitFacts:
    """Facts from bytes.

    Raises EOFError, ValueError, TypeError or IndexError if they are damaged.
    """
    fields = list(marshal.loads(content))
    fields[1] = tuple(Function(*f) for f in fields[1])
    fields[2] = tuple(Function(*f) for f in fields[2])
    return UnitFacts(*fields)


def digest_of(content: bytes) -> bytes:
    """What facts are, in few bytes: facts of one digest are the same."""
    return hashlib.blake2b(content, digest_size=16).digest()
