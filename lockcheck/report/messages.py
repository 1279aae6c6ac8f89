"""Message texts as SARIF has them: what looks like a link is escaped, real links are appended.

Writing and reading SARIF share this module, so that what one does the other undoes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def escape(text: str) -> str:
    """Plain text for a SARIF message: `ops[i](x)` must not read as a link to `x`."""
    return text.replace("](", "\\](")


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    return text.replace("\\](", "](")


def with_links(text: str, related: Sequence[str]) -> str:
    """A result's message, closing with links to its related locations, numbered from 1.

    GitHub shows a related location only where the message links to it.
    """
    return escape(text) + _links(related)


def without_links(text: str, related: Sequence[str]) -> str:
    """The inverse of `with_links`, given the same related messages."""
    return unescape(text.removesuffix(_links(related)))


def _links(related: Sequence[str]) -> str:
    if not related:
        return ""
    links = [
        f"[{_link_text(message) or 'here'}]({number})" for number, message in enumerate(related, 1)
    ]
    return f" (see: {'; '.join(links)})"


def _link_text(text: str) -> str:
    text = " ".join(text.split())
    return re.sub(r"[\[\]\\]", r"\\\g<0>", text)
