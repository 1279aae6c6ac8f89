"""Suppressions: each entry is exactly right or refused with its line, and none is forgotten."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from lockcheck.errors import LockcheckError, Severity
from lockcheck.findings import suppress
from lockcheck.findings.model import Finding, Level, Location, Suppression

RULES = ("gfn-track-write", "gvt-protect-table")
TODAY = datetime.date(2026, 1, 31)

GOOD = """\
# what we looked at
[[suppress]]
rule = "gfn-track-write"
function = "update_gfn_*"   # both of them
reason = "the slot is not visible to others yet"
expires = "2031-01-31"

[[suppress]]
file = "drivers/gpu/drm/i915/gvt/*"
rule = "gvt-protect-table"
function = "kvmgt_page_track_write"
reason = '''
[[suppress]] is quoted here:
rule = "x" '''
expires = 2026-01-31
"""


def parse(text: str) -> tuple[suppress.SuppressionEntry, ...]:
    return suppress.parse_suppressions(text, RULES, name="lockcheck.toml")


def finding(
    rule: str = "gfn-track-write",
    function: str = "update_gfn_track",
    file: str = "arch/x86/kvm/mmu/page_track.c",
) -> Finding:
    return Finding(
        rule_id=rule,
        level=Level.WARNING,
        message="m",
        location=Location(file, 87, 2, function),
        chain=(),
        related=(),
        fingerprint="0" * 32,
    )


def test_entries_know_their_lines() -> None:
    first, second = parse(GOOD)
    assert first.suppression == Suppression(
        rule="gfn-track-write",
        function="update_gfn_*",
        reason="the slot is not visible to others yet",
        file="lockcheck.toml",
        line=2,
        expires="2031-01-31",
    )
    assert first.source is None
    assert second.suppression.line == 8
    assert second.suppression.expires == "2026-01-31"
    assert second.source == "drivers/gpu/drm/i915/gvt/*"


def test_inline_entries_and_an_empty_file() -> None:
    text = 'suppress = [\n  {rule="gfn-track-write", function="f", reason="r"},\n]\n'
    (entry,) = parse(text)
    assert entry.suppression.line == 1
    assert parse("") == ()
    assert parse("# nothing\n") == ()


ENTRY = '# one\n[[suppress]]\nrule = "gfn-track-write"\nfunction = "f"\nreason = "r"\n'


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        pytest.param(ENTRY + "rule\n", 6, "not TOML", "[[suppress]]", id="syntax"),
        pytest.param(ENTRY + 'x = """\n', 6, "not TOML", "[[suppress]]", id="syntax-at-end"),
        pytest.param(ENTRY + 'rule = "x"\n', 6, "not TOML", "[[suppress]]", id="twice"),
        pytest.param(
            ENTRY + 'expire = "2031-01-31"\n', 6, "unknown key 'expire'", "'expires'", id="key"
        ),
        pytest.param(ENTRY + "[suppress.x]\n", 2, "unknown key 'x'", "rule, function", id="table"),
        pytest.param(ENTRY + '"b c" = 1\n', 6, "unknown key 'b c'", "rule, function", id="quoted"),
        pytest.param(
            "\n[[supress]]\n", 2, "unknown key 'supress'", "did you mean 'suppress'", id="header"
        ),
        pytest.param("\nother = 1\n", 2, "unknown key 'other'", "[[suppress]]", id="top-key"),
        pytest.param("\nsuppress = 1\n", 2, "must be a list", "[[suppress]]", id="no-list"),
        pytest.param("\n[suppress]\n", 2, "must be a list", "[[suppress]]", id="one-bracket"),
        pytest.param("suppress = [1]\n", 1, "must be a list", "[[suppress]]", id="no-table"),
        pytest.param(
            ENTRY.replace('reason = "r"\n', ""), 2, "without 'reason'", "add reason", id="no-reason"
        ),
        pytest.param(
            ENTRY.replace('"r"', '" \\t "'), 5, "'reason' is blank", "say why", id="blank-reason"
        ),
        pytest.param(
            ENTRY.replace('function = "f"\n', ""), 2, "without 'function'", "add", id="no-function"
        ),
        pytest.param(
            ENTRY.replace('"f"', "7"), 4, "'function' is not a string", 'function = "', id="type"
        ),
        pytest.param(
            ENTRY.replace("gfn-track-write", "gfn-track-rite"),
            3,
            "unknown rule 'gfn-track-rite'",
            "did you mean 'gfn-track-write'",
            id="rule",
        ),
        pytest.param(
            ENTRY.replace("gfn-track-write", "zzz"), 3, "unknown rule", "gvt-protect", id="rules"
        ),
        pytest.param(ENTRY + "file = []\n", 6, "'file' is not a string", "file", id="file"),
        pytest.param(
            ENTRY + 'expires = "31.1.2031"\n', 6, "not a date", "YYYY-MM-DD", id="date-form"
        ),
        pytest.param(ENTRY + 'expires = "20310131"\n', 6, "not a date", "YYYY", id="date-basic"),
        pytest.param(ENTRY + 'expires = "2031-02-30"\n', 6, "not a date", "YYYY", id="no-day"),
        pytest.param(ENTRY + "expires = 2031\n", 6, "not a date", "YYYY", id="date-type"),
        pytest.param(
            ENTRY + "expires = 2031-01-31T00:00:00\n", 6, "not a date", "YYYY", id="date-time"
        ),
    ],
)
def test_every_mistake_is_refused_with_its_line(
    text: str, line: int, message: str, remedy: str
) -> None:
    for variant in (text, text.replace("\n", "\r\n")):
        with pytest.raises(LockcheckError) as caught:
            parse(variant)
        assert message in caught.value.message
        assert remedy in (caught.value.remedy or "")
        assert (caught.value.file, caught.value.line) == ("lockcheck.toml", line)


