"""Rule files: every mistake is refused with its file and line; the built-in rules are whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lockcheck.errors import LockcheckError
from lockcheck.findings.model import Level
from lockcheck.report.cwe import TITLES
from lockcheck.rules.chosen import chosen
from lockcheck.rules.loader import builtin_rules, load_rules, parse_rule
from lockcheck.rules.model import GuardedData, HookMustNot, LockOrder, Rule

GUARDED = """\
id: made-up
title: A made-up rule
level: warning
cwe:
  - CWE-667
rationale: |
  Because the test says so.
kind: guarded-data
where:
  b: struct box *
  o: struct owner *
data:
  - b->count
  - any-of:
      - b->old_name
      - b->new_name[*]
write:
  - lock: b->lock
    mode: write
read:
  - lock: o->lock
    mode: read
lock-free: [once, test]
unshared:
  until: [box_publish]
  after: [box_remove]
  in-callbacks: [box_ops.init]
examples:
  bad: |
    b->count++;
  good: |
    spin_lock(&b->lock); b->count++; spin_unlock(&b->lock);
"""
HOOK = """\
id: made-up-hook
title: A made-up hook
rationale: Because.
kind: hook-no-sleep
from: box_commit
through:
  - struct box_ops
examples: {bad: msleep(1);, good: udelay(1);}
"""
ONE_LOCK = """\
write:
  - lock: b->lock
    mode: write
read:
  - lock: o->lock
    mode: read
