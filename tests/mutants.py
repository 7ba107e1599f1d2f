"""Mutants: a good site that is broken in one way each, as real hosts, caches, uploads and generators break it.

`subject` makes the site, `serve_mutant` serves a copy of it that has the mutation, over real HTTP. What a mutant
changes lies in the store (`stored`), in what the host answers (`answered`), or in both. `VERIFY` and `DOCTOR` say what
catches each: codes of findings and reasons of cells of `mirror verify --url`, and failing rows of `mirror doctor`.
Tests prove both, and the README shows them.
"""

from __future__ import annotations

import asyncio
import gzip
import http.server
import json
import re
import shutil
import socket
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mirror.layout import HTML, JSON, POINTER
from mirror.serve import application
from tests.served import served
from tests.sites import Site, local, make_site
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

LINUX = "alpha-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
ANY = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.0.tar.gz"
GAMMA = "gamma-1.0+local.1-py3-none-any.whl"
DELTA = "delta-2.0-py3-none-any.whl"
"""Yanked."""


def subject(directory: Path) -> Site:
    """The site that mutants are made of, with `root` below `directory`: every kind of file, a yank and a `+`."""
    made = directory / "made"
    paths = [
        make_wheel(made, "alpha", "1.0", "cp311-cp311-manylinux_2_17_x86_64", requires_python=">=3.8"),
        make_wheel(made, "alpha", "1.0", requires_python=">=3.8"),
        make_sdist(made, "alpha", "1.0"),
        make_sdist(made, "beta", "1.0"),
        make_wheel(made, "gamma", "1.0+local.1"),
        make_wheel(made, "delta", "2.0"),
    ]
    site = make_site(directory / "work", paths, yanked={DELTA: "broken <build>"})
    site.publish(local(directory / "root"))
    return site


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    path: str
    """Decoded, without the leading slash: a key, or a folder with its slash."""
    raw: str
    """As it was sent."""
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What is answered; the body also for HEAD, which is sent without it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case; `content-length` follows from the body."""
    body: bytes = b""
    sent: int | None = None
    """Bytes of the body after which the connection ends; -1: before there is any answer. Only where `wired`."""

    def having(self, **headers: str) -> Reply:
        """With headers set; `_` stands for `-`, and an empty value takes the header away."""
        merged = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return replace(self, headers={name: value for name, value in merged.items() if value})


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way in which a site is broken."""

    name: str
    stored: Callable[[Path], None] | None = None
    """Breaks the tree that is served, below a root."""
    answered: Callable[[Asked, Reply], Reply] | None = None
    """Breaks what the host answers."""
    ignored: tuple[str, ...] = ()
    """Request headers that the host does not heed."""
    wired: bool = False
    """Whether it is served over bare sockets, since it breaks what a web server keeps right by itself."""

    def __str__(self) -> str:
        return self.name


