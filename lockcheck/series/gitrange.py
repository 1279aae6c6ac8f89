"""A series out of a range of commits, read through git's plumbing.

Nothing is checked out and nothing written, not even the index: `rev-list` and `diff-tree` tell what
changed, `cat-file --batch` hands contents out. What is on disk may be any commit, with changes of
the user's: each state of the series is a set of contents over it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.series import PatchInfo
from lockcheck.series.patches import (
    Change,
    Series,
    Step,
    TreeFiles,
    build_notices,
    is_build_file,
)

_REGULAR = ("100644", "100755")
_TIMEOUT_SECONDS = 120
# Beyond this, what is on disk has little to do with the base, and neither has its build.
_MAX_DIFFERENT = 2000
_NOT_READ = (".rst", ".txt", ".md", ".dts", ".dtsi", ".json", ".py", ".sh")


class _Raw(NamedTuple):
    """One line of `diff-tree --raw`."""

    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str
    status: str
    old: str
    new: str


def series_from_git(root: Path, spec: str | None, last: int | None) -> Series:
    """The series that a range names, over the tree at `root`.

    spec: `A..B`, or one revision: the commits of HEAD since then, as `git format-patch` has it.
    last: instead, that many commits up to `spec` (HEAD without one).
    Merges count as one patch, their change to their first parent.
    Raises LockcheckError when git does not know the range, or when it is empty.
    """
    git = _Git(root, spec)
    commits = git.commits(spec, last)
    name = spec if last is None else f"-{last}" + (f" {spec}" if spec else "")
    base = git.base_of(commits[0])
    raws = {commit: git.diff_tree(commit) for commit in commits}
    standing = git.diff_index(base)
    _check_distance(root, base, standing)
    wanted = {raw.old_blob for raw in standing}
    wanted.update(
        b for raws_of in raws.values() for raw in raws_of for b in (raw.old_blob, raw.new_blob)
    )
    blobs = git.blobs(wanted)
    tree = TreeFiles(root)
    for raw in standing:
        if raw.old_mode in _REGULAR:
            tree.contents[raw.old] = blobs[raw.old_blob]
        elif raw.status == "A":
            tree.contents[raw.old] = None
    _add_touched(tree, [raw for commit in commits for raw in raws[commit]], blobs)
    start = tree.over_tree()
    notices = list(_differing_build(root, standing))
    steps = [
        _step(git, commit, (number, len(commits)), raws[commit], blobs, tree)
        for number, commit in enumerate(commits, 1)
    ]
    return Series(name or "", "", start, tuple(steps), tuple(notices))


def _add_touched(tree: TreeFiles, raws: Sequence[_Raw], blobs: Mapping[str, bytes]) -> None:
    """Name what the files are in the base that some commit touches.

    One that a commit adds may lie about on disk, untracked, which nothing else tells.
    """
    touched = set(tree.contents)
    for raw in raws:
        if raw.old not in touched:
            if raw.status == "A":
                tree.contents[raw.old] = None
            elif raw.old_mode in _REGULAR:
                tree.contents[raw.old] = blobs[raw.old_blob]
        if raw.new not in touched and raw.new != raw.old:
            tree.contents[raw.new] = None
        touched.update((raw.old, raw.new))


def _step(
    git: _Git,
    commit: str,
    place: tuple[int, int],
    raws: Sequence[_Raw],
    blobs: Mapping[str, bytes],
    tree: TreeFiles,
) -> Step:
    subject, author = git.words(commit)
    patch = PatchInfo(*place, subject, author, commit=commit)
    notices: list[Notice] = []
    changes: list[Change] = []
    for raw in raws:
        is_gone = raw.status in "DR" and raw.old != raw.new
        changes.append(
            Change(None if raw.status in "AC" else raw.old, None if raw.status == "D" else raw.new)
        )
        if (is_gone or raw.status == "D") and raw.old_mode in _REGULAR:
            tree.contents[raw.old] = None
        if raw.status == "D":
            continue
        if raw.new_mode in _REGULAR:
            tree.contents[raw.new] = blobs[raw.new_blob]
        elif raw.new.endswith((".c", ".h")):
            notices.append(
                Notice(
                    Severity.ERROR,
                    "change-not-followed",
                    f"patch {patch.number}/{patch.total} makes it a symbolic link, which was not "
                    "followed",
                    raw.new,
                    None,
                    "check out the commits and check that tree",
                )
            )
    notices.extend(build_notices(patch, tuple(changes)))
    return Step(patch, tuple(changes), tree.over_tree(), tuple(notices))


def _check_distance(root: Path, base: str, standing: Sequence[_Raw]) -> None:
    if len(standing) > _MAX_DIFFERENT:
        raise LockcheckError(
            f"the series begins at {base[:12]}, and {len(standing)} files of {root} differ from it",
            remedy="check out the commit before the series (or one of its commits), run `make "
            "prepare`, and try again",
        )


def _differing_build(root: Path, standing: Sequence[_Raw]) -> Iterator[Notice]:
    names = sorted(raw.old for raw in standing if is_build_file(raw.old))
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield Notice(
            Severity.WARNING,
            "base-builds-otherwise",
            f"{', '.join(names[:3])}{more} differ between the base of the series and what is "
            "checked out, for which the tree is configured and prepared: units, options and flags "
            "are those of what is checked out",
            None,
            None,
            "check out the base and run `make prepare` to have them exact",
        )


class _Git:
    """Git, asked in one directory; paths are relative to it."""

    def __init__(self, root: Path, spec: str | None) -> None:
        self._root = root
        if self._ask("rev-parse", "--is-inside-work-tree", may_fail=True).strip() != b"true":
            named = f"there is no file {spec}, and " if spec else ""
            raise LockcheckError(
                f"{named}{root} is no git work tree, so that there are no commits to read",
                remedy="name a file of patches, or a git tree with --tree DIR",
            )

    def commits(self, spec: str | None, last: int | None) -> list[str]:
        """The commits of a range, oldest first."""
        if last is not None:
            words = [f"--max-count={last}", self._commit(spec or "HEAD")]
        else:
            words = self._range(spec or "")
        listed = self._ask("rev-list", "--first-parent", *words, "--").decode("ascii").split()
        if not listed:
            raise LockcheckError(
                f"the range {spec} holds no commit",
                remedy="write BASE..BRANCH, or -N for the last N commits",
            )
        return listed[::-1]

    def base_of(self, commit: str) -> str:
        """The first parent of a commit."""
        found = self._ask("rev-parse", "--verify", "--quiet", f"{commit}^1", may_fail=True)
        if not found.strip():
            raise LockcheckError(
                f"{commit[:12]} has no parent here: there is no base to compare with",
                remedy="name fewer commits, or fetch more of the history",
            )
        return found.decode("ascii").strip()

    def words(self, commit: str) -> tuple[str, str]:
        """The subject and the author of a commit."""
        text = self._ask(
            "rev-list", "--max-count=1", "--encoding=UTF-8", "--format=%s%n%an <%ae>", commit, "--",
        ).decode("utf-8", "replace")  # fmt: skip
        _, subject, author, *_ = [*text.split("\n"), "", ""]
        return subject.strip() or "(no subject)", author.strip()

    def diff_tree(self, commit: str) -> list[_Raw]:
        """What a commit changes, compared with its first parent."""
        output = self._ask(
            "diff-tree", "-r", "-M", "-z", "--raw", "--no-abbrev", "--relative", "--no-ext-diff",
            f"{commit}^1", commit, "--",
        )  # fmt: skip
        return list(_raw_lines(output))

    def diff_index(self, base: str) -> list[_Raw]:
        """What of the files on disk differs from a commit; contents decide, not times."""
        output = self._ask(
            "diff-index", "-z", "--raw", "--no-abbrev", "--no-renames", "--relative",
            "--no-ext-diff", base, "--",
        )  # fmt: skip
        return [
            raw
            for raw in _raw_lines(output)
            if not raw.old.endswith(_NOT_READ) and not self._is_same(raw)
        ]

    def _is_same(self, raw: _Raw) -> bool:
        """Whether a file that git did not look into is what it should be."""
        if raw.old_mode not in _REGULAR:
            return False
        try:
            content = (self._root / raw.old).read_bytes()
        except OSError:
            return False
        digest = hashlib.sha1 if len(raw.old_blob) == 40 else hashlib.sha256
        return digest(b"blob %d\0" % len(content) + content).hexdigest() == raw.old_blob

    def blobs(self, names: Iterable[str]) -> dict[str, bytes]:
        """The contents of blobs."""
        wanted = sorted(name for name in names if name.strip("0"))
        output = self._ask("cat-file", "--batch", given="".join(f"{n}\n" for n in wanted).encode())
        found: dict[str, bytes] = {}
        at = 0
        for name in wanted:
            end = output.index(b"\n", at)
            header = output[at:end].split()
            at = end + 1
            if len(header) != 3:
                raise LockcheckError(
                    f"git does not have the object {name}",
                    remedy="fetch the whole history of the range (this may be a partial clone)",
                )
            size = int(header[2])
            if header[1] == b"blob":
                found[name] = output[at : at + size]
            at += size + 1
        return found

    def _range(self, spec: str) -> list[str]:
        match = re.fullmatch(r"(.*?)(\.\.\.?)(.*)", spec)
        if match is None:
            return [f"^{self._commit(spec)}", self._commit("HEAD")]
        first = self._commit(match.group(1) or "HEAD")
        second = self._commit(match.group(3) or "HEAD")
        return [f"^{first}", second]  # for `...`, too: first-parent commits of the second side

    def _commit(self, name: str) -> str:
        found = self._ask(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}",
            may_fail=True,
        )  # fmt: skip
        if not found.strip() or found.startswith(b"^"):  # `^HEAD` is what to leave out
            raise LockcheckError(
                f"there is neither a file nor a commit {name!r}",
                remedy="name a file of patches, a directory of them, or a range of commits that "
                f"`git -C {self._root} log` knows",
            )
        return found.decode("ascii").split()[-1]

    def _ask(self, *words: str, given: bytes | None = None, may_fail: bool = False) -> bytes:
        # GIT_DIR and its kin, set inside git's hooks, point to another repository.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                ["git", "-c", "core.fsmonitor=false", "-C", str(self._root), *words],
                input=given if given is not None else b"",
                capture_output=True,
                env=environment,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise LockcheckError(
                "git not found: it is needed to read commits",
                remedy="install git, or name a file of patches",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise LockcheckError(
                f"git gave no answer within {_TIMEOUT_SECONDS} seconds: git {words[0]}",
                remedy="name fewer commits",
            ) from error
        if done.returncode and not may_fail:
            complaint = done.stderr.decode("utf-8", "replace").strip() or f"git {words[0]} failed"
            raise LockcheckError(f"git: {complaint}", remedy="mend the repository (`git fsck`)")
        return done.stdout if not done.returncode else b""


def _raw_lines(output: bytes) -> Iterator[_Raw]:
    """The entries of `--raw -z`: a line of modes and blobs, then one path or two."""
    parts = iter(output.split(b"\0"))
    for part in parts:
        if not part.startswith(b":"):
            continue
        old_mode, new_mode, old, new, status = part[1:].decode("ascii").split()
        path = os.fsdecode(next(parts))
        other = os.fsdecode(next(parts)) if status[0] in "RC" else path
        if not (path + other).isprintable():
            continue  # no source of a kernel has such a name, and clang could not be given it
        yield _Raw(old_mode, new_mode, old, new, status[0], path, other)
