"""Patches out of mail: what `git format-patch`, `b4 am` and the archives of lists write.

Mail is read as git reads it (mailsplit, mailinfo): the diff is taken as bytes, only the words
around it are decoded. Python's own mbox reader is not used: it starts a new mail at every line that
begins with `From `, in the middle of a commit message, too.
"""

from __future__ import annotations

import email
import email.header
import email.policy
import gzip
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from lockcheck.errors import LockcheckError
from lockcheck.series.diffs import diff_start

# What a series of mails may hold: the largest ones on the kernel's lists are a tenth of it.
MAX_BYTES = 32 << 20
STDIN = "-"

# `From 0123…cdef Mon Sep 17 00:00:00 2001`, with anything for the name, as git wants it.
_FROM_LINE = re.compile(rb"^From .*\d\d:\d\d(?::\d\d)? .*\d{4}[^\n]*\n", re.M)
_TAG = re.compile(r"\s*\[([^\]]*)\]")
# No series has more than some thousand patches: what is longer is a word.
_NUMBERS = re.compile(r"(?:^|\D)(\d{1,4})/(\d{1,4})(?:\D|$)")
_VERSION = re.compile(r"(?:\b|PATCH)v(\d{1,4})\b", re.I)
_REPLY = re.compile(r"\s*(?:re|aw|fwd?)\s*:", re.I)
_IN_BODY = re.compile(r"\s*From:\s*(.+)\n")
_STAT = re.compile(
    rb"^ (\d{1,9}) files? changed(?:, (\d{1,9}) insertions?\(\+\))?"
    rb"(?:, (\d{1,9}) deletions?\(-\))?",
    re.M,
)
_SUFFIXES = (".patch", ".diff", ".mbox", ".mbx", ".eml", ".mail", ".gz", ".txt")
_UNWRITTEN = "*** SUBJECT HERE ***"  # of a cover letter that nobody has edited
_ANEW = "fetch the series anew (`b4 am MESSAGE-ID` gets all of it)"


class Stat(NamedTuple):
    """What the summary of a diffstat says; it tells whether something of the diff is missing."""

    files: int
    added: int
    removed: int


class MailPatch(NamedTuple):
    """A patch as it came by mail.

    number, total: 0 when the subject has none.
    origin: the file it was read from.
    """

    subject: str
    author: str
    message_id: str
    number: int
    total: int
    version: int
    diff: bytes
    stat: Stat | None
    origin: str


class Mailbox(NamedTuple):
    """The patches of one series, in order; how many mails were no part of it; its cover letter."""

    patches: tuple[MailPatch, ...]
    cover: str
    left_out: int
    older: tuple[int, ...]


def read_mail(sources: Sequence[str]) -> Mailbox:
    """The patches in files, directories of files, maildirs, or on standard input (`-`).

    Raises LockcheckError when there is no patch, when one of the series is missing, or when
    something cannot be read.
    """
    texts = [(name, text) for source in sources for name, text in _texts(source)]
    total = sum(len(text) for _, text in texts)
    if total > MAX_BYTES:
        raise _too_large(sources[0])
    mails = [(name, _parsed(raw)) for name, text in texts for raw in _split(text)]
    found = [_read(name, mail) for name, mail in mails]
    patches = [patch for patch in found if patch is not None and (patch.diff or patch.number)]
    covers = [p for p in found if p is not None and not p.diff and not p.number and p.total]
    name = ", ".join(sources)
    if not patches:
        raise LockcheckError(
            "there is no patch in it",
            file=name,
            remedy="name what `git format-patch` or `b4 am` wrote, or a range of commits",
        )
    versions = sorted({patch.version for patch in patches})
    patches = [patch for patch in patches if patch.version == versions[-1]]
    for patch in patches:
        if not patch.diff:
            raise LockcheckError(
                f'the mail "{patch.subject}" has no diff', file=patch.origin, remedy=_ANEW
            )
    # Files that each hold one mail were chosen one by one: the others may be in the tree.
    is_chosen = len(texts) == len(mails) == len(sources)
    ordered = _ordered(patches, name, is_complete=not is_chosen)
    cover = next((c.subject for c in covers if c.version == versions[-1]), "")
    if cover == _UNWRITTEN:
        cover = ""
    return Mailbox(tuple(ordered), cover, found.count(None), tuple(versions[:-1]))


