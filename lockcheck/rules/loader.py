"""Loading rule files: the ones that come with the package, and the user's own."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

from lockcheck.errors import LockcheckError
from lockcheck.findings.model import Level, RuleInfo
from lockcheck.models.loader import READ, WRITE
from lockcheck.rules.model import (
    SLEEP,
    AnnotatedData,
    Assertions,
    BalancedLocks,
    Check,
    Datum,
    DeclaredOrder,
    Forbidden,
    GuardedData,
    HookMustNot,
    LockOrder,
    LockPattern,
    ReleasedLocks,
    Rule,
    SleepInAtomic,
    UnsharedWhen,
)
from lockcheck.rules.pattern import Member, Pattern, parse_pattern, parse_variables, pattern_error
from lockcheck.yamlfile import Node, build_from_yaml, load_yaml

GUARDED_DATA, WALK, HOOK, ASSERTION, ANNOTATED = (
    "guarded-data",
    "walk-in-section",
    "hook-no-sleep",
    "assertion",
    "annotated-data",
)
DECLARED_ORDER = "lock-order"
_MAX_BYTES = 16 << 20  # of a rule file
_ORDER_KINDS = ("self-deadlock", "grace-period-in-reader", "lock-inversion", "irq-unsafe-lock")
HOOK_MUST_NOT = "hook-must-not"
SLEEP_IN_ATOMIC, BALANCE, RELEASED = "sleep-in-atomic", "balanced-locks", "released-locks"
_COMMON = frozenset({"id", "title", "level", "default", "cwe", "rationale", "kind", "examples"})
_KEYS = {
    GUARDED_DATA: _COMMON
    | {"where", "data", "write", "read", "one-lock-of", "lock-free", "unshared"},
    WALK: _COMMON | {"where", "data", "write", "read", "lock-free", "unshared"},
    HOOK: _COMMON | {"from", "through"},
    HOOK_MUST_NOT: _COMMON | {"from", "through", "must-not"},
    ASSERTION: _COMMON | {"asserts"},
    ANNOTATED: _COMMON,
    **dict.fromkeys(_ORDER_KINDS, _COMMON),
    DECLARED_ORDER: _COMMON | {"orders"},
    SLEEP_IN_ATOMIC: _COMMON,
    BALANCE: _COMMON,
    RELEASED: _COMMON,
}
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*$")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*$")
_FIELD = re.compile(r"[A-Za-z_]\w*\.[A-Za-z_]\w*$")
_PLACE = re.compile(r"struct\s+(\w+\.\w+)|\w+#\d+")
_CWE = re.compile(r"CWE-\d{1,5}$")
# Tabs are left to the YAML parser, which knows where they are wrong.
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def builtin_rules() -> Traversable:
    """The folder of the rules that come with the package."""
    try:
        return resources.files("lockcheck_rules")
    except ModuleNotFoundError:
        return resources.files("lockcheck").joinpath("..").joinpath("rules")  # a checkout


def load_rules(extra: Sequence[str] = ()) -> tuple[Rule, ...]:
    """All rules, by id. `extra`: the user's files and folders.

    Raises LockcheckError with file, line and remedy for the first mistake; a rule with a mistake
    is never skipped.
    """
    rules: dict[str, Rule] = {}
    for entry in sorted(builtin_rules().iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".yaml"):
            _add(rules, parse_rule(entry.read_text("utf-8"), f"rules/{entry.name}", builtin=True))
    for path in _rule_files(extra):
        _add(rules, _parse_file(path))
    return tuple(rules[rule_id] for rule_id in sorted(rules))


def _rule_files(extra: Sequence[str]) -> list[Path]:
    files: list[Path] = []
    for name in extra:
        path = Path(name)
        if path.is_dir():
            found = sorted(path.glob("*.yaml"))
            if not found:
                raise LockcheckError(
                    "no rule files (*.yaml) in this folder",
                    file=name,
                    remedy="name a rule file, or a folder with rule files",
                )
            files.extend(found)
        elif path.exists():
            files.append(path)
        else:
            raise LockcheckError(
                "no such rule file", file=name, remedy="check the path after --rules"
            )
    return files


def _parse_file(path: Path) -> Rule:
    """A rule of the user's. Every mistake in it comes with a remedy."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    except OSError as error:
        raise LockcheckError(
            f"the rule file cannot be read: {error.strerror or error}",
            file=str(path),
            remedy="make it a readable file, or name another one with --rules",
        ) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _no_text(path, content, error.start, "it is not UTF-8") from error
    control = _CONTROL.search(text)
    if control is not None:
        start = len(text[: control.start()].encode())
        raise _no_text(path, content, start, f"it contains the character {control[0]!r}")
    try:
        rule = parse_rule(text, str(path), builtin=False)
    except LockcheckError as error:
        if error.remedy is None and "'\\t'" in error.message:
            error.remedy = "indent with spaces: YAML takes no tabs there"
        elif error.remedy is None:
            error.remedy = f"the rules in {os.path.normpath(str(builtin_rules()))} show the form"
        raise
    # Reports name files relative to the tree, which need not be where the user is.
    info = msgspec.structs.replace(rule.info, file=os.path.abspath(path))
    return msgspec.structs.replace(rule, info=info)


