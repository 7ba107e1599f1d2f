"""A connection of HTTP/1.1 for requests and answers that are held whole in memory.

urllib3 makes it and keeps it: address, proxy, TLS, timeouts and when it is used again are as for every connection in
its pools. Only the words are ours. What the standard library needs for the headers of one small upload, whose answer it
reads with the parser for e-mail, is more than all else that the upload takes (RFC 9112; folded lines, section 5.2, are
joined).
"""

from __future__ import annotations

from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any, BinaryIO

from urllib3 import HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_LINE = 1 << 16
_MOST_LINES = 200
_JOINED = 1 << 16
"""Bytes up to which a body goes out with its head in one piece."""
_BODILESS = frozenset({204, 304})


class _Words:
    """What both kinds of connections have in common; `sock`, `timeout`, `connect` and `close` are urllib3's."""

    sock: Any
    timeout: Any
    _asked: str
    _reader: BinaryIO | None = None

    def request(self, method: str, url: str, body: bytes | None = None, headers: Any = None, **_options: Any) -> None:
        """Send a request. Raise `ValueError` for a line that would be two, `OSError` when it cannot be sent."""
        head = _head(method, url, headers or {}, body)
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self.sock.settimeout(self.timeout)
        self._asked = method
        if body and len(body) <= _JOINED:
            self.sock.sendall(head + body)
            return
        self.sock.sendall(head)
        if body:
            self.sock.sendall(body)

    def getresponse(self) -> HTTPResponse:
        """Read the answer whole.

        Raise `http.client.HTTPException` when it ends too early or is none, `ValueError` for a length that is none,
        `OSError` for the connection.
        """
        self.sock.settimeout(self.timeout)
        if self._reader is None:
            self._reader = self.sock.makefile("rb")
        reader = self._reader
        status = 100
        while 100 <= status < 200:
            version, status, reason = _status(reader)
            headers = _headers(reader)
        told = {name.lower(): value for name, value in headers}
        body, whole = _body(reader, told) if self._asked != "HEAD" and status not in _BODILESS else (b"", True)
        if not whole or version != "HTTP/1.1" or "close" in told.get("connection", "").lower():
            self.close()
        return HTTPResponse(
            body=body,
            headers=HTTPHeaderDict(headers),
            status=status,
            reason=reason,
            decode_content=False,
            request_method=self._asked,
        )

    def close(self) -> None:
        """End it; the next request makes it anew."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        super().close()  # type: ignore[misc]


class Connection(_Words, HTTPConnection):  # type: ignore[misc] # bodies that are no bytes have other connections
    """In plain text."""


class SecureConnection(_Words, HTTPSConnection):  # type: ignore[misc]
    """Through TLS."""


def _head(method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body or method in ("PUT", "POST"):
        lines.append(f"Content-Length: {len(body or b'')}")
    text = "\r\n".join((*lines, "", ""))
    if text.count("\n") != len(lines) + 1 or text.count("\r") != len(lines) + 1:
        raise ValueError("a header of more than one line")
    return text.encode("ascii")


def _line(reader: BinaryIO) -> bytes:
    line = reader.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise IncompleteRead(line)
    return line


def _status(reader: BinaryIO) -> tuple[str, int, str]:
    line = reader.readline(_LONGEST_LINE)
    if not line:
        raise RemoteDisconnected("the connection was closed without an answer")
    version, _, rest = line.decode("latin-1").rstrip("\r\n").partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
        raise BadStatusLine(line[:80].decode("latin-1"))
    return version, int(code), reason


def _headers(reader: BinaryIO) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for _ in range(_MOST_LINES):
        line = _line(reader).decode("latin-1")
        name, colon, value = line.partition(":")
        if colon and line[0] not in " \t":
            found.append((name.strip(), value.strip()))
        elif not line.strip():
            return found
        elif line[0] in " \t" and found:
            found[-1] = found[-1][0], f"{found[-1][1]} {line.strip()}"
        else:
            raise BadStatusLine(line[:80])
    raise BadStatusLine("more headers than any answer has")


def _body(reader: BinaryIO, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """The body, and whether its end was told, so that another answer can follow it."""
    coding = headers.get("transfer-encoding", "").lower()
    if coding == "chunked":
        return b"".join(_chunks(reader)), True
    if coding:
        raise ValueError(f"a body in {coding}")
    if "content-length" in headers:
        return _exactly(reader, int(headers["content-length"])), True
    return reader.read(), False


def _chunks(reader: BinaryIO) -> list[bytes]:
    found = []
    while size := int(_line(reader).partition(b";")[0], 16):
        found.append(_exactly(reader, size))
        _line(reader)
    _headers(reader)
    return found


def _exactly(reader: BinaryIO, size: int) -> bytes:
    if size < 0:
        raise ValueError("a length below zero")
    data = reader.read(size)
    if len(data) < size:
        raise IncompleteRead(data, size - len(data))
    return data
