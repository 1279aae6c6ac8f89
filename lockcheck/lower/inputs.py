"""What a parsed unit was made from: the files that clang read, and those that must not appear.

clang does not say which paths it tried. They are found again here: each `#include` of each file
that was read, as it is written, against the search path. What comes before the file that was
really read must stay absent. Where that cannot be told for certain, there is no answer, and the
facts are not kept.

The text is taken as it stands, so a directive that a condition leaves out counts, too: that names
more paths than clang tried, never fewer.

UNSOUND: the name in `#include MACRO` is taken to be the plain path from a search directory to the
file that was read; a detour (`../here/x.h`) that a search directory before it could satisfy is
not seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lockcheck.facts.inputs import SETTLED_NS, UnitInputs, digest
from lockcheck.parse.unit import ParsedUnit

_GAP = rb"(?:[ \t\\\r\n]|/\*(?:[^*]|\*(?!/))*\*/)*"
_INCLUDE = re.compile(
    rb"(?:#|%:)" + _GAP + rb"(?:include(_next)?|import)\b" + _GAP + rb'(?:"([^"\n]+)"|<([^>\n]+)>)?'
)
# What asks for a file without reading it.
_PROBES = (b"__has_include", b"__has_embed", b"embed")
_EMBED = re.compile(rb"(?:#|%:)" + _GAP + rb"embed\b")
_VALUED = frozenset({"-D", "-U", "-isysroot", "-iprefix", "-target"})
_SEARCHED = ("-iquote", "-isystem", "-idirafter", "-I")


class _Asked(NamedTuple):
    """The `#include`s of one text.

    quoted, angled, next: the names that stand there. computed: whether a macro names one.
    """

    quoted: tuple[str, ...]
    angled: tuple[str, ...]
    next: tuple[str, ...]
    computed: bool


class _Search(NamedTuple):
    """Where clang looks: for quoted names, after the directory of the file, and for all others."""

    quoted: tuple[str, ...]
    angled: tuple[str, ...]
    forced: tuple[str, ...]  # files that the command includes itself


class _Uncertain(Exception):
    """It cannot be told what clang looked for."""


class InputFinder:
    """Finds inputs of units; remembers what texts ask for, and where paths lead."""

    def __init__(self) -> None:
        self._asked: dict[bytes, _Asked | None] = {}
        self._resolved: dict[str, str] = {}
        self._exists: dict[str, bool] = {}
        self._top: dict[str, str] = {}

    def find(
        self, parsed: ParsedUnit, directory: Path, arguments: Sequence[str], started: int
    ) -> UnitInputs | None:
        """The inputs of a unit that was parsed from `directory`; None where they are not certain.

        started: when parsing began, in nanoseconds. Raises nothing where it is not certain: facts
        without inputs are as good, but for this run only.
        """
        try:
            search = _search(arguments, str(directory))
            return _Unit(self, parsed, str(directory), search, started).inputs()
        except _Uncertain:
            return None

    def asked(self, content: bytes, of: bytes) -> _Asked | None:
        """What a text asks for; None when it asks whether a file exists. `of`: its digest."""
        if of not in self._asked:
            self._asked[of] = _read(content)
        return self._asked[of]

    def resolve(self, path: str) -> str:
        """The path without symbolic links."""
        known = self._resolved.get(path)
        if known is None:
            known = self._resolved[path] = os.path.realpath(path)
        return known

    def exists(self, path: str) -> bool:
        known = self._exists.get(path)
        if known is None:
            known = self._exists[path] = os.path.lexists(path)
        return known

    def missing_top(self, directory: str) -> str:
        """The outermost directory on the way to `directory` that is none; "" if all are there."""
        known = self._top.get(directory)
        if known is None:
            known = ""
            if not os.path.isdir(directory):
                parent = os.path.dirname(directory)
                known = (self.missing_top(parent) if parent != directory else "") or directory
            self._top[directory] = known
        return known


class _Unit:
    """The search for the inputs of one unit."""

    def __init__(
        self,
        finder: InputFinder,
        parsed: ParsedUnit,
        directory: str,
        search: _Search,
        started: int,
    ) -> None:
        self._finder = finder
        self._parsed = parsed
        self._directory = directory
        self._search = search
        self._started = started
        self._read: dict[str, bytes] = {}  # as clang spells them
        self._places: dict[str, bytes] = {}  # resolved
        self._absent: set[str] = set()

    def inputs(self) -> UnitInputs:
        finder = self._finder
        asked: dict[str, _Asked] = {}
        for name, content in self._parsed.contents():
            path = os.path.join(self._directory, name)
            of = digest(content)
            found = finder.asked(content, of)
            if found is None or self._read.setdefault(path, of) != of:
                raise _Uncertain
            self._places[finder.resolve(path)] = of
            asked[path] = found
        angled: set[str] = set()
        quoted: set[tuple[str, str]] = {(self._directory, name) for name in self._search.forced}
        computing: set[str] = set()
        for path, wanted in asked.items():
            angled.update(wanted.angled)
            here = os.path.dirname(path)
            quoted.update((here, name) for name in wanted.quoted)
            for name in wanted.next:
                self._seek_next(name)
            if wanted.computed:
                computing.add(path)
        for name in angled:
            self._seek(name, self._search.angled)
        for here, name in quoted:
            self._seek(name, (here, *self._search.quoted, *self._search.angled))
        if computing:
            self._computed(computing)
        return UnitInputs(tuple(sorted(self._read.items())), tuple(sorted(self._grouped())))

    def _seek(self, name: str, directories: Iterable[str]) -> None:
        """Look for `name` as clang does."""
        passed: list[str] = []
        for directory in directories:
            path = name if name.startswith("/") else f"{directory}/{name}"
            content = self._content(path)
            if content is not None:
                self._read[path] = content
                self._absent.update(passed)
                return
            if self._finder.exists(path):
                self._was_there(path)
                return  # clang would have read it: a condition leaves the directive out
            passed.append(path)

    def _was_there(self, path: str) -> None:
        """Raise _Uncertain unless a file was there before clang looked for it."""
        try:
            touched = max(os.lstat(p).st_ctime_ns for p in (path, os.path.dirname(path)))
        except OSError:
            raise _Uncertain from None
        if touched > self._started - SETTLED_NS:
            raise _Uncertain

    def _seek_next(self, name: str) -> None:
        """Look for what `#include_next` may mean: the search may begin in any directory."""
        paths = [f"{directory}/{name}" for directory in self._search.angled]
        last = max((n for n, p in enumerate(paths) if self._content(p) is not None), default=-1)
        for path in paths[: last + 1]:
            content = self._content(path)
            if content is not None:
                self._read[path] = content
            elif self._finder.exists(path):
                self._was_there(path)
            else:
                self._absent.add(path)

    def _computed(self, computing: set[str]) -> None:
        """Look for what was included by a name that a macro gives."""
        join, finder = os.path.join, self._finder
        for by, name in self._parsed.inclusions():
            includer = join(self._directory, by)
            if includer not in computing:
                continue
            file = finder.resolve(join(self._directory, name))
            here = os.path.dirname(includer)
            directories = (here, *self._search.quoted, *self._search.angled)
            for base in directories:
                if finder.exists(base):
                    self._seek(os.path.relpath(file, finder.resolve(base)), directories)

    def _content(self, path: str) -> bytes | None:
        """The digest of the file at a path if clang read it, else None."""
        content = self._read.get(path)
        if content is None and self._finder.exists(path):
            return self._places.get(self._finder.resolve(path))
        return content

    def _grouped(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        names: dict[str, list[str]] = {}
        for path in sorted(self._absent):
            directory, name = path.rsplit("/", 1)
            missing = self._finder.missing_top(directory)
            if missing:
                names.setdefault(missing, [])
            else:
                names.setdefault(directory, []).append(name)
        for directory, found in names.items():
            yield directory, tuple(found)


def _read(content: bytes) -> _Asked | None:
    if any(probe in content for probe in _PROBES[:2]):
        return None
    if _PROBES[2] in content and _EMBED.search(content):
        return None
    quoted: list[str] = []
    angled: list[str] = []
    after: list[str] = []
    computed = False
    for found in _INCLUDE.finditer(content):
        name = found[2] or found[3]
        if name is None:
            computed = True
            continue
        text = os.fsdecode(name)
        if found[1]:
            after.append(text)
        else:
            (quoted if found[2] else angled).append(text)
    return _Asked(tuple(quoted), tuple(angled), tuple(after), computed)


def _search(arguments: Sequence[str], directory: str) -> _Search:
    """The search path that a command gives. Raises _Uncertain when there is more to it."""
    found: dict[str, list[str]] = {option: [] for option in _SEARCHED}
    forced: list[str] = []
    if "-nostdinc" not in arguments:
        raise _Uncertain  # directories that belong to the compiler
    rest = iter(arguments)
    for argument in rest:
        if argument in _VALUED:
            next(rest, None)
        elif argument in ("-include", "-imacros"):
            forced.append(next(rest, ""))
        else:
            option = next((o for o in _SEARCHED if argument.startswith(o)), None)
            if option is None:
                continue
            place = argument.removeprefix(option) or next(rest, "")
            if place in ("", "-") or place.startswith("="):
                raise _Uncertain
            found[option].append(os.path.join(directory, place))
    plain, system = found["-I"], found["-isystem"]
    if not {os.path.realpath(p) for p in plain}.isdisjoint(os.path.realpath(p) for p in system):
        raise _Uncertain  # clang drops the first of the two, with its place in the order
    return _Search(tuple(found["-iquote"]), (*plain, *system, *found["-idirafter"]), tuple(forced))
