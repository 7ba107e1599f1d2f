"""Serve a published tree over HTTP as a good static host would (standards section 1.1).

The one door to starlette and uvicorn. Only what the layout knows is answered: pages below `simple/`, artifacts and
their metadata below `packages/`, the pages for people. Everything else, `.mirror/` first of all, is not found.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from packaging.utils import canonicalize_name
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mirror import layout
from mirror.errors import MirrorError
from mirror.release import Kind, kind
from mirror.simple.site import PEOPLE_POLICY

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

_METHODS = ("GET", "HEAD")
_CHUNK = 1 << 18
_PATIENCE = 3
"""Seconds that running downloads get when the server is told to stop."""

_TICK = 0.2
"""Seconds; waiting without an end could not be interrupted on Windows."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)
_ETAGS = re.compile(r'(?:W/)?("[^"]*")')
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
_QUALITY = re.compile(r"[01](\.\d{0,3})?", re.ASCII)

# Pages need no script, style or image (standards section 5.3); people may still click on a file.
_PAGE_POLICY = "default-src 'none'; sandbox allow-downloads"
_HTML_V1 = "application/vnd.pypi.simple.v1+html"
_OFFERS = (
    # What a client may ask for, what it is answered with (U9: "latest" with the real type), and from which page.
    ((layout.JSON_TYPE, "application/vnd.pypi.simple.latest+json"), layout.JSON_TYPE, layout.JSON),
    ((_HTML_V1, "application/vnd.pypi.simple.latest+html"), _HTML_V1, layout.HTML),
    (("text/html",), layout.HTML_TYPE, layout.HTML),
)


def serve(root: Path, *, host: str = "127.0.0.1", port: int = 8000, ready: Callable[[str], None] | None = None) -> None:
    """Serve the tree below `root` until SIGINT or SIGTERM; with port 0 on any free one.

    `ready` is told the URL once connections are accepted. Raise `MirrorError` when `root` is no directory or the
    address cannot be had.
    """
    config = _config(root)
    with _listen(host, port) as listener, contextlib.suppress(KeyboardInterrupt):
        _Server(config, _url(listener), ready).run(sockets=[listener])


def _config(root: Path) -> uvicorn.Config:
    if not root.is_dir():
        raise MirrorError(f"{root} is no directory", hint="publish to it first: make refresh")
    return uvicorn.Config(
        application(root),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        timeout_graceful_shutdown=_PATIENCE,
    )


@contextlib.contextmanager
def serving(root: Path) -> Iterator[str]:
    """Serve the tree below `root` on loopback, on a free port, while the block runs; its URL. Raise as `serve` does."""
    with _listen("127.0.0.1", 0) as listener:
        up = threading.Event()
        server = _Server(_config(root), _url(listener), lambda _: up.set())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="serve", daemon=True)
        thread.start()
        try:
            while not up.wait(_TICK):
                if not thread.is_alive():
                    raise MirrorError(f"cannot serve {root} on loopback")
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def application(root: Path) -> ASGIApp:
    """An ASGI application that serves the tree below `root`, at whatever prefix it is mounted.

    Files are opened for each request, so a publish is seen at once; symbolic links below `root` are not followed.
    """
    tree = _Tree(Path(os.path.realpath(root)))

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # In a thread, so that a slow disk holds up nobody else. No router: its patterns stop at a line break.
        response = await run_in_threadpool(_answer, tree, Request(scope, receive))
        await response(scope, receive, send)

    return answer


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, url: str, ready: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._url = url
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready(self._url)


def _listen(host: str, port: int) -> socket.socket:
    try:
        # getaddrinfo takes larger numbers modulo 65536 and would listen somewhere else.
        if not 0 <= port <= 0xFFFF:
            raise OverflowError("a port is a number from 0 to 65535")
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                # On Windows the option means that two servers may share the port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MirrorError(
            f"cannot listen on {host}:{port}: {reason}", hint="choose another --port or --host"
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if listener.family == socket.AF_INET6 else f"http://{host}:{port}/"


@dataclass(frozen=True, slots=True)
class _Tree:
    """The published files; only regular ones at their own place are there."""

    root: Path

    def exists(self, key: str) -> bool:
        stream = self.open(key)
        if stream is not None:
            stream.close()
        return stream is not None

    def open(self, key: str) -> io.FileIO | None:
        """An open file; None when there is none. Raise `OSError` for any other reason why it cannot be read."""
        path = os.path.join(self.root, *key.split("/"))  # noqa: PTH118 - compared with realpath as text
        # No symbolic link on the way: it could lead out of the tree, or to `.mirror/`. Hard links are files.
        if os.path.realpath(path) != path:
            return None
        try:
            stream = open(path, "rb", buffering=0, opener=_opener)  # noqa: SIM115 - the response closes it
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            stream.close()
            return None
        return stream


