"""Paths and git remotes as the URIs that SARIF wants, and paths back from them."""

from __future__ import annotations

import os
import re
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit, urlunsplit

# Characters that RFC 3986 allows in a path segment, beyond the letters and digits.
_SAFE = "/-._~!$&'()*+,;=@"

_SCP_LIKE = re.compile(r"(?:[^@/:]+@)?([^/:\[\]]+|\[[0-9a-fA-F:.]+\]):(?!//)(.+)")
_REMOTE_SCHEMES = frozenset({"git", "http", "https", "ssh"})


def relative_path(path: str, root: str) -> str:
    """`path` relative to the tree when it lies in it, else as it is (only normalised).

    Reports are read on other machines: the directory of this one says nothing there.
    """
    if not path:
        return path
    if os.path.isabs(path):
        inside = os.path.relpath(path, root)
        return os.path.normpath(path) if inside.split(os.sep)[0] == os.pardir else inside
    return os.path.normpath(path)


def path_to_uri(path: str) -> str:
    """A relative path as a relative reference, an absolute one as a `file` URI."""
    reference = quote_from_bytes(os.fsencode(path), safe=_SAFE)
    return f"file://{reference}" if path.startswith("/") else reference


def uri_to_path(uri: str) -> str:
    """The inverse of `path_to_uri`."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))


def repository_uri(remote: str | None) -> str | None:
    """The URI of a git remote without user name and password; None when it names no server.

    A remote that is a local directory gives None: it means nothing to a reader elsewhere.
    """
    if not remote:
        return None
    scp = _SCP_LIKE.fullmatch(remote)
    if scp is not None:
        path = quote_from_bytes(os.fsencode(scp[2].lstrip("/")), safe=_SAFE)
        return f"ssh://{scp[1]}/{path}"
    try:
        parts = urlsplit(remote)
        host = parts.hostname
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if parts.scheme not in _REMOTE_SCHEMES or not host:
        return None
    host = f"[{host}]" if ":" in host else host
    path = quote_from_bytes(os.fsencode(parts.path), safe=_SAFE + "%")
    return urlunsplit((parts.scheme, host + port, path, "", ""))
