"""Models: what functions outside the units read do to locks, contexts and values."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from lockcheck.errors import LockcheckError
from lockcheck.facts.ir import Expr
from lockcheck.models.ordering import ORDERING_KEYS, OrderModels, read_ordering
from lockcheck.yamlfile import Node, build_from_yaml

READ, WRITE = "read", "write"
ANY = "any"  # of a query: in whatever mode
EXCLUSIVE, SHARED, SECTION = "exclusive", "shared", "section"


class LockEffect(msgspec.Struct, frozen=True):
    """One lock or section that a primitive takes or drops.

    argument: index of the lock pointer, or of the object that `field` belongs to; None for a named
        section or a global lock.
    section: the name of a section, "" for a lock.
    lock: the lock's term when no argument gives it: ("g", variable), or ("section", name).
    field: "record.member", when the lock is a member of what the argument points to.
    through: the fields from what the argument points to, to a pointer; `field` is of what that
        points to.
    when: True/False if the effect happens only when the result is nonzero/zero, else None.
    """

    argument: int | None
    section: str
    mode: str
    when: bool | None
    lock: Expr | None = None
    field: str = ""
    through: tuple[str, ...] = ()

    def in_object(self, term: Expr) -> Expr:
        """The lock in the object that an argument points to."""
        for name in self.through:
            term = ("f", term, name)
        if self.through:
            term = ("l", term)
        return ("f", term, self.field) if self.field else term


class Query(msgspec.Struct, frozen=True):
    """A function that tells whether a lock is held, or a section entered.

    mode: ANY, WRITE or READ; "" when the argument `read` says it as lockdep does (-1, 0, 1).
    """

    argument: int | None
    lock: Expr | None
    mode: str
    read: int | None = None
    field: str = ""


class SleepEffect(msgspec.Struct, frozen=True):
    """A call that may sleep: always, or when `argument & flag` is not zero.

    leaves: sections that it leaves before, and enters again. not_in: those in which it does not.
    when_zero: it sleeps only if this argument is zero.
    """

    because: str
    argument: int | None = None
    flag: str = ""
    leaves: frozenset[str] = frozenset()
    not_in: frozenset[str] = frozenset()
    when_zero: int | None = None


class FunctionModel(msgspec.Struct, frozen=True):
    """What one function does, as far as the analysis needs it.

    called: the name that the source uses for it, when a macro hides the function's own.
    allocates, zeroed: it returns a new object; its memory is zero.
    query: the lock that its result tells of.
    asserts: it is never to be reached: where control gets to it, an assertion of that name fails.
    zeroes: (argument, fields): what lies there is zero if the result is nonzero.
    finds: (argument, fields): it looks something up, and finds nothing if what lies there is zero.
    constant: it returns the same all the time, for the task that runs.
    """

    acquires: tuple[LockEffect, ...] = ()
    releases: tuple[LockEffect, ...] = ()
    downgrades: int | None = None
    sleeps: SleepEffect | None = None
    allocates: bool = False
    zeroed: bool = False
    assigns: tuple[int, int] | None = None
    writes: tuple[int, ...] = ()
    reads: tuple[int, ...] = ()
    called: str = ""
    query: Query | None = None
    asserts: str = ""
    zeroes: tuple[int, tuple[str, ...]] | None = None
    finds: tuple[int, tuple[str, ...]] | None = None
    constant: bool = False

    @property
    def locks(self) -> bool:
        return bool(self.acquires or self.releases or self.downgrades is not None)


class EntryHeld(msgspec.Struct, frozen=True):
    """A lock that is held when control comes in: a class, a global's or a section's name."""

    lock_class: str
    mode: str


class EntryModel(msgspec.Struct, frozen=True):
    """Places through which the kernel outside the units calls in.

    through: patterns of the places: "record.field", "function#argument" for what is passed to a
        function, "name()" for functions that are called by name.
    what: who calls, for people.
    holds: what is held then; nothing else of the locks that the units know is.
    private: nobody else can reach the object that is passed.
    may_hold: patterns of locks that may be held beside those; "*" is any lock.
    may_hold_types: types of locks that may be held beside those.
    deferred: it is called some time after it was asked for.
    interrupt: the kind of interrupt that it is, "" for none; see OrderModels.interrupts.
    """

    through: tuple[str, ...]
    what: str
    holds: tuple[EntryHeld, ...]
    may_hold: tuple[str, ...]
    private: bool = False
    may_hold_types: frozenset[str] = frozenset()
    deferred: bool = False
    interrupt: str = ""


class Models(msgspec.Struct, frozen=True):
    """All models. `functions` is keyed by C name.

    lock_records: lock types → "exclusive", "shared" or "section".
    sections: sections that others imply, as terms: ("section", name, (implying, …)).
    aliases: variables and sparse's names that stand for a section → its term.
    entries: where control comes from outside, and what is held then; see EntryModel.
    back_pointers: (field, fields): what a field points to is where its object was reached from.
    lock_assertions: the macros that assert that a lock is held, by mode (ANY, WRITE, READ).
    exclusive: sets of file name beginnings of which only one is in use.
    context_variables: globals that say in which context the kernel is, which is not followed.
    counters: fields whose stores do not make a branch's outcome stale (see callgraph.effects).
    globals: variables that functions take or drop.
    order: what primitives mean for the order of locks.
    rt_functions, rt_entries: what is different with PREEMPT_RT; see `for_preempt_rt`.
    """

    functions: dict[str, FunctionModel]
    lock_records: dict[str, str]
    constants: dict[str, int]
    keep_alive: tuple[str, ...]
    sections: dict[str, Expr] = {}
    aliases: dict[str, Expr] = {}
    entries: tuple[EntryModel, ...] = ()
    counters: frozenset[str] = frozenset()
    back_pointers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exclusive: tuple[tuple[str, ...], ...] = ()
    globals: frozenset[str] = frozenset()
    lock_assertions: dict[str, str] = {}
    order: OrderModels = OrderModels()
    context_variables: frozenset[str] = frozenset()
    rt_functions: dict[str, FunctionModel] = {}
    rt_entries: tuple[EntryModel, ...] = ()

    def for_preempt_rt(self) -> Models:
        """The same models for a kernel with PREEMPT_RT."""
        return msgspec.structs.replace(
            self,
            functions={**self.functions, **self.rt_functions},
            entries=(*self.rt_entries, *self.entries),
        )

    def section(self, name: str) -> Expr:
        """The term of a section."""
        return self.sections.get(name, ("section", name))

    def with_constants(self, found: dict[str, int]) -> Models:
        """The same models with constants as the tree's own headers define them."""
        known = {name: found.get(name, value) for name, value in self.constants.items()}
        return msgspec.structs.replace(self, constants=known)


