"""smatch for other_tools.py: a database of the kernel's directories, and checks that read it.

smatch knows what a function in another unit does from a database, which is made by smatch's own
scripts from what it prints with --info. What a function does gets one call further up with each
pass. Units that define what sleeps are in it, too, beside those that are checked.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lockcheck.source.commands import CompileCommand

# Where what KVM calls comes to might_sleep() or disables preemption: mutexes, rwlocks and so on.
DEFINING = (
    "kernel/locking/mutex.c", "kernel/locking/rwsem.c", "kernel/locking/percpu-rwsem.c",
    "kernel/locking/semaphore.c", "kernel/locking/spinlock.c", "kernel/rcu/srcutree.c",
    "kernel/sched/build_utility.c", "kernel/time/timer.c", "kernel/workqueue.c", "lib/usercopy.c",
    "mm/memory.c", "mm/util.c",
)  # fmt: skip
# From the one that calls no other: static functions get no further than a call in a pass either.
HELPERS = ("lockcheck_two", "lockcheck_one")
_INFO = ("--call-tree", "--info", "--spammy")

Run = Callable[[Sequence[str], Path], str]
Arguments = Callable[[CompileCommand], list[str]]


class Smatch:
    """A built smatch. run: how a command runs; arguments: those of a unit that it understands."""

    def __init__(self, directory: Path, run: Run, arguments: Arguments, passes: int) -> None:
        self._directory = directory
        self._scripts = directory / "smatch_data" / "db"
        self._run = run
        self._arguments = arguments
        self._passes = passes

    def make(self, place: Path, root: Path, source: Path, units: Sequence[CompileCommand]) -> None:
        """A database in a directory.

        root: of the units that are checked; source: of those that define what sleeps.
        """
        place.mkdir(parents=True)
        self._create(place, "")
        defining = [unit for unit in units if unit.file in DEFINING]
        checked = [unit for unit in units if unit.file not in DEFINING]
        known = ""
        for _ in range(self._passes + 1):  # three calls below mutex_lock() in a kernel with lockdep
            known = self._info(place, source, defining)
            self._create(place, known)
        for _ in range(self._passes):
            self._create(place, known + self._info(place, root, checked))

    def update(self, place: Path, base: Path, root: Path, units: Sequence[CompileCommand]) -> None:
        """A database as another one is, with what is new in mutated units."""
        place.mkdir(parents=True)
        shutil.copy(base / "smatch_db.sqlite", place)
        new = place / "new.txt"
        new.write_text(self._info(place, root, units))
        self._run([str(self._scripts / "reload_partial.sh"), "-p=kernel", str(new)], place)
        for helper in HELPERS:
            new.write_text(self._info(place, root, units, f"--function={helper}"))
            self._run(
                [str(self._scripts / "fill_db_sql.pl"), "kernel", str(new), "smatch_db.sqlite"],
                place,
            )

    def check(self, place: Path, root: Path, units: Sequence[CompileCommand]) -> Iterator[str]:
        """What smatch prints of each unit; files are relative to the root."""
        for unit in units:
            yield self._smatch(place, root, unit)

    def _info(self, place: Path, root: Path, units: Sequence[CompileCommand], *more: str) -> str:
        return "".join(self._smatch(place, root, unit, *_INFO, *more) for unit in units)

    def _smatch(self, place: Path, root: Path, unit: CompileCommand, *more: str) -> str:
        return self._run(
            [str(self._directory / "smatch"), "-p=kernel", "--succeed",
             f"--db-file={place / 'smatch_db.sqlite'}",
             f"--data={self._directory / 'smatch_data'}", *more,
             *self._arguments(unit), unit.file],
            root,
        )  # fmt: skip

    def _create(self, place: Path, information: str) -> None:
        """A new database of what --info has printed; smatch reads the former one meanwhile."""
        printed = place / "smatch_warns.txt"
        printed.write_text(information)
        output = self._run([str(self._scripts / "create_db.sh"), "-p=kernel", str(printed)], place)
        if not (place / "smatch_db.sqlite").exists() or (place / "smatch_db.sqlite.new").exists():
            raise RuntimeError(f"smatch has made no database: {output}")
