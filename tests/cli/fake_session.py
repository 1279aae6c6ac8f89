"""A command line whose analysis is faked: these tests are about options and exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from click.testing import CliRunner, Result

from lockcheck import cli
from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.model import (
    Finding,
    LedgerEntry,
    Level,
    Location,
    Outcome,
    Report,
    RuleInfo,
    Step,
    StepKind,
    Suppression,
    TreeInfo,
)
from lockcheck.progress import Progress
from lockcheck.source.tree import KernelTree

RULE = RuleInfo(
    rule_id="some-rule",
    title="Some data is used under its lock",
    rationale="It changes under the lock.",
    bad_example="x++;",
    good_example="lock(); x++; unlock();",
    level=Level.WARNING,
    cwe=("CWE-667",),
    file="rules/some-rule.yaml",
)
LOCATION = Location("lib/a.c", 3, 2, "f")
FINDING = Finding(
    rule_id="some-rule",
    level=Level.WARNING,
    message="f() changes x without its lock",
    location=LOCATION,
    chain=(Step(StepKind.ENTRY, LOCATION, "no caller"),),
    related=(),
    fingerprint="0" * 32,
)
SUPPRESSED = Finding(
    rule_id="some-rule",
    level=Level.WARNING,
    message="g() changes x without its lock",
    location=Location("lib/b.c", 7, 2, "g"),
    chain=(),
    related=(),
    fingerprint="1" * 32,
    suppression=Suppression("some-rule", "g", "not visible yet", "lockcheck.toml", 1),
)
PROVED = LedgerEntry(
    outcome=Outcome.PROVED,
    origin="lock_is_held",
    rule_id="some-rule",
    location=Location("lib/a.c", 5, 2, "f"),
    requirement="box->lock held",
    lock=("box.lock",),
    reason="held in every context",
)
VIOLATED = msgspec.structs.replace(
    PROVED,
    outcome=Outcome.VIOLATED,
    origin="some-rule",
    location=LOCATION,
    reason="a call chain breaks it: see the finding",
)
UNPROVED = msgspec.structs.replace(
    PROVED,
    outcome=Outcome.UNPROVED,
    location=Location("lib/b.c", 9, 3, "g"),
    reason="nobody in the units read calls it",
    no_caller=True,
)
NOT_PARSED = Notice(Severity.ERROR, "unit-not-parsed", "unknown type name", "lib/c.c", 1)


def report(
    findings: tuple[Finding, ...] = (), notices: tuple[Notice, ...] = (), *, complete: bool = True
) -> Report:
    return Report(
        findings=findings,
        notices=notices,
        rules=(RULE,),
        tree=TreeInfo("/src/linux", "6.1.7", None, None),
        ledger=(),
        units=3,
        command_line=("lockcheck", "check"),
        started="2026-01-02T03:04:05Z",
        ended="2026-01-02T03:04:25Z",
        complete=complete,
    )


Analyse = Callable[[Config, Progress], Report]


class Program:
    """lockcheck in a directory of its own, with an analysis that a test chooses.

    configs: what the analysis was called with, one entry a run.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.root = directory / "linux"
        self.root.mkdir()
        self.configs: list[Config] = []
        self._analyse: Analyse = lambda config, progress: report()
        session = ModuleType("lockcheck.session")
        session.analyse = self._called  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "lockcheck.session", session)
        monkeypatch.setattr("lockcheck.source.tree.find_tree", self._find_tree)
        monkeypatch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        monkeypatch.delenv("LOCKCHECK_DEBUG", raising=False)
        monkeypatch.chdir(directory)

    def answers(self, answer: Report | BaseException | Analyse) -> None:
        """Let the analysis return this, raise this, or be this."""
        if isinstance(answer, Report):
            self._analyse = lambda config, progress: answer
        elif isinstance(answer, BaseException):

            def fail(config: Config, progress: Progress) -> Report:
                raise answer

            self._analyse = fail
        else:
            self._analyse = answer

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.cli, list(arguments), prog_name="lockcheck")

    @property
    def config(self) -> Config:
        """What the only run so far was told."""
        assert len(self.configs) == 1
        return self.configs[0]

    def _called(self, config: Config, progress: Progress) -> Report:
        self.configs.append(config)
        return self._analyse(config, progress)

    def _find_tree(self, start: Path | None = None, build: Path | None = None) -> KernelTree:
        root = start if start is not None else self.root
        if not root.is_dir():
            raise LockcheckError(f"{root} does not exist", remedy="name a tree with --tree DIR")
        return KernelTree(root, build or root, "6.1.7", "x86", "x86_64", "gcc", {})
