"""What a project says of itself, out of core metadata: text of strangers, cut to what fits on a page for people."""

from __future__ import annotations

import re
from email.parser import HeaderParser
from typing import TYPE_CHECKING
from urllib.parse import quote

from mirror.model import About

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

_SUMMARY = 240
_LICENSE = 80
_LABEL = 32
"""Characters of a label (core metadata, Project-URL: "limited to 32 characters")."""
_URL = 500
_LINKS = 12

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_UNKNOWN = ("", "UNKNOWN", "None")
_QUOTED = "!#$%&()*+,/:;=?@[]~"
_CLASSIFIER = "License :: "


def describe(metadata: bytes, filename: str) -> About:
    """Read summary, licence and links from the core metadata of `filename`. Nothing in it is an error."""
    # The headers alone: the description below them may be a megabyte.
    text = _HEAD_END.split(metadata, maxsplit=1)[0].decode("utf-8", "replace")
    headers = HeaderParser().parsestr(text)
    links: dict[str, str] = {}
    for label, url in _links(headers):
        if len(links) < _LINKS and url not in links.values():
            links.setdefault(label, url)
    return About(
        filename=filename,
        summary=_line(_first(headers, "Summary"), _SUMMARY),
        license=_license(headers),
        links=tuple(links.items()),
    )


def _license(headers: Message) -> str:
    """The SPDX expression; before metadata 2.4 a short text, else the classifiers, else how the long text begins."""
    expression = _first(headers, "License-Expression")
    stated = _first(headers, "License").strip()
    if expression or (stated and "\n" not in stated and len(stated) <= _LICENSE):
        return _line(expression or stated, _LICENSE)
    classifiers = [str(value) for value in headers.get_all("Classifier", ())]
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith(_CLASSIFIER)]
    return _line(", ".join(named) or stated.partition("\n")[0], _LICENSE)


def _links(headers: Message) -> Iterator[tuple[str, str]]:
    for value in headers.get_all("Project-URL", ()):
        label, _, url = str(value).partition(",")
        yield from _link(label, url)
    yield from _link("Homepage", _first(headers, "Home-page"))


def _link(label: str, url: str) -> Iterator[tuple[str, str]]:
    """The link, or none when it leads elsewhere than to a page."""
    name = _line(label, _LABEL)
    address = quote(url.strip(), safe=_QUOTED, errors="replace")
    if not name or len(address) > _URL:
        return
    try:
        About(filename="", links=((name, address),))
    except ValueError:
        return
    yield name, address


def _first(headers: Message, name: str) -> str:
    value = str(headers.get(name, ""))
    return "" if value.strip() in _UNKNOWN else value


def _line(text: str, length: int) -> str:
    """Text on one line, cut between words where it is too long."""
    line = _SPACE.sub(" ", text).strip()
    if len(line) <= length:
        return line
    cut, _, _ = line[:length].rpartition(" ")
    return f"{cut or line[: length - 1]}\u2026"
