"""A series out of mail, applied to the files of the tree as they are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lockcheck.errors import LockcheckError, Notice, Severity
from lockcheck.findings.series import PatchInfo
from lockcheck.series.apply import apply_patch
from lockcheck.series.diffs import FileDiff, read_diff
from lockcheck.series.mail import Mailbox, MailPatch, read_mail
from lockcheck.series.patches import Series, Step, TreeFiles, build_notices


def series_from_mail(root: Path, sources: Sequence[str]) -> Series:
    """The series that files, directories or standard input (`-`) hold, over the tree at `root`.

    Raises LockcheckError for mail that cannot be read, and for a patch that does not apply.
    """
    box = read_mail(sources)
    tree = TreeFiles(root)
    steps = [
        _step(position, mail, len(box.patches), tree)
        for position, mail in enumerate(box.patches, 1)
    ]
    return Series(", ".join(sources), box.cover, {}, tuple(steps), tuple(_notices(box)))


def _step(position: int, mail: MailPatch, count: int, tree: TreeFiles) -> Step:
    patch = PatchInfo(
        number=mail.number or position,
        total=mail.total or count,
        subject=mail.subject,
        author=mail.author,
        message_id=mail.message_id,
    )
    try:
        files = read_diff(mail.diff)
    except LockcheckError as error:
        where = "" if error.line is None else f" (line {error.line} of its diff)"
        raise LockcheckError(
            f"{patch.title}: {error.message}{where}", file=mail.origin, remedy=error.remedy
        ) from error
    if not files:
        raise LockcheckError(f"{patch.title}: its diff changes no file", file=mail.origin)
    changes, notices = apply_patch(patch, files, tree)
    notices.extend(_cut_off(patch, mail, files))
    notices.extend(build_notices(patch, changes))
    return Step(patch, changes, tree.over_tree(), tuple(notices))


def _cut_off(patch: PatchInfo, mail: MailPatch, files: Sequence[FileDiff]) -> list[Notice]:
    """Compare a diff with the summary of its diffstat: a mail may end between two hunks."""
    if mail.stat is None:
        return []
    added, removed = sum(file.added for file in files), sum(file.removed for file in files)
    if len(files) >= mail.stat.files and (added, removed) >= (mail.stat.added, mail.stat.removed):
        return []
    return [
        Notice(
            Severity.ERROR,
            "patch-cut-off",
            f"{patch.title}: its mail speaks of {mail.stat.files} files, {mail.stat.added} "
            f"insertions and {mail.stat.removed} deletions; its diff has {len(files)}, {added} "
            f"and {removed}",
            None,
            None,
            "fetch the patch anew; when the diff was edited on purpose, take the summary out",
        )
    ]


def _notices(box: Mailbox) -> list[Notice]:
    notices: list[Notice] = []
    numbers = [patch.number for patch in box.patches if patch.number]
    missing = sorted(set(range(1, box.patches[0].total + 1)) - set(numbers)) if numbers else []
    if missing:
        names = ", ".join(str(number) for number in missing)
        notices.append(
            Notice(
                Severity.WARNING,
                "patches-not-named",
                f"of {box.patches[0].total} patches, {names} were not named: the verdict is about "
                "the others, on the tree as it is",
                None,
                None,
                "name all files of the series",
            )
        )
    if box.left_out:
        notices.append(
            Notice(
                Severity.NOTE,
                "mails-left-out",
                f"mails that are replies, or have no patch, were left out: {box.left_out}",
            )
        )
    if box.older:
        names = ", ".join(f"v{version}" for version in box.older)
        notices.append(
            Notice(
                Severity.NOTE,
                "older-version",
                f"the mail holds the series more than once; v{box.patches[0].version} is taken, "
                f"{names} left out",
            )
        )
    return notices
