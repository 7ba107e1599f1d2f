"""What the edge answers: the shipped function in its host, the template's behaviors and policy, and the cache."""

from __future__ import annotations

import base64
import http.client
import inspect
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from mirror.cdn.paths import paths
from mirror.infra.blueprint import Blueprint
from mirror.infra.edge import LIMIT, edge_function, new_reader
from mirror.layout import JSON_TYPE, POINTER, project_page_keys
from mirror.simple import html
from mirror.simple import json as json_pages
from tests import test_edge as gate
from tests.s3.edge import bucket_policy, edge, resolved
from tests.sites import Site, make_site, small_site
from tests.templates import REGION
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.s3.conftest import Bucket
    from tests.s3.edge import Edge
    from tests.s3.servers import Server

PLUS = "beta-1.0+cpu-py3-none-any.whl"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def cache(self) -> str:
        return self.headers.get("x-cache", "")


def ask(edge: Edge, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request, its path exactly as given."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        fields = [(name.lower(), value) for name, value in reply.getheaders()]
        assert [name for name, _ in fields].count("location") <= 1, fields
        return Answer(reply.status, dict(fields), reply.read())
    finally:
        connection.close()


@pytest.fixture
def bucket(make_bucket: Callable[[str], Bucket]) -> Bucket:
    return make_bucket("rgw")


@pytest.fixture
def front(bucket: Bucket, tmp_path: Path, machine_environment: dict[str, str]) -> Iterator[Edge]:
    stack = resolved(Blueprint(region=REGION, bucket=bucket.name))
    bucket.admin.put_bucket_policy(Bucket=bucket.name, Policy=bucket_policy(stack))
    rules = stack.properties("Bucket")["CorsConfiguration"]["CorsRules"]
    bucket.admin.put_bucket_cors(Bucket=bucket.name, CORSConfiguration={"CORSRules": rules})
    (tmp_path / "edge").mkdir()
    with edge(tmp_path / "edge", machine_environment, bucket.server, stack) as running:
        yield running


def site_of(folder: Path, version: str = "1.0") -> Site:
    made = folder / "made"
    return make_site(folder, [make_wheel(made, "alpha", version), make_wheel(made, "beta", "1.0+cpu")])


CASES = [
    case
    for name, case in inspect.getmembers(gate, inspect.isfunction)
    if name.startswith("test_") and "engine" in inspect.signature(case).parameters
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.usefixtures("start")
def test_the_function_passes_njs(case: Callable[..., None], tmp_path: Path) -> None:
    """The gate of tests/test_edge.py, where njs may be missing; here it is installed, and nothing is skipped."""
    engine = shutil.which("njs")
    assert engine
    case(engine, tmp_path)
    assert len(edge_function().encode()) < LIMIT


def test_it_answers_as_a_host_should(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    site = site_of(tmp_path / "site")
    site.publish(bucket.store())
    pages = {
        "/": ("index.html", "text/html; charset=utf-8"),
        "/projects/alpha.html": ("projects/alpha.html", "text/html; charset=utf-8"),
        "/simple/": ("simple/index.html", "text/html; charset=utf-8"),
        "/simple/alpha/": ("simple/alpha/index.html", "text/html; charset=utf-8"),
        "/simple/alpha/index.v1_json": ("simple/alpha/index.v1_json", JSON_TYPE),
    }
    for path, (key, kind) in pages.items():
        first, second = ask(front, path), ask(front, path)
        assert (first.status, first.cache, second.cache) == (200, "MISS", "HIT"), path
        assert first.body == second.body == (site.pages / key).read_bytes()
        assert first.headers["content-type"] == kind
        assert first.headers["cache-control"] == "max-age=600"
        assert first.headers["x-content-type-options"] == "nosniff"
        assert not any(name.startswith("x-amz-meta-cache-tag") for name in first.headers)
    # The distribution puts its root object in the place of "/" before the function: a redirect back would never end.
    assert ask(front, "/index.html").body == ask(front, "/").body
    asked = ask(front, "/simple/alpha/", Accept=JSON_TYPE)
    assert (asked.headers["content-type"], asked.headers["vary"]) == (JSON_TYPE, "Accept, Origin")
    moves = {"/simple/Alpha": "/simple/alpha/", "/simple": "/simple/", "/simple/alpha/index.html": "/simple/alpha/"}
    for path, place in moves.items():
        moved = ask(front, path)
        assert (moved.status, moved.headers["location"]) == (301, place), path


def test_installers_in_browsers_may_read_whoever_asked_first(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    site_of(tmp_path / "site").publish(bucket.store())
    for path in ("/simple/", "/simple/alpha/", "/packages/alpha-1.0-py3-none-any.whl"):
        for origin in ({}, {"Origin": "https://notebook.example"}, {}, {"Origin": "https://other.example"}):
            answer = ask(front, path, **origin)
            assert answer.status == 200
            # The gateway names who asks, where S3 says "*".
            allowed = ("*", origin["Origin"]) if origin else (None,)
            assert answer.headers.get("access-control-allow-origin") in allowed, (path, origin)
    assert ask(front, "/simple/alpha/", Origin="https://other.example").cache == "HIT"
    assert ask(front, "/simple/alpha/", Origin="https://other.example").headers["vary"] == "Accept, Origin"


def test_an_artifact_in_every_way_that_clients_ask_for_it(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    site = site_of(tmp_path / "site")
    site.publish(bucket.store())
    data = (site.artifacts / PLUS).read_bytes()
    quoted = f"/packages/{PLUS.replace('+', '%2B')}"
    first = ask(front, quoted)
    assert (first.status, first.body, first.cache) == (200, data, "MISS")
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    for spelling in (quoted, quoted.replace("%2B", "%2b"), f"/packages/{PLUS}"):
        again = ask(front, spelling)
        assert (again.status, again.body, again.cache) == (200, data, "HIT"), spelling
    head = ask(front, quoted, "HEAD")
    assert (head.status, head.body, int(head.headers["content-length"])) == (200, b"", len(data))
    part = ask(front, quoted, Range="bytes=5-9")
    assert (part.status, part.body, part.headers["content-range"]) == (206, data[5:10], f"bytes 5-9/{len(data)}")
    end = ask(front, quoted, Range="bytes=-4")
    assert (end.status, end.body) == (206, data[-4:])
    beyond = ask(front, quoted, Range=f"bytes={len(data)}-")
    assert beyond.status == 416
    same = ask(front, quoted, If_None_Match=first.headers["etag"])
    assert (same.status, same.body) == (304, b"")
    assert ask(front, quoted, If_None_Match='"other"').status == 200
    sidecar = ask(front, f"{quoted}.metadata")
    assert sidecar.body == (site.artifacts / f"{PLUS}.metadata").read_bytes()
    # Never compressed, however much a client would like it: pip checks the bytes that came.
    assert "content-encoding" not in ask(front, quoted, Accept_Encoding="gzip").headers


def test_what_is_first_asked_for_by_head_or_in_part_is_cached_whole(
    bucket: Bucket, front: Edge, tmp_path: Path
) -> None:
    site = site_of(tmp_path / "site")
    site.publish(bucket.store())
    for name, asked in {"alpha-1.0-py3-none-any.whl": ("HEAD", {}), PLUS: ("GET", {"Range": "bytes=0-3"})}.items():
        path = f"/packages/{name.replace('+', '%2B')}"
        first = ask(front, path, asked[0], **asked[1])
        assert first.status in (200, 206)
        assert ask(front, path).body == (site.artifacts / name).read_bytes()
        assert ask(front, path).cache == "HIT"


STATE = (
    f"/{POINTER}", "/.mirror/", "/.mirror/releases/", "/%2Emirror/current.json", "/simple/../.mirror/current.json",
    "//.mirror/current.json", "/packages/..%2F.mirror%2Fcurrent.json", "/packages/../.mirror/current.json",
)  # fmt: skip


def test_state_is_never_served_and_what_is_missing_is_not_found(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    site = site_of(tmp_path / "site")
    site.publish(bucket.store())
    assert bucket.store().read(POINTER)
    for path in STATE:
        assert ask(front, path).status == 404, path
        assert ask(front, path, "HEAD").status == 404, path
    for path in (
        "/simple/gamma/",
        "/simple/gamma/index.v1_json",
        "/packages/gamma-1.0-py3-none-any.whl",
        "/robots.txt",
    ):
        missing = ask(front, path)
        assert missing.status == 404, path
        assert ask(front, path, "HEAD").status == 404, path
    assert ask(front, "/simple/", "PUT").status == 403
    assert ask(front, "/simple/", "DELETE").status == 403


def test_the_bucket_is_private_and_the_edge_may_read_only_what_is_public(
    bucket: Bucket, front: Edge, tmp_path: Path
) -> None:
    """Without the function, too: the bucket's own policy keeps the state from the edge."""
    site_of(tmp_path / "site").publish(bucket.store())
    url = bucket.server.endpoint.removeprefix("http://")
    connection = http.client.HTTPConnection(url, timeout=20)
    try:
        connection.request("GET", f"/{bucket.name}/simple/index.html")
        assert connection.getresponse().status == 403
    finally:
        connection.close()
    second: Any = bucket.store(profile="rgw-second")
    assert second.read("simple/index.html")
    with pytest.raises(Exception, match="AccessDenied"):
        second.read(POINTER)


@pytest.mark.parametrize("form", ["text/html", JSON_TYPE])
@pytest.mark.parametrize("name", ["alpha", ""], ids=["project", "list"])
def test_the_old_page_stays_unless_every_spelling_is_forgotten(
    form: str, name: str, bucket: Bucket, front: Edge, tmp_path: Path
) -> None:
    old = small_site(tmp_path / "old")
    new = small_site(tmp_path / "new", version="2.0", projects=("alpha", "beta", "gamma"))
    store = bucket.store()
    old.publish(store)
    folder = f"/simple/{name}/" if name else "/simple/"
    keys = project_page_keys(name) if name else ("simple/index.html", "simple/index.v1_json")
    key = keys[form == JSON_TYPE]

    def shown() -> bytes:
        return ask(front, folder, Accept=form).body

    assert shown() == (old.pages / key).read_bytes()
    new.publish(store, allow_shrink=True)
    stale, fresh = (old.pages / key).read_bytes(), (new.pages / key).read_bytes()
    assert stale != fresh
    assert shown() == stale
    front.forget((folder,))
    assert shown() == stale, "the path that was asked for is not the one that is cached"
    front.forget((f"/{keys[form != JSON_TYPE]}",))
    assert shown() == stale, "the other form has a cache entry of its own"
    asked = paths([key])
    assert set(asked) == {folder, f"/{key}"}
    front.forget(asked)
    assert shown() == fresh
    assert ask(front, folder, Accept=form).cache == "HIT"


def test_a_wildcard_takes_all_that_begin_alike_and_nothing_else(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    site_of(tmp_path / "site").publish(bucket.store())
    for path in ("/", "/simple/", "/simple/alpha/", "/simple/beta/", "/packages/alpha-1.0-py3-none-any.whl"):
        assert ask(front, path).status == 200
    front.forget(("/simple/*",))
    assert front.cached() == {"/index.html", "/packages/alpha-1.0-py3-none-any.whl"}


class _Origin(ThreadingHTTPServer):
    """Takes its time over the first answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked, self.go = threading.Event(), threading.Event()


class _Answering(BaseHTTPRequestHandler):
    server: _Origin

    def do_GET(self) -> None:
        body = b"new" if self.server.asked.is_set() else b"old"
        self.server.asked.set()
        self.server.go.wait(20)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_answer_that_is_under_way_while_its_page_is_forgotten_is_not_kept(
    tmp_path: Path, machine_environment: dict[str, str], start: Callable[[str], Server]
) -> None:
    with _Origin() as origin:
        threading.Thread(target=origin.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        server = replace(start("rgw"), endpoint=f"http://127.0.0.1:{origin.server_address[1]}")
        with edge(tmp_path, machine_environment, server, resolved(Blueprint(region=REGION))) as front:
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(ask, front, "/simple/alpha/")
                assert origin.asked.wait(20)
                front.forget(paths(["simple/alpha/index.html"]))
                origin.go.set()
                assert first.result().body == b"old"
            assert [ask(front, "/simple/alpha/").body for _ in range(2)] == [b"new", b"new"]
            assert front.cached() == {"/simple/alpha/index.html"}
        origin.shutdown()


def test_a_page_that_was_not_there_is_there_once_it_is_published_and_invalidated(
    bucket: Bucket, front: Edge, tmp_path: Path
) -> None:
    """That something was not there is remembered, too."""
    assert ask(front, "/simple/alpha/").status == 404
    site_of(tmp_path / "site").publish(bucket.store())
    assert ask(front, "/simple/alpha/").status == 404
    front.forget(paths(project_page_keys("alpha")))
    assert ask(front, "/simple/alpha/").status == 200


def test_large_pages_are_compressed_and_mean_the_same(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    made = tmp_path / "made"
    site = make_site(tmp_path / "site", [make_wheel(made, "alpha", f"1.{number}") for number in range(20)])
    site.publish(bucket.store())
    squeezed = ask(front, "/simple/alpha/", Accept_Encoding="gzip")
    assert squeezed.headers["content-encoding"] == "gzip"
    plain = ask(front, "/simple/alpha/").body
    assert len(squeezed.body) < len(plain) == (site.pages / "simple/alpha/index.html").stat().st_size
    form = json.loads(ask(front, "/simple/alpha/", Accept=JSON_TYPE, Accept_Encoding="gzip").body)
    assert len(form["files"]) == 20


def test_the_pages_of_both_forms_list_the_same_files(bucket: Bucket, front: Edge, tmp_path: Path) -> None:
    site_of(tmp_path / "site").publish(bucket.store())
    texts = [ask(front, "/simple/beta/", Accept=form).body for form in ("text/html", JSON_TYPE)]
    one, other = html.parse(texts[0], "/simple/beta/", "beta"), json_pages.parse(texts[1], "/simple/beta/", "beta")
    href = f"/packages/{PLUS.replace('+', '%2B')}"
    assert [file.url for file in one.files] == [file.url for file in other.files] == [href]


def test_readers_with_a_token_and_nobody_else(
    bucket: Bucket, tmp_path: Path, machine_environment: dict[str, str]
) -> None:
    reader, token = new_reader("ci")
    stack = resolved(Blueprint(region=REGION, bucket=bucket.name, readers=(reader,)))
    bucket.admin.put_bucket_policy(Bucket=bucket.name, Policy=bucket_policy(stack))
    site_of(tmp_path / "site").publish(bucket.store())
    (tmp_path / "edge").mkdir()
    with edge(tmp_path / "edge", machine_environment, bucket.server, stack) as front:
        right = base64.b64encode(f"ci:{token}".encode()).decode()
        allowed = ask(front, "/simple/alpha/", Authorization=f"Basic {right}")
        assert allowed.status == 200
        # What is in the cache now is still not for everybody.
        refused = ask(front, "/simple/alpha/")
        assert (refused.status, refused.headers["cache-control"]) == (401, "no-store")
        assert ask(front, "/simple/alpha/", Authorization=f"Basic {right[:-4]}AAAA").status == 401
