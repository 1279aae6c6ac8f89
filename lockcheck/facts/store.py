"""Facts kept on disk between runs, in one SQLite file.

A unit's facts are found under a key that names what was asked (our code, clang, command), and used
only where all their inputs are as they were. Several states of one unit are kept: a tree that is
patched and restored, or a branch that is left and entered again, finds its facts again.

Any number of processes may use a store at once, and may be killed at any moment: SQLite's write-
ahead log sees to both. A store that cannot be read or written is one that is empty.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import marshal
import os
import re
import sqlite3
import sys
import time
import zlib
from collections.abc import Container, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lockcheck import __version__
from lockcheck.facts.inputs import SourceView, UnitInputs
from lockcheck.facts.ir import UnitFacts
from lockcheck.facts.packed import digest_of, pack, unpack

_SCHEMA = 8
_FILE = f"facts-{_SCHEMA}.sqlite"
_LOCK = f"facts-{_SCHEMA}.lock"
_NAME = re.compile(r"facts-\d+\.(sqlite|lock)")

MAX_BYTES = 1 << 30
_ROOM = 0.8  # how much of that is left after the oldest entries were dropped
_KEY_BYTES = 20
_STATES = 8  # of one unit
_QUESTIONS = 64  # whose units are remembered
_USE_SECONDS = 3600  # how exactly the last use is known; else every run would write
_PATIENCE_SECONDS = 10
_FOREIGN_DAYS = 30  # after that, a file of another schema is nobody's

_TABLES = (
    """
CREATE TABLE IF NOT EXISTS unit (
  id INTEGER PRIMARY KEY,
  key BLOB NOT NULL,
  state BLOB NOT NULL,
  tree TEXT NOT NULL,
  file TEXT NOT NULL,
  version TEXT NOT NULL,
  used INTEGER NOT NULL,
  size INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  inputs BLOB NOT NULL,
  facts BLOB NOT NULL,
  UNIQUE (key, state)
)""",
    """
