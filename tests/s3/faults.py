"""A proxy in front of an S3 server that counts requests, cuts the line, loses replies, throttles and fails.

Host and path are passed on as they are, so signatures survive.
"""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.s3.servers import Server

CUT = "cut"
"""The line goes dead before the server hears of the request."""
LOST = "lost"
"""The server does what it was asked, and nobody hears of it."""

Verdict = str | int | None
"""What becomes of a request: `CUT`, `LOST`, a status to answer with, or None to pass it on."""

_CODES = {
    400: "XMinioInvalidObjectName",
    429: "TooManyRequests",
    409: "ConditionalRequestConflict",
    500: "InternalError",
    503: "SlowDown",
}


class Proxy(ThreadingHTTPServer):
    """Decides about each request with `judge(number, method, path)`, where `number` counts from 1."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, server: Server) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(server.endpoint)
        self.judge: Callable[[int, str, str], Verdict] = lambda number, method, path: None
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def verdict(self, method: str, path: str) -> Verdict:
        with self.lock:
            self.requests.append((method, path))
            return self.judge(len(self.requests), method, path)

    def reset(self) -> None:
        with self.lock:
            self.requests.clear()
            self.judge = lambda number, method, path: None

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Proxy

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def handle_expect_100(self) -> bool:
        # The body is wanted in any case; the answer comes with the reply to it.
        self.send_response_only(100)
        self.end_headers()
        return True

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        verdict = self.server.verdict(self.command, self.path)
        if verdict == CUT:
            self.close_connection = True
            return
        if isinstance(verdict, int):
            self._refuse(verdict)
            return
        status, headers, data = self._ask(body)
        if verdict == LOST:
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", str(len(data)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = self.server.upstream
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _refuse(self, status: int) -> None:
        data = f"<Error><Code>{_CODES[status]}</Code><Message>Try again.</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def faulty(server: Server) -> Iterator[Proxy]:
    """Run a proxy for the block."""
    proxy = Proxy(server)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
