"""Where a function's ways out differ in locks and nobody can tell which one was taken.

Nearly always a condition was lost on the way, and the function is balanced: `if (p) unlock(p)`
after a loop that moved `p`. To keep such ways apart would give every caller states that cannot
happen, and all of their callers again. So what such a function does to a lock is unsure: its
callers neither prove nor refute with that lock, for a few levels up; beyond those the function
counts as balanced (as with Engler et al., "Bugs as deviant behavior", SOSP 2001, beliefs that a
function's users share).

UNSOUND: a function that really keeps, or drops, a lock on one of two ways that its result does not
tell apart is taken for balanced further up; see fixtures/lock-assertion/bad_left_unlocked.c.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import msgspec

from lockcheck.facts.ir import Expr
from lockcheck.lockstate.summary import Condition, Exit, Unsure, join

LEVELS = 3  # callers, upwards, for which a lock stays unsure

Effect = tuple[Expr, str, bool, int]  # lock, mode, whether it is taken, for the how manyth time


def settle(exits: tuple[Exit, ...]) -> tuple[Exit, ...]:
    """Exits with differences that nothing explains moved to `unsure`; equal ones are joined."""
    doubtful: dict[int, set[Effect]] = {}
    for (i, a), (j, b) in combinations(enumerate(exits), 2):
        if _told_apart(a, b):
            continue
        differ = _effects(a) ^ _effects(b)
        if differ:
            doubtful.setdefault(i, set()).update(differ)
            doubtful.setdefault(j, set()).update(differ)
    if not doubtful:
        return exits
    settled: dict[object, Exit] = {}
    for i, exit_ in enumerate(exits):
        mended = _without(exit_, doubtful.get(i, set()))
        key = (mended.acquired, mended.released, mended.truth)
        known = settled.get(key)
        settled[key] = mended if known is None else join(known, mended)
    return tuple(settled.values())


def _told_apart(a: Exit, b: Exit) -> bool:
    """Whether the result, or the values at entry, say which of two ways was taken."""
    if a.truth is not None and b.truth is not None and a.truth != b.truth:
        return True
    if a.result is not None and b.result is not None and a.result[0] == b.result[0] == "k":
        return bool(a.result != b.result)
    known: dict[Expr, list[Condition]] = {}
    for condition in a.guard:
        known.setdefault(condition.term, []).append(condition)
    return any(
        _contradict(mine, theirs) for theirs in b.guard for mine in known.get(theirs.term, ())
    )


def _contradict(a: Condition, b: Condition) -> bool:
    """Whether two conditions on one term cannot both hold."""
    if a.equal and b.equal:
        return a.value != b.value
    if a.equal == b.equal:
        return False
    equal, differs = (a, b) if a.equal else (b, a)
    if differs.value[0] == "in":
        return equal.value[0] == "k" and equal.value[1] in differs.value[1:]
    return equal.value == differs.value


def _without(exit_: Exit, doubtful: set[Effect]) -> Exit:
    if not doubtful:
        return exit_
    unsure = {*exit_.unsure, *(Unsure(*effect[:3], LEVELS) for effect in doubtful)}
    return msgspec.structs.replace(
        exit_,
        acquired=tuple(e[:2] for e in _counted(exit_.acquired, True) if e not in doubtful),
        released=tuple(e[:2] for e in _counted(exit_.released, False) if e not in doubtful),
        unsure=tuple(sorted(unsure, key=repr)),
    )


def _effects(exit_: Exit) -> set[Effect]:
    return {*_counted(exit_.acquired, True), *_counted(exit_.released, False)}


def _counted(locks: tuple[tuple[Expr, str], ...], taken: bool) -> list[Effect]:
    """Locks, the same one again with another number."""
    seen: Counter[tuple[Expr, str]] = Counter()
    found: list[Effect] = []
    for lock, mode in locks:
        found.append((lock, mode, taken, seen[lock, mode]))
        seen[lock, mode] += 1
    return found
