"""A configuration that is checked again and again, while the contents of files change.

A series of patches and an editor have this in common: most of what they ask was answered before.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lockcheck.beside import Sent
from lockcheck.callgraph.program import Program
from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.model import Report, TreeInfo
from lockcheck.findings.suppress import SuppressionEntry, apply, load_suppressions
from lockcheck.lastrun import Ahead, Read, remember_commands
from lockcheck.models.loader import Models, check_constants, load_models
from lockcheck.progress import Progress, SilentProgress
from lockcheck.rules.chosen import chosen
from lockcheck.rules.engine import Checked, RuleRun
from lockcheck.rules.loader import load_rules
from lockcheck.rules.model import (
    AnnotatedData,
    Assertions,
    BalancedLocks,
    HookMustNot,
    LockOrder,
    ReleasedLocks,
    Rule,
    SleepInAtomic,
)
from lockcheck.runs import Started, constants_of, start
from lockcheck.source.commands import CommandSet, with_preempt_rt
from lockcheck.source.tree import KernelTree, check_architecture
from lockcheck.units import Contents, Fresh, Units, find_commands

_MANY_OBJECTS = 500_000  # taken out of the garbage collector's sight: what a subsystem needs
# Rules that name nothing of a tree: there is always something that they are about.
_ABOUT_ALL_CODE = (
    Assertions | AnnotatedData | SleepInAtomic | BalancedLocks | ReleasedLocks | LockOrder
)


class Workspace:
    """Checks the units of one configuration under different contents of files.

    Rules, models, suppressions and compile commands are read once, when it is made. Not safe for
    several threads at a time.
    """

    def __init__(
        self,
        config: Config,
        progress: Progress | None = None,
        once: bool = False,
        expected: Iterable[Contents] = (),
    ) -> None:
        """`progress` is told of the compile commands, and of reports that have no other.

        once: whether there will be one report only, so that nothing is kept for another.
        expected: the contents of the reports that are going to be wanted, in their order. Their
            units are read in another process while rules are checked, and `close` must be called.
            Facts are kept in the cache, those of contents that are not on disk as well: what has
            such a list is likely to come again.
        Raises LockcheckError for what the user has to mend before anything can be checked.
        """
        _free_what_was_frozen()
        self._config = config
        self._progress = progress or SilentProgress()
        self._expected = [self._contents(overlay) for overlay in expected]
        check_architecture(config.tree)
        self._progress.begin("compile commands", None)
        self._ahead: Sent[Any] = Sent(_work_ahead, config, self._expected)
        with self._closing_on_error():
            known = load_rules(config.rules)
            self.rules = chosen(known, config.enable)
            self._models = _models(config)
            check_constants(self._models)
            off = {rule.info.rule_id for rule in known} - {r.info.rule_id for r in self.rules}
            self._suppressions = tuple(
                entry
                for entry in self._read_suppressions({rule.info.rule_id for rule in known})
                if entry.suppression.rule not in off  # it would match nothing
            )
            self._once = once
            ahead = Ahead(config, self._models)
            early = self._start_early(ahead)
            self.commands = self._asked()
        self._progress.end()
        remember_commands(config, self.commands)
        self._units = Units(config, self.commands, self._models, ahead)
        self._units.keeps_all = bool(self._expected)
        self.program: Program | None = None  # of the last report, for questions about it
        self._early = early  # for the first report, if it is about the same units
        self._started: Started | None = None
        self._is_first = True

    @contextlib.contextmanager
    def _closing_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._ahead.close()
            raise

    def _asked(self) -> CommandSet:
        """What the other process tells first; found out here if it died before."""
        told: CommandSet | Exception | None = next(iter(self._ahead), None)
        if isinstance(told, Exception):
            raise told
        return _commands(self._config) if told is None else told

    def _start_early(self, ahead: Ahead) -> tuple[Read, Started] | None:
        """A run on the units of the last one, made while kbuild is asked: mostly they are these."""
        if not ahead.is_whole:
            return None
        read = ahead.read()
        gc.disable()  # as for the first report
        try:
            return read, self._start(read)
        except LockcheckError:
            return None  # where it is about these units, the report meets it
        finally:
            gc.freeze()
            gc.enable()

    def expect_edits(self, file: str, overlay: Contents | None = None) -> None:
        """Get ready, beside other work, for reports where a unit's file differs a little.

        file: relative to the tree. overlay: that of the last report.
        """
        self._units.expect_edits(file, self._contents(overlay))

    def close(self) -> None:
        """End the other processes: that which reads what is expected, and that for edits."""
        self._ahead.close()
        self._units.close()

    def _read_suppressions(self, known: set[str]) -> tuple[SuppressionEntry, ...]:
        name = self._config.suppressions
        if name is None:
            return ()
        # Reports name files relative to the tree, which need not be where the user is.
        return load_suppressions(Path(os.path.abspath(name)), known)

    def report(self, overlay: Contents | None = None, progress: Progress | None = None) -> Report:
        """Check all units with `overlay` in place of files, on top of the configuration's own.

        overlay: contents by path relative to the tree, POSIX form; None for a file that is gone.
            Each report names all that differs from the tree, not what differs from the one before.
        The report equals that of `analyse` with the same overlay, but for its times. What goes
        wrong with single units becomes a notice, and the report is then not `complete`.
        """
        progress = progress or self._progress
        started = _now()
        notices: list[Notice] = list(self.commands.notices)
        read = self._read(self._contents(overlay), progress)
        notices.extend(read.notices)
        progress.begin("rules", len(self.rules))
        # What is kept lives long, and is not worth scanning for garbage.
        gc.disable()
        try:
            run = self._run_on(read)
            checked = run.check(progress.advance)
            known = self._started
            if known is not None and known.watched is not None:
                known.watched.queries.sweep()
                if self._is_first:
                    known.keep()
        finally:
            if self._is_first:
                gc.freeze()
                self._is_first = False
            gc.enable()
        progress.end()
        notices.extend(checked.notices)
        notices.extend(_idle_rules(self.rules, checked))
        findings, dead = apply(checked.findings, self._suppressions, datetime.date.today())
        notices.extend(dead)
        return Report(
            findings=tuple(findings),
            notices=tuple(notices),
            rules=tuple(rule.info for rule in self.rules),
            tree=_tree_info(self._config.tree),
            ledger=checked.ledger,
            obligations=checked.obligations,
            units=len(read.units),
            command_line=self._config.command_line,
            started=started,
            ended=_now(),
            complete=not any(notice.severity is Severity.ERROR for notice in notices),
        )

    def _contents(self, overlay: Contents | None) -> Contents:
        return {**self._config.overlay, **(overlay or {})}

    def _read(self, contents: Contents, progress: Progress) -> Read:
        fresh: Iterator[Fresh | None] | None = None
        if self._expected and self._expected[0] == contents:
            del self._expected[0]
            fresh = iter(self._ahead)
        return self._units.read(contents, progress, fresh)

    def _run_on(self, read: Read) -> RuleRun:
        """The run of all rules that knows most of the program that the units make up."""
        early, self._early = self._early, None
        if early is not None and early[0].is_about(read.units):
            self._started = early[1]
        elif not self._has_become(read):
            self._started = self._start(read)
        assert self._started is not None
        known = self._started
        self.program = known.program if known.watched is None else known.watched.latest
        return known.run

    def _has_become(self, read: Read) -> bool:
        """Have the run of the last report go on with these units; False where it cannot."""
        known = self._started
        if known is None or known.watched is None:
            return False
        models = self._models.with_constants(constants_of(read.units))
        if known.watched.models != models:
            return False
        known.watched.become(Program(read.units, models, before=known.watched.latest))
        return True

    def _start(self, read: Read) -> Started:
        return start(self._config, self.rules, self._models, read.units, read.state, self._once)


def _free_what_was_frozen() -> None:
    """Let garbage be collected that workspaces before this one have taken out of its sight."""
    if gc.get_freeze_count() > _MANY_OBJECTS:
        gc.unfreeze()
        gc.collect()


def _models(config: Config) -> Models:
    models = load_models()
    return models.for_preempt_rt() if config.preempt_rt else models


def _commands(config: Config) -> CommandSet:
    commands = find_commands(config)
    return with_preempt_rt(commands) if config.preempt_rt else commands


def _work_ahead(send: Callable[[Any], None], config: Config, states: Sequence[Contents]) -> None:
    """Ask how units are compiled, tell that or what went wrong; then read them, and tell that."""
    try:
        commands = _commands(config)
    except Exception as error:
        send(error)
        return
    send(commands)
    if states:
        units = Units(config, commands, _models(config))
        units.keeps_all = True
        units.read_ahead(send, states)


def _tree_info(tree: KernelTree) -> TreeInfo:
    return TreeInfo(
        str(tree.root),
        tree.version,
        tree.git_revision(),
        tree.git_remote(),
        tree.config_name(),
        tree.option("CC_VERSION_TEXT") or tree.compiler,
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _idle_rules(rules: Iterable[Rule], checked: Checked) -> Iterator[Notice]:
    """Tell of rules of the user's that met nothing: more often a slip than a clean tree."""
    busy = {c.origin for c in checked.ledger if c.proved or c.violated or c.unproved}
    told = {notice.file for notice in checked.notices}
    for rule in rules:
        if isinstance(rule.check, _ABOUT_ALL_CODE):
            continue
        if rule.builtin or rule.info.rule_id in busy or rule.info.file in told:
            continue
        if isinstance(rule.check, HookMustNot):
            places = (*(f"struct {record}" for record in rule.check.records), *rule.check.places)
            what = f"nothing is called through {', '.join(places)}"
            if rule.check.start:
                what = f"{rule.check.start}() calls nothing through a field of {places[0]}"
            severity = Severity.ERROR
        else:
            names = ", ".join(name.text for datum in rule.check.data for name in datum.names)
            what = f"no unit that was read touches {names}"
            severity = Severity.WARNING
        yield Notice(
            severity,
            "rule-without-effect",
            f"rule {rule.info.rule_id} found nothing to check: {what}",
            rule.info.file,
            None,
            "compare the rule with the declarations (-> or ., the number of [*]), or name the "
            "units that it is about",
        )
