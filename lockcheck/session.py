"""One run: from the configuration to the report. Every front end calls `analyse` or a Workspace."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.config import Config
from lockcheck.errors import Notice
from lockcheck.findings.model import Report
from lockcheck.models.loader import check_constants, load_models
from lockcheck.progress import Progress, SilentProgress
from lockcheck.rules.questions import Questions
from lockcheck.source.commands import load_commands
from lockcheck.source.tree import check_architecture
from lockcheck.units import Units
from lockcheck.workspace import Workspace


class Asked(NamedTuple):
    """Where questions can be put, and what went wrong on the way."""

    questions: Questions
    notices: tuple[Notice, ...]


def analyse(config: Config, progress: Progress | None = None) -> Report:
    """Check the units that `config` names against all rules, once.

    Raises LockcheckError for what the user has to mend before anything can be checked. What goes
    wrong with single units becomes a notice, and the report is then not `complete`.
    """
    return Workspace(config, progress).report()


def ask(config: Config, progress: Progress | None = None) -> Asked:
    """Read the units that `config` names, to answer questions about them.

    Raises LockcheckError as `analyse` does.
    """
    progress = progress or SilentProgress()
    check_architecture(config.tree)
    progress.begin("compile commands", None)
    with ThreadPoolExecutor(max_workers=1) as beside:
        asked = beside.submit(load_commands, config.tree, config.paths)
        models = load_models()  # while kbuild answers
        check_constants(models)
        commands = asked.result()
    progress.end()
    read = Units(config, commands, models).read(config.overlay, progress)
    constants = {k: v for unit in read.units for k, v in unit.constants.items()}
    gc.disable()  # the process answers and ends; see `analyse`
    program = Program(read.units, models.with_constants(constants))
    return Asked(Questions(program), (*commands.notices, *read.notices))
