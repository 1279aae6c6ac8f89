"""One patch as a mail: what it brings, on the tree that it is for.

Tools that check patches (`b4 prep --check`, the hook of `git send-email`) hand over one mail at a
time, while the branch that it comes from is checked out: then the patch is in the tree already, and
its commit is found by its patch-id. Else the mail is applied to the files as they are. Nothing is
written in either case.
"""

from __future__ import annotations

import email.errors
import email.header
import email.parser
import email.policy
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from lockcheck.config import Config
from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.model import Finding
from lockcheck.progress import Progress
from lockcheck.series.gitrange import series_from_git
from lockcheck.series.mail import read_mail
from lockcheck.series.mailseries import series_from_mail
from lockcheck.series.patches import Series
from lockcheck.series.run import check_series
from lockcheck.series.scope import scope_of

# A branch that is being sent is not longer; older commits are nobody's next mail.
_COMMITS = 200
_TIMEOUT_SECONDS = 60
_COVER = re.compile(r"\[[^\]]*\b0+/\d+[^\]]*\]")
_CODE = (".c", ".h")
_INPUT = "standard input"


class MessageVerdict(NamedTuple):
    """What a mail brings; commit: that it was found as, empty when it was applied to the files.

    checked: false for a mail that has nothing to check: a cover letter, or no C in it.
    failures: what could not be analysed.
    """

    new: tuple[Finding, ...] = ()
    fixed: int = 0
    failures: tuple[Notice, ...] = ()
    checked: bool = True
    commit: str = ""


def check_message(config: Config, text: bytes, progress: Progress) -> MessageVerdict:
    """What the patch in a mail brings and fixes.

    config: its paths are what to read; without any, what the patch is about.
    Raises LockcheckError for mail without a patch, or a patch that does not apply, and as
    `lockcheck.session.analyse` does.
    """
    if _is_cover(text):
        return MessageVerdict(checked=False)
    commit, series = _series(config.tree.root, text)
    names = {name for step in series.steps for change in step.changes for name in change if name}
    if not any(name.endswith(_CODE) for name in names):
        return MessageVerdict(checked=False, commit=commit)
    notices = series.notices
    if not config.paths:
        scope = scope_of(config.tree, series)
        config = msgspec.structs.replace(config, paths=scope.paths)
        notices = (*notices, *scope.notices)
    report = check_series(config, series._replace(notices=notices), progress)
    told = [*report.notices, *report.base.notices]
    for verdict in report.patches:
        told.extend(verdict.notices)
    return MessageVerdict(
        tuple(brought.finding for brought in report.brought),
        sum(len(verdict.fixed) for verdict in report.patches),
        tuple(dict.fromkeys(n for n in told if n.severity is Severity.ERROR)),
        commit=commit,
    )


def _is_cover(text: bytes) -> bool:
    """Whether a mail is a cover letter: its subject says `[PATCH 0/3]`."""
    mail = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(text)
    try:
        words = email.header.decode_header(str(mail.get("Subject", "")))
        subject = str(email.header.make_header(words))
    except (LookupError, ValueError, email.errors.HeaderParseError):
        return False
    return _COVER.search(subject) is not None


def _series(root: Path, text: bytes) -> tuple[str, Series]:
    """The commit that a mail is, and the series of that one patch."""
    with tempfile.NamedTemporaryFile(prefix="lockcheck-", suffix=".patch") as file:
        file.write(text)
        file.flush()
        try:
            (patch, *others) = read_mail([file.name]).patches
            if others:
                raise LockcheckError(
                    f"there are {len(others) + 1} patches in it, and one is wanted",
                    file=file.name,
                    remedy="check a series with `lockcheck series -`",
                )
            commit = _commit_of(root, patch.diff)
            if commit:
                return commit, series_from_git(root, commit, 1)
            return "", series_from_mail(root, [file.name])
        except LockcheckError as error:
            if error.file == file.name:  # a name that nobody but us knows
                error.file = _INPUT
            raise


def _commit_of(root: Path, diff: bytes) -> str:
    """The commit among the last ones of HEAD that makes the same change; '' for none."""
    wanted = _git(root, diff, "patch-id", "--stable").split()[:1]
    if not wanted:
        return ""
    log = _git(
        root, b"", "log", "-p", "--no-merges", f"-n{_COMMITS}", "--no-color", "--no-ext-diff",
        "--no-textconv", "--format=commit %H", "HEAD", "--",
    )  # fmt: skip
    for line in _git(root, log, "patch-id", "--stable").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == wanted[0]:
            return words[1].decode("ascii")
    return ""


def _git(root: Path, text: bytes, *words: str) -> bytes:
    """What git prints; nothing when there is no git, no repository, or no answer."""
    # Inside of git's hooks GIT_DIR and friends are set, for another directory than this one.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            input=text,
            capture_output=True,
            env={**environment, "LC_ALL": "C"},
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