def _opener(path: str, flags: int) -> int:
    # NOFOLLOW closes the gap between looking and opening, NONBLOCK keeps a FIFO from holding the thread.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _answer(tree: _Tree, request: Request) -> Response:
    if request.method not in _METHODS:
        return _text(405, "This is a static site", {"Allow": ", ".join(_METHODS)})
    # ASGI: "path" includes "root_path", the prefix at which the application is mounted.
    path = request.scope["path"].removeprefix(request.scope.get("root_path", "")).removeprefix("/")
    if path in ("", layout.FRONT_PAGE):
        return _front(tree, request, path)
    if kind(path) is Kind.ABOUT_PAGE:
        return _people(tree, request, path)
    if path.startswith(layout.PACKAGES):
        return _package(tree, request, path)
    first, *rest = path.split("/")
    if f"{first}/" != layout.SIMPLE or len(rest) > 2:
        return _not_found()
    if not rest:
        return _redirect(layout.SIMPLE) if tree.exists(layout.project_list_keys()[0]) else _not_found()
    if len(rest) == 1 and (rest[0] in ("", layout.HTML, layout.JSON)):
        return _page(tree, request, layout.SIMPLE, rest[0])
    return _project(tree, request, *rest)


def _front(tree: _Tree, request: Request, path: str) -> Response:
    if path:
        return _redirect("./") if tree.exists(path) else _not_found()
    return _people(tree, request, layout.FRONT_PAGE)


def _people(tree: _Tree, request: Request, key: str) -> Response:
    return _whole(tree, request, key, {"Content-Security-Policy": PEOPLE_POLICY})


def _package(tree: _Tree, request: Request, key: str) -> Response:
    if not _FILENAME.fullmatch(key.removeprefix(layout.PACKAGES)):
        return _not_found()
    stream = tree.open(key)
    return _artifact(request, key, stream) if stream is not None else _not_found()


def _project(tree: _Tree, request: Request, name: str, page: str | None = None) -> Response:
    """A project's page; another spelling of its name, or a missing slash, is sent there (U4, U5)."""
    if not _NAME.fullmatch(name) or page not in (None, "", layout.HTML, layout.JSON):
        return _not_found()
    normalized = canonicalize_name(name)
    if name == normalized and page is not None:
        return _page(tree, request, f"{layout.SIMPLE}{name}/", page)
    if not tree.exists(layout.project_page_keys(normalized)[0]):
        return _not_found()
    file = "" if page in (None, layout.HTML) else page
    return _redirect(f"{normalized}/" if page is None else f"../{normalized}/{file}")


def _page(tree: _Tree, request: Request, folder: str, page: str) -> Response:
    if page == layout.HTML:
        # "All URLs which respond with an HTML5 page MUST end with a /" (PEP 503), U3.
        return _redirect("./") if tree.exists(folder + page) else _not_found()
    headers = {"Content-Security-Policy": _PAGE_POLICY}
    if page == layout.JSON:
        return _whole(tree, request, folder + page, headers)
    content_type, file = negotiate(",".join(request.headers.getlist("accept")))
    headers |= {"Content-Type": content_type, "Vary": "Accept"}
    return _whole(tree, request, folder + file, headers)


def negotiate(accept: str) -> tuple[str, str]:
    """The content type and page file for an `Accept` header (RFC 9110, 12.5.1).

    The highest quality wins, then the type that was named rather than covered by a wildcard, then JSON. HTML is
    for everybody who does not care, and for those who accept nothing that there is.
    """
    ranges = dict(_accepted(accept or "*/*"))
    best: tuple[tuple[float, int], str, str] | None = None
    for asked, content_type, file in _OFFERS:
        rank = _rank(ranges, asked)
        # An equal rank by wildcard goes to the later offer: HTML, as PEP 691 advises for `*/*`.
        better = best is None or rank > best[0] or (rank == best[0] and rank[1] < 2)
        if rank[0] > 0 and better:
            best = rank, content_type, file
    return (best[1], best[2]) if best else (layout.HTML_TYPE, layout.HTML)


