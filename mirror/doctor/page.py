"""HTML as it was sent: every tag with its own text, since what fragile readers stumble over is gone once it is parsed.

The structure is checked as far as pages of an index need it. It is a part of what the Nu checker says, and nothing
that it would let pass is complained of. Time and memory grow with the page, and not with its square.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.doctor.markup import FOREIGN, Attributes, Kind, Token, tokens
from mirror.doctor.values import join

if TYPE_CHECKING:
    from collections.abc import Mapping

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_OF_HEAD = frozenset(("html", "head", "title", "meta", "base", "link", "style", "script", "noscript", "template"))
_MAY_STAY_OPEN = frozenset(
    ("html", "head", "body", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "option")
)
"""Elements whose end tag may be left out (HTML, 13.1.2.4)."""
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*)(?![;a-zA-Z0-9=])")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
_AFTER = 40
"""Characters behind a link that are kept: some more than the end of a tidy line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One `<a>`."""

    source: str
    """Its start tag as it stands on the page."""
    attributes: Attributes
    """In order, unescaped; None for one without a value."""
    text: str
    line: int
    """Where its start tag begins, from 1."""
    after: str = ""
    """What stands from its end tag to the end of that line, or the beginning of that."""

    def has(self, name: str) -> bool:
        """Whether the attribute is there, with or without a value."""
        return any(key == name for key, _ in self.attributes)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The attribute's value; the first of several, as browsers have it."""
        return next((value or "" for key, value in self.attributes if key == name), default)

    @property
    def href(self) -> str:
        """Where it leads to, or nothing."""
        return (self.get("href") or "").strip()


@dataclass(frozen=True, kw_only=True)
class HtmlPage:
    """A page, taken apart."""

    anchors: tuple[Anchor, ...]
    metas: tuple[tuple[str, str, bool], ...]
    """Name, content, and whether it stands in the head; those with a name."""
    bases: tuple[str, ...]
    """The href of every `<base>` that has one."""
    problems: tuple[str, ...]
    """What makes it no valid HTML5, with the line."""

    def base_of(self, url: str) -> str:
        """What relative links are resolved against, on a page from `url`."""
        return (join(url, self.bases[0].strip()) or url) if self.bases else url

    def meta(self, name: str) -> tuple[str, ...]:
        """The contents of every meta element of that name."""
        return tuple(content for key, content, _ in self.metas if key == name)


def read_page(body: bytes) -> HtmlPage:
    """Take a page apart; whatever it is, something comes out. Bytes that are no UTF-8 are replaced."""
    reader = _Reader(body.decode("utf-8", "replace"))
    reader.read()
    return HtmlPage(
        anchors=tuple(reader.anchors),
        metas=tuple(reader.metas),
        bases=tuple(reader.bases),
        problems=tuple(dict.fromkeys(reader.problems)),
    )