@contextmanager
def serve_mutant(root: Path, mutant: Mutant | None) -> Iterator[str]:
    """Serve a copy of the published tree `root` with the mutation, or without any; give the URL of the mirror."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = mutated(root, Path(folder) / "root", mutant)
        app = application(copy)
        if mutant and mutant.wired:
            with _wired(_Broken(app, mutant)) as url:
                yield url
        else:
            changed = mutant and (mutant.answered or mutant.ignored)
            with served(copy, _Broken(app, mutant) if mutant and changed else app) as url:
                yield url


def mutated(root: Path, copy: Path, mutant: Mutant | None) -> Path:
    """Copy the published tree `root` to `copy`, and break the copy as the mutant says; real copies, no links."""
    shutil.copytree(root, copy)
    if mutant and mutant.stored:
        mutant.stored(copy)
    return copy


class _Broken:
    """An application whose answers are changed. It asks for everything with GET, so that HEAD changes alike."""

    def __init__(self, app: ASGIApp, mutant: Mutant) -> None:
        self._app = app
        self._change = mutant.answered or (lambda _, reply: reply)
        self._ignored = {name.encode() for name in mutant.ignored}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await self.reply(scope, receive)
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    async def reply(self, scope: Scope, receive: Receive) -> Reply:
        """What is answered, with its `content-length`."""
        parts: dict[str, Any] = {"status": 500, "headers": [], "body": b""}

        async def gather(message: Any) -> None:
            parts["body"] += message.get("body", b"")
            parts.update({name: message[name] for name in ("status", "headers") if name in message})

        heeded = [pair for pair in scope["headers"] if pair[0] not in self._ignored]
        await self._app({**scope, "method": "GET", "headers": heeded}, receive, gather)
        asked = Asked(
            method=scope["method"],
            path=scope["path"].removeprefix("/"),
            raw=scope["raw_path"].decode("ascii"),
            headers={name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        )
        headers = {name.decode(): value.decode("latin-1") for name, value in parts["headers"]}
        reply = self._change(asked, Reply(status=parts["status"], headers=headers, body=parts["body"]))
        return replace(reply, headers={**reply.headers, "content-length": str(len(reply.body))})


@contextmanager
def _wired(broken: _Broken) -> Iterator[str]:
    """Serve over sockets that end where a reply says so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def do_GET(self) -> None:
            reply = asyncio.run(broken.reply(_scope(self), _nothing))
            if reply.sent is not None:
                self.close_connection = True
            if reply.sent == -1:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else reply.body[: reply.sent])

        do_HEAD = do_GET  # noqa: N815 - the name that is looked for

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join(20)


def _scope(request: http.server.BaseHTTPRequestHandler) -> Scope:
    """A request as an ASGI application takes it."""
    raw, _, query = request.path.partition("?")
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    return {
        "type": "http", "http_version": "1.1", "method": request.command, "scheme": "http", "root_path": "",
        "path": unquote(raw), "raw_path": raw.encode(), "query_string": query.encode(), "headers": headers,
    }  # fmt: skip


async def _nothing() -> Any:
    """A client that says no more, and stays."""
    await asyncio.Event().wait()


# What is stored


