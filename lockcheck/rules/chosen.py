"""Which rules a run checks: those that are on by default, and those that the user turns on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from lockcheck.errors import LockcheckError
from lockcheck.rules.model import Rule


def chosen(rules: Sequence[Rule], enable: Sequence[str]) -> tuple[Rule, ...]:
    """The rules to check, in their order. enable: ids of rules that are off by default.

    Raises LockcheckError for an id that no rule has.
    """
    known = {rule.info.rule_id: rule for rule in rules}
    for rule_id in enable:
        if rule_id not in known:
            close = difflib.get_close_matches(rule_id, known, n=1)
            raise LockcheckError(
                f"--enable: there is no rule '{rule_id}'",
                remedy=f"did you mean '{close[0]}'?" if close else "`lockcheck rules` lists them",
            )
    return tuple(rule for rule in rules if not rule.info.off or rule.info.rule_id in enable)
