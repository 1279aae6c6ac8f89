"""One lock state with the paths that share it: lockset, what locals hold, what branches said."""

from __future__ import annotations

from collections.abc import Iterable

from lockcheck.callgraph.effects import stored_field
from lockcheck.facts.folding import is_boolean, is_local
from lockcheck.facts.ir import UNKNOWN, Expr
from lockcheck.lockstate.choices import choice, is_known
from lockcheck.lockstate.conditions import Conditions
from lockcheck.lockstate.locksets import Doubt, Held
from lockcheck.lockstate.memory import Memory
from lockcheck.lockstate.terms import FOUND, field, is_entry_term, is_small, object_root
from lockcheck.lockstate.values import (
    CHOSEN,
    PINNED,
    Fact,
    common,
    compose,
    inside,
    join_facts,
    loads,
    reads_memory,
    same_array,
    telling,
    within,
)

__all__ = ["Fact", "Held", "Since", "State"]

Since = tuple[int, frozenset[str]]


class State(Conditions):
    """Mutable while a block is walked; `copy` before a branch.

    held: lock term → how it is held, by this function.
    dropped: lock term → how it was dropped although this function had not taken it.
    ended: lock term → where this function gave up what it had taken, on every path.
    retaken: lock term → where this function took again what it had dropped of its caller's, on
        every path: from there on it is held, whoever calls.
    unsure: lock term → a call that may have taken or dropped it (see lockstate.balance).
    env: address of a local (or part of one) → the term it holds.
    facts: term → what is known of its value.
    marks: names of watched functions that were called on the way (see solver.Oracle).
    shared: results of calls whose object others may have come to know.
    stored: fields that may have been stored to since entry, as callgraph.effects numbers them.
    past: what branches said of values at entry that were stored to since.
    stores: address of a field → what this function has stored there, as far as nobody else can have
        stored to it since (see `remember`).
    zeroed: new objects whose memory was zero → fields stored to since then, and the names of
        members that were given away.
    """

    __slots__ = (
        "env",
        "marks",
        "past",
        "shared",
        "stored",
        "zeroed",
    )

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory
        self.held: dict[Expr, Held] = {}
        self.dropped: dict[Expr, Held] = {}
        self.ended: dict[Expr, Held] = {}
        self.retaken: dict[Expr, Held] = {}
        self.unsure: dict[Expr, Doubt] = {}
        self.env: dict[Expr, Expr] = {}
        self.facts: dict[Expr, Fact] = {}
        self.marks: frozenset[str] = frozenset()
        self.shared: frozenset[Expr] = frozenset()
        self.stored = 0
        self.past: dict[Expr, Fact] = {}
        self.zeroed: dict[Expr, Since] = {}
        self.stores: dict[Expr, Expr] = {}

    def copy(self) -> State:
        other = State.__new__(State)
        other.held = dict(self.held)
        other.dropped = dict(self.dropped)
        other.ended = self.ended
        other.retaken = self.retaken
        other.unsure = self.unsure
        other.env = dict(self.env)
        other.facts = dict(self.facts)
        other.marks = self.marks
        other.shared = self.shared
        other.stored = self.stored
        other.past = self.past
        other.zeroed = self.zeroed
        other.stores = self.stores
        other.memory = self.memory
        return other

    def note_stored(self, fields: int, constructed: int) -> None:
        """Fields may have been stored to, of whatever object; of new ones, those `constructed`."""
        new = fields & ~self.stored
        if new and self.facts and self.memory is not None:
            self._move_to_past(self.memory.facts_on(self.facts, new))
        self.stored |= fields
        if self.zeroed:
            self.zeroed = {
                new: (since | constructed, given) for new, (since, given) in self.zeroed.items()
            }

    def _move_to_past(self, terms: Iterable[Expr]) -> None:
        """Remember what is known of entry values that are about to be stored to."""
        moved = {
            term: self.facts[term]
            for term in terms
            if term not in self.past and is_entry_term(term)
        }
        if moved:
            self.past = {**self.past, **moved}

    def entry_fact(self, term: Expr) -> Fact | None:
        """What is known of a value as it was at entry."""
        known = self.past.get(term)
        if known is None:
            known = self.facts.get(term)
        return known

    def give_away(self, address: Expr) -> None:
        """A member of a new object was passed to a function: it may be set up now."""
        name = stored_field(address)
        new = object_root(address)
        if name is not None and new in self.zeroed:
            since, given = self.zeroed[new]
            self.zeroed = {**self.zeroed, new: (since, given | {name})}

    def _is_zero(self, address: Expr) -> bool:
        """Whether a place lies in a new object, in a field that was not stored to yet."""
        known = self.zeroed.get(object_root(address))
        if known is None or self.memory is None:
            return False
        effects = self.memory.effects
        since, given = known
        while address[0] in ("f", "i"):
            name = address[2] if address[0] == "f" else ""
            if name in given:
                return False
            if name and not effects.is_counter(name) and since & effects.field(name):
                return False
            address = address[1]
        return True

    def key(self) -> tuple[object, ...]:
        """What must agree for two states to be merged (property simulation, Das et al. 2002)."""
        return (
            frozenset((term, h.mode, h.depth) for term, h in self.held.items()),
            frozenset((term, h.mode, h.depth) for term, h in self.dropped.items()),
            self.marks,
        )

    # -- values --------------------------------------------------------------------------------

    def evaluate(self, expr: Expr) -> Expr:
        """The term of an expression (or of a term, after substitution) in this state."""
        head = expr[0]
        if head == "l":
            return self._load(self.evaluate(expr[1]))
        if head == "c":
            return self._known(self.env.get(expr, expr))
        if head in ("v", "g", "k", "fn", "u", "section", "class", "off"):
            return expr
        if head == "ap":
            args = tuple(self.evaluate(arg) for arg in expr[2:])
            if expr[1] == FOUND and args[0] == ("k", 0):
                return ("k", 0)
            return self._known((*expr[:2], *args))
        if head == "p" or head == "phi":
            return self._known(expr)
        if head == "ite":
            return self._choose(expr)
        if head == "held":
            return ("held", self.evaluate(expr[1]), expr[2])
        built = compose(expr, self.evaluate)
        return self._known(built) if built[0] in ("o", "o1") else built

    def _choose(self, expr: Expr) -> Expr:
        test = self.evaluate(expr[1])
        truth = self.decide(test)
        if truth is None:
            return choice(test, self.evaluate(expr[2]), self.evaluate(expr[3]))
        return self.evaluate(expr[2] if truth else expr[3])

    def _known(self, term: Expr) -> Expr:
        """A constant, where branches have pinned the value to one."""
        fact = self.facts.get(term)
        if fact is not None and fact.equal is not None:
            return ("k", fact.equal)
        return term

    def _load(self, address: Expr) -> Expr:
        held = self.env.get(address)
        if held is not None:
            return self._known(held)
        head = address[0]
        if head == "v":
            return UNKNOWN
        if self.stores:
            stored = self.stores.get(address)
            if stored is not None:
                return self._known(stored)
        if head == "f" or head == "i":
            whole = self._enclosing(address)
            if whole is not None:
                return self._known(whole)
        if address == UNKNOWN:
            return UNKNOWN
        if self.zeroed and self._is_zero(address):
            return ("k", 0)
        if head == "f" and self.memory is not None:
            back = self.memory.leads_back(address)
            if back is not None:
                return back
            base = address[1]
            if base[0] in ("g", "f") and address in self.memory.fixed:
                return self.memory.fixed[address]
            if base[0] == "ite":
                loaded = [self._load(field(place, address[2])) for place in base[2:]]
                if all(map(is_known, loaded)):
                    return choice(base[1], *loaded)
            if base[0] == "l" and base[1][0] == "f" and base[1][2] == address[2]:
                # IMPRECISE: the nodes that a list is followed through are one; otherwise paths
                # would grow with every turn of a loop.
                return self._known(base)
        return self._known(("l", address))

    def _enclosing(self, address: Expr) -> Expr | None:
        """Part of a local aggregate whose whole value is known: a copy, a result, or zero."""
        path: list[Expr] = []
        place = address
        while place[0] in ("f", "i"):
            path.append(place)
            place = place[1]
            value = self.env.get(place)
            if value is None:
                continue
            if value[0] == "k":
                return ("k", 0)
            if value == UNKNOWN:
                return UNKNOWN
            # A copy; else a struct returned by value, whose fields hang on the result.
            source: Expr = value[1] if value[0] == "l" else value
            for step in reversed(path):
                source = ("f", source, step[2]) if step[0] == "f" else ("i", source, step[2])
            return UNKNOWN if source == address else self._load(source)
        return None if place[0] != "v" else UNKNOWN

    def assign(self, address: Expr, value: Expr) -> None:
        """Store to a local. Stores to other memory are not followed."""
        place = address
        while place[0] in ("f", "i"):
            place = place[1]
        if place[0] != "v":
            self._forget_memory(address)
            return
        if address is place or address == place:
            stale = [key for key in self.env if key != place and inside(key, place)]
            for key in stale:
                del self.env[key]
        self.env[address] = value if is_small(value) else UNKNOWN

    def _forget_memory(self, address: Expr) -> None:
        """A store to memory makes what branches said of that field, or place, stale."""
        place = address
        while place[0] == "i":
            place = place[1]
        stale = [term for term in self.facts if loads(term, place)]
        self._move_to_past(stale)
        for term in stale:
            del self.facts[term]

    def overwrite(self, place: Expr) -> None:
        """Something that is not followed was stored to a place, and to all of its parts."""
        if not is_local(place):
            self.forget_stores(0, under=place)
            return
        for key in [key for key in self.env if within(key, place)]:
            del self.env[key]
        self.env[place] = UNKNOWN

    def escape(self, place: Expr, fields: int | None) -> None:
        """A local whose address was given away may hold anything now.

        fields: those of its members that may have been stored to, None for any.
        """
        if fields == 0:
            return
        for key in [key for key in self.env if inside(key, place)]:
            if fields is None or key == place or (self.fields_of(key) or 0) & fields:
                del self.env[key]
        self.env[place] = UNKNOWN

    # -- what locals say ----------------------------------------------------------------------

    def truth_of(self, place: Expr) -> bool | None:
        """Whether a local is true, if this state knows."""
        value = self.env.get(place)
        return None if value is None else self.decide(value)

    def pin(self, place: Expr) -> None:
        """Keep what a branch has said of a local, whatever is stored to what it came from."""
        value = self.env.get(place, UNKNOWN)
        truth = self.decide(value) if is_boolean(value) and reads_memory(value) else None
        if truth is not None:
            pinned: Expr = ("phi", PINNED, place)
            self.env[place] = pinned
            self.facts[pinned] = Fact(int(truth))

    def believe(self, claim: Expr) -> bool:
        """Take a claim of the source for true; False where it cannot be, so control is not here."""
        term = self.evaluate(claim)
        truth = self.decide(term)
        if truth is None:
            self.assume(term, True)
        return truth is not False

    # -- joins ---------------------------------------------------------------------------------

    def _join(self, other: State, mine: Expr, theirs: Expr, phi: Expr) -> Expr:
        """One term for what a place holds in either state; `phi` when nothing better is known."""
        if mine == theirs or _covers(mine, theirs, other):
            return mine
        if mine[0] in ("k", "g") and theirs[0] in ("k", "g"):
            test = telling(self.facts, other.facts)
            if test is not None:
                return ("ite", test, mine, theirs)
            test = telling(other.facts, self.facts)
            if test is not None:
                return ("ite", test, theirs, mine)
        if phi[1] >= 0 and is_known(theirs) and is_known(mine):
            either = mine[2:] if mine[0] == "ite" and theirs in mine[2:] else (mine, theirs)
            if all(value[0] in ("k", "g") for value in either):
                return ("ite", ("phi", CHOSEN - phi[1], phi[2]), *either)
        if self.decide(mine) is False and other.decide(theirs) is False:
            return ("k", 0)
        moved = same_array(mine, theirs)
        return phi if moved is None else moved

    def _merge_past(self, other: State) -> None:
        kept: dict[Expr, Fact] = {}
        for term in {**self.past, **other.past}:
            mine = self.entry_fact(term)
            both = None if mine is None else common(mine, other.entry_fact(term))
            if both is not None:
                kept[term] = both
        self.past = kept

    def merge(self, other: State, block: int) -> bool:
        """Widen this state by another one with the same key; whether that changed anything."""
        changed = bool(other.stored & ~self.stored) or not other.shared <= self.shared
        before = self.zeroed
        self.stored |= other.stored
        self.shared |= other.shared
        if self.zeroed != other.zeroed:
            self.zeroed = {
                new: (since | other.zeroed[new][0], given | other.zeroed[new][1])
                for new, (since, given) in self.zeroed.items()
                if new in other.zeroed
            }
            changed = changed or self.zeroed != before
        if self.past or other.past:
            self._merge_past(other)
        if any(term not in other.ended for term in self.ended):
            self.ended = {t: held for t, held in self.ended.items() if t in other.ended}
            changed = True
        if any(term not in other.retaken for term in self.retaken):
            self.retaken = {t: held for t, held in self.retaken.items() if t in other.retaken}
            changed = True
        if self.stores and self.stores != other.stores:
            same = {a: v for a, v in self.stores.items() if other.stores.get(a) == v}
            changed = changed or len(same) != len(self.stores)
            self.stores = same
        for term, doubt in other.unsure.items():
            before_merge = self.unsure.get(term)
            if before_merge != doubt:
                self.doubt(term, doubt)
                changed = changed or self.unsure[term] != before_merge
        env = self.env
        members = [a for a in other.env if a not in env and a[0] in ("f", "i")]
        never_null: list[Expr] = []  # phis of pointers that are not NULL on either side
        apart: list[Expr] = []  # comparisons of such with others that they differ from on both
        unequal = [t[2:] for t, f in self.facts.items() if t[:2] == ("o", "==") and f.equal == 0]
        for address in (*env, *members):
            mine, theirs = env.get(address), other.env.get(address)
            if mine == theirs:
                continue
            if mine is None or theirs is None:
                if address[0] not in ("f", "i"):
                    del env[address]  # declared on one side only
                    changed = True
                    continue
                # A member that one side knows only as part of the whole.
                mine = self._load(address) if mine is None else mine
                theirs = other._load(address) if theirs is None else theirs
            joined = self._join(other, mine, theirs, ("phi", block, address))
            if joined[0] in ("phi", "o") and self.decide(mine) and other.decide(theirs):
                never_null.append(joined)
            for pair in unequal if joined[0] == "phi" else ():
                if mine in pair:
                    known = pair[pair[0] == mine]
                    there = (("o", "==", theirs, known), ("o", "==", known, theirs))
                    if any(other.decide(term) is False for term in there):
                        renamed = (joined if part == mine else part for part in pair)
                        apart.append(("o", "==", *renamed))
            if env.get(address) != joined and not (address not in env and mine == joined):
                env[address] = joined
                changed = True
        return join_facts(self.facts, other.facts, never_null, apart) or changed


def _covers(value: Expr, theirs: Expr, other: State) -> bool:
    """Whether a choice that was merged before says what the arriving state holds, too."""
    if value[0] != "ite":
        return False
    truth = other.decide(value[1])
    return truth is not None and theirs == value[2 if truth else 3]
