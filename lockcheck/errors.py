"""Errors that a user can mend, and notices about what a run could not do."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LockcheckError(Exception):
    """A usage or configuration error: it ends the run with exit status 2.

    `message` says what is wrong, `file`/`line` where (when it is in a file), and
    `remedy` what the user can do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.remedy = remedy

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            where = f"{self.file}:{self.line}: " if self.line is not None else f"{self.file}: "
        remedy = f"\n  remedy: {self.remedy}" if self.remedy else ""
        return f"{where}{self.message}{remedy}"


class Severity(StrEnum):
    """How a notice bears on the result. ERROR makes the run incomplete (exit status 3)."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Notice(msgspec.Struct, frozen=True, order=True):
    """A statement about our own limits: something in this run was not read or not decided.

    code: stable kebab-case identifier, e.g. `unit-not-parsed`.
    file: relative to the kernel tree, when the notice is about one file.
    """

    severity: Severity
    code: str
    message: str
    file: str | None = None
    line: int | None = None
    remedy: str | None = None
