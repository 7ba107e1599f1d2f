"""An index on loopback that speaks real HTTP and misbehaves as told: truncation, wrong bytes, refusals, silence."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from mirror import filenames

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Fault = Callable[["Handler", bytes], None]

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    path: str
    headers: Mapping[str, str]


@dataclass
class Page:
    """A fixed answer for a project's page."""

    body: bytes
    content_type: str = HTML
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class FaultyIndex:
    """A simple index at `url`, `/simple/<project>/`, with its files at `/files/<filename>`. Use as a context."""

    def __init__(self, *, speaks_json: bool = True, credentials: tuple[str, str] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.facts: dict[str, dict[str, object]] = {}
        """More JSON keys by filename: `yanked`, `upload-time`, `requires-python`."""
        self.faults: dict[str, Fault] = {}
        """By filename."""
        self.pages: dict[str, Page] = {}
        """By project, instead of what would be made from the files."""
        self.unlisted: set[str] = set()
        """Filenames that pages leave out."""
        self.page_headers: dict[str, str] = {}
        self.status: dict[str, dict[str, str]] = {}
        """`project-status` by project (PEP 792)."""
        self.requests: list[Request] = []
        self.speaks_json = speaks_json
        self.credentials = credentials
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.index = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def url(self) -> str:
        return f"{self.root}simple/"

    def __enter__(self) -> FaultyIndex:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Answer nobody any more; the port refuses connections."""
        self._server.shutdown()
        self._server.server_close()

    def add(self, path: Path, fault: Fault | None = None, **facts: object) -> str:
        """Serve a file and list it on its project's page; return its URL."""
        self.files[path.name] = path.read_bytes()
        self.facts[path.name] = {key.replace("_", "-"): value for key, value in facts.items()}
        if fault is not None:
            self.faults[path.name] = fault
        return self.file_url(path.name)

    def file_url(self, filename: str) -> str:
        return f"{self.root}files/{quote(filename)}"

    def asked(self, part: str) -> list[Request]:
        """The requests whose path contains `part`, oldest first."""
        return [request for request in self.requests if part in request.path]

    def page(self, project: str, *, as_json: bool) -> Page | None:
        if project in self.pages:
            return self.pages[project]
        names = [name for name in sorted(self.files) if filenames.parse(name).name == project]
        if not names:
            return None
        listed = [name for name in names if name not in self.unlisted]
        return Page(self._json(project, listed), JSON) if as_json else Page(self._html(project, listed), HTML)

    def _json(self, project: str, names: list[str]) -> bytes:
        files = [
            {
                "filename": name,
                "url": f"../../files/{quote(name)}",
                "hashes": {"sha256": hashlib.sha256(self.files[name]).hexdigest()},
                "size": len(self.files[name]),
                **self.facts[name],
            }
            for name in names
        ]
        page: dict[str, object] = {"meta": {"api-version": "1.4"}, "name": project, "files": files, "versions": []}
        if project in self.status:
            page["project-status"] = self.status[project]
        return json.dumps(page).encode()

    def _html(self, project: str, names: list[str]) -> bytes:
        links = []
        for name in names:
            href = f"../../files/{quote(name)}#sha256={hashlib.sha256(self.files[name]).hexdigest()}"
            yanked = self.facts[name].get("yanked")
            mark = f' data-yanked="{html.escape(str(yanked))}"' if yanked else ""
            links.append(f'<a href="{href}"{mark}>{name}</a><br>\n')
        return f"<!DOCTYPE html><html><body>\n{''.join(links)}</body></html>".encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    index: FaultyIndex

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the game."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        index = self.server.index
        path = unquote(urlsplit(self.path).path)
        index.requests.append(Request(path, dict(self.headers)))
        if index.credentials and not self._authorized(index.credentials):
            self.answer(401, b"who are you?", {"WWW-Authenticate": 'Basic realm="index"'})
        elif path.startswith("/simple/"):
            self._page(index, path.split("/")[2])
        elif path.startswith("/files/") and path.split("/")[-1] in index.files | index.faults:
            name = path.split("/")[-1]
            index.faults.get(name, whole)(self, index.files.get(name, b""))
        else:
            self.answer(404, b"nothing here")

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def _authorized(self, credentials: tuple[str, str]) -> bool:
        expected = base64.b64encode(":".join(credentials).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _page(self, index: FaultyIndex, project: str) -> None:
        page = index.page(project, as_json=index.speaks_json and JSON in self.headers.get("Accept", ""))
        if page is None:
            self.answer(404, b"no such project", dict(index.page_headers))
            return
        etag = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
        headers = {"Content-Type": page.content_type, "ETag": etag, **index.page_headers, **page.headers}
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            return
        self.answer(page.status, page.body, headers)

    def log_message(self, *_: object) -> None:
        """Requests are kept, not printed."""


def whole(handler: Handler, body: bytes) -> None:
    """As a good host does, ranges included."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    wanted = handler.headers.get("Range", "")
    if wanted and handler.headers.get("If-Range", etag) == etag:
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        piece = body[start:]
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.answer(206, piece, {"ETag": etag, "Content-Range": span})
        return
    handler.answer(200, body, {"ETag": etag, "Content-Type": "application/octet-stream"})


def truncated(*, times: int = 1, keep: int = 100) -> Fault:
    """Promise everything, send `keep` bytes and hang up; answer well after `times`."""

    def fault(handler: Handler, body: bytes) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + keep])
        handler.hang_up()

    return _first(times, fault)


def broken(status: int, *, times: int = 1_000_000, headers: Mapping[str, str] | None = None) -> Fault:
    """Answer with an error; well after `times`."""
    return _first(times, lambda handler, _: handler.answer(status, b"broken", headers))


def wrong_bytes(handler: Handler, body: bytes) -> None:
    """As long as it should be, but not what it should be."""
    handler.answer(200, body[:-1] + bytes([body[-1] ^ 1]))


def gzip_encoded(handler: Handler, body: bytes) -> None:
    """Packed although nobody accepts it (standards U13)."""
    handler.answer(200, gzip.compress(body, mtime=0), {"Content-Encoding": "gzip"})


def mislabelled(handler: Handler, body: bytes) -> None:
    """Sent as it is, with a header that says it is packed, as some hosts do with .tar.gz."""
    handler.answer(200, body, {"Content-Encoding": "gzip"})


def drip(*, seconds: float, piece: int = 10) -> Fault:
    """A few bytes at a time, with a pause after each."""

    def fault(handler: Handler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for start in range(0, len(body), piece):
            handler.wfile.write(body[start : start + piece])
            handler.wfile.flush()
            time.sleep(seconds)

    return fault


def redirect(url: str, status: int = 302) -> Fault:
    """Send the client elsewhere."""
    return lambda handler, _: handler.answer(status, b"", {"Location": url})


def _first(times: int, fault: Fault) -> Fault:
    left = [times]
    lock = threading.Lock()

    def answer(handler: Handler, body: bytes) -> None:
        with lock:
            left[0] -= 1
            bad = left[0] >= 0
        (fault if bad else whole)(handler, body)

    return answer