class _Reader:
    def __init__(self, page: str) -> None:
        self.anchors: list[Anchor] = []
        self.metas: list[tuple[str, str, bool]] = []
        self.bases: list[str] = []
        self.problems: list[str] = []
        self._page = page
        self._line = 1
        self._open: list[str] = []
        self._count: Counter[str] = Counter()
        """How often each element is open: to search the others for it would take the square of the time."""
        self._in_head = True
        self._doctype = False
        self._titles: list[str] = []
        self._link: tuple[Token, int] | None = None
        self._text: list[str] = []

    def read(self) -> None:
        """Read the page, and say what is missing at its end."""
        if match := _CONTROL.search(self._page):
            self.problems.append(f"control character {match[0]!r}")
        if self._page.startswith("\ufeff"):
            self.problems.append("a byte order mark is no harm to browsers, but to readers of bytes it is")
        place = 0
        for token in tokens(self._page):
            self._line += self._page.count("\n", place, token.at)
            place = token.at
            self._take(token)
        self._end_link(len(self._page))
        for tag in dict.fromkeys(self._open):
            if tag not in _MAY_STAY_OPEN:
                self.problems.append(f"<{tag}> is never closed")
        if not self._doctype:
            self.problems.append("no <!DOCTYPE html>")
        if not any(title.strip() for title in self._titles):
            self.problems.append("no <title>")

    def _take(self, token: Token) -> None:
        if token.kind is Kind.START:
            self._start(token)
        elif token.kind is Kind.END:
            self._end(token)
        elif token.kind is Kind.TEXT:
            self._data(token.text)
        elif token.kind is Kind.DOCTYPE:
            self._declare(token.text)
        elif token.kind is Kind.PROBLEM:
            self._problem(token.text)

    def _declare(self, doctype: str) -> None:
        if doctype.lower().split() != ["doctype", "html"]:
            self._problem(f"doctype {doctype!r} is not that of HTML5")
            self._doctype = True
        elif not self._open and not self.anchors:
            self._doctype = True

    def _start(self, token: Token) -> None:
        tag, attributes = token.text, token.attributes
        self._require_doctype()
        if len(dict(attributes)) < len(attributes):
            names = Counter(name for name, _ in attributes)
            for name in sorted(name for name, count in names.items() if count > 1):
                self._problem(f"<{tag}> has {name} twice")
        if match := _REFERENCE.search(self._page, token.at, token.end):
            self._problem(f"character reference {match[0]} without its semicolon")
        if tag not in _OF_HEAD:
            self._in_head = False
        if not self._inside:
            self._mean(tag, dict(reversed(attributes)))
        if tag == "a":
            if self._link:
                self._problem("<a> inside <a>")
                self._end_link(token.at)
            self._link, self._text = (token, self._line), []
        self._nest(token)

    def _nest(self, token: Token) -> None:
        tag = token.text
        if tag in _VOID or (self._inside and tag not in FOREIGN):
            return
        if token.closed and tag in FOREIGN:
            return
        if token.closed:
            self._problem(f"<{tag}/> does not end itself")
        self._open.append(tag)
        self._count[tag] += 1

    @property
    def _inside(self) -> bool:
        """Whether we are inside of foreign elements, which follow other rules."""
        return any(self._count[tag] for tag in FOREIGN)

    def _end(self, token: Token) -> None:
        tag = token.text
        if tag == "a":
            self._end_link(token.at)
        if self._inside and not self._count[tag]:
            return
        if tag in ("head", "body", "html"):
            self._in_head = False
        if tag in _VOID or not self._count[tag]:
            self._problem(f"stray </{tag}>")
            return
        while (last := self._pop()) != tag:
            if last not in _MAY_STAY_OPEN:
                self._problem(f"<{last}> is not closed before </{tag}>")

    def _pop(self) -> str:
        last = self._open.pop()
        self._count[last] -= 1
        return last

    def _data(self, data: str) -> None:
        if self._link:
            self._text.append(data)
        if self._open and self._open[-1] == "title":
            self._titles[-1] += data
        elif data.strip() and (not self._open or self._open[-1] in ("html", "head")):
            self._in_head = False
            self._require_doctype()

    def _mean(self, tag: str, attributes: Mapping[str, str | None]) -> None:
        if tag == "body":
            self._in_head = False
        elif tag == "title":
            if self._titles:
                self._problem("a second <title>")
            self._titles.append("")
            if not self._in_head:
                self._problem("<title> outside the head")
        elif tag == "meta" and attributes.get("name"):
            self.metas.append((attributes["name"] or "", attributes.get("content") or "", self._in_head))
        elif tag == "base" and "href" in attributes:
            self.bases.append(attributes["href"] or "")

    def _end_link(self, end: int) -> None:
        if self._link is None:
            return
        token, line = self._link
        self.anchors.append(
            Anchor(
                source=self._page[token.at : token.end],
                attributes=token.attributes,
                text="".join(self._text),
                line=line,
                after=self._page[end : end + _AFTER].partition("\n")[0],
            )
        )
        self._link = None

    def _require_doctype(self) -> None:
        if not self._doctype:
            self._problem("no <!DOCTYPE html> before it")
            self._doctype = True

    def _problem(self, text: str) -> None:
        self.problems.append(f"line {self._line}: {text}")
