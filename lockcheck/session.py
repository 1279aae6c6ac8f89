"""One run: from the configuration to the report. Every front end calls `analyse` or a Workspace."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from lockcheck.beside import beside
from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Notice
from lockcheck.facts.ir import UnitFacts
from lockcheck.findings.model import Report
from lockcheck.models.loader import check_constants, load_models
from lockcheck.progress import Progress, SilentProgress
from lockcheck.rules.chosen import chosen
from lockcheck.rules.loader import load_rules
from lockcheck.rules.questions import Questions
from lockcheck.runs import start
from lockcheck.source.tree import check_architecture
from lockcheck.units import Ahead, Read, Units, find_commands

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
    from lockcheck.workspace import Workspace

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
    What a check of the same paths has worked out is not worked out again.
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
        return Answered(put(early.questions(read)), notices)
    if early.error is not None:
        raise early.error
    return Answered(early.answer[0], notices)


class _Early(Generic[T]):
    """The answer for the units of the last run."""

    def __init__(self, config: Config, put: Callable[[Questions], T]) -> None:
        self._config = config
        self._rules = chosen(load_rules(config.rules), config.enable)
        self.models = load_models()
        check_constants(self.models)
        self.ahead = Ahead(config, self.models)
        self.error: LockcheckError | None = None
        self.answer: list[T] = []
        self._read = self.ahead.read()
        if not self._read.units:
            return
        try:
            self.answer.append(put(self.questions(self._read)))
        except LockcheckError as error:
            self.error = error

    def is_about(self, units: list[UnitFacts]) -> bool:
        """Whether these are the very units that were asked about."""
        return bool(units) and list(map(id, units)) == list(map(id, self._read.units))

    def questions(self, read: Read) -> Questions:
        """Where questions about these units can be put.

        They are put to a run of all rules, as a check makes it: so they find its answers, and are
        answered the same with them and without.
        """
        constants = {k: v for unit in read.units for k, v in unit.constants.items()}
        models = self.models.with_constants(constants)
        started = start(
            self._config, self._rules, models, constants, read.units, read.state, once=True
        )
        run = started.run
        if started.watched is not None:
            started.watched.queries.forget_unclaimed()
        return Questions(started.watched or started.program, run.analysis, run.finder)
