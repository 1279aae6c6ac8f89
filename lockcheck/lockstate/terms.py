"""Terms: what addresses and values are in the vocabulary of a function's entry.

The solver evaluates the expressions of lockcheck.facts.ir to terms: locals are replaced by what
they hold, so that `head->lock` with `head = &kvm->arch.head` becomes `kvm->arch.head.lock`.
Further roots appear here:

    ("p", i)                the value of parameter i at entry
    ("phi", block, address) what a local holds after paths that disagree have met at `block`
    ("section", name)       a section without a lock object (RCU, interrupts off)
    ("class", lock class)   some lock of a class: the instance could not be followed
    ("ite", test, a, b)     a if the entry value `test` is not zero, else b
    ("ap", function, arg…)  what a function without side effects returns for these arguments
    ("held", lock, mode)    whether a lock is held: in a mode, or in any
A section may say by which others it is implied: ("section", name, (name, …)).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence

from lockcheck.facts.folding import negate, unary
from lockcheck.facts.ir import UNKNOWN, Expr
from lockcheck.lockstate.choices import choice, combine

MAX_SIZE = 48  # nodes of a term that is still followed
FOUND = "(found)"  # ("ap", FOUND, value): what is looked up in a container, none if value is zero
_LEAVES = frozenset({"v", "g", "k", "in", "fn", "c", "u", "p", "phi", "section", "class", "off"})


def field(base: Expr, name: str) -> Expr:
    """`base.name`; a field of the object around that same field is the field again."""
    if base[0] == "co" and base[2] == name:
        inner: Expr = base[1]
        return inner
    return ("f", base, name)


def container(value: Expr, name: str) -> Expr:
    """container_of(value, record, name)."""
    if value[0] == "f" and value[2] == name:
        inner: Expr = value[1]
        return inner
    return ("co", value, name)


def rebuild(term: Expr, leaf: Callable[[Expr], Expr | None]) -> Expr | None:
    """A term with its leaves replaced; None when `leaf` gives None for one of them."""
    head = term[0]
    if head in _LEAVES:
        return leaf(term)
    if head == "f" or head == "co":
        base = rebuild(term[1], leaf)
        if base is None:
            return None
        return field(base, term[2]) if head == "f" else container(base, term[2])
    if head == "l":
        address = rebuild(term[1], leaf)
        return None if address is None else ("l", address)
    if head == "ap":
        args = [rebuild(arg, leaf) for arg in term[2:]]
        return None if None in args else ("ap", term[1], *args)
    if head == "held":
        lock = rebuild(term[1], leaf)
        return None if lock is None else ("held", lock, term[2])
    if head == "i":
        base = rebuild(term[1], leaf)
        if base is None:
            return None
        index = rebuild(term[2], leaf)
        return ("i", base, UNKNOWN if index is None else index)
    if head == "o":
        a, b = rebuild(term[2], leaf), rebuild(term[3], leaf)
        return None if a is None or b is None else combine(term[1], a, b)
    if head == "o1":
        a = rebuild(term[2], leaf)
        if a is None:
            return None
        return negate(a) if term[1] == "!" else unary(term[1], a)
    if head == "ite":
        test, one, other = (rebuild(part, leaf) for part in term[1:])
        return None if test is None or one is None or other is None else choice(test, one, other)
    return None


def substitute(term: Expr, args: Sequence[Expr]) -> Expr | None:
    """A callee's term in the caller's: parameters become arguments.

    None when the term hangs on something that only the callee knows.
    """

    def leaf(term: Expr) -> Expr | None:
        head = term[0]
        if head == "p":
            return args[term[1]] if term[1] < len(args) else None
        if head in ("v", "c", "phi", "u"):
            return None
        return term

    return rebuild(term, leaf)


def occurs(term: Expr, part: Expr) -> bool:
    """Whether a term is, or has, another one as a part."""
    return term == part or any(
        type(inner) is tuple and occurs(inner, part) for inner in term[1:] if inner
    )


def replaced(term: Expr, part: Expr, by: Expr) -> Expr:
    """A term with all occurrences of a part replaced by another term."""
    if term == part:
        return by
    return tuple(
        replaced(inner, part, by) if type(inner) is tuple and inner else inner for inner in term
    )


def root(term: Expr) -> Expr:
    """The leaf that a place or pointer hangs on."""
    while term[0] in ("f", "i", "l", "co"):
        term = term[1]
    return term


def is_entry_term(term: Expr) -> bool:
    """Whether a term says the same at the function's entry as here."""
    head = term[0]
    if head in _LEAVES:
        return head in ("p", "g", "k", "fn", "section", "class")
    if head == "o":
        return is_entry_term(term[2]) and is_entry_term(term[3])
    if head == "o1":
        return is_entry_term(term[2])
    if head == "ite":
        return all(is_entry_term(part) for part in term[1:])
    if head == "ap":
        return all(is_entry_term(arg) for arg in term[2:])
    if head == "i":
        return is_entry_term(term[1])
    return is_entry_term(term[1])


