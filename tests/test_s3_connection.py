"""What a host may send as an answer, read to its very end and no further."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from mirror.stores.s3_transport import NoAnswer, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast"


class Wire:
    """A host that answers each request with the next of its answers, byte by byte as given, and then hangs up."""

    def __init__(self, *answers: bytes) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while self.answers:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer, peer.makefile("rb") as reader:
                while self.answers and self._answer(peer, reader):
                    pass

    def _answer(self, peer: socket.socket, reader: object) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reader.readline()  # type: ignore[attr-defined]
            if not line:
                return False
            head += line
        length = next((int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:")), 0)
        self.heads.append(head)
        self.bodies.append(reader.read(length))  # type: ignore[attr-defined]
        answer = self.answers.pop(0)
        peer.sendall(answer)
        return b"close" not in answer and not answer.startswith(b"HTTP/1.0") and b"%hang up%" not in answer


@contextmanager
def wire(*answers: bytes) -> Iterator[tuple[Wire, Transport]]:
    host = Wire(*answers)
    thread = threading.Thread(target=host.run, daemon=True)
    thread.start()
    try:
        yield host, Transport(host.url, certificates=None, connections=2, timeout=5)
    finally:
        host.listener.close()


def ask(transport: Transport, method: str = "GET", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    answer = transport.send(method, "/key", {"host": transport.host}, body)
    return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole", 200, b"whole"),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nwhole", 200, b"whole"),
        (b"HTTP/1.1 200 OK\ncontent-length:5\n\nwhole", 200, b"whole"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nwhole", 404, b"whole"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nwho\r\n02\r\nle\r\n0\r\n\r\n", 200, b"whole"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 1\r\n\r\n"
            b"5\r\nwhole\r\n0\r\nMore: x\r\n\r\n",
            *(200, b"whole"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 500, b""),
    ],
)
def test_an_answer_after_which_another_can_come(answer: bytes, status: int, body: bytes) -> None:
    with wire(answer, DONE) as (host, transport):
        found = ask(transport)
        assert (found[0], found[2]) == (status, body)
        assert ask(transport)[2] == b"last"
        assert host.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwhole",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
        b"HTTP/1.0 200 OK\r\n\r\nwhole",
    ],
)
def test_an_answer_after_which_the_connection_ends(answer: bytes) -> None:
    with wire(answer, DONE) as (host, transport):
        assert ask(transport)[2] == b"whole"
        assert ask(transport)[2] == b"last"
        assert host.connections == 2


def test_the_answer_to_a_head_has_the_length_of_what_it_does_not_have() -> None:
    with wire(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", DONE) as (host, transport):
        status, headers, body = ask(transport, "HEAD")
        assert (status, headers["content-length"], body) == (200, "5", b"")
        assert ask(transport)[2] == b"last"
        assert host.connections == 1


def test_headers_are_found_in_any_letters_joined_and_unfolded() -> None:
    answer = (
        b'HTTP/1.1 200 OK\r\nETAG:  "x"  \r\nVary: a\r\nvary: b\r\nX-Long: one\r\n  two\r\nContent-Length: 0\r\n\r\n'
    )
    with wire(answer) as (_, transport):
        headers = ask(transport)[1]
    assert headers["etag"] == '"x"'
    assert headers["vary"] == "a, b"
    assert headers["x-long"] == "one two"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"%hang up%\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n%hang up%",
        b"HTTP/1.1 2 OK\r\nContent-Length: 0\r\n\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx%hang up%\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le%hang up%",
        b"HTTP/1.1 200 OK\r\nno colon here %hang up%\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500 + b"\r\n%hang up%",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000 + b"\r\n\r\n%hang up%",
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_is_no_answer_or_not_all_of_one(answer: bytes) -> None:
    """And what comes after it, on another connection, is not mixed up with it."""
    with wire(answer or b"%hang up%", DONE) as (host, transport):
        with pytest.raises(NoAnswer) as caught:
            ask(transport)
        assert caught.value.carried
        assert not caught.value.untrusted
        assert ask(transport)[2] == b"last"
        assert host.connections == 2


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 16) + 1, 1 << 20])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_body_arrives_as_it_is(method: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    with wire(DONE, DONE) as (host, transport):
        for _ in range(2):
            assert ask(transport, method, body)[0] == 200
        assert host.bodies == [body, body]
        assert f"Content-Length: {size}\r\n".encode() in host.heads[0]
        assert host.heads[0].startswith(f"{method} /key HTTP/1.1\r\nhost: 127.0.0.1:".encode())
        assert host.connections == 1


def test_a_question_has_no_body() -> None:
    with wire(DONE) as (host, transport):
        ask(transport)
        assert b"length" not in host.heads[0].lower()


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb: c", "a\rb", "ü"])
def test_a_header_is_one_line(value: str) -> None:
    with wire(DONE) as (host, transport):
        with pytest.raises(NoAnswer):
            transport.send("GET", "/key", {"host": transport.host, "x": value})
        assert host.heads == []


def test_a_host_that_is_not_there_has_carried_out_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(NoAnswer, match="refused") as caught:
        ask(Transport(url, certificates=None, connections=1, timeout=5))
    assert not caught.value.carried


def test_a_proxy_is_told_the_whole_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(DONE) as (proxy, _):
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("://", "://user:pass%20word@"))
        monkeypatch.delenv("http_proxy", raising=False)
        monkeypatch.setenv("NO_PROXY", "direct.example")
        monkeypatch.setenv("no_proxy", "direct.example")
        transport = Transport("http://store.example:9000", certificates=None, connections=1, timeout=5)
        assert ask(transport)[2] == b"last"
        head = proxy.heads[0].decode()
        assert head.startswith("GET http://store.example:9000/key HTTP/1.1\r\nhost: store.example:9000\r\n")
        assert "Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=\r\n".lower() in head.lower()


@pytest.mark.parametrize("url", ["ftp://store.example", "store.example", "https://", "http://store.example:port", ""])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|Port"):
        Transport(url, certificates=None, connections=1, timeout=5)
