"""The weaknesses of MITRE's CWE list that a rule about locks may name."""

from __future__ import annotations

import re

from lockcheck.errors import LockcheckError

# The identity of the CWE list as other tools' SARIF files have it, so that viewers merge them.
TAXONOMY_NAME = "CWE"
TAXONOMY_GUID = "FFC64C90-42B6-44CE-8BEB-F6B7DAE649E5"
TAXONOMY_URI = "https://cwe.mitre.org/"
TAXONOMY_DOWNLOAD_URI = "https://cwe.mitre.org/data/downloads.html"

# Titles as MITRE has them. A number that is not here is still reported, under its number.
TITLES = {
    "362": "Concurrent Execution using Shared Resource with Improper Synchronization",
    "364": "Signal Handler Race Condition",
    "366": "Race Condition within a Thread",
    "367": "Time-of-check Time-of-use (TOCTOU) Race Condition",
    "400": "Uncontrolled Resource Consumption",
    "404": "Improper Resource Shutdown or Release",
    "412": "Unrestricted Externally Accessible Lock",
    "413": "Improper Resource Locking",
    "414": "Missing Lock Check",
    "415": "Double Free",
    "416": "Use After Free",
    "476": "NULL Pointer Dereference",
    "567": "Unsynchronized Access to Shared Data in a Multithreaded Context",
    "609": "Double-Checked Locking",
    "662": "Improper Synchronization",
    "663": "Use of a Non-reentrant Function in a Concurrent Context",
    "664": "Improper Control of a Resource Through its Lifetime",
    "667": "Improper Locking",
    "672": "Operation on a Resource after Expiration or Release",
    "691": "Insufficient Control Flow Management",
    "764": "Multiple Locks of a Critical Resource",
    "765": "Multiple Unlocks of a Critical Resource",
    "820": "Missing Synchronization",
    "821": "Incorrect Synchronization",
    "825": "Expired Pointer Dereference",
    "832": "Unlock of a Resource That is Not Locked",
    "833": "Deadlock",
    "1265": "Unintended Reentrant Invocation of Non-reentrant Code Via Nested Calls",
}

_IDENTIFIER = re.compile(r"CWE-([1-9][0-9]*)")


def number(identifier: str) -> str:
    """The number of a weakness: "667" for "CWE-667". Raises LockcheckError for any other form."""
    match = _IDENTIFIER.fullmatch(identifier)
    if match is None:
        raise LockcheckError(
            f"'{identifier}' is not the identifier of a weakness",
            remedy="write CWE-667 or the like",
        )
    return match[1]


def title(number_: str) -> str:
    """The title of a weakness, or its identifier when it is not one that we know."""
    return TITLES.get(number_, f"CWE-{number_}")


def definition_uri(number_: str) -> str:
    """MITRE's page about a weakness."""
    return f"https://cwe.mitre.org/data/definitions/{number_}.html"
