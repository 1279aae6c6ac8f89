"""Suppressions: findings that somebody looked at and accepts, each with a reason, from a file.

[[suppress]]
rule = "gfn-track-write"
function = "update_gfn_*"            # a name, or a pattern as for file names
file = "arch/x86/kvm/mmu/*"          # optional, relative to the kernel tree
reason = "the slot is not visible to others yet"
expires = "2031-01-31"               # optional, the last day on which it holds
"""

from __future__ import annotations

import datetime
import difflib
import errno
import os
import tomllib
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings import toml_lines
from lockcheck.findings.model import Finding, Suppression

_REQUIRED = ("rule", "function", "reason")
_OPTIONAL = ("file", "expires")
_KEYS = (*_REQUIRED, *_OPTIONAL)
_MAX_BYTES = 16 << 20  # nobody gives a reason for so much

_EXAMPLE = (
    '[[suppress]] with rule = "...", function = "...", reason = "..." '
    'and, if wanted, file = "..." and expires = "YYYY-MM-DD"'
)


class SuppressionEntry(msgspec.Struct, frozen=True):
    """An entry of the file: what findings carry of it, and which files it is about.

    source: pattern for the file of the finding, relative to the tree; None for any file.
        As in shells with `**`, a `*` matches slashes too.
    """

    suppression: Suppression
    source: str | None = None

    def matches(self, finding: Finding) -> bool:
        """Whether the entry is about this finding, expired or not."""
        return (
            finding.rule_id == self.suppression.rule
            and fnmatchcase(finding.location.function, self.suppression.function)
            and (self.source is None or fnmatchcase(finding.location.file, self.source))
        )

    def expired(self, today: datetime.date) -> bool:
        """Whether the last day on which the entry holds is past."""
        expires = self.suppression.expires
        return expires is not None and datetime.date.fromisoformat(expires) < today


