"""Positions in text, and where an assertion is inserted."""

from __future__ import annotations

import pytest
from lsprotocol import types

from lockcheck.findings.answers import MissingAssertion
from lockcheck.findings.model import Location
from lockcheck.lsp.actions import edit
from lockcheck.lsp.text import Text, Word

MISSING = MissingAssertion(
    Location("x.c", 1, 6, "f"),
    "kvm.mmu_lock",
    "lockdep_assert_held",
    (("kvm", "mmu_lock"), ("kvm_vcpu", "kvm->mmu_lock")),
)


@pytest.mark.parametrize(
    ("line", "column", "start", "end"),
    [
        ("abc = 1;", 1, 0, 3),
        ("\tf(x);", 2, 1, 2),
        ("/* é */ x = 1;", 10, 8, 9),
        ("/* 😀 */ x = 1;", 12, 9, 10),
        ("x", 99, 1, 1),
        ("", 1, 0, 0),
    ],
)
def test_ranges_are_in_utf16(line: str, column: int, start: int, end: int) -> None:
    found = Text(line).range_at(1, column)
    assert (found.start.character, found.end.character) == (start, end)


def test_a_form_feed_ends_no_line() -> None:
    text = Text("a\n\x0c\nb\x0b\u2028c\n")
    assert [text.line(n) for n in (1, 2, 3)] == ["a", "\x0c", "b\x0b\u2028c"]


def test_words() -> None:
    text = Text("😀 write_lock (&kvm->mmu_lock);")
    assert text.word_at(types.Position(0, 4)) == Word("write_lock", True)
    assert text.word_at(types.Position(0, 22)) == Word("mmu_lock", False)
    assert text.word_at(types.Position(0, 2)) is None
    assert text.word_at(types.Position(1, 0)) is None


def inserted(text: str) -> str | None:
    made = edit(text, MISSING)
    if made is None:
        return None
    lines = text.split("\n")
    at = made[1].range.start.line
    return "\n".join([*lines[:at], *made[1].new_text.split("\n")[:-1], *lines[at:]])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\tlockdep_assert_held(&kvm->mmu_lock);\n\n"),
        ("\tint a;\n\n", "\tint a;\n\n\tlockdep_assert_held(&kvm->mmu_lock);\n\n"),
        ("\tint a;\n", "\tint a;\n\n\tlockdep_assert_held(&kvm->mmu_lock);\n"),
        (
            "\tstruct x *p = g(kvm, 1), *q; /* int; */\n\tu64 a[] = {\n\t\t1,\n\t};\n\n",
            "\tstruct x *p = g(kvm, 1), *q; /* int; */\n\tu64 a[] = {\n\t\t1,\n\t};\n\n"
            "\tlockdep_assert_held(&kvm->mmu_lock);\n\n",
        ),
        (
            "\tLIST_HEAD(invalid);\n\tbool flush = false;\n\n",
            "\tLIST_HEAD(invalid);\n\tbool flush = false;\n\n"
            "\tlockdep_assert_held(&kvm->mmu_lock);\n\n",
        ),
        (
            "\tBUG_ON(1);\n",
            "\tlockdep_assert_held(&kvm->mmu_lock);\n\n\tBUG_ON(1);\n",
        ),
    ],
)
def test_the_assertion_follows_the_declarations(before: str, after: str) -> None:
    head, rest = "void f(struct kvm *kvm)\n{\n", "\tg(kvm);\n\tif (a)\n\t\treturn;\n}\n"
    assert inserted(f"{head}{before}{rest}") == f"{head}{after}{rest}"


@pytest.mark.parametrize(
    ("parameters", "lock"),
    [
        ("struct kvm_vcpu *vcpu", "&vcpu->kvm->mmu_lock"),
        ("struct kvm_vcpu *vcpu,\n\tconst struct kvm *k", "&k->mmu_lock"),
        ("int a", None),
        ("struct kvm **kvms", None),
        ("struct kvm kvm", None),
    ],
)
def test_the_lock_is_named_by_a_parameter(parameters: str, lock: str | None) -> None:
    made = edit(f"static int f({parameters})\n{{\n\treturn 0;\n}}\n", MISSING)
    assert (None if made is None else made[0]) == (lock and f"lockdep_assert_held({lock});")


def test_a_variable_names_the_lock_when_it_has_a_value() -> None:
    text = "int f(void *p)\n{\n\tstruct kvm *kvm%s;\n\n\treturn 0;\n}\n"
    assert edit(text % "", MISSING) is None
    made = edit(text % " = p", MISSING)
    assert made is not None
    assert made[0] == "lockdep_assert_held(&kvm->mmu_lock);"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "void f(struct kvm *kvm);\n",
        "void g(struct kvm *kvm)\n{\n\tf(kvm);\n}\n",
        "void f(struct kvm *kvm) { g(kvm); }\n",
        "void f(struct kvm *kvm",
        "void f(struct kvm *kvm)\n{\n\tlockdep_assert_held(&kvm->mmu_lock);\n}\n",
    ],
)
def test_nothing_is_inserted_where_it_does_not_belong(text: str) -> None:
    assert edit(text, MISSING) is None


def test_the_function_is_found_where_it_has_moved_to() -> None:
    text = "\n\n/* f( */\nvoid f(int);\n\nvoid f(struct kvm *kvm)\n{\n\tg(kvm);\n}\n"
    assert (inserted(text) or "").count("{\n\tlockdep_assert_held(&kvm->mmu_lock);\n") == 1
