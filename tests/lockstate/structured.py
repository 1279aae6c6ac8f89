"""Small structured programs over two locks and a few flags: their C text, and what they do.

A program is a tuple of statements:
    ("mark",)  ("lock", lock)  ("unlock", lock)     lock: an index of LOCKS
    ("set", variable, value)                        value: a number, a variable, or None: unknown()
    ("if", condition, then, otherwise)  ("while", condition, body)
    ("try", then, otherwise)                        spin_trylock
    ("help", variable, result)                      result = helper(t, variable)
    ("break",)  ("continue",)  ("return",)
Conditions: ("true", v) ("not", v) ("eq", v, n) ("ne", v, n) ("and", c, d) ("or", c, d) ("?",)

`run` gives the collecting semantics: all configurations at once, which are finitely many. A run
that takes what it holds, or drops what it does not, ends there.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

from programs import Lockset

Program = tuple[Any, ...]
LOCKS = ("t->spin", "t->rw", "t->rw read")
_TAKE = ("spin_lock(&t->spin)", "_raw_write_lock(&t->rw)", "_raw_read_lock(&t->rw)")
_DROP = ("spin_unlock(&t->spin)", "_raw_write_unlock(&t->rw)", "_raw_read_unlock(&t->rw)")
# Two parameters, two locals (0 at first), one field of the parameter's object.
VARIABLES = ("a", "b", "x", "y", "t->flags")
HELPER_VARIABLES = ("n", "z")
NUMBERS = (0, 1, 2)

_EXCLUDES = {"t->spin": {"t->spin"}, "t->rw": {"t->rw", "t->rw read"}}
_EXCLUDES["t->rw read"] = _EXCLUDES["t->rw"]


class Config(NamedTuple):
    values: tuple[int, ...]
    held: Lockset


class Flow(NamedTuple):
    """Where control goes from a piece of code."""

    on: set[Config]
    broken: set[Config]
    continued: set[Config]
    returned: set[Config]


class Run:
    """One run of a program. `marks` and `spoilt` are its results."""

    def __init__(
        self,
        names: tuple[str, ...] = VARIABLES,
        helper: Program = (),
        helper_result: str | int = 0,
    ) -> None:
        self.marks: dict[int, set[Lockset]] = {}
        self.spoilt = False
        self._names = names
        self._number = 0
        self._helper = helper
        self._helper_result = helper_result

    def whole(self, program: Program) -> Flow:
        starts = product(NUMBERS, NUMBERS, (0,), (0,), NUMBERS)
        return self.block(program, {Config(values, frozenset()) for values in starts}, 0)[0]

    def block(self, program: Program, configs: set[Config], number: int) -> tuple[Flow, int]:
        """Run statements; `number` is the next mark's, in the order of the text."""
        out = Flow(set(configs), set(), set(), set())
        for statement in program:
            flow, number = self._statement(statement, out.on, number)
            out = Flow(
                flow.on,
                out.broken | flow.broken,
                out.continued | flow.continued,
                out.returned | flow.returned,
            )
        return out, number

    def _statement(self, s: Any, configs: set[Config], number: int) -> tuple[Flow, int]:
        none: set[Config] = set()
        kind = s[0]
        if kind == "mark":
            self.marks.setdefault(number, set()).update(c.held for c in configs)
            return Flow(configs, none, none, none), number + 1
        if kind in ("break", "continue", "return"):
            parts = [configs if kind == k else none for k in ("break", "continue", "return")]
            return Flow(none, *parts), number
        if kind == "if":
            yes, no = self._split(s[1], configs)
            return self._either((s[2], yes), (s[3], no), number)
        if kind == "try":
            yes = {Config(c.values, c.held | {LOCKS[0]}) for c in configs if LOCKS[0] not in c.held}
            return self._either((s[1], yes), (s[2], configs), number)
        if kind == "while":
            return self._while(s, configs, number)
        return Flow({d for c in configs for d in self._simple(s, c)}, none, none, none), number

    def _either(
        self, one: tuple[Program, set[Config]], two: tuple[Program, set[Config]], number: int
    ) -> tuple[Flow, int]:
        first, number = self.block(*one, number)
        second, number = self.block(*two, number)
        return Flow(*(a | b for a, b in zip(first, second, strict=True))), number

    def _while(self, s: Any, configs: set[Config], number: int) -> tuple[Flow, int]:
        heads, done = set(configs), set[Config]()
        left, returned = set[Config](), set[Config]()
        while True:
            yes, no = self._split(s[1], heads)
            done |= no
            flow, after = self.block(s[2], yes, number)
            left |= flow.broken
            returned |= flow.returned
            following = heads | flow.on | flow.continued
            if following == heads:
                return Flow(done | left, set(), set(), returned), after
            heads = following

    def _simple(self, s: Any, config: Config) -> Iterable[Config]:
        values, locks = config
        if s[0] == "lock":
            name = LOCKS[s[1]]
            if _EXCLUDES[name] & locks:
                self.spoilt = True
                return []
            return [Config(values, locks | {name})]
        if s[0] == "unlock":
            name = LOCKS[s[1]]
            if name not in locks:
                self.spoilt = True
                return []
            return [Config(values, locks - {name})]
        if s[0] == "set":
            return [self._put(config, s[1], value) for value in self._values(s[2], values)]
        assert s[0] == "help"
        inside = Run(HELPER_VARIABLES)
        start = Config((self._get(s[1], values), 0), locks)
        flow, _ = inside.block(self._helper, {start}, 0)
        self.spoilt |= inside.spoilt
        ends = [
            (end, r) for end in flow.on for r in inside._values(self._helper_result, end.values)
        ]
        ends += [(end, 0) for end in flow.returned]
        return [self._put(Config(values, end.held), s[2], result) for end, result in ends]

    def _get(self, name: str, values: tuple[int, ...]) -> int:
        return values[self._names.index(name)]

    def _put(self, config: Config, name: str, value: int) -> Config:
        at = self._names.index(name)
        return Config((*config.values[:at], value, *config.values[at + 1 :]), config.held)

    def _values(self, value: str | int | None, values: tuple[int, ...]) -> tuple[int, ...]:
        if value is None:
            return NUMBERS
        return (self._get(value, values),) if isinstance(value, str) else (value,)

    def _split(self, condition: Any, configs: set[Config]) -> tuple[set[Config], set[Config]]:
        truths = {c: self._truths(condition, c.values) for c in configs}
        return (
            {c for c, found in truths.items() if True in found},
            {c for c, found in truths.items() if False in found},
        )

    def _truths(self, c: Any, values: tuple[int, ...]) -> set[bool]:
        kind = c[0]
        if kind == "?":
            return {True, False}
        if kind in ("and", "or"):
            first = self._truths(c[1], values)
            decisive = kind == "or"
            second = self._truths(c[2], values) if (not decisive) in first else set()
            return (first & {decisive}) | second
        value = self._get(c[1], values)
        if kind in ("true", "not"):
            return {bool(value) == (kind == "true")}
        return {(value == c[2]) == (kind == "eq")}


