"""Finding every access to a datum: direct ones, and those made by a helper that is given it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lockcheck.facts.ir import NULL, Event, Expr
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.solver import At
from lockcheck.lockstate.terms import root
from lockcheck.queries import Query
from lockcheck.rules.pattern import BoundPattern

MAX_HELPERS = 6  # depth of helpers that a datum's address is followed through


class HelperStep(NamedTuple):
    """A helper on the way to the access: the call is in `function` at `loc`."""

    function: str
    loc: int
    callee: str


class Access(NamedTuple):
    """One access in the function that names the datum.

    function, loc: where; for an access by a helper, the call of the helper.
    written: the datum as the source writes it; base: the metavariable's value, as a term.
    write, how: what is done, with the flags of lockcheck.facts.ir.
    at: the state before it.
    helpers: calls down to the access itself, which is in `inner` at `inner_loc`.
    """

    function: str
    loc: int
    pattern: BoundPattern
    written: Expr
    base: Expr
    write: bool
    how: int
    at: At
    helpers: tuple[HelperStep, ...]
    inner: str
    inner_loc: int


class _ParameterAccess(NamedTuple):
    write: bool
    how: int
    helpers: tuple[HelperStep, ...]
    function: str
    loc: int


class AccessFinder:
    """Finds accesses to data. One per run: what helpers do is remembered."""

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self._program = analysis.program
        self._users: dict[str, set[str]] | None = None
        self._named_by = Query(analysis.queries, self._fields_named)
        self._parameters: dict[tuple[str, int], tuple[_ParameterAccess, ...]] = {}

    def begin(self) -> None:
        """The program has become another one."""
        self._users = None
        self._parameters = {}

    def field_users(self) -> dict[str, set[str]]:
        """Field → keys of the functions whose code names it."""
        if self._users is None:
            users: dict[str, set[str]] = defaultdict(set)
            for key in self._program.functions:
                for name in self._named_by(key):
                    users[name].add(key)
            self._users = users
        return self._users

    def _fields_named(self, key: str) -> frozenset[str]:
        named: set[str] = set()
        for events, terminator in self._program.functions[key].blocks:
            for event in events:
                for part in event[2:]:
                    _collect_fields(part, named)
            if terminator[0] == "ret":
                _collect_fields(terminator[1], named)
        return frozenset(named)

    def find(self, patterns: Iterable[BoundPattern]) -> list[Access]:
        """All accesses to the data, in a fixed order."""
        found: list[Access] = []
        by_function: dict[str, list[BoundPattern]] = defaultdict(list)
        for pattern in patterns:
            for key in self._with_callers_of_getters(pattern):
                by_function[key].append(pattern)
        for key in sorted(by_function):
            found.extend(self._in_function(key, by_function[key]))
        return found

    def _with_callers_of_getters(self, pattern: BoundPattern) -> set[str]:
        """Functions that name the datum, and callers of those that return its address."""
        users = set(self.field_users().get(pattern.last_field, ()))
        for key in list(users):
            for exit_ in self._analysis.summary(key).exits:
                if exit_.result is not None and pattern.match_inside(exit_.result) is not None:
                    users.update(site.caller for site in self._program.callers.get(key, ()))
        return users

    def _in_function(self, key: str, patterns: list[BoundPattern]) -> list[Access]:
        found: list[Access] = []
        solved = self._analysis.solved(key)
        for event, ats in solved.accesses:
            write, how = _kind(event, ats)
            for at in ats:
                for pattern, base in _matches(patterns, at.terms[0], event[2], at):
                    written = _written(event[2], at.terms[0], pattern)
                    found.append(
                        Access(
                            key, event[1], pattern, written, base, write, how, at, (), key, event[1]
                        )
                    )
        for number in sorted(solved.calls):
            for at in solved.calls[number]:
                args = self._program.calls[key][number].event[4]
                for index, (term, arg) in enumerate(zip(at.terms[1:], args, strict=True)):
                    for pattern, base in _matches(patterns, term, arg, at):
                        found.extend(self._passed(key, number, at, index, pattern, base))
        return found

    def _passed(
        self, key: str, number: int, at: At, index: int, pattern: BoundPattern, base: Expr
    ) -> list[Access]:
        """Accesses by the functions that a call gives the address of the datum to."""
        found: list[Access] = []
        call = self._program.calls[key][number]
        loc = call.event[1]
        written = _written(call.event[4][index], at.terms[1 + index], pattern)
        for target in call.targets:
            step = HelperStep(key, loc, target)
            for inner in self._by_parameter(target, index, MAX_HELPERS):
                helpers = (step, *inner.helpers)
                where = (inner.function or key, inner.loc or loc)
                found.append(
                    Access(
                        key,
                        loc,
                        pattern,
                        written,
                        base,
                        inner.write,
                        inner.how,
                        at,
                        helpers,
                        *where,
                    )
                )
        return found

    def _by_parameter(self, key: str, index: int, depth: int) -> tuple[_ParameterAccess, ...]:
        """What a function does to the memory that its parameter `index` points to."""
        model = self._program.model(key)
        if model is not None:
            accesses: list[_ParameterAccess] = []
            if index in model.writes:
                accesses.append(_ParameterAccess(True, 0, (), "", 0))
            if index in model.reads:
                accesses.append(_ParameterAccess(False, 0, (), "", 0))
            return tuple(accesses)
        if key not in self._program.functions or depth == 0:
            return ()
        known = self._parameters.get((key, index))
        if known is not None:
            return known
        self._parameters[key, index] = ()  # recursion
        found: dict[tuple[bool, int], _ParameterAccess] = {}
        solved = self._analysis.solved(key)
        for event, ats in solved.accesses:
            if any(_hangs_on(at.terms[0], index) for at in ats):
                write, how = _kind(event, ats)
                found.setdefault((write, how), _ParameterAccess(write, how, (), key, event[1]))
        for number, ats in sorted(solved.calls.items()):
            call = self._program.calls[key][number]
            for position in {
                p for at in ats for p, t in enumerate(at.terms[1:]) if _hangs_on(t, index)
            }:
                for target in call.targets:
                    step = HelperStep(key, call.event[1], target)
                    for inner in self._by_parameter(target, position, depth - 1):
                        found.setdefault(
                            (inner.write, inner.how),
                            inner._replace(
                                helpers=(step, *inner.helpers),
                                function=inner.function or key,
                                loc=inner.loc or call.event[1],
                            ),
                        )
        self._parameters[key, index] = tuple(found.values())
        return self._parameters[key, index]


def _kind(event: Event, ats: list[At]) -> tuple[bool, int]:
    """Whether an access event writes, and its flags."""
    if event[0] != "S":
        return False, event[3]
    return True, event[4] | (NULL if all(at.terms[1] == ("k", 0) for at in ats) else 0)


def _matches(
    patterns: list[BoundPattern], address: Expr, written: Expr, at: At
) -> Iterator[tuple[BoundPattern, Expr]]:
    """The data that an address lies in, each with the metavariable's value.

    Asked of the address as the source writes it, too: where `n` is `container_of(p, …, node)`, the
    term of `n->node` is `*p`.
    """
    for pattern in patterns:
        base = pattern.match_inside(address)
        if base is None:
            named = pattern.match_inside(written)
            base = None if named is None else at.state.evaluate(named)
        if base is not None:
            yield pattern, base


def _written(expr: Expr, term: Expr, pattern: BoundPattern) -> Expr:
    """The part of a source expression that names the datum, without members below it.

    Where the source only has a local pointer into the datum, the term says more.
    """
    matched = pattern.match_inside(term) is not None
    steps = pattern.steps_inside(term if matched else expr)
    datum = term
    for _ in range(steps):
        expr = expr[1] if expr[0] in ("f", "i") else expr
        datum = datum[1]
    return datum if matched and not _names_a_field(expr) and root(datum)[0] == "p" else expr


def _names_a_field(expr: Expr) -> bool:
    named: set[str] = set()
    _collect_fields(expr, named)
    return bool(named)


def _hangs_on(term: Expr, index: int) -> bool:
    """Whether an address lies in what parameter `index` points to."""
    while term[0] in ("f", "i"):
        term = term[1]
    return term == ("p", index)


def _collect_fields(part: object, named: set[str]) -> None:
    if type(part) is not tuple or not part:
        return
    if part[0] in ("f", "co"):
        named.add(part[2])
        _collect_fields(part[1], named)
        return
    for inner in part:
        if type(inner) is tuple:
            _collect_fields(inner, named)
