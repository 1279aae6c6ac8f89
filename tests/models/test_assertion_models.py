"""Models of what the source says itself: questions, entry points, relations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lockcheck.errors import LockcheckError
from lockcheck.models import loader
from lockcheck.models.loader import ANY, READ, WRITE, load_models

MODELS = load_models()
ENTERED = {e.section for m in MODELS.functions.values() for e in m.acquires if e.section}
# Contexts that nobody enters by a call.
CONTEXTS = {"hardirq", "softirq"}
PLACE = re.compile(r"[\w*]+\.[\w*]+|[\w*]+#\d+|[\w*]+\(\)")


@pytest.mark.parametrize("name", sorted(MODELS.sections))
def test_sections_are_implied_by_sections_that_can_be_entered(name: str) -> None:
    head, spelled, implying = MODELS.sections[name]

    assert (head, spelled) == ("section", name)
    assert implying
    assert set(implying) <= ENTERED | CONTEXTS
    assert name not in ENTERED


def test_names_of_sections_stand_for_known_ones() -> None:
    assert {term[1] for term in MODELS.aliases.values()} <= set(MODELS.sections)


def test_questions_name_a_lock_and_a_mode() -> None:
    queries = {n: m.query for n, m in MODELS.functions.items() if m.query is not None}

    assert len(queries) > 10
    for name, query in queries.items():
        assert (query.argument is None) != (query.lock is None), name
        assert query.mode in (ANY, READ, WRITE), name
        if query.lock is not None and query.lock[0] == "section":
            assert query.lock[1] in MODELS.sections, name


def test_a_function_that_answers_does_nothing_else() -> None:
    for name, model in MODELS.functions.items():
        if model.query is not None or model.asserts:
            assert not model.locks, name
            assert model.sleeps is None, name


@pytest.mark.parametrize("entry", MODELS.entries, ids=lambda entry: entry.through[0])
def test_entry_points_name_places_and_what_can_be_held(entry: loader.EntryModel) -> None:
    assert entry.through
    assert entry.what
    assert all(PLACE.fullmatch(place) for place in entry.through)
    for held in entry.holds:
        assert held.mode in (READ, WRITE)
        assert "." in held.lock_class or held.lock_class in ENTERED | CONTEXTS


def test_no_place_has_two_entry_models() -> None:
    places = [place for entry in MODELS.entries for place in entry.through]

    assert len(places) == len(set(places))


def test_back_pointers_are_chains_of_fields() -> None:
    assert MODELS.back_pointers
    for field, through in MODELS.back_pointers:
        assert field.count(".") == 1
        assert through
        assert all(step.count(".") == 1 for step in through)


def test_exclusive_files_are_apart() -> None:
    for group in MODELS.exclusive:
        assert len(group) > 1
        assert not [(a, b) for a in group for b in group if a != b and a.startswith(b)]


def test_counters_are_fields() -> None:
    zeroing = {m.zeroes for m in MODELS.functions.values() if m.zeroes is not None}

    assert zeroing
    assert all(fields[-1] in MODELS.counters for _, fields in zeroing)


# -- mistakes ----------------------------------------------------------------------------------

GOOD = """\
sections:
  quiet:
    implied-by: [silence]
section-names:
  hush: quiet
functions:
  - names: [ask]
    query: {argument: 0, read: 1}
  - names: [ask_global]
    query: {global: big}
  - names: [die]
    asserts: promise
  - names: [put]
    zero-when-true: {argument: 0, fields: [r.refs, a.counter]}
entry-points:
  - through: [ops.run]
    what: a call
    holds: [dev.lock, {lock: dev.rw, mode: read}]
    may-hold: ["x.*"]
back-pointers:
  - field: child.parent
    through: [parent.child]
exclusive:
  - [a/, b/]
counters: [a.counter]
"""


def read(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> loader.Models:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "a.yaml").write_text(text)
    with monkeypatch.context() as patch:
        patch.setattr(loader.resources, "files", lambda package: folder)
        return load_models.__wrapped__()


def test_good_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(tmp_path, GOOD, monkeypatch)

    assert found.section("quiet") == ("section", "quiet", ("silence",))
    assert found.section("unheard of") == ("section", "unheard of")
    assert found.aliases == {"hush": ("section", "quiet", ("silence",))}
    query = found.functions["ask"].query
    assert query is not None
    assert (query.argument, query.read) == (0, 1)
    assert found.functions["die"].asserts == "promise"
    assert found.functions["put"].zeroes == (0, ("r.refs", "a.counter"))
    (entry,) = found.entries
    assert [(h.lock_class, h.mode) for h in entry.holds] == [("dev.lock", WRITE), ("dev.rw", READ)]
    assert found.back_pointers == (("child.parent", ("parent.child",)),)
    assert found.exclusive == (("a/", "b/"),)
    assert found.counters == frozenset({"a.counter"})


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("query: {argument: 0, read: 1}", "query: {read: 1}", "name one of"),
        ("{global: big}", "{global: big, argument: 0}", "name one of"),
        ("{global: big}", "{global: big, mode: some}", "must be one of"),
        ("{global: big}", "{global: big, when: zero}", "unknown key 'when'"),
        ("    what: a call\n", "", "needs 'what'"),
        ("    may-hold", "    may_hold", "unknown key 'may_hold'"),
        ("mode: read}", "mode: shared}", "must be one of"),
        ("{lock: dev.rw, ", "{", "needs 'lock'"),
        ("  - field: child.parent\n    through", "  - through", "needs 'field'"),
        ("argument: 0, fields:", "fields:", "needs 'argument'"),
        ("exclusive:", "exclusives:", "unknown key 'exclusives'"),
    ],
)
def test_typo_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(LockcheckError, match=re.escape(words)) as error:
        read(tmp_path, GOOD.replace(old, new, 1), monkeypatch)

    assert error.value.file == "a.yaml"
