"""HTML as tokens (HTML standard, 13.2.5), as they were sent, in one pass.

Python's own parser raises for what it does not know, and needs the square of the time for what is never closed: a host
could keep us for hours with a page of a few hundred kilobytes.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.model import Word

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREIGN = frozenset(("svg", "math"))
"""Elements whose inside follows other rules."""

_SPACE = r" \t\n\f\r"
_TAG_NAME = re.compile(rf"/?([a-zA-Z][^{_SPACE}/>]*)")
_BETWEEN = re.compile(rf"[{_SPACE}/]*")
_NAME = re.compile(rf"=?[^{_SPACE}/>=]*")
_EQUALS = re.compile(rf"[{_SPACE}]*=[{_SPACE}]*")
_BARE = re.compile(rf"[^{_SPACE}>]*")
_COMMENT_END = re.compile("--!?>")
_NO_CHARACTER = re.compile("&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")
_REFERRING = ("title", "textarea")
_RAW = (*_REFERRING, "script", "style", "xmp", "iframe", "noembed", "noframes")
"""Elements that end at their own end tag, whatever stands before it."""
_RAW_END = {tag: re.compile(rf"</{tag}(?=[{_SPACE}/>])", re.IGNORECASE) for tag in _RAW}

Attributes = tuple[tuple[str, str | None], ...]


class Kind(Word):
    """What a token is."""

    START = "start"
    END = "end"
    TEXT = "text"
    DOCTYPE = "doctype"
    COMMENT = "comment"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Token:
    """A tag, a run of text, a comment, a doctype, or what is none of these and what is wrong with it."""

    kind: Kind
    at: int
    """Where it begins on the page."""
    end: int
    """Where the next one begins."""
    text: str
    """The name of a tag in lower case, text and doctype as they are meant, or the problem."""
    attributes: Attributes = ()
    """In order, names in lower case, values with their references resolved; None for one without a value."""
    closed: bool = False
    """Whether a start tag ends in `/>`."""


def tokens(text: str) -> Iterator[Token]:
    """Take a page apart. Nothing raises."""
    place, foreign = 0, 0
    while place < len(text):
        start = text.find("<", place)
        if start != place:
            start = len(text) if start < 0 else start
            yield Token(Kind.TEXT, place, start, _meant(text[place:start]))
            place = start
            continue
        token = _token(text, start, inside=foreign > 0)
        place = token.end
        yield token
        if token.text in FOREIGN and not token.closed:
            foreign += (token.kind is Kind.START) - (token.kind is Kind.END and foreign > 0)
        if token.kind is Kind.START and token.text in _RAW_END and not foreign:
            match = _RAW_END[token.text].search(text, place)
            end = match.start() if match else len(text)
            inner = text[place:end]
            yield Token(Kind.TEXT, place, end, _meant(inner) if token.text in _REFERRING else inner)
            place = end


def _token(text: str, start: int, *, inside: bool) -> Token:
    """What begins at a `<`."""
    if match := _TAG_NAME.match(text, start + 1):
        return _tag(text, start, match)
    if text.startswith("<!--", start):
        return _comment(text, start)
    if inside and text.startswith("<![CDATA[", start):
        end = text.find("]]>", start)
        return Token(Kind.TEXT, start, end + 3 if end >= 0 else len(text), text[start + 9 : max(end, start + 9)])
    if text[start + 1 : start + 2] not in ("!", "?", "/"):
        return Token(Kind.TEXT, start, start + 1, "<")
    end = text.find(">", start)
    end = end + 1 if end >= 0 else len(text)
    if text[start + 2 : start + 9].lower() == "doctype" and text[start + 1] == "!":
        return Token(Kind.DOCTYPE, start, end, text[start + 2 : end - 1])
    return Token(Kind.PROBLEM, start, end, f"{text[start : min(end, start + 20)]!r} is no markup")


def _comment(text: str, start: int) -> Token:
    for brief in ("<!-->", "<!--->"):
        if text.startswith(brief, start):
            return Token(Kind.PROBLEM, start, start + len(brief), f"{brief!r} is no comment")
    match = _COMMENT_END.search(text, start + 4)
    if match is None:
        return Token(Kind.PROBLEM, start, len(text), "a comment is never closed")
    return Token(Kind.COMMENT, start, match.end(), text[start + 4 : match.start()])


def _tag(text: str, start: int, match: re.Match[str]) -> Token:
    attributes: list[tuple[str, str | None]] = []
    place = match.end()
    while True:
        since, place = place, _after(_BETWEEN, text, place)
        if place >= len(text):
            return Token(Kind.PROBLEM, start, len(text), f"<{match[0].lower()[:20]} is never closed")
        if text[place] == ">":
            break
        end = _after(_NAME, text, place)
        name = text[place:end].lower()
        equals = _EQUALS.match(text, end)
        value, place = _value(text, equals.end()) if equals else (None, end)
        attributes.append((name, value))
    kind = Kind.END if text[start + 1] == "/" else Kind.START
    return Token(kind, start, place + 1, match[1].lower(), tuple(attributes), closed=text[since:place].endswith("/"))


def _value(text: str, place: int) -> tuple[str, int]:
    """An attribute's value, and where it ends: at the end of the page when its quote is never closed."""
    quote = text[place : place + 1]
    if quote and quote in "\"'":
        end = text.find(quote, place + 1)
        end = len(text) if end < 0 else end
        return _meant(text[place + 1 : end]), min(end + 1, len(text))
    end = _after(_BARE, text, place)
    return _meant(text[place:end]), end


def _after(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place


def _meant(text: str) -> str:
    """Text with its character references resolved; a number too large for a character is none."""
    return html.unescape(_NO_CHARACTER.sub("\ufffd", text)) if "&" in text else text
