"""The other commands, the help texts, and how processes end."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from fake_session import Program

from lockcheck import __version__, cli

ROOT = Path(__file__).parents[2]


def commands(group: click.Group = cli.cli, path: str = "lockcheck") -> Iterator[tuple[str, str]]:
    """Yield the name and the help text of every command."""
    for name, command in [("", group), *group.commands.items()]:
        full = f"{path} {name}".strip()
        if isinstance(command, click.Group) and name:
            yield from commands(command, full)
        else:
            context = click.Context(command, info_name=full)
            yield full, command.get_help(context)


def examples(help_text: str) -> list[list[str]]:
    """The command lines of a help text's examples."""
    block = re.search(r"Examples?:\n(.*?)(\n\n|\Z)", help_text, re.S)
    assert block is not None, "no example"
    found = []
    for line in map(str.strip, block.group(1).splitlines()):
        if line.startswith("make "):  # make C=1 CHECK="lockcheck kbuild" …
            values = [w for w in shlex.split(line) if w.startswith("CHECK=")]
            line = values[0].removeprefix("CHECK=") if values else line
        if line.startswith("lockcheck "):
            found.append(shlex.split(line, comments=True))
    return found


@pytest.mark.parametrize(("name", "help_text"), list(commands()))
def test_the_examples_of_the_help_are_valid(name: str, help_text: str) -> None:
    found = examples(help_text)
    assert found
    for words in found:
        command: click.Command = cli.cli
        context = click.Context(command, info_name="lockcheck")
        rest = words[1:]
        while isinstance(command, click.Group) and rest and rest[0] in command.commands:
            command = command.commands[rest[0]]
            # Parses the options up to the next command; raises UsageError for wrong ones.
            context = command.make_context(rest[0], rest[1:], parent=context)
            rest = [*context.args] if not isinstance(command, click.Group) else rest[1:]
        assert context.parent is not None, f"no such command: {words}"


def test_every_command_has_lines_that_fit(program: Program) -> None:
    for _, help_text in commands():
        assert max(map(len, help_text.splitlines())) <= 84


def test_check_teaches(program: Program) -> None:
    shown = program.run("check", "--help").stdout
    for word in ("A tree is", "PATHS are", "Exit status", "lockcheck.toml", "130"):
        assert word in shown


def test_help_is_quick() -> None:
    """What costs time to import is not imported for the help."""
    heavy = (
        "clang",
        "networkx",
        "pebble",
        "pycparser",
        "rich",
        "ruamel",
        "sarif_om",
        "lockcheck.session",
    )
    code = (
        "import sys\nfrom lockcheck import cli\n"
        "try:\n    cli.cli(['check', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n"


def test_version(program: Program) -> None:
    assert program.run("--version").stdout == f"lockcheck {__version__}\n"


def test_rules_lists_the_rules(program: Program) -> None:
    result = program.run("rules")
    assert result.exit_code == 0
    files = {path.stem for path in (ROOT / "rules").glob("*.yaml")}
    assert {line.split()[0] for line in result.stdout.splitlines()} == files


def test_rules_show(program: Program) -> None:
    shown = program.run("rules", "show", "gfn-track-write").stdout
    for word in ("gfn-track-write", "CWE-667", "Bad:", "Good:", "rules/gfn-track-write.yaml"):
        assert word in shown


def test_rules_show_unknown(program: Program) -> None:
    result = program.run("rules", "show", "gfn-track-writes")
    assert result.exit_code == 2
    assert "did you mean 'gfn-track-write'?" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("rules", "--rules", "absent.yaml"), ("rules", "show", "x", "--rules", "absent")]
)
def test_rules_of_the_user_are_loaded(program: Program, arguments: tuple[str, ...]) -> None:
    result = program.run(*arguments)
    assert result.exit_code == 2
    assert "absent" in result.stderr


def test_doctor_without_a_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = click_run("doctor")
    assert result.returncode == 2
    assert "FAIL" in result.stdout.upper() and "remedy" in result.stdout
    assert "Traceback" not in result.stderr


def test_doctor_on_the_fixture_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = click_run("doctor", "--tree", str(ROOT / "fixtures"), "demo")
    assert result.returncode == 0, result.stdout


def test_a_closed_pipe_is_no_error() -> None:
    shell = f"{shlex.quote(sys.executable)} -m lockcheck.cli rules | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def click_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """lockcheck in a process of its own, in the current directory."""
    return subprocess.run(
        [sys.executable, "-m", "lockcheck.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


# A run whose worker never ends; it prints the worker's id once that runs.
STUCK = """
    import multiprocessing, signal, sys, time
    from types import ModuleType

    def work():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        time.sleep(600)

    def analyse(config, progress):
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        print(worker.pid, flush=True)
        worker.join()

    session = ModuleType("lockcheck.session")
    session.analyse = analyse
    sys.modules["lockcheck.session"] = session
    from lockcheck import cli
    sys.argv = ["lockcheck", "check", "--tree", {tree!r}, "-o", {output!r}]
    cli.main()
"""


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [(signal.SIGINT, 130, "lockcheck: interrupted\n"), (signal.SIGTERM, 143, "")],
)
def test_a_signal_ends_the_workers(
    tmp_path: Path, number: signal.Signals, status: int, message: str
) -> None:
    output = tmp_path / "out.txt"
    code = textwrap.dedent(STUCK).format(tree=str(ROOT / "fixtures"), output=str(output))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal, wherever the tests were started from.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    assert errors == message
    assert list(tmp_path.iterdir()) == []
    assert has_ended(worker)


def has_ended(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
