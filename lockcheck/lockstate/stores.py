"""What a function has stored to objects in memory, as long as nobody else may have since."""

from __future__ import annotations

from lockcheck.callgraph.effects import stored_field
from lockcheck.facts.ir import UNKNOWN, Expr
from lockcheck.lockstate.locksets import Lockset
from lockcheck.lockstate.memory import Memory
from lockcheck.lockstate.terms import is_small
from lockcheck.lockstate.values import within

MAX_STORES = 16  # stores to memory that are remembered


class Stores(Lockset):
    """The part of a state that knows memory; lockcheck.lockstate.state.State says what it has."""

    __slots__ = ("memory",)

    memory: Memory | None

    def remember(self, address: Expr, value: Expr) -> None:
        """A store to a field of an object in memory, of a value that may be tested later.

        UNSOUND: another name for the same object; see tests/lockstate/test_stores.py.
        """
        self.forget_stores(self.fields_of(address))
        if address[0] == "f" and value != UNKNOWN and is_small(address) and is_small(value):
            kept = dict(list(self.stores.items())[1 - MAX_STORES :])
            self.stores = {**kept, address: value}

    def fields_of(self, address: Expr) -> int | None:
        """The field that a store to an address changes; None: any."""
        name = stored_field(address)
        if name is None or self.memory is None:
            return None
        return self.memory.effects.field(name)

    def forget_stores(self, fields: int | None, under: Expr | None = None) -> None:
        """Others may have stored to some fields (None: to any), or to all places `under` one."""
        if not self.stores or (fields == 0 and under is None):
            return
        if (fields is None and under is None) or self.memory is None:
            self.stores = {}
            return
        changed = self.memory.loaded_from(self.stores, fields) if fields else set()
        if under is not None:
            changed.update(address for address in self.stores if within(address, under))
        if changed:
            self.stores = {a: v for a, v in self.stores.items() if a not in changed}
