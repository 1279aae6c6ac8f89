"""Overlays: file contents that replace those of the tree during a run.

Header shims are the first use: text appended to a kernel header that makes visible what its macros
hide from libclang. Nothing is written to the tree.
"""

from __future__ import annotations

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


def build_overlay(root: Path, contents: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """What a run reads in place of the tree's files, by absolute path.

    contents: the caller's replacements, by path relative to the tree; None for a file that is gone.
    Headers that have a shim get it appended, whether they come from the tree or from the caller.
    """
    overlay = {str(root / path): text for path, text in contents.items()}
    for name, shim in sorted(_shims().items()):
        header = str(root / _INCLUDE / name)
        try:
            text = overlay[header] if header in overlay else Path(header).read_bytes()
        except OSError:
            continue  # an older tree without this header has nothing to show in it
        if text is not None:
            overlay[header] = text + shim
    return overlay