_KEYS = frozenset(
    {
        "names", "acquire", "release", "downgrade", "sleeps", "allocates", "assigns", "writes",
        "reads", "called", "query", "asserts", "zero-when-true",
        "finds-nothing-when-zero", "same-for",
    }
)  # fmt: skip


_TOP = frozenset(
    {
        "functions", "lock-records", "constants", "keep-alive-variables", "sections",
        "section-names", "entry-points", "counters", "back-pointers",
        "exclusive", "lock-assertions", *ORDERING_KEYS,
        "context-variables", "preempt-rt",
    }
)  # fmt: skip


@cache
def load_models() -> Models:
    """The models that come with the package. Raises LockcheckError on a mistake in one."""
    return build_from_yaml(_models)


def _models(load: Callable[[str, str], Node]) -> Models:
    functions: dict[str, FunctionModel] = {}
    lock_records: dict[str, str] = {}
    constants: dict[str, int] = {}
    keep_alive: list[str] = []
    sections: dict[str, Expr] = {}
    aliases: dict[str, Expr] = {}
    entries: list[EntryModel] = []
    counters: list[str] = []
    back: list[tuple[str, tuple[str, ...]]] = []
    exclusive: list[tuple[str, ...]] = []
    assertions: dict[str, str] = {}
    order = OrderModels()
    context: list[str] = []
    rt_functions: dict[str, FunctionModel] = {}
    rt_entries: list[EntryModel] = []
    for file in sorted(resources.files("lockcheck.models").joinpath("data").iterdir(), key=_name):
        if not file.name.endswith(".yaml"):
            continue
        top = load(file.read_text("utf-8"), file.name)
        top.only(_TOP)
        order = read_ordering(top, order)
        for name, implying in top.mapping("sections").items():
            sections[name] = ("section", name, tuple(implying.strings("implied-by")))
        for name, section in top.mapping("section-names").items():
            aliases[name] = ("section", section.string())
        entries.extend(_entry(item) for item in top.items("entry-points"))
        counters.extend(top.strings("counters"))
        context.extend(top.strings("context-variables"))
        for group in top.items("exclusive"):
            exclusive.append(tuple(item.string() for item in group.elements()))
        for item in top.items("back-pointers"):
            item.only({"field", "through"})
            back.append((item.required("field").string(), tuple(item.strings("through"))))
        for tag, kind in top.mapping("lock-records").items():
            lock_records[tag] = kind.one_of({EXCLUSIVE, SHARED, SECTION})
        for mode, macro in top.mapping("lock-assertions").items():
            assertions[mode] = macro.string()
        keep_alive.extend(top.strings("keep-alive-variables"))
        for name, value in top.mapping("constants").items():
            constants[name] = value.integer()
        _read_functions(top, functions)
        preempt_rt = top.get("preempt-rt")
        if preempt_rt is not None:
            preempt_rt.only({"functions", "entry-points"})
            _read_functions(preempt_rt, rt_functions)
            rt_entries.extend(_entry(item) for item in preempt_rt.items("entry-points"))
    return Models(
        functions,
        lock_records,
        constants,
        tuple(keep_alive),
        sections,
        {name: sections.get(term[1], term) for name, term in aliases.items()},
        tuple(entries),
        frozenset(counters),
        tuple(back),
        tuple(exclusive),
        frozenset(
            effect.lock[1]
            for model in functions.values()
            for effect in (*model.acquires, *model.releases)
            if effect.lock is not None and effect.lock[0] == "g"
        ),
        assertions,
        order,
        frozenset(context),
        rt_functions,
        tuple(rt_entries),
    )


