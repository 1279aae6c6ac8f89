"""What a client may set: options of a language server session, checked like any other input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from lockcheck.config import Config
from lockcheck.errors import LockcheckError
from lockcheck.source.tree import KernelTree, find_tree

SECTION = "lockcheck"  # the name of the settings in workspace/configuration

_SUPPRESSIONS = "lockcheck.toml"
_CLIENTS = frozenset({"trace"})  # what libraries for clients read from the same section


class Settings(msgspec.Struct, frozen=True):
    """Options of one tree. All of them may be absent.

    tree: the kernel tree; without it the one that the workspace folder is in.
    build: the build directory, when the tree is not built in place.
    paths: files and directories to check, relative to the tree; empty: everything.
    rules: rule files beside the built-in ones. enable: rules that are off by default.
    jobs: units to parse at a time.
    cache: where facts are kept; "" keeps none. suppressions: the suppression file.
    delay: seconds without a change before unsaved text is checked.
    """

    tree: str | None = None
    build: str | None = None
    paths: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    jobs: int | None = None
    cache: str | None = None
    suppressions: str | None = None
    delay: float = 0.15


_OPTIONS = Settings.__struct_fields__
OPTIONS = "the options are " + ", ".join(_OPTIONS)


def read_settings(value: Any, base: Settings) -> Settings:
    """Settings from what a client sent, on top of `base`. Raises LockcheckError.

    value: an object with the fields of Settings, or one that has such an object under "lockcheck";
    None sets nothing. Fields of other names are left alone, see `unknown_options`.
    """
    value = _section(value)
    if value is None:
        return base
    try:
        given = msgspec.convert(value, dict[str, Any])
        # null means the same as absence: some clients send every option that they know.
        known = {k: v for k, v in given.items() if v is not None and k in _OPTIONS}
        settings = msgspec.convert({**msgspec.to_builtins(base), **known}, Settings)
    except msgspec.ValidationError as error:
        raise LockcheckError(
            f"the client's settings are wrong: {error}",
            remedy=OPTIONS,
        ) from error
    if (settings.jobs is not None and settings.jobs < 1) or not 0 <= settings.delay <= 60:
        raise LockcheckError(
            "the client's settings are wrong: jobs has to be 1 or more, delay from 0 to 60",
            remedy="leave them out for the defaults",
        )
    return settings


def unknown_options(value: Any) -> list[str]:
    """What a client has set, for `read_settings`, that means nothing to anybody."""
    value = _section(value)
    if not isinstance(value, dict):
        return []
    return sorted(str(key) for key in value if key not in _OPTIONS and key not in _CLIENTS)


def _section(value: Any) -> Any:
    return value[SECTION] if isinstance(value, dict) and SECTION in value else value


def make_config(settings: Settings, folder: Path | None, cache: str | None) -> Config:
    """The configuration for a workspace folder. Raises LockcheckError as `find_tree` does.

    folder: where a tree and relative names are looked for; None: the current directory.
    cache: the directory for facts unless the settings name one.
    """
    base = folder or Path.cwd()
    start = base if settings.tree is None else base / Path(settings.tree).expanduser()
    build = None if settings.build is None else base / Path(settings.build).expanduser()
    tree = find_tree(start, build)
    given = settings.cache
    return Config(
        tree=tree,
        paths=tuple(_absolute(path, tree) for path in settings.paths),
        rules=tuple(str(base / Path(rule).expanduser()) for rule in settings.rules),
        enable=settings.enable,
        jobs=settings.jobs or len(os.sched_getaffinity(0)),
        suppressions=_suppressions(settings, tree, base),
        command_line=("lockcheck", "lsp"),
        cache=cache if given is None else str(base / Path(given).expanduser()) if given else None,
    )


def _absolute(path: str, tree: KernelTree) -> str:
    return path if os.path.isabs(path) else str(tree.root / path)


def _suppressions(settings: Settings, tree: KernelTree, base: Path) -> str | None:
    if settings.suppressions is not None:
        return str(base / Path(settings.suppressions).expanduser())
    for directory in (tree.root, base):
        if os.path.lexists(directory / _SUPPRESSIONS):
            return str(directory / _SUPPRESSIONS)
    return None
