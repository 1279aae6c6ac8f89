"""Answers to questions about locks: what is held where a function runs, and around a datum."""

from __future__ import annotations

import msgspec

from lockcheck.errors import Notice
from lockcheck.findings.model import Location, Step


class HeldLock(msgspec.Struct, frozen=True, order=True):
    """A lock as people write it, e.g. "kvm->mmu_lock", with its mode: read or write.

    lock_class: e.g. "kvm.mmu_lock", or the name of a section. section: it has no lock object.
    """

    text: str
    mode: str
    lock_class: str
    section: bool


class ContextAnswer(msgspec.Struct, frozen=True):
    """One context of a function: what is held, and the chain of calls down to it.

    known: whether control from outside was found; else nobody in the units calls the outermost
        function. private: nobody else can reach the object that the question is about.
    """

    locks: tuple[HeldLock, ...]
    chain: tuple[Step, ...]
    known: bool
    private: bool = False


class WhyAnswer(msgspec.Struct, frozen=True):
    """Everything that is held when a function runs.

    common: held in every context. cut: there were too many contexts, some are missing.
    """

    function: str
    location: Location
    contexts: tuple[ContextAnswer, ...]
    common: tuple[HeldLock, ...]
    cut: bool


class AccessAnswer(msgspec.Struct, frozen=True):
    """One access to a datum.

    kind: "write", "update", "read", or "read once" for READ_ONCE().
    locks: held there on every path. private: the object is new, nobody else can reach it.
    chains: one for each different lockset, shortest first.
    """

    location: Location
    kind: str
    text: str
    locks: tuple[HeldLock, ...]
    private: bool
    chains: tuple[ContextAnswer, ...]


class GuardsAnswer(msgspec.Struct, frozen=True):
    """Which locks are held around a datum.

    writers: locks that all writes of shared objects share, by class, the best candidates first.
    """

    datum: str
    accesses: tuple[AccessAnswer, ...]
    writers: tuple[HeldLock, ...]
    notices: tuple[Notice, ...] = ()


class Requirement(msgspec.Struct, frozen=True):
    """A lock that a function asks of its callers.

    lock_class, mode: as in a LedgerEntry. text: in words. owner: the function that needs it: the
    one asked about, or one that it calls. asserted: the function has an assertion that says so.
    """

    lock_class: str
    mode: str
    text: str
    owner: str
    asserted: bool


class FunctionAnswer(msgspec.Struct, frozen=True):
    """What is known of one function.

    acquires, releases: net over a call; the flag says whether every way out has it.
    sleeps: the calls down to where it may sleep, and why there; empty when it does not.
    conditional: not on every way through it.
    """

    why: WhyAnswer
    requires: tuple[Requirement, ...]
    acquires: tuple[tuple[HeldLock, bool], ...]
    releases: tuple[tuple[HeldLock, bool], ...]
    sleeps: tuple[str, ...]
    conditional: bool


class PlaceAnswer(msgspec.Struct, frozen=True):
    """What is held right before the first event on a line, or on the next line that has one.

    always: in every context. sometimes: in some only. reached: whether control gets there at all.
    """

    function: str
    line: int
    always: tuple[HeldLock, ...]
    sometimes: tuple[HeldLock, ...]
    contexts: int
    reached: bool


class MissingAssertion(msgspec.Struct, frozen=True):
    """A function that asks for a lock without an assertion that says so.

    macro: the assertion for the mode. paths: where the lock is, by the struct that a parameter or
        variable points to: ("kvm_vcpu", "kvm->mmu_lock"); the shortest first.
    """

    location: Location
    lock_class: str
    macro: str
    paths: tuple[tuple[str, str], ...]