def _read_functions(top: Node, functions: dict[str, FunctionModel]) -> None:
    for entry in top.items("functions"):
        entry.only(_KEYS)
        model = _function(entry)
        for name in entry.strings("names"):
            if name in functions:
                raise entry.error(f"{name} has a model already")
            functions[name] = model


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
        zeroed=(how := entry.get("allocates")) is not None and how.value == "zeroed",
        assigns=None
        if assigns is None
        else (assigns.required("target").integer(), assigns.required("value").integer()),
        writes=tuple(item.integer() for item in entry.items("writes")),
        reads=tuple(item.integer() for item in entry.items("reads")),
        called="" if (called := entry.get("called")) is None else called.string(),
        query=_query(entry.get("query")),
        asserts="" if (asserts := entry.get("asserts")) is None else asserts.string(),
        zeroes=_zeroes(entry.get("zero-when-true")),
        finds=_zeroes(entry.get("finds-nothing-when-zero")),
        constant=(same := entry.get("same-for")) is not None and same.one_of({"task"}) == "task",
    )


def _place(item: Node) -> tuple[int | None, str, Expr | None, str]:
    """The lock that an effect or query names: argument, section, term, field."""
    argument, section, variable = item.get("argument"), item.get("section"), item.get("global")
    if sum(node is not None for node in (argument, section, variable)) != 1:
        raise item.error("name one of: argument, section, global")
    field = item.get("field")
    lock: Expr | None = None
    if section is not None:
        lock = ("section", section.string())
    elif variable is not None:
        lock = ("g", variable.string())
    return (
        None if argument is None else argument.integer(),
        "" if section is None else section.string(),
        lock,
        "" if field is None else field.string(),
    )


def _effect(item: Node) -> LockEffect:
    item.only({"argument", "section", "global", "field", "mode", "when", "through"})
    argument, section, lock, field = _place(item)
    mode = item.get("mode")
    when = item.get("when")
    return LockEffect(
        argument=argument,
        section=section,
        mode=WRITE if mode is None else mode.one_of({READ, WRITE}),
        when=None if when is None else when.one_of({"zero", "nonzero"}) == "nonzero",
        lock=lock,
        field=field,
        through=tuple(item.strings("through")),
    )


def _query(item: Node | None) -> Query | None:
    if item is None:
        return None
    item.only({"argument", "section", "global", "field", "mode", "read"})
    argument, _, lock, field = _place(item)
    mode, read = item.get("mode"), item.get("read")
    return Query(
        argument=argument,
        lock=lock,
        mode=ANY if mode is None else mode.one_of({ANY, READ, WRITE}),
        read=None if read is None else read.integer(),
        field=field,
    )


def _zeroes(item: Node | None) -> tuple[int, tuple[str, ...]] | None:
    if item is None:
        return None
    item.only({"argument", "fields"})
    return item.required("argument").integer(), tuple(item.strings("fields"))


def _entry(item: Node) -> EntryModel:
    item.only(
        {
            *("through", "what", "holds", "may-hold", "may-hold-types"),
            *("private", "deferred", "interrupt"),
        }
    )
    interrupt = item.get("interrupt")
    holds: list[EntryHeld] = []
    for held in item.items("holds"):
        if not held.is_mapping():
            holds.append(EntryHeld(held.string(), WRITE))
            continue
        held.only({"lock", "mode"})
        mode = held.get("mode")
        holds.append(
            EntryHeld(
                held.required("lock").string(),
                WRITE if mode is None else mode.one_of({READ, WRITE}),
            )
        )
    return EntryModel(
        through=tuple(item.strings("through")),
        what=item.required("what").string(),
        holds=tuple(holds),
        may_hold=tuple(item.strings("may-hold")),
        private=item.get("private") is not None,
        may_hold_types=frozenset(item.strings("may-hold-types")),
        deferred=item.get("deferred") is not None,
        interrupt="" if interrupt is None else interrupt.string(),
    )


def _sleep(item: Node | None) -> SleepEffect | None:
    if item is None:
        return None
    if item.is_string():
        return SleepEffect(item.string())
    item.only({"because", "flag", "argument", "leaves", "not-in", "when-zero"})
    flag, zero = item.get("flag"), item.get("when-zero")
    if flag is None and zero is None and not item.items("leaves") and not item.items("not-in"):
        raise item.error("name when it sleeps, else write the reason alone")
    return SleepEffect(
        item.required("because").string(),
        None if flag is None else item.required("argument").integer(),
        "" if flag is None else flag.string(),
        frozenset(item.strings("leaves")),
        frozenset(item.strings("not-in")),
        None if zero is None else zero.integer(),
    )


def check_constants(models: Models) -> None:
    """Every flag that a sleep model names must be a constant. Raises LockcheckError."""
    for name, model in models.functions.items():
        sleep: Any = model.sleeps
        if sleep is not None and sleep.flag and sleep.flag not in models.constants:
            raise LockcheckError(f"model of {name}: no constant {sleep.flag}")
