"""The HTML form of the simple repository API: PEP 503, 592, 629, 658, 714 and 792 (frozen at 1.4 by PEP 833).

Pages are read as browsers read them and written for the most fragile reader there is (standards H19).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

from mirror.filenames import is_artifact
from mirror.simple import links
from mirror.simple.page import API_VERSION, PageError, PageFile, ProjectPage

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from selectolax.lexbor import LexborHTMLParser

_SPECIAL = re.compile(r"[&<>\"'\t\n\r\f]")
_ESCAPES = {
    **{"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"},
    **{"\t": "&#9;", "\n": "&#10;", "\f": " ", "\r": " "},
}
# What HTML may not hold, not even as a numeric reference: controls, surrogates and noncharacters.
_PLANES_END = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
_UNPRINTABLE = re.compile(f"[\x00-\x20\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES_END}]+")


def parse(body: bytes, url: str, name: str, wanted: Container[str] | None = None) -> ProjectPage:
    """Read the page of project `name` that was found at `url`; with `wanted` only the files of those names.

    Links that are neither a wheel nor an sdist, or that lead to something that cannot be fetched, are left out.
    `url` is where the page really came from, after redirects. Raise `PageError` for what is no page of version 1.x.
    """
    tree, meta = _document(body)
    base = _base(tree, url)
    files = []
    for anchor in tree.tags("a"):
        href = anchor.attrs.get("href")
        if not href:
            continue
        # Only the filename of each link is needed to pass over the thousands that nobody wants.
        address, _, fragment = href.strip().partition("#")
        filename = unquote(address.partition("?")[0].rpartition("/")[2])
        if not is_artifact(filename):
            # PEP 503: the anchor text "MUST match the final path component"; here only the text is a filename.
            filename = anchor.text().strip()
        if (wanted is not None and filename not in wanted) or not is_artifact(filename):
            continue
        resolved = links.resolve(base, address)
        if resolved is not None:
            files.append(_file(filename, resolved, fragment, anchor.attributes))
    return ProjectPage(
        name=name,
        files=tuple(files),
        status=meta.get("pypi:project-status") or "active",
        status_reason=meta.get("pypi:project-status-reason", ""),
    )


def parse_list(body: bytes) -> tuple[str, ...]:
    """The names that a project list shows, as it spells and orders them. Raise `PageError` as `parse` does."""
    tree, _ = _document(body)
    return tuple(text for anchor in tree.tags("a") if (text := anchor.text().strip()))


def list_links(body: bytes, url: str) -> Iterator[tuple[str, str | None]]:
    """Every link of a project list that was found at `url`: its text, and where it leads to.

    The address is None for what cannot be fetched. Raise `PageError` as `parse` does.
    """
    tree, _ = _document(body)
    base = _base(tree, url)
    for anchor in tree.tags("a"):
        yield anchor.text().strip(), links.resolve(base, anchor.attributes.get("href") or "")


def _document(body: bytes) -> tuple[LexborHTMLParser, Mapping[str, str]]:
    if not body.strip():
        raise PageError("the page is empty")
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - whoever writes pages needs it for none

    tree = LexborHTMLParser(body)
    tags = [tag.attributes for tag in tree.tags("meta")]
    meta = {key: tag.get("content") or "" for tag in reversed(tags) if (key := tag.get("name"))}
    # PEP 629: without the tag a page is version 1.0.
    links.check_version(meta.get("pypi:repository-version", "1.0"))
    return tree, meta


def _base(tree: LexborHTMLParser, url: str) -> str:
    # HTML, 4.2.3: what counts is "the first base element in the document with an href attribute".
    hrefs = (tag.attributes["href"] for tag in tree.tags("base") if "href" in tag.attributes)
    href = next(hrefs, "") or ""
    try:
        return urljoin(url, href.strip())
    except ValueError as error:
        raise PageError(f"base {href!r} is not a URL: {error}") from error


def _file(filename: str, url: str, fragment: str, attributes: Mapping[str, str | None]) -> PageFile:
    metadata = links.first(attributes, "data-core-metadata", "data-dist-info-metadata")
    stated = metadata if isinstance(metadata, str) else ""
    digest = links.strongest(links.fragment_digests(stated))
    return PageFile(
        filename=filename,
        url=url,
        digests=links.fragment_digests(fragment),
        size=links.size(attributes.get("data-size")),
        upload_time=links.upload_time(attributes.get("data-upload-time")),
        requires_python=(attributes.get("data-requires-python") or "").strip(),
        # PEP 592: the attribute "may have no value, or may have an arbitrary string"; present is yanked.
        yanked=(attributes["data-yanked"] or "") if "data-yanked" in attributes else None,
        core_metadata=digest,
        bare_metadata=digest is None and (stated == "true" or "=" in stated),
    )


_HEAD = (
    "<!DOCTYPE html>\n"
    '<html lang="en">\n'
    "<head>\n"
    '<meta charset="utf-8">\n'
    f'<meta name="pypi:repository-version" content="{API_VERSION}">\n'
)
_TAIL = "</body>\n</html>\n"


def render_project(page: ProjectPage) -> bytes:
    """The page as HTML, its files in the order given (standards H1-H19).

    ASCII only (U8), one anchor per line, `<a href=` first, double quotes, every attribute valued (H19).
    """
    name = escape(page.name)
    lines = [_HEAD, _status(page), f"<title>Links for {name}</title>\n</head>\n<body>\n<h1>Links for {name}</h1>\n"]
    lines += [_anchor(file) for file in page.files]
    lines.append(_TAIL)
    return _ascii("".join(lines))


def render_list(names: Sequence[str]) -> bytes:
    """The project list as HTML, from normalized names, in the order given (standards H3)."""
    lines = [_HEAD, "<title>Simple index</title>\n</head>\n<body>\n<h1>Simple index</h1>\n"]
    lines += [f'<a href="{name}/">{name}</a><br>\n' for name in map(escape, names)]
    lines.append(_TAIL)
    return _ascii("".join(lines))


def escape(text: str) -> str:
    """Text for an element or a double-quoted attribute, on one line, with the entities that every reader knows."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text) if _SPECIAL.search(text) else text


