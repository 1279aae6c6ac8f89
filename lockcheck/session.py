"""One run: from the configuration to the report. Every front end calls `analyse` or a Workspace."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from lockcheck.beside import beside
from lockcheck.config import Config
from lockcheck.errors import Notice
from lockcheck.findings.model import Report
from lockcheck.lastrun import remember_commands
from lockcheck.progress import Progress, SilentProgress
from lockcheck.source.tree import check_architecture
from lockcheck.units import Units, find_commands

if TYPE_CHECKING:
    from lockcheck.rules.questions import Questions

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
        from lockcheck.early import Early  # half of the program: kbuild need not wait for it

        early = Early(config, put)
        commands = asked()
    progress.end()
    remember_commands(config, commands)
    read = Units(config, commands, early.models, early.ahead).read(config.overlay, progress)
    notices = (*commands.notices, *read.notices)
    if not early.is_about(read.units):
        return Answered(put(early.questions(read)), notices)
    if early.error is not None:
        raise early.error
    return Answered(early.answer[0], notices)
