"""One run: from the configuration to the report. Every front end calls `analyse` or a Workspace."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from lockcheck.beside import beside
from lockcheck.callgraph.program import Program
from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Notice
from lockcheck.facts.ir import UnitFacts
from lockcheck.findings.model import Report
from lockcheck.models.loader import Models, check_constants, load_models
from lockcheck.progress import Progress, SilentProgress
from lockcheck.rules.questions import Questions
from lockcheck.source.tree import check_architecture
from lockcheck.units import Ahead, Units, find_commands

T = TypeVar("T")


class Answered(NamedTuple, Generic[T]):
    """The answer to a question, and what went wrong on the way."""

    answer: T
    notices: tuple[Notice, ...]


class Asked(NamedTuple):
    """Where questions can be put, and what went wrong on the way."""

    questions: Questions
    notices: tuple[Notice, ...]


def analyse(config: Config, progress: Progress | None = None) -> Report:
    """Check the units that `config` names against all rules, once.

    Raises LockcheckError for what the user has to mend before anything can be checked. What goes
    wrong with single units becomes a notice, and the report is then not `complete`.
    """
    from lockcheck.workspace import Workspace  # it brings all rules, which questions do not need

    return Workspace(config, progress, once=True).report()


def ask(config: Config, progress: Progress | None = None) -> Asked:
    """Read the units that `config` names, to answer questions about them.

    Raises LockcheckError as `analyse` does.
    """
    return Asked(*answer(config, lambda questions: questions, progress))


def answer(
    config: Config, put: Callable[[Questions], T], progress: Progress | None = None
) -> Answered[T]:
    """Read the units that `config` names, and put a question about them.

    While kbuild is asked which units there are, the question is put to those of the last run, as
    far as they did not change. That answer counts if kbuild names the same, as it mostly does.
    Raises LockcheckError as `analyse` and `put` do.
    """
    progress = progress or SilentProgress()
    check_architecture(config.tree)
    gc.disable()  # the facts are acyclic, and the process answers and ends
    progress.begin("compile commands", None)
    with beside(find_commands, config) as asked:
        early = _Early(config, put)
        commands = asked()
    progress.end()
    read = Units(config, commands, early.models, early.ahead).read(config.overlay, progress)
    notices = (*commands.notices, *read.notices)
    if not early.is_about(read.units):
        return Answered(put(_questions(read.units, early.models)), notices)
    if early.error is not None:
        raise early.error
    return Answered(early.answer[0], notices)


class _Early(Generic[T]):
    """The answer for the units of the last run."""

    def __init__(self, config: Config, put: Callable[[Questions], T]) -> None:
        self.models = load_models()
        check_constants(self.models)
        self.ahead = Ahead(config, self.models)
        self.error: LockcheckError | None = None
        self.answer: list[T] = []
        self._units = self.ahead.units()
        if not self._units:
            return
        try:
            self.answer.append(put(_questions(self._units, self.models)))
        except LockcheckError as error:
            self.error = error

    def is_about(self, units: list[UnitFacts]) -> bool:
        """Whether these are the very units that were asked about."""
        return bool(units) and list(map(id, units)) == list(map(id, self._units))


def _questions(units: list[UnitFacts], models: Models) -> Questions:
    constants = {k: v for unit in units for k, v in unit.constants.items()}
    return Questions(Program(units, models.with_constants(constants)))
