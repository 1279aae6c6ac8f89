"""What the facts of a unit were made from, and whether all of that is still so.

A compiler's result depends on the files that it read, and on the files that it looked for and did
not find: a header that is new on the search path can take the place of another one. Both are kept
with the facts, as paths in the compiler's own spelling, so that symbolic links mean what they mean
to it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Mapping
from typing import NamedTuple

NO_FILE = b""  # the digest of a file that is not there

# How long a file must not have been touched before its times tell that it is the same: file systems
# count in steps of up to two seconds, and what was written within one step looks alike.
SETTLED_NS = 3_000_000_000


class UnitInputs(NamedTuple):
    """Everything in the file system that the facts of a unit depend on.

    files: (path, digest) of each file that was read.
    absent: (directory, names): none of the names may be in the directory; without names, there
        must be no such directory.
    """

    files: tuple[tuple[str, bytes], ...]
    absent: tuple[tuple[str, tuple[str, ...]], ...] = ()


def digest(content: bytes) -> bytes:
    """The digest of a file's content."""
    return hashlib.sha256(content).digest()[:16]


class _Known(NamedTuple):
    signature: tuple[int, ...]
    digest: bytes


class Disk:
    """Digests of files on disk. Those of files that nobody touched since are not made again."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def read(self, path: str, replaced: Mapping[tuple[int, int], bytes]) -> bytes | None:
        """The digest of a file, None when there is none. `replaced`: digests by (device, inode)."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        instead = replaced.get((status.st_dev, status.st_ino))
        if instead is not None:
            return instead
        signature = _signature(status)
        known = self._known.get(path)
        if known is not None and known.signature == signature:
            return known.digest
        try:
            with open(path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                now = time.time_ns()
                content = digest(file.readall())
                settled = _signature(status) == _signature(os.fstat(file.fileno()))
        except OSError:
            return None
        if settled and max(status.st_mtime_ns, status.st_ctime_ns) + SETTLED_NS < now:
            self._known[path] = _Known(_signature(status), content)
        return content


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class SourceView:
    """The files as a run sees them: those on disk, with contents that replace some of them.

    It is looked at once: what changes afterwards belongs to the next run.
    """

    def __init__(
        self, overlay: Mapping[str, bytes | None] | None = None, disk: Disk | None = None
    ) -> None:
        """overlay: contents by absolute path; None for a file that is gone."""
        self._disk = disk or Disk()
        self._digests: dict[str, bytes] = {}
        self._names: dict[str, frozenset[str] | None] = {}
        self._replaced: dict[tuple[int, int], bytes] = {}
        self._new: dict[str, bytes] = {}  # by resolved path: files that are not on disk
        self._added: dict[str, set[str]] = {}  # resolved directory → names in it
        self._gone: dict[str, set[str]] = {}
        for path, content in (overlay or {}).items():
            self._replace(path, content)

    def _replace(self, path: str, content: bytes | None) -> None:
        what = NO_FILE if content is None else digest(content)
        try:
            status = os.stat(path)
        except OSError:
            if content is None:
                return
            resolved = os.path.realpath(path)
            self._new[resolved] = what
            while not os.path.lexists(resolved):  # its directories may be new, too
                folder, name = os.path.split(resolved)
                self._added.setdefault(folder, set()).add(name)
                resolved = folder
            return
        self._replaced[(status.st_dev, status.st_ino)] = what
        if content is None:
            folder = os.path.realpath(os.path.dirname(path))
            self._gone.setdefault(folder, set()).add(os.path.basename(path))

    def of(self, path: str) -> bytes:
        """The digest of what is to be read at a path; NO_FILE when nothing is."""
        known = self._digests.get(path)
        if known is None:
            found = self._disk.read(path, self._replaced)
            if found is None:
                found = self._new.get(os.path.realpath(path), NO_FILE) if self._new else NO_FILE
            known = self._digests[path] = found
        return known

    def names(self, directory: str) -> frozenset[str] | None:
        """What is in a directory; None when there is no such directory.

        Raises OSError when that cannot be found out.
        """
        if directory in self._names:
            return self._names[directory]
        try:
            found = frozenset(os.listdir(directory))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            found = None
        if self._added or self._gone:
            resolved = os.path.realpath(directory)
            if resolved in self._added:
                found = (found or frozenset()) | self._added[resolved]
            if found is not None:
                found -= self._gone.get(resolved, set())
        self._names[directory] = found
        return found

    def matches(self, inputs: UnitInputs) -> bool:
        """Whether everything is as it was when `inputs` were noted."""
        try:
            for directory, names in inputs.absent:
                present = self.names(directory)
                if present is not None and not (names and present.isdisjoint(names)):
                    return False
        except OSError:
            return False
        return all(self.of(path) == content for path, content in inputs.files)
