#!/usr/bin/env python3
"""Kill lockcheck at random moments while it writes its cache and its outputs, and look at both.

After each kill: the outputs are whole or not there, nothing else was left beside them, and no
worker goes on. Then a run on the cache as the kill left it must give the findings of a cold run.
Every few kills a source file is changed and later restored, so that a stale hit would show.

    benchmarks/kill.py                                  # the fixture tree, 100 kills
    benchmarks/kill.py --tree DIR --build DIR PATH...   # a kernel tree; nothing is written to it
    benchmarks/kill.py --series MBOX …                  # `lockcheck series` instead of `check`

The exit status is 0 when all held, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "fixtures"
OUTPUTS = ("out.txt", "out.sarif")
_KEPT = ("results", "tool")  # of a SARIF run; times and the command line differ from run to run


class Setting(NamedTuple):
    """What is run: the options that name the tree and the units, and the file that is changed."""

    arguments: list[str]
    changed: Path | None
    command: tuple[str, ...] = ("check",)


class Outcome(NamedTuple):
    """kills: runs that were ended before they were over. failures: what did not hold."""

    kills: int
    complete: int
    failures: list[str]


def main() -> int:
    """Kill runs, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", nargs="*", help="units; default for the fixtures: demo and two more"
    )
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--build", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--series", type=Path, help="a series that applies to the tree")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lockcheck-kill-") as folder:
        work = Path(folder)
        if options.tree is None:
            setting = fixture_setting(work, options.paths)
        else:
            build = ["--build", str(options.build)] if options.build else []
            setting = Setting(["--tree", str(options.tree), *build, *options.paths], None)
        if options.series is not None:  # its patches need the tree as it is
            command = ("series", str(options.series.resolve()))
            setting = setting._replace(changed=None, command=command)
        outcome = kill_runs(work, setting, options.kills, random.Random(options.seed))
    print(
        f"{outcome.kills} runs killed, {outcome.complete} were over before; "
        f"{len(outcome.failures)} failures"
    )
    for failure in outcome.failures:
        print(f"  {failure}")
    return 1 if outcome.failures else 0


def fixture_setting(work: Path, paths: list[str]) -> Setting:
    """A copy of the fixture tree, in which one unit is changed now and then."""
    tree = work / "tree"
    shutil.copytree(FIXTURES, tree)
    units = paths or ["demo", "gfn-track-write", "commit-hook-no-sleep"]
    changed = next(iter(sorted((tree / units[0]).glob("bad_*.c"))), None)
    return Setting(["--tree", str(tree), *units], changed)


def kill_runs(work: Path, setting: Setting, kills: int, chance: random.Random) -> Outcome:
    """Kill that many runs at random moments, each followed by one that is let to its end."""
    cache, out = work / "cache", work / "out"
    out.mkdir()
    original = setting.changed.read_bytes() if setting.changed else b""
    # The same findings in another place: what comes from before the change has the wrong lines.
    contents = [original, b"\n\n" + original] if setting.changed else [original]
    cold: list[object] = []
    seconds = 0.0
    for content in contents:
        if setting.changed:
            setting.changed.write_bytes(content)
        started = time.monotonic()
        _run(setting, None, out).wait()
        seconds = max(seconds, time.monotonic() - started)
        cold.append(_result(out))
    if len(contents) > 1 and cold[0] == cold[1]:
        return Outcome(0, 0, ["the change in the tree does not show in the findings"])
    failures: list[str] = []
    killed = over = 0
    while killed < kills and over < 3 * kills + 10:
        state = chance.randrange(len(contents))
        if setting.changed:
            setting.changed.write_bytes(contents[state])
        if chance.random() < 0.3:
            shutil.rmtree(cache, ignore_errors=True)
        _clear(out)
        process = _run(setting, cache, out)
        try:
            process.wait(chance.uniform(0.0, seconds))
            over += 1
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        failures.extend(f"kill {killed}: {what}" for what in _left(process.pid, out, cold[state]))
        # Which state comes next is again open: an entry of the killed run must not answer for it.
        state = chance.randrange(len(contents))
        if setting.changed:
            setting.changed.write_bytes(contents[state])
        _clear(out)
        after = _run(setting, cache, out, errors=subprocess.PIPE)
        said = after.communicate()[1].decode(errors="replace").strip()
        status = after.returncode
        if status not in (0, 1):
            failures.append(f"kill {killed}: the run after it ended with status {status}: {said}")
        elif _result(out) != cold[state]:
            failures.append(f"kill {killed}: the run after it found something else")
    return Outcome(killed, over, failures)


def _run(
    setting: Setting, cache: Path | None, out: Path, *, errors: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "lockcheck.cli", *setting.command, *setting.arguments]
    words += ["--jobs", "2"]
    words += ["--no-cache"] if cache is None else ["--cache", str(cache)]
    for name in OUTPUTS:
        words += ["--format", Path(name).suffix[1:].replace("txt", "text"), "-o", str(out / name)]
    return subprocess.Popen(
        [*words, "--quiet"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "LOCKCHECK_DEBUG": "1"},  # an error in it is told with its stack
        start_new_session=True,  # its workers are found by it
    )


def _clear(out: Path) -> None:
    for file in out.iterdir():
        file.unlink()


def _result(out: Path) -> object:
    """What the outputs say, without what differs from run to run. Raises if they are not whole."""
    sarif = json.loads((out / "out.sarif").read_text())
    runs = [{key: run.get(key) for key in _KEPT} for run in sarif["runs"]]
    return (out / "out.txt").read_text(), runs


def _left(leader: int, out: Path, cold: object) -> list[str]:
    """What a killed run left behind and should not have."""
    wrong: list[str] = []
    names = {file.name for file in out.iterdir()}
    if "out.sarif" in names:
        try:
            whole = json.loads((out / "out.sarif").read_text())
            wrong.extend(() if whole["runs"] else ["out.sarif has no run"])
        except ValueError:
            wrong.append("out.sarif is cut")
    wrong.extend(f"{name} was left" for name in names if name not in OUTPUTS)
    if "out.txt" in names and (out / "out.txt").read_text() != cold[0]:  # type: ignore[index]
        wrong.append("out.txt is not what a whole run writes")
    end = time.monotonic() + 10
    while _session(leader):
        if time.monotonic() > end:
            wrong.append("a worker goes on without its run")
            for pid in _session(leader):
                os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.05)
    return wrong


def _session(leader: int) -> list[int]:
    """The processes that belong to a session, from /proc."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[3] == str(leader) and fields[0] != "Z":
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
