"""Fingerprints: stable from release to release, and different where the claim differs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockcheck.findings.fingerprint import fingerprint

FIELDS = st.tuples(st.text(), st.text(), st.text(), st.text(), st.integers(0, 9))


def test_the_value_is_fixed() -> None:
    # Baselines that users keep depend on it: a change here needs another SCHEME.
    assert (
        fingerprint("gfn-track-write", "f", "gfn_track", "struct kvm.mmu_lock", 0)
        == "3dc9e94c275210d97d1725a27937338a"
    )


@given(FIELDS, FIELDS)
def test_equal_only_for_equal_fields(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) == (one == other)


def test_fields_do_not_run_into_each_other() -> None:
    shapes = [("ab", "c", "", ""), ("a", "bc", "", ""), ("a", "b", "c", ""), ("a", "b", "", "c")]
    prints = {fingerprint(*shape, ordinal) for shape, ordinal in itertools.product(shapes, (0, 1))}
    assert len(prints) == 8
    assert all(len(value) == 32 and int(value, 16) >= 0 for value in prints)


def test_a_negative_ordinal_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        fingerprint("r", "f", "d", "l", -1)
