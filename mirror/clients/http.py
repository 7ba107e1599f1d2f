"""The client over HTTP: the user's own proxy, certificates and netrc, as everywhere else."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from mirror.clients.base import FOREVER, LARGEST_BODY, Answer, CutShort, TooLarge
from mirror.web import Interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from _typeshed import SupportsWrite

    from mirror.web import Reply, Web

_PLAIN = {"Accept-Encoding": "identity"}


class HttpClient:
    """Requests through one `Web`, whose connections are kept between them."""

    def __init__(self, web: Web) -> None:
        """Ask through `web`."""
        self._web = web

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
        """One request; see `Client.ask`."""
        since = time.monotonic()
        with self._web.request(method, url, {**_PLAIN, **(headers or {})}, follow=follow) as reply:
            body = bytearray()
            for chunk in _chunks(reply):
                body += chunk
                if len(body) > limit:
                    raise TooLarge(f"{reply.url} is larger than {limit:,} bytes", _answer(reply, length=len(body)))
                if time.monotonic() - since > seconds:
                    raise CutShort(f"{reply.url}: not all of it came in {seconds:.0f} seconds")
            return _answer(reply, body=bytes(body), length=len(body))

    def fetch(self, url: str, into: SupportsWrite[memoryview] | None = None) -> Answer:
        """Read a file for its digest; see `Client.fetch`."""
        digest, length = hashlib.sha256(), 0
        with self._web.request("GET", url, _PLAIN, follow=True) as reply:
            for chunk in _chunks(reply):
                digest.update(chunk)
                length += len(chunk)
                if into is not None:
                    into.write(chunk)
            return _answer(reply, sha256=digest.hexdigest(), length=length)

    def plain_text_refused(self, url: str) -> bool:
        """Whether pip passes over `url`; see `Client.plain_text_refused`."""
        return self._web.plain_text_refused(url)

    def close(self) -> None:
        """Close every connection."""
        self._web.close()


def _chunks(reply: Reply) -> Iterator[memoryview]:
    try:
        yield from reply.chunks()
    except Interrupted as error:
        raise CutShort(error.message) from error


def _answer(reply: Reply, *, body: bytes = b"", sha256: str = "", length: int) -> Answer:
    headers = {name.lower(): reply.headers[name] for name in reply.headers}
    return Answer(url=reply.url, status=reply.status, headers=headers, body=body, sha256=sha256, length=length)
