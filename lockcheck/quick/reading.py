"""What is read of units that are being edited, in a process that keeps their syntax trees."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Collection, Mapping
from ctypes import c_uint
from pathlib import Path
from typing import Any, NamedTuple

from lockcheck.facts.inputs import UnitInputs
from lockcheck.facts.ir import UnitFacts, pack, unpack
from lockcheck.lower.decls import Declarations
from lockcheck.lower.inputs import InputFinder
from lockcheck.lower.nodes import Node, TreeReader
from lockcheck.lower.unit import UnitLowering
from lockcheck.parse import kinds as K
from lockcheck.parse import libclang
from lockcheck.parse.files import ReplacedFiles
from lockcheck.parse.libclang import text_of
from lockcheck.parse.unit import ParsedUnit
from lockcheck.quick.cut import HEAD_LINES, CutLowering, CutUnit, cut_index, cut_library
from lockcheck.quick.pieces import (
    NotExact,
    Piece,
    PieceLowering,
    compose,
    line_constants,
    may_name_line,
    same_facts,
)
from lockcheck.quick.places import Place, is_editable

Holes = tuple[tuple[int, ...], ...]
_AFTER = "lockcheck_after_"
_STORAGE_EXTERN = 2


class Command(NamedTuple):
    """How a unit is compiled: its file relative to the tree, where, and with which arguments."""

    file: str
    directory: str
    arguments: tuple[str, ...]


class Own(NamedTuple):
    """One definition of the unit itself.

    holes: the paths of the constants in the piece that name lines; None when they are not known.
    counted: how often the preprocessor's counter was asked up to its end; -1: not known.
    """

    piece: Piece
    place: Place
    holes: Holes | None
    counted: int


class Prepared(NamedTuple):
    """A unit, ready to be edited.

    text: of the file.
    facts: of that text, as if no other unit delivered header functions.
    headers: the pieces of header functions, by key.
    inputs: what all of that depends on.
    first: the index of the definition before which the text is cut. What is edited comes after it.
    """

    text: bytes
    facts: UnitFacts
    own: list[Own]
    headers: dict[str, Piece]
    inputs: UnitInputs
    first: int


class Question(NamedTuple):
    """The text from the cut on, in which one function is to be read.

    line: the line on which it begins. name: line and column of the function's name. key: its key.
    near: whether the cut is that of `Reader.cut_near`.
    """

    line: int
    rest: bytes
    name: tuple[int, int]
    key: str
    near: bool


class _Unit:
    """A unit as it was prepared, and its syntax trees."""

    def __init__(self, command: Command, contents: Mapping[str, bytes | None]) -> None:
        self.command = command
        self.files = ReplacedFiles(contents)
        self.first: CutUnit | None = None
        self.near: CutUnit | None = None

    def close(self) -> None:
        for cut in (self.first, self.near):
            if cut is not None:
                cut.close()
        self.files.close()


class Reader:
    """Prepares units and reads their functions. One unit is kept at a time."""

    def __init__(self, root: Path, opaque: Collection[str]) -> None:
        """opaque: as for UnitLowering."""
        self._root = root
        self._opaque = frozenset(opaque)
        self._index = cut_index()
        self._reader = TreeReader()
        self._unit: _Unit | None = None

    def prepare(self, command: Command, contents: Mapping[str, bytes | None]) -> Prepared:
        """Read a unit, with `contents` in place of files, by absolute path.

        Raises NotExact where parts of it read alone would not be what they are in the whole.
        """
        self.close()
        unit = _Unit(command, contents)
        try:
            prepared = self._prepare(unit)
        except BaseException:
            unit.close()
            raise
        self._unit = unit
        return prepared

    def close(self) -> None:
        """Forget the unit."""
        if self._unit is not None:
            self._unit.close()
            self._unit = None

    def _prepare(self, unit: _Unit) -> Prepared:
        command = unit.command
        directory, arguments = Path(command.directory), (*command.arguments, *unit.files.arguments)
        started = time.time_ns()
        with ParsedUnit(
            self._index, self._root, command.file, directory, arguments, unit.files.unsaved
        ) as parsed:
            if parsed.errors:
                raise NotExact("it has errors")
            text = self._text(parsed)
            pieces, headers = self._pieces(parsed, text)
            facts = UnitLowering(parsed, self._root, self._reader, set(), self._opaque).lower()
            inputs = InputFinder().find(parsed, directory, arguments, started)
        if inputs is None:
            raise NotExact("what it depends on is not certain")
        if not same_facts(facts, compose(facts, [piece for piece, _ in pieces], headers, ())):
            raise NotExact("its parts are not the whole")
        first = next((n for n, (_, place) in enumerate(pieces) if _is_cuttable(text, place)), None)
        if first is None:
            raise NotExact("it has no function that could be edited")
        unit.first = self._cut(unit, text, pieces[first][1])
        own = self._compared(unit.first, text, pieces, first)
        return Prepared(text, facts, own, headers, inputs, first)

    def _text(self, parsed: ParsedUnit) -> bytes:
        name = str(self._root / parsed.file)
        for path, content in parsed.contents():
            if path == name:
                return content
        raise NotExact("the file itself was not found")

    def _pieces(
        self, parsed: ParsedUnit, text: bytes
    ) -> tuple[list[tuple[Piece, Place]], dict[str, Piece]]:
        lowering = PieceLowering(parsed, self._root, self._reader, self._opaque)
        decls = lowering.declarations()
        found: list[tuple[Piece, Place]] = []
        queue: list[tuple[str, Any]] = []
        for cursor in self._definitions(parsed, decls):
            is_function = cursor.kind == K.FUNCTION_DECL
            piece, reached = lowering.piece(cursor, is_function=is_function)
            queue += reached
            found.append((piece, _place(parsed, self._reader, decls, cursor, text)))
        headers: dict[str, Piece] = {}
        while queue:
            key, cursor = queue.pop()
            if key not in headers:
                headers[key], reached = lowering.piece(cursor, is_function=True)
                queue += reached
        return found, headers

    def _definitions(self, parsed: ParsedUnit, decls: Declarations) -> list[Any]:
        """The cursors that UnitLowering makes facts of."""
        found = []
        for cursor in self._reader.children(parsed.cursor):
            if cursor.kind not in (K.FUNCTION_DECL, K.VAR_DECL) or not decls.is_own(cursor):
                continue
            if cursor.kind == K.FUNCTION_DECL:
                definition = decls.function(cursor).definition
                if definition is None or definition.d0 != cursor.d0:
                    continue
            found.append(cursor)
        return found

    def _cut(self, unit: _Unit, text: bytes, place: Place) -> CutUnit:
        begin = line_start(text, place.start)
        return CutUnit(
            self._index,
            self._root,
            unit.command.file,
            Path(unit.command.directory),
            (*unit.command.arguments, *unit.files.arguments),
            unit.files.unsaved,
            text[:begin],
        )

    def _compared(
        self, cut: CutUnit, text: bytes, pieces: list[tuple[Piece, Place]], first: int
    ) -> list[Own]:
        """The pieces, with what reading them once more behind the cut shows of them."""
        begin = line_start(text, pieces[first][1].start)
        line = text.count(b"\n", 0, begin) + 1
        counts = self._counts(cut, text, begin, [place for _, place in pieces])
        cut.parse(line + 1, text[begin:])
        lowering = CutLowering(cut, self._root, self._reader, self._opaque)
        again: dict[str, Piece] = {}
        decls = lowering.declarations()
        for cursor in self._definitions(cut, decls):
            if cursor.kind == K.FUNCTION_DECL and unpack(decls.location(cursor))[0] > line:
                with contextlib.suppress(NotExact):
                    piece, _ = lowering.piece(cursor, is_function=True)
                    again[piece.function.key if piece.function else ""] = piece
        own: list[Own] = []
        for number, (piece, place) in enumerate(pieces):
            holes: Holes | None = None
            within = range(place.line, text.count(b"\n", 0, place.end) + 2)
            other = again.get(piece.function.key) if piece.function else None
            if other is not None and number >= first:
                with contextlib.suppress(NotExact):
                    if other.rest() == piece.rest():
                        holes = line_constants(piece.numbers(), other.numbers(), 1, within)
            elif not may_name_line(piece.numbers(), within):
                holes = ()
            own.append(Own(piece, place, holes, counts.get(number, -1)))
        return own

    def _counts(self, cut: CutUnit, text: bytes, begin: int, places: list[Place]) -> dict[int, int]:
        """How often the counter was asked up to the end of each function."""
        parts: list[bytes] = []
        asked: list[int] = []
        line, at = text.count(b"\n", 0, begin) + 1, begin
        for number, place in enumerate(places):
            if place.body >= at:
                parts += (text[at : place.end], _mark(number))
                asked.append(number)
                at = place.end
        cut.parse(line, b"".join((*parts, text[at:])))
        lib = libclang.load()
        found: dict[int, int] = {}
        for cursor in self._reader.children(cut.cursor):
            if cursor.kind == K.ENUM_DECL:
                for child in self._reader.children(cursor):
                    name = text_of(lib.clang_getCursorSpelling(child))
                    if not name.startswith(_AFTER):
                        break
                    number = int(name.removeprefix(_AFTER))
                    before = len(found)  # each mark asks as well
                    found[number] = lib.clang_getEnumConstantDeclValue(child) - before
        return found if list(found) == asked else {}

    def cut_near(self, text: bytes, place: Place) -> bool:
        """Cut the unit, whose text is `text` now, before a function, beside the first cut."""
        unit = self._unit
        if unit is None:
            return False
        if unit.near is not None:
            unit.near.close()
            unit.near = None
        unit.near = self._cut(unit, text, place)
        return True

    def function(self, question: Question) -> tuple[Piece, int]:
        """The piece of a function, and how often the counter was asked up to its end.

        The text has `mark` after the function. Raises NotExact.
        """
        unit = self._unit
        cut = None if unit is None else unit.near if question.near else unit.first
        if cut is None:
            raise NotExact("it is not prepared")
        cut.parse(question.line, question.rest)
        cursor = cut.at(*question.name)
        lowering = CutLowering(cut, self._root, self._reader, self._opaque)
        if cursor.kind != K.FUNCTION_DECL:
            raise NotExact("the function was not found")
        decls = lowering.declarations()
        decl = decls.function(cursor)
        if decl.key != question.key or decl.definition is None or decl.definition.d0 != cursor.d0:
            raise NotExact("the function was not found")
        name = pack(*question.name)
        if any(_reaches_out(decls, name, child) for child in self._reader.read(cursor).children):
            raise NotExact("it declares what is outside of it")
        piece, _ = lowering.piece(cursor, is_function=True)
        at = question.rest.index(_mark()) + len(b" enum { ")
        line = question.line + question.rest.count(b"\n", 0, at)
        column = at - line_start(question.rest, at) + 1
        count = cut.at(line, column)
        if count.kind != K.ENUM_CONSTANT_DECL:
            raise NotExact("the end of the function was not found")
        return piece, libclang.load().clang_getEnumConstantDeclValue(count)


def _mark(number: int = 0) -> bytes:
    return b" enum { %s%d = __COUNTER__ };" % (_AFTER.encode(), number)


MARK = _mark()


def line_start(text: bytes, offset: int) -> int:
    """The offset of the beginning of a line."""
    return text.rfind(b"\n", 0, offset) + 1


def _reaches_out(decls: Declarations, name: int, node: Node) -> bool:
    """Whether the function named at `name` declares something outside of it, in so many words or
    by using it."""
    lib = libclang.load()
    if node.kind == K.FUNCTION_DECL:
        return True
    if node.kind == K.VAR_DECL:
        if lib.clang_Cursor_getStorageClass(node.cursor) == _STORAGE_EXTERN:
            return True
    elif node.kind == K.DECL_REF_EXPR:
        used = lib.clang_getCursorReferenced(node.cursor)
        if used.kind == K.FUNCTION_DECL and decls.is_own(used) and decls.location(used) > name:
            return True
    return any(_reaches_out(decls, name, child) for child in node.children)


def _is_cuttable(text: bytes, place: Place) -> bool:
    """Whether the text can be cut before a definition."""
    return place.body >= 0 and text.count(b"\n", 0, place.start) >= HEAD_LINES


def _place(
    parsed: ParsedUnit, reader: TreeReader, decls: Declarations, cursor: Any, text: bytes
) -> Place:
    """Where a definition stands; without a body where that is not plain text of the file itself."""
    if decls.file_of(cursor) != parsed.file:
        raise NotExact("it includes another source file")
    start, end = _extent(cursor)
    line, _ = unpack(decls.location(cursor))
    for child in reader.children(cursor):
        if child.kind == K.COMPOUND_STMT:
            body, stop = _extent(child)
            is_plain = start < body and stop == end and is_editable(text[body:stop])
            return Place(start, body if is_plain else -1, end, line)
    return Place(start, -1, end, line)


def _extent(cursor: Any) -> tuple[int, int]:
    """The offsets of the begin and the end of a cursor's text, where macros are used."""
    lib = cut_library()
    extent = lib.clang_getCursorExtent(cursor)
    offset = c_uint()
    found = []
    for place in (lib.clang_getRangeStart(extent), lib.clang_getRangeEnd(extent)):
        lib.clang_getExpansionLocation(place, None, None, None, ctypes.byref(offset))
        found.append(offset.value)
    return found[0], found[1]
