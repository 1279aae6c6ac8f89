"""Runs of all rules, and what the last one on the same question has worked out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from lockcheck.callgraph.program import Program
from lockcheck.callgraph.watched import WatchedProgram
from lockcheck.config import Config
from lockcheck.facts.ir import UnitFacts
from lockcheck.kept import KeptRuns
from lockcheck.models.loader import Models
from lockcheck.rules.engine import RuleRun
from lockcheck.rules.model import Rule
from lockcheck.stamp import stamp

_WORTH_KEEPING = 5000  # answers: what works out fewer is done in a moment
_NEARLY_THE_SAME = 10  # one answer in so many is worked out anew rather than kept again


class Started(NamedTuple):
    """A run on a program.

    watched: that program, if what rests on what is noted. runs: where answers are to be kept.
    state: what tells its units from others.
    """

    program: Program
    watched: WatchedProgram | None
    run: RuleRun
    runs: KeptRuns | None
    state: bytes

    def keep(self) -> None:
        """Keep the answers for the next run, where that saves it much."""
        if self.watched is None or self.runs is None:
            return
        queries = self.watched.queries
        if queries.worked_out > max(_WORTH_KEEPING, queries.size // _NEARLY_THE_SAME):
            self.runs.save(self.watched.latest.effects.bits, self.state, queries.keep())


def start(
    config: Config,
    rules: Sequence[Rule],
    models: Models,
    units: list[UnitFacts],
    state: bytes,
    once: bool,
) -> Started:
    """A run on the program that units make up, with what the last one of its kind has left.

    models: without the units' constants. state: what tells these units from others, b"" where that
    is not known. once: whether nothing will be asked of another program.
    """
    constants = constants_of(units)
    runs = _kept_runs(config, rules, constants)
    last = None if runs is None else runs.load()
    program = Program(units, models.with_constants(constants), None if last is None else last.bits)
    if once and runs is None:
        return Started(program, None, RuleRun(program, rules), None, state)
    watched = WatchedProgram(program)
    run = RuleRun(watched, rules)
    if last is not None and once and state and state == last.state:
        watched.queries.take_in_unread(last.unread(run.analysis))
        return Started(program, watched, run, None, state)
    kept = None if last is None else last.answers(run.analysis)
    if kept is not None:
        watched.queries.take_in(kept)
    return Started(program, watched, run, runs, state)


def constants_of(units: Iterable[UnitFacts]) -> dict[str, int]:
    """The values that header shims report, by the name that models use."""
    return {name: value for unit in units for name, value in unit.constants.items()}


def _kept_runs(
    config: Config, rules: Sequence[Rule], constants: Mapping[str, int]
) -> KeptRuns | None:
    """Where answers to this question are kept; None where none are to be."""
    if config.cache is None or config.commands is not None:
        return None
    tree = (config.tree.root, config.tree.build, config.paths, config.preempt_rt)
    encoded = msgspec.json.encode(rules, enc_hook=repr, order="deterministic")
    question = repr((stamp(), sys.version, tree, encoded, sorted(constants.items())))
    return KeptRuns(Path(config.cache), question)
