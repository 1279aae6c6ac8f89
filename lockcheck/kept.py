"""What a run has worked out, kept on disk for the next one.

That one works out again what rests on something that has changed since, and nothing else; see
lockcheck.queries. A file belongs to one question (which tree, which paths) put to one lockcheck
with its rules and models. A file that is damaged is one that is not there.

It consists of pickles of plain values: objects of our own classes, and of no others, are made when
it is read. Each query's answers are one of them: where nothing has changed, those are read that are
asked for. It is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import tempfile
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.memory import Memory
from lockcheck.queries import Kept, Table

MAX_FILES = 8
MAX_BYTES = 1 << 29  # of all files together
SUFFIX = ".answers"
_MAGIC = b"lockcheck answers 2\n"
_DIGEST_BYTES = 16
_COUNT_BYTES = 4
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


class KeptRun:
    """What is known of a run.

    bits: the numbers of fields in it, see StoreEffects. state: which program it was about, b"" if
    that has no name: programs of one state are the same in all that rules can ask.
    """

    def __init__(
        self, bits: Mapping[str, int], state: bytes, sections: Sequence[memoryview]
    ) -> None:
        """`sections`: inputs, what rests on what, and the answers of each query; compressed."""
        self.bits = bits
        self.state = state
        self._sections = sections

    def answers(self, analysis: Analysis) -> Kept | None:
        """Its answers, as those of an analysis; None if they cannot be read."""
        try:
            inputs, rests, *answers = (_read(section, analysis) for section in self._sections)
        except Exception:  # damage may look like anything
            return None
        return Kept(inputs, answers, rests)

    def unread(self, analysis: Analysis) -> Callable[[int], Table]:
        """What reads the answers of a query, by its number; none if they cannot be read."""

        def read(number: int) -> Table:
            try:
                keys, values = _read(self._sections[number + 2], analysis)
            except Exception:
                return [], []
            return keys, values

        return read


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
        digest, rest = content[len(_MAGIC) : begin], memoryview(content)[begin:]
        if not content.startswith(_MAGIC) or _digest(rest) != digest:
            return None
        try:
            count = int.from_bytes(rest[:_COUNT_BYTES])
            sizes = rest[_COUNT_BYTES : _COUNT_BYTES + 8 * count].cast("Q")
            sections = []
            begin = _COUNT_BYTES + 8 * count
            for size in sizes:
                sections.append(rest[begin : begin + size])
                begin += size
            bits, state = _read(sections[0], None)
        except Exception:  # made by another version of a library, for one
            return None
        return KeptRun(bits, state, sections[1:])

    def save(self, bits: Mapping[str, int], state: bytes, kept: Kept) -> None:
        """Keep a run. Failure to do so is no failure of the run."""
        parts = ((dict(bits), state), kept.inputs, kept.rests, *kept.answers)
        sections = [_packed(part) for part in parts]
        sizes = array("Q", map(len, sections))
        rest = b"".join((len(sections).to_bytes(_COUNT_BYTES), sizes.tobytes(), *sections))
        with contextlib.suppress(OSError):
            self._write(_MAGIC, _digest(rest), rest)
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


def _digest(content: bytes | memoryview) -> bytes:
    return blake2b(content, digest_size=_DIGEST_BYTES).digest()


def _packed(value: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(value)
    return zlib.compress(stream.getbuffer(), 1)


def _read(section: memoryview, analysis: Analysis | None) -> Any:
    return _Unpickler(io.BytesIO(zlib.decompress(section)), analysis).load()


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
