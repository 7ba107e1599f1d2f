"""Requests as installers make them, and what became of them, redirects and all."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from mirror.doctor.values import number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.clients.base import Answer

V1_JSON = "application/vnd.pypi.simple.v1+json"
V1_HTML = "application/vnd.pypi.simple.v1+html"
HTML = "text/html"

PAGE_LIMIT = 64 << 20
"""Bytes of a page, sent or unpacked; the largest project list in the world has half of that."""

REDIRECTS = (301, 302, 303, 307, 308)

# As seen on the wire: pip 26.3, uv 0.13.8, Poetry 2.5.1.
PIP = {"Accept": f"{V1_JSON}, {V1_HTML}; q=0.1, {HTML}; q=0.01", "Accept-Encoding": "gzip, deflate"}
UV = {"Accept": f"{V1_JSON}, {V1_HTML};q=0.2, {HTML};q=0.01", "Accept-Encoding": "gzip, deflate, zstd"}
POETRY = {"Accept": f"{V1_JSON}, */*;q=0.1", "Accept-Encoding": "gzip, deflate, zstd"}
INSTALLERS = {"pip": PIP, "uv": UV, "Poetry": POETRY}

AS_HTML = {"Accept": HTML}
AS_JSON = {"Accept": V1_JSON}
AS_LATEST = {"Accept": "application/vnd.pypi.simple.latest+json"}
AS_ANYTHING = {"Accept": "*/*"}
OTHER_SITE = "https://browser.example"
FROM_BROWSER = {"Origin": OTHER_SITE}
"""What a browser adds where a script of another site asks; a host may answer to that alone."""


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and what it came to: every answer on the way, or what went wrong."""

    url: str
    """What was asked for, without credentials."""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """What was asked with, beside the usual."""
    hops: tuple[Answer, ...] = ()
    """Redirects, and the last answer."""
    trouble: str = ""
    """Why there is no (whole) answer, or why it was not followed; empty when all went well."""
    cut: bool = False
    """Whether the body was larger than what was wanted of it, and was not read."""
    told: str = ""
    """`digest` of a body that was dropped."""

    @property
    def status(self) -> int:
        """Of the last answer; 0 when there is none."""
        return self.hops[-1].status if self.hops and not self.trouble else 0

    @property
    def place(self) -> str:
        """Where the last answer came from."""
        return self.hops[-1].url if self.hops else self.url

    @property
    def media_type(self) -> str:
        """The content type without parameters."""
        return self.hops[-1].media_type if self.hops else ""

    @property
    def raw(self) -> bytes:
        """The body as it was sent."""
        return self.hops[-1].body if self.hops else b""

    @property
    def there(self) -> bool:
        """Whether it was answered with what was asked for, or a part of that."""
        return self.status in (200, 206)

    @property
    def coding(self) -> str:
        """The content encoding, in lower case; empty for a body that is sent as it is."""
        stated = self.header("content-encoding").strip().lower()
        return "" if stated == "identity" else stated

    @property
    def size(self) -> int | None:
        """Bytes of the whole, as the headers state them; None when they do not."""
        stated = self.header("content-length")
        return number(self.header("content-range").rpartition("/")[2] if self.status == 206 else stated)

    def header(self, name: str) -> str:
        """A header of the last answer, or nothing."""
        return self.hops[-1].header(name) if self.hops else ""

    @cached_property
    def body(self) -> bytes | None:
        """The body decoded; None when it is not in an encoding that is read here, or larger than a page may be."""
        return decoded(self.raw, self.header("content-encoding"))

    @cached_property
    def digest(self) -> str:
        """The sha256 (hex) of `body`; empty where there is none."""
        return self.told or ("" if self.body is None else sha256(self.body).hexdigest())

    def without_bodies(self) -> Exchange:
        """What was asked and how it was answered."""
        return replace(self, hops=tuple(replace(hop, body=b"") for hop in self.hops))

    def light(self) -> Exchange:
        """The same for those who only compare: without bodies, and with the digest of a page."""
        return replace(self.without_bodies(), told=self.digest if self.status == 200 else "")

    @property
    def said(self) -> str:
        """The answer in a few words."""
        if self.trouble:
            return self.trouble
        way = "".join(f"{hop.status} → " for hop in self.hops[:-1])
        return f"{way}{self.status}"


def decoded(body: bytes, encoding: str) -> bytes | None:
    """Unpack a body (RFC 9110, 8.4.1); None for an encoding that is not known, or for what is not in it."""
    names = [part.strip().lower() for part in encoding.split(",") if part.strip()]
    unpacked: bytes | None = body
    for name in reversed(names):
        if name not in ("identity", "gzip", "x-gzip", "deflate"):
            return None
        if unpacked is not None and name != "identity":
            unpacked = _inflated(unpacked)
    return unpacked


def _inflated(body: bytes) -> bytes | None:
    """What is compressed, in one piece or in several that follow each other; None when it is not, or is too large."""
    pieces, room = [], PAGE_LIMIT
    while body:
        # 47: either of gzip's and zlib's own header, whichever is there.
        unpacker = zlib.decompressobj(47)
        try:
            # One byte more than there is room for tells the two apart.
            pieces.append(unpacker.decompress(body, room + 1))
        except zlib.error:
            return None
        room -= len(pieces[-1])
        if room < 0 or not unpacker.eof:
            return None
        body = unpacker.unused_data
    return b"".join(pieces) if pieces else None
