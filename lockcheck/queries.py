"""Answers that are kept while a program changes, as far as nothing that they rest on did.

A query is a function whose answers are remembered by their key. While one is worked out,
everything that it asks is written down: other queries, and inputs, which are read from the program
as it is. When the program becomes another one, inputs are read again. What rests on one that has
changed may be stale. It is looked at again before it is used, and worked out anew only if something
that it rests on has another answer now; most often that comes out as it was, and all that rests on
it stays.

That is self-adjusting computation (Acar, Blelloch, Harper, "Adaptive functional programming", POPL
2002) with the early cut-off of build systems (Mokhov, Mitchell, Peyton Jones, "Build systems à la
carte", ICFP 2018), as in salsa.

Functions that call each other need more: an answer about one is asked for while it is worked out,
and what comes of that hangs on where one begins. So they are settled together, always in the same
order, and count as one; see `Settling`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, cast

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Cycle: TypeAlias = tuple[str, ...]  # keys of functions that call each other, sorted
_MISSING = object()
_BUSY = object()


class Node:
    """An answer, or an input.

    on: what it rests on, in the order in which that was asked; used_by: the reverse.
    changed: the version of the program in which it became what it is. checked: the last version in
        which it was known to be right.
    stale: whether something that it rests on may have changed since.
    """

    __slots__ = ("changed", "checked", "key", "of", "on", "stale", "used_by", "value")

    def __init__(self, of: _Refreshing | None, key: Any, value: Any, now: int) -> None:
        self.of = of
        self.key = key
        self.value = value
        self.on: dict[Node, None] = {}
        self.used_by: dict[Node, None] = {}
        self.changed = self.checked = now
        self.stale = False

    def rest_on(self, found: dict[Node, None]) -> None:
        """Rest on these from now on, and on nothing else."""
        for node in self.on:
            if node not in found:
                node.used_by.pop(self, None)
        for node in found:
            node.used_by[self] = None
        self.on = found


class _Refreshing(Protocol):
    def refresh(self, node: Node) -> None: ...

    def forget(self, node: Node) -> None: ...


class Queries:
    """All queries about one program.

    tracking: whether what answers rest on is written down; else no version can follow.
    reading: where that is written down for the answer that is being worked out.
    """

    __slots__ = (
        "_inputs",
        "_kept",
        "_queries",
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
        self._kept: dict[int, dict[Any, Node]] = {}  # answers of queries that are not there yet
        # Function → those that call each other with it; set by whoever knows the calls.
        self.cycles: Mapping[str, Cycle] = {}
        self.cycle_of: Inputs[str, Cycle | None] = Inputs(self, lambda key: self.cycles.get(key))

    def add_inputs(self, inputs: Inputs[Any, Any]) -> None:
        """Have inputs read again with each version."""
        self._inputs.append(inputs)

    def add_query(self, query: Query[Any, Any]) -> None:
        """Have what nobody needs any more dropped, and what was kept known."""
        kept = self._kept.pop(len(self._queries), None)
        if kept is not None:
            query.know(kept)
        self._queries.append(query)

    # -- versions ------------------------------------------------------------------------------

    def next_version(self) -> None:
        """The program has become another one: read all inputs again."""
        self.now += 1
        self.reading = {}
        changed = [node for inputs in self._inputs for node in inputs.read_again()]
        self.spoil(changed)

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
        inputs: list[tuple[list[Any], list[Any]]] = []
        for table in self._inputs:
            known = table.known()
            for node in known:
                numbers[node] = len(numbers)
            inputs.append(([n.key for n in known], [table.token(n.value) for n in known]))
        answers: list[tuple[list[Any], list[Any]]] = []
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

    def take_in(self, kept: Kept) -> None:
        """Know what another run knew; then read all inputs, and find out what has changed.

        Inputs have to be there already; queries may be made later, in the order of that run.
        """
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
        part = _Part(self)
        nodes.extend(Node(part, None, None, 0) for _ in range(first + len(kept.rests) - len(nodes)))
        get = nodes.__getitem__
        for node, packed in zip(nodes[first:], kept.rests, strict=True):
            node.on = dict.fromkeys(map(get, memoryview(packed).cast("I")))
            for used in node.on:
                used.used_by[node] = None
        self.next_version()

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


def _notes(queries: Queries) -> dict[Node, None] | None:
    return {} if queries.tracking else None


class Query(Generic[K, V]):
    """A function with a memory. `make` works an answer out; it may ask other queries."""

    __slots__ = ("_make", "_nodes", "_queries")

    def __init__(self, queries: Queries, make: Callable[[K], V]) -> None:
        self._queries = queries
        self._make = make
        self._nodes: dict[K, Node] = {}
        queries.add_query(self)

    def __call__(self, key: K) -> V:
        """The answer for a key."""
        node = self._nodes.get(key)
        if node is None or node.stale:
            return self._ask(key, node)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def _ask(self, key: K, node: Node | None) -> V:
        node = self._renew(key, node)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def _answer(self, key: K) -> V:
        return self._make(key)

    def _renew(self, key: K, node: Node | None) -> Node:
        queries = self._queries
        if node is not None and queries.still_holds(node):
            return node
        around = queries.reading
        queries.reading = mine = _notes(queries)
        queries.worked_out += 1
        try:
            value = self._answer(key)
        finally:
            queries.reading = around
        if node is None:
            node = self._nodes[key] = Node(self, key, value, queries.now)
        else:
            if node.value is not value and node.value != value:
                node.value = value
                node.changed = queries.now
            node.checked = queries.now
            node.stale = False
        if mine is not None:
            node.rest_on(mine)
        return node

    def refresh(self, node: Node) -> None:
        """Find out whether a stale answer is still what it was."""
        if node.stale:
            self._renew(node.key, node)

    def forget(self, node: Node) -> None:
        """Drop an answer."""
        del self._nodes[node.key]

    def __len__(self) -> int:
        return len(self._nodes)

    def know(self, nodes: dict[K, Node]) -> None:
        """Take in answers of another run."""
        for node in nodes.values():
            node.of = self
        self._nodes = nodes

    def stale(self) -> list[Node]:
        """The answers that may not be right any more."""
        return [node for node in self._nodes.values() if node.stale]

    def known(self) -> Iterable[Node]:
        """The answers that are known."""
        return self._nodes.values()


class Settling:
    """Queries about functions that ask each other, and about functions by which these are called.

    Where functions call each other, all answers about all of them are worked out together.
    """

    __slots__ = ("_now", "_settle", "answers", "count", "is_busy", "provisional", "queries")

    def __init__(self, queries: Queries, settle: Callable[[Cycle], None]) -> None:
        """`settle` asks all that may be asked about such functions, in a fixed order."""
        self.queries = queries
        self._settle = settle
        self.answers = Query(queries, self._work_out)
        self.count = 0  # of the queries that belong here
        self._now: tuple[Cycle, dict[Any, Any]] | None = None
        self.is_busy = False
        self.provisional = 0  # how often something was asked for while it was worked out

    def local(self, function: str) -> dict[Any, Any] | None:
        """The answers so far while functions are settled, if this is one of them."""
        now = self._now
        return now[1] if now is not None and function in now[0] else None

    def _work_out(self, cycle: Cycle) -> dict[Any, Any]:
        with self.about(cycle, {}) as answers:
            self._settle(cycle)
            return answers

    @contextmanager
    def about(self, cycle: Cycle, answers: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """Meanwhile, answers about these functions come from here, and go here."""
        around, self._now = self._now, (cycle, answers)
        self.is_busy = True
        try:
            yield answers
        finally:
            self._now = around
            self.is_busy = around is not None


class FunctionQuery(Query[K, V]):
    """A query about single functions: the key is a function's, or begins with it.

    Where functions call each other, `provisional` is the answer for one that is being worked out.
    """

    __slots__ = ("_number", "_once", "_provisional", "_settling")

    def __init__(
        self,
        settling: Settling,
        make: Callable[[K], V],
        provisional: V | None,
        once: bool = True,
    ) -> None:
        """`once`: whether an answer that rests on provisional ones stays as it came out first."""
        super().__init__(settling.queries, make)
        self._number = settling.count
        settling.count += 1
        self._settling = settling
        self._provisional = provisional
        self._once = once

    def __call__(self, key: K) -> V:
        """The answer for a key."""
        if self._settling.is_busy:
            local = self._settling.local(_function(key))
            if local is not None:
                return self._within(local, key)
        # As in Query, without another call: this is where the time goes.
        node = self._nodes.get(key)
        if node is None or node.stale:
            return self._ask(key, node)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def _answer(self, key: K) -> V:
        cycle = self._queries.cycle_of(_function(key))
        if cycle is None:
            return self._make(key)
        answers = self._settling.answers(cycle)
        if (self._number, key) in answers:
            return cast(V, answers[self._number, key])
        with self._settling.about(cycle, dict(answers)) as local:
            return self._within(local, key)

    def _within(self, local: dict[Any, Any], key: K) -> V:
        """An answer while the functions of a cycle are settled."""
        settling, mine = self._settling, (self._number, key)
        known = local.get(mine, _MISSING)
        if known is _BUSY:
            settling.provisional += 1
            return cast(V, self._provisional)
        if known is not _MISSING:
            return cast(V, known)
        before = settling.provisional
        if self._once:
            local[mine] = _BUSY
        try:
            value = self._make(key)
        except BaseException:
            local.pop(mine, None)
            raise
        if self._once or before == settling.provisional:
            local[mine] = value
        return value


def _function(key: Any) -> Any:
    return key[0] if type(key) is tuple else key


class Kept(NamedTuple):
    """What is known, apart from the queries that know it.

    inputs, answers: keys and tokens, keys and values, for each in the order in which they were
    made. rests: for each answer, and for parts of answers that no query has, the numbers of what it
    rests on, as an array; numbers count inputs first.
    """

    inputs: list[tuple[list[Any], list[Any]]]
    answers: list[tuple[list[Any], list[Any]]]
    rests: list[bytes]


class _Token(NamedTuple):
    """Stands for an input of another run until it is read."""

    token: Any


def _itself(value: Any) -> Any:
    return value


class _Part:
    """Stands for what another run had worked out beside its answers, and this one has not."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def refresh(self, node: Node) -> None:
        if node.stale and not self._queries.still_holds(node):
            node.changed = node.checked = self._queries.now
            node.stale = False

    def forget(self, node: Node) -> None:
        """Nobody has it."""