def _write(key: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        before = (root / key).read_bytes()
        assert change(before) != before, "this mutant breaks nothing"
        (root / key).write_bytes(change(before))

    return act


def _edit(key: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace in a page, by regular expression."""
    return _write(key, lambda page: re.sub(old, new, page.decode(), flags=re.DOTALL).encode())


def _both(folder: str, html: tuple[str, str], as_json: tuple[str, str]) -> Callable[[Path], None]:
    return _all(_edit(f"simple/{folder}{HTML}", *html), _edit(f"simple/{folder}{JSON}", *as_json))


def _all(*acts: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for each in acts:
            each(root)

    return act


def _unlink(*keys: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for key in keys:
            (root / key).unlink()

    return act


def _flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def _anchor(filename: str) -> str:
    return rf'<a href="[^"]*{re.escape(filename.replace("+", "%2B"))}#.*?</a><br>\n'


def _entry(filename: str) -> str:
    return rf',?\{{"filename":"{re.escape(filename)}"[^{{}}]*(\{{[^{{}}]*\}}[^{{}}]*)+\}}'


def _other_metadata(root: Path) -> None:
    """Another version's metadata, and pages that state its digest: only the wheel itself says otherwise."""
    sidecar = root / f"packages/{ANY}.metadata"
    old = sidecar.read_bytes()
    new = old.replace(b"Version: 1.0", b"Version: 1.1")
    assert new != old
    sidecar.write_bytes(new)
    before, after = sha256(old).hexdigest(), sha256(new).hexdigest()
    for page in (HTML, JSON):
        path = root / f"simple/alpha/{page}"
        text = path.read_text()
        # The wheel for Linux has the same metadata, and keeps it.
        start = text.index(ANY)
        path.write_text(text[:start] + text[start:].replace(before, after, 1))


def _null_upload_times(root: Path) -> None:
    path = root / f"simple/alpha/{JSON}"
    page = json.loads(path.read_text())
    for file in page["files"]:
        file["upload-time"] = None
    path.write_text(json.dumps(page))


def _planted(root: Path) -> None:
    """A project that nobody mirrored, on the lists and with pages and a file of its own, all of them consistent."""
    for form in (HTML, JSON):
        page = (root / f"simple/delta/{form}").read_text()
        (root / "simple/evil").mkdir(exist_ok=True)
        (root / f"simple/evil/{form}").write_text(page.replace("delta", "evil"))
    for suffix in ("", ".metadata"):
        shutil.copy(root / f"packages/{DELTA}{suffix}", root / f"packages/{DELTA.replace('delta', 'evil')}{suffix}")
    _both("", ("</body>", '<a href="evil/">evil</a><br>\n</body>'), (r"\]\}\s*$", ',{"name":"evil"}]}\n'))(root)


def _bare_metadata(root: Path) -> None:
    """Metadata that is offered without a digest, and that is not there: pip gives up on the 404."""
    _edit(f"simple/gamma/{HTML}", r'data-core-metadata="[^"]*"', 'data-core-metadata="true"')(root)
    _edit(f"simple/gamma/{JSON}", r'"core-metadata":\{[^}]*\}', '"core-metadata":true')(root)
    (root / f"packages/{GAMMA}.metadata").unlink()


_ZEROS = "0" * 64
_GHOST = "alpha-1.1.tar.gz"
_GHOST_LINK = (
    f'<a href="../../packages/{_GHOST}#sha256={_ZEROS}" data-size="1" data-upload-time="2024-01-02T03:04:05Z">'
    f"{_GHOST}</a><br>\\n</body>"
)
_GHOST_ENTRY = (
    f',{{"filename":"{_GHOST}","url":"../../packages/{_GHOST}","hashes":{{"sha256":"{_ZEROS}"}},'
    '"size":1,"upload-time":"2024-01-02T03:04:05Z"}]}\n'
)


# What is answered


def _when(
    asked_for: Callable[[Asked, Reply], bool], change: Callable[[Reply], Reply]
) -> Callable[[Asked, Reply], Reply]:
    return lambda asked, reply: change(reply) if asked_for(asked, reply) else reply


def _package(suffix: str = "") -> Callable[[Asked, Reply], bool]:
    return lambda asked, reply: (
        reply.status in (200, 206) and asked.path.startswith("packages/") and asked.path.endswith(suffix)
    )


def _page(content_type: str, folder: str = "") -> Callable[[Asked, Reply], bool]:
    return lambda asked, reply: (
        reply.status == 200
        and asked.path.startswith(f"simple/{folder}")
        and reply.headers["content-type"].startswith(content_type)
    )


def _gone(_: Reply) -> Reply:
    return Reply(status=404, headers={"content-type": "text/plain"}, body=b"Not found\n")


def _stale(asked: Asked, reply: Reply) -> Reply:
    """The page of the release before, which a cache never forgot: it lacks what this release brought."""
    if reply.status != 200 or not asked.path.startswith("simple/alpha/"):
        return reply
    pattern = _anchor(LINUX) if reply.headers["content-type"].startswith("text/html") else _entry(LINUX)
    body = re.sub(pattern, "", reply.body.decode(), flags=re.DOTALL).replace('"files":[,', '"files":[').encode()
    assert body != reply.body, "this mutant breaks nothing"
    return replace(reply, body=body).having(age="86400", x_cache="Hit from cloudfront", etag='"old"')


def _gzipped(reply: Reply) -> Reply:
    """Compressed, whatever the client accepts, as an object that was uploaded that way."""
    return replace(reply, body=gzip.compress(reply.body, mtime=0)).having(content_encoding="gzip")


def _forgets_the_slash(asked: Asked, reply: Reply) -> Reply:
    """`/simple/alpha` is answered with the page itself, so that every relative link leads astray."""
    if asked.path != "simple/alpha":
        return reply
    page = b'<!DOCTYPE html><html><body><a href="../../packages/x-1.tar.gz">x-1.tar.gz</a></body></html>'
    return Reply(status=200, headers={"content-type": "text/html; charset=utf-8"}, body=page)


def _is_page(asked: Asked, reply: Reply) -> bool:
    return reply.status == 200 and asked.path.startswith("simple/")


def _is_any(asked: Asked, _: Reply) -> bool:
    return asked.path == f"packages/{ANY}"


def _elsewhere(asked: Asked, reply: Reply) -> Reply:
    """An index that sends whoever asks for what it does not have to another one: here to itself by another name."""
    host = asked.headers["host"]
    if reply.status != 404 or not host.startswith("127.0.0.1"):
        return reply
    return Reply(status=302, headers={"location": f"http://{host.replace('127.0.0.1', 'localhost')}{asked.raw}"})


def _one_form_two_pages(asked: Asked, reply: Reply) -> Reply:
    """HTML whatever is asked for, and to who would rather have JSON an old page: another variant in a cache."""
    if asked.path != "simple/alpha/" or "json" not in asked.headers.get("accept", ""):
        return reply
    return replace(reply, body=re.sub(_anchor(LINUX), "", reply.body.decode(), flags=re.DOTALL).encode())


def _unended(asked: Asked, reply: Reply) -> Reply:
    if asked.path != "simple/gamma/" or "gzip" not in asked.headers.get("accept-encoding", ""):
        return reply
    return replace(reply, body=gzip.compress(reply.body, mtime=0)[:-8]).having(content_encoding="gzip")


MUTANTS: tuple[Mutant, ...] = (
    Mutant(name="wheel truncated", stored=_write(f"packages/{LINUX}", lambda data: data[:-7])),
    Mutant(name="one byte flipped", stored=_write(f"packages/{ANY}", _flip)),
    Mutant(name="wheel deleted", stored=_unlink(f"packages/{LINUX}")),
    Mutant(
        name="`.metadata` of another version",
        stored=_write(f"packages/{ANY}.metadata", lambda data: data.replace(b"Version: 1.0", b"Version: 1.1")),
    ),
    Mutant(name="`.metadata` of another version, its digest on the pages", stored=_other_metadata),
    Mutant(name="`.metadata` deleted", stored=_unlink(f"packages/{ANY}.metadata")),
    Mutant(
        name="page lacks a file",
        stored=_both("gamma/", (_anchor(GAMMA), ""), (_entry(GAMMA), "")),
    ),
    Mutant(name="HTML alone lacks a file", stored=_edit(f"simple/alpha/{HTML}", _anchor(ANY), "")),
    Mutant(
        name="page lists a missing file",
        stored=_both("alpha/", ("</body>", _GHOST_LINK), (r"\]\}\s*$", _GHOST_ENTRY)),
    ),
    Mutant(name="JSON disagrees with HTML", stored=_edit(f"simple/alpha/{JSON}", ">=3.8", ">=3.9")),
    Mutant(
        name="pages of no known type",
        answered=_when(
            lambda asked, reply: reply.status == 200 and asked.path.startswith("simple/"),
            lambda reply: reply.having(content_type="binary/octet-stream"),
        ),
    ),
    Mutant(
        name="JSON as application/json",
        answered=_when(
            _page("application/vnd.pypi.simple"), lambda reply: reply.having(content_type="application/json")
        ),
    ),
    Mutant(name="stale page behind a cache", answered=_stale),
    Mutant(
        name="`%2B` not understood",
        answered=_when(lambda asked, _: "%2b" in asked.raw.lower(), _gone),
    ),
    Mutant(
        name="`+` bare in links, a space to the host",
        stored=_both("gamma/", ("%2B", "+"), ("%2B", "+")),
        answered=_when(lambda asked, _: "+" in asked.raw, _gone),
    ),
    Mutant(
        name="403 for the unknown",
        answered=_when(lambda _, reply: reply.status == 404, lambda reply: replace(reply, status=403)),
    ),
    Mutant(
        name="200 for the unknown",
        answered=_when(
            lambda _, reply: reply.status == 404,
            lambda _: Reply(
                status=200, headers={"content-type": "text/html; charset=utf-8"}, body=b"<!DOCTYPE html><p>Welcome"
            ),
        ),
    ),
    Mutant(name="gzip-encoded wheel", answered=_when(_package(".whl"), _gzipped)),
    Mutant(name="gzip-encoded `.metadata`", answered=_when(_package(".metadata"), _gzipped)),
    Mutant(
        name="yank marker missing",
        stored=_both("delta/", (r' data-yanked="[^"]*"', ""), (r'"yanked":"[^"]*",', "")),
    ),
    Mutant(
        name="root list lacks a project",
        stored=_both("", (r'<a href="gamma/">gamma</a><br>\n', ""), (r',\{"name":"gamma"\}', "")),
    ),
    Mutant(
        name="HTML root list alone lacks a project",
        stored=_edit(f"simple/{HTML}", r'<a href="gamma/">gamma</a><br>\n', ""),
    ),
    Mutant(name="null upload-time", stored=_null_upload_times),
    Mutant(name="page without its slash", answered=_forgets_the_slash),
    Mutant(
        name="`HEAD` refused",
        answered=_when(
            lambda asked, _: asked.method == "HEAD", lambda reply: replace(reply, status=405).having(allow="GET")
        ),
    ),
    Mutant(
        name="no ranges",
        answered=_when(_package(), lambda reply: reply.having(accept_ranges="")),
        ignored=("range",),
    ),
    Mutant(name="files never cached", answered=_when(_package(), lambda reply: reply.having(cache_control="no-store"))),
    Mutant(
        name="pages cached for a year",
        answered=_when(
            lambda asked, reply: reply.status == 200 and asked.path.startswith("simple/"),
            lambda reply: reply.having(cache_control="public, max-age=31536000, immutable"),
        ),
    ),
    Mutant(
        name="the publisher's state is public",
        answered=_when(
            lambda asked, _: asked.path == POINTER,
            lambda _: Reply(status=200, headers={"content-type": "application/json"}, body=b'{"format": 1}\n'),
        ),
    ),
    Mutant(
        name="wheel cut off behind its right length",
        answered=_when(_is_any, lambda reply: replace(reply, sent=len(reply.body) // 2)),
        wired=True,
    ),
    Mutant(
        name="connection ends where a wheel should begin",
        answered=_when(_is_any, lambda reply: replace(reply, sent=-1)),
        wired=True,
    ),
    Mutant(
        name="wheel redirects to itself",
        answered=lambda asked, reply: (
            Reply(status=302, headers={"location": asked.raw}) if _is_any(asked, reply) else reply
        ),
    ),
    Mutant(
        name="wheel redirects to what nobody follows",
        answered=_when(_is_any, lambda _: Reply(status=302, headers={"location": "ftp://files.example/"})),
    ),
    Mutant(name="one form, and an old page for who prefers JSON", answered=_one_form_two_pages, ignored=("accept",)),
    Mutant(name="the unknown is looked for on another index", answered=_elsewhere),
    Mutant(name="a project that nobody mirrored", stored=_planted),
    Mutant(
        name="requires-python that no Python satisfies",
        stored=_both(
            "gamma/",
            ('data-size="', 'data-requires-python="&gt;=4" data-size="'),
            ('"size"', '"requires-python":">=4","size"'),
        ),
    ),
    Mutant(
        name="project in quarantine",
        stored=_both(
            "gamma/",
            ("<title>", '<meta name="pypi:project-status" content="quarantined">\n<title>'),
            ('"versions"', '"project-status":{"status":"quarantined"},"versions"'),
        ),
    ),
    Mutant(name="`.metadata` offered without a digest, and deleted", stored=_bare_metadata),
    Mutant(
        name="`dist-info-metadata` as well",
        stored=_edit(
            f"simple/gamma/{HTML}",
            r'data-core-metadata="([^"]*)"',
            r'data-core-metadata="\1" data-dist-info-metadata="\1"',
        ),
    ),
    Mutant(
        name="JSON names other versions",
        stored=_edit(f"simple/gamma/{JSON}", r'"versions":\[[^]]*\]', '"versions":["9"]'),
    ),
    Mutant(
        name="root list links to another host",
        stored=_edit(f"simple/{HTML}", 'href="gamma/"', 'href="https://index.example/simple/gamma/"'),
    ),
    Mutant(
        name="root list names a project twice",
        stored=_edit(f"simple/{HTML}", r'(<a href="gamma/">gamma</a><br>\n)', r"\1\1"),
    ),
    Mutant(
        name="`HEAD` forbidden",
        answered=_when(lambda asked, _: asked.method == "HEAD", lambda reply: replace(reply, status=403)),
    ),
    Mutant(
        name="`HEAD` states another size",
        answered=_when(
            lambda asked, reply: asked.method == "HEAD" and reply.status == 200,
            lambda reply: replace(reply, body=reply.body + b"more"),
        ),
    ),
    Mutant(name="ranges promised and not given", ignored=("range",)),
    Mutant(name="gzip of a page without its end", answered=_unended),
    Mutant(
        name="pages that expire in a hundred years",
        answered=_when(_is_page, lambda reply: reply.having(cache_control="", expires="Thu, 31 Dec 2099 23:55:55 GMT")),
    ),
    Mutant(name="two forms without `Vary`", answered=_when(_is_page, lambda reply: reply.having(vary=""))),
    Mutant(
        name="files to be asked for anew each time",
        answered=_when(_package(), lambda reply: reply.having(cache_control="max-age=0, must-revalidate")),
    ),
    Mutant(
        name="304 to whoever has any page",
        answered=_when(
            lambda asked, reply: "if-none-match" in asked.headers and _is_page(asked, reply),
            lambda reply: replace(reply, status=304, body=b""),
        ),
    ),
)

VERIFY: Mapping[str, tuple[str, ...]] = {
    "wheel truncated": ("altered", "digest-mismatch"),
    "one byte flipped": ("altered", "digest-mismatch"),
    "wheel deleted": ("missing", "not-published"),
    "`.metadata` of another version": ("altered", "metadata-differs"),
    "`.metadata` of another version, its digest on the pages": ("metadata-differs", "page-disagrees"),
    "`.metadata` deleted": ("missing",),
    "page lacks a file": ("page-disagrees", "not-published"),
    "HTML alone lacks a file": ("forms-disagree", "not-published"),
    "page lists a missing file": ("missing", "page-disagrees"),
    "JSON disagrees with HTML": ("forms-disagree",),
    "pages of no known type": ("wrong-type", "not-published"),
    "JSON as application/json": ("wrong-type", "not-published"),
    "stale page behind a cache": ("stale-page",),
    "`%2B` not understood": ("missing", "not-published"),
    "`+` bare in links, a space to the host": ("wrong-link", "missing", "not-published"),
    "403 for the unknown": ("not-404",),
    "200 for the unknown": ("not-404",),
    "gzip-encoded wheel": ("encoded", "altered", "digest-mismatch"),
    "gzip-encoded `.metadata`": ("encoded", "altered"),
    "yank marker missing": ("page-disagrees",),
    "root list lacks a project": ("list-disagrees",),
    "HTML root list alone lacks a project": ("list-disagrees",),
    "null upload-time": ("null-value", "forms-disagree"),
    "page without its slash": ("wrong-redirect",),
    "`HEAD` refused": ("no-head",),
    "no ranges": ("no-ranges",),
    "files never cached": ("wrong-cache",),
    "pages cached for a year": ("wrong-cache",),
    "the publisher's state is public": ("state-public",),
    "wheel cut off behind its right length": ("altered", "not-published"),
    "connection ends where a wheel should begin": ("refused", "not-published"),
    "wheel redirects to itself": ("refused", "not-published"),
    "wheel redirects to what nobody follows": ("refused", "not-published"),
    "one form, and an old page for who prefers JSON": ("forms-disagree", "not-published"),
    "the unknown is looked for on another index": ("not-404",),
    "a project that nobody mirrored": ("page-disagrees",),
    "requires-python that no Python satisfies": ("page-disagrees", "not-published"),
    "project in quarantine": ("page-disagrees", "not-published"),
    "`.metadata` offered without a digest, and deleted": ("missing", "page-disagrees"),
    "`dist-info-metadata` as well": ("old-metadata",),
    "JSON names other versions": ("page-disagrees",),
    "root list links to another host": ("wrong-link",),
    "root list names a project twice": ("list-disagrees",),
    "`HEAD` forbidden": ("no-head",),
    "`HEAD` states another size": ("no-head",),
    "ranges promised and not given": ("no-ranges",),
    "gzip of a page without its end": ("unreadable-page", "not-published"),
    "pages that expire in a hundred years": ("wrong-cache",),
    "two forms without `Vary`": ("wrong-cache",),
    "files to be asked for anew each time": ("wrong-cache",),
    "304 to whoever has any page": ("wrong-cache",),
}
"""By mutant: findings' codes and cells' reasons of which `mirror verify --url` reports every one."""

DOCTOR: Mapping[str, tuple[str, ...]] = {
    "wheel truncated": ("F1",),
    "one byte flipped": ("F1",),
    "wheel deleted": ("F4",),
    "`.metadata` of another version": ("H12",),
    "`.metadata` of another version, its digest on the pages": ("H12",),
    "`.metadata` deleted": ("H12",),
    "page lacks a file": (),
    "HTML alone lacks a file": ("J15",),
    "page lists a missing file": ("J4", "F4"),
    "JSON disagrees with HTML": ("H9", "J15"),
    "pages of no known type": ("U1", "U7"),
    "JSON as application/json": ("U7",),
    "stale page behind a cache": ("U15", "U14"),
    "`%2B` not understood": ("H12", "F4"),
    "`+` bare in links, a space to the host": ("H8", "H12", "F4"),
    "403 for the unknown": ("U6",),
    "200 for the unknown": ("U6",),
    "gzip-encoded wheel": ("U13",),
    "gzip-encoded `.metadata`": ("U13",),
    "yank marker missing": (),
    "root list lacks a project": (),
    "HTML root list alone lacks a project": ("J2",),
    "null upload-time": ("J10",),
    "page without its slash": ("U3", "U4"),
    "`HEAD` refused": ("U12",),
    "no ranges": ("U12",),
    "files never cached": ("U15",),
    "pages cached for a year": ("U15",),
    "the publisher's state is public": (),
    "wheel cut off behind its right length": ("F4",),
    "connection ends where a wheel should begin": ("F4",),
    "wheel redirects to itself": ("F4",),
    "wheel redirects to what nobody follows": ("F4",),
    "one form, and an old page for who prefers JSON": ("F5", "U9"),
    "the unknown is looked for on another index": ("U6",),
    "a project that nobody mirrored": (),
    "requires-python that no Python satisfies": ("H9",),
    "project in quarantine": ("H17", "J13"),
    "`.metadata` offered without a digest, and deleted": ("H12", "H10", "J7"),
    "`dist-info-metadata` as well": ("H11",),
    "JSON names other versions": ("J4",),
    "root list links to another host": (),
    "root list names a project twice": ("U1",),
    "`HEAD` forbidden": ("U12",),
    "`HEAD` states another size": ("U12",),
    "ranges promised and not given": ("U12",),
    "gzip of a page without its end": (),
    "pages that expire in a hundred years": ("U15",),
    "two forms without `Vary`": ("U9",),
    "files to be asked for anew each time": ("U15",),
    "304 to whoever has any page": (),
}
"""By mutant: rows that fail or warn in `mirror doctor`; mostly none where only the lock or the manifest can tell."""