"""


def refuse(text: str) -> LockcheckError:
    with pytest.raises(LockcheckError) as error:
        parse_rule(text, "my.yaml", builtin=False)
    assert error.value.file == "my.yaml"
    return error.value


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def test_guarded_data() -> None:
    rule = parse_rule(GUARDED, "my.yaml", builtin=False)

    assert (rule.info.rule_id, rule.info.file, rule.builtin) == ("made-up", "my.yaml", False)
    assert (rule.info.level, rule.info.cwe) == (Level.WARNING, ("CWE-667",))
    check = rule.check
    assert isinstance(check, GuardedData)
    assert len(check.data) == 2
    for text in ("b->count", "b->old_name", "b->new_name[*]", "'once'", "'test'"):
        assert text in repr(check)
    assert [(lock.pattern.text, lock.mode) for lock in check.write] == [("b->lock", "write")]
    assert [(lock.pattern.text, lock.mode) for lock in check.read] == [("o->lock", "read")]
    assert check.unshared.until == ("box_publish",)
    assert check.unshared.callbacks == ("box_ops.init",)
    assert not check.walks


def test_hook() -> None:
    rule = parse_rule(HOOK, "my.yaml", builtin=False)

    assert rule.check == HookMustNot("box_commit", ("box_ops",))
    assert rule.info.level is Level.WARNING


def test_mode_is_write_unless_said() -> None:
    text = replaced(GUARDED, "  - lock: b->lock\n    mode: write\n", "  - lock: b->lock\n")
    check = parse_rule(text, "my.yaml", builtin=False).check

    assert isinstance(check, GuardedData)
    assert check.write[0].mode == "write"


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        # keys
        ("title: A made-up rule", "titel: A made-up rule", 2, "unknown key 'titel'"),
        ("    mode: write", "    moed: write", 18, "unknown key 'moed'"),
        ("  until: [box_publish]", "  untill: [box_publish]", 24, "unknown key 'untill'"),
        ("  - any-of:", "  - one-of:", 13, "unknown key 'one-of'"),
        ("  good: |", "  fine: |", 30, "unknown key 'fine'"),
        ("title: A made-up rule\n", "", None, "needs 'title'"),
        ("id: made-up\n", "", None, "needs 'id'"),
        ("kind: guarded-data\n", "", None, "needs 'kind'"),
        ("  bad: |\n    b->count++;\n", "", None, "needs 'bad'"),
        # values
        ("kind: guarded-data", "kind: guarded", 8, "must be one of"),
        ("level: warning", "level: warming", 3, "must be one of"),
        ("level: warning", "level: 3", 3, "must be text"),
        ("id: made-up", "id: Made_Up", 1, "lower-case words with dashes"),
        ("id: made-up", "id: 17", 1, "must be text"),
        ("title: A made-up rule", "title: ''", 2, "must be text"),
        ("  - CWE-667", "  - CWE-x", 5, "not a CWE id"),
        ("  - CWE-667", "  - 667", 5, "must be text"),
        ("cwe:\n  - CWE-667", "cwe: CWE-667", 4, "must be a list"),
        ("    mode: write", "    mode: exclusive", 18, "must be one of"),
        ("lock-free: [once, test]", "lock-free: [once, never]", 22, "must be one of"),
        # variables
        ("  b: struct box *", "  b: struct box", 10, "pointer to a struct"),
        ("  o: struct owner *", "  o: 3", 11, "must be text"),
        # patterns
        ("  - b->count", "  - b->count[0]", 13, "always [*]"),
        ("  - b->count", "  - b->", 13, "not a C expression"),
        ("  - b->count", "  - c->count", 13, "'c' in 'c->count' is not declared"),
        ("  - b->count", "  - b", 13, "names no field"),
        ("      - b->new_name[*]", "      - b->new_name[1]", 16, "always [*]"),
        ("  - lock: b->lock", "  - lock: z->lock", 18, "'z' in 'z->lock' is not declared"),
        ("  - lock: b->lock\n    mode: write", "  - mode: write", 18, "needs 'lock'"),
        ("  - lock: b->lock\n    mode: write", "  - b->lock", 18, "mapping"),
        # missing and contradicting parts
        ("data:\n  - b->count", "write-only:\n  - b->count", 12, "unknown key 'write-only'"),
        (ONE_LOCK, "", None, "no lock is named"),
        (
            ONE_LOCK,
            ONE_LOCK + "one-lock-of:\n  - lock: b->lock\n",
            23,
            "takes the place of 'write' and 'read'",
        ),
    ],
)
def test_mistakes_in_rules_about_data(old: str, new: str, line: int | None, words: str) -> None:
    error = refuse(replaced(GUARDED, old, new))

    assert words in str(error)
    if line is not None:
        # Line numbers of the changed text: a line too many or too few would show.
        found = (GUARDED.replace(old, new)).splitlines()
        assert error.line == _line_of(found, new, line), str(error)


def _line_of(lines: list[str], new: str, fallback: int) -> int:
    """The line of the first changed line; `fallback` where another one is meant."""
    first = new.splitlines()[0]
    places = [number for number, text in enumerate(lines, start=1) if text == first]
    return places[0] if len(places) == 1 and not new.startswith(ONE_LOCK[:5]) else fallback


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("from: box_commit", "from: box->commit", 5, "not the name of a C function"),
        ("from: box_commit\n", "", None, "needs 'from'"),
        ("  - struct box_ops", "  - box_ops", 7, "not a struct"),
        ("  - struct box_ops", "  - struct box_ops *", 7, "not a struct"),
        ("through:\n  - struct box_ops\n", "", None, "needs 'through'"),
        (
            "from: box_commit",
            "where: {b: struct box *}\nfrom: box_commit",
            5,
            "unknown key 'where'",
        ),
    ],
)
def test_mistakes_in_hook_rules(old: str, new: str, line: int | None, words: str) -> None:
    error = refuse(replaced(HOOK, old, new))

    assert words in str(error)
    assert line is None or error.line == line


@pytest.mark.parametrize("missing", ["id", "title", "rationale", "kind", "examples"])
def test_a_missing_key_is_reported_with_a_line(missing: str) -> None:
    lines = [line for line in HOOK.splitlines() if not line.startswith(f"{missing}:")]
    error = refuse("\n".join(lines))

    assert f"needs '{missing}'" in str(error)
    assert error.line == 1


@pytest.mark.parametrize(
    "text, line",
    [
        ("id: x\ntitle: [unclosed\nkind: y\n", 3),
        ("id: x\n\tkind: guarded-data\n", 2),
        ("id: x\nid: y\n", 2),
        ("- a\n- b\n", 1),
        ("", 1),
        ("just text\n", 1),
    ],
)
def test_bad_yaml(text: str, line: int) -> None:
    error = refuse(text)

    assert error.line == line


def test_where_without_data() -> None:
    text = replaced(
        GUARDED,
        "data:\n  - b->count\n  - any-of:\n      - b->old_name\n      - b->new_name[*]\n",
        "",
    )

    assert "needs 'data'" in str(refuse(text))


def test_empty_any_of() -> None:
    text = replaced(GUARDED, "      - b->old_name\n      - b->new_name[*]\n", "")

    assert "'any-of' must be a list" in str(refuse(text))


def test_any_of_nothing() -> None:
    text = replaced(GUARDED, "any-of:\n      - b->old_name\n      - b->new_name[*]", "any-of: []")

    assert "'any-of'" in str(refuse(text))


# -- files -------------------------------------------------------------------------------------


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def ids(rules: tuple[Rule, ...]) -> set[str]:
    return {rule.info.rule_id for rule in rules}


def test_user_rules_come_beside_the_built_in_ones(tmp_path: Path) -> None:
    write(tmp_path, "rules/a.yaml", GUARDED)
    write(tmp_path, "rules/note.txt", "no rule")
    single = write(tmp_path, "b.yaml", HOOK)
    rules = load_rules([str(tmp_path / "rules"), single])

    assert ids(rules) == ids(load_rules()) | {"made-up", "made-up-hook"}
    assert [r.info.rule_id for r in rules] == sorted(r.info.rule_id for r in rules)
    assert {r.info.rule_id for r in rules if not r.builtin} == {"made-up", "made-up-hook"}


def test_duplicate_id_names_both_files(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a.yaml", GUARDED), write(tmp_path, "b.yaml", GUARDED)
    with pytest.raises(LockcheckError) as error:
        load_rules([first, second])

    assert error.value.file == second
    assert first in str(error.value)
    assert error.value.line == 1


def test_id_of_a_built_in_rule_is_taken(tmp_path: Path) -> None:
    taken = sorted(ids(load_rules()))[0]
    text = replaced(GUARDED, "id: made-up", f"id: {taken}")
    with pytest.raises(LockcheckError, match=f"'{taken}' is taken by rules/"):
        load_rules([write(tmp_path, "a.yaml", text)])


@pytest.mark.xfail(strict=True, reason="the line of a duplicate id is always 1")
def test_line_of_a_duplicate_id(tmp_path: Path) -> None:
    first = write(tmp_path, "a.yaml", GUARDED)
    second = write(tmp_path, "b.yaml", "# a comment\n# and another\n" + GUARDED)
    with pytest.raises(LockcheckError) as error:
        load_rules([first, second])

    assert error.value.line == 3


def test_rule_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(LockcheckError, match="no such rule file"):
        load_rules([str(tmp_path / "absent.yaml")])


def test_folder_without_rules(tmp_path: Path) -> None:
    with pytest.raises(LockcheckError, match="no rule files"):
        load_rules([str(tmp_path)])


def test_rule_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"id: \xff\xfe\n")
    with pytest.raises(LockcheckError) as error:
        load_rules([str(path)])

    assert error.value.file == str(path)


def test_mistake_in_a_user_file_names_that_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", replaced(GUARDED, "level: warning", "level: warming"))
    with pytest.raises(LockcheckError) as error:
        load_rules([path])

    assert (error.value.file, error.value.line) == (path, 3)


def test_rule_that_is_off_by_default(tmp_path: Path) -> None:
    off = replaced(GUARDED, "level: warning", "level: warning\ndefault: off")
    rules = load_rules([write(tmp_path, "a.yaml", off), write(tmp_path, "b.yaml", HOOK)])

    assert ids(chosen(rules, ())) >= {"made-up-hook"}
    assert "made-up" not in ids(chosen(rules, ()))
    assert "made-up" in ids(chosen(rules, ("made-up", "made-up-hook")))


def test_enabled_rule_that_does_not_exist() -> None:
    with pytest.raises(LockcheckError, match="no rule 'gfn-track-writes'") as error:
        chosen(load_rules(), ("gfn-track-writes",))

    assert "'gfn-track-write'" in str(error.value.remedy)


def test_default_of_a_rule_is_on_or_off() -> None:
    text = replaced(GUARDED, "level: warning", "level: warning\ndefault: maybe")

    assert "must be one of off, on" in str(refuse(text))


# -- built-in rules ----------------------------------------------------------------------------

BUILTIN = sorted(e.name for e in builtin_rules().iterdir() if e.name.endswith(".yaml"))


def builtin(name: str) -> Rule:
    text = builtin_rules().joinpath(name).read_text("utf-8")
    return parse_rule(text, f"rules/{name}", builtin=True)


def test_all_built_in_rules_are_loaded() -> None:
    assert sorted(rule.info.file for rule in load_rules()) == [f"rules/{n}" for n in BUILTIN]


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_rules_explain_themselves(name: str) -> None:
    rule = builtin(name)
    info = rule.info

    assert rule.builtin
    assert info.file == f"rules/{info.rule_id}.yaml"
    assert info.title and "\n" not in info.title
    assert not info.title.endswith(".")
    assert len(info.rationale) > 100
    assert info.bad_example.strip() and info.good_example.strip()
    assert info.bad_example != info.good_example


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_rules_name_known_weaknesses(name: str) -> None:
    rule = builtin(name)
    assert rule.info.cwe
    assert len(set(rule.info.cwe)) == len(rule.info.cwe)
    for identifier in rule.info.cwe:
        assert identifier.removeprefix("CWE-") in TITLES


# -- declared orders ---------------------------------------------------------------------------

ORDER = """\
id: made-up-order
title: A made-up order
rationale: Because.
kind: lock-order
orders:
  - outer: struct box.lock
    inner: [boxes_lock, struct box.inner.lock]
