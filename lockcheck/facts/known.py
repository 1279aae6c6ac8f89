"""What a cache knows of a tree beside facts: how units are compiled, and what was answered.

A build calls lockcheck once for each unit and tells it of that unit only. The others are the ones
that earlier calls, or `lockcheck check`, have read with the same cache.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

_FILE = "known-1.sqlite"
_MAX_ANSWERS = 64
_TABLES = (
    "CREATE TABLE IF NOT EXISTS unit "
    "(tree TEXT, file TEXT, directory TEXT, arguments TEXT, PRIMARY KEY (tree, file))",
    "CREATE TABLE IF NOT EXISTS answer (digest TEXT PRIMARY KEY, content BLOB, used INTEGER)",
)


class KnownUnit(NamedTuple):
    """One unit: its file relative to the tree, and its cleaned compile command."""

    file: str
    directory: str
    arguments: tuple[str, ...]


class Known:
    """Safe for several processes: SQLite does the locking. What cannot be read is not known."""

    def __init__(self, directory: Path) -> None:
        self._db: sqlite3.Connection | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(directory / _FILE, timeout=10)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            for table in _TABLES:
                db.execute(table)
            self._db = db
        except (OSError, sqlite3.Error):
            self._db = None

    def remember(self, tree: str, units: Iterable[KnownUnit]) -> None:
        """Keep how units of `tree` are compiled; the last command of a file stays."""
        if self._db is None:
            return
        rows = [
            (tree, _text(unit.file), _text(unit.directory), msgspec.json.encode(arguments).decode())
            for unit in units
            if (arguments := [_text(word) for word in unit.arguments])
        ]
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO unit VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error:
            return

    def units(self, tree: str) -> tuple[KnownUnit, ...]:
        """All units of `tree` that were remembered, in order of their files."""
        if self._db is None:
            return ()
        try:
            rows = self._db.execute(
                "SELECT file, directory, arguments FROM unit WHERE tree = ? ORDER BY file", (tree,)
            ).fetchall()
            return tuple(
                KnownUnit(file, directory, msgspec.json.decode(text, type=tuple[str, ...]))
                for file, directory, text in rows
            )
        except (sqlite3.Error, msgspec.DecodeError):
            return ()

    def answer(self, digest: str) -> bytes | None:
        """What was kept under `digest`, or None."""
        if self._db is None:
            return None
        try:
            row = self._db.execute(
                "SELECT content FROM answer WHERE digest = ?", (digest,)
            ).fetchone()
        except sqlite3.Error:
            return None
        return None if row is None else bytes(row[0])

    def keep(self, digest: str, content: bytes) -> None:
        """Keep an answer, and drop the oldest of many."""
        if self._db is None:
            return
        try:
            with self._db:
                self._db.execute(
                    "INSERT OR REPLACE INTO answer VALUES (?, ?, strftime('%s', 'now'))",
                    (digest, content),
                )
                self._db.execute(
                    "DELETE FROM answer WHERE digest NOT IN "
                    "(SELECT digest FROM answer ORDER BY used DESC, rowid DESC LIMIT ?)",
                    (_MAX_ANSWERS,),
                )
        except sqlite3.Error:
            return

    def clear(self) -> None:
        """Forget everything."""
        if self._db is None:
            return
        try:
            with self._db:
                self._db.execute("DELETE FROM unit")
                self._db.execute("DELETE FROM answer")
            self._db.execute("VACUUM")
        except sqlite3.Error:
            return

    def close(self) -> None:
        """Close the files."""
        if self._db is not None:
            self._db.close()
        self._db = None


def tree_name(root: Path, build: Path) -> str:
    """The name of a tree in one configuration, as the cache knows it."""
    return _text(f"{root}\n{build}")


def _text(name: str) -> str:
    # SQLite has no place for a lone surrogate, which stands for a byte that is not UTF-8.
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
