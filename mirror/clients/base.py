"""The client port: one request, and the answer exactly as it came over the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mirror.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import SupportsWrite

LARGEST_BODY = 1 << 31
"""Bytes; nobody's wheel is larger, and a host that never stops sending must not fill the memory."""

FOREVER = float("inf")


class CutShort(RemoteError):
    """The host began to answer, and only half a body came."""


class TooLarge(RemoteError):
    """The body is larger than was asked for."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer
        """What came before it: status and headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a host answered; nothing followed, nothing decoded."""

    url: str
    """What was asked for, or where redirects that were followed led to; absolute, without credentials."""
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case; several of one name are joined by `, `."""
    body: bytes = b""
    """As it was sent: whoever asked for `gzip` may find it here."""
    sha256: str = ""
    """Hex digest of the body of a `fetch`, which does not keep the body itself."""
    length: int = 0
    """Bytes of the body that really came."""
    failure: str = ""
    """Why there is no answer, and the status is 0; for those who ask on after a `RemoteError`."""
    cut: bool = False
    """Whether that was a `CutShort`."""

    def header(self, name: str) -> str:
        """A header's value, or nothing."""
        return self.headers.get(name.lower(), "")

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()


class Client(Protocol):
    """Requests to a site. Safe for several threads."""

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        limit: int = LARGEST_BODY,
        follow: bool = False,
        seconds: float = FOREVER,
    ) -> Answer:
        """One request. `Accept-Encoding` is `identity` unless `headers` say otherwise.

        Redirects are answers, unless `follow` goes after them as installers do. Any status is an answer. Raise
        `RemoteError` when there is none, `TooLarge` when the body is larger than `limit` bytes, `CutShort` for half a
        body, or for one that takes longer than `seconds`.
        """

    def fetch(self, url: str, into: SupportsWrite[memoryview] | None = None) -> Answer:
        """Read a whole file, following redirects as installers do, and keep only its length and sha256.

        With `into` the bytes are written there. Raise `RemoteError` when there is no answer, `CutShort` for half a
        body.
        """

    def plain_text_refused(self, url: str) -> bool:
        """Whether pip passes over `url`: it is plain http, to a host that is neither this machine nor trusted."""