def is_patch_file(name: str) -> bool:
    """Whether an argument names a file that is one more patch, not a path to check."""
    return name.endswith(_SUFFIXES) and Path(name).is_file()


# -- files -----------------------------------------------------------------------------------------


def _texts(source: str) -> Iterator[tuple[str, bytes]]:
    if source == STDIN:
        yield "standard input", _unpacked(source, sys.stdin.buffer.read(MAX_BYTES + 1))
        return
    path = Path(source)
    try:
        if not path.is_dir():
            yield source, _content(path)
            return
        files = sorted(path.iterdir())
        if (path / "cur").is_dir() and (path / "new").is_dir():  # a maildir
            files = sorted((*(path / "cur").iterdir(), *(path / "new").iterdir()))
        else:
            files = [file for file in files if file.name.endswith(_SUFFIXES)]
        for file in files:
            if not file.name.startswith(".") and file.is_file():
                yield str(file), _content(file)
    except OSError as error:
        raise _unreadable(source, error) from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return _unpacked(str(path), stream.read(MAX_BYTES + 1))
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _unpacked(name: str, data: bytes) -> bytes:
    """A text, out of gzip when it is in it: archives hand threads out so."""
    if data[:2] == b"\x1f\x8b":
        stream = zlib.decompressobj(wbits=31)
        try:
            data = stream.decompress(data, MAX_BYTES + 1)
        except (zlib.error, gzip.BadGzipFile, EOFError) as error:
            raise LockcheckError(
                f"it is compressed, and damaged: {error}", file=name, remedy=_ANEW
            ) from error
        if not stream.eof and len(data) <= MAX_BYTES:
            raise LockcheckError("it is compressed, and cut off", file=name, remedy=_ANEW)
    if len(data) > MAX_BYTES:
        raise _too_large(name)
    return data


def _too_large(name: str) -> LockcheckError:
    return LockcheckError(
        f"more than {MAX_BYTES >> 20} MiB of mail",
        file=name,
        remedy="apply it to a branch, and name the range of its commits",
    )


def _unreadable(name: str, error: OSError) -> LockcheckError:
    return LockcheckError(
        f"cannot read it: {error.strerror or error}",
        file=name,
        remedy="name a file or directory of patches, or - for standard input",
    )


# -- mails -----------------------------------------------------------------------------------------


def _split(text: bytes) -> Iterator[bytes]:
    """The mails of an mbox; a text that is none is one mail."""
    starts = [match.span() for match in _FROM_LINE.finditer(text)]
    if not starts or text[: starts[0][0]].strip():
        starts.insert(0, (0, 0))
    ends = [start for start, _ in starts[1:]]
    for (_, begin), end in zip(starts, [*ends, len(text)], strict=True):
        if text[begin:end].strip():
            yield text[begin:end]


def _parsed(raw: bytes) -> Message | bytes:
    """A mail; its bytes when it has no headers, which makes it a bare diff."""
    head = raw.lstrip(b"\r\n")
    if not re.match(rb"[!-9;-~]+:", head) or diff_start(head) == 0:
        return raw.replace(b"\r\n", b"\n") if head.startswith(b"diff ") else raw
    headers = head.partition(b"\n")[0]
    if headers.endswith(b"\r"):
        head = head.replace(b"\r\n", b"\n")  # as it went over the wire
    return email.message_from_bytes(head, policy=email.policy.compat32)


def _read(name: str, mail: Message | bytes) -> MailPatch | None:
    """The patch or cover letter that a mail is; None when it is neither."""
    if isinstance(mail, bytes):
        start = diff_start(mail)
        if start < 0:
            return None
        title = Path(name).name
        return MailPatch(title, "", "", 0, 0, 1, mail[start:], _stat(mail[:start]), name)
    subject = _decoded(mail.get("Subject"))
    if _REPLY.match(subject):
        return None
    numbers, version, plain = _tags(subject)
    body = _body(mail)
    start = diff_start(body)
    words = body if start < 0 else body[:start]
    number, total = numbers or (0, 0)
    if start < 0 and not total:
        return None
    if number == 0 and total:
        start = -1  # a cover letter, whatever it quotes
    text = words.decode("utf-8", "replace")
    in_body = _IN_BODY.match(text)
    return MailPatch(
        subject=plain,
        author=in_body.group(1).strip() if in_body else _decoded(mail.get("From")),
        message_id=_decoded(mail.get("Message-ID") or mail.get("Message-Id")).strip("<> "),
        number=number,
        total=total,
        version=version,
        diff=b"" if start < 0 else body[start:],
        stat=_stat(words),
        origin=name,
    )


