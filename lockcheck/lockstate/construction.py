"""Calls that are given a new object: whether what its maker has stored there decides the rest.

Where it does, and is not followed, neither is whether conditions on the object can hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from lockcheck.facts.ir import UNKNOWN
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.looked_at import Member
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import is_entry_term


def is_set_up(analysis: Analysis, function: str, at: At, looked_at: Iterable[Member]) -> bool:
    """Whether a call sets up an object that nobody else knows, under conditions on it.

    looked_at: what the conditions look into, by the call's arguments. See
    fixtures/lock-assertion/good_new_object_conditions.c. A value that the maker was given, and
    stored there, may be any: see bad_new_object_flags.c.
    """
    state, arguments = at.state, at.terms[1:]
    for number, name in looked_at:
        if number >= len(arguments):
            continue
        term = arguments[number]
        is_new = term in state.zeroed or (
            term[0] == "c" and analysis.is_unshared(function, state, term)
        )
        value = state.stores.get(("f", term, name), UNKNOWN)
        if is_new and (value[0] == "k" or not is_entry_term(value)):
            return True
    return False
