"""Edits of a unit, read the quick way and in full."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lockcheck.facts.inputs import SourceView, UnitInputs
from lockcheck.facts.ir import Function, UnitFacts
from lockcheck.lower.worker import UnitJob, read_units
from lockcheck.quick.editor import Editor
from lockcheck.quick.reading import Command
from lockcheck.source.overlay import build_overlay

SECONDS = 300  # the machine may be busy; nothing is measured here


class Both:
    """One unit that is edited, in a process that stays and in one that knows nothing."""

    def __init__(
        self, root: Path, command: Command, opaque: frozenset[str], delivered: frozenset[str]
    ) -> None:
        self.root, self.command = root, command
        self.opaque, self.delivered = opaque, delivered
        self.editor = Editor(root, opaque)
        self.taken = 0  # edits that were read the quick way

    def prepare(self, text: bytes) -> bool:
        """Whether the unit is ready for edits now."""
        self.editor.prepare(self.command, text, self._overlay(text))
        return self.editor.is_ready(SECONDS)

    def check(self, text: bytes) -> bool:
        """Whether a text was read the quick way; that gives what reading the unit in full gives."""
        overlay = self._overlay(text)
        quick = self.editor.read(self.command, text, SourceView(overlay), self.delivered)
        if quick is None:
            return False
        self.taken += 1
        facts, inputs = self.full(text)
        assert plain(quick.facts) == plain(facts)
        assert quick.inputs == inputs
        return True

    def full(self, text: bytes) -> tuple[UnitFacts, UnitInputs | None]:
        """What reading the unit in full gives."""
        job = UnitJob(*self.command)
        (result,) = read_units(
            [job], self.root, self._overlay(text), self.opaque, self.delivered, 1
        )
        assert result.facts is not None
        return result.facts, result.inputs

    def _overlay(self, text: bytes) -> Mapping[str, bytes | None]:
        return build_overlay(self.root, {self.command.file: text})


def plain(facts: UnitFacts) -> dict[str, Any]:
    """Facts as what can be compared; the order of records means nothing."""
    found: dict[str, Any] = {}
    for name in facts.__struct_fields__:
        value = getattr(facts, name)
        if isinstance(value, tuple):
            value = [msgspec.structs.asdict(x) if isinstance(x, Function) else x for x in value]
        found[name] = value
    return found


_STATEMENTS = (
    "", "\t;\n", "\tif (1)\n\t\treturn;\n", "\t{ int once = __LINE__; (void)once; }\n",
    "\t/* { a comment with \" and ' } */\n", "\tdo { } while (0);\n", "\tnot_known();\n",
    "\tint", "\t(void)\"}\";\n", "\t(void)'{';\n", "\t}\n", "#define X 1\n", "\textern int far;\n",
    "\tint declared(void);\n", "\t(void)sizeof(struct unheard_of *);\n",
)  # fmt: skip
_BETWEEN = ("", "\n", "\n\n", "/* ; } */\n", "// one line {\n", "/*\n * two\n */\n", "int more;\n")


def random_edit(text: bytes, chance: random.Random) -> bytes:
    """Another text: mostly one that compiles, sometimes half of something."""
    lines = text.decode().split("\n")
    kind = chance.randrange(4)
    inside = [n for n, line in enumerate(lines) if re.match(r"\t.*;$", line)]
    if kind < 2 and inside:  # a statement is added, or taken away
        at = chance.choice(inside)
        if kind and chance.random() < 0.5:
            del lines[at]
        else:
            lines.insert(at + chance.randrange(2), chance.choice(_STATEMENTS).rstrip("\n"))
    elif kind == 2 and inside:  # a statement comes once more, elsewhere
        lines.insert(chance.choice(inside), lines[chance.choice(inside)])
    else:
        ends = [n for n, line in enumerate(lines) if line in ("}", "};", "")] or [0]
        lines.insert(chance.choice(ends) + 1, chance.choice(_BETWEEN).rstrip("\n"))
    return "\n".join(lines).encode()
