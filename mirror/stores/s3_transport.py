"""Transport: HTTP to the one host of a bucket, over a pool of connections.

Proxies and certificates are found as botocore finds them (`HTTPS_PROXY`, `NO_PROXY`, `AWS_CA_BUNDLE`), and what goes
wrong on the way is told in one word: `NoAnswer`. Two pools of urllib3 lead there: one for what is small enough to be
held in memory (`s3_connection`), one for files that are sent and objects that are read piece by piece.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

import urllib3
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError, SSLError

from mirror.stores.s3_connection import Connection, SecureConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONNECT_TIMEOUT = 10.0
"""Seconds."""
_BLOCK = 128 << 10
"""Bytes that are read from a file and sent at once."""

_PORTS = {"http": 80, "https": 443}
"""Those that an address need not say."""

_SOCKET = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)
"""A request goes out at once, although its body follows its head; a peer that vanished is noticed."""

_FAULTS = (HTTPError, OSError, ValueError)
"""What urllib3 raises; `ValueError` for a status line or a length that is none."""


@dataclass(eq=False, kw_only=True)
class NoAnswer(Exception):
    """There was no whole answer to a request."""

    message: str
    """Says to which host, and why."""
    carried: bool = True
    """Whether the request may have been carried out all the same."""
    untrusted: bool = False
    """Whether there was no TLS with that host, which another try does not change."""

    def __str__(self) -> str:
        return self.message


class Answer:
    """An answer whose body is still to be read: whole with `read`, or in pieces with `chunks`."""

    def __init__(self, raw: Any, origin: str) -> None:
        self.status: int = raw.status
        self.headers = {name.lower(): str(value) for name, value in raw.headers.itermerged()}
        self._raw = raw
        self._origin = origin

    def read(self) -> bytes:
        """The whole body. Raise `NoAnswer` when it ends too early."""
        try:
            body: bytes = self._raw.data or b""
        except _FAULTS as error:
            raise _no_answer(self._origin, error) from error
        return body

    def chunks(self, size: int) -> Iterator[bytes]:
        """The body, `size` bytes at a time. Raise `NoAnswer` when it ends too early."""
        try:
            yield from self._raw.stream(size)
        except _FAULTS as error:
            raise _no_answer(self._origin, error) from error
        finally:
            # Of one that was not read to its end the rest would be taken for the next answer.
            self._raw.close()


class Transport:
    """Connections to a host. Safe for several threads."""

    def __init__(self, url: str, *, certificates: str | None, connections: int, timeout: float) -> None:
        """Be ready to ask the host of `url`, and keep up to that many connections.

        `certificates` is a file of authorities, None for those that botocore brings. `timeout` is for how many seconds
        the host may keep silent. Raise `ValueError` for an address that is none, `OSError` for certificates that cannot
        be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("the address of the store is none, it should be like https://s3.example")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.host = host if parts.port in (None, _PORTS[parts.scheme]) else f"{host}:{parts.port}"
        """As the header says it that is signed."""
        self._origin = f"{parts.scheme}://{self.host}"
        options: dict[str, Any] = {
            "maxsize": connections,
            "timeout": urllib3.Timeout(connect=_CONNECT_TIMEOUT, read=timeout),
            "socket_options": list(_SOCKET),
            "blocksize": _BLOCK,
        }
        if parts.scheme == "https":
            # Made once, for every connection would read all authorities again.
            options["ssl_context"] = ssl.create_default_context(cafile=certificates or get_cert_path(True))
        proxies = ProxyConfiguration(get_environ_proxies(self._origin))
        proxy = proxies.proxy_url_for(self._origin)
        if proxy:
            options["proxy_headers"] = proxies.proxy_headers_for(proxy)
        # A proxy is told the whole address, unless it only passes on what it cannot read.
        self._prefix = self._origin if proxy and parts.scheme == "http" else ""

        def pool() -> Any:
            manager = urllib3.proxy_from_url(proxy, **options) if proxy else urllib3.PoolManager(**options)
            return manager.connection_from_url(self._origin)

        self._whole, self._stream = pool(), pool()
        secure = parts.scheme == "https"
        self._whole.ConnectionCls = SecureConnection if secure else Connection
        # Waits with a file until the host wants it (`Expect: 100-continue`), which urllib3 by itself does not.
        self._stream.ConnectionCls = AWSHTTPSConnection if secure else AWSHTTPConnection

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | BinaryIO = b"",
        *,
        size: int = 0,
        stream: bool = False,
    ) -> Answer:
        """Send a request; return its answer, with `stream` as soon as that begins.

        `target` is path and query, quoted. A body that is a file has `size` bytes, and none of them is sent when the
        host refuses the request by its head. Raise `NoAnswer` when there is none.
        """
        whole = isinstance(body, bytes) and not stream
        if not isinstance(body, bytes):
            headers = {**headers, "content-length": str(size), "expect": "100-continue"}
        try:
            raw = (self._whole if whole else self._stream).urlopen(
                method,
                self._prefix + target,
                body=body or None,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=whole,
                decode_content=False,
            )
        except _FAULTS as error:
            raise _no_answer(self._origin, error) from error
        return Answer(raw, self._origin)


def _no_answer(origin: str, error: Exception) -> NoAnswer:
    inner = error.__cause__ or next((part for part in reversed(error.args) if isinstance(part, Exception)), error)
    reason = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    # A connection that breaks is no certificate that is refused.
    untrusted = isinstance(error, SSLError) and not isinstance(inner, ssl.SSLEOFError)
    unmade = isinstance(error, (NewConnectionError, ConnectTimeoutError, ProxyError))
    return NoAnswer(
        message=f"no answer from {origin}: {reason}", carried=not (untrusted or unmade), untrusted=untrusted
    )
