"""The answer to a question, given before it is certain which units it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from lockcheck.config import Config
from lockcheck.errors import LockcheckError
from lockcheck.facts.ir import UnitFacts
from lockcheck.lastrun import Ahead, Read
from lockcheck.models.loader import check_constants, load_models
from lockcheck.rules.chosen import chosen
from lockcheck.rules.loader import load_rules
from lockcheck.rules.questions import Questions
from lockcheck.runs import start

T = TypeVar("T")


class Early(Generic[T]):
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
        return bool(units) and self._read.is_about(units)

    def questions(self, read: Read) -> Questions:
        """Where questions about these units can be put.

        They are put to a run of all rules, as a check makes it: so they find its answers, and are
        answered the same with them and without.
        """
        started = start(self._config, self._rules, self.models, read.units, read.state, once=True)
        run = started.run
        if started.watched is not None:
            started.watched.queries.forget_unclaimed()
        return Questions(started.watched or started.program, run.analysis, run.finder)
