"""Answering questions: `why FUNCTION` and `guards DATUM`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from lockcheck.callgraph.program import Program
from lockcheck.errors import LockcheckError
from lockcheck.facts.ir import ONCE, UPDATE, Expr
from lockcheck.findings.answers import (
    AccessAnswer,
    ContextAnswer,
    GuardsAnswer,
    HeldLock,
    WhyAnswer,
)
from lockcheck.findings.model import Location, Step, StepKind
from lockcheck.findings.order_answers import OrderAnswer
from lockcheck.lockstate.analysis import Analysis
from lockcheck.lockstate.callview import parameter_object
from lockcheck.lockstate.contexts import ContextFinder, Lock, Surroundings
from lockcheck.lockstate.state import State
from lockcheck.lockstate.terms import lock_class
from lockcheck.rules.accesses import Access, AccessFinder
from lockcheck.rules.evidence import Evidencer, name_of, spell_slot
from lockcheck.rules.order_questions import answer_order
from lockcheck.rules.pattern import (
    BoundPattern,
    UnknownField,
    UnknownRecord,
    bind,
    parse_pattern,
)

_DATUM = re.compile(r"(?:struct\s+)?(\w+)((?:\.|->|\[).*)$", re.S)
_VARIABLE = "object"


class Questions:
    """Answers for one program."""

    def __init__(
        self,
        program: Program,
        analysis: Analysis | None = None,
        finder: AccessFinder | None = None,
    ) -> None:
        """`analysis`, `finder`: of the same program, whose answers are shared."""
        self._program = program
        self._analysis = analysis or Analysis(program)
        self._finder = finder
        self._contexts = ContextFinder(self._analysis)
        self._words = Evidencer(program)

    # -- why -----------------------------------------------------------------------------------

    def why(self, name: str) -> list[WhyAnswer]:
        """The contexts of each function of a name. Raises LockcheckError when there is none."""
        keys = sorted(key for key in self._program.functions if name_of(key) == name)
        if not keys:
            raise LockcheckError(
                f"no function {name}() in the units read", remedy=self._similar(name)
            )
        return [self.contexts_of(key) for key in keys]

    def _similar(self, name: str) -> str:
        names = {name_of(key) for key in self._program.functions}
        close = difflib.get_close_matches(name, names, 3)
        if close:
            return "did you mean " + " or ".join(f"{other}()" for other in close) + "?"
        return "name the directories in which it is defined and called"

    def contexts_of(self, key: str) -> WhyAnswer:
        """The contexts of one function, by its key."""
        found = self._contexts.contexts(key)
        contexts = tuple(self._context(key, context) for context in found.contexts)
        return WhyAnswer(
            function=name_of(key),
            location=self._words.definition(key),
            contexts=contexts,
            common=common_locks([set(context.locks) for context in contexts]),
            cut=found.cut,
        )

    def _context(
        self, key: str, context: Surroundings, local: Iterable[HeldLock] = ()
    ) -> ContextAnswer:
        locks = {self.lock(key, lock) for lock in context.locks} | set(local)
        steps = [Step(StepKind.ENTRY, self._top(key, context), context.entry, 0)]
        for depth, step in enumerate(context.chain):
            through = "" if step.slot is None else f" through {spell_slot(step.slot)}"
            steps.append(
                Step(
                    StepKind.CALL,
                    self._words.location(step.caller, step.loc),
                    f"{name_of(step.caller)}() calls {name_of(step.callee)}(){through}",
                    depth,
                )
            )
        return ContextAnswer(tuple(sorted(locks)), tuple(steps), context.complete, context.private)

    def _top(self, key: str, context: Surroundings) -> Location:
        return self._words.definition(context.chain[0].caller if context.chain else key)

    def lock(self, key: str, lock: Lock) -> HeldLock:
        """A lock in the terms of a function, as people write it there."""
        term, mode = lock
        if term[0] in ("section", "class"):
            text = str(term[1]).split("@", 1)[0]
        else:
            text = self._words.spell(key, term)
        name = (lock_class(term) or text).split("@", 1)[0]
        return HeldLock(text, mode, name, term[0] == "section")

    # -- order ---------------------------------------------------------------------------------

    def order(self, lock: str | None = None, cycles: bool = False) -> OrderAnswer:
        """How locks nest; see order_questions.answer_order()."""
        return answer_order(self._analysis, lock, cycles)

    # -- guards --------------------------------------------------------------------------------

    def guards(self, text: str) -> GuardsAnswer:
        """Every access to a datum. Raises LockcheckError for one that cannot be understood."""
        pattern = self._bind(text)
        accesses = (self._finder or AccessFinder(self._analysis)).find([pattern])
        by_place: dict[tuple[object, ...], list[Access]] = {}
        for access in accesses:
            place = (access.function, access.loc, access.inner, access.inner_loc, access.write)
            by_place.setdefault(place, []).append(access)
        answers = tuple(self._access(same) for same in by_place.values())
        shared = [a for a in answers if a.kind in ("write", "update") and not a.private]
        return GuardsAnswer(text, tuple(sorted(answers, key=_by_place)), _writers(shared))

    def _bind(self, text: str) -> BoundPattern:
        found = _DATUM.match(text.strip())
        if found is None:
            raise LockcheckError(
                f"not a datum: '{text}'",
                remedy="write a struct and a path of members, e.g. struct page.lru.next",
            )
        record, path = found.groups()
        if not path.startswith("->"):
            path = "->" + path.lstrip(".")
        variables = {_VARIABLE: record}
        try:
            return bind(
                parse_pattern(_VARIABLE + path, variables), variables, self._program.records
            )
        except ValueError as error:
            raise LockcheckError(
                str(error).replace(_VARIABLE, f"struct {record}"),
                remedy="write the members as C does, and [*] for any element",
            ) from error
        except UnknownRecord as error:
            close = difflib.get_close_matches(error.record, self._program.records, 3)
            raise LockcheckError(
                f"no unit that was read uses struct {error.record}",
                remedy=f"did you mean {' or '.join(close)}?" if close else "name more directories",
            ) from error
        except UnknownField as error:
            fields = self._program.records.get(error.record, {})
            close = difflib.get_close_matches(error.field, fields, 3)
            remedy = f"did you mean {' or '.join(close)}?" if close else "check the declaration"
            raise LockcheckError(str(error), remedy=remedy) from error

    def held_at(
        self, key: str, state: State, base: Expr | None = None, *, new: bool = False
    ) -> list[ContextAnswer]:
        """What is held in a state of a function, for each context of it.

        base: the object that it is about, when there is one; new: nobody else knows that one.
        """
        local = [self.lock(key, (term, held.mode)) for term, held in state.held.items()]
        datum = None if base is None else parameter_object(base)
        return [
            self._context(
                key,
                context._replace(
                    locks=frozenset(x for x in context.locks if not _is_dropped(x, state)),
                    private=new or context.private,
                ),
                local,
            )
            for context in self._contexts.contexts(key, datum).contexts
        ]

    def _access(self, same: list[Access]) -> AccessAnswer:
        first = same[0]
        key = first.function
        chains: list[ContextAnswer] = []
        for access in same:
            new = self._analysis.is_unshared(key, access.at.state, access.base)
            chains.extend(self.held_at(key, access.at.state, access.base, new=new))
        different: dict[tuple[object, ...], ContextAnswer] = {}
        for chain in sorted(chains, key=lambda c: (not c.known, len(c.chain))):
            different.setdefault((chain.locks, chain.private), chain)
        shared = [chain for chain in different.values() if not chain.private]
        return AccessAnswer(
            location=self._words.location(key, first.loc),
            kind=_kind(first),
            text=self._words.spell(key, first.written),
            locks=common_locks([set(chain.locks) for chain in shared or different.values()]),
            private=not shared,
            chains=tuple(different.values()),
        )


def _is_dropped(lock: Lock, state: State) -> bool:
    term = lock[0]
    return any(
        term == dropped or (term[0] == "class" and lock_class(dropped) == term[1])
        for dropped in state.dropped
    )


def _kind(access: Access) -> str:
    if access.write:
        return "update" if access.how & UPDATE or access.helpers else "write"
    return "read once" if access.how & ONCE else "read"


def _by_place(answer: AccessAnswer) -> tuple[object, ...]:
    return (answer.kind not in ("write", "update"), answer.location)


def common_locks(locksets: list[set[HeldLock]]) -> tuple[HeldLock, ...]:
    """Locks in all locksets, by class: held for write only if it is in all of them."""
    if not locksets:
        return ()
    classes = set.intersection(*({lock.lock_class for lock in locks} for locks in locksets))
    found: list[HeldLock] = []
    for name in classes:
        same = [lock for locks in locksets for lock in locks if lock.lock_class == name]
        for_read = any(
            all(lock.mode == "read" for lock in locks if lock.lock_class == name)
            for locks in locksets
        )
        texts = sorted({lock.text for lock in same}, key=_plainness)
        found.append(HeldLock(texts[0], "read" if for_read else "write", name, same[0].section))
    return tuple(sorted(found, key=lambda lock: (lock.section, lock.text)))


def _plainness(text: str) -> tuple[bool, bool, int, str]:
    """Paths before classes, and neither with casts."""
    return "((" in text, "->" not in text, len(text), text


def _writers(writes: list[AccessAnswer]) -> tuple[HeldLock, ...]:
    return common_locks([set(write.locks) for write in writes])
