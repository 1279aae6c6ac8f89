"""Units that are being edited: their facts after each edit, where that is certain, in little time.

The process that reads them is another one: what libclang does with half a function must not end
this one, and preparing takes seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from lockcheck.child import end_with_parent
from lockcheck.facts.inputs import SourceView, UnitInputs, digest
from lockcheck.facts.ir import UnitFacts, unpack
from lockcheck.quick.pieces import (
    NotExact,
    Piece,
    compose,
    line_constants,
    may_name_line,
    merge_records,
)
from lockcheck.quick.places import Place, compare, without_bodies
from lockcheck.quick.reading import (
    MARK,
    Command,
    Holes,
    Own,
    Prepared,
    Question,
    Reader,
    line_start,
)

_ANSWER_SECONDS = 20  # a function that takes longer is read with the whole unit
_IDLE_SECONDS = 1.0  # how long nothing must have been asked before a unit is prepared
_MOST_EDITED = 4
_OTHER_FILES = 1000
_NICE = 5  # preparing gives way to whatever somebody waits for


class Quick(NamedTuple):
    """The facts of a unit after an edit, and what they depend on."""

    facts: UnitFacts
    inputs: UnitInputs


class _Edited:
    """A unit as of the last edit that was read."""

    def __init__(self, command: Command, root: Path, prepared: Prepared) -> None:
        self.command = command
        self.file = str(root / command.file)
        self.text = prepared.text
        self.facts = prepared.facts
        self.own = prepared.own
        self.headers = prepared.headers
        self.inputs = prepared.inputs
        self.first = prepared.first
        self.near: int | None = None  # the index of the definition before the second cut
        self.records: dict[str, dict[str, str]] = {}
        self.guarded: dict[tuple[str, str], str] = {}
        for piece in (*(own.piece for own in self.own), *self.headers.values()):
            merge_records(self.records, piece.records)
            self.guarded.update(piece.guarded)

    def inputs_of(self, text: bytes) -> UnitInputs:
        """What facts of another text depend on: it includes the same files."""
        of = digest(text)
        files = tuple((path, of if path == self.file else old) for path, old in self.inputs.files)
        return self.inputs._replace(files=files)


class Editor:
    """Reads units that are edited. It knows one at a time, the last one that it was told of."""

    def __init__(self, root: Path, opaque: Collection[str]) -> None:
        """opaque: as for UnitLowering."""
        self._root = root
        self._opaque = frozenset(opaque)
        self._process: Any = None
        self._connection: Connection | None = None
        self._awaited: Command | None = None  # what is being prepared
        self._refused: tuple[str, bytes] | None = None  # a file and its text that cannot be
        self._nearing: int | None = None  # where the second cut is being made
        self._edited: _Edited | None = None

    # -- the other process ---------------------------------------------------------------------

    def close(self) -> None:
        """End the process; nothing is prepared then."""
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
        self._connection = self._process = None
        self._awaited = self._edited = self._nearing = None

    def _is_there(self) -> bool:
        try:
            return self._connection is not None and self._connection.poll()
        except OSError:
            return False

    def _start(self) -> Connection:
        context = get_context("fork")
        here, there = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(os.getpid(), there, here, self._root, self._opaque),
            daemon=True,
        )
        self._process.start()
        there.close()
        self._connection = here
        return here

    def _send(self, message: Any) -> None:
        connection = self._connection or self._start()
        try:
            connection.send(message)
        except OSError:
            self.close()

    def _answer(self, seconds: float) -> Any:
        """The next answer. Raises NotExact when it says so, or there is none."""
        if self._connection is None:
            raise NotExact("nothing was asked")
        try:
            if not self._connection.poll(seconds):
                raise EOFError
            value = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            raise NotExact("the process that reads edits gave no answer") from None
        if isinstance(value, str):
            raise NotExact(value)
        return value

    # -- units ---------------------------------------------------------------------------------

    def prepare(self, command: Command, text: bytes, contents: Mapping[str, bytes | None]) -> None:
        """Get a unit ready, whose file is `text` now; returns at once.

        contents: of all files that are not as on disk, by absolute path. Nothing is done when the
        unit is ready, or when it is about to be: edits that come meanwhile count from that text.
        """
        file = str(self._root / command.file)
        edited = self._take()
        if self._awaited is not None and self._awaited == command:
            return
        is_ready = edited is not None and (edited.command, edited.text) == (command, text)
        if self._awaited is None and (is_ready or self._refused == (file, text)):
            return
        if self._awaited is not None or self._nearing is not None:
            self.close()  # what it answers next would be about something else
        self._edited = None
        self._refused = (file, text)  # until it is taken
        self._send((Reader.prepare.__name__, command, dict(contents)))
        self._awaited = None if self._connection is None else command

    def is_ready(self, seconds: float = 0) -> bool:
        """Whether a unit is ready for edits; waits so long while one is being prepared."""
        if self._connection is not None and self._awaited is not None:
            self._connection.poll(seconds)
        return self._take() is not None

    def _take(self) -> _Edited | None:
        """The unit that is ready."""
        if self._awaited is not None and self._is_there():
            command, self._awaited = self._awaited, None
            with contextlib.suppress(NotExact):
                prepared = self._answer(0)
                if not isinstance(prepared, Prepared):
                    raise NotExact("it gave way to something else")
                self._edited = _Edited(command, self._root, prepared)
                self._refused = None
        return self._edited

    def read(
        self, command: Command, text: bytes, view: SourceView, delivered: Collection[str]
    ) -> Quick | None:
        """The facts of a unit after an edit; None where the whole unit has to be read.

        text: what its file holds now. view: all files as they are now.
        delivered: keys of header functions that other units deliver.
        """
        edited = self._take()
        if edited is None or edited.command != command:
            return None
        inputs = edited.inputs_of(text)
        if not view.matches(inputs):
            return None
        try:
            own = self._after(edited, text)
            facts = compose(edited.facts, [one.piece for one in own], edited.headers, delivered)
        except NotExact:
            return None
        edited.text, edited.own = text, own
        return Quick(facts, inputs)

    def _after(self, edited: _Edited, text: bytes) -> list[Own]:
        """The definitions of another text of the unit."""
        change = compare(edited.text, text, [one.place for one in edited.own])
        own = [_moved(one, place) for one, place in zip(edited.own, change.places, strict=True)]
        if not change.edited:
            return own
        if any(own[index].holes is None or own[index].counted < 0 for index in change.edited):
            raise NotExact("a function was not the same when it was read alone")
        if len(change.edited) > _MOST_EDITED:
            raise NotExact("to read the unit takes less time")
        self._take_near(edited)
        first, last = change.edited[0], change.edited[-1]
        if edited.near is not None and first < edited.near:
            edited.near = None  # it holds a body that was edited
        for index in change.edited:
            own[index] = self._function(edited, text, own, index)
        if first == last and first not in (edited.near, edited.first):
            self._send((Reader.cut_near.__name__, text, own[first].place))
            self._nearing = first
            edited.near = None
        return own

    def _take_near(self, edited: _Edited) -> None:
        """Whether the second cut was made."""
        if self._nearing is None or edited is not self._edited:
            return
        # It waits until nothing is asked, and then takes less time than reading the whole unit.
        self._send(None)
        index, self._nearing = self._nearing, None
        if self._answer(_ANSWER_SECONDS):
            edited.near = index

    def _function(self, edited: _Edited, text: bytes, own: list[Own], index: int) -> Own:
        """A definition whose body was edited, read anew."""
        one = own[index]
        near = edited.near is not None
        cut = edited.first if edited.near is None else edited.near
        begin = line_start(text, own[cut].place.start)
        line = text.count(b"\n", 0, begin) + 1
        place = one.place
        later = without_bodies(text, place.end, [other.place for other in own[index + 1 :]])
        rest = text[begin : place.end] + MARK + later
        function = one.piece.function
        assert function is not None
        column = unpack(function.loc)[1]
        question = Question(line, rest, (place.line, column), function.key, near)
        piece = self._asked(edited, question, one)
        within = range(place.line, text.count(b"\n", 0, place.end) + 2)
        holes: Holes = ()
        if may_name_line(piece.numbers(), within):
            below = question._replace(line=line + 1, name=(place.line + 1, column))
            other = self._asked(edited, below, one)
            holes = line_constants(piece.numbers(), other.numbers(), 1, within)
        return Own(piece, place, holes, one.counted)

    def _asked(self, edited: _Edited, question: Question, one: Own) -> Piece:
        self._send((Reader.function.__name__, question))
        piece, count = self._answer(_ANSWER_SECONDS)
        if count != one.counted:
            raise NotExact("what comes later would get other numbers from the counter")
        records = {}
        for tag, fields in piece.records.items():
            records[tag] = edited.records.get(tag, {})
            if records[tag] != fields:
                raise NotExact(f"{tag} was not used before")
        for field, guard in piece.guarded.items():
            if edited.guarded.get(field) != guard:
                raise NotExact(f"{field} was not used before")
        return Piece(
            piece.function, piece.reached, piece.hidden, piece.initialisers, piece.fixed,
            records, piece.guarded,
        )  # fmt: skip


def _moved(one: Own, place: Place) -> Own:
    lines = place.line - one.place.line
    if not lines:
        return one._replace(place=place)
    if one.holes is None:
        raise NotExact("it may name the line on which it stands")
    return one._replace(place=place, piece=one.piece.moved(lines, one.holes))


def _serve(
    parent: int, connection: Connection, other: Connection, root: Path, opaque: frozenset[str]
) -> None:
    """The process that reads: answers in the order of the questions; a text says why not."""
    # A parent that dies is not to seem alive because this process has its files, too.
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, other.fileno() + _OTHER_FILES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["LIBCLANG_DISABLE_CRASH_RECOVERY"] = "1"
    os.nice(_NICE)
    end_with_parent(parent)
    reader = Reader(root, opaque)
    with contextlib.suppress(EOFError, OSError):
        while True:
            message = connection.recv()
            if message is None:
                continue
            name, *arguments = message
            if name != Reader.function.__name__ and connection.poll(_IDLE_SECONDS):
                connection.send(False)
                continue
            try:
                answer = getattr(reader, name)(*arguments)
            except NotExact as error:
                answer = str(error)
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            connection.send(answer)
    os._exit(0)
