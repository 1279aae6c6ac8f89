"""What this lockcheck would say, in one word: for caches that others keep of its answers."""

from __future__ import annotations

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable

from lockcheck import __version__

# What decides an answer: the engine, the rules, the models, the shims.
_SUFFIXES = (".py", ".yaml", ".h")
_HEX_DIGITS = 10


def stamp() -> str:
    """The version and a digest of the program with its rules and models: `0.1.0-3f2a91c07b`.

    Two programs of the same stamp give the same answers to the same input.
    """
    state = hashlib.blake2b(digest_size=16)
    for package in ("lockcheck", "lockcheck_rules"):
        _add(state, resources.files(package), package)
    return f"{__version__}-{state.hexdigest()[:_HEX_DIGITS]}"


def _add(state: hashlib.blake2b, folder: Traversable, prefix: str) -> None:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            if entry.name != "__pycache__":
                _add(state, entry, name)
        elif entry.name.endswith(_SUFFIXES):
            content = entry.read_bytes()
            state.update(f"{name} {len(content)}\n".encode())
            state.update(content)
