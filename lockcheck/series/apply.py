"""Applying a diff to file contents in memory, under the rules of `git apply`.

Context must match exactly. A hunk that is not where its header says is looked for up and down from
there, the nearest place first. One that begins with line 1 must match at the beginning of the file,
one that ends without context at its end, and no two hunks may share lines.
Source: apply_one_fragment() and find_pos() in git's apply.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.series import PatchInfo
from lockcheck.series.diffs import FileDiff, Hunk, Kind
from lockcheck.series.patches import Change, TreeFiles

_SHOWN = 60


def apply_patch(
    patch: PatchInfo, files: Sequence[FileDiff], tree: TreeFiles
) -> tuple[tuple[Change, ...], list[Notice]]:
    """Change `tree.contents` as the files of a diff say; what changed, and what could not follow.

    Raises LockcheckError, which names the patch and the hunk, when one does not apply; `tree` is
    then not to be used any more.
    """
    changes: list[Change] = []
    notices: list[Notice] = []
    before: dict[str, bytes | None] = {}
    for file in files:
        # A patch may swap files: all are read before any is replaced.
        if file.old is not None and file.kind is not Kind.SUBMODULE and file.old not in before:
            before[file.old] = None if file.kind is Kind.SYMLINK else _read(patch, tree, file.old)
    leaving = {f.old for f in files if f.old != f.new and not f.copied}
    done: set[str] = set()
    for file in files:
        changes.append(Change(None if file.copied else file.old, file.new))
        if file.kind is not Kind.TEXT:
            notices.extend(_cannot_follow(patch, file, tree))
            continue
        text = before.get(file.old) if file.old is not None else None
        if file.old in done and file.old is not None and not file.copied and file.old == file.new:
            text = tree.read(file.old)  # the second time in one diff
        _check_existence(patch, file, text, tree, file.new in leaving)
        result = _apply_hunks(patch, file, text or b"")
        if file.new is None and result:
            raise _fails(patch, f"it deletes {file.path}, but not all that is in it")
        if file.old not in (None, file.new) and not file.copied and file.old not in done:
            assert file.old is not None
            tree.contents[file.old] = None
        if file.new is not None:
            tree.contents[file.new] = result
            done.add(file.new)
    return tuple(changes), notices


def _read(patch: PatchInfo, tree: TreeFiles, path: str) -> bytes | None:
    try:
        return tree.read(path)
    except LockcheckError as error:
        raise _fails(patch, f"{path}: {error.message}", error.remedy) from error


def _check_existence(
    patch: PatchInfo, file: FileDiff, text: bytes | None, tree: TreeFiles, makes_room: bool
) -> None:
    if file.old is not None and text is None:
        raise _fails(patch, f"there is no {file.old}, which it changes")
    if file.new in (None, file.old) or makes_room:
        return
    assert file.new is not None
    if _read(patch, tree, file.new) is not None:
        how = "adds" if file.old is None else "renames or copies a file to"
        raise _fails(patch, f"it {how} {file.new}, which is there already")


def _cannot_follow(patch: PatchInfo, file: FileDiff, tree: TreeFiles) -> list[Notice]:
    """Take a binary file or a link away where it is deleted; tell what is not followed."""
    is_code = file.path.endswith((".c", ".h"))
    if file.kind is Kind.BINARY and not is_code:
        return []
    if file.new is None and file.old is not None and file.kind is Kind.BINARY:
        tree.contents[file.old] = None
        return []
    return [
        Notice(
            Severity.ERROR if is_code else Severity.NOTE,
            "change-not-followed",
            f"patch {patch.number}/{patch.total} changes it as a {file.kind.value}, which was not "
            "followed",
            file.path,
            None,
            "apply the series and check that tree" if is_code else None,
        )
    ]


def _apply_hunks(patch: PatchInfo, file: FileDiff, text: bytes) -> bytes:
    lines = _lines(text)
    taken = bytearray(len(lines))  # lines that an earlier hunk has matched
    for number, hunk in enumerate(file.hunks, 1):
        place = _find(lines, taken, hunk)
        if place is None:
            raise _fails(
                patch,
                f"hunk {number} of {file.path} at line {max(hunk.old_start, 1)} does not apply: "
                + _why(lines, hunk),
            )
        end = place + len(hunk.before)
        lines[place:end] = hunk.after
        taken[place:end] = b"\1" * len(hunk.after)
    return b"".join(lines)


def _lines(text: bytes) -> list[bytes]:
    """Lines that end at \\n only."""
    parts = text.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _find(lines: list[bytes], taken: bytearray, hunk: Hunk) -> int | None:
    """The index of the first line of a hunk's old side; None when it is nowhere."""
    before = list(hunk.before)
    size = len(before)
    last = len(lines) - size
    at_start, at_end = hunk.old_start <= 1, not hunk.trailing

    def fits(place: int) -> bool:
        return (
            0 <= place <= last
            and lines[place : place + size] == before
            and not any(taken[place : place + size])
        )

    wanted = hunk.new_start - 1 if hunk.after else hunk.new_start
    if at_start or at_end:
        place = 0 if at_start else last
        if fits(place) and not (at_end and place != last):
            return place
        # Made with -U0, which git takes only if told so: its own place will do.
        bare = not hunk.leading and not hunk.trailing and not at_start
        return wanted if bare and fits(wanted) else None
    wanted = min(max(wanted, 0), max(last, 0))
    for distance in range(len(lines) + 1):
        for place in (wanted - distance, wanted + distance):
            if fits(place):
                return place
    return None


def _why(lines: list[bytes], hunk: Hunk) -> str:
    """Why a hunk fits nowhere, in words."""
    if hunk.after and _contains(lines, hunk.after):
        return "what it makes of the lines is in the file already: the tree has this patch"
    start = _most_alike(lines, hunk)
    for offset, wanted in enumerate(hunk.before):
        at = start + offset
        have = lines[at] if at < len(lines) else None
        if have != wanted:
            found = "the file ends there" if have is None else f"line {at + 1} is {_show(have)}"
            return f"it wants {_show(wanted)}, but {found}; the series was made for another base"
    return "its lines are there, but not at the beginning or end of the file where they must be"


def _most_alike(lines: list[bytes], hunk: Hunk) -> int:
    """The index where most lines of a hunk agree, the nearest to its own place among equals."""
    wanted = min(max(hunk.old_start - 1, 0), len(lines))

    def rank(place: int) -> tuple[int, int]:
        pairs = zip(hunk.before, lines[place : place + len(hunk.before)], strict=False)
        return sum(have == want for want, have in pairs), -abs(place - wanted)

    return max(range(len(lines)), key=rank, default=0)


def _contains(lines: list[bytes], wanted: Sequence[bytes]) -> bool:
    if not wanted:
        return False
    size, first, whole = len(wanted), wanted[0], list(wanted)
    return any(line == first and lines[at : at + size] == whole for at, line in enumerate(lines))


def _show(line: bytes) -> str:
    text = " ".join(line.decode("utf-8", "replace").split())
    return f'"{text[:_SHOWN]}…"' if len(text) > _SHOWN else f'"{text}"'


def _fails(patch: PatchInfo, why: str, remedy: str | None = None) -> LockcheckError:
    return LockcheckError(
        f"{patch.title}: {why}",
        remedy=remedy
        or "check out what the series is based on (a base-commit: line in its mail names it)",
    )