class Inputs(Generic[K, V]):
    """Something of the program as it is, by key. `read` must not ask queries."""

    __slots__ = ("_is_same", "_nodes", "_queries", "_read", "token")

    def __init__(
        self,
        queries: Queries,
        read: Callable[[K], V],
        is_same: Callable[[V, V], bool] | None = None,
        token: Callable[[V], Any] | None = None,
    ) -> None:
        """`is_same`: whether two versions of an input are alike for all that is asked of them.
        `token`: what stands for one from run to run, equal for those that are alike.
        """
        self.token: Callable[[V], Any] = token or _itself
        self._queries = queries
        self._read = read
        self._is_same = is_same
        self._nodes: dict[K, Node] = {}
        queries.add_inputs(self)

    def __call__(self, key: K) -> V:
        """The input for a key."""
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(None, key, self._read(key), self._queries.now)
        reading = self._queries.reading
        if reading is not None:
            reading[node] = None
        value: V = node.value
        return value

    def read_again(self) -> list[Node]:
        """Read all again; those that have changed."""
        changed: list[Node] = []
        now, is_same = self._queries.now, self._is_same
        for key, node in self._nodes.items():
            value = self._read(key)
            if value is node.value:
                continue
            if type(node.value) is _Token:
                same = node.value.token == self.token(value)
            else:
                same = value == node.value if is_same is None else is_same(value, node.value)
            node.value = value
            if not same:
                node.changed = now
                changed.append(node)
        return changed

    def known(self) -> list[Node]:
        """What was read."""
        return list(self._nodes.values())

    def take_in(self, keys: list[K], tokens: list[Any]) -> list[Node]:
        """Know what another run has read."""
        nodes = [Node(None, k, _Token(t), 0) for k, t in zip(keys, tokens, strict=True)]
        self._nodes = dict(zip(keys, nodes, strict=True))
        return nodes

    def sweep(self) -> None:
        """Forget what nobody rests on."""
        unused = [key for key, node in self._nodes.items() if not node.used_by]
        for key in unused:
            del self._nodes[key]
