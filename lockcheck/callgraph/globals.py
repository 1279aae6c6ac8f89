"""Static variables that no pointer leads to: what hangs on one is not what a parameter points to.

A static object whose address is used for nothing but its own locks, and a static pointer that
nothing is stored in. Both are rare in finished code; a lock of such an object, taken in place of
the one that is needed, is a mistake that its class hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lockcheck.facts.ir import Expr, Function


class Addresses:
    """Variables, by what becomes of their addresses.

    exposed: those whose address may be kept by somebody. stored: those that are stored to.
    """

    __slots__ = ("exposed", "stored")

    def __init__(self) -> None:
        self.exposed: set[str] = set()
        self.stored: set[str] = set()

    def store(self, address: Expr, value: Expr) -> None:
        """A value is stored at an address."""
        place = _variable(address)
        if place is not None:
            self.stored.add(place)
        else:
            self.exposed.update(_addresses(address))
        self.exposed.update(_addresses(value))


def addresses_in(function: Function, keeps_nothing: Callable[[str], bool]) -> Addresses:
    """What one function does with addresses.

    keeps_nothing: whether a function does not let go of the addresses it is given.
    """
    found = Addresses()
    for events, terminator in function.blocks:
        for event in events:
            if event[0] == "S":
                found.store(event[2], event[3])
            elif event[0] == "C":
                callee, args = event[3], event[4]
                if callee[0] == "fn" and keeps_nothing(callee[1]):
                    args = tuple(arg for arg in args if arg[0] not in ("f", "i", "g"))
                for arg in args:
                    found.exposed.update(_addresses(arg))
        if terminator[0] == "ret" and terminator[1] is not None:
            found.exposed.update(_addresses(terminator[1]))
    return found


class Secluded:
    """Tells which places lie in such a variable, or behind one.

    UNSOUND: an address that is taken in an asm statement only is not seen.
    """

    def __init__(
        self, addresses: Iterable[Addresses], initialisers: Iterable[tuple[Expr, Expr]]
    ) -> None:
        """`addresses`: those of each function."""
        static = Addresses()
        for address, value in initialisers:
            static.store(address, value)
        self._exposed = static.exposed
        self._stored = static.stored
        for found in addresses:
            self._exposed |= found.exposed
            self._stored |= found.stored

    def root(self, place: Expr) -> str | None:
        """The key of the variable that a place lies in or behind, None where there is none such."""
        pointed = False
        while place[0] in ("f", "i", "l"):
            pointed = pointed or place[0] == "l"
            place = place[1]
        if place[0] != "g" or "@" not in place[1] or place[1] in self._exposed:
            return None
        key: str = place[1]
        return None if pointed and key in self._stored else key


def _variable(address: Expr) -> str | None:
    """The variable that an address lies in."""
    while address[0] in ("f", "i"):
        address = address[1]
    return address[1] if address[0] == "g" else None


def _addresses(value: Expr) -> Iterator[str]:
    """The variables of which a value holds an address."""
    head = value[0]
    if head == "g":
        yield value[1]
    elif head == "l":
        if _variable(value[1]) is None:
            yield from _addresses(value[1])
    elif head in ("f", "co"):
        yield from _addresses(value[1])
    elif head in ("i", "o", "o1"):
        for part in value[1:]:
            if type(part) is tuple:
                yield from _addresses(part)
