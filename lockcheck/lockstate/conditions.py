"""What a state knows of values: what branches, and claims of the source, have said of them."""

from __future__ import annotations

from lockcheck.facts.folding import is_address, is_boolean
from lockcheck.facts.ir import UNKNOWN, Expr
from lockcheck.lockstate.choices import combine
from lockcheck.lockstate.stores import Stores
from lockcheck.lockstate.values import Fact, says_more

_OPPOSITE = {">=": "<", ">": "<="}  # comparisons that are kept as the negation of another
_POINTERS = frozenset({"p", "l", "c", "o", "phi"})


class Conditions(Stores):
    """The part of a state that decides; lockcheck.lockstate.state.State says what it has."""

    __slots__ = ()

    def decide(self, term: Expr) -> bool | None:
        """Whether a value is true, if this state knows."""
        head = term[0]
        if head == "k":
            return bool(term[1])
        if head == "held":
            return self.holds(term)
        if head == "fn" or is_address(term):
            return True
        if head == "ite":
            return self._decide_choice(term)
        if self.held and head in _POINTERS and self.is_locked_object(term):
            return True
        if head == "o1" and term[1] == "!":
            inner = self.decide(term[2])
            return None if inner is None else not inner
        if head == "o" and term[1] in ("==", "!="):
            equal = self._equal(term[2], term[3])
            if equal is not None:
                return bool(equal == (term[1] == "=="))
            if term[1] == "!=":
                equal = self.decide(("o", "==", term[2], term[3]))
                return None if equal is None else not equal
        elif head == "o" and term[1] in _OPPOSITE:
            opposite = self.decide(("o", _OPPOSITE[term[1]], term[2], term[3]))
            return None if opposite is None else not opposite
        fact = self.facts.get(term)
        if fact is None:
            return None
        if fact.equal is not None:
            return bool(fact.equal)
        return True if 0 in fact.differs else None

    def _decide_choice(self, term: Expr) -> bool | None:
        truth = self.decide(term[1])
        if truth is not None:
            return self.decide(term[2 if truth else 3])
        one = self.decide(term[2])
        return one if one is not None and one == self.decide(term[3]) else None

    def _equal(self, a: Expr, b: Expr) -> bool | None:
        if b[0] == "in":
            return self._is_one_of(a, b[1:])
        if "ite" in (a[0], b[0]):
            compared = combine("==", a, b)
            if compared[0] != "o":
                return self.decide(compared)
        if a[0] == "k":
            a, b = b, a
        if a[0] == "held" and b[0] == "k":
            holds = self.holds(a)
            return None if holds is None else holds == bool(b[1])
        if b[0] == "k":
            fact = self.facts.get(a)
            if fact is not None:
                if fact.equal is not None:
                    return bool(fact.equal == b[1])
                if b[1] in fact.differs:
                    return False
            if b[1] == 0 and (a[0] == "fn" or is_address(a)):
                return False
            if b[1] == 0 and a[0] in _POINTERS and self.held and self.is_locked_object(a):
                return False
            if a[0] == "k":
                return bool(a[1] == b[1])
            if is_boolean(a):
                truth = self.decide(a)
                return None if truth is None else int(truth) == b[1]
            return None
        if a[0] == "fn" and b[0] == "fn":
            return bool(a[1] == b[1])
        if a == b and a != UNKNOWN:
            return True
        return None

    def _is_one_of(self, term: Expr, numbers: tuple[int, ...]) -> bool | None:
        if term[0] == "k":
            return term[1] in numbers
        if term[0] == "ite":
            sides = [self._is_one_of(side, numbers) for side in term[2:]]
            return sides[0] if sides[0] == sides[1] else None
        fact = self.facts.get(term)
        if fact is None:
            return None
        if fact.equal is not None:
            return fact.equal in numbers
        return False if fact.differs.issuperset(numbers) else None

    def assume(self, term: Expr, truth: bool) -> None:
        """Note the outcome of a branch."""
        head = term[0]
        if head == "o1" and term[1] == "!":
            self.assume(term[2], not truth)
            return
        if head == "o" and term[1] in ("==", "!="):
            a, b = term[2], term[3]
            if a[0] == "k":
                a, b = b, a
            compared = combine("==", a, b) if "ite" in (a[0], b[0]) else term
            if compared[0] == "ite":
                self.assume(compared, truth == (term[1] == "=="))
                return
            if b[0] == "k":
                self._constrain(a, b[1], truth == (term[1] == "=="))
                return
            if b[0] == "in":
                for number in b[1:] if truth != (term[1] == "==") else ():
                    self._constrain(a, number, False)
                return
            if term[1] == "!=":
                term, truth = ("o", "==", a, b), not truth
        elif head == "o" and term[1] in _OPPOSITE:
            term, truth = ("o", _OPPOSITE[term[1]], term[2], term[3]), not truth
        if term == UNKNOWN or head == "k":
            return
        if head == "ite":
            sides = [self.decide(side) for side in term[2:]]
            if None not in sides and sides[0] != sides[1]:
                self.assume(term[1], sides[0] == truth)
                return
        self._constrain(term, 0, not truth)

    def _constrain(self, term: Expr, number: int, equal: bool) -> None:
        if term == UNKNOWN or term[0] == "k" or (equal and UNKNOWN in term):
            return
        if term[0] == "held":
            if term[1] != UNKNOWN:
                self.facts[term] = Fact(int(equal == bool(number)))
            return
        if number in (0, 1) and says_more(term):
            self.assume(term, equal == (number == 1))
        if equal:
            self.facts[term] = Fact(number)
            return
        old = self.facts.get(term)
        if old is not None and old.equal is not None:
            return
        differs = old.differs if old is not None else frozenset()
        self.facts[term] = Fact(None, differs | {number})
