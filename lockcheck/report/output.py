"""Where reports go: the formats there are, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lockcheck.errors import LockcheckError
from lockcheck.findings.model import Report
from lockcheck.report import limits, robot, sarif, text

Renderer = Callable[[Report], str]

# Every format under the name that `--format` takes.
FORMATS: Mapping[str, Renderer] = MappingProxyType(
    {
        "text": text.render,
        "sarif": sarif.render,
        "github": limits.render,
        "robot": robot.render,
    }
)

_ELSEWHERE = "choose another file with -o, or - for standard output"


def write_outputs(
    report: Report,
    pairs: Sequence[tuple[str, Path | None]],
    *,
    formats: Mapping[str, Renderer] = FORMATS,
) -> None:
    """Render `report` once for each (format, path) pair and write it there.

    pairs: a path of None or "-" means standard output. Files are replaced atomically: after an
        error or an interrupt the file is either the old or the new one, and no other is left.
    formats: the renderers to choose from, for a caller that needs one with options (colour).
    Everything is rendered before anything is written, and files come before standard output, so
    that a reader who closes the pipe does not cost the user a file.
    A broken pipe on standard output is no error: the reader had enough.
    An output that cannot be written does not cost the user the others.
    Raises LockcheckError for an unknown format, a path given twice, or an unwritable output.
    """
    check_pairs(pairs, formats=formats)
    rendered = [(formats[name](report), path) for name, path in pairs]
    failure: LockcheckError | None = None
    for content, path in sorted(rendered, key=lambda pair: _is_stdout(pair[1])):
        try:
            if path is None or _is_stdout(path):
                _write_stdout(content)
            else:
                write_file(path, content)
        except LockcheckError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def check_pairs(
    pairs: Sequence[tuple[str, Path | None]], *, formats: Collection[str] = FORMATS
) -> None:
    """Raise LockcheckError when a format is unknown, or when two outputs have the same path."""
    seen: set[Path] = set()
    for name, path in pairs:
        if name not in formats:
            raise LockcheckError(
                f"unknown output format '{name}'",
                remedy=f"use one of: {', '.join(sorted(formats))}",
            )
        if _is_stdout(path):
            continue
        assert path is not None
        target = Path(os.path.realpath(path))
        # Only what replaces a file can overwrite an earlier output; a device takes both.
        if target in seen and (target.is_file() or not target.exists()):
            raise LockcheckError(
                "two outputs would be written to the same file",
                file=str(path),
                remedy="give each --format its own -o FILE",
            )
        seen.add(target)


def check_writable(path: Path | None) -> None:
    """Tell before a long analysis whether `path` can be written; nothing is created or changed.

    Standard output (None or "-") always passes.
    Raises LockcheckError when the directory is missing or not writable, or when the path is a
    directory or a file that this user may not write.
    """
    if _is_stdout(path):
        return
    assert path is not None
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise _unwritable(path, "it is a directory")
    if mode is not None and not os.access(target, os.W_OK):
        raise _unwritable(path, "no permission to write this file")
    if mode is not None and not stat.S_ISREG(mode):
        return  # a device or a pipe is written to, not replaced
    if not target.parent.exists():
        raise LockcheckError(
            "cannot write the output: its directory does not exist",
            file=str(path),
            remedy=f"create it (mkdir -p {path.parent}), or {_ELSEWHERE}",
        )
    if not target.parent.is_dir():
        raise _unwritable(path, f"{path.parent} is not a directory")
    # The new file is written beside the old one and moved over it: the directory must allow it.
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, "no permission to create files in its directory")


def _is_stdout(path: Path | None) -> bool:
    return path is None or str(path) == "-"


def _unwritable(path: Path, why: str) -> LockcheckError:
    return LockcheckError(f"cannot write the output: {why}", file=str(path), remedy=_ELSEWHERE)


def write_file(path: Path, content: str) -> None:
    """Replace the file with `content`, whole or not at all. Raises LockcheckError."""
    check_writable(path)
    # Replace what a symbolic link points to, as a shell's redirection would, not the link.
    target = Path(os.path.realpath(path))
    # surrogateescape: a file name that is not UTF-8 leaves as the bytes it came in with.
    data = content.encode("utf-8", "surrogateescape")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            _replace(target, data)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _replace(target: Path, data: bytes) -> None:
    """Put `data` in place of `target` in one step. Raises OSError, and then leaves no trace.

    A run that is killed leaves nothing either, or a whole file under another name.
    """
    temporary = target.parent / f".lockcheck-{secrets.token_hex(8)}.tmp"
    try:
        if not _write_unnamed(temporary, target, data):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            # os.open applies the umask; tempfile would make the report unreadable for others.
            _fill(os.open(temporary, flags, 0o666), target, data, None)
        os.replace(temporary, target)
    except BaseException:  # an interrupt, too, must not leave the temporary file
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _write_unnamed(temporary: Path, target: Path, data: bytes) -> bool:
    """Write a file that is named once it is whole; False where the system has no such files."""
    try:
        flags = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC
        _fill(os.open(temporary.parent, flags, 0o666), target, data, temporary)
    except OSError:
        return False
    return True


def _fill(descriptor: int, target: Path, data: bytes, name: Path | None) -> None:
    """Write and close a new file that takes over the permissions of `target`; then name it."""
    with open(descriptor, "wb") as stream:
        with contextlib.suppress(FileNotFoundError):
            os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)
        if name is not None:
            # The directory has no meaning here, but makes Python follow the link.
            os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor)


def _write_stdout(content: str) -> None:
    stream = sys.stdout
    # A report must not fail for want of a locale: what the encoding lacks is written escaped.
    encoding = getattr(stream, "encoding", None) or "utf-8"
    printable = content.encode(encoding, "backslashreplace").decode(encoding)
    try:
        stream.write(printable)
        stream.flush()
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise LockcheckError(
            f"cannot write to standard output: {error.strerror or error}",
            remedy="write to a file with -o FILE",
        ) from error


def _discard_stdout() -> None:
    """Send what is still buffered nowhere; else the interpreter complains again as it exits."""
    with contextlib.suppress(OSError, ValueError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(devnull, sys.stdout.fileno())
        finally:
            os.close(devnull)
