"""The locks of one state: what is held, what was dropped, and what is said of them."""

from __future__ import annotations

from typing import NamedTuple

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.terms import lock_class, object_root, surely_different
from lockcheck.lockstate.values import Fact
from lockcheck.models.loader import ANY, READ, WRITE

_MAX_DEPTH = 7  # how deep nested sections are counted


class Held(NamedTuple):
    """A lock that is held, or was dropped, and where that happened."""

    mode: str
    loc: int
    depth: int = 1  # how often: read sections nest


class Doubt(NamedTuple):
    """A lock that the call at `loc` may have taken, or may have dropped (see summary.Unsure)."""

    mode: str
    loc: int
    taken: bool
    dropped: bool
    levels: int


class Lockset:
    """The part of a state that knows locks; see lockcheck.lockstate.state.State for its members."""

    __slots__ = ("dropped", "ended", "facts", "held", "retaken", "stores", "unsure")

    held: dict[Expr, Held]
    dropped: dict[Expr, Held]
    ended: dict[Expr, Held]
    retaken: dict[Expr, Held]
    facts: dict[Expr, Fact]
    unsure: dict[Expr, Doubt]
    stores: dict[Expr, Expr]

    def holds(self, query: Expr) -> bool | None:
        """Whether a ("held", lock, mode) is so: as this function did, else as branches said.

        Only the same instance counts: whether another of its class is meant, callers may know.
        """
        lock, mode = query[1], query[2]
        if lock[0] == "section":
            names = lock[2] if len(lock) > 2 else lock[1:2]
            if any(("section", name) in self.unsure for name in names):
                return None
            if any(("section", name) in self.held for name in names):
                return True
        elif lock not in self.unsure:
            held = self.held.get(lock)
            if held is not None:
                return mode in (ANY, held.mode)
            dropped = self.dropped.get(lock)
            if dropped is not None and mode in (ANY, dropped.mode):
                return False
        fact = self.facts.get(query)
        if fact is not None:
            return bool(fact.equal)
        if mode == ANY:
            modes = (self.facts.get(("held", lock, known)) for known in (WRITE, READ))
            return True if any(known is not None and known.equal for known in modes) else None
        whether = self.facts.get(("held", lock, ANY))
        return False if whether is not None and not whether.equal else None

    def doubt(self, term: Expr, doubt: Doubt) -> None:
        """A callee may have taken or dropped a lock."""
        known = self.unsure.get(term)
        if known is not None:
            doubt = doubt._replace(
                taken=doubt.taken or known.taken,
                dropped=doubt.dropped or known.dropped,
                levels=max(doubt.levels, known.levels),
            )
        self.unsure = {**self.unsure, term: doubt}

    def _settle(self, term: Expr) -> bool:
        """Whether it was unsure if a lock is held; now it is taken, or dropped."""
        if not self.unsure:
            return False
        name = lock_class(term)
        same = {
            other
            for other in self.unsure
            if other == term
            or (name is not None and lock_class(other) == name and other[0] != "section")
        }
        if same:
            self.unsure = {lock: u for lock, u in self.unsure.items() if lock not in same}
        return bool(same)

    def has_taken(self, term: Expr, mode: str) -> bool:
        """Whether this function has surely taken a lock itself, in a mode, and not dropped it."""
        held = self.held.get(term)
        return held is not None and held.mode == mode and term not in self.unsure

    def acquire(self, term: Expr, mode: str, loc: int) -> None:
        if term[0] != "section":
            self.stores = {}  # until now, others may have changed what the lock guards
        if self._settle(term):
            self.dropped.pop(term, None)
            self.held[term] = Held(mode, loc)
            return
        dropped = self.dropped.get(term)
        if dropped is not None and dropped.mode == mode:
            # dropped and retaken: held by the caller again
            if dropped.depth > 1:
                self.dropped[term] = dropped._replace(depth=dropped.depth - 1)
            else:
                del self.dropped[term]
                self.retaken = {**self.retaken, term: Held(mode, loc)}
            return
        held = self.held.get(term)
        if held is not None and held.mode == mode:
            self.held[term] = Held(mode, held.loc, min(held.depth + 1, _MAX_DEPTH))
        else:
            self.held[term] = Held(mode, loc)

    def release(self, term: Expr, mode: str, loc: int) -> None:
        found = self._match(term, mode)
        unsure = self._settle(term)
        if found is None:
            if term in self.retaken:
                self.retaken = {t: h for t, h in self.retaken.items() if t != term}
            if unsure:
                self.ended = {**self.ended, term: Held(mode, loc)}
            else:
                before = self.dropped.get(term)
                depth = 1
                nests = mode == READ or term[0] == "section"
                if before is not None and before.mode == mode and nests:
                    depth = min(before.depth + 1, _MAX_DEPTH)
                self.dropped[term] = Held(mode, loc, depth)
            return
        held = self.held[found]
        if held.depth > 1:
            self.held[found] = held._replace(depth=held.depth - 1)
        else:
            del self.held[found]
            self.ended = {**self.ended, found: Held(mode, loc)}

    def _match(self, term: Expr, mode: str) -> Expr | None:
        """The held lock that a release means: the same term, else the only one of its class."""
        held = self.held.get(term)
        if held is not None:
            return term
        name = lock_class(term)
        same = [
            other
            for other, h in self.held.items()
            if h.mode == mode
            and (other[0] == "section") == (term[0] == "section")
            and (name is None or lock_class(other) in (name, None))
            and not surely_different(term, other)
        ]
        if name is None and (len(same) != 1 or term[0] == "p"):
            # What a parameter points to is the caller's, not what was taken here by its name.
            same = [other for other in same if lock_class(other) is None]
        return same[0] if len(same) == 1 else None

    def downgrade(self, term: Expr, loc: int) -> None:
        found = self._match(term, WRITE)
        if found is None:
            self.dropped[term] = Held(WRITE, loc)
            self.held[term] = Held(READ, loc)
        else:
            self.held[found] = self.held[found]._replace(mode=READ)

    def is_locked_object(self, pointer: Expr) -> bool:
        """Whether a lock is held in the object that a pointer points to: then it is not NULL."""
        return any(object_root(lock) == pointer for lock in self.held)