def object_root(term: Expr) -> Expr:
    """The leaf that an address lies in; pointers are not followed."""
    while term[0] in ("f", "i", "co"):
        term = term[1]
    return term


def subterms(term: Expr) -> Iterator[Expr]:
    """A term, and all terms that it is made of."""
    yield term
    for part in term[1:]:
        if type(part) is tuple and part and isinstance(part[0], str):
            yield from subterms(part)


def places_read(term: Expr) -> Iterator[Expr]:
    """The places that a value is read from, in objects of parameters or of what calls return.

    Not those that only lead there: `a->b->c` is read from what `a->b` points to, not from `*a`.
    A call stands for itself as well: its result may be read from what its arguments point to.
    """
    head = term[0]
    if head == "l":
        if object_root(term[1])[0] in ("p", "c"):
            yield term[1]
    elif head == "c":
        yield term
    elif head in ("ap", "o", "o1"):
        for part in term[2:]:
            if part[0] not in ("p", "f", "i", "co"):
                yield from places_read(part)
            elif head == "ap":
                yield part  # else an address, or a number, is computed with
    elif head == "ite":
        for part in term[1:]:
            yield from places_read(part)


def is_small(term: Expr) -> bool:
    """Whether a term has few enough nodes to be carried on; recursion makes terms grow."""
    left = MAX_SIZE
    pending = [term]
    while pending:
        left -= 1
        if left < 0:
            return False
        pending.extend(part for part in pending.pop()[1:] if type(part) is tuple and part)
    return True


def strip_lock(term: Expr, lock_records: Container[str]) -> Expr:
    """The outermost lock object of a term: `l->rlock` inside a spinlock_t is `l`."""
    while term[0] == "f" and term[2].split(".", 1)[0] in lock_records:
        term = term[1]
    return term


def lock_class(term: Expr) -> str | None:
    """The class of a lock: its field in its record, or its variable. None for a bare pointer."""
    while term[0] == "i":
        term = term[1]
    if term[0] == "f":
        name: str = term[2]
        return name
    if term[0] in ("g", "section", "class"):
        return str(term[1])
    if term[0] == "l":
        return lock_class(term[1])
    return None


def surely_different(a: Expr, b: Expr) -> bool:
    """Whether two lock terms name different objects, by the path to them.

    The same path from two parameters, or through two pointers that are fields of one object, as in
    `move->from->lock` and `move->to->lock`.
    IMPRECISE: the caller may have put the same object in both places.
    """
    diverged = False
    while a[0] == b[0] and a[0] in ("f", "l", "co", "i"):
        if a[0] in ("f", "co") and a[2] != b[2]:
            if diverged or a[2].split(".", 1)[0] != b[2].split(".", 1)[0]:
                return False
            diverged = True
        a, b = a[1], b[1]
    if diverged:
        return a == b and a[0] in ("p", "g", "c")
    return a[0] == "p" and b[0] == "p" and a != b


def spell(term: Expr, params: Sequence[str]) -> str:
    """A place as C spells it, e.g. `vcpu->kvm->mmu_lock`."""
    head = term[0]
    if head == "f":
        name = term[2].rsplit(".", 1)[-1]
        base: Expr = term[1]
        if base[0] in ("f", "i", "v", "g"):
            return f"{spell(base, params)}.{name}"
        return f"{spell(base, params)}->{name}"
    if head == "l":
        return spell(term[1], params)
    if head == "i":
        index = term[2]
        inner = spell(index, params) if index[0] in ("k", "p", "v", "l") else "…"
        return f"{spell(term[1], params)}[{inner}]"
    if head == "co":
        record = term[2].split(".", 1)[0]
        return f"((struct {record} *){spell(term[1], params)})"
    if head == "p":
        return params[term[1]] if term[1] < len(params) else f"#{term[1]}"
    if head == "v":
        return str(term[1]).split("#", 1)[0]
    if head == "g":
        return str(term[1]).split("@", 1)[0].rsplit(".", 1)[-1]
    if head == "phi":
        return spell(term[2], params)
    if head == "k":
        return str(term[1])
    if head == "fn":
        return str(term[1]).split("@", 1)[0]
    if head in ("section", "class"):
        return str(term[1])
    if head == "c":
        return "(result of a call)"
    return "…"
