"""YAML with positions: every mistake in a data file is reported with its line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from io import StringIO
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lockcheck.errors import LockcheckError

T = TypeVar("T")


class Node:
    """A value of a YAML file that knows where it stands."""

    def __init__(self, value: Any, file: str, line: int, what: str) -> None:
        self.value = value
        self.file = file
        self.line = line
        self.what = what

    def error(self, message: str, remedy: str | None = None) -> LockcheckError:
        """The error to raise about this value."""
        return LockcheckError(message, file=self.file, line=self.line, remedy=remedy)

    def only(self, keys: Collection[str]) -> None:
        """Refuse keys that nobody reads: they are typos."""
        for key in self._mapping():
            if key not in keys:
                raise LockcheckError(
                    f"unknown key '{key}' in {self.what}",
                    file=self.file,
                    line=self._line_of(key),
                    remedy="known keys: " + ", ".join(sorted(keys)),
                )

    def get(self, key: str) -> Node | None:
        mapping = self._mapping()
        if key not in mapping:
            return None
        return Node(mapping[key], self.file, self._line_of(key), f"'{key}'")

    def required(self, key: str) -> Node:
        node = self.get(key)
        if node is None or node.value is None:
            raise self.error(f"{self.what} needs '{key}'")
        return node

    def items(self, key: str) -> list[Node]:
        """The elements of the list under `key`, none if it is absent."""
        node = self.get(key)
        return [] if node is None else list(node.elements())

    def elements(self) -> Iterator[Node]:
        if not isinstance(self.value, list):
            raise self.error(f"{self.what} must be a list")
        for index, value in enumerate(self.value):
            lines = getattr(self.value, "lc", None)
            try:
                line = lines.item(index)[0] + 1 if lines is not None else self.line
            except (KeyError, TypeError):
                line = self.line
            yield Node(value, self.file, line, f"item {index + 1} of {self.what}")

    def mapping(self, key: str) -> dict[str, Node]:
        """The entries of the mapping under `key`, none if it is absent."""
        node = self.get(key)
        if node is None:
            return {}
        return {str(name): node.required(name) for name in node._mapping()}

    def strings(self, key: str) -> list[str]:
        return [item.string() for item in self.items(key)]

    def is_string(self) -> bool:
        return isinstance(self.value, str)

    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    def string(self) -> str:
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error(f"{self.what} must be text")
        return str(self.value)

    def integer(self) -> int:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.error(f"{self.what} must be a whole number")
        return int(self.value)

    def one_of(self, choices: Collection[str]) -> str:
        text = self.string()
        if text not in choices:
            raise self.error(f"{self.what} must be one of {', '.join(sorted(choices))}: '{text}'")
        return text

    def _mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.error(f"{self.what} must be a mapping of keys to values")
        return self.value

    def _line_of(self, key: str) -> int:
        lines = getattr(self.value, "lc", None)
        try:
            return int(lines.key(key)[0]) + 1 if lines is not None else self.line
        except (KeyError, TypeError):
            return self.line


def build_from_yaml(build: Callable[[Callable[[str, str], Node]], T]) -> T:
    """What `build` makes of documents that are most likely right, as those of the package are.

    It is given the function to load them with, as `load_yaml`. The first one knows no lines and is
    six times as fast; if there is a mistake, `build` is called again with one that knows them.
    Raises LockcheckError as `load_yaml` and `build` do.
    """
    try:
        return build(_load_quickly)
    except LockcheckError:
        return build(load_yaml)


def _load_quickly(text: str, file: str) -> Node:
    try:
        value = YAML(typ="safe").load(text)
    except (YAMLError, RecursionError) as error:
        raise LockcheckError("not valid YAML", file=file) from error
    if not isinstance(value, dict):
        raise LockcheckError("the file must be a mapping of keys to values", file=file)
    return Node(value, file, 1, "the file")


def load_yaml(text: str, file: str) -> Node:
    """Parse one document. Raises LockcheckError with file and line when it is no YAML mapping."""
    try:
        value = YAML(typ="rt").load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        raise LockcheckError(
            f"not valid YAML: {error.problem or error}", file=file, line=line
        ) from error
    except YAMLError as error:
        raise LockcheckError(f"not valid YAML: {error}", file=file) from error
    except RecursionError as error:
        raise LockcheckError("its YAML nests too deeply", file=file) from error
    if not isinstance(value, dict):
        raise LockcheckError("the file must be a mapping of keys to values", file=file, line=1)
    return Node(value, file, 1, "the file")
