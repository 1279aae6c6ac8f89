"""Fingerprints: the identity of a finding from one version of the code to the next.

A fingerprint describes what is claimed (rule, function, datum, lock, ordinal) and never where:
no line, no column, no path. Code that moves, or a file that is renamed, keeps its findings.
"""

from __future__ import annotations

import hashlib
import json

# The name of this way to compute fingerprints, part of the hash and the key in SARIF's
# `partialFingerprints`. Change it with the computation: stored baselines must not match by chance.
SCHEME = "lockcheck/v1"

_HEX_DIGITS = 32


def fingerprint(rule_id: str, function: str, datum: str, lock: str, ordinal: int) -> str:
    """The fingerprint of a finding: 32 hexadecimal digits (128 bits of a SHA-256).

    function: the function where the obligation is not met.
    datum: what the obligation guards, as the rule names it (`struct kvm_memory_slot.arch…`), or
        what is called, for a rule about calls.
    lock: the lock class that is needed (`struct kvm.mmu_lock`), empty when there is none.
    ordinal: counts from 0, in source order, the findings that agree in everything else.
    Raises ValueError for a negative ordinal.
    """
    if ordinal < 0:
        raise ValueError(f"ordinal {ordinal} is negative")
    # JSON keeps the fields apart: ("ab", "c") and ("a", "bc") must not collide.
    fields = json.dumps([SCHEME, rule_id, function, datum, lock, ordinal])
    return hashlib.sha256(fields.encode("ascii")).hexdigest()[:_HEX_DIGITS]