CREATE TABLE IF NOT EXISTS asked (
  question BLOB PRIMARY KEY,
  keys BLOB NOT NULL,
  used INTEGER NOT NULL
)""",
)


class Stored(NamedTuple):
    """Facts that were found. digest: what they are, in few bytes."""

    facts: UnitFacts
    inputs: UnitInputs
    digest: bytes


class TreeUse(NamedTuple):
    """What a store holds of one tree: units, entries (states of units), bytes, last use."""

    tree: str
    units: int
    entries: int
    size: int
    used: int


class StoreUse(NamedTuple):
    """What a store holds. `size`: of its files, on disk; `versions`: that wrote to it."""

    size: int
    trees: tuple[TreeUse, ...]
    versions: tuple[str, ...]


@cache
def _code_digest() -> bytes:
    """The digest of our code that facts depend on: an edit must not find facts of before it."""
    state = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for part in ("facts", "lower", "parse"):
        for file in sorted((package / part).glob("*.py")):
            content = file.read_bytes()
            state.update(f"{file.name} {len(content)}\0".encode() + content)
    return state.digest()


def unit_key(parts: Iterable[str]) -> bytes:
    """The key of a unit: everything but the file system that its facts depend on."""
    state = hashlib.sha256(_code_digest())
    for part in (__version__, str(_SCHEMA), sys.version, str(marshal.version), *parts):
        text = part.encode("utf-8", "surrogateescape")
        state.update(b"%d:" % len(text) + text)
    return state.digest()[:_KEY_BYTES]


class FactStore:
    """The cache of facts.

    damaged: what was wrong with the file that was found, "" if it was whole. Such a file is
    removed, and an empty one takes its place, unless another process uses it.
    """

    def __init__(self, directory: Path, tree: str = "", max_bytes: int = MAX_BYTES) -> None:
        """`tree`: whose units these are, for `use`."""
        self.damaged = ""
        self._directory = directory
        self._tree = tree
        self._max_bytes = max_bytes
        self._db: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._touched: list[int] = []
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            if not self._hold(fcntl.LOCK_SH, _PATIENCE_SECONDS):
                self._release()
                return
            self._open()
        except (OSError, sqlite3.Error) as error:
            self._fail(error)

    # -- the file ------------------------------------------------------------------------------

    def _open(self) -> None:
        db = sqlite3.connect(
            self._directory / _FILE, timeout=_PATIENCE_SECONDS, isolation_level=None
        )
        self._db = db
        (tables,) = db.execute(
            "SELECT count(*) FROM sqlite_master WHERE name IN ('unit', 'asked')"
        ).fetchone()
        if tables < 2:
            # Space of what is dropped can be given back only if this comes before any table.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _patiently(db, "PRAGMA journal_mode = WAL")
            with _transaction(db):  # all of them or none, whenever this process is killed
                for table in _TABLES:
                    db.execute(table)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 16777216")
        (page,) = db.execute("PRAGMA page_size").fetchone()
        db.execute(f"PRAGMA max_page_count = {max(64, self._max_bytes // page)}")

    def _hold(self, how: int, seconds: float) -> bool:
        """Take the lock that says that the file is in use (shared) or is removed (exclusive)."""
        assert self._lock is not None
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self._lock, how | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= end:
                    return False
                time.sleep(0.02)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _fail(self, error: Exception) -> None:
        """After an error that is not about one entry: go on without the file, or with a new one."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or self._lock is None:
            self._release()
            return
        if self.damaged:  # what was made anew is damaged, too: the disk is
            self._release()
            return
        self.damaged = str(error)
        # To remove a file that another process has open would damage what that process writes.
        if not self._hold(fcntl.LOCK_EX, 0):
            self.damaged += "; another process uses it, so it was left as it is"
            self._release()
            return
        try:
            for file in self._directory.glob(f"{_FILE}*"):
                file.unlink()
            self._hold(fcntl.LOCK_SH, 0)
            self._open()
        except (OSError, sqlite3.Error) as again:
            self._fail(again)

    # -- entries -------------------------------------------------------------------------------

    def load(self, key: bytes, view: SourceView, modelled: Container[str]) -> Stored | None:
        """The facts under a key whose inputs are as they are in `view`, with these inputs.

        modelled: names of the functions that models stand for; the facts must have been made with
        the same ones among those that the unit reaches.
        """
        if self._db is None:
            return None
        try:
            rows = self._db.execute(
                "SELECT id, used, checksum, inputs FROM unit WHERE key = ? "
                "ORDER BY used DESC, id DESC",
                (key,),
            ).fetchall()
            for number, used, checksum, packed in rows:
                found = self._entry(number, checksum, packed, view)
                if found is not None and _has_same_models(found.facts, modelled):
                    if used < time.time() - _USE_SECONDS:
                        self._touched.append(number)
                    return found
        except sqlite3.Error as error:
            self._fail(error)
        return None

    def _entry(self, number: int, checksum: int, packed: bytes, view: SourceView) -> Stored | None:
        """One entry, if it is whole and its inputs are the same."""
        assert self._db is not None
        try:
            inputs = UnitInputs(*marshal.loads(packed))
            if not view.matches(inputs):
                return None
        except (EOFError, ValueError, TypeError, IndexError):
            return None  # `_STATES` newer ones will push it out
        row = self._db.execute("SELECT facts FROM unit WHERE id = ?", (number,)).fetchone()
        if row is None or zlib.crc32(row[0], zlib.crc32(packed)) != checksum:
            return None
        try:
            return Stored(unpack(row[0]), inputs, digest_of(row[0]))
        except (EOFError, ValueError, TypeError, IndexError):
            return None

    def save(
        self, key: bytes, inputs: UnitInputs, facts: UnitFacts, on_trial: bool = False
    ) -> bytes:
        """Keep facts; their digest, b"" if there is none. Failure is no failure of the run.

        on_trial: of contents that are not the tree's. They are the first to go when there are many
            states of a unit, until they are used again.
        """
        if self._db is None:
            return b""
        try:
            packed = marshal.dumps(tuple(inputs))
            content = pack(facts)
        except ValueError:
            return b""
        row = (
            key,
            hashlib.sha256(packed).digest()[:16],
            self._tree.encode("utf-8", "replace").decode(),
            facts.file.encode("utf-8", "replace").decode(),
            __version__,
            int(time.time()) - (_USE_SECONDS if on_trial else 0),
            len(packed) + len(content),
            zlib.crc32(content, zlib.crc32(packed)),
            packed,
            content,
        )
        try:
            try:
                self._insert(row)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                self._drop_oldest()
                self._insert(row)
        except sqlite3.Error as error:
            self._fail(error)
        return digest_of(content)

    def _insert(self, row: tuple[Any, ...]) -> None:
        assert self._db is not None
        with _transaction(self._db) as db:
            db.execute(
                "INSERT OR REPLACE INTO unit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
            db.execute(
                "DELETE FROM unit WHERE key = ? AND id NOT IN (SELECT id FROM unit WHERE key = ? "
                "ORDER BY used DESC, id DESC LIMIT ?)",
                (row[0], row[0], _STATES),
            )

    def remembered(self, question: bytes) -> list[bytes]:
        """The keys that were last needed to answer a question; a hint, nothing more."""
        if self._db is None:
            return []
        try:
            row = self._db.execute(
                "SELECT keys FROM asked WHERE question = ?", (question,)
            ).fetchone()
        except sqlite3.Error as error:
            self._fail(error)
            return []
        packed = b"" if row is None else row[0]
        return [packed[n : n + _KEY_BYTES] for n in range(0, len(packed), _KEY_BYTES)]

    def remember(self, question: bytes, keys: Iterable[bytes]) -> None:
        """Keep the keys that were needed to answer a question."""
        keys = list(keys)
        if keys == self.remembered(question) or self._db is None:  # asking may end the store
            return
        try:
            with _transaction(self._db) as db:
                row = (question, b"".join(keys), int(time.time()))
                db.execute("INSERT OR REPLACE INTO asked VALUES (?, ?, ?)", row)
                db.execute(
                    "DELETE FROM asked WHERE question NOT IN "
                    "(SELECT question FROM asked ORDER BY used DESC LIMIT ?)",
                    (_QUESTIONS,),
                )
        except sqlite3.Error as error:
            self._fail(error)

    def close(self) -> None:
        """Close, after noting what was used and dropping what nobody used for the longest time."""
        if self._db is not None:
            try:
                if self._touched:
                    now = int(time.time())
                    with _transaction(self._db) as db:
                        db.executemany(
                            "UPDATE unit SET used = ? WHERE id = ?",
                            [(now, number) for number in self._touched],
                        )
                if _bytes_used(self._db) > self._max_bytes:
                    self._drop_oldest()
                self._db.close()
                self._db = None
            except sqlite3.Error as error:
                self._fail(error)
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        self._release()
        self._drop_foreign()

    def _drop_oldest(self) -> None:
        """Drop what was used longest ago, until there is room again."""
        assert self._db is not None
        with _transaction(self._db) as db:
            db.execute(
                "DELETE FROM unit WHERE id IN (SELECT id FROM (SELECT id, sum(size) OVER "
                "(ORDER BY used DESC, id DESC) AS total FROM unit) WHERE total > ?)",
                (int(self._max_bytes * _ROOM),),
            )
        _give_space_back(self._db)

    def _foreign(self) -> list[Path]:
        """The files of other versions of lockcheck."""
        ours = f"facts-{_SCHEMA}."
        return [file for file in self._files() if not file.name.startswith(ours)]

    def _files(self) -> list[Path]:
        return [f for f in self._directory.iterdir() if _NAME.match(f.name)]

    def _drop_foreign(self) -> None:
        """Remove what other versions left behind, after a time in which nobody used it."""
        with contextlib.suppress(OSError):
            for file in self._foreign():
                if file.stat().st_mtime < time.time() - _FOREIGN_DAYS * 86400:
                    file.unlink()

    # -- for people ----------------------------------------------------------------------------

    def use(self) -> StoreUse:
        """What is in it. Raises OSError when the directory cannot be read."""
        size = sum(file.stat().st_size for file in self._files())
        if self._db is None:
            return StoreUse(size, (), ())
        try:
            trees = self._db.execute(
                "SELECT tree, count(DISTINCT file), count(*), sum(size), max(used) FROM unit "
                "GROUP BY tree ORDER BY max(used) DESC, tree"
            ).fetchall()
            versions = self._db.execute("SELECT DISTINCT version FROM unit ORDER BY 1").fetchall()
        except sqlite3.Error as error:
            self._fail(error)
            return StoreUse(size, (), ())
        return StoreUse(size, tuple(TreeUse(*row) for row in trees), tuple(v for (v,) in versions))

    @property
    def works(self) -> bool:
        """Whether facts can be kept here."""
        return self._db is not None

    def clear(self) -> bool:
        """Drop all entries, and what other versions left. False when that cannot be done."""
        if self._db is None:
            return False
        try:
            with _transaction(self._db) as db:
                db.execute("DELETE FROM unit")
                db.execute("DELETE FROM asked")
            _give_space_back(self._db)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            for file in self._foreign():
                file.unlink()
        except sqlite3.Error as error:
            self._fail(error)
            return False
        return True


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _patiently(db: sqlite3.Connection, statement: str) -> None:
    """Execute what SQLite refuses at once, without its own patience, while others are busy."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            db.execute(statement).fetchall()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)


def _give_space_back(db: sqlite3.Connection) -> None:
    db.executescript("PRAGMA incremental_vacuum")  # `execute` would free a single page


def _bytes_used(db: sqlite3.Connection) -> int:
    (size,) = db.execute("PRAGMA page_size").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return int(size) * (int(pages) - int(free))


def _has_same_models(facts: UnitFacts, modelled: Container[str]) -> bool:
    return all(name in modelled for name in facts.hidden) and not any(
        key.split("@", 1)[0] in modelled for key in facts.needs
    )


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """While facts are loaded: they are acyclic, and five times as slow with it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
