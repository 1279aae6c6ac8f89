"""Models of what primitives mean for the order of locks; see data/ordering.yaml."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from lockcheck.facts.ir import Expr
from lockcheck.yamlfile import Node

ORDERING_KEYS = frozenset(
    {"ordering", "runs-through", "order-off", "order-not-below", "interrupts"}
)
_KEYS = frozenset(
    {"names", "attempt", "backs-off", "subclass", "waits-for", "runs", "sets", "last",
     "reclasses", "makes", "queues", "initialises"}
)  # fmt: skip


class Readers(msgspec.Struct, frozen=True):
    """Readers that a grace period waits for: of a section, or of the lock in an argument."""

    section: Expr | None
    argument: int | None


class Runs(msgspec.Struct, frozen=True):
    """The object whose function is waited for: in an argument, or in a member of what it is.

    stored: it is known by where the pointer to it is stored.
    """

    argument: int
    inside: str = ""
    stored: bool = False


class Queues(msgspec.Struct, frozen=True):
    """A queue, and the object that is put into it: arguments; `inside` as for Runs."""

    queue: int
    argument: int
    inside: str = ""


class Ordering(msgspec.Struct, frozen=True):
    """What one primitive means for the order of locks; the keys are those of the data file."""

    attempt: bool = False
    backs_off: bool = False
    subclass: int | None = None
    waits_for: tuple[Readers, ...] = ()
    runs: Runs | None = None
    sets: tuple[int, int] | None = None
    makes: tuple[int, int] | None = None
    queues: Queues | None = None
    last: bool = False
    reclasses: int | None = None
    initialises: int | None = None


class InterruptContext(msgspec.Struct, frozen=True):
    """A kind of interrupt, in words; `off`: the sections in which none of them comes."""

    what: str
    off: frozenset[str]


class OrderModels(msgspec.Struct, frozen=True):
    """All of them. `functions` is keyed by C name.

    runs_through: members that hold the function of an object such as a work.
    off: members that are stored to where lockdep is turned off.
    not_below: patterns of functions that run when the machine goes down.
    interrupts: kinds of interrupts, by the name that entry points have for them.
    """

    functions: Mapping[str, Ordering] = {}
    runs_through: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    not_below: tuple[str, ...] = ()
    interrupts: Mapping[str, InterruptContext] = {}


def read_ordering(top: Node, known: OrderModels) -> OrderModels:
    """The models of a file beside those that are known. Raises LockcheckError with its line."""
    functions = dict(known.functions)
    for entry in top.items("ordering"):
        entry.only(_KEYS)
        model = _ordering(entry)
        for name in entry.strings("names"):
            if name in functions:
                raise entry.error(f"the order of {name} is told already")
            functions[name] = model
    interrupts = dict(known.interrupts)
    for name, node in top.mapping("interrupts").items():
        node.only({"what", "off"})
        interrupts[name] = InterruptContext(
            node.required("what").string(), frozenset(node.strings("off"))
        )
    return OrderModels(
        functions,
        (*known.runs_through, *top.strings("runs-through")),
        (*known.off, *top.strings("order-off")),
        (*known.not_below, *top.strings("order-not-below")),
        interrupts,
    )


def _ordering(entry: Node) -> Ordering:
    sets, makes = entry.get("sets"), entry.get("makes")
    return Ordering(
        attempt=entry.get("attempt") is not None,
        backs_off=entry.get("backs-off") is not None,
        subclass=_number(entry, "subclass"),
        waits_for=tuple(_readers(item) for item in entry.items("waits-for")),
        runs=_runs(entry.get("runs")),
        sets=None
        if sets is None
        else (sets.required("argument").integer(), sets.required("function").integer()),
        makes=None
        if makes is None
        else (makes.required("function").integer(), makes.required("given").integer()),
        queues=_queues(entry.get("queues")),
        last=entry.get("last") is not None,
        reclasses=_number(entry, "reclasses"),
        initialises=_number(entry, "initialises"),
    )


def _runs(node: Node | None) -> Runs | None:
    if node is None:
        return None
    node.only({"argument", "inside", "stored"})
    return Runs(node.required("argument").integer(), _inside(node), node.get("stored") is not None)


def _queues(node: Node | None) -> Queues | None:
    if node is None:
        return None
    node.only({"queue", "argument", "inside"})
    return Queues(
        node.required("queue").integer(), node.required("argument").integer(), _inside(node)
    )


def _inside(node: Node) -> str:
    inside = node.get("inside")
    return "" if inside is None else inside.string()


def _number(entry: Node, key: str) -> int | None:
    node = entry.get(key)
    return None if node is None else node.integer()


def _readers(item: Node) -> Readers:
    item.only({"section", "argument"})
    section = item.get("section")
    if section is not None:
        return Readers(("section", section.string()), None)
    return Readers(None, item.required("argument").integer())
