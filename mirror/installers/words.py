"""The last words of an installer: what it gives as the reason for its failure, in one line."""

from __future__ import annotations

import re

from mirror.credentials import redact

_ERROR = re.compile(r"(?:error|.*Error): |\N{MULTIPLICATION SIGN} ", re.IGNORECASE)
_DRAWN = "\N{MULTIPLICATION SIGN}\N{BOX DRAWINGS LIGHT ARC UP AND RIGHT}\N{BOX DRAWINGS LIGHT VERTICAL}"
_FRAME = f" {_DRAWN}\N{BOX DRAWINGS LIGHT HORIZONTAL}\N{BLACK RIGHT-POINTING TRIANGLE}>"
_LONGEST = 500
"""Characters that are kept; the reason stands at the beginning."""


def last_words(said: str) -> str:
    """The lines from the first error on as one line, without credentials, shortened; never empty."""
    lines = [line for line in (line.strip() for line in said.splitlines()) if line]
    start = next((place for place, line in enumerate(lines) if _ERROR.match(line)), max(len(lines) - 3, 0))
    words = " ".join(re.sub(r"^(?:ERROR|error): ", "", line.lstrip(_FRAME)) for line in lines[start:])
    words = redact(re.sub(r"\s+", " ", words)) or "it failed without a word"
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} …"
