"""What a run has worked out, kept on disk for the next one.

That one works out again what rests on something that has changed since, and nothing else; see
lockcheck.queries. A file belongs to one question (which tree, which paths) put to one lockcheck
with its rules and models. A file that is damaged is one that is not there.

It is a pickle of plain values: objects of our own classes, and of no others, are made when it is
read. It is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import tempfile
import zlib
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.memory import Memory
from lockcheck.queries import Kept

MAX_FILES = 8
MAX_BYTES = 1 << 29  # of all files together
SUFFIX = ".answers"
_MAGIC = b"lockcheck answers 1\n"
_DIGEST_BYTES = 16
_PLAIN = frozenset(
    {
        ("builtins", "frozenset"),
        ("builtins", "set"),
        ("collections", "defaultdict"),
        ("copyreg", "_reconstructor"),
        ("msgspec._core", "rebuild"),
    }
)
_OURS = ("lockcheck.callgraph.", "lockcheck.facts.ir", "lockcheck.lockstate.", "lockcheck.models.",
         "lockcheck.queries", "lockcheck.rules.")  # fmt: skip


class KeptRun(NamedTuple):
    """What is known of a run. bits: the numbers of fields in it, see StoreEffects."""

    bits: Mapping[str, int]
    packed: bytes

    def answers(self, analysis: Analysis) -> Kept | None:
        """Its answers, as those of an analysis; None if they cannot be read."""
        try:
            found = _Unpickler(io.BytesIO(self.packed), analysis).load()
        except Exception:  # damage may look like anything
            return None
        return found if isinstance(found, Kept) else None


class KeptRuns:
    """The files of one directory."""

    def __init__(self, directory: Path, question: str) -> None:
        """`question`: all that decides what is asked, and by whom."""
        self._directory = directory
        name = blake2b(question.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        self._file = directory / f"{name}{SUFFIX}"

    def load(self) -> KeptRun | None:
        """What is known of the last run."""
        try:
            content = self._file.read_bytes()
            os.utime(self._file)
        except OSError:
            return None
        begin = len(_MAGIC) + _DIGEST_BYTES
        digest, packed = content[len(_MAGIC) : begin], content[begin:]
        if not content.startswith(_MAGIC) or _digest(packed) != digest:
            return None
        try:
            stream = io.BytesIO(zlib.decompress(packed))
            bits = _Unpickler(stream, None).load()
        except Exception:  # made by another version of a library, for one
            return None
        return KeptRun(bits, stream.read()) if isinstance(bits, dict) else None

    def save(self, bits: Mapping[str, int], kept: Kept) -> None:
        """Keep a run. Failure to do so is no failure of the run."""
        stream = io.BytesIO()
        _Pickler(stream).dump(dict(bits))
        _Pickler(stream).dump(kept)
        packed = zlib.compress(stream.getbuffer(), 1)
        with contextlib.suppress(OSError):
            self._write(_MAGIC + _digest(packed), packed)
            self._drop_oldest()

    def _write(self, *parts: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(prefix=f"{self._file.name}.", dir=self._directory)
        try:
            with open(number, "wb") as out:
                out.writelines(parts)
            os.replace(draft, self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def _drop_oldest(self) -> None:
        total = 0
        for number, file in enumerate(kept_files(self._directory)):
            total += file.stat().st_size
            if number >= MAX_FILES or total > MAX_BYTES:
                file.unlink()


def kept_files(directory: Path) -> list[Path]:
    """The files, those used last first; drafts of runs that were killed, too."""
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError):
        for file in directory.glob(f"*{SUFFIX}*"):
            with contextlib.suppress(OSError):
                found.append((file.stat().st_mtime, file))
    return [file for _, file in sorted(found, reverse=True)]


def clear_kept(directory: Path) -> int:
    """Remove all files; how many bytes that frees. Raises OSError."""
    freed = 0
    for file in kept_files(directory):
        freed += file.stat().st_size
        file.unlink()
    return freed


def _digest(packed: bytes) -> bytes:
    return blake2b(packed, digest_size=_DIGEST_BYTES).digest()


def _standing_for(name: str) -> Any:
    raise pickle.UnpicklingError(name)  # the unpickler has its own


class _Pickler(pickle.Pickler):
    dispatch_table = {  # noqa: RUF012  the library calls it an attribute of each pickler
        **copyreg.dispatch_table,
        Analysis: lambda _: (_standing_for, ("analysis",)),
        Memory: lambda _: (_standing_for, ("memory",)),
    }

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, analysis: Analysis | None) -> None:
        super().__init__(stream)
        self._analysis = analysis

    def find_class(self, module: str, name: str) -> Any:
        """Classes of ours, and a few that make plain values."""
        if (module, name) == (__name__, "_standing_for"):
            return self._standing_for
        found = super().find_class(module, name)
        if (module, name) in _PLAIN or (module.startswith(_OURS) and isinstance(found, type)):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is not what an answer is made of")

    def _standing_for(self, name: str) -> Any:
        if self._analysis is None:
            raise pickle.UnpicklingError(name)
        return self._analysis if name == "analysis" else self._analysis.memory
