"""Facts kept on disk between runs.

A unit's facts are found under a key that names what was asked (versions, models, shims, command);
they are used only if every file that clang read then still has the same content. A cache that
cannot be read or written is a cache that is empty.
"""

from __future__ import annotations

import hashlib
import marshal
import sqlite3
import sys
from collections.abc import Container, Iterable, Set
from pathlib import Path
from typing import Any

import msgspec

from lockcheck import __version__
from lockcheck.facts.ir import Function, UnitFacts

_SCHEMA = 5
_FILE = f"facts-{_SCHEMA}.sqlite"
_MAX_BYTES = 1 << 30


class FileHashes:
    """Content hashes of files, read once each."""

    def __init__(self, overlay: dict[str, bytes]) -> None:
        self._known: dict[str, str] = {
            path: hashlib.blake2b(text, digest_size=16).hexdigest()
            for path, text in overlay.items()
        }

    def of(self, path: str) -> str:
        """The hash of a file's content; "" when it cannot be read."""
        known = self._known.get(path)
        if known is None:
            try:
                content = Path(path).read_bytes()
            except OSError:
                content = None
            known = "" if content is None else hashlib.blake2b(content, digest_size=16).hexdigest()
            self._known[path] = known
        return known

    def note(self, path: str, content: str) -> None:
        """Take a file's hash as known."""
        self._known.setdefault(path, content)

    def items(self) -> Set[tuple[str, str]]:
        """(path, hash) of all files that were asked for."""
        return self._known.items()


def unit_key(parts: Iterable[str]) -> str:
    """The key of a unit: everything but file contents that its facts depend on."""
    state = hashlib.blake2b(digest_size=20)
    for part in (__version__, str(_SCHEMA), sys.version, str(marshal.version), *parts):
        state.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return state.hexdigest()


class FactStore:
    """The cache. Safe for several processes: SQLite does the locking."""

    def __init__(self, directory: Path) -> None:
        self._db: sqlite3.Connection | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(directory / _FILE, timeout=10)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(
                "CREATE TABLE IF NOT EXISTS unit "
                "(key TEXT PRIMARY KEY, files BLOB, facts BLOB, used INTEGER)"
            )
            self._db = db
        except (OSError, sqlite3.Error):
            self._db = None

    def load(self, key: str, hashes: FileHashes, modelled: Container[str]) -> UnitFacts | None:
        """The facts under a key, if what they came from has not changed.

        modelled: names of the functions that models stand for; the facts must have been made with
        the same ones among those that the unit reaches.
        """
        if self._db is None:
            return None
        try:
            row = self._db.execute("SELECT files, facts FROM unit WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            files: Any = marshal.loads(row[0])
            if any(hashes.of(path) != content for path, content in files):
                return None
            facts = _decode(marshal.loads(row[1]))
            if any(name not in modelled for name in facts.hidden):
                return None
            if any(key.split("@", 1)[0] in modelled for key in facts.needs):
                return None
            return facts
        except (sqlite3.Error, EOFError, ValueError, TypeError):
            return None

    def save(self, key: str, files: Iterable[str], facts: UnitFacts, hashes: FileHashes) -> None:
        """Keep facts. Failure to do so is no failure of the run."""
        if self._db is None:
            return
        dependencies = tuple((path, hashes.of(path)) for path in files)
        try:
            with self._db:
                self._db.execute(
                    "INSERT OR REPLACE INTO unit VALUES (?, ?, ?, strftime('%s', 'now'))",
                    (key, marshal.dumps(dependencies), marshal.dumps(_encode(facts))),
                )
        except (sqlite3.Error, ValueError):
            return

    def close(self) -> None:
        """Close, after dropping the oldest entries of a cache that has grown too large."""
        if self._db is None:
            return
        try:
            with self._db:
                size = self._db.execute(
                    "SELECT coalesce(sum(length(facts) + length(files)), 0) FROM unit"
                ).fetchone()[0]
                if size > _MAX_BYTES:
                    self._db.execute(
                        "DELETE FROM unit WHERE key IN (SELECT key FROM unit ORDER BY used "
                        "LIMIT (SELECT count(*) / 2 FROM unit))"
                    )
            self._db.close()
        except sqlite3.Error:
            pass
        self._db = None


def _encode(facts: UnitFacts) -> Any:
    values = list(msgspec.structs.astuple(facts))
    values[1] = tuple(msgspec.structs.astuple(f) for f in facts.functions)
    values[2] = tuple(msgspec.structs.astuple(f) for f in facts.inlines)
    return tuple(values)


def _decode(values: Any) -> UnitFacts:
    fields = list(values)
    fields[1] = tuple(Function(*f) for f in fields[1])
    fields[2] = tuple(Function(*f) for f in fields[2])
    return UnitFacts(*fields)