def test_the_line_is_that_of_the_right_entry() -> None:
    text = GOOD + '\n[["suppress"]]\nrule = "gfn-track-write"\nfunction = "f"\nreason = ""\n'
    with pytest.raises(LockcheckError, match="blank") as caught:
        parse(text)
    assert caught.value.line == text.count("\n")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LockcheckError, match="cannot read") as caught:
        suppress.load_suppressions(tmp_path / "missing.toml", RULES)
    assert caught.value.remedy
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# one\n# caf\xe9\n")
    with pytest.raises(LockcheckError, match="UTF-8") as caught:
        suppress.load_suppressions(latin, RULES, name="lockcheck.toml")
    assert (caught.value.file, caught.value.line) == ("lockcheck.toml", 2)


def test_load_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lockcheck.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert suppress.load_suppressions(path, RULES, name="lockcheck.toml") == parse(GOOD)


def test_apply_marks_what_matches_and_loses_nothing() -> None:
    hit = finding()
    other_rule = finding(rule="gvt-protect-table")
    other_function = finding(function="kvm_update_gfn_track")
    found = (hit, other_rule, other_function)
    marked, notices = suppress.apply(found, parse(ENTRY.replace('"f"', '"update_gfn_*"')), TODAY)
    assert [entry.suppression is not None for entry in marked] == [True, False, False]
    assert tuple(entry.fingerprint for entry in marked) == tuple(f.fingerprint for f in found)
    assert notices == ()


def test_the_file_narrows_an_entry() -> None:
    entries = parse(ENTRY.replace('"f"', '"*"') + 'file = "arch/x86/*"\n')
    inside, outside = finding(), finding(file="virt/kvm/kvm_main.c")
    marked, _ = suppress.apply((inside, outside), entries, TODAY)
    assert [entry.suppression is not None for entry in marked] == [True, False]


def test_an_entry_holds_through_its_last_day_and_is_then_told() -> None:
    entries = parse(ENTRY.replace('"f"', '"*"') + "expires = 2026-01-31\n")
    marked, notices = suppress.apply((finding(),), entries, TODAY)
    assert marked[0].suppression is not None
    assert notices == ()
    marked, notices = suppress.apply((finding(),), entries, TODAY + datetime.timedelta(days=1))
    assert marked[0].suppression is None
    (notice,) = notices
    assert (notice.severity, notice.code) == (Severity.WARNING, "expired-suppression")
    assert (notice.file, notice.line) == ("lockcheck.toml", 2)
    assert notice.message == (
        "the suppression of gfn-track-write in * expired on 2026-01-31; findings it matches: 1"
    )
    assert notice.remedy


def test_an_expired_entry_does_not_hide_behind_one_that_holds() -> None:
    both = parse(
        ENTRY.replace('"f"', '"*"') + 'expires = "2020-01-01"\n' + ENTRY.replace('"f"', '"update*"')
    )
    marked, notices = suppress.apply((finding(),), both, TODAY)
    assert marked[0].suppression == both[1].suppression
    assert [notice.code for notice in notices] == ["expired-suppression"]


def test_an_entry_without_a_match_is_told_once() -> None:
    marked, notices = suppress.apply((finding(),), parse(ENTRY), TODAY)
    assert marked == (finding(),)
    (notice,) = notices
    assert (notice.severity, notice.code) == (Severity.NOTE, "unused-suppression")
    assert (notice.file, notice.line) == ("lockcheck.toml", 2)
    expired = parse(ENTRY + 'expires = "2020-01-01"\n')
    _, notices = suppress.apply((), expired, TODAY)
    assert [notice.code for notice in notices] == ["expired-suppression"]
