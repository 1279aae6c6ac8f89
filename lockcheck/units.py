"""The units of a run and their facts, kept while file contents change.

Facts are taken from memory, else from the store, else made by parsing; each only where every file
that the unit was read from has the contents that it had then.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lockcheck.config import Config
from lockcheck.errors import Notice, Severity
from lockcheck.facts.inputs import Disk, SourceView, UnitInputs
from lockcheck.facts.ir import UnitFacts
from lockcheck.facts.store import FactStore, Stored, without_garbage_collection
from lockcheck.inturn import Changes, InTurn
from lockcheck.lastrun import Ahead, Read, key_of, question, state_of
from lockcheck.lower.worker import (
    PlacedJob,
    UnitJob,
    UnitResult,
    read_placed_units,
    read_units,
)
from lockcheck.models.loader import Models
from lockcheck.progress import Progress, SilentProgress
from lockcheck.source.commands import CommandSet, load_commands, resolve_paths
from lockcheck.source.overlay import build_overlay
from lockcheck.source.patched import patched_commands

if TYPE_CHECKING:
    from lockcheck.quick.editor import Editor

Contents = Mapping[str, bytes | None]  # by path relative to the tree; None: the file is gone

_KEPT = 3  # versions of one unit's facts that are kept in memory


class _Version(NamedTuple):
    """Facts, and what they were made from.

    digest: what the facts are, in few bytes; b"" where that is not known.
    replaced: the paths that had other contents than on disk, for facts that tell of errors: a file
    that was missing may be there by now.
    """

    facts: UnitFacts
    inputs: UnitInputs
    digest: bytes
    replaced: frozenset[str] | None


def find_commands(config: Config) -> CommandSet:
    """How the units are compiled. Raises LockcheckError as `load_commands` does."""
    if config.commands is not None:
        return config.commands
    return load_commands(config.tree, config.paths)


class _Entered(NamedTuple):
    """One state of contents, as a reading begins.

    overlay: what is read in place of files, by absolute path. replaced: the paths of those that
    the caller replaces. notices: of units that are not on disk.
    """

    overlay: Mapping[str, bytes | None]
    replaced: frozenset[str]
    jobs: list[UnitJob]
    notices: tuple[Notice, ...]


class Fresh(NamedTuple):
    """Facts that were not known before, for whoever reads the same contents."""

    job: UnitJob
    version: _Version


class Units:
    """Reads the units of one configuration, as often as contents change.

    keeps_all: whether the store is to have facts of contents that are not on disk, too. They are
        worth it for patches, which come again, and not for what somebody is typing.
    """

    def __init__(
        self, config: Config, commands: CommandSet, models: Models, ahead: Ahead | None = None
    ) -> None:
        """`ahead`: what was loaded already for the first `read`."""
        self.keeps_all = False
        self._ahead = ahead
        self._config = config
        self._root = config.tree.root
        self._models = models
        self._commands = commands.commands
        self._wanted = resolve_paths(config.tree, config.paths)
        self._keys: dict[UnitJob, bytes] = {}
        self._versions: dict[str, list[_Version]] = {}
        self._disk = Disk()
        self._view = SourceView()
        self._tell: Callable[[Fresh | None], None] = lambda fresh: None
        self._editor: Editor | None = None

    def expect_edits(self, file: str, contents: Contents) -> None:
        """Get ready for edits of a unit, which is as in `contents` now; returns at once.

        file: relative to the tree. What is not a unit of this configuration is passed over.
        """
        from lockcheck.quick.editor import Editor  # for editors only: nobody else pays for it
        from lockcheck.quick.reading import Command

        command = next((c for c in self._commands if c.file == file), None)
        versions = self._versions.get(file, ())
        if command is None or not versions or versions[0].facts.errors or versions[0].facts.plain:
            return
        if self._editor is None:
            self._editor = Editor(self._root, self._models.functions)
        overlay = build_overlay(self._root, contents)
        text = self._text(file, overlay)
        if text is not None:
            self._editor.prepare(Command(file, command.directory, command.arguments), text, overlay)

    def close(self) -> None:
        """End the process that is ready for edits."""
        if self._editor is not None:
            self._editor.close()
            self._editor = None

    def read_ahead(self, tell: Callable[[Fresh | None], None], states: Sequence[Contents]) -> None:
        """Read the units under a row of states of contents, in another process.

        Facts that had to be made are told, state by state, and None at the end of each. Those of
        all states after the first are made side by side.
        """
        self._tell = tell
        facts = {unit.file: unit for unit in self.read(states[0], SilentProgress()).units}
        tell(None)
        turn = InTurn(tell, len(states) - 1)
        entered: list[_Entered] = []
        missing: list[PlacedJob] = []
        planned: set[tuple[UnitJob, Hashable]] = set()
        changes = Changes(build_overlay(self._root, contents) for contents in states)
        store = self._open_store()
        try:
            for number, contents in enumerate(states[1:]):
                here = self._enter(contents)
                entered.append(here)
                facts = self._remembered(here)
                if store is not None:
                    self._load(here, facts, store, SilentProgress())
                for job in here.jobs:
                    if job.file in facts:
                        continue
                    seen = changes.seen_by(self._files_of(job), here.overlay)
                    if (job, seen) not in planned:
                        planned.add((job, seen))
                        missing.append(PlacedJob(job, number))
                        turn.expect(number)
                turn.complete(number)
            anew = {job.file for job, _ in missing}
            for result, number in read_placed_units(
                missing,
                self._root,
                [here.overlay for here in entered],
                frozenset(self._models.functions),
                frozenset(_delivered(unit for file, unit in facts.items() if file not in anew)),
                self._config.jobs,
            ):
                self._tell = partial(turn.add, number)
                self._take(result, entered[number].replaced, store)
                turn.complete(number)
        finally:
            if store is not None:
                store.close()

    def read(
        self, contents: Contents, progress: Progress, fresh: Iterator[Fresh | None] | None = None
    ) -> Read:
        """The facts of all units, with `contents` in place of files of the tree.

        fresh: what `read_ahead` tells elsewhere; it is used up to the end of one state. Only a
            start: each is used where it fits, and what it does not tell is read here.
        Facts that were read before come back as the same objects.
        """
        here = self._enter(contents)
        jobs = here.jobs
        ahead, self._ahead = self._ahead, None
        early = {}
        if ahead is not None and ahead.overlay == here.overlay:
            self._view, early = ahead.view, ahead.facts
        progress.begin("units", len(jobs))
        facts = self._remembered(here)
        for job in jobs:
            if self._keys[job] in early:
                facts[job.file] = early[self._keys[job]].facts
                self._remember(job, early[self._keys[job]], here.replaced)
        if self._editor is not None:
            self._edited(self._editor, here, facts)
        for file in facts:
            progress.advance(file)
        if fresh is not None:
            facts.update(self._received(here, facts, fresh, progress))
        keys = [self._keys[job] for job in jobs]
        is_known = len(facts) == len(jobs) and (ahead is None or list(early) == keys)
        store = None if is_known else self._open_store()
        try:
            notices = self._complete(here, facts, store, progress)
            if store is not None and self._config.commands is None:
                store.remember(question(self._config), keys)
        finally:
            if store is not None:
                store.close()
        damaged = (store.damaged if store is not None else "") or (ahead.damaged if ahead else "")
        if damaged:
            notices.append(_damaged(damaged, self._config.cache))
        progress.end()
        units = [facts[job.file] for job in jobs if job.file in facts]
        newest = (self._versions[job.file][:1] for job in jobs)
        state = state_of(
            known[0].digest if known and known[0].facts is facts.get(job.file) else b""
            for job, known in zip(jobs, newest, strict=True)
        )
        return Read(units, [*here.notices, *notices], state)

    def _enter(self, contents: Contents) -> _Entered:
        """Look at the files, and have the units, as they are under `contents`."""
        overlay = build_overlay(self._root, contents)
        self._view = SourceView(overlay, self._disk)
        patched = patched_commands(self._config.tree, self._commands, self._wanted, contents)
        jobs = [UnitJob(c.file, c.directory, c.arguments) for c in patched.commands]
        for job in jobs:
            if job not in self._keys:
                self._keys[job] = key_of(self._root, job)
            self._versions.setdefault(job.file, [])
        replaced = frozenset(str(self._root / path) for path in contents)
        return _Entered(overlay, replaced, jobs, patched.notices)

    def _open_store(self) -> FactStore | None:
        if self._config.cache is None:
            return None
        return FactStore(Path(self._config.cache), str(self._root))

    # -- what is known -------------------------------------------------------------------------

    def _remembered(self, here: _Entered) -> dict[str, UnitFacts]:
        facts: dict[str, UnitFacts] = {}
        for job in here.jobs:
            versions = self._versions[job.file]
            for index, version in enumerate(versions):
                if version.replaced in (None, here.replaced) and self._view.matches(version.inputs):
                    facts[job.file] = version.facts
                    versions.insert(0, versions.pop(index))
                    break
        return facts

    def _files_of(self, job: UnitJob) -> set[str] | None:
        """The files that states of a unit were read from, as far as is known."""
        versions = self._versions[job.file]
        return {path for v in versions for path, _ in v.inputs.files} if versions else None

    def _text(self, file: str, overlay: Mapping[str, bytes | None]) -> bytes | None:
        path = str(self._root / file)
        if path in overlay:
            return overlay[path]
        try:
            return Path(path).read_bytes()
        except OSError:
            return None

    def _edited(self, editor: Editor, here: _Entered, facts: dict[str, UnitFacts]) -> None:
        """Add the facts of the one unit that has none, where its edit was expected."""
        from lockcheck.quick.reading import Command

        missing = [job for job in here.jobs if job.file not in facts]
        if len(missing) != 1:
            return
        job = missing[0]
        text = self._text(job.file, here.overlay)
        if text is None:
            return
        delivered = _delivered(facts.values())
        command = Command(job.file, job.directory, job.arguments)
        quick = editor.read(command, text, self._view, delivered)
        if quick is not None:
            facts[job.file] = quick.facts
            self._remember(job, Stored(quick.facts, quick.inputs, b""), here.replaced)

    def _received(
        self,
        here: _Entered,
        facts: Mapping[str, UnitFacts],
        fresh: Iterator[Fresh | None],
        progress: Progress,
    ) -> dict[str, UnitFacts]:
        """The facts of one more state, of units that have none."""
        for one in fresh:
            if one is None:
                break
            self._keep(one.job, one.version)
            progress.advance(one.job.file)
        missing = [job for job in here.jobs if job.file not in facts]
        return self._remembered(here._replace(jobs=missing))

    def _remember(self, job: UnitJob, found: Stored, replaced: frozenset[str]) -> _Version:
        version = _Version(*found, replaced if found.facts.errors else None)
        self._keep(job, version)
        return version

    def _keep(self, job: UnitJob, version: _Version) -> None:
        versions = [v for v in self._versions.get(job.file, ()) if v.inputs != version.inputs]
        self._versions[job.file] = [version, *versions[: _KEPT - 1]]

    # -- what is not ---------------------------------------------------------------------------

    def _complete(
        self,
        here: _Entered,
        facts: dict[str, UnitFacts],
        store: FactStore | None,
        progress: Progress,
    ) -> list[Notice]:
        """Add the facts of the units that have none yet; what could not be read is told."""
        if store is not None:
            self._load(here, facts, store, progress)
        failed: dict[str, Notice] = {}
        jobs = here.jobs
        missing = [job for job in jobs if job.file not in facts] or _to_read_again(jobs, facts)
        again: set[UnitJob] = set()  # units are read again at most once
        while missing:
            others = [facts[j.file] for j in jobs if j.file in facts and j not in missing]
            results = read_units(
                missing,
                self._root,
                here.overlay,
                frozenset(self._models.functions),
                frozenset(_delivered(others)),
                self._config.jobs,
            )
            for result in results:
                file = result.job.file
                progress.advance(file)
                self._take(result, here.replaced, store)
                if result.facts is None:
                    facts.pop(file, None)  # else it would be read for ever
                    failed[file] = _not_parsed(result)
                else:
                    facts[file] = result.facts
            missing = [job for job in _to_read_again(jobs, facts) if job not in again]
            again.update(missing)
        return [
            notice
            for job in jobs
            for notice in (
                [failed[job.file]] if job.file in failed else _errors(facts.get(job.file))
            )
        ]

    def _take(self, result: UnitResult, replaced: frozenset[str], store: FactStore | None) -> None:
        """Remember facts that were made, here and in the store, where they may be used again."""
        job, facts, inputs = result.job, result.facts, result.inputs
        if facts is None:
            return
        if inputs is None:
            self._versions[job.file] = []  # good for now, and never again
            return
        on_disk = replaced.isdisjoint(path for path, _ in inputs.files)
        digest = b""
        if store is not None and not facts.errors and (on_disk or self.keeps_all):
            digest = store.save(self._keys[job], inputs, facts, on_trial=not on_disk)
        version = self._remember(job, Stored(facts, inputs, digest), replaced)
        self._tell(Fresh(job, version))

    def _load(
        self, here: _Entered, facts: dict[str, UnitFacts], store: FactStore, progress: Progress
    ) -> None:
        """Add what the store has of the units that have no facts yet."""
        with without_garbage_collection():
            for job in here.jobs:
                if job.file in facts:
                    continue
                known = store.load(self._keys[job], self._view, self._models.functions)
                if known is not None:
                    facts[job.file] = known.facts
                    self._remember(job, known, here.replaced)
                    progress.advance(job.file)


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


def _damaged(what: str, cache: str | None) -> Notice:
    return Notice(
        Severity.WARNING,
        "cache-damaged",
        f"the cache in {cache} was damaged ({what}); what it held was read anew",
        remedy="if it happens again, look at the disk, or name another directory with --cache",
    )


def _not_parsed(result: UnitResult) -> Notice:
    return Notice(
        Severity.ERROR,
        "unit-not-parsed",
        f"this unit was not read: {result.failure}",
        result.job.file,
        None,
        result.remedy,
    )


def _errors(facts: UnitFacts | None) -> list[Notice]:
    return [
        Notice(
            Severity.ERROR,
            "unit-has-errors",
            f"{facts.file} was read only in part: {message}",
            file,
            line,
            "check that the tree is prepared (make prepare) and that the file compiles",
        )
        for file, line, message in (() if facts is None else facts.errors[:1])
        if facts is not None
    ]
