"""How a host conducts itself, as a single answer of it shows: what installers make of its status and headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mirror.layout import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.clients.base import Answer

ABSENT = (404, 410)
"""What says "not found"; nothing else does (DESIGN rule 4)."""
WHO = (401, 403)
"""What asks for credentials, or for other ones."""
NO_METHOD = (405, 501)

HTML, JSON = range(2)
"""The two forms of a page."""
FORMS = ("HTML", "JSON")
ACCEPT = (
    "text/html",
    # As pip asks (standards section 2.1).
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
)
"""How installers ask for each form."""
TYPES = {"text/html": HTML, "application/vnd.pypi.simple.v1+html": HTML, JSON_TYPE: JSON}
"""In which form a page is, by its media type. Installers take no other type (standards U7)."""

_MAX_AGE = re.compile(r"max-age=(\d{1,12})")
_DAY = 24 * 3600
_CACHE_HEADERS = ("age", "x-cache", "x-cache-status", "cf-cache-status")


def odd_page(answer: Answer) -> Iterator[tuple[str, str]]:
    """What is odd about the type and caching of a page, as (code, message)."""
    if answer.media_type not in TYPES:
        kind = answer.media_type or "nothing that is named"
        yield "wrong-type", f"it is sent as {kind}, which installers pass over as no page of an index"
    caching = answer.header("cache-control").lower()
    age = _MAX_AGE.search(caching)
    if "immutable" in caching or (age and int(age[1]) > _DAY):
        yield "wrong-cache", f"it may be kept for long, though it changes: Cache-Control: {caching}"


def odd_file(answer: Answer) -> Iterator[tuple[str, str]]:
    """What is odd about how a file or a sidecar is sent, as (code, message); it was asked for without compression."""
    encoding = answer.header("content-encoding").strip()
    if encoding.lower() not in ("", "identity"):
        yield "encoded", f"it is sent with Content-Encoding: {encoding}, though it was asked for as it is"
    if answer.media_type in ("", "text/html"):
        yield "wrong-type", f"it is sent as {answer.media_type or 'nothing that is named'}, which is no file's type"
    caching = answer.header("cache-control").lower()
    if "no-store" in caching or "no-cache" in caching:
        yield "wrong-cache", f"it must not be kept, though it never changes: Cache-Control: {caching}"


def cache_notes(answer: Answer) -> str:
    """What headers say of a cache that the answer came from; empty when they name none."""
    age = answer.header("age").strip()
    hit = any("hit" in answer.header(name).lower() for name in _CACHE_HEADERS)
    if not hit and not (age.isdecimal() and int(age)):
        return ""
    stated = ((name, answer.header(name)) for name in _CACHE_HEADERS)
    return ", ".join(f"{name}: {value}" for name, value in stated if value)


def told(answer: Answer) -> str:
    """What to add to the status of an answer; empty when it speaks for itself."""
    return ": it wants other credentials there, or any" if answer.status in WHO else ""


def length(answer: Answer) -> int | None:
    """Bytes, as `Content-Length` states them."""
    stated = answer.header("content-length").strip()
    return int(stated) if stated.isdecimal() else None
