"""Baselines: the findings of an earlier run, so that a later one can tell which are new.

Findings are matched by fingerprint, never by line: code that moves keeps its findings.

IMPRECISE: several findings that agree in rule, function, datum and lock are told apart by their
order alone. When one is added before the others, the number of new ones is right, but it is the
last of them that is called new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from lockcheck.findings.model import BaselineState, Finding, Report


def compare(report: Report, baseline: Sequence[Finding]) -> Report:
    """The report with the state of each finding, and with the findings that are gone.

    baseline: what an earlier run found, suppressed findings included.
    A finding that was suppressed then and is not now is new: nobody has accepted it for good, and
    a suppression that expires must be heard.
    """
    known = Counter(finding.fingerprint for finding in baseline)
    accepted = Counter(finding.fingerprint for finding in baseline if finding.suppression is None)
    left = Counter(known)
    findings = []
    for finding in report.findings:
        mark = finding.fingerprint
        is_old = (known if finding.suppression else accepted)[mark] > 0
        known[mark] -= 1
        accepted[mark] -= 1
        left[mark] -= 1
        state = BaselineState.UNCHANGED if is_old else BaselineState.NEW
        findings.append(msgspec.structs.replace(finding, baseline=state))
    absent = []
    for finding in baseline:
        if left[finding.fingerprint] > 0:
            left[finding.fingerprint] -= 1
            absent.append(msgspec.structs.replace(finding, baseline=BaselineState.ABSENT))
    return msgspec.structs.replace(report, findings=tuple(findings), absent=tuple(absent))
