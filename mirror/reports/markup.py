"""Text of unknown origin in Markdown: shown as it is, and never markup, a link or a mention."""

from __future__ import annotations

import re

from mirror.plain import line

_LONGEST = 400
"""Characters of a detail, such as an installer's last words."""
_ACTIVE = re.compile(r"[^A-Za-z0-9 ,.=()/+\-]|(?<=www)\.", re.IGNORECASE)
"""What could be markup; a reference to a character never is (CommonMark 0.31 section 2.5)."""
_LINKING = ":@."
"""Of these: what GitHub makes a link of wherever it stands, unless an element comes between."""


def code(words: str) -> str:
    """Text of unknown origin, as code: there GitHub looks for no mention either."""
    return f"<code>{text(words)}</code>" if words else ""


def text(words: str) -> str:
    """Text of unknown origin, shortened, with whatever could be markup spelled out."""
    said = line(words)
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
    return _ACTIVE.sub(lambda match: f"{'<wbr>' if match[0] in _LINKING else ''}&#{ord(match[0])};", said)