def _tags(subject: str) -> tuple[tuple[int, int] | None, int, str]:
    """The numbers and the version in the tags of a subject, and the subject without tags."""
    numbers: tuple[int, int] | None = None
    version = 1
    rest = subject
    while match := _TAG.match(rest):
        tag = match.group(1)
        if found := _NUMBERS.search(tag):
            numbers = int(found.group(1)), int(found.group(2))
        if found := _VERSION.search(tag):
            version = int(found.group(1))
        rest = rest[match.end() :]
    return numbers, version, rest.strip() or subject.strip() or "(no subject)"


def _decoded(value: object) -> str:
    """A header as one line of text, whatever its encoding."""
    if value is None:
        return ""
    try:
        text = str(email.header.make_header(email.header.decode_header(str(value))))
    except (UnicodeError, LookupError, ValueError):
        text = str(value)
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _body(mail: Message) -> bytes:
    """The text of a mail as bytes, out of its transfer encoding; attached patches follow it."""
    texts: list[bytes] = []
    for part in mail.walk():
        if part.is_multipart() or part.get_content_type() == "text/html":
            continue
        if part.get_content_maintype() != "text" and mail.is_multipart():
            continue
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            continue
        if b"\r\n" in payload and payload.count(b"\r\n") == payload.count(b"\n"):
            payload = payload.replace(b"\r\n", b"\n")
        texts.append(payload if payload.endswith(b"\n") else payload + b"\n")
    return b"".join(texts)


def _stat(text: bytes) -> Stat | None:
    found = [match.groups() for match in _STAT.finditer(text)]
    if not found:
        return None
    files, added, removed = found[-1]
    return Stat(int(files), int(added or 0), int(removed or 0))


# -- order -----------------------------------------------------------------------------------------


def _ordered(patches: Sequence[MailPatch], name: str, *, is_complete: bool) -> list[MailPatch]:
    """The patches as their subjects number them; mails that came twice are taken once."""
    once: dict[object, MailPatch] = {}
    for position, patch in enumerate(patches):
        once.setdefault(patch.message_id or position, patch)
    patches = list(once.values())
    if not all(patch.number for patch in patches):
        if any(patch.number for patch in patches):
            odd = next(patch for patch in patches if not patch.number)
            raise LockcheckError(
                f'the patch "{odd.subject}" has no number, others have: the order is not known',
                file=odd.origin,
                remedy="name the mails of one series only",
            )
        return patches
    totals = {patch.total for patch in patches}
    if len(totals) > 1:
        raise LockcheckError(
            f"it holds patches of more than one series, of {_listed(sorted(totals))} patches",
            file=name,
            remedy="name the mails of one series only",
        )
    by_number: dict[int, MailPatch] = {}
    for patch in patches:
        other = by_number.setdefault(patch.number, patch)
        if other is not patch:
            raise LockcheckError(
                f'two patches have the number {patch.number}: "{other.subject}" and '
                f'"{patch.subject}"',
                file=patch.origin,
                remedy="name the mails of one series only",
            )
    total = totals.pop()
    missing = [number for number in range(1, total + 1) if number not in by_number]
    if missing and is_complete:
        raise LockcheckError(
            f"of {total} patches, {_listed(missing)} {'is' if len(missing) == 1 else 'are'} "
            "missing",
            file=name,
            remedy=_ANEW,
        )
    return [by_number[number] for number in sorted(by_number)]


def _listed(numbers: Sequence[int]) -> str:
    words = [str(number) for number in numbers[:8]]
    if len(numbers) > 8:
        words.append("more")
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
