"""What was seen of an index: pages, files, and how the host answered. The facts that every check judges."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from functools import cached_property
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from mirror.doctor.page import HtmlPage, read_page
from mirror.doctor.values import is_file, number, resolved, segment, split
from mirror.doctor.wire import HTML, V1_HTML, V1_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

    from mirror.doctor.wire import Exchange


@dataclass(frozen=True, kw_only=True)
class Page:
    """An answer that should be a page, read without mercy: as HTML, as JSON, or as neither."""

    exchange: Exchange

    @property
    def url(self) -> str:
        """Where it came from; relative links start here."""
        return self.exchange.place

    @cached_property
    def html(self) -> HtmlPage | None:
        """The HTML page, if that is what was answered."""
        if self.exchange.status != 200 or self.exchange.media_type not in (HTML, V1_HTML):
            return None
        return None if self.exchange.body is None else read_page(self.exchange.body)

    @cached_property
    def document(self) -> Any:
        """The JSON document, if that is what was answered and can be parsed; otherwise None."""
        if self.exchange.status != 200 or self.exchange.media_type != V1_JSON:
            return None
        try:
            return json.loads(self.exchange.body or b"")
        except (ValueError, RecursionError):
            return None

    @property
    def data(self) -> Mapping[str, Any]:
        """The JSON document, if it is an object; otherwise empty."""
        return self.document if isinstance(self.document, dict) else {}

    def entries(self, key: str) -> list[dict[str, Any]]:
        """The objects in a list of the document."""
        found = self.data.get(key)
        return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """The files that it lists, in whichever form it is, as far as they can be understood."""
        found = self._of_json() if self.document is not None else self._of_html()
        return tuple(link for link in found if link.filename and link.url)

    def _of_json(self) -> Iterator[Link]:
        for entry in self.entries("files"):
            hashes = entry.get("hashes")
            size = entry.get("size")
            yield Link(
                filename=_text(entry.get("filename")),
                href=_text(entry.get("url")),
                url=resolved(self.url, _text(entry.get("url"))),
                sha256=_text(hashes.get("sha256")) if isinstance(hashes, dict) else "",
                size=size if isinstance(size, int) and not isinstance(size, bool) else None,
                sidecar=_sidecar(entry.get("core-metadata", entry.get("dist-info-metadata"))),
                requires_python=_text(entry.get("requires-python")),
                # A list that clients read as a truth: an empty reason counts as none for most of them.
                yanked=bool(entry.get("yanked")),
                signed=entry.get("gpg-sig") is True,
            )

    def _of_html(self) -> Iterator[Link]:
        for anchor in self.html.anchors if self.html else ():
            address, _, fragment = anchor.href.partition("#")
            yield Link(
                filename=segment(address) if is_file(segment(address)) else "",
                href=address,
                url=resolved(self.html.base_of(self.url) if self.html else self.url, address),
                sha256=fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else "",
                size=number(anchor.get("data-size") or ""),
                sidecar=_sidecar(anchor.get("data-core-metadata", anchor.get("data-dist-info-metadata"))),
                requires_python=anchor.get("data-requires-python") or "",
                yanked=anchor.has("data-yanked"),
                signed=anchor.get("data-gpg-sig") == "true",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A file as a page lists it."""

    filename: str
    href: str
    """As it stands on the page, without fragment."""
    url: str
    """Absolute, without fragment; empty for what is no address."""
    sha256: str = ""
    size: int | None = None
    sidecar: str | None = None
    """Digest (hex) of the `.metadata` that is offered, empty when none is stated; None when none is offered."""
    requires_python: str = ""
    yanked: bool = False
    signed: bool = False

    @property
    def wheel(self) -> bool:
        """Whether it is a wheel."""
        return self.filename.endswith(".whl")


@dataclass(frozen=True, kw_only=True)
class Look:
    """A closer look at one project's page: asked as each installer asks, and in odd ways."""

    installers: Mapping[str, Exchange]
    """By the installer's name."""
    anything: Exchange
    latest: Exchange
    bare: Exchange
    """Without the slash at the end; no redirect was followed."""
    respelled: Exchange | None
    """With the name in another spelling; None for names that have no other."""
    repeated: Exchange
    """The page as HTML once more, as a script in a browser asks for it."""


