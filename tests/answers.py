"""A host on loopback that answers every request as it is told, and remembers what it was asked."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Asked(ThreadingHTTPServer):
    """Answers with what `answer(request)` says: a status, headers and a body."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Asked

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def _reply(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        status, told, data = self.server.answer(self)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(data)), "Connection": "close", **told}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        # A body that is shorter than it says ends with the connection.
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = _reply  # noqa: N815


@contextmanager
def server(answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]) -> Iterator[Asked]:
    with Asked(answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()
