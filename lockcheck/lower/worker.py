"""Parsing and lowering units, one process per core."""

from __future__ import annotations

import gc
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lockcheck.child import end_with_parent
from lockcheck.facts.inputs import UnitInputs
from lockcheck.facts.ir import UnitFacts
from lockcheck.lower.inputs import InputFinder
from lockcheck.lower.nodes import TreeReader
from lockcheck.lower.unit import UnitLowering
from lockcheck.parse import libclang
from lockcheck.parse.files import ReplacedFiles
from lockcheck.parse.unit import ParsedUnit, ParseFailure

if TYPE_CHECKING:
    from pebble import ProcessExpired, ProcessPool

UNIT_SECONDS = 300  # a unit that takes longer hangs
_LOOK_SECONDS = 0.02  # the pool looks for results and for dead workers that often
_MORE_SEARCH_PATHS = ("CPATH", "C_INCLUDE_PATH", "SDKROOT")

_COMPILES = "check that the tree is prepared (make prepare) and that the file compiles"
_REPORT = "please report this with the file; the other units were read"


class UnitJob(NamedTuple):
    """One unit to read: its file relative to the tree, and its cleaned compile command."""

    file: str
    directory: str
    arguments: tuple[str, ...]


class UnitResult(NamedTuple):
    """Facts, or why there are none and what to do about that.

    inputs: what the facts depend on; None when that is not certain.
    """

    job: UnitJob
    facts: UnitFacts | None
    failure: str = ""
    remedy: str = ""
    inputs: UnitInputs | None = None


class PlacedJob(NamedTuple):
    """A unit to read, and the number of the overlay under which it is read."""

    job: UnitJob
    overlay: int


class PlacedResult(NamedTuple):
    """What came of a unit under the overlay of that number."""

    result: UnitResult
    overlay: int


class _Setup(NamedTuple):
    root: Path
    overlays: Sequence[Mapping[str, bytes | None]]
    opaque: frozenset[str]
    lowered: frozenset[str]
    parent: int


class _Outcome(NamedTuple):
    facts: UnitFacts
    inputs: UnitInputs | None


class _Worker:
    """State of one worker process: libclang's index, and what it knows under one overlay.

    lowered: header functions that are delivered already under that overlay.
    """

    def __init__(self, setup: _Setup) -> None:
        self.setup = setup
        self.index = libclang.load().clang_createIndex(0, 0)
        self.reader = TreeReader()
        self._begin(0)

    def _begin(self, overlay: int) -> None:
        self.overlay = overlay
        self.files = ReplacedFiles(self.setup.overlays[overlay])
        self.lowered = set(self.setup.lowered)
        self.inputs = InputFinder()

    def run(self, job: UnitJob, overlay: int) -> _Outcome:
        if overlay != self.overlay:
            self.files.close()
            self._begin(overlay)
        first = self._read(job, job.arguments)
        if not first.facts.errors:
            return first
        # A condition may name what this configuration does not have: it is compiled nowhere else.
        plain = self._read(job, (*job.arguments, "-DLOCKCHECK_PLAIN"))
        if plain.facts.errors:
            return first
        # Without the errors of the first attempt there would have been no second one.
        return _Outcome(
            msgspec.structs.replace(plain.facts, plain=True), _both(first.inputs, plain.inputs)
        )

    def _read(self, job: UnitJob, arguments: Sequence[str]) -> _Outcome:
        setup = self.setup
        directory = Path(job.directory)
        before = set(self.lowered)
        started = time.time_ns()
        arguments = (*arguments, *self.files.arguments)
        with ParsedUnit(
            self.index, setup.root, job.file, directory, arguments, self.files.unsaved
        ) as parsed:
            try:
                facts = UnitLowering(
                    parsed, setup.root, self.reader, self.lowered, setup.opaque
                ).lower()
                inputs = self.inputs.find(parsed, directory, arguments, started)
            except BaseException:
                self.lowered = before  # what this unit would have delivered is not delivered
                raise
        if facts.errors:
            self.lowered = before  # it may be read again
        return _Outcome(facts, inputs)


def _both(one: UnitInputs | None, other: UnitInputs | None) -> UnitInputs | None:
    """The inputs of two attempts; None unless they agree on what both have read."""
    if one is None or other is None:
        return None
    files = dict(one.files) | dict(other.files)
    if not set(one.files) <= files.items():
        return None  # it changed in between
    absent = dict.fromkeys((*one.absent, *other.absent))
    return UnitInputs(tuple(files.items()), tuple(absent))


