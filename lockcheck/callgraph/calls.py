"""Calls, as the two sides see them."""

from __future__ import annotations

from typing import NamedTuple

from lockcheck.facts.ir import Event


class CallSite(NamedTuple):
    """One call of one function: `caller` is its key, `call` the call's id there."""

    caller: str
    call: int
    loc: int
    slot: str | None  # the slot of an indirect call, None for a direct one


class Call(NamedTuple):
    """A call as its caller sees it."""

    event: Event
    targets: tuple[str, ...]  # keys, sorted; a modelled or external function too
    slot: str | None
