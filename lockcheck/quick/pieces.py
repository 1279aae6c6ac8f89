"""The facts of a unit in pieces, one for each function and variable, and how they come together.

A unit's facts are a sum over its declarations, in their order: where one declaration changes, the
sum of the other pieces and of its new one is what lowering the whole unit would give.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockcheck.facts.ir import Expr, Function, UnitFacts, pack
from lockcheck.lower.decls import Declarations
from lockcheck.lower.nodes import TreeReader
from lockcheck.lower.unit import UnitLowering
from lockcheck.parse.unit import ParsedUnit

Records = Mapping[str, Mapping[str, str]]

UNNAMED = "literal "  # how lower.lvalues names an object without a name: by its place


class NotExact(Exception):
    """The quick way would not give for certain what reading the unit anew gives."""


class Piece(msgspec.Struct, frozen=True, eq=False):
    """What one function or variable adds to the facts of its unit.

    function: None for a variable.
    reached, hidden: as `needs` and `hidden` of UnitFacts, in the order in which they are met.
    initialisers, fixed, records, guarded: as in UnitFacts.
    """

    function: Function | None
    reached: tuple[str, ...]
    hidden: tuple[str, ...]
    initialisers: tuple[tuple[Expr, Expr], ...]
    fixed: tuple[tuple[Expr, Expr], ...]
    records: dict[str, dict[str, str]]
    guarded: dict[tuple[str, str], str]

    def numbers(self) -> tuple[Any, ...]:
        """All of it that could name a line of the file."""
        if self.function is None:
            return (self.initialisers, self.fixed)
        return (self.function.blocks, self.initialisers, self.fixed)

    def rest(self) -> tuple[Any, ...]:
        """All of it that cannot, but for the place of the function."""
        function = self.function
        if function is not None:
            function = msgspec.structs.replace(function, blocks=(), loc=function.own_place)
            rest: tuple[Any, ...] = msgspec.structs.astuple(function)
        else:
            rest = ()
        return (rest, self.reached, self.hidden, self.records, self.guarded)

    def moved(self, lines: int, holes: Collection[tuple[int, ...]]) -> Piece:
        """The piece of the same text so many lines further down.

        holes: the paths in `numbers` of the constants that name a line of the file.
        """
        function = self.function
        if function is None or not lines:
            return self
        changes: dict[str, Any] = {"loc": function.loc + pack(lines, 0)}
        if not holes:
            return msgspec.structs.replace(
                self, function=msgspec.structs.replace(function, **changes)
            )
        blocks, initialisers, fixed = (_filled(part, lines, holes, (number,))
                                       for number, part in enumerate(self.numbers()))  # fmt: skip
        return msgspec.structs.replace(
            self,
            function=msgspec.structs.replace(function, blocks=blocks, **changes),
            initialisers=initialisers,
            fixed=fixed,
        )


def _filled(
    value: Any, lines: int, holes: Collection[tuple[int, ...]], path: tuple[int, ...]
) -> Any:
    if path in holes:
        return value + lines
    if not isinstance(value, tuple):
        return value
    depth = len(path)
    if not any(hole[:depth] == path for hole in holes):
        return value
    return tuple(_filled(v, lines, holes, (*path, n)) for n, v in enumerate(value))


def line_constants(
    here: tuple[Any, ...], below: tuple[Any, ...], lines: int, within: range
) -> tuple[tuple[int, ...], ...]:
    """The paths of the numbers that name a line, from `numbers` at two places of one text.

    lines: how much further down the second one is. within: the lines of the first one.
    Raises NotExact when they differ in anything else.
    """
    found: list[tuple[int, ...]] = []

    def compare(a: Any, b: Any, path: tuple[int, ...]) -> None:
        if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
            for number, (x, y) in enumerate(zip(a, b, strict=True)):
                if x is not y:
                    compare(x, y, (*path, number))
        elif a != b or type(a) is not type(b):
            if type(a) is not int or type(b) is not int or b - a != lines or a not in within:
                raise NotExact(f"{a!r} became {b!r}")
            found.append(path)

    compare(here, below, ())
    return tuple(found)


def may_name_line(numbers: Any, within: range) -> bool:
    """Whether anything in `numbers` could be made from a line of the file."""
    if isinstance(numbers, tuple):
        return any(may_name_line(part, within) for part in numbers)
    if isinstance(numbers, str):
        return numbers.startswith(UNNAMED)
    return type(numbers) is int and numbers in within


class PieceLowering(UnitLowering):
    """Lowers one declaration at a time, with nothing remembered from the ones before."""

    def __init__(
        self, parsed: ParsedUnit, root: Path, reader: TreeReader, opaque: Collection[str]
    ) -> None:
        """The arguments of UnitLowering."""
        super().__init__(parsed, root, reader, set(), opaque)
        self._root = root

    def piece(self, cursor: Any, *, is_function: bool) -> tuple[Piece, list[tuple[str, Any]]]:
        """The piece of a definition, and (key, cursor) of the header functions that it reaches."""
        self._decls = self.declarations()
        self._lowered = set()
        self._queue = []
        self._needs = {}
        self._hidden = {}
        self._initialisers = []
        self._fixed = []
        function = None
        if is_function:
            function = self._function(self._decls.function(cursor))
        else:
            self._static(cursor)
        piece = Piece(
            function,
            tuple(self._needs),
            tuple(self._hidden),
            tuple(self._initialisers),
            tuple(self._fixed),
            self._decls.records,
            self._decls.guarded,
        )
        return piece, [(decl.key, decl.definition) for decl in self._queue]

    def declarations(self) -> Declarations:
        """What declarations say, with nothing remembered."""
        parsed = self._parsed
        return Declarations(self._reader, parsed.handle, parsed.file, self._root, parsed.directory)

    def _declaration(self, name: str) -> Any:
        if not self._top:
            self._top = self._reader.children(self._parsed.cursor)
        return super()._declaration(name)


def compose(
    facts: UnitFacts, own: Iterable[Piece], headers: Mapping[str, Piece], lowered: Collection[str]
) -> UnitFacts:
    """The facts of a unit from its pieces.

    facts: where all else comes from, which no piece has a part in.
    own: the pieces of the unit's own declarations, in their order.
    headers: those of header functions, by key.
    lowered: keys of header functions that other units deliver.
    Raises NotExact when a piece is missing, or pieces do not agree.
    """
    functions: list[Function] = []
    inlines: list[Function] = []
    initialisers: list[tuple[Expr, Expr]] = []
    fixed: list[tuple[Expr, Expr]] = []
    needs: dict[str, None] = {}
    hidden: dict[str, None] = {}
    records: dict[str, dict[str, str]] = {}
    guarded: dict[tuple[str, str], str] = {}
    seen = set(lowered)
    queue: list[str] = []

    def add(piece: Piece, to: list[Function]) -> None:
        if piece.function is not None:
            to.append(piece.function)
        initialisers.extend(piece.initialisers)
        fixed.extend(piece.fixed)
        hidden.update(dict.fromkeys(piece.hidden))
        guarded.update(piece.guarded)
        merge_records(records, piece.records)
        for key in piece.reached:
            needs[key] = None
            if key not in seen:
                seen.add(key)
                queue.append(key)

    for piece in own:
        add(piece, functions)
    while queue:
        key = queue.pop()
        if key not in headers:
            raise NotExact(f"{key} was not reached before")
        add(headers[key], inlines)
    return msgspec.structs.replace(
        facts,
        functions=tuple(functions),
        inlines=tuple(inlines),
        needs=tuple(needs),
        initialisers=tuple(initialisers),
        fixed=tuple(fixed),
        records=records,
        hidden=tuple(hidden),
        guarded=tuple((*place, text) for place, text in guarded.items()),
    )


def merge_records(into: dict[str, dict[str, str]], records: Records) -> None:
    """Add the tables of a piece. Raises NotExact where two records of one name differ."""
    for tag, fields in records.items():
        known = into.setdefault(tag, {})
        for name, kind in fields.items():
            if known.setdefault(name, kind) != kind:
                raise NotExact(f"there are several records {tag or 'without a name'}")


def same_facts(one: UnitFacts, other: UnitFacts) -> bool:
    """Whether two units' facts are equal, in the order of everything too."""
    return _plain(one) == _plain(other)


def _plain(facts: UnitFacts) -> Sequence[Any]:
    found: list[Any] = []
    for value in msgspec.structs.astuple(facts):
        if isinstance(value, tuple):
            value = [msgspec.structs.astuple(x) if isinstance(x, Function) else x for x in value]
        elif isinstance(value, dict):
            value = [(k, list(v.items()) if isinstance(v, dict) else v) for k, v in value.items()]
        found.append(value)
    return found
