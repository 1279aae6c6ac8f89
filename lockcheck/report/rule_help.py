"""The text that explains a rule to a reader, derived from the rule file's own parts."""

from __future__ import annotations

import re

from lockcheck.findings.model import RuleInfo
from lockcheck.report import cwe

# GitHub cuts a description beyond this many characters, in the middle of a word.
_DESCRIPTION_LIMIT = 1000

# For rules without a weakness of their own: the kernel's documentation of its locks.
_LOCKING_HELP_URI = "https://docs.kernel.org/locking/index.html"


def pascal_case(identifier: str) -> str:
    """`gvt-protect-table` as `GvtProtectTable`."""
    return "".join(
        word[:1].upper() + word[1:] for word in re.split(r"[^0-9A-Za-z]+", identifier) if word
    )


def help_uri(rule: RuleInfo) -> str:
    """Where to read on: the weakness that the rule names, else the kernel's page about locks.

    Raises LockcheckError when the rule names a weakness in a form that is not CWE-<number>.
    """
    return cwe.definition_uri(cwe.number(rule.cwe[0])) if rule.cwe else _LOCKING_HELP_URI


def full_description(rule: RuleInfo) -> str:
    """The first paragraph of the rationale as plain text, or the title where there is none."""
    first = re.split(r"\n\s*\n", rule.rationale.strip())[0]
    text = " ".join(first.replace("`", "").split()) or sentence(rule.title)
    if len(text) > _DESCRIPTION_LIMIT:
        text = text[: _DESCRIPTION_LIMIT - 1].rsplit(" ", 1)[0] + "…"
    return text


def help_text(rule: RuleInfo) -> str:
    """The whole explanation in plain text."""
    parts = [sentence(rule.title), rule.rationale.strip().replace("`", "")]
    for heading, code in _examples(rule):
        parts.append(f"{heading}:")
        parts.append("\n".join(f"    {line}" if line else "" for line in code.splitlines()))
    return "\n\n".join(part for part in parts if part)


def help_markdown(rule: RuleInfo) -> str:
    """The whole explanation in Markdown, the examples as code blocks."""
    parts = [f"**{sentence(rule.title)}**", rule.rationale.strip()]
    for heading, code in _examples(rule):
        fence = _fence(code)
        parts.append(f"### {heading}\n\n{fence}c\n{code}\n{fence}")
    return "\n\n".join(part for part in parts if part)


def sentence(text: str) -> str:
    """`text` with a full stop, unless it ends in one already."""
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _examples(rule: RuleInfo) -> list[tuple[str, str]]:
    examples = [("Bad", rule.bad_example), ("Good", rule.good_example)]
    return [(heading, code.strip("\n")) for heading, code in examples if code.strip()]


def _fence(code: str) -> str:
    """A fence longer than any run of backticks within."""
    longest = max((len(run) for run in re.findall(r"`+", code)), default=0)
    return "`" * max(3, longest + 1)
