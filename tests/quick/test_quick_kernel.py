"""Units of real trees: the quick way gives the facts that reading the whole unit gives."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edits import Both

from lockcheck.config import Config
from lockcheck.models.loader import load_models
from lockcheck.quick.reading import Command
from lockcheck.source.tree import find_tree
from lockcheck.units import find_commands

ROOT = Path(__file__).parents[2]
MMU = "arch/x86/kvm/mmu/mmu.c"

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


def unit(version: str, file: str) -> Both:
    script = ROOT / "scripts" / "kernel-tree"
    done = subprocess.run([script, version], stdout=subprocess.PIPE, text=True, check=True)
    source, build = done.stdout.split()
    config = Config(tree=find_tree(Path(source), Path(build)), paths=(str(Path(file).parent),))
    (command,) = (c for c in find_commands(config).commands if c.file == file)
    return Both(
        config.tree.root,
        Command(file, command.directory, command.arguments),
        frozenset(load_models().functions),
        frozenset(),
    )


def in_body(text: bytes, chance: random.Random, statement: bytes) -> bytes:
    """With a statement at the begin of some function that is long enough to be edited."""
    bodies = [found.end() for found in re.finditer(rb"\)\n\{\n(?=\t(?:.*\n){6})", text)]
    at = chance.choice(bodies)
    return text[:at] + statement + text[at:]


EDITS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    lambda text, chance: text + b"/* at the end */\n",
    lambda text, chance: b"\n" + text,
    lambda text, chance: in_body(text, chance, b"\tif (__LINE__ < 3)\n\t\tfor (;;);\n"),
    lambda text, chance: in_body(text, chance, b"\t;\n"),
    lambda text, chance: in_body(text, chance, b"\n\t/* only words */\n"),
)


@pytest.mark.parametrize(("version", "file"), [("6.1", MMU), ("6.12", "virt/kvm/kvm_main.c")])
def test_edits_of_a_unit(version: str, file: str) -> None:
    both = unit(version, file)
    try:
        text = (both.root / file).read_bytes()
        assert both.prepare(text)
        chance = random.Random(1)
        for edit in EDITS:
            edited = edit(text, chance)
            if both.check(edited):
                text = edited
        assert both.taken >= len(EDITS) - 1
    finally:
        both.editor.close()