def _no_text(path: Path, content: bytes, offset: int, why: str) -> LockcheckError:
    return LockcheckError(
        f"the rule file is no text: {why}",
        file=str(path),
        line=content.count(b"\n", 0, offset) + 1,
        remedy="save it as UTF-8 text",
    )


def _add(rules: dict[str, Rule], rule: Rule) -> None:
    known = rules.get(rule.info.rule_id)
    if known is not None:
        raise LockcheckError(
            f"the rule id '{rule.info.rule_id}' is taken by {known.info.file}",
            file=rule.info.file,
            line=1,
            remedy="choose another id",
        )
    rules[rule.info.rule_id] = rule


def parse_rule(text: str, file: str, *, builtin: bool) -> Rule:
    """One rule from its text. Raises LockcheckError with file and line."""
    if builtin:
        return build_from_yaml(lambda load: _rule(load(text, file), file, builtin=True))
    return _rule(load_yaml(text, file), file, builtin=False)


def _rule(top: Node, file: str, *, builtin: bool) -> Rule:
    kind = top.required("kind").one_of(set(_KEYS))
    top.only(_KEYS[kind])
    rule_id = top.required("id")
    if not _ID.match(rule_id.string()):
        raise rule_id.error("a rule id is lower-case words with dashes, e.g. gfn-track-write")
    examples = top.required("examples")
    examples.only({"bad", "good"})
    cwe = top.items("cwe")
    for item in cwe:
        if not _CWE.match(item.string()):
            raise item.error(f"not a CWE id: '{item.value}'", remedy="e.g. CWE-667")
    level, default = top.get("level"), top.get("default")
    info = RuleInfo(
        rule_id=rule_id.string(),
        title=top.required("title").string().strip(),
        rationale=top.required("rationale").string().strip(),
        bad_example=examples.required("bad").string().rstrip(),
        good_example=examples.required("good").string().rstrip(),
        level=Level(level.one_of({str(x) for x in Level})) if level is not None else Level.WARNING,
        cwe=tuple(item.string() for item in cwe),
        file=file,
        off=default is not None and default.one_of({"on", "off"}) == "off",
    )
    return Rule(info, _check(top, kind), builtin)


def _check(top: Node, kind: str) -> Check:
    if kind in _ORDER_KINDS:
        return LockOrder(kind)
    if kind == DECLARED_ORDER:
        return LockOrder(kind, tuple(_orders(top)))
    if kind == BALANCE:
        return BalancedLocks()
    if kind == RELEASED:
        return ReleasedLocks()
    if kind == SLEEP_IN_ATOMIC:
        return SleepInAtomic()
    if kind == ANNOTATED:
        return AnnotatedData()
    if kind in (HOOK, HOOK_MUST_NOT):
        return _hook(top, kind)
    if kind == ASSERTION:
        return _assertions(top)
    return _guarded(top, walks=kind == WALK)


def _assertions(top: Node) -> Assertions:
    top.required("asserts")
    origins: list[str] = []
    for item in top.items("asserts"):
        if not _IDENTIFIER.match(item.string()):
            raise item.error(f"not the name of an assertion: '{item.value}'")
        origins.append(item.string())
    return Assertions(tuple(origins))


def _orders(top: Node) -> Iterator[DeclaredOrder]:
    top.required("orders")
    for item in top.items("orders"):
        item.only({"outer", "inner"})
        outer = _lock_class(item.required("outer"))
        for node in item.required("inner").elements():
            yield DeclaredOrder(outer, _lock_class(node))


def _lock_class(node: Node) -> str:
    """A class of locks: `struct kvm.lock`, or a variable."""
    found = re.fullmatch(r"struct\s+(\w+(?:\.\w+)+)|(\w+)", node.string().strip())
    if found is None:
        raise node.error(
            f"not a class of locks: '{node.value}'", remedy="e.g. struct kvm.lock, or kvm_lock"
        )
    return str(found[1] or found[2])


def _hook(top: Node, kind: str) -> HookMustNot:
    start = top.required("from") if kind == HOOK else top.get("from")
    if start is not None and not _IDENTIFIER.match(start.string()):
        raise start.error(f"not the name of a C function: '{start.value}'")
    records: list[str] = []
    places: list[str] = []
    for item in top.items("through"):
        text = item.string().strip()
        if found := re.match(r"struct\s+(\w+)$", text):
            records.append(found.group(1))
        elif kind == HOOK_MUST_NOT and (found := _PLACE.fullmatch(text)):
            places.append(found.group(1) or text)
        else:
            raise item.error(
                f"not a struct: '{item.value}'"
                if kind == HOOK
                else f"not a struct, a field or an argument: '{item.value}'",
                remedy="e.g. struct kvm_page_track_notifier_node"
                if kind == HOOK
                else "e.g. struct timer_list, struct timer_list.function, call_rcu#1",
            )
    if not records and not places:
        raise top.error("a hook rule needs 'through': the structs whose fields are the hooks")
    must_not = tuple(map(_forbidden, top.items("must-not")))
    if kind == HOOK_MUST_NOT and not must_not:
        raise top.error("say what the hooks must not do: 'must-not'", remedy="e.g. [sleep]")
    name = "" if start is None else start.string()
    return HookMustNot(name, tuple(records), tuple(places), must_not or (SLEEP,))


