"""Models: what functions outside the units read do to locks, contexts and values."""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from lockcheck.errors import LockcheckError
from lockcheck.yamlfile import Node, load_yaml

READ, WRITE = "read", "write"
EXCLUSIVE, SHARED, SECTION = "exclusive", "shared", "section"


class LockEffect(msgspec.Struct, frozen=True):
    """One lock or section that a primitive takes or drops.

    argument: index of the lock pointer, or None for a named section.
    when: True/False if the effect happens only when the result is nonzero/zero, else None.
    """

    argument: int | None
    section: str
    mode: str
    when: bool | None


class SleepEffect(msgspec.Struct, frozen=True):
    """A call that may sleep: always, or when `argument & flag` is not zero."""

    because: str
    argument: int | None = None
    flag: str = ""


class FunctionModel(msgspec.Struct, frozen=True):
    """What one function does, as far as the analysis needs it.

    called: the name that the source uses for it, when a macro hides the function's own.
    """

    acquires: tuple[LockEffect, ...] = ()
    releases: tuple[LockEffect, ...] = ()
    downgrades: int | None = None
    sleeps: SleepEffect | None = None
    allocates: bool = False
    assigns: tuple[int, int] | None = None
    writes: tuple[int, ...] = ()
    reads: tuple[int, ...] = ()
    called: str = ""

    @property
    def locks(self) -> bool:
        return bool(self.acquires or self.releases or self.downgrades is not None)


class Models(msgspec.Struct, frozen=True):
    """All models. `functions` is keyed by C name.

    lock_records: lock types → "exclusive", "shared" or "section".
    """

    functions: dict[str, FunctionModel]
    lock_records: dict[str, str]
    constants: dict[str, int]
    keep_alive: tuple[str, ...]

    def with_constants(self, found: dict[str, int]) -> Models:
        """The same models with constants as the tree's own headers define them."""
        known = {name: found.get(name, value) for name, value in self.constants.items()}
        return msgspec.structs.replace(self, constants=known)


_KEYS = frozenset(
    {
        "names", "acquire", "release", "downgrade", "sleeps", "allocates", "assigns", "writes",
        "reads", "called",
    }
)  # fmt: skip


@cache
def load_models() -> Models:
    """The models that come with the package. Raises LockcheckError on a mistake in one."""
    functions: dict[str, FunctionModel] = {}
    lock_records: dict[str, str] = {}
    constants: dict[str, int] = {}
    keep_alive: list[str] = []
    for file in sorted(resources.files("lockcheck.models").joinpath("data").iterdir(), key=_name):
        if not file.name.endswith(".yaml"):
            continue
        top = load_yaml(file.read_text("utf-8"), file.name)
        top.only({"functions", "lock-records", "constants", "keep-alive-variables"})
        for tag, kind in top.mapping("lock-records").items():
            lock_records[tag] = kind.one_of({EXCLUSIVE, SHARED, SECTION})
        keep_alive.extend(top.strings("keep-alive-variables"))
        for name, value in top.mapping("constants").items():
            constants[name] = value.integer()
        for entry in top.items("functions"):
            entry.only(_KEYS)
            model = _function(entry)
            for name in entry.strings("names"):
                known = functions.get(name)
                if known is not None:
                    raise entry.error(f"{name} has a model already")
                functions[name] = model
    return Models(functions, lock_records, constants, tuple(keep_alive))


def _name(file: Traversable) -> str:
    return file.name


def _function(entry: Node) -> FunctionModel:
    downgrade = entry.get("downgrade")
    assigns = entry.get("assigns")
    return FunctionModel(
        acquires=tuple(_effect(item) for item in entry.items("acquire")),
        releases=tuple(_effect(item) for item in entry.items("release")),
        downgrades=None if downgrade is None else downgrade.required("argument").integer(),
        sleeps=_sleep(entry.get("sleeps")),
        allocates=entry.get("allocates") is not None,
        assigns=None
        if assigns is None
        else (assigns.required("target").integer(), assigns.required("value").integer()),
        writes=tuple(item.integer() for item in entry.items("writes")),
        reads=tuple(item.integer() for item in entry.items("reads")),
        called="" if (called := entry.get("called")) is None else called.string(),
    )


def _effect(item: Node) -> LockEffect:
    item.only({"argument", "section", "mode", "when"})
    argument = item.get("argument")
    section = item.get("section")
    if (argument is None) == (section is None):
        raise item.error("a lock effect names either an argument or a section")
    mode = item.get("mode")
    when = item.get("when")
    return LockEffect(
        argument=None if argument is None else argument.integer(),
        section="" if section is None else section.string(),
        mode=WRITE if mode is None else mode.one_of({READ, WRITE}),
        when=None if when is None else when.one_of({"zero", "nonzero"}) == "nonzero",
    )


def _sleep(item: Node | None) -> SleepEffect | None:
    if item is None:
        return None
    if item.is_string():
        return SleepEffect(item.string())
    item.only({"because", "flag", "argument"})
    return SleepEffect(
        item.required("because").string(),
        item.required("argument").integer(),
        item.required("flag").string(),
    )


def check_constants(models: Models) -> None:
    """Every flag that a sleep model names must be a constant. Raises LockcheckError."""
    for name, model in models.functions.items():
        sleep: Any = model.sleeps
        if sleep is not None and sleep.flag and sleep.flag not in models.constants:
            raise LockcheckError(f"model of {name}: no constant {sleep.flag}")
