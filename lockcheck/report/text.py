"""Text output in the compiler's own form, so that editors and reviewers can use it as it is.

drivers/gpu/…/kvmgt.c:1625:3: warning: message [rule-id]
arch/x86/kvm/mmu/page_track.c:268:4: note: in kvm_page_track_write(): calls …
lockcheck: 31 obligations: 30 proved, 1 violated, 0 unproved
  rule  …
lockcheck: 1 finding, 2 suppressed, 70 units read
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from lockcheck.errors import Notice
from lockcheck.findings.model import (
    Finding,
    LedgerCount,
    Location,
    Outcome,
    Report,
    Step,
    StepKind,
)

# The colours of gcc and clang: a reader knows them already.
_COLOURS = {
    "error": "\033[1;31m",
    "warning": "\033[1;35m",
    "note": "\033[1;36m",
    "where": "\033[1m",
}
_OUTCOMES = tuple(outcome.value for outcome in Outcome)
_RESET = "\033[0m"

# A step without words of its own still has to say why it is shown.
_DEFAULT_MESSAGES = {
    StepKind.ENTRY: "the chain begins here",
    StepKind.CALL: "calls the next function",
    StepKind.ACQUIRE: "takes the lock here",
    StepKind.RELEASE: "drops the lock here",
    StepKind.ACCESS: "accesses the data here",
    StepKind.SLEEP: "may sleep here",
    StepKind.ASSERTION: "asserts here",
    StepKind.NOTE: "see here",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def render(report: Report, *, show_suppressed: bool = False, colour: bool = False) -> str:
    """The whole report as text, ending in a newline.

    With a baseline only new findings are printed, the others are counted.
    show_suppressed: print suppressed findings too, each with the entry that suppresses it;
        otherwise they are only counted.
    colour: use ANSI colours. Never decided here: the caller knows where the text goes.
    Raises nothing.
    """
    paint = _paint if colour else _plain
    lines: list[str] = []
    for finding in report.findings:
        if finding.counts or (finding.suppression is not None and show_suppressed):
            lines.extend(_finding(finding, paint))
    lines.extend(_notices(report.notices, paint))
    lines.extend(_ledger(report))
    lines.append(summary(report))
    return "\n".join(lines) + "\n"


def diagnostics(findings: Sequence[Finding]) -> str:
    """Findings alone, each with its chain, as `render` has them."""
    return "".join(f"{line}\n" for finding in findings for line in _finding(finding, _plain))


def notices(report: Report) -> str:
    """The notices alone, as `render` has them, for a command that prints no findings."""
    return "".join(f"{line}\n" for line in _notices(report.notices, _plain))


def finding_lines(finding: Finding, *, colour: bool = False) -> Iterator[str]:
    """The lines of one finding, as `render` has them."""
    return _finding(finding, _paint if colour else _plain)


def notice_lines(notices: Sequence[Notice], *, colour: bool = False) -> Iterator[str]:
    """The lines of notices, as `render` has them."""
    return _notices(notices, _paint if colour else _plain)


def painted(role: str, words: str, *, colour: bool) -> str:
    """Words in the colour of a role (`error`, `where`), if colours are wanted."""
    return (_paint if colour else _plain)(role, words)


def summary(report: Report) -> str:
    """The closing line: counts, and in plain words whether the analysis was complete."""
    suppressed = sum(finding.suppression is not None for finding in report.findings)
    shown = sum(finding.counts for finding in report.findings)
    if report.absent is None:
        parts = [count_of(shown, "finding")]
    else:
        old = len(report.findings) - suppressed - shown
        parts = [count_of(shown, "new finding"), f"{old} in the baseline"]
        parts.append(f"{len(report.absent)} of the baseline gone")
    parts.append(f"{suppressed} suppressed")
    parts.append(f"{count_of(report.units, 'unit')} read")
    if report.configurations:
        parts[-1] += f" in {len(report.configurations)} configurations"
    text = "lockcheck: " + ", ".join(parts)
    if not report.complete:
        text += "; INCOMPLETE: not everything was analysed, see the errors above"
    return text


def _ledger(report: Report) -> Iterator[str]:
    """The obligations: how many ended how, then by what states them; where to read more."""
    if not report.ledger:
        return
    total = [sum(column) for column in zip(*map(_outcomes, report.ledger), strict=True)]
    ended = ", ".join(f"{n} {word}" for n, word in zip(total, _OUTCOMES, strict=True))
    yield f"lockcheck: {count_of(sum(total), 'obligation')}: {ended}"
    rules = {rule.rule_id for rule in report.rules}
    of_rules = [count for count in report.ledger if count.origin in rules]
    of_source = [count for count in report.ledger if count.origin not in rules]
    width = max(len("assertion"), *(len(count.origin) for count in report.ledger))
    heading = "".join(f"{word:>10}" for word in _OUTCOMES)
    for title, counts in (("rule", of_rules), ("assertion", of_source)):
        if counts:
            yield f"  {title:<{width}}{heading}".rstrip()
            heading = ""
        for count in sorted(counts, key=lambda count: count.origin):
            numbers = "".join(f"{number:>10}" for number in _outcomes(count))
            yield f"  {count.origin:<{width}}{numbers}"
    unproved = total[-1]
    if unproved:
        what = "obligation is" if unproved == 1 else "obligations are"
        yield (
            f"lockcheck: {unproved} {what} unproved: `lockcheck ledger --state unproved` tells why"
        )


def _outcomes(count: LedgerCount) -> tuple[int, int, int]:
    """The numbers in the order of _OUTCOMES."""
    return count.proved, count.violated, count.unproved


def _notices(notices: Sequence[Notice], paint: _Painter) -> Iterator[str]:
    for notice, following in itertools.zip_longest(notices, notices[1:]):
        # Of many units that miss the same header, the last one shows what to do.
        is_repeated = following is not None and following.remedy == notice.remedy
        yield from _notice(notice, paint, show_remedy=not is_repeated)


def _finding(finding: Finding, paint: _Painter) -> Iterator[str]:
    """A finding, the chain that leads to it (entry point first), and places worth reading."""
    level = finding.level.value
    yield _diagnostic(
        _where(finding.location), level, f"{finding.message} [{finding.rule_id}]", paint
    )
    for step in finding.chain:
        # The analysis often closes a chain with the finding itself: do not print it twice.
        if step.location != finding.location or step.message != finding.message:
            yield _diagnostic(_where(step.location), "note", _step_message(step), paint)
    for step in finding.related:
        yield _diagnostic(_where(step.location), "note", _step_message(step), paint)
    if finding.configurations:
        where = "found in " + ", ".join(finding.configurations)
        yield _diagnostic(_where(finding.location), "note", where, paint)
    if finding.suppression is not None:
        entry = finding.suppression
        until = f" (until {entry.expires})" if entry.expires else ""
        yield _diagnostic(
            f"{entry.file}:{entry.line}", "note", f"suppressed here{until}: {entry.reason}", paint
        )


def _notice(notice: Notice, paint: _Painter, *, show_remedy: bool) -> Iterator[str]:
    """A notice, marked as lockcheck's own so that nobody takes it for a claim about the code."""
    message = f"{notice.message} [{notice.code}]"
    if notice.file is None:
        yield _diagnostic("lockcheck", notice.severity.value, message, paint)
    else:
        where = notice.file if notice.line is None else f"{notice.file}:{notice.line}"
        yield _diagnostic(where, notice.severity.value, f"lockcheck: {message}", paint)
    if notice.remedy and show_remedy:
        yield f"  remedy: {one_line(notice.remedy)}"