@dataclass(frozen=True, kw_only=True)
class Revalidation:
    """A page that is asked for again by who has it."""

    page: Exchange
    answer: Exchange | None
    """With `If-None-Match` and the page's ETag; None when it has none."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """One project's pages."""

    name: str
    """Normalized."""
    as_html: Page
    as_json: Page
    """The answers to who wants nothing but HTML, and nothing but JSON."""
    look: Look | None = None

    @property
    def pages(self) -> tuple[Page, ...]:
        """Both."""
        return self.as_html, self.as_json

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Its files, from the form that says most."""
        return self.as_json.links or self.as_html.links


@dataclass(frozen=True, kw_only=True)
class File:
    """One file, asked for as installers ask for files."""

    project: str
    link: Link
    head: Exchange
    there: Exchange
    """The same, or what came to a GET of its first byte where HEAD is refused."""
    whole: Exchange | None = None
    """All of it, without its body; None when it is too large to be read here."""
    start: bytes = b""
    """Its first bytes."""
    sha256: str = ""
    """Of the bytes that came, whole and undecoded."""
    length: int = 0
    part: Exchange | None = None
    """Its first bytes, with `Range`, as a script in a browser asks for them; None when it is empty."""
    requoted: Exchange | None = None
    """As pip spells its address; None when that is how the page spells it."""
    sidecar: Exchange | None = None
    """Its `.metadata`; None when none is offered."""
    signature: Exchange | None = None
    """Its `.asc`; None when none is offered."""
    metadata: bytes | None = None
    """The core metadata inside the file; None when it was not read, or has none that can be trusted."""

    @cached_property
    def fields(self) -> Message:
        """The fields of `metadata`."""
        return BytesHeaderParser().parsebytes(self.metadata or b"")


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Everything that was seen of an index."""

    base: str
    """The URL of the project list, without credentials, ending in a slash."""
    as_html: Page
    as_json: Page
    """The project list."""
    bare: Exchange | None
    """The project list without the slash, no redirect followed; None for one at the root of its host."""
    unknown: Mapping[str, Exchange]
    """A project that cannot exist, by the installer that asks."""
    projects: tuple[Project, ...]
    """Those that were sampled, sorted."""
    files: tuple[File, ...]
    """Those that were looked at closely."""
    heads: tuple[tuple[str, Link, Exchange], ...]
    """Other listed files of these projects, with their project, by HEAD (GET where that is refused)."""
    sidecar_heads: tuple[tuple[Link, Exchange], ...] = ()
    """The metadata of those, by HEAD."""
    revalidations: tuple[Revalidation, ...] = ()
    """The lists, and the pages of the projects that were looked at closely."""
    unlisted: tuple[tuple[str, Exchange], ...] = ()
    """What sampled files require and the list does not name, asked for all the same."""
    requests: int = 0
    size: int = 0
    """Bytes that came."""
    exchanges: tuple[Exchange, ...] = field(default=(), repr=False)
    """All of them, without bodies."""

    def elsewhere(self, exchange: Exchange) -> str:
        """The host that a question for something below the list was forwarded to; empty when it stayed there."""
        ours = {self.base, *(page.url.removesuffix("index.html") for page in self.lists)}
        return "" if exchange.place.startswith(tuple(ours)) else split(exchange.place).netloc

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every project that is listed, normalized, sorted."""
        return tuple(sorted({*list_names(self.as_html), *list_names(self.as_json)}))

    @property
    def lists(self) -> tuple[Page, ...]:
        """The project list in both forms."""
        return self.as_html, self.as_json

    @cached_property
    def html_pages(self) -> tuple[tuple[Page, HtmlPage], ...]:
        """Project pages that are HTML."""
        pages = (page for project in self.projects for page in project.pages)
        return tuple((page, page.html) for page in pages if page.html)

    @cached_property
    def json_pages(self) -> tuple[Page, ...]:
        """Project pages that are JSON objects, each once."""
        found = {page.url: page for project in self.projects for page in project.pages if page.data}
        return tuple(found.values())

    @cached_property
    def looks(self) -> tuple[tuple[Project, Look], ...]:
        """Projects that were looked at closely."""
        return tuple((project, project.look) for project in self.projects if project.look)


def list_names(page: Page) -> Iterator[str]:
    """The projects that a list names, normalized, in its order."""
    if page.document is not None:
        names = [_text(entry.get("name")) for entry in page.entries("projects")]
    else:
        names = [project_of(anchor.href) for anchor in (page.html.anchors if page.html else ())]
    yield from (canonicalize_name(name) for name in names if name)


def project_of(href: str) -> str:
    """The name that a link on a list leads to, as it is spelled there; empty for one up, to itself, or to a file."""
    # Some lists lead to the page's file instead of to its folder.
    address = href.partition("#")[0].partition("?")[0].removesuffix("index.html")
    name = segment(address)
    return "" if name in (".", "..") or (is_file(name) and not address.endswith("/")) else name


def _text(value: object) -> str:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _sidecar(value: object) -> str | None:
    if isinstance(value, dict):
        return _text(value.get("sha256"))
    if isinstance(value, str):
        return value.removeprefix("sha256=") if value.startswith("sha256=") else "" if value != "false" else None
    return "" if value is True else None
