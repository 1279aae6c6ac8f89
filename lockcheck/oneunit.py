"""Checking one unit of a build, with what the cache knows of the others.

The rules look at the whole program, so a unit alone says little. Here the program is the unit and
all units of the tree whose facts are in the cache and still true. Their findings are kept under a
digest of everything that they depend on: while no file changes, the units of a build are answered
from one analysis.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.facts.inputs import SourceView
from lockcheck.facts.known import Known, KnownUnit, tree_name
from lockcheck.facts.store import FactStore
from lockcheck.findings.model import Finding
from lockcheck.findings.suppress import apply, load_suppressions
from lockcheck.lastrun import key_of
from lockcheck.models.loader import load_models
from lockcheck.rules.loader import load_rules
from lockcheck.session import analyse, ask
from lockcheck.source import kbuild
from lockcheck.source.commands import KBUILD, CommandSet, CompileCommand
from lockcheck.source.flags import clang_arguments
from lockcheck.source.overlay import build_overlay
from lockcheck.source.tree import KernelTree
from lockcheck.stamp import stamp

_LOCK = "oneunit.lock"

# kbuild puts the checker's own options first; the compiler's begin with the dependency file.
_FIRST_OF_COMPILER = "-Wp,-M"


class UnitAnswer(NamedTuple):
    """Findings in one unit, and what went wrong with it; others: how many units were known."""

    findings: tuple[Finding, ...]
    notices: tuple[Notice, ...]
    others: int


class _Kept(msgspec.Struct, frozen=True):
    """An answer about all units that were known, as it is kept."""

    findings: tuple[Finding, ...]


def unit_of(tree: KernelTree, words: Sequence[str], directory: str) -> CompileCommand | None:
    """The unit that a checker called by kbuild is asked about, or None for what is no unit.

    words: the arguments that kbuild gives to $(CHECK): options, then the C file.
    directory: absolute, where it was called.
    Code outside of the tree (an external module) and code that is no part of the kernel proper
    (host tools, real mode) are no units.
    Raises LockcheckError when there is no C file among the arguments, or it does not exist.
    """
    source = kbuild.source_argument(words)
    if source is None:
        raise LockcheckError(
            "no C file among the arguments",
            remedy='let kbuild call it: make C=1 CHECK="lockcheck kbuild"',
        )
    path = os.path.join(directory, source)
    if not os.path.isfile(path):
        raise LockcheckError("there is no such file", file=path, remedy="let kbuild call it")
    file = tree.relative(path)
    first = next((i for i, w in enumerate(words) if w.startswith(_FIRST_OF_COMPILER)), 0)
    command = ["cc", *words[first:], "-c"]
    if file is None or not kbuild.is_kernel_unit(command):
        return None
    return CompileCommand(file, directory, clang_arguments(command, tree.arch), KBUILD)


def check_unit(config: Config, command: CompileCommand) -> UnitAnswer:
    """The findings of one unit.

    config: its tree, rules and suppressions; its cache says what is known of other units.
    Raises LockcheckError as `analyse` does.
    """
    alone = ask(_with(config, [command]))  # reads it, and keeps its facts for the others
    broken = tuple(notice for notice in alone.notices if notice.severity is Severity.ERROR)
    if config.cache is None:
        return _answer(config, _analyse(config, [command]), command, broken, 0)
    known = Known(Path(config.cache))
    try:
        name = tree_name(config.tree.root, config.tree.build)
        known.remember(name, [KnownUnit(command.file, command.directory, command.arguments)])
        # One whole program at a time: make -j would take as much memory as it has jobs.
        with _one_at_a_time(Path(config.cache)):
            commands, digest = _still_true(config, command, known.units(name))
            content = known.answer(digest)
            kept = None if content is None else _decode(content)
            if kept is None:
                kept = _analyse(config, commands)
                known.keep(digest, msgspec.json.encode(kept))
    finally:
        known.close()
    return _answer(config, kept, command, broken, len(commands) - 1)


def _with(config: Config, commands: Sequence[CompileCommand]) -> Config:
    return msgspec.structs.replace(
        config, commands=CommandSet(tuple(commands), (), ""), suppressions=None, jobs=1
    )


def _analyse(config: Config, commands: Sequence[CompileCommand]) -> _Kept:
    report = analyse(_with(config, commands))
    return _Kept(report.findings)


def _decode(content: bytes) -> _Kept | None:
    try:
        return msgspec.json.decode(content, type=_Kept)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _answer(
    config: Config,
    kept: _Kept,
    command: CompileCommand,
    broken: tuple[Notice, ...],
    others: int,
) -> UnitAnswer:
    findings = tuple(finding for finding in kept.findings if _is_in(finding, command.file))
    if config.suppressions is not None:
        entries = load_suppressions(
            Path(os.path.abspath(config.suppressions)),
            {rule.info.rule_id for rule in load_rules(config.rules)},
        )
        findings, _ = apply(findings, entries, datetime.date.today())
    return UnitAnswer(tuple(f for f in findings if f.suppression is None), broken, others)


def _is_in(finding: Finding, file: str) -> bool:
    """Whether a finding is about `file`: it stands there, or in a header that it got to."""
    where = finding.location.file
    if where.endswith(".h"):
        return any(step.location.file == file for step in finding.chain)
    return where == file


def _still_true(
    config: Config, command: CompileCommand, units: Sequence[KnownUnit]
) -> tuple[list[CompileCommand], str]:
    """The units to look at, and a digest of everything that decides what is found there."""
    assert config.cache is not None
    root = str(config.tree.root)
    modelled = load_models().functions
    view = SourceView(build_overlay(config.tree.root, config.overlay))
    store = FactStore(Path(config.cache), root)
    state = hashlib.blake2b(digest_size=20)
    state.update(f"{sorted(config.enable)}\n".encode())
    for rule in config.rules:
        for path in sorted(Path(rule).rglob("*")) if Path(rule).is_dir() else [Path(rule)]:
            state.update(f"{path} {view.of(str(path)).hex()}\n".encode("utf-8", "surrogateescape"))
    state.update(f"{stamp()}\n{root}\n".encode("utf-8", "surrogateescape"))
    commands = []
    for unit in units:
        key = key_of(config.tree.root, unit)
        known = store.load(key, view, modelled)
        if known is None and unit.file != command.file:
            continue  # it has changed since, or never compiled: its own turn will come
        commands.append(CompileCommand(unit.file, unit.directory, unit.arguments, KBUILD))
        files = [os.path.join(root, unit.file)]
        if known is not None:
            files.extend(path for path, _ in known.inputs.files)
        contents = " ".join(view.of(path).hex() for path in files)
        state.update(f"{key.hex()} {contents}\n".encode())
    store.close()
    return commands, state.hexdigest()


@contextlib.contextmanager
def _one_at_a_time(directory: Path) -> Iterator[None]:
    """Wait for other processes that use this cache. The kernel drops the lock of one that dies."""
    try:
        descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        yield  # a cache that cannot be written is no cache; memory is all there is to lose
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