def _accepted(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        stated = next((value.removeprefix("q=") for value in parameters if value.startswith("q=")), "1")
        if media and _QUALITY.fullmatch(stated):
            yield media, min(float(stated), 1.0)


def _rank(ranges: Mapping[str, float], asked: tuple[str, ...]) -> tuple[float, int]:
    """Quality of an offer, and how precisely it was named: the most specific range applies."""
    named = [ranges[media] for media in asked if media in ranges]
    if named:
        return max(named), 2
    for precision, pattern in ((1, f"{asked[0].partition('/')[0]}/*"), (0, "*/*")):
        if pattern in ranges:
            return ranges[pattern], precision
    return 0.0, 0


def _whole(tree: _Tree, request: Request, key: str, extra: Mapping[str, str]) -> Response:
    """A page, read in one go from one open file: one that is replaced meanwhile cannot mix with its successor."""
    stream = tree.open(key)
    if stream is None:
        return _not_found()
    with stream:
        body = stream.readall()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**_headers(key, etag), **extra}
    if _unchanged(request, etag):
        return _not_modified(headers)
    span = _span(request, etag, len(body))
    if span is None:
        return Response(body, headers=headers)
    if not span:
        return _unsatisfiable(headers, len(body))
    return Response(body[span.start : span.stop], 206, {**headers, **_part(span, len(body))})


def _artifact(request: Request, key: str, stream: io.FileIO) -> Response:
    status = os.fstat(stream.fileno())
    size = status.st_size
    # An artifact never changes under its name; whoever breaks that makes a new file, or at least a new time.
    etag = f'"{status.st_ino:x}-{size:x}-{status.st_mtime_ns:x}"'
    headers = _headers(key, etag)
    span = _span(request, etag, size)
    if not _unchanged(request, etag) and request.method == "GET" and (span is None or span):
        return _body(stream, span, size, headers)
    stream.close()
    if _unchanged(request, etag):
        return _not_modified(headers)
    if span is not None:
        return _unsatisfiable(headers, size)
    return Response(headers={**headers, "Content-Length": str(size)})


def _body(stream: io.FileIO, span: range | None, size: int, headers: Mapping[str, str]) -> Response:
    """An open file, or the part of it between two places."""
    status, sent = (200, range(size)) if span is None else (206, span)
    headers = {**headers, **(_part(span, size) if span else {}), "Content-Length": str(len(sent))}
    if len(sent) > _CHUNK:
        return _File(stream, sent, status, headers)
    # Little is read where it was opened: to go to another thread for it costs more than to send it.
    with stream:
        return Response(b"".join(_chunks(stream, sent)), status, headers)


class _File(StreamingResponse):
    """A part of an open file, which is closed whatever becomes of the client."""

    def __init__(self, stream: io.FileIO, sent: range, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(_chunks(stream, sent), status, headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


def _chunks(stream: io.FileIO, span: range) -> Iterator[bytes]:
    stream.seek(span.start)
    left = len(span)
    while left and (chunk := stream.read(min(_CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _span(request: Request, etag: str, size: int) -> range | None:
    """The bytes that a `Range` asks for: None for all of them, an empty range when there are none such (416).

    What RFC 9110 lets a server ignore is ignored: several ranges in one request, and ranges of a HEAD.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if request.method != "GET" or match is None:
        return None
    if request.headers.get("if-range", etag).strip() != etag:
        return None
    first, last = match[1], match[2]
    if not first:
        return range(max(size - int(last), 0), size) if last else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _unchanged(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` names the entity, by weak comparison (RFC 9110, 13.1.2)."""
    stated = ",".join(request.headers.getlist("if-none-match"))
    return stated.strip() == "*" or etag in _ETAGS.findall(stated)


_ALWAYS = {"X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": "*"}


def _headers(key: str, etag: str) -> dict[str, str]:
    stated = layout.headers(key)
    return {
        "Content-Type": stated.content_type,
        "Cache-Control": stated.cache_control,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        **_ALWAYS,
    }


def _part(span: range, size: int) -> dict[str, str]:
    return {"Content-Range": f"bytes {span.start}-{span.stop - 1}/{size}"}


def _not_modified(headers: Mapping[str, str]) -> Response:
    kept = ("Cache-Control", "ETag", "Vary", *_ALWAYS)
    return Response(status_code=304, headers={name: value for name, value in headers.items() if name in kept})


def _unsatisfiable(headers: Mapping[str, str], size: int) -> Response:
    kept = {name: headers[name] for name in ("ETag", "Accept-Ranges", *_ALWAYS)}
    return Response(status_code=416, headers={**kept, "Content-Range": f"bytes */{size}"})


def _redirect(location: str) -> Response:
    """Send the client to a relative place, which holds behind any prefix and any host name."""
    return Response(status_code=301, headers={"Location": location, "Cache-Control": "max-age=600", **_ALWAYS})


def _not_found() -> Response:
    return _text(404, "Not found", {})


def _text(status: int, text: str, extra: Mapping[str, str]) -> Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **_ALWAYS, **extra}
    return Response(f"{text}\n", status, headers)
