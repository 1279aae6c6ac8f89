"""What users see when something is wrong: a clear message, the right status, the rest analysed.

Runs on a copy of the demo fixtures, through the whole program.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from lockcheck import cli

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
RULE = (ROOT / "rules/gfn-track-write.yaml").read_text().replace("id: gfn-track", "id: my-track")
HOOK = (ROOT / "rules/commit-hook-no-sleep.yaml").read_text().replace("id: commit", "id: my-commit")
LOCK_FOR_WRITE = "[gfn-track-write]"


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCKCHECK_DEBUG", raising=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the demo's three units, of which each test spoils something."""
    root = tmp_path / "linux"
    root.mkdir()
    for entry in FIXTURES.iterdir():
        if entry.is_file():
            shutil.copy(entry, root)
        elif entry.name in ("demo", "include", "arch"):
            shutil.copytree(entry, root / entry.name)
    entries = json.loads((root / "compile_commands.json").read_text())
    kept = [entry for entry in entries if entry["file"].startswith("demo/")]
    (root / "compile_commands.json").write_text(json.dumps(kept))
    return root.resolve()


def run(*arguments: object) -> tuple[int, str]:
    """The exit status, and standard output with standard error."""
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(cli.cli, words, prog_name="lockcheck")
    assert "Traceback" not in result.output
    assert "internal error" not in result.output
    return result.exit_code, result.output


def check(tree: Path, *arguments: object) -> tuple[int, str]:
    return run("check", "--tree", tree, *(arguments or ("demo",)))


# --- the tree


@pytest.mark.parametrize("command", ["check", "doctor"])
@pytest.mark.parametrize(
    ("case", "message", "remedy"),
    [
        ("empty", "no kernel tree here", "name one with --tree DIR"),
        ("unconfigured", "it has no .config", "defconfig prepare"),
        ("unprepared", "autoconf.h is missing", "prepare"),
        ("arm64", "configured for arm64", "ARCH=x86_64"),
        ("arm64 unprepared", "configured for arm64", "ARCH=x86_64"),
        ("corrupt", "compile_commands.json:1: the compile database is corrupt", "make it anew"),
        ("unreadable", "cannot read the compile database", "make it anew"),
    ],
)
def test_trees(tree: Path, command: str, case: str, message: str, remedy: str) -> None:
    if case == "empty":
        shutil.rmtree(tree)
        tree.mkdir()
    if case == "unconfigured":
        (tree / ".config").unlink()
    if "unprepared" in case:
        (tree / "include/generated/autoconf.h").unlink()
    if "arm64" in case:
        text = (tree / ".config").read_text()
        (tree / ".config").write_text(text.replace("Linux/x86 ", "Linux/arm64 "))
    if case == "corrupt":
        (tree / "compile_commands.json").write_text("[{")
    if case == "unreadable":
        (tree / "compile_commands.json").unlink()
        (tree / "compile_commands.json").mkdir()
    status, output = run(command, "--tree", tree, "demo")
    output = " ".join(output.split())  # doctor wraps
    assert status == 2
    assert message in output
    assert remedy in output.partition("remedy: ")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no nowhere in the tree"),
        ([""], "one of the PATHS is empty"),
        (["demo", "-o", ""], "the name is empty"),
        (["demo", "--build", "nowhere"], "does not exist"),
        (["demo", "-o", "nowhere/x"], "create it (mkdir -p nowhere)"),
        (["demo", "-o", "."], "it is a directory"),
        (["demo", "-o", "x.sarif"], "add --format sarif"),
        (["demo", "--format", "xml"], "use one of: github, robot, sarif, text"),
        (["demo", "--format", "text", "-o", "x", "--format", "sarif", "-o", "./x"], "same file"),
        (["demo", "--rules", "nowhere"], "no such rule file"),
        (["demo", "--rules", "linux/demo"], "no rule files (*.yaml)"),
        (["demo", "--suppressions", "nowhere"], "cannot read the suppressions"),
    ],
)
def test_arguments(tree: Path, arguments: list[str], message: str) -> None:
    before = sorted(Path().iterdir())
    status, output = check(tree, *arguments)
    assert (status, message in output) == (2, True), output
    assert LOCK_FOR_WRITE not in output
    assert sorted(Path().iterdir()) == before


def test_paths_are_found_from_a_subdirectory(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "demo")
    assert run("check", "page_track.c") == run("check", "demo/page_track.c")
    assert run("check", ".") == run("check", "../demo")


def test_a_single_file_has_unknown_callers_and_no_false_finding(tree: Path) -> None:
    status, output = check(tree, "demo/page_track.c")
    assert status == 0, output
    assert "error:" not in output
    assert "0 findings, 0 suppressed, 1 unit read" in output


