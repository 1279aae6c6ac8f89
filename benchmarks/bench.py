"""Time and memory of lockcheck against `clang -fsyntax-only`, on the same units in the same run.

    benchmarks/bench.py [--jobs N] [--repeat N] [--output FILE] [VERSION...]

Runs over the kernel trees that `scripts/kernel-tree` prepared (6.1 and 6.12 unless told), prints
a Markdown table and writes it to benchmarks/results.md. clang is $CLANG, else clang-19 or clang
from PATH.

cold is a run with an empty cache, warm the run after it. CPU is user and system time of all
processes that a run started; peak memory is the largest resident set of any one of them.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from lockcheck.source.commands import CompileCommand, load_commands
from lockcheck.source.tree import KernelTree, find_tree

ROOT = Path(__file__).resolve().parents[1]
PATHS = ("arch/x86/kvm", "virt/kvm", "drivers/gpu/drm/i915/gvt")
VERSIONS = ("6.1", "6.12")
CLANG_NAMES = ("clang-19", "clang")
# What lockcheck may end with here: the trees have findings. Anything else is no measurement.
GOOD_STATUS = (0, 1)
_SAMPLE_SECONDS = 0.05


class Cost(NamedTuple):
    """What a run took. `main`, `worker`: peak resident MB of the process, of its largest child."""

    wall: float
    cpu: float
    main: float
    worker: float

    @property
    def peak(self) -> float:
        return max(self.main, self.worker)


class Row(NamedTuple):
    """One line of the table."""

    tree: str
    what: str
    units: int
    cost: Cost


class Failure(Exception):
    """A run that is no measurement, and why."""


def main() -> int:
    """Measure and write the table; the exit status is 1 when something could not be measured."""
    parser = argparse.ArgumentParser(description="lockcheck against clang -fsyntax-only")
    parser.add_argument("versions", nargs="*", default=VERSIONS, metavar="VERSION")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=1, help="take the best of N runs (CPU)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results.md")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    try:
        clang = find_clang()
        rows = [
            row
            for version in options.versions
            for row in measure(version, clang, options.jobs, options.repeat)
        ]
    except Failure as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    document = render(rows, clang, options.jobs, options.repeat, load)
    options.output.write_text(document)
    print(document, end="")
    return 0


def find_clang() -> str:
    """Return the clang to compare with."""
    named = os.environ.get("CLANG")
    for name in (named,) if named else CLANG_NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    raise Failure(
        f"no clang to compare with: {named or ' or '.join(CLANG_NAMES)} is not on PATH; "
        "install one (apt-get install clang), or name it: make bench CLANG=…/clang"
    )


def kernel_tree(version: str) -> KernelTree:
    """Return a tree that scripts/kernel-tree prepared."""
    script = ROOT / "scripts" / "kernel-tree"
    done = subprocess.run(
        [str(script), "--path", version], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failure(f"no prepared kernel tree {version}: run scripts/kernel-tree {version}")
    source, build = done.stdout.splitlines()
    return find_tree(Path(source), Path(build))


def measure(version: str, clang: str, jobs: int, repeat: int) -> Iterator[Row]:
    """Measure one tree: clang, then lockcheck cold and warm."""
    tree = kernel_tree(version)
    commands = load_commands(tree, PATHS).commands
    # Once unmeasured, so that the first of the two does not pay for reading the disk.
    measure_clang(clang, tree, commands, jobs)
    runs = [measure_clang(clang, tree, commands, jobs) for _ in range(repeat)]
    yield Row(tree.version, "clang -fsyntax-only", len(commands), best(runs))
    cold: list[Cost] = []
    warm: list[Cost] = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(prefix="lockcheck-bench-") as cache:
            cold.append(measure_lockcheck(tree, jobs, cache))
            warm.append(measure_lockcheck(tree, jobs, cache))
    yield Row(tree.version, "lockcheck, cold", len(commands), best(cold))
    yield Row(tree.version, "lockcheck, warm", len(commands), best(warm))


def best(costs: Sequence[Cost]) -> Cost:
    """Return the run that took the least CPU: what disturbs a run only adds to it."""
    return min(costs, key=lambda cost: cost.cpu)


def measure_clang(
    clang: str, tree: KernelTree, commands: Sequence[CompileCommand], jobs: int
) -> Cost:
    """Check every unit with the arguments that libclang gets, `jobs` at a time."""

    def one(command: CompileCommand) -> Cost:
        words = [clang, "-fsyntax-only", *command.arguments, str(tree.root / command.file)]
        return run(words, command.directory, (0,), sample=False)

    start = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        costs = list(pool.map(one, commands))
    wall = time.monotonic() - start
    peak = max(cost.peak for cost in costs)
    return Cost(wall, sum(cost.cpu for cost in costs), 0.0, peak)


def measure_lockcheck(tree: KernelTree, jobs: int, cache: str) -> Cost:
    """Check PATHS as a user does; the cache is as the last run left it."""
    command = [sys.executable, "-m", "lockcheck.cli", "check", *PATHS]
    command += ["--tree", str(tree.root), "--build", str(tree.build)]
    command += ["--jobs", str(jobs), "--cache", cache]
    return run(command, str(ROOT), GOOD_STATUS, sample=True)


def run(command: Sequence[str], directory: str, good: Sequence[int], *, sample: bool) -> Cost:
    """Run a command and return what it and its children took."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=directory, stdout=output, stderr=output)
        sampler = Sampler(process.pid) if sample else None
        # What wait4 reports is of the process and of all children that it waited for.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peaks = sampler.stop() if sampler is not None else {}
        if process.returncode not in good:
            output.seek(0)
            tail = "".join(output.readlines()[-10:])
            raise Failure(f"status {process.returncode} from: {' '.join(command)}\n{tail}")
    largest = usage.ru_maxrss / 1024
    main_peak = peaks.pop(process.pid, largest)
    worker = max(peaks.values(), default=0.0)
    # A process can peak and end between two samples; wait4 misses none.
    if largest > max(main_peak, worker):
        main_peak, worker = (largest, worker) if main_peak > worker else (main_peak, largest)
    return Cost(wall, usage.ru_utime + usage.ru_stime, main_peak, worker)


