"""How a host conducts itself, as a single answer of it shows: what installers make of its status and headers."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mirror.credentials import origin
from mirror.layout import JSON_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.clients.base import Answer

ABSENT = (404, 410)
"""What says "not found"; nothing else does (DESIGN rule 4)."""
WHO = (401, 403)
"""What asks for credentials, or for other ones."""

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

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?(\d{1,12})")
_DAY = 24 * 3600
_CACHE_HEADERS = ("age", "x-cache", "x-cache-status", "cf-cache-status")


def odd_page(answer: Answer) -> Iterator[tuple[str, str]]:
    """What is odd about the type and caching of a page, as (code, message)."""
    if answer.media_type not in TYPES:
        kind = answer.media_type or "nothing that is named"
        yield "wrong-type", f"it is sent as {kind}, which installers pass over as no page of an index"
    caching = answer.header("cache-control").lower()
    age = _max_age(caching)
    if "immutable" in caching or (age is not None and age > _DAY):
        yield "wrong-cache", f"it may be kept for long, though it changes: Cache-Control: {caching}"
    elif age is None and not _unkept(caching) and _expires_in(answer) > _DAY:
        yield "wrong-cache", f"it may be kept for long, though it changes: Expires: {answer.header('expires')}"


def odd_file(answer: Answer) -> Iterator[tuple[str, str]]:
    """What is odd about how a file or a sidecar is sent, as (code, message); it was asked for without compression."""
    encoding = answer.header("content-encoding").strip()
    if encoding.lower() not in ("", "identity"):
        yield "encoded", f"it is sent with Content-Encoding: {encoding}, though it was asked for as it is"
    if answer.media_type in ("", "text/html"):
        yield "wrong-type", f"it is sent as {answer.media_type or 'nothing that is named'}, which is no file's type"
    caching = answer.header("cache-control").lower()
    if _unkept(caching) or _max_age(caching) == 0:
        yield "wrong-cache", f"it must not be kept, though it never changes: Cache-Control: {caching}"


def cache_notes(answer: Answer) -> str:
    """What headers say of a cache that the answer came from; empty when they name none."""
    age = answer.header("age").strip()
    hit = any("hit" in answer.header(name).lower() for name in _CACHE_HEADERS)
    if not hit and not (age.isdecimal() and int(age)):
        return ""
    stated = ((name, answer.header(name)) for name in _CACHE_HEADERS)
    return ", ".join(f"{name}: {value}" for name, value in stated if value)


def _max_age(caching: str) -> int | None:
    found = _MAX_AGE.search(caching)
    return int(found[1]) if found else None


def _unkept(caching: str) -> bool:
    return "no-store" in caching or "no-cache" in caching


def _expires_in(answer: Answer) -> float:
    """Seconds from the answer's own time to `Expires`; 0 for a header that is absent or no date (RFC 9111, 5.3)."""
    try:
        expires = parsedate_to_datetime(answer.header("expires"))
        date = answer.header("date")
        sent = parsedate_to_datetime(date) if date else datetime.now(timezone.utc)
        return (expires - sent).total_seconds()
    except (ValueError, TypeError):
        # TypeError: one of them is without a zone, so that they cannot be compared.
        return 0


def varies(answer: Answer) -> bool:
    """Whether it tells caches that another `Accept` gets another answer."""
    return bool({"accept", "*"} & {part.strip().lower() for part in answer.header("vary").split(",")})


def ranged(answer: Answer) -> bool:
    """Whether it says that the file can be read in parts."""
    return "bytes" in {part.strip().lower() for part in answer.header("accept-ranges").split(",")}


def said(answer: Answer) -> str:
    """What came of a request, for people."""
    if answer.failure:
        return answer.failure
    return f"the host answers {answer.status}" + (
        ": it wants other credentials there, or any" if answer.status in WHO else ""
    )


def same_place(url: str, other: str) -> bool:
    """Whether two URLs name the same thing, however they spell the port and the path."""
    return origin(url) == origin(other) and unquote(urlsplit(url).path) == unquote(urlsplit(other).path)


def length(answer: Answer) -> int | None:
    """Bytes, as `Content-Length` states them."""
    stated = answer.header("content-length").strip()
    return int(stated) if stated.isdecimal() else None
