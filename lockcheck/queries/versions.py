"""All queries about one program, from version to version, and from run to run."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from lockcheck.queries.carried import Kept, Part, Table
from lockcheck.queries.inputs import Inputs
from lockcheck.queries.node import Node, Refreshing

if TYPE_CHECKING:
    from lockcheck.queries.query import Query

Cycle: TypeAlias = tuple[str, ...]  # keys of functions that call each other, sorted


class Queries:
    """All queries about one program.

    tracking: whether what answers rest on is written down; else no version can follow.
    reading: where that is written down for the answer that is being worked out.
    """

    __slots__ = (
        "_inputs",
        "_kept",
        "_parts",
        "_queries",
        "_unread",
        "cycle_of",
        "cycles",
        "now",
        "reading",
        "tracking",
        "worked_out",
    )

    def __init__(self, tracking: bool = False) -> None:
        self.tracking = tracking
        self.now = 0
        self.reading: dict[Node, None] | None = {} if tracking else None
        self._inputs: list[Inputs[Any, Any]] = []
        self._queries: list[Query[Any, Any]] = []
        self.worked_out = 0  # answers, as opposed to those that were known
        self._parts: list[Node] = []
        # Answers of queries that may not be there yet, by number; and what reads them.
        self._kept: dict[int, dict[Any, Node]] = {}
        self._unread: Callable[[int], Table] | None = None
        # Function → those that call each other with it; set by whoever knows the calls.
        self.cycles: Mapping[str, Cycle] = {}
        self.cycle_of: Inputs[str, Cycle | None] = Inputs(self, lambda key: self.cycles.get(key))

    def add_inputs(self, inputs: Inputs[Any, Any]) -> None:
        """Have inputs read again with each version."""
        self._inputs.append(inputs)

    def add_query(self, query: Query[Any, Any]) -> None:
        """Have what nobody needs any more dropped, and what was kept known."""
        number = len(self._queries)
        kept = self._kept.pop(number, None)
        if kept is not None:
            query.know(kept)
        elif self._unread is not None:
            query.know_unread(partial(self._unread, number))
        self._queries.append(query)

    # -- versions ------------------------------------------------------------------------------

    def next_version(self) -> None:
        """The program has become another one: read all inputs again."""
        self.spoil(self._read_again())

    def _read_again(self) -> list[Node]:
        """The inputs that are others in a new version."""
        self.now += 1
        self.reading = {}
        return [node for inputs in self._inputs for node in inputs.read_again()]

    def spoil(self, changed: Iterable[Node]) -> None:
        """What rests on some nodes, however far, may be stale."""
        work = list(changed)
        while work:
            for user in work.pop().used_by:
                if not user.stale:
                    user.stale = True
                    work.append(user)

    @property
    def size(self) -> int:
        """How many answers are known."""
        return sum(map(len, self._queries))

    def sweep(self) -> None:
        """Forget the answers that went stale and were not asked for again."""
        for query in self._queries:
            for node in query.stale():
                node.rest_on({})
                query.forget(node)
        for inputs in self._inputs:
            inputs.sweep()
        parts, self._parts = self._parts, []
        for node in parts:
            if node.used_by:
                self._parts.append(node)
            else:
                node.rest_on({})
                node.of = None  # whoever has it is told so, and makes a new one

    def part(self, of: Refreshing) -> Node | None:
        """A node for a part of answers that no query has; None where nobody needs any."""
        if not self.tracking:
            return None
        node = Node(of, None, None, self.now)
        self._parts.append(node)
        return node

    def live(self) -> set[Node]:
        """All that the answers given at this version rest on."""
        seen = set(self.reading or ())
        work = list(seen)
        while work:
            for node in work.pop().on:
                if node not in seen:
                    seen.add(node)
                    work.append(node)
        return seen

    # -- from one run to the next ---------------------------------------------------------------

    def keep(self) -> Kept:
        """All that is known, to be taken in by another run that makes the same queries.

        Call it after `sweep`. What inputs were is kept as their tokens.
        """
        numbers: dict[Node, int] = {}
        inputs: list[Table] = []
        for table in self._inputs:
            known = table.known()
            for node in known:
                numbers[node] = len(numbers)
            inputs.append(([n.key for n in known], [table.token(n.value) for n in known]))
        answers: list[Table] = []
        order: list[Node] = []
        for query in self._queries:
            nodes = list(query.known())
            for node in nodes:
                numbers[node] = len(numbers)
            order.extend(nodes)
            answers.append(([n.key for n in nodes], [n.value for n in nodes]))
        for node in order:
            for used in node.on:
                if used not in numbers:  # a part of some answers, that no query has
                    numbers[used] = len(numbers)
                    order.append(used)
        rests = [array("I", map(numbers.__getitem__, node.on)).tobytes() for node in order]
        return Kept(inputs, answers, rests)

    def take_in_unread(self, read: Callable[[int], Table]) -> None:
        """Know what another run knew of the very same program, for as long as that is not replaced.

        read: gives the answers of a query by its number, in the order of that run; it is asked when
            one of them is.
        What rests on what is not known, so no version may follow, and nothing of it can be kept.
        """
        for number, query in enumerate(self._queries):
            query.know_unread(partial(read, number))
        self._unread = read

    def take_in(self, kept: Kept) -> None:
        """Know what another run knew; then read all inputs, and find out what has changed.

        Inputs have to be there already; queries may be made later, in the order of that run.
        """
        if len(kept.inputs) != len(self._inputs):
            return  # of other queries
        nodes: list[Node] = []
        for table, (keys, tokens) in zip(self._inputs, kept.inputs, strict=True):
            nodes.extend(table.take_in(keys, tokens))
        first = len(nodes)
        for number, (keys, values) in enumerate(kept.answers):
            query = self._queries[number] if number < len(self._queries) else None
            made = [Node(query, k, v, 0) for k, v in zip(keys, values, strict=True)]
            nodes.extend(made)
            known = dict(zip(keys, made, strict=True))
            if query is None:
                self._kept[number] = known
            else:
                query.know(known)
        changed = self._read_again()
        part = Part(self)
        nodes.extend(Node(part, None, None, 0) for _ in range(first + len(kept.rests) - len(nodes)))
        get = nodes.__getitem__
        for node, packed in zip(nodes[first:], kept.rests, strict=True):
            node.on = dict.fromkeys(map(get, memoryview(packed).cast("I")))
            for used in node.on:
                used.used_by[node] = None
        self.spoil(changed)

    def forget_unclaimed(self) -> None:
        """Queries that are made from now on are none of those whose answers were taken in."""
        self._kept = {}
        self._unread = None

    def still_holds(self, node: Node) -> bool:
        """Whether all that a stale answer rests on has come out as it was."""
        for used in node.on:
            if used.stale:
                if used.of is None:
                    return False
                used.of.refresh(used)
            if used.changed > node.checked:
                return False
        node.stale = False
        node.checked = self.now
        return True

    @contextmanager
    def adding_to(self, node: Node) -> Iterator[None]:
        """Meanwhile, what is asked is written down as what `node` rests on besides."""
        around, known = self.reading, len(node.on)
        self.reading = node.on
        try:
            yield
        finally:
            self.reading = around
            for added in islice(node.on, known, None):
                added.used_by[node] = None
