"""The units of a run and their facts, kept while file contents change.

Facts are taken from memory, else from the store, else made by parsing; each only where every file
that the unit was read from has the contents that it had then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lockcheck.config import Config
from lockcheck.errors import Notice, Severity
from lockcheck.facts.inputs import Disk, SourceView, UnitInputs
from lockcheck.facts.ir import UnitFacts
from lockcheck.facts.known import Known, KnownUnit, tree_name
from lockcheck.facts.store import FactStore, Stored, unit_key, without_garbage_collection
from lockcheck.lower.worker import UnitJob, UnitResult, read_units
from lockcheck.models.loader import Models
from lockcheck.parse import libclang
from lockcheck.progress import Progress, SilentProgress
from lockcheck.source.commands import CommandSet, load_commands, resolve_paths
from lockcheck.source.overlay import build_overlay
from lockcheck.source.patched import patched_commands

if TYPE_CHECKING:
    from lockcheck.quick.editor import Editor

Contents = Mapping[str, bytes | None]  # by path relative to the tree; None: the file is gone

_KEPT = 3  # versions of one unit's facts that are kept in memory


class Read(NamedTuple):
    """What came of reading the units.

    state: the same for the same units in the same order, in any run; b"" where that is not known.
    """

    units: list[UnitFacts]
    notices: list[Notice]
    state: bytes

    def is_about(self, units: list[UnitFacts]) -> bool:
        """Whether these are the very units, in the same order."""
        return list(map(id, units)) == list(map(id, self.units))


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


class Fresh(NamedTuple):
    """Facts that were not known before, for whoever reads the same contents."""

    job: UnitJob
    version: _Version


class Ahead:
    """Facts that the last run on the same paths needed, loaded while kbuild is asked again.

    Only a start: each is used if the run turns out to need it, under its key. Empty without a
    cache, and for a run that is the first of its kind. is_whole: whether there are all that the
    last run needed; not so when one of its files has changed.
    """

    def __init__(self, config: Config, models: Models) -> None:
        self.overlay = build_overlay(config.tree.root, config.overlay)
        self.view = SourceView(self.overlay)
        self.facts: dict[bytes, Stored] = {}
        self.is_whole = False
        self.damaged = ""  # as for the store
        if config.cache is None or config.commands is not None:
            return
        if not Path(config.cache).is_dir():
            return  # nothing is made before it is known that there is something to check
        store = FactStore(Path(config.cache), str(config.tree.root))
        try:
            with without_garbage_collection():
                keys = store.remembered(_question(config))
                for key in keys:
                    known = store.load(key, self.view, models.functions)
                    if known is not None:
                        self.facts[key] = known
                self.is_whole = bool(keys) and len(self.facts) == len(keys)
        finally:
            store.close()
            self.damaged = store.damaged

    def read(self) -> Read:
        """The facts of all units, in the order of that run."""
        known = self.facts.values()
        return Read([one.facts for one in known], [], _state(one.digest for one in known))


def find_commands(config: Config) -> CommandSet:
    """How the units are compiled. Raises LockcheckError as `load_commands` does."""
    if config.commands is not None:
        return config.commands
    return load_commands(config.tree, config.paths)


def _remember_commands(config: Config, commands: CommandSet) -> None:
    """Tell the cache how units are compiled, for runs that are asked about one alone."""
    if config.cache is None or config.commands is not None:
        return
    known = Known(Path(config.cache))
    known.remember(
        tree_name(config.tree.root, config.tree.build),
        [KnownUnit(c.file, c.directory, c.arguments) for c in commands.commands],
    )
    known.close()


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
        _remember_commands(config, commands)
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
        """Read the units under one state of contents after the other, in another process.

        Each unit's facts are told as they come, and None at the end of each state.
        """
        self._tell = tell
        for contents in states:
            self.read(contents, SilentProgress())
            tell(None)

    def read(
        self, contents: Contents, progress: Progress, fresh: Iterator[Fresh | None] | None = None
    ) -> Read:
        """The facts of all units, with `contents` in place of files of the tree.

        fresh: what `read_ahead` tells elsewhere; it is used up to the end of one state. Only a
            start: each is used where it fits, and what it does not tell is read here.
        Facts that were read before come back as the same objects.
        """
        overlay = build_overlay(self._root, contents)
        self._view = SourceView(overlay, self._disk)
        ahead, self._ahead = self._ahead, None
        early = {}
        if ahead is not None and ahead.overlay == overlay:
            self._view, early = ahead.view, ahead.facts
        replaced = frozenset(str(self._root / path) for path in contents)
        patched = patched_commands(self._config.tree, self._commands, self._wanted, contents)
        jobs = [UnitJob(c.file, c.directory, c.arguments) for c in patched.commands]
        for job in jobs:
            if job not in self._keys:
                self._keys[job] = key_of(self._root, job)
            self._versions.setdefault(job.file, [])
        progress.begin("units", len(jobs))
        facts = self._remembered(jobs, replaced)
        for job in jobs:
            if self._keys[job] in early:
                facts[job.file] = early[self._keys[job]].facts
                self._remember(job, early[self._keys[job]], replaced)
        if self._editor is not None:
            self._edited(self._editor, jobs, facts, overlay, replaced)
        for file in facts:
            progress.advance(file)
        if fresh is not None:
            facts.update(self._received(jobs, facts, fresh, replaced, progress))
        store = None
        keys = [self._keys[job] for job in jobs]
        is_known = len(facts) == len(jobs) and (ahead is None or list(early) == keys)
        if not is_known and self._config.cache is not None:
            store = FactStore(Path(self._config.cache), str(self._root))
        try:
            notices = self._complete(jobs, facts, overlay, replaced, store, progress)
            if store is not None and self._config.commands is None:
                store.remember(_question(self._config), keys)
        finally:
            if store is not None:
                store.close()
        damaged = (store.damaged if store is not None else "") or (ahead.damaged if ahead else "")
        if damaged:
            notices.append(_damaged(damaged, self._config.cache))
        progress.end()
        units = [facts[job.file] for job in jobs if job.file in facts]
        newest = (self._versions[job.file][:1] for job in jobs)
        state = _state(
            known[0].digest if known and known[0].facts is facts.get(job.file) else b""
            for job, known in zip(jobs, newest, strict=True)
        )
        return Read(units, [*patched.notices, *notices], state)

    # -- what is known -------------------------------------------------------------------------

    def _remembered(
        self, jobs: Sequence[UnitJob], replaced: frozenset[str]
    ) -> dict[str, UnitFacts]:
        facts: dict[str, UnitFacts] = {}
        for job in jobs:
            versions = self._versions[job.file]
            for index, version in enumerate(versions):
                if version.replaced in (None, replaced) and self._view.matches(version.inputs):
                    facts[job.file] = version.facts
                    versions.insert(0, versions.pop(index))
                    break
        return facts

    def _text(self, file: str, overlay: Mapping[str, bytes | None]) -> bytes | None:
        path = str(self._root / file)
        if path in overlay:
            return overlay[path]
        try:
            return Path(path).read_bytes()
        except OSError:
            return None

    def _edited(
        self,
        editor: Editor,
        jobs: Sequence[UnitJob],
        facts: dict[str, UnitFacts],
        overlay: Mapping[str, bytes | None],
        replaced: frozenset[str],
    ) -> None:
        """Add the facts of the one unit that has none, where its edit was expected."""
        from lockcheck.quick.reading import Command

        missing = [job for job in jobs if job.file not in facts]
        if len(missing) != 1:
            return
        job = missing[0]
        text = self._text(job.file, overlay)
        if text is None:
            return
        delivered = _delivered(facts.values())
        command = Command(job.file, job.directory, job.arguments)
        quick = editor.read(command, text, self._view, delivered)
        if quick is not None:
            facts[job.file] = quick.facts
            self._remember(job, Stored(quick.facts, quick.inputs, b""), replaced)

    def _received(
        self,
        jobs: Sequence[UnitJob],
        facts: Mapping[str, UnitFacts],
        fresh: Iterator[Fresh | None],
        replaced: frozenset[str],
        progress: Progress,
    ) -> dict[str, UnitFacts]:
        """The facts of one more state, of units that have none."""
        for one in fresh:
            if one is None:
                break
            self._keep(one.job, one.version)
            progress.advance(one.job.file)
        return self._remembered([job for job in jobs if job.file not in facts], replaced)

    def _remember(self, job: UnitJob, found: Stored, replaced: frozenset[str]) -> None:
        version = _Version(*found, replaced if found.facts.errors else None)
        self._keep(job, version)
        self._tell(Fresh(job, version))

    def _keep(self, job: UnitJob, version: _Version) -> None:
        versions = [v for v in self._versions.get(job.file, ()) if v.inputs != version.inputs]
        self._versions[job.file] = [version, *versions[: _KEPT - 1]]

    # -- what is not ---------------------------------------------------------------------------

    def _complete(
        self,
        jobs: Sequence[UnitJob],
        facts: dict[str, UnitFacts],
        overlay: Mapping[str, bytes | None],
        replaced: frozenset[str],
        store: FactStore | None,
        progress: Progress,
    ) -> list[Notice]:
        """Add the facts of the jobs that have none yet; what could not be read is told."""
        if store is not None:
            self._load(jobs, facts, replaced, store, progress)
        failed: dict[str, Notice] = {}
        missing = [job for job in jobs if job.file not in facts] or _to_read_again(jobs, facts)
        again: set[UnitJob] = set()  # units are read again at most once
        while missing:
            others = [facts[j.file] for j in jobs if j.file in facts and j not in missing]
            results = read_units(
                missing,
                self._root,
                overlay,
                frozenset(self._models.functions),
                frozenset(_delivered(others)),
                self._config.jobs,
            )
            for result in results:
                job = result.job
                progress.advance(job.file)
                if result.facts is None:
                    facts.pop(job.file, None)  # else it would be read for ever
                    failed[job.file] = _not_parsed(result)
                    continue
                facts[job.file] = result.facts
                if result.inputs is None:
                    self._versions[job.file] = []  # good for now, and never again
                    continue
                on_disk = replaced.isdisjoint(path for path, _ in result.inputs.files)
                digest = b""
                if store is not None and not result.facts.errors and (on_disk or self.keeps_all):
                    digest = store.save(
                        self._keys[job], result.inputs, result.facts, on_trial=not on_disk
                    )
                self._remember(job, Stored(result.facts, result.inputs, digest), replaced)
            missing = [job for job in _to_read_again(jobs, facts) if job not in again]
            again.update(missing)
        return [
            notice
            for job in jobs
            for notice in (
                [failed[job.file]] if job.file in failed else _errors(facts.get(job.file))
            )
        ]

    def _load(
        self,
        jobs: Sequence[UnitJob],
        facts: dict[str, UnitFacts],
        replaced: frozenset[str],
        store: FactStore,
        progress: Progress,
    ) -> None:
        """Add what the store has of the jobs that have no facts yet."""
        with without_garbage_collection():
            for job in jobs:
                if job.file in facts:
                    continue
                known = store.load(self._keys[job], self._view, self._models.functions)
                if known is not None:
                    facts[job.file] = known.facts
                    self._remember(job, known, replaced)
                    progress.advance(job.file)


def key_of(root: Path, unit: UnitJob | KnownUnit) -> bytes:
    """The key of a unit of the tree at `root` in the store."""
    return unit_key((libclang.identity(), str(root), unit.file, unit.directory, *unit.arguments))


def _question(config: Config) -> bytes:
    """What tells runs that are likely to need the same units."""
    tree = (str(config.tree.root), str(config.tree.build), f"PREEMPT_RT {config.preempt_rt}")
    return unit_key((*tree, *config.paths))


def _state(digests: Iterable[bytes]) -> bytes:
    """What tells units, in their order, from others; b"" where one of them has no digest."""
    state = hashlib.blake2b(digest_size=16)
    for digest in digests:
        if not digest:
            return b""
        state.update(digest)
    return state.digest()


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