class Sampler:
    """Watches the peak memory (MB) of a process and of its descendants, each by itself."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> dict[int, float]:
        """Return peak by process id."""
        self._over.set()
        self._thread.join()
        return dict(self._peaks)

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            for pid in [self._pid, *descendants(self._pid)]:
                self._peaks[pid] = max(self._peaks.get(pid, 0.0), peak_memory(pid))


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
            for child in map(int, children):
                found += [child, *descendants(child)]
    except OSError:
        pass  # it has just ended
    return found


def peak_memory(pid: int) -> float:
    """Return the peak resident set of a process in MB; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def render(rows: Sequence[Row], clang: str, jobs: int, repeat: int, load: float) -> str:
    """Return the table, with all that one must know to compare it with another."""
    lines = [
        "# Time and memory",
        "",
        "Made by `make bench`; the method is described in `benchmarks/bench.py`.",
        "",
        f"- units: {' '.join(PATHS)}",
        f"- {first_line(clang, '--version')}",
        f"- lockcheck {metadata.version('lockcheck')} ({revision()}), "
        f"libclang {metadata.version('libclang')}, Python {platform.python_version()}",
        f"- {processor()}, {os.cpu_count()} CPUs, {jobs} jobs, best of {repeat}, "
        f"load average before: {load:.2f}",
        "",
        "| tree | run | units | wall s | CPU s | CPU / clang | peak MB, main | peak MB, worker |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    clang_cpu: dict[str, float] = {}
    for row in rows:
        clang_cpu.setdefault(row.tree, row.cost.cpu)  # clang is each tree's first
        cost = row.cost
        main_peak = f"{cost.main:.0f}" if cost.main else "–"
        worker = f"{cost.worker:.0f}" if cost.worker else "–"
        lines.append(
            f"| {row.tree} | {row.what} | {row.units} | {cost.wall:.1f} | {cost.cpu:.1f} "
            f"| {cost.cpu / clang_cpu[row.tree]:.2f} | {main_peak} | {worker} |"
        )
    return "\n".join(lines) + "\n"


def first_line(*command: str) -> str:
    """Return the first line that a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip()


def revision() -> str:
    """Return the commit that was measured, marked when files differ from it."""
    found = first_line("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12")
    return found or "no revision"


def processor() -> str:
    """Return the name of the processor as Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
