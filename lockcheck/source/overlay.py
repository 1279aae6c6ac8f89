"""Overlays: file contents that replace those of the tree during a run.

Header shims are the first use: text appended to a kernel header that makes visible what its macros
hide from libclang. Nothing is written to the tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

_INCLUDE = "include"


def _shims() -> dict[str, bytes]:
    """Shim texts by the path of the header below an include directory."""
    found: dict[str, bytes] = {}

    def collect(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                collect(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".h"):
                found[prefix + entry.name] = entry.read_bytes()

    collect(resources.files("lockcheck.source").joinpath("shims"), "")
    return found


def shim_overlay(root: Path) -> dict[str, bytes]:
    """Absolute header path → header with its shim appended, for headers that the tree has."""
    overlay: dict[str, bytes] = {}
    for name, shim in sorted(_shims().items()):
        header = root / _INCLUDE / name
        try:
            overlay[str(header)] = header.read_bytes() + shim
        except OSError:
            continue  # an older tree without this header has nothing to show in it
    return overlay


def digest(overlay: Mapping[str, bytes]) -> str:
    """A key for the contents of an overlay."""
    state = hashlib.sha256()
    for path in sorted(overlay):
        state.update(path.encode() + b"\0" + overlay[path] + b"\0")
    return state.hexdigest()
