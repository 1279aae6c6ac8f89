"""What a series of patches did to the findings: one verdict for each patch, and one for all."""

from __future__ import annotations

import msgspec

from lockcheck.errors import Notice
from lockcheck.findings.model import Finding, Report


class PatchInfo(msgspec.Struct, frozen=True):
    """A patch as readers know it.

    number, total: as its author counts, 1-based: 2 and 3 for `[PATCH 2/3]`.
    author: name and address, as the mail or the commit has them.
    message_id, commit: where it comes from, empty for the other kind.
    """

    number: int
    total: int
    subject: str
    author: str
    message_id: str = ""
    commit: str = ""

    @property
    def title(self) -> str:
        """What errors call it: `patch 2/3 "subject"`."""
        return f'patch {self.number}/{self.total} "{self.subject}"'


class Brought(msgspec.Struct, frozen=True):
    """A finding that the base does not have.

    finding: as it stands after the patch that brings it.
    by: the number of that patch.
    earliest: less than `by` when the patches from there on could not be read as a whole, so that
        any of them may have brought it.
    fixed_by: the number of the patch after which it is gone; None when none does that.
    """

    finding: Finding
    by: int
    earliest: int
    fixed_by: int | None = None


class Fixed(msgspec.Struct, frozen=True):
    """A finding that is gone, as it stood before; `brought_by` is None for one of the base."""

    finding: Finding
    brought_by: int | None


class PatchVerdict(msgspec.Struct, frozen=True):
    """What one patch does.

    report: of the tree with this patch and all before it.
    new, fixed: compared with the state before this patch, suppressed findings left out.
    notices: those that the state before did not have.
    complete: whether nothing went unread because of this patch.
    """

    patch: PatchInfo
    report: Report
    new: tuple[Finding, ...]
    fixed: tuple[Fixed, ...]
    notices: tuple[Notice, ...]
    complete: bool


class SeriesReport(msgspec.Struct, frozen=True):
    """Everything that a reporter may render of a series.

    name: the range or the file, as the user wrote it.
    cover: the subject of the cover letter, empty without one.
    base: the report of the tree without the series.
    brought: findings that the base does not have, in the order in which they came.
    notices: about the series as a whole.
    complete: whether every state was analysed as a whole, the base included.
    """

    name: str
    cover: str
    base: Report
    patches: tuple[PatchVerdict, ...]
    brought: tuple[Brought, ...]
    notices: tuple[Notice, ...]
    complete: bool
