"""The edge function as a CDN runs it: in node, and in njs, whose language is as narrow as CloudFront's."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from mirror.infra.edge import LIMIT, Reader, edge_function, new_reader
from mirror.serve import negotiate

if TYPE_CHECKING:
    from pathlib import Path

JSON_V1 = "application/vnd.pypi.simple.v1+json"
PIP = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
UV = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"

ENGINES = {name: path for name in ("node", "njs") if (path := shutil.which(name))}
engine = pytest.fixture(params=["node", "njs"])(lambda request: _engine(request.param))


def _engine(name: str) -> str:
    if name not in ENGINES:
        pytest.skip(f"{name} is not installed")
    return ENGINES[name]


def ask(engine: str, tmp_path: Path, requests: list[dict[str, Any]], readers: tuple[Reader, ...] = ()) -> list[Any]:
    """What the function makes of some requests."""
    events = [{"version": "1.0", "context": {"eventType": "viewer-request"}, "request": each} for each in requests]
    # A line for each answer, since njs cuts lines after 2,048 characters.
    show = "events.forEach((event) => console.log(JSON.stringify(handler(event))));"
    run = f"const events = {json.dumps(events)};\n{show}\n"
    script = tmp_path / "edge.js"
    script.write_text(f"{edge_function(readers)}\n{run}", "utf-8")
    done = subprocess.run([engine, str(script)], capture_output=True, text=True, check=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]


def request(uri: str, accept: str | None = None, **headers: str) -> dict[str, Any]:
    fields = {**({} if accept is None else {"accept": accept}), **headers}
    return {"method": "GET", "uri": uri, "querystring": {}, "cookies": {},
            "headers": {name: {"value": text} for name, text in fields.items()}}  # fmt: skip


REWRITES = {
    "/": "/index.html",
    "/index.html": "/index.html",
    "/projects/foo-bar.html": "/projects/foo-bar.html",
    "/projects/index.html": "/projects/index.html",
    "/simple/": "/simple/index.html",
    "/simple/index.v1_json": "/simple/index.v1_json",
    "/simple/foo/": "/simple/foo/index.html",
    "/simple/foo/index.v1_json": "/simple/foo/index.v1_json",
    "/packages/foo-1.0-py3-none-any.whl": "/packages/foo-1.0-py3-none-any.whl",
    "/packages/foo-1.0+cpu-py3-none-any.whl": "/packages/foo-1.0%2Bcpu-py3-none-any.whl",
    "/packages/foo-1.0%2bcpu-py3-none-any.whl.metadata": "/packages/foo-1.0%2Bcpu-py3-none-any.whl.metadata",
    "/packages/foo-1!2.0.tar.gz": "/packages/foo-1!2.0.tar.gz",
}
REDIRECTS = {
    "/simple": "/simple/",
    "/simple/index.html": "/simple/",
    "/simple/foo": "/simple/foo/",
    "/simple/Foo_Bar": "/simple/foo-bar/",
    "/simple/zope.interface/": "/simple/zope-interface/",
    "/simple/Foo.-_Bar/index.v1_json": "/simple/foo-bar/index.v1_json",
    "/simple/foo/index.html": "/simple/foo/",
}
MISSING = (
    "", "simple/foo/", "//", "/.mirror/current.json", "/.mirror/", "/%2Emirror/current.json", "/robots.txt",
    "/favicon.ico", "/projects", "/projects/", "/projects/foo", "/projects/Foo_Bar.html", "/projects/-foo.html",
    "/projects/foo/index.html", "/projects/..%2F.mirror.html", "/projects/foo.html/", "/projects/.html",
    "/simple//", "/simple/foo//", "/simple/foo/other.html", "/simple/foo/bar/", "/simple/-foo/", "/simple/../.mirror/",
    "/simple/..", "/simple/%2e%2e/", "/packages", "/packages/", "/packages/a/b", "/packages/../.mirror/current.json",
    "/packages/..%2F.mirror%2Fcurrent.json", "/packages/a..b", "/packages/.hidden", "/packages/a%00b", "/packages/a b",
)  # fmt: skip


def test_the_table_of_requests(engine: str, tmp_path: Path) -> None:
    uris = [*REWRITES, *REDIRECTS, *MISSING]
    answers = dict(zip(uris, ask(engine, tmp_path, [request(uri, "text/html") for uri in uris]), strict=True))
    assert {uri: answers[uri].get("uri") for uri in REWRITES} == REWRITES
    for uri, location in REDIRECTS.items():
        assert (answers[uri]["statusCode"], answers[uri]["headers"]["location"]["value"]) == (301, location), uri
    assert {uri: answers[uri].get("statusCode") for uri in MISSING} == dict.fromkeys(MISSING, 404)


ACCEPTS = (
    PIP, UV, "*/*", "text/html", "text/*", "application/*", JSON_V1, f"{JSON_V1};q=0", f"{JSON_V1};q=0, text/html;q=0",
    "application/vnd.pypi.simple.latest+json", "application/vnd.pypi.simple.latest+html",
    f"text/html, {JSON_V1}", f"text/html, {JSON_V1};q=0.9", f"TEXT/HTML;Q=0.5 , {JSON_V1.upper()} ; q=0.6",
    f"{JSON_V1};q=bad, text/html;q=0.1", f"{JSON_V1};q=2", "image/png", ";,;", f"*/*;q=0.5, {JSON_V1};q=0.4",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/*, text/html;q=0.9",
    f"{JSON_V1};version=1;q=0.1, text/html;q=0.2", "*/*;q=0.1, text/*;q=0.1",
)  # fmt: skip


def test_the_edge_negotiates_as_mirror_serve_does(engine: str, tmp_path: Path) -> None:
    answers = ask(engine, tmp_path, [request("/simple/foo/", accept) for accept in ACCEPTS])
    got = {accept: answer["uri"] for accept, answer in zip(ACCEPTS, answers, strict=True)}
    assert got == {accept: f"/simple/foo/{negotiate(accept)[1]}" for accept in ACCEPTS}
    assert set(got.values()) == {"/simple/foo/index.html", "/simple/foo/index.v1_json"}


def test_several_accept_headers_count_as_one(engine: str, tmp_path: Path) -> None:
    several = request("/simple/")
    several["headers"]["accept"] = {
        "value": "text/html;q=0.1",
        "multiValue": [{"value": "text/html;q=0.1"}, {"value": JSON_V1}],
    }
    nothing = request("/simple/")
    answers = ask(engine, tmp_path, [several, nothing])
    assert [answer["uri"] for answer in answers] == ["/simple/index.v1_json", "/simple/index.html"]


def test_readers_are_let_in_and_nobody_else(engine: str, tmp_path: Path) -> None:
    (reader, token), (other, _) = new_reader("ci"), new_reader("laptop")
    right = base64.b64encode(f"ci:{token}".encode()).decode()
    wrong = base64.b64encode(f"ci:{token}x".encode()).decode()
    stated = (
        f"Basic {right}",
        f"basic  {right}",
        f"Basic {wrong}",
        f"Bearer {right}",
        "Basic",
        reader.digest,
        "",
        None,
    )
    requests = [request("/simple/", **({} if each is None else {"authorization": each})) for each in stated]
    answers = ask(engine, tmp_path, requests, (reader, other))
    assert [answer.get("statusCode", 200) for answer in answers] == [200, 200, 401, 401, 401, 401, 401, 401]
    for answer in answers[:2]:
        assert answer["uri"] == "/simple/index.html"
        assert "authorization" not in answer["headers"]
    for answer in answers[2:]:
        assert answer["headers"]["www-authenticate"]["value"].startswith("Basic realm=")
        assert answer["headers"]["cache-control"]["value"] == "no-store"


def test_every_path_asks_for_credentials(engine: str, tmp_path: Path) -> None:
    uris = ["/", "/simple/", "/packages/foo-1.0.tar.gz", "/.mirror/current.json", "/simple/Foo"]
    answers = ask(engine, tmp_path, [request(uri) for uri in uris], (new_reader("ci")[0],))
    assert [answer["statusCode"] for answer in answers] == [401] * len(uris)


def test_the_source_is_small_and_holds_no_token() -> None:
    reader, token = new_reader("ci")
    code = edge_function((reader,))
    assert len(code.encode("utf-8")) < LIMIT
    assert token not in code
    assert re.search(rf"^const READERS = \['{reader.digest}'\];$", code, re.MULTILINE)
    assert edge_function() == edge_function(())


def test_two_tokens_are_never_the_same() -> None:
    made = [new_reader("ci") for _ in range(20)]
    assert len({token for _, token in made}) == len({reader.digest for reader, _ in made}) == 20
    assert min(len(token) for _, token in made) >= 43
