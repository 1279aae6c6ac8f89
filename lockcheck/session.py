"""One run: from the configuration to the report. Every front end calls `analyse`."""

from __future__ import annotations

import datetime
import gc
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lockcheck.callgraph.program import Program
from lockcheck.config import Config
from lockcheck.errors import Notice, Severity
from lockcheck.facts.ir import UnitFacts
from lockcheck.facts.store import FactStore, FileHashes, unit_key
from lockcheck.findings.model import Report, TreeInfo
from lockcheck.findings.suppress import apply, load_suppressions
from lockcheck.lower.worker import UnitJob, UnitResult, read_units
from lockcheck.models.loader import Models, check_constants, load_models
from lockcheck.progress import Progress, SilentProgress
from lockcheck.rules.engine import Checked, check_rules
from lockcheck.rules.loader import load_rules
from lockcheck.rules.model import AnnotatedData, Assertions, HookNoSleep, Rule
from lockcheck.rules.questions import Questions
from lockcheck.source.commands import CommandSet, load_commands
from lockcheck.source.overlay import build_overlay
from lockcheck.source.tree import check_architecture


class _Read(NamedTuple):
    """What came of reading the units."""

    units: list[UnitFacts]
    notices: list[Notice]


class Asked(NamedTuple):
    """Where questions can be put, and what went wrong on the way."""

    questions: Questions
    notices: tuple[Notice, ...]


def analyse(config: Config, progress: Progress | None = None) -> Report:
    """Check the units that `config` names against all rules.

    Raises LockcheckError for what the user has to mend before anything can be checked. What goes
    wrong with single units becomes a notice, and the report is then not `complete`.
    """
    progress = progress or SilentProgress()
    started = _now()
    check_architecture(config.tree)
    rules = load_rules(config.rules)
    models = load_models()
    check_constants(models)
    suppressions = (
        ()
        if config.suppressions is None
        else load_suppressions(
            # Reports name files relative to the tree, which need not be where the user is.
            Path(os.path.abspath(config.suppressions)),
            {rule.info.rule_id for rule in rules},
        )
    )
    notices: list[Notice] = []
    progress.begin("compile commands", None)
    commands = load_commands(config.tree, config.paths)
    progress.end()
    notices.extend(commands.notices)
    read = _read(config, commands, models, progress)
    notices.extend(read.notices)
    constants = {k: v for unit in read.units for k, v in unit.constants.items()}
    progress.begin("rules", len(rules))
    # The facts are acyclic and live to the end: scanning them for garbage is wasted time.
    gc.collect()
    gc.disable()
    try:
        program = Program(read.units, models.with_constants(constants))
        checked = check_rules(program, rules, progress.advance)
    finally:
        gc.enable()
    progress.end()
    notices.extend(checked.notices)
    notices.extend(_idle_rules(rules, checked))
    findings, dead = apply(checked.findings, suppressions, datetime.date.today())
    notices.extend(dead)
    tree = config.tree
    return Report(
        findings=tuple(findings),
        notices=tuple(notices),
        rules=tuple(rule.info for rule in rules),
        tree=TreeInfo(str(tree.root), tree.version, tree.git_revision(), tree.git_remote()),
        ledger=checked.ledger,
        obligations=checked.obligations,
        units=len(read.units),
        command_line=config.command_line,
        started=started,
        ended=_now(),
        complete=not any(notice.severity is Severity.ERROR for notice in notices),
    )


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
    read = _read(config, commands, models, progress)
    constants = {k: v for unit in read.units for k, v in unit.constants.items()}
    gc.disable()  # the process answers and ends; see `analyse`
    program = Program(read.units, models.with_constants(constants))
    return Asked(Questions(program), (*commands.notices, *read.notices))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _idle_rules(rules: Iterable[Rule], checked: Checked) -> Iterator[Notice]:
    """Tell of rules of the user's that met nothing: more often a slip than a clean tree."""
    busy = {c.origin for c in checked.ledger if c.proved or c.violated or c.unproved}
    told = {notice.file for notice in checked.notices}
    for rule in rules:
        if isinstance(rule.check, Assertions | AnnotatedData):
            continue
        if rule.builtin or rule.info.rule_id in busy or rule.info.file in told:
            continue
        if isinstance(rule.check, HookNoSleep):
            records = ", ".join(f"struct {record}" for record in rule.check.records)
            what = f"{rule.check.start}() calls nothing through a field of {records}"
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