examples: {bad: a(); b();, good: b(); a();}
"""


def test_declared_orders() -> None:
    rule = parse_rule(ORDER, "x.yaml", builtin=False)

    assert isinstance(rule.check, LockOrder)
    assert [(o.outer, o.inner) for o in rule.check.orders] == [
        ("box.lock", "boxes_lock"),
        ("box.lock", "box.inner.lock"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("struct box.lock", "struct box->lock", 6, "not a class of locks"),
        ("struct box.lock", "struct box", 6, "not a class of locks"),
        ("[boxes_lock, struct box.inner.lock]", "boxes_lock", 7, "must be a list"),
        ("inner:", "innner:", 7, "unknown key 'innner'"),
        ("orders:", "order:", 5, "unknown key 'order'"),
    ],
)
def test_mistakes_in_declared_orders(before: str, after: str, line: int, message: str) -> None:
    with pytest.raises(LockcheckError, match=message) as caught:
        parse_rule(ORDER.replace(before, after), "x.yaml", builtin=False)

    assert (caught.value.file, caught.value.line) == ("x.yaml", line)


@pytest.mark.parametrize("builtin", [False, True])
def test_yaml_that_nests_deeply_is_refused(builtin: bool) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        with pytest.raises(LockcheckError, match="YAML") as caught:
            parse_rule(f"id: {'[' * 500}{']' * 500}\n", "x.yaml", builtin=builtin)
    finally:
        sys.setrecursionlimit(limit)
    assert caught.value.file == "x.yaml"
