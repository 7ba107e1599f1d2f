"""HTML as it was sent: every tag with its own text, since what fragile readers stumble over is gone once it is parsed.

The structure is checked as far as pages of an index need it. It is a part of what the Nu checker says, and nothing
that it would let pass is complained of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Sequence

_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
_OF_HEAD = frozenset(("html", "head", "title", "meta", "base", "link", "style", "script", "noscript", "template"))
_MAY_STAY_OPEN = frozenset(
    ("html", "head", "body", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup", "option")
)
"""Elements whose end tag may be left out (HTML, 13.1.2.4)."""
_FOREIGN = frozenset(("svg", "math"))
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*)(?![;a-zA-Z0-9=])")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One `<a>`."""

    source: str
    """Its start tag as it stands on the page."""
    attributes: tuple[tuple[str, str | None], ...]
    """In order, unescaped; None for one without a value."""
    text: str
    line: int
    """Where its start tag begins, from 1."""
    after: str = ""
    """What stands between its end and the end of that line."""

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

    text: str
    anchors: tuple[Anchor, ...]
    metas: tuple[tuple[str, str, bool], ...]
    """Name, content, and whether it stands in the head; those with a name."""
    bases: tuple[str, ...]
    """The href of every `<base>` that has one."""
    problems: tuple[str, ...]
    """What makes it no valid HTML5, with the line."""

    def base_of(self, url: str) -> str:
        """What relative links are resolved against, on a page from `url`."""
        try:
            return urljoin(url, self.bases[0].strip()) if self.bases else url
        except ValueError:
            return url

    def meta(self, name: str) -> tuple[str, ...]:
        """The contents of every meta element of that name."""
        return tuple(content for key, content, _ in self.metas if key == name)


def read_page(body: bytes) -> HtmlPage:
    """Take a page apart; whatever it is, something comes out. Bytes that are no UTF-8 are replaced."""
    text = body.decode("utf-8", "replace")
    reader = _Reader(text)
    reader.feed(text)
    reader.close()
    reader.finish()
    return HtmlPage(
        text=text,
        anchors=tuple(reader.anchors),
        metas=tuple(reader.metas),
        bases=tuple(reader.bases),
        problems=tuple(dict.fromkeys(reader.problems)),
    )


class _Reader(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: list[Anchor] = []
        self.metas: list[tuple[str, str, bool]] = []
        self.bases: list[str] = []
        self.problems: list[str] = []
        self._lines = text.split("\n")
        self._open: list[str] = []
        self._in_head = True
        self._doctype = False
        self._titles: list[str] = []
        self._link: tuple[str, Sequence[tuple[str, str | None]], int] | None = None
        self._text: list[str] = []
        self._head_said = False
        if match := _CONTROL.search(text):
            self.problems.append(f"control character {match[0]!r}")
        if text.startswith("\ufeff"):
            self.problems.append("a byte order mark is no harm to browsers, but to readers of bytes it is")

    # What the parser calls

    def handle_decl(self, decl: str) -> None:
        if decl.lower().split() == ["doctype", "html"] and not self._open and not self.anchors:
            self._doctype = True
        elif decl.lower().startswith("doctype"):
            self._problem(f"doctype {decl!r} is not that of HTML5")
            self._doctype = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if not self._doctype:
            self._problem("no <!DOCTYPE html> before it")
            self._doctype = True
        source = self.get_starttag_text() or ""
        names = [name for name, _ in attrs]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._problem(f"<{tag}> has {name} twice")
        if match := _REFERENCE.search(source):
            self._problem(f"character reference {match[0]} without its semicolon")
        if tag not in _OF_HEAD:
            self._in_head = False
        self._start(tag, dict(reversed(attrs)))
        if tag == "a":
            if self._link:
                self._problem("<a> inside <a>")
                self._end_link()
            self._link, self._text = (source, attrs, self.getpos()[0]), []
        if tag not in _VOID and not _FOREIGN & set(self._open):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID and not _FOREIGN & set(self._open):
            self._problem(f"<{tag}/> does not end itself")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("head", "body", "html"):
            self._in_head = False
        if tag in _VOID or tag not in self._open:
            self._problem(f"stray </{tag}>")
            return
        while (last := self._open.pop()) != tag:
            if last not in _MAY_STAY_OPEN:
                self._problem(f"<{last}> is not closed before </{tag}>")
        if tag == "a":
            self._end_link()

    def handle_data(self, data: str) -> None:
        if self._link:
            self._text.append(data)
        if self._open and self._open[-1] == "title":
            self._titles[-1:] = [self._titles[-1] + data] if self._titles else [data]
        elif data.strip() and (not self._open or self._open[-1] in ("html", "head")):
            self._in_head = False
            if not self._doctype:
                self._problem("no <!DOCTYPE html> before it")
                self._doctype = True

    # What it means

    def _start(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "body":
            self._in_head = False
        elif tag == "title" and not _FOREIGN & set(self._open):
            if self._titles:
                self._problem("a second <title>")
            self._titles.append("")
            if not self._in_head:
                self._problem("<title> outside the head")
        elif tag == "meta" and attributes.get("name"):
            self.metas.append((attributes["name"] or "", attributes.get("content") or "", self._in_head))
        elif tag == "base" and "href" in attributes:
            self.bases.append(attributes["href"] or "")

    def _end_link(self) -> None:
        if self._link is None:
            return
        source, attributes, line = self._link
        end, column = self.getpos()
        rest = self._lines[end - 1][column:] if end <= len(self._lines) else ""
        self.anchors.append(
            Anchor(source=source, attributes=tuple(attributes), text="".join(self._text), line=line, after=rest)
        )
        self._link = None

    def finish(self) -> None:
        """Say what is missing at the end."""
        for tag in self._open:
            if tag not in _MAY_STAY_OPEN:
                self.problems.append(f"<{tag}> is never closed")
        self._end_link()
        if not self._doctype:
            self.problems.append("no <!DOCTYPE html>")
        if not any(title.strip() for title in self._titles):
            self.problems.append("no <title>")

    def _problem(self, text: str) -> None:
        self.problems.append(f"line {self.getpos()[0]}: {text}")
