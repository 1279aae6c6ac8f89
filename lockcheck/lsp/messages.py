"""What the server and the process that analyses say to each other. Everything here is pickled."""

from __future__ import annotations

from typing import NamedTuple

from lockcheck.findings.answers import FunctionAnswer, MissingAssertion, PlaceAnswer
from lockcheck.findings.model import Finding, Report

# -- to the worker ---------------------------------------------------------------------------------


class Check(NamedTuple):
    """Check everything with these contents in place of files; what was asked before is dropped.

    edited: the file that is likely to be edited next, "" for none.
    """

    number: int
    overlay: dict[str, bytes | None]
    edited: str = ""


class Cancel(NamedTuple):
    """Stop checking."""

    number: int


class AskPlace(NamedTuple):
    """What is known of a word at a place: a function's name, or the member that is a lock."""

    number: int
    file: str
    line: int
    word: str
    is_call: bool


class AskAssertions(NamedTuple):
    """Which assertions could be added at a place, and for some findings."""

    number: int
    file: str
    line: int
    findings: tuple[Finding, ...]


Request = Check | Cancel | AskPlace | AskAssertions

# -- from the worker -------------------------------------------------------------------------------


class Ready(NamedTuple):
    """The tree was found, its compile commands are known. units: files that have one."""

    root: str
    units: frozenset[str]


class Failed(NamedTuple):
    """Nothing can be checked until the user mends something. The worker has ended."""

    text: str


class Step(NamedTuple):
    """How far a check is."""

    number: int
    phase: str
    done: int
    total: int | None


class Done(NamedTuple):
    """A check has ended."""

    number: int
    report: Report


class Stopped(NamedTuple):
    """A check was cancelled, or failed with `error`."""

    number: int
    error: str


class Answer(NamedTuple):
    """The answer to a question; None: nothing is known."""

    number: int
    value: FunctionAnswer | PlaceAnswer | list[MissingAssertion] | None


Reply = Ready | Failed | Step | Done | Stopped | Answer
