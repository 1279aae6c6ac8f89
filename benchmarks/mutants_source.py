"""Functions, statements and locks in kernel source, by its layout: no C is parsed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# A definition as the kernel lays it out: the head from column 0, braces at column 0.
_FUNCTION = re.compile(
    r"^(?P<head>[A-Za-z_](?:[^;{}#()]|\n)*?\b(?P<name>\w+)\((?P<params>[^{};]*?)\)[^;{}()]*?)\n"
    r"\{\n(?P<body>.*?)^\}",
    re.MULTILINE | re.DOTALL,
)
_CONTROL = ("if", "for", "while", "switch", "do", "else")

# (family, takes, drops); one family is one way to take a lock.
_PAIRS = (
    ("mutex", r"mutex_lock(?:_killable)?", r"mutex_unlock"),
    ("spin", r"(?:raw_)?spin_lock(?:_irq|_irqsave|_bh)?", r"(?:raw_)?spin_unlock\w*"),
    ("write", r"write_lock(?:_irq|_irqsave)?", r"write_unlock\w*"),
    ("read", r"read_lock(?:_irq|_irqsave)?", r"read_unlock\w*"),
    ("down_write", r"down_write", r"up_write"),
    ("down_read", r"down_read", r"up_read"),
    ("srcu", r"srcu_read_lock", r"srcu_read_unlock"),
    ("vcpu_srcu", r"kvm_vcpu_srcu_read_lock", r"kvm_vcpu_srcu_read_unlock"),
    ("rcu", r"rcu_read_lock", r"rcu_read_unlock"),
)
_TAKE = re.compile(
    r"(?P<before>(?:\w+ )?\w+ = |if \()?\b(?P<call>"
    + "|".join(f"(?P<{name}>{take})" for name, take, _ in _PAIRS)
    + r")\((?P<args>[^;]*?)\)(?P<after>;|\)$)"
)
_DROP = re.compile(
    r"\b(?P<call>" + "|".join(f"(?P<{name}>{drop})" for name, _, drop in _PAIRS)
    + r")\((?P<args>[^;]*?)\);"
)  # fmt: skip
RCU = "RCU"


class SourceFunction(NamedTuple):
    """A definition. Lines are 1-based; `first` is the line after the brace, `last` that of `}`."""

    file: str
    name: str
    head: str
    params: str
    start: int
    first: int
    last: int


class Place(NamedTuple):
    """A call that takes or drops a lock, on one line."""

    line: int
    call: str
    text: str  # the statement, or the call alone when it is a condition
    condition: bool


class LockUse(NamedTuple):
    """All calls of one function that take and drop one lock in one way."""

    function: SourceFunction
    family: str
    lock: str  # as written, without &; "" for RCU
    takes: tuple[Place, ...]
    drops: tuple[Place, ...]

    @property
    def member(self) -> str:
        """The last name of the lock, which its class ends with."""
        if self.family == "rcu":
            return RCU
        if self.family == "vcpu_srcu":
            return "srcu"
        return re.split(r"->|\.", self.lock)[-1]

    def covers(self, line: int) -> bool:
        """Whether the line is after a take and before the last drop that follows it."""
        return self.takes[0].line < line < self.drops[-1].line


class Source:
    """One file: its lines and functions."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines = text.split("\n")
        self.functions = {f.name: f for f in self._functions(text)}

    def _functions(self, text: str) -> Iterator[SourceFunction]:
        for found in _FUNCTION.finditer(text):
            if found["name"] in _CONTROL or "define" in found["head"]:
                continue
            start = text.count("\n", 0, found.start()) + 1
            first = text.count("\n", 0, found.start("body")) + 1
            last = first + found["body"].count("\n")
            head = found["head"].strip()
            params = " ".join(found["params"].split())
            yield SourceFunction(self.file, found["name"], head, params, start, first, last)

    def line(self, number: int) -> str:
        return self.lines[number - 1]

    def uses(self, function: SourceFunction) -> Iterator[LockUse]:
        """The locks that are both taken and dropped in a function."""
        found: dict[tuple[str, str], tuple[list[Place], list[Place]]] = {}
        for number in range(function.first, function.last):
            text = self.line(number)
            for index, pattern in enumerate((_TAKE, _DROP)):
                for match in pattern.finditer(text):
                    family = next(name for name, _, _ in _PAIRS if match[name])
                    lock = match["args"].split(",")[0].strip().removeprefix("&")
                    condition = index == 0 and (match["before"] or "").startswith("if")
                    whole = f"{match['call']}({match['args']})" if condition else match[0]
                    place = Place(number, match["call"], whole, condition)
                    found.setdefault((family, lock), ([], []))[index].append(place)
        for (family, lock), (takes, drops) in found.items():
            if takes and drops and takes[0].line < drops[-1].line:
                yield LockUse(function, family, lock, tuple(takes), tuple(drops))

    def statement_before(self, number: int, first: int) -> tuple[int, int] | None:
        """First and last line of the statement before a line, in the same block; None for none."""
        indent = _indent(self.line(number))
        last = number - 1
        while last > first and not self.line(last).strip():
            last -= 1
        begin = last
        while begin > first and (
            _indent(self.line(begin)) != indent
            or self.line(begin).strip().startswith(("}", "else"))
        ):
            if self.line(begin).strip() and _indent(self.line(begin)) < indent:
                return None
            begin -= 1
        text = "\n".join(self.lines[begin - 1 : last])
        if begin < first or _indent(self.line(begin)) != indent or text.strip().startswith("#"):
            return None
        # A single statement that depends on the line above is no statement of this block.
        above = self.line(begin - 1)
        if _indent(above) < indent and not above.rstrip().endswith(("{", ":")) and above.strip():
            return None
        return begin, last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip("\t"))


def parameters(function: SourceFunction) -> list[tuple[str, str]] | None:
    """(type, name) of each parameter; None when one is more than a type and a name."""
    if function.params in ("", "void"):
        return []
    result: list[tuple[str, str]] = []
    for text in function.params.split(","):
        match = re.fullmatch(r"\s*(?:const )?(.*?[\s*])(\w+)\s*", text)
        if match is None or "(" in text:
            return None
        result.append((match[1].strip(), match[2]))
    return result