_worker: _Worker | None = None


def _initialise(setup: _Setup) -> None:
    global _worker
    # A crash ends the worker, and the pool tells of it. libclang's own handler would print a page
    # and go on with an index that nobody vouches for.
    os.environ["LIBCLANG_DISABLE_CRASH_RECOVERY"] = "1"
    for name in _MORE_SEARCH_PATHS:  # of libclang's own; no input that nobody notes
        os.environ.pop(name, None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    # What the parent does at its end is not for a worker: it would wait for libclang to return, and
    # what is raised then is taken for the result of the unit.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(setup.parent)
    gc.disable()  # facts are acyclic and live until they are sent
    _worker = _Worker(setup)


def _run(job: UnitJob, overlay: int) -> _Outcome:
    assert _worker is not None
    return _worker.run(job, overlay)


def read_units(
    jobs: Sequence[UnitJob],
    root: Path,
    overlay: Mapping[str, bytes | None],
    opaque: frozenset[str],
    lowered: frozenset[str],
    processes: int,
) -> Iterator[UnitResult]:
    """Parse and lower units; results come in no particular order.

    lowered: header functions that need not be lowered again. A unit that kills its worker, hangs,
    or cannot be parsed at all gives a result with `failure`; the others go on.
    """
    placed = [PlacedJob(job, 0) for job in jobs]
    for one in read_placed_units(placed, root, [overlay], opaque, lowered, processes):
        yield one.result


def read_placed_units(
    jobs: Sequence[PlacedJob],
    root: Path,
    overlays: Sequence[Mapping[str, bytes | None]],
    opaque: frozenset[str],
    lowered: frozenset[str],
    processes: int,
) -> Iterator[PlacedResult]:
    """`read_units` for jobs under several overlays. Those of one should come together."""
    # It takes a tenth of a second to load: only what has units to read pays for it.
    from pebble import CONSTS, ProcessPool

    CONSTS.sleep_unit = _LOOK_SECONDS
    setup = _Setup(root, overlays, opaque, lowered, os.getpid())
    pool = ProcessPool(
        max_workers=min(processes, len(jobs)) or 1,
        initializer=_initialise,
        initargs=(setup,),
        context=get_context("fork"),
    )
    try:
        yield from _collect(pool, jobs, 2 * processes)
        pool.close()  # type: ignore[no-untyped-call]
        pool.join()
    except BaseException:
        # Ctrl-C, or the consumer gave up, be it while the pool ends: end the children now.
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()
        raise


def _collect(pool: ProcessPool, jobs: Sequence[PlacedJob], ahead: int) -> Iterator[PlacedResult]:
    """Keep a few jobs in flight, so that results do not pile up."""
    waiting = list(reversed(jobs))
    running: dict[Future[Any], PlacedJob] = {}
    while waiting or running:
        while waiting and len(running) < ahead:
            placed = waiting.pop()
            running[pool.schedule(_run, args=placed, timeout=UNIT_SECONDS)] = placed
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            job, overlay = running.pop(future)
            yield PlacedResult(_result(job, future.result), overlay)


def _result(job: UnitJob, outcome: Callable[[], _Outcome]) -> UnitResult:
    """What came of one unit. Whatever goes wrong with it leaves the others alone."""
    from pebble import ProcessExpired

    try:
        facts, inputs = outcome()
        return UnitResult(job, facts, inputs=inputs)
    except ParseFailure as error:
        return UnitResult(job, None, str(error), _COMPILES)
    except ProcessExpired as error:
        remedy = _REPORT
        if error.exitcode == -signal.SIGKILL:
            remedy = "if memory ran out, read fewer units at a time (-j N)"
        return UnitResult(job, None, f"the worker that read it died ({_cause(error)})", remedy)
    except TimeoutError:
        return UnitResult(job, None, f"it took longer than {UNIT_SECONDS} s", _REPORT)
    except Exception as error:
        # ctypes wraps a RecursionError in a callback in an error of its own.
        if isinstance(error, RecursionError) or "RecursionError" in str(error):
            return UnitResult(job, None, "its expressions nest too deeply", _REPORT)
        if os.environ.get("LOCKCHECK_DEBUG", "0") not in ("", "0"):
            traceback.print_exception(error)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return UnitResult(job, None, f"lockcheck failed on it ({what})", _REPORT)


def _cause(error: ProcessExpired) -> str:
    code = error.exitcode
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"status {code}"