# -- C -----------------------------------------------------------------------------------------


class Text:
    """The C text of programs; marks are numbered in the order of the text."""

    def __init__(self) -> None:
        self._number = 0

    def block(self, program: Program) -> str:
        return "{ " + " ".join(self._statement(s) for s in program) + " }"

    def _statement(self, s: Any) -> str:
        kind = s[0]
        if kind == "mark":
            self._number += 1
            return f"mark({self._number - 1});"
        if kind in ("lock", "unlock"):
            return (_TAKE if kind == "lock" else _DROP)[s[1]] + ";"
        if kind == "set":
            return f"{s[1]} = {'unknown()' if s[2] is None else s[2]};"
        if kind == "help":
            return f"{s[2]} = helper(t, {s[1]});"
        if kind == "if":
            return f"if ({condition_text(s[1])}) {self.block(s[2])} else {self.block(s[3])}"
        if kind == "try":
            return f"if (spin_trylock(&t->spin)) {self.block(s[1])} else {self.block(s[2])}"
        if kind == "while":
            return f"while ({condition_text(s[1])}) {self.block(s[2])}"
        return "return 0;" if kind == "return" else f"{kind};"


def condition_text(c: Any) -> str:
    kind = c[0]
    if kind == "?":
        return "unknown()"
    if kind in ("and", "or"):
        sign = "&&" if kind == "and" else "||"
        return f"({condition_text(c[1])} {sign} {condition_text(c[2])})"
    if kind in ("true", "not"):
        return c[1] if kind == "true" else f"!{c[1]}"
    return f"{c[1]} {'==' if kind == 'eq' else '!='} {c[2]}"


def text_of(program: Program, helper: Program | None = None, result: str | int = 0) -> str:
    """The function f of a program, after its helper."""
    before = ""
    if helper is not None:
        before = (
            f"static int helper(struct thing *t, int n)\n{{ int z = 0;\n{Text().block(helper)}\n"
            f"return {result}; }}\n"
        )
    body = Text().block(program)
    return (
        f"{before}int f(struct thing *t, int a, int b)\n{{ int x = 0, y = 0;\n{body}\nreturn 0; }}"
    )
