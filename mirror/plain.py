"""Text of unknown origin, made safe to show: what moves a cursor, turns text around or is obeyed is spelled out."""

from __future__ import annotations

import re

DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""What turns text around (Unicode's Bidi_Control), as the inside of a regular expression's brackets."""
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff" + DIRECTIONS + _NONCHARACTERS + "]")
"""What moves a terminal's cursor, changes its colours, turns its text around, or may not stand in XML and HTML."""
_OBEYED = re.compile(r"#(?=#[a-z]*\[)", re.IGNORECASE)
"""Where a command begins that a CI system finds anywhere in a log: `##[`, `##vso[`, `##teamcity[`."""


def plain(text: str) -> str:
    """The text with its control characters spelled out, but for the ends of lines, and nothing that a log obeys."""
    spelled = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
    return _OBEYED.sub(r"\\x23", spelled)


def line(text: str) -> str:
    """The text on one line, its control characters spelled out."""
    return plain(" ".join(text.splitlines()))