# -- reading units ---------------------------------------------------------------------------------


def _read(config: Config, commands: CommandSet, models: Models, progress: Progress) -> _Read:
    overlay = build_overlay(config.tree.root, config.overlay)
    hashes = FileHashes(overlay)
    store = None if config.cache is None else FactStore(Path(config.cache))
    jobs = [UnitJob(c.file, c.directory, c.arguments) for c in commands.commands]
    common = (str(config.tree.root),)
    keys = {job: unit_key((*common, job.file, job.directory, *job.arguments)) for job in jobs}
    progress.begin("units", len(jobs))
    facts: dict[str, UnitFacts] = {}
    if store is not None:
        for job in jobs:
            known = store.load(keys[job], hashes, models.functions)
            if known is not None:
                facts[job.file] = known
                progress.advance(job.file)
    notices: list[Notice] = []
    missing = [job for job in jobs if job.file not in facts] or _to_read_again(jobs, facts)
    again: set[UnitJob] = set()  # units are read again at most once
    while missing:
        others = [facts[j.file] for j in jobs if j.file in facts and j not in missing]
        results = read_units(
            missing,
            config.tree.root,
            overlay,
            frozenset(models.functions),
            frozenset(_delivered(others)),
            config.jobs,
        )
        for result in results:
            _take(result, facts, notices)
            progress.advance(result.job.file)
            if store is not None and result.facts is not None and not result.facts.errors:
                files = _absolute(config.tree.root, result)
                store.save(keys[result.job], files, result.facts, hashes)
        missing = [job for job in _to_read_again(jobs, facts) if job not in again]
        again.update(missing)
    progress.end()
    if store is not None:
        store.close()
    return _Read([facts[job.file] for job in jobs if job.file in facts], notices)


def _delivered(units: Iterable[UnitFacts]) -> set[str]:
    return {function.key for unit in units for function in unit.inlines}


def _to_read_again(jobs: Sequence[UnitJob], facts: dict[str, UnitFacts]) -> list[UnitJob]:
    """Units whose facts count on a header function that no unit of this run delivers.

    Their cached facts were made beside a unit that delivered it, and that has changed since, or is
    not asked for now. One unit for each missing function.
    """
    delivered = _delivered(facts.values())
    wanted: set[str] = set()
    again: list[UnitJob] = []
    for job in jobs:
        unit = facts.get(job.file)
        if unit is None:
            continue
        needed = set(unit.needs) - delivered - wanted
        if needed:
            wanted |= needed
            again.append(job)
    return again


def _absolute(root: Path, result: UnitResult) -> list[str]:
    """The files that a unit was read from, so that a later run finds them."""
    assert result.facts is not None
    directory = Path(result.job.directory)
    included = (os.path.normpath(directory / header) for header in result.facts.headers)
    return sorted({str(root / result.job.file), *included})


def _take(result: UnitResult, facts: dict[str, UnitFacts], notices: list[Notice]) -> None:
    if result.facts is None:
        facts.pop(result.job.file, None)  # else a unit that is read again would be read for ever
        notices.append(
            Notice(
                Severity.ERROR,
                "unit-not-parsed",
                f"this unit was not read: {result.failure}",
                result.job.file,
                None,
                result.remedy,
            )
        )
        return
    facts[result.job.file] = result.facts
    for file, line, message in result.facts.errors[:1]:
        notices.append(
            Notice(
                Severity.ERROR,
                "unit-has-errors",
                f"{result.job.file} was read only in part: {message}",
                file,
                line,
                "check that the tree is prepared (make prepare) and that the file compiles",
            )
        )
