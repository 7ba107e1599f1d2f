"""The client over HTTP: the user's own proxy, certificates and netrc, as everywhere else."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mirror.clients.base import LARGEST_BODY, Answer
from mirror.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO

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
    ) -> Answer:
        """One request; see `Client.ask`."""
        with self._web.request(method, url, {**_PLAIN, **(headers or {})}, follow=follow) as reply:
            body = bytearray()
            for chunk in reply.chunks():
                body += chunk
                if len(body) > limit:
                    raise RemoteError(f"{reply.url} is larger than {limit:,} bytes")
            return _answer(reply, body=bytes(body), length=len(body))

    def fetch(self, url: str, into: IO[bytes] | None = None) -> Answer:
        """Read a file for its digest; see `Client.fetch`."""
        digest, length = hashlib.sha256(), 0
        with self._web.request("GET", url, _PLAIN, follow=True) as reply:
            for chunk in reply.chunks():
                digest.update(chunk)
                length += len(chunk)
                if into is not None:
                    into.write(chunk)
            return _answer(reply, sha256=digest.hexdigest(), length=length)

    def close(self) -> None:
        """Close every connection."""
        self._web.close()


def _answer(reply: Reply, *, body: bytes = b"", sha256: str = "", length: int) -> Answer:
    headers = {name.lower(): value for name, value in reply.headers.items()}
    return Answer(url=reply.url, status=reply.status, headers=headers, body=body, sha256=sha256, length=length)
