"""What the last run on the same paths has left: the facts of its units, and their commands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lockcheck.config import Config
from lockcheck.errors import Notice
from lockcheck.facts.inputs import SourceView
from lockcheck.facts.ir import UnitFacts
from lockcheck.facts.known import Known, KnownUnit, tree_name
from lockcheck.facts.store import FactStore, Stored, unit_key, without_garbage_collection
from lockcheck.lower.worker import UnitJob
from lockcheck.models.loader import Models
from lockcheck.parse import libclang
from lockcheck.source.commands import CommandSet
from lockcheck.source.overlay import build_overlay


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
                keys = store.remembered(question(config))
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
        return Read([one.facts for one in known], [], state_of(one.digest for one in known))


def remember_commands(config: Config, commands: CommandSet) -> None:
    """Tell the cache how units are compiled, for runs that are asked about one alone."""
    if config.cache is None or config.commands is not None:
        return
    known = Known(Path(config.cache))
    known.remember(
        tree_name(config.tree.root, config.tree.build),
        [KnownUnit(c.file, c.directory, c.arguments) for c in commands.commands],
    )
    known.close()


def key_of(root: Path, unit: UnitJob | KnownUnit) -> bytes:
    """The key of a unit of the tree at `root` in the store."""
    return unit_key((libclang.identity(), str(root), unit.file, unit.directory, *unit.arguments))


def question(config: Config) -> bytes:
    """What tells runs that are likely to need the same units."""
    tree = (str(config.tree.root), str(config.tree.build), f"PREEMPT_RT {config.preempt_rt}")
    return unit_key((*tree, *config.paths))


def state_of(digests: Iterable[bytes]) -> bytes:
    """What tells units, in their order, from others; b"" where one of them has no digest."""
    state = hashlib.blake2b(digest_size=16)
    for digest in digests:
        if not digest:
            return b""
        state.update(digest)
    return state.digest()
