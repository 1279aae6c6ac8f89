"""Paths and remotes as URIs."""

from __future__ import annotations

import pytest

from lockcheck.report import uris


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://git.example.org/linux.git", "https://git.example.org/linux.git"),
        ("https://user:secret@git.example.org:8443/l.git", "https://git.example.org:8443/l.git"),
        ("git@git.example.org:group/linux.git", "ssh://git.example.org/group/linux.git"),
        ("git.example.org:linux.git", "ssh://git.example.org/linux.git"),
        ("ssh://git@[2001:db8::1]:22/linux.git", "ssh://[2001:db8::1]:22/linux.git"),
        ("git://git.example.org/a b.git", "git://git.example.org/a%20b.git"),
        ("https://git.example.org/l.git?token=x", "https://git.example.org/l.git"),
        ("/srv/git/linux.git", None),
        ("../linux.git", None),
        ("file:///srv/git/linux.git", None),
        ("https://git.example.org:port/l.git", None),
        ("", None),
        (None, None),
    ],
)
def test_a_remote_loses_its_credentials_and_local_ones_are_not_named(
    remote: str | None, uri: str | None
) -> None:
    assert uris.repository_uri(remote) == uri


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("arch/x86/kvm/x86.c", "arch/x86/kvm/x86.c"),
        ("./arch//x86/../x86/a.c", "arch/x86/a.c"),
        ("/src/linux/mm/slub.c", "mm/slub.c"),
        ("/src/linux-build/generated.h", "/src/linux-build/generated.h"),
        ("..odd/a.c", "..odd/a.c"),
        ("/src/linux/..odd/a.c", "..odd/a.c"),
    ],
)
def test_paths_are_relative_to_the_tree(path: str, relative: str) -> None:
    assert uris.relative_path(path, "/src/linux") == relative
    assert uris.uri_to_path(uris.path_to_uri(relative)) == relative


def test_a_colon_in_the_first_segment_is_no_scheme() -> None:
    assert uris.path_to_uri("a:b.c") == "a%3Ab.c"
