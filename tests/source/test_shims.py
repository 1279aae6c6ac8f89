"""Header shims: what they leave in the code is what models and rules speak of."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from lockcheck.models.loader import load_models
from lockcheck.rules.loader import load_rules
from lockcheck.rules.model import Assertions
from lockcheck.source.overlay import build_overlay

SHIMS = {
    entry.name: entry.read_text("utf-8")
    for entry in resources.files("lockcheck.source").joinpath("shims/linux").iterdir()
    if entry.name.endswith(".h")
}
TEXT = "\n".join(SHIMS.values())
BROKEN = set(re.findall(r"^LOCKCHECK_BROKEN\((\w+)\)", TEXT, re.MULTILINE))
DECLARED = set(re.findall(r"^extern \w+ (__lockcheck_\w+)\(", TEXT, re.MULTILINE))


def test_there_are_markers() -> None:
    assert len(BROKEN) > 20
    assert len(DECLARED) > 8


@pytest.mark.parametrize("origin", sorted(BROKEN))
def test_every_failed_end_is_modelled(origin: str) -> None:
    model = load_models().functions[f"__lockcheck_broken_{origin}"]

    assert model.asserts
    # Rules speak of the name that the source writes.
    assert model.asserts.lower() == origin.lower()


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_marker_is_modelled(name: str) -> None:
    assert name in load_models().functions


def test_no_model_names_a_marker_that_no_shim_makes() -> None:
    made = DECLARED | {f"__lockcheck_broken_{origin}" for origin in BROKEN}
    named = {name for name in load_models().functions if name.startswith("__lockcheck_")}

    assert named <= made


def test_every_assertion_belongs_to_one_rule() -> None:
    origins = [
        origin
        for rule in load_rules(())
        if isinstance(rule.check, Assertions)
        for origin in rule.check.origins
    ]
    asserted = {m.asserts for m in load_models().functions.values() if m.asserts}

    assert len(origins) == len(set(origins))
    assert asserted <= set(origins)


@pytest.mark.parametrize("name", sorted(SHIMS))
def test_a_shim_counts_once(name: str) -> None:
    guards = re.findall(r"^#ifndef (LOCKCHECK_\w+)$", SHIMS[name], re.MULTILINE)

    assert guards[0] != "LOCKCHECK_PLAIN"
    assert f"#define {guards[0]}\n" in SHIMS[name]
    assert SHIMS[name].startswith("\n")  # the header may not end with a newline
    assert SHIMS[name].count("#if") == SHIMS[name].count("#endif")


@pytest.mark.parametrize("name", sorted(SHIMS))
def test_what_a_shim_defines_anew_it_undefines_before(name: str) -> None:
    own = {"typeof"}
    defined = re.findall(r"^#define (\w+)", SHIMS[name], re.MULTILINE)
    undefined = set(re.findall(r"^#undef (\w+)", SHIMS[name], re.MULTILINE))

    left = {d for d in defined if not d.startswith(("LOCKCHECK_", "__lockcheck"))} - own
    assert left <= undefined


def test_shims_go_to_the_headers_that_are_there(tmp_path: Path) -> None:
    include = tmp_path / "include" / "linux"
    include.mkdir(parents=True)
    (include / "lockdep.h").write_bytes(b"/* the tree's */")
    overlay = build_overlay(tmp_path, {})

    assert set(overlay) == {str(include / "lockdep.h")}
    assert overlay[str(include / "lockdep.h")] == b"/* the tree's */" + SHIMS["lockdep.h"].encode()


def test_shims_go_to_headers_of_the_caller_too(tmp_path: Path) -> None:
    overlay = build_overlay(tmp_path, {"include/linux/srcu.h": b"/* patched */", "x.c": b"int x;"})

    assert overlay[str(tmp_path / "include/linux/srcu.h")].startswith(b"/* patched */\n")
    assert b"LOCKCHECK_SRCU" in overlay[str(tmp_path / "include/linux/srcu.h")]
    assert overlay[str(tmp_path / "x.c")] == b"int x;"