def load_suppressions(
    path: Path, known_rules: Collection[str], *, name: str | None = None
) -> tuple[SuppressionEntry, ...]:
    """Read a suppression file (`lockcheck.toml`).

    known_rules: the ids of the rules that there are, so that a typo does not go unseen.
    name: what reports and errors call the file; the path as given unless told.
    Raises LockcheckError, with the line and a remedy, for a file that cannot be read, for bad
    TOML, and for an entry that is not exactly right: nothing is skipped in silence.
    """
    name = str(path) if name is None else name
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        text = content.decode("utf-8")
    except OSError as error:
        raise LockcheckError(
            f"cannot read the suppressions: {error.strerror or error}",
            file=name,
            remedy="make the file readable, or name another one",
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise LockcheckError(
            "not UTF-8, which TOML has to be", file=name, line=line, remedy="save it as UTF-8"
        ) from error
    return parse_suppressions(text, known_rules, name=name)


def parse_suppressions(
    text: str, known_rules: Collection[str], *, name: str
) -> tuple[SuppressionEntry, ...]:
    """As `load_suppressions`, from the text of a file that errors call `name`."""
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, line = toml_lines.error_position(str(error), text)
        raise LockcheckError(
            f"not TOML: {message}", file=name, line=line, remedy=f"entries look like {_EXAMPLE}"
        ) from error
    except RecursionError as error:
        raise LockcheckError(
            "its TOML nests too deeply", file=name, remedy=f"entries look like {_EXAMPLE}"
        ) from error
    lines = toml_lines.locate(text)
    for key in document:
        if key != "suppress":
            raise LockcheckError(
                f"unknown key '{key}'",
                file=name,
                line=lines.top_level(key),
                remedy=_suggest(key, ["suppress"], f"only {_EXAMPLE} is understood"),
            )
    entries = document.get("suppress", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise LockcheckError(
            "'suppress' must be a list of entries",
            file=name,
            line=lines.top_level("suppress"),
            remedy=f"write {_EXAMPLE}",
        )
    return tuple(
        _Reader(name, lines, index, known_rules).entry(entry) for index, entry in enumerate(entries)
    )


class _Reader:
    """Checks one entry; knows where it is, for the errors."""

    def __init__(
        self, name: str, lines: toml_lines.Lines, index: int, known_rules: Collection[str]
    ) -> None:
        self._name = name
        self._lines = lines
        self._index = index
        self._known_rules = known_rules

    def entry(self, table: dict[str, Any]) -> SuppressionEntry:
        """The entry that a table states. Raises LockcheckError for anything that is not right."""
        for key in table:
            if key not in _KEYS:
                remedy = _suggest(key, _KEYS, f"the keys are {', '.join(_KEYS)}")
                raise self._error(f"unknown key '{key}'", key, remedy)
        for key in _REQUIRED:
            if key not in table:
                raise self._error(
                    f"suppression without '{key}'", None, f'add {key} = "..." to the entry'
                )
        rule = self._string(table, "rule")
        if rule not in self._known_rules:
            known = ", ".join(sorted(self._known_rules)) or "none"
            raise self._error(
                f"unknown rule '{rule}'",
                "rule",
                _suggest(rule, self._known_rules, f"the rules are: {known}"),
            )
        suppression = Suppression(
            rule=rule,
            function=self._string(table, "function"),
            reason=self._string(table, "reason"),
            file=self._name,
            line=self._lines.entry(self._index),
            expires=self._date(table["expires"]) if "expires" in table else None,
        )
        source = self._string(table, "file") if "file" in table else None
        return SuppressionEntry(suppression, source)

    def _string(self, table: dict[str, Any], key: str) -> str:
        value = table[key]
        if not isinstance(value, str):
            raise self._error(f"'{key}' is not a string", key, f'write {key} = "..."')
        if not value.strip():
            what = "say why the finding is accepted" if key == "reason" else "fill it in"
            raise self._error(f"'{key}' is blank", key, what)
        return value.strip()

    def _date(self, value: object) -> str:
        """The day as YYYY-MM-DD. TOML's own dates are as good as strings; times are neither."""
        remedy = 'write expires = "YYYY-MM-DD"'
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            return value.isoformat()
        if not isinstance(value, str):
            raise self._error("'expires' is not a date", "expires", remedy)
        try:
            # strptime takes 2031-1-1, and fromisoformat 20310101: only the form that both write.
            day = datetime.date.fromisoformat(value)
        except ValueError:
            day = None
        if day is None or day.isoformat() != value:
            raise self._error(f"'{value}' is not a date", "expires", remedy)
        return value

    def _error(self, message: str, key: str | None, remedy: str) -> LockcheckError:
        line = self._lines.entry(self._index, key)
        return LockcheckError(message, file=self._name, line=line, remedy=remedy)


def apply(
    findings: Iterable[Finding], entries: Sequence[SuppressionEntry], today: datetime.date
) -> tuple[tuple[Finding, ...], tuple[Notice, ...]]:
    """Mark the findings that an entry suppresses, and tell of entries that do nothing.

    Returns all findings, in their order; the first entry that matches and holds is the one that a
    finding carries. An expired entry suppresses nothing and gives a warning; one that matches
    nothing gives a note, so that the file does not outlive its reasons.
    """
    marked: list[Finding] = []
    matched = [0] * len(entries)
    for finding in findings:
        suppression = None
        for index, entry in enumerate(entries):
            if entry.matches(finding):
                matched[index] += 1
                if suppression is None and not entry.expired(today):
                    suppression = entry.suppression
        marked.append(msgspec.structs.replace(finding, suppression=suppression))
    notices = [
        notice
        for entry, count in zip(entries, matched, strict=True)
        if (notice := _notice(entry, count, today)) is not None
    ]
    return tuple(marked), tuple(notices)


def _notice(entry: SuppressionEntry, count: int, today: datetime.date) -> Notice | None:
    suppression = entry.suppression
    what = f"{suppression.rule} in {suppression.function}"
    if entry.source is not None:
        what += f" ({entry.source})"
    if entry.expired(today):
        effect = "it matches nothing" if count == 0 else f"findings it matches: {count}"
        return Notice(
            Severity.WARNING,
            "expired-suppression",
            f"the suppression of {what} expired on {suppression.expires}; {effect}",
            file=suppression.file,
            line=suppression.line,
            remedy="mend the code and remove the entry, or look again and give a later date",
        )
    if count == 0:
        return Notice(
            Severity.NOTE,
            "unused-suppression",
            f"the suppression of {what} matches no finding of this run",
            file=suppression.file,
            line=suppression.line,
            remedy="remove the entry if what was analysed includes that function",
        )
    return None


def _suggest(word: str, known: Collection[str], otherwise: str) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean '{close[0]}'?" if close else otherwise