# --- units


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("int broken( {\n", "demo/page_fault.c:1: error: lockcheck: "),
        ("\n#include <linux/nowhere.h>\n", "'linux/nowhere.h' file not found [unit-has-errors]"),
        (f"int f(int a) {{ return {'a+' * 5000}1; }}\n", "nest too deeply [unit-not-parsed]"),
    ],
)
def test_a_broken_unit_does_not_hide_the_others(tree: Path, text: str, notice: str) -> None:
    add_unit(tree, "demo/page_fault.c", text)
    status, output = check(tree, "demo", "--format", "sarif", "-o", "out.sarif")
    assert status == 3
    assert notice in output
    assert "remedy: " in output
    assert output.count("error: update of") == 1
    assert "INCOMPLETE" in output.splitlines()[-1]
    (invocation,) = json.loads(Path("out.sarif").read_text())["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "page_fault.c" in json.dumps(invocation["toolExecutionNotifications"])


def test_units_that_miss_the_same_header_show_the_remedy_once(tree: Path) -> None:
    (tree / "demo/page_track.h").unlink()
    status, output = check(tree)
    assert status == 3
    assert output.count("[unit-has-errors]") == 3
    assert output.count("remedy: check that the tree is prepared") == 1


def add_unit(tree: Path, file: str, text: str) -> None:
    (tree / file).write_text(text)
    database = tree / "compile_commands.json"
    entries = json.loads(database.read_text())
    entry = json.loads(json.dumps(entries[0]).replace(entries[0]["file"], file))
    database.write_text(json.dumps([*entries, entry]))


# --- rules


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("rationale:", "rationle:", "5", "unknown key 'rationle'"),
        ("  slot: struct", "\tslot: struct", "18", "not valid YAML"),
        ("kind: guarded-data", "kind: guarded", "16", "must be one of"),
        ("slot->arch.gfn_track[*][*]", "slot->->arch", "22", "not a C expression"),
        ("slot->arch.gfn_track[*][*]", "slt->arch", "22", "'slt' in 'slt->arch' is not declared"),
        ("slot->arch.gfn_track[*][*]", "slot.arch", "22", "write -> instead of ."),
        ("  kvm: struct kvm *", "  kvm: struct kvm *\n  x: struct x *", "20", "never used"),
        ("  - lock: kvm->mmu_lock\n", "  - lck: kvm->mmu_lock\n", "25", "unknown key 'lck'"),
        ("CWE-667", "CWE667", "4", "not a CWE id"),
        ("id: my-track-write", "id: gfn-track-write", "1", "is taken by"),
        (RULE, "", "1", "must be a mapping"),
        ("title: A", "title: \x00", "2", "no text"),
        ("title: A", "title: \udcff", "2", "not UTF-8"),
    ],
)
def test_mistakes_in_rules(tree: Path, old: str, new: str, line: str, message: str) -> None:
    assert old in RULE
    text = RULE.replace(old, new, 1)
    Path("my.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    status, output = check(tree, "demo", "--rules", "my.yaml")
    assert status == 2
    assert output.startswith(f"lockcheck: error: my.yaml:{line}: ") or "is taken by" in output
    assert message in output
    assert "\n  remedy: " in output
    assert run("rules", "--rules", "my.yaml") == (status, output)


@pytest.mark.parametrize(
    ("rule", "old", "new", "message"),
    [
        (RULE, "struct kvm_memory_slot", "struct nothing", "uses struct nothing"),
        (RULE, "gfn_track[*]", "gfn_trak[*]", "has no field 'gfn_trak'"),
        (RULE, "struct kvm *", "struct kvmm *", "uses struct kvmm"),
        (RULE, "kvm->mmu_lock", "kvm->mmulock", "struct kvm has no field 'mmulock'"),
        (HOOK, "from: kvm_arch", "from: kvm_arhc", "kvm_arhc_commit_memory_region() is not in"),
        (HOOK, "- struct kvm_page", "- struct kvm_pag", "through a field of struct kvm_pag_track"),
    ],
)
def test_rules_that_do_not_fit_the_tree(
    tree: Path, rule: str, old: str, new: str, message: str
) -> None:
    assert old in rule
    # Only the first of the names that a datum has in different versions.
    text = rule.replace(old, new).replace("      - slot->arch.gfn_write_track[*]\n", "")
    Path("my.yaml").write_text(text)
    status, output = check(tree, "demo", "--rules", "my.yaml")
    assert status == 3
    assert message in output
    assert LOCK_FOR_WRITE in output


def test_a_rule_that_meets_nothing_is_told(tree: Path) -> None:
    Path("my.yaml").write_text(RULE.replace("slot->arch.gfn_track", "slot->arch->gfn_track"))
    output = check(tree, "demo", "--rules", "my.yaml")[1]
    assert "rule my-track-write found nothing to check" in output


# --- outputs, suppressions, the cache


@pytest.mark.parametrize("option", ["--rules", "--suppressions"])
def test_files_without_end(tree: Path, option: str) -> None:
    status, output = check(tree, "demo", option, "/dev/zero")
    assert (status, "/dev/zero: " in output, "File too large" in output) == (2, True, True), output
    assert "\n  remedy: " in output


def test_suppressions_that_nest_deeply(tree: Path) -> None:
    (tree / "lockcheck.toml").write_text("x = " + "[" * 5000)
    status, output = check(tree)
    assert (status, "lockcheck.toml: its TOML nests too deeply" in output) == (2, True), output
    assert "\n  remedy: " in output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_an_output_that_fails_does_not_cost_the_others(tree: Path) -> None:
    pairs = ("--format", "sarif", "-o", "/dev/full", "--format", "sarif", "-o", "out.sarif")
    status, output = check(tree, "demo", *pairs)
    assert status == 2
    assert "/dev/full: cannot write the output" in output
    assert LOCK_FOR_WRITE in output
    assert json.loads(Path("out.sarif").read_text())["version"] == "2.1.0"


def test_a_suppression_file_elsewhere_is_named_in_full(tree: Path) -> None:
    text = '[[suppress]]\nrule = "gfn-track-write"\nfunction = "*"\nreason = "known"\n'
    Path("mine.toml").write_text(text)
    Path("my.yaml").write_text(RULE.replace("struct kvm *", "struct kvmm *"))
    options = ("--suppressions", "mine.toml", "--rules", "my.yaml")
    status, output = check(tree, "demo", *options, "--format", "sarif", "-o", "out.sarif")
    assert status == 3
    assert "1 suppressed" in output
    report = Path("out.sarif").read_text()
    for name in ("mine.toml", "my.yaml"):
        assert Path(name).resolve().as_uri() in report
        assert f'"uri": "{name}"' not in report


@pytest.mark.parametrize("case", ["garbage", "rows", "no directory"])
def test_a_cache_that_cannot_be_used_is_no_problem(tree: Path, case: str) -> None:
    expected = check(tree, "demo", "--no-cache")
    cache = Path("kept")
    if case == "no directory":
        cache = Path("file/kept")
        Path("file").touch()
    else:
        assert check(tree, "demo", "--cache", cache) == expected
        (file,) = cache.glob("facts-*.sqlite")
        if case == "garbage":
            file.write_bytes(os.urandom(5000))
        else:
            with sqlite3.connect(file) as database:
                database.execute("UPDATE unit SET facts = ?", (b"garbage",))
            database.close()
    if case == "garbage":  # told once, and replaced
        status, output = check(tree, "demo", "--cache", cache)
        assert status == expected[0]
        lines = output.splitlines()
        told = next(n for n, line in enumerate(lines) if "was damaged" in line)
        assert "remedy" in lines[told + 1]
        assert lines[:told] + lines[told + 2 :] == expected[1].splitlines()
    assert check(tree, "demo", "--cache", cache) == expected


# --- signals and workers that die

# What happens when unit x86.c is read, or when the rules are checked.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from lockcheck import cli, runs
from lockcheck.lower import worker

def wait(*_):
    Path("ready").touch()
    time.sleep(60)

def die(*_):
    os.kill(os.getpid(), number)

def run(job, overlay, original=worker._run):
    if job.file.endswith("x86.c"):
        act()
    return original(job, overlay)

what = sys.argv.pop(1)
number = getattr(signal, what, None)
act = die if number else wait
if what == "rules":
    runs.Program = wait
else:
    worker._run = run
cli.main()
"""


def start(tree: Path, what: str) -> subprocess.Popen[str]:
    for name in ("out.txt", "out.sarif"):
        Path(name).write_text("before")
    outputs = ("--format", "text", "-o", "out.txt", "--format", "sarif", "-o", "out.sarif")
    command = ("check", "--no-cache", "--tree", str(tree), "demo", "-j", "2", *outputs)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts what runs in the background with interrupts ignored; pytest may be that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("stage", ["units", "rules"])
@pytest.mark.parametrize(
    ("number", "whole_group", "status", "message"),
    [
        (signal.SIGINT, True, 130, "lockcheck: interrupted\n"),
        (signal.SIGINT, False, 130, "lockcheck: interrupted\n"),
        (signal.SIGTERM, False, 143, ""),
    ],
)
def test_an_interrupt_ends_everything_at_once(
    tree: Path, stage: str, number: int, whole_group: bool, status: int, message: str
) -> None:
    process = start(tree, stage)
    deadline = time.monotonic() + 30
    while not Path("ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert Path("ready").exists()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (status, "", message)
    assert {Path(name).read_text() for name in ("out.txt", "out.sarif")} == {"before"}
    assert not list(Path().glob(".lockcheck-*"))
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no worker is left of the group


@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV"])
def test_a_worker_that_dies_costs_one_unit(tree: Path, number: str) -> None:
    process = start(tree, number)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 3
    text = Path("out.txt").read_text()
    assert "demo/x86.c: error: lockcheck: this unit was not read: the worker" in text
    assert f"died ({number})" in text
    assert LOCK_FOR_WRITE in text
    assert "2 units read" in text


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", "| head -n 1"])
def test_closed_streams(tree: Path, redirection: str) -> None:
    program = f"{sys.executable} -c 'from lockcheck.cli import main; main()'"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {program} check --tree {tree} demo {redirection}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
