"""The contexts of a requirement that were asked already."""

from __future__ import annotations

import msgspec

from lockcheck.lockstate.doubts import MANY_CONDITIONS, doubted
from lockcheck.lockstate.summary import Condition
from lockcheck.lockstate.verdicts import Context

MAX_GUARDS = 32  # sets of conditions for one function that are told apart


class Seen:
    """Contexts that were asked, so that none is asked that one under a weaker guard covers."""

    def __init__(self) -> None:
        self._guards: dict[tuple[object, ...], list[frozenset[Condition]]] = {}

    def add(self, context: Context) -> Context | None:
        """Take a context in; what is left to ask, None if it says nothing new.

        Of one with many conditions already asked about, the conditions are given up: what is found
        then is in doubt.
        """
        key = (context.function, context.needs, context.datum, context.offered, context.doubt)
        known = self._guards.setdefault(key, [])
        guard = frozenset(context.guard)
        if any(weaker <= guard for weaker in known):
            return None
        if len(known) >= MAX_GUARDS:
            known.insert(0, frozenset())
            return doubted(msgspec.structs.replace(context, guard=()), MANY_CONDITIONS)
        known.append(guard)
        return context