def _step_message(step: Step) -> str:
    """The words of a step; they always name the function that the step is in."""
    message = step.message or _DEFAULT_MESSAGES[step.kind]
    function = step.location.function
    if message == f"{function}()":
        return f"in {message}: {_DEFAULT_MESSAGES[step.kind]}"  # a bare name explains nothing
    if not function or message.startswith(f"{function}()"):
        return message
    return f"in {function}(): {message}"


def _where(location: Location) -> str:
    return f"{location.file}:{location.line}:{location.column}"


def count_of(number: int, noun: str) -> str:
    """A number and its noun: `1 finding`, `2 findings`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _Painter:
    """Colours a piece of text by its role; the plain one leaves it alone."""

    def __init__(self, colours: dict[str, str]) -> None:
        self._colours = colours

    def __call__(self, role: str, text: str) -> str:
        start = self._colours.get(role)
        return f"{start}{text}{_RESET}" if start else text


_plain = _Painter({})
_paint = _Painter(_COLOURS)


def _diagnostic(where: str, level: str, message: str, paint: _Painter) -> str:
    place = paint("where", f"{one_line(where)}:")
    return f"{place} {paint(level, f'{level}:')} {one_line(message)}"


def one_line(text: str) -> str:
    """One diagnostic is one line, and source text cannot send escapes to a terminal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", " ".join(text.split()))
