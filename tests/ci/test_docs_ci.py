"""The files in docs/ci: YAML that parses, and commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from lockcheck import cli

DOCS = Path(__file__).parents[2] / "docs" / "ci"


def load(name: str) -> Any:
    return YAML(typ="safe").load(DOCS / name)


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.startswith("lockcheck ")]


def shell() -> dict[str, list[list[str]]]:
    action = load("github-action/action.yml")
    steps = "\n".join(step.get("run", "") for step in action["runs"]["steps"])
    return {
        "github": commands(steps),
        "gitlab": commands("\n".join(load("gitlab.yml")["lockcheck"]["script"])),
    }


@pytest.mark.parametrize("where", ["github", "gitlab"])
def test_commands_parse(where: str) -> None:
    (words,) = shell()[where]
    words = [w for w in words if not w.startswith("${") and w != "$@"]
    command: click.Command = cli.cli.commands[words[1]]
    assert command.make_context(words[1], words[2:]).params["paths"]


def test_both_keep_their_cache() -> None:
    uses = [step.get("uses", "") for step in load("github-action/action.yml")["runs"]["steps"]]
    assert any(name.startswith("actions/cache@") for name in uses)
    assert load("gitlab.yml")["lockcheck"]["cache"]["paths"] == [".lockcheck-cache/"]


def test_inputs_reach_the_shell_through_the_environment() -> None:
    """An input that is pasted into a script is code: GitHub warns of it."""
    for step in load("github-action/action.yml")["runs"]["steps"]:
        assert not re.search(r"\$\{\{", step.get("run", ""))


def test_the_hook_is_shell() -> None:
    subprocess.run(["sh", "-n", str(DOCS / "sendemail-validate")], check=True)
