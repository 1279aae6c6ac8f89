"""Parsing and lowering units, one process per core."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from pebble import ProcessExpired, ProcessPool

from lockcheck.facts.ir import UnitFacts
from lockcheck.lower.nodes import TreeReader
from lockcheck.lower.unit import UnitLowering
from lockcheck.parse import libclang
from lockcheck.parse.unit import ParsedUnit, ParseFailure

UNIT_SECONDS = 300  # a unit that takes longer hangs


class UnitJob(NamedTuple):
    """One unit to read: its file relative to the tree, and its cleaned compile command."""

    file: str
    directory: str
    arguments: tuple[str, ...]


class UnitResult(NamedTuple):
    """Facts, or why there are none."""

    job: UnitJob
    facts: UnitFacts | None
    failure: str


class _Setup(NamedTuple):
    root: Path
    overlay: Mapping[str, bytes]
    opaque: frozenset[str]
    lowered: frozenset[str]


class _Worker:
    """State of one worker process: libclang's index, and the header functions it has lowered."""

    def __init__(self, setup: _Setup) -> None:
        self.setup = setup
        self.index = libclang.load().clang_createIndex(0, 0)
        self.reader = TreeReader()
        self.lowered = set(setup.lowered)

    def run(self, job: UnitJob) -> UnitFacts:
        setup = self.setup
        directory = Path(job.directory)
        with ParsedUnit(
            self.index, setup.root, job.file, directory, job.arguments, setup.overlay
        ) as parsed:
            before = set(self.lowered)
            try:
                return UnitLowering(
                    parsed, setup.root, self.reader, self.lowered, setup.opaque
                ).lower()
            except BaseException:
                self.lowered = before  # what this unit would have delivered is not delivered
                raise


_worker: _Worker | None = None


def _initialise(setup: _Setup) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    gc.disable()  # facts are acyclic and live until they are sent
    _worker = _Worker(setup)


def _run(job: UnitJob) -> UnitFacts:
    assert _worker is not None
    return _worker.run(job)


def read_units(
    jobs: Sequence[UnitJob],
    root: Path,
    overlay: Mapping[str, bytes],
    opaque: frozenset[str],
    lowered: frozenset[str],
    processes: int,
) -> Iterator[UnitResult]:
    """Parse and lower units; results come in no particular order.

    lowered: header functions that need not be lowered again. A unit that kills its worker, hangs,
    or cannot be parsed at all gives a result with `failure`; the others go on.
    """
    setup = _Setup(root, overlay, opaque, lowered)
    if processes == 1 and len(jobs) == 1:
        yield _run_here(_Worker(setup), jobs[0])
        return
    with ProcessPool(
        max_workers=min(processes, len(jobs)) or 1,
        initializer=_initialise,
        initargs=(setup,),
        context=get_context("fork"),
    ) as pool:
        try:
            yield from _collect(pool, jobs, 2 * processes)
        except BaseException:
            pool.stop()  # type: ignore[no-untyped-call]  # Ctrl-C, or the consumer gave up: end the children now
            raise


def _run_here(worker: _Worker, job: UnitJob) -> UnitResult:
    return _result(job, lambda: worker.run(job))


def _collect(pool: ProcessPool, jobs: Sequence[UnitJob], ahead: int) -> Iterator[UnitResult]:
    """Keep a few jobs in flight, so that results do not pile up."""
    waiting = list(reversed(jobs))
    running: dict[Future[Any], UnitJob] = {}
    while waiting or running:
        while waiting and len(running) < ahead:
            job = waiting.pop()
            running[pool.schedule(_run, args=(job,), timeout=UNIT_SECONDS)] = job
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield _result(running.pop(future), future.result)


def _result(job: UnitJob, outcome: Callable[[], UnitFacts]) -> UnitResult:
    try:
        return UnitResult(job, outcome(), "")
    except ParseFailure as error:
        return UnitResult(job, None, str(error))
    except ProcessExpired as error:
        return UnitResult(job, None, f"the worker that read it died ({_cause(error)})")
    except TimeoutError:
        return UnitResult(job, None, f"it took longer than {UNIT_SECONDS} s")
    except RecursionError:
        return UnitResult(job, None, "its expressions nest too deeply")


def _cause(error: ProcessExpired) -> str:
    code = error.exitcode
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"status {code}"