def _forbidden(item: Node) -> Forbidden:
    if not item.is_mapping():
        return Forbidden(item.one_of({"sleep"}))
    item.only({"take", "call"})
    lock, function = item.get("take"), item.get("call")
    if lock is not None and function is None:
        found = re.fullmatch(r"struct\s+(\w+(?:\.\w+)+)|(\w+)", lock.string().strip())
        if found is None:
            raise lock.error(
                f"not a class of locks: '{lock.value}'",
                remedy="e.g. struct kvm.mmu_lock, or kvm_lock",
            )
        return Forbidden("take", str(found[1] or found[2]))
    if function is None or lock is not None:
        raise item.error("name one of: take, call")
    if not _IDENTIFIER.match(function.string()):
        raise function.error(f"not the name of a C function: '{function.value}'")
    return Forbidden("call", function.string())


def _guarded(top: Node, *, walks: bool) -> GuardedData:
    where = top.required("where")
    variables: dict[str, str] = {}
    for name, node in top.mapping("where").items():
        try:
            variables.update(parse_variables({name: node.string()}))
        except ValueError as error:
            raise node.error(str(error), remedy="e.g. slot: struct kvm_memory_slot *") from error
    lock_free = _lock_free(top)
    data = tuple(_datum(item, variables, lock_free) for item in top.items("data"))
    if not data:
        raise top.error("a rule about data needs 'data': a list of patterns")
    one_of = _locks(top, "one-lock-of", variables)
    write, read = _locks(top, "write", variables), _locks(top, "read", variables)
    if one_of and (write or read):
        raise top.required("one-lock-of").error(
            "'one-lock-of' takes the place of 'write' and 'read'"
        )
    if not (one_of or write or read):
        raise where.error("no lock is named: add 'write', 'read' or 'one-lock-of'")
    locked = [lock.pattern for lock in (*one_of, *write, *read)]
    named = [pattern for datum in data for pattern in datum.names]
    used = {pattern.variable for pattern in (*named, *locked)}
    for name, node in top.mapping("where").items():
        if name not in used:
            raise node.error(
                f"'{name}' is declared and never used", remedy="remove it, or correct its name"
            )
    return GuardedData(variables, data, write, read, one_of, _unshared(top), walks)


def _unshared(top: Node) -> UnsharedWhen:
    node = top.get("unshared")
    if node is None:
        return UnsharedWhen()
    node.only({"until", "after", "in-callbacks"})
    for key in ("until", "after"):
        for item in node.items(key):
            if not _IDENTIFIER.match(item.string()):
                raise item.error(f"not the name of a C function: '{item.value}'")
    for item in node.items("in-callbacks"):
        if not _FIELD.match(item.string()):
            raise item.error(
                f"not a field of a struct: '{item.value}'", remedy="e.g. vfio_device_ops.init"
            )
    return UnsharedWhen(
        tuple(node.strings("until")),
        tuple(node.strings("after")),
        tuple(node.strings("in-callbacks")),
    )


def _locks(top: Node, key: str, variables: Mapping[str, str]) -> tuple[LockPattern, ...]:
    locks: list[LockPattern] = []
    for item in top.items(key):
        item.only({"lock", "mode"})
        mode = item.get("mode")
        locks.append(
            LockPattern(
                _pattern(item.required("lock"), variables),
                WRITE if mode is None else mode.one_of({READ, WRITE}),
            )
        )
    return tuple(locks)


def _datum(item: Node, variables: Mapping[str, str], lock_free: frozenset[str]) -> Datum:
    """One guarded datum: a pattern, or a mapping with `pattern` or `any-of`, and `lock-free`."""
    if not item.is_mapping():
        return Datum((_pattern(item, variables),), lock_free)
    item.only({"pattern", "any-of", "lock-free"})
    single = item.get("pattern")
    nodes = item.items("any-of") if single is None else [single]
    if not nodes:
        raise item.error("name the datum: 'pattern', or 'any-of' with its names in each version")
    own = _lock_free(item) if item.get("lock-free") is not None else lock_free
    return Datum(tuple(_pattern(node, variables) for node in nodes), own)


def _lock_free(node: Node) -> frozenset[str]:
    return frozenset(item.one_of({"once", "test", "null"}) for item in node.items("lock-free"))


def _pattern(node: Node, variables: Mapping[str, str]) -> Pattern:
    try:
        pattern = parse_pattern(node.string(), variables)
        first = pattern.steps[0]
        if isinstance(first, Member) and not first.arrow:
            raise ValueError(
                f"'{pattern.variable}' in '{pattern.text}' is a pointer: write -> instead of ."
            )
    except ValueError as error:
        raise pattern_error(error, node.file, node.line) from error
    return pattern