def plain(text: str) -> str:
    """Text on one line, without what HTML cannot hold, so that every form of a page says the same."""
    return _UNPRINTABLE.sub(" ", text).strip()


def _status(page: ProjectPage) -> str:
    if page.status == "active" and not page.status_reason:
        return ""
    lines = [f'<meta name="pypi:project-status" content="{escape(page.status)}">\n']
    if page.status_reason:
        lines.append(f'<meta name="pypi:project-status-reason" content="{escape(page.status_reason)}">\n')
    return "".join(lines)


def _anchor(file: PageFile) -> str:
    fragment = "".join(f"#{digest.algorithm}={digest.hex}" for digest in file.digests[:1])
    parts = [f'<a href="{escape(file.url)}{fragment}"']
    if file.requires_python:
        parts.append(f' data-requires-python="{escape(file.requires_python)}"')
    if file.core_metadata:
        # Never `data-dist-info-metadata` as well: pip 22.3-23.1 reads it and then rejects every requirement
        # that is not spelled canonically (standards H11).
        parts.append(f' data-core-metadata="{file.core_metadata.algorithm}={file.core_metadata.hex}"')
    if file.yanked is not None:
        parts.append(f' data-yanked="{escape(file.yanked)}"')
    if file.size is not None:
        parts.append(f' data-size="{file.size}"')
    if file.upload_time:
        parts.append(f' data-upload-time="{escape(file.upload_time)}"')
    parts.append(f">{escape(file.filename)}</a><br>\n")
    return "".join(parts)


def _ascii(text: str) -> bytes:
    # Clients that take `text/html` for ISO-8859-1 read numeric references alike (standards U8).
    return text.encode("ascii", "xmlcharrefreplace")
