"""The client of a served site: one request, and the answer as it came."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from mirror.clients.http import HttpClient
from mirror.credentials import Credentials
from mirror.downloads.configuration import Network
from mirror.errors import RemoteError
from mirror.web import Web

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY = b"0123456789" * 1000


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/moved":
            self._send(301, b"", Location="/whole")
        elif self.path == "/zipped":
            self._send(200, gzip.compress(BODY), Content_Encoding="gzip")
        elif self.path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[:100])
            self.close_connection = True
        elif self.path == "/asked":
            self._send(200, self.headers.get("Accept-Encoding", "").encode(), X_Method=self.command)
        else:
            self._send(200 if self.path == "/whole" else 404, BODY)

    do_HEAD = do_GET  # noqa: N815

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient(Web(Network(retries=0, timeout=5), Credentials(), {}, connections=2))
    yield client
    client.close()


def test_an_answer_is_what_came_over_the_wire(site: str, client: HttpClient) -> None:
    answer = client.ask(f"{site}/zipped", headers={"Accept-Encoding": "gzip"})
    assert (answer.status, answer.header("Content-Encoding")) == (200, "gzip")
    assert gzip.decompress(answer.body) == BODY


def test_redirects_are_an_answer_and_not_followed(site: str, client: HttpClient) -> None:
    answer = client.ask(f"{site}/moved")
    assert (answer.status, answer.header("location")) == (301, "/whole")


def test_head_asks_for_no_body_and_identity_is_asked_for(site: str, client: HttpClient) -> None:
    head = client.ask(f"{site}/whole", method="HEAD")
    assert (head.status, head.header("content-length"), head.body) == (200, str(len(BODY)), b"")
    assert client.ask(f"{site}/asked").body == b"identity"


def test_a_file_is_digested_behind_its_redirects(site: str, client: HttpClient) -> None:
    answer = client.fetch(f"{site}/moved")
    assert (answer.sha256, answer.length, answer.body) == (hashlib.sha256(BODY).hexdigest(), len(BODY), b"")


def test_redirects_are_followed_on_request_and_the_answer_says_where_to(site: str, client: HttpClient) -> None:
    answer = client.ask(f"{site}/moved", follow=True)
    assert (answer.status, answer.url, answer.body) == (200, f"{site}/whole", BODY)


def test_a_file_can_be_kept_while_it_is_digested(site: str, client: HttpClient) -> None:
    kept = io.BytesIO()
    assert client.fetch(f"{site}/whole", into=kept).sha256 == hashlib.sha256(kept.getvalue()).hexdigest()
    assert kept.getvalue() == BODY


def test_any_status_is_an_answer(site: str, client: HttpClient) -> None:
    assert client.ask(f"{site}/nothing").status == 404


@pytest.mark.parametrize("read", ["ask", "fetch"])
def test_half_a_body_is_no_answer(site: str, client: HttpClient, read: str) -> None:
    with pytest.raises(RemoteError):
        getattr(client, read)(f"{site}/half")


def test_a_body_has_a_limit(site: str, client: HttpClient) -> None:
    with pytest.raises(RemoteError, match="larger than 99 bytes"):
        client.ask(f"{site}/whole", limit=99)
