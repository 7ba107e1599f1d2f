"""The server over real HTTP: uvicorn on a free loopback port, asked by clients that nothing normalizes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from mirror.errors import MirrorError
from mirror.files import write
from mirror.layout import HTML_TYPE, JSON_TYPE
from mirror.phases.index import index
from mirror.progress import Silence
from mirror.serve import application, negotiate, serve
from mirror.simple.site import PEOPLE_POLICY
from tests.oddities import artifact, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PLUS = "demo-1.0+cpu-py3-none-any.whl"
QUOTED = "demo-1.0%2Bcpu-py3-none-any.whl"
BYTES = bytes(range(256)) * 4
HTML_V1 = "application/vnd.pypi.simple.v1+html"
HELD = manifest(artifact(PLUS), artifact("my-demo-1.0.tar.gz"))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Site:
    root: Path
    port: int

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request with the path exactly as given; header names with `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            fields = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()


@contextmanager
def running(root: Path, app: object) -> Iterator[Site]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Site(root, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def publish(root: Path) -> Path:
    index(HELD, root, Silence())
    write(root / "packages" / PLUS, BYTES)
    write(root / "packages" / f"{PLUS}.metadata", b"Name: demo\n")
    write(root / "simple/long/index.html", BYTES)
    write(root / ".mirror" / "current.json", b"{}")
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = publish(tmp_path_factory.mktemp("site"))
    with running(root, application(root)) as found:
        yield found


class TestPages:
    @pytest.mark.parametrize(
        ("path", "key"), [("/simple/", "simple/index"), ("/simple/demo/", "simple/demo/index")], ids=["U1", "U2"]
    )
    def test_u1_u2_u7_pages_in_both_forms(self, site: Site, path: str, key: str) -> None:
        page = site.ask(path)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.body == (site.root / f"{key}.html").read_bytes()
        page = site.ask(path, Accept=JSON_TYPE)
        assert (page.status, page.headers["content-type"]) == (200, "application/vnd.pypi.simple.v1+json")
        assert page.body == (site.root / f"{key}.v1_json").read_bytes()

    @pytest.mark.parametrize("accept", [JSON_TYPE, "text/html", "*/*", ""])
    def test_u9_the_answer_varies_by_accept(self, site: Site, accept: str) -> None:
        page = site.ask("/simple/demo/", **({"Accept": accept} if accept else {}))
        assert page.headers["vary"] == "Accept"
        assert site.ask("/simple/demo/", Accept=accept, If_None_Match=page.headers["etag"]).headers["vary"] == "Accept"

    def test_u15_u16_what_stands_on_every_page(self, site: Site) -> None:
        for path in ("/simple/", "/simple/demo/", "/simple/demo/index.v1_json"):
            headers = site.ask(path).headers
            assert headers["cache-control"] == "max-age=600"
            assert headers["access-control-allow-origin"] == "*"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-security-policy"].startswith("default-src 'none'; sandbox")
            assert "content-encoding" not in headers

    def test_u12_several_forms_of_a_page_have_several_etags(self, site: Site) -> None:
        tags = {site.ask("/simple/demo/", Accept=accept).headers["etag"] for accept in ("text/html", JSON_TYPE)}
        assert len(tags) == 2

    def test_the_json_page_has_an_address_of_its_own(self, site: Site) -> None:
        page = site.ask("/simple/demo/index.v1_json", Accept="text/html")
        assert page.headers["content-type"] == JSON_TYPE
        assert json.loads(page.body)["name"] == "demo"
        assert "vary" not in page.headers

    @pytest.mark.parametrize(("path", "key"), [("/", "index.html"), ("/projects/demo.html", "projects/demo.html")])
    def test_pages_for_people_may_use_their_own_style_and_script(self, site: Site, path: str, key: str) -> None:
        page = site.ask(path)
        assert page.body == (site.root / key).read_bytes()
        assert page.headers["content-type"] == HTML_TYPE
        assert page.headers["content-security-policy"] == PEOPLE_POLICY
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] == "max-age=600"

    def test_a_page_changes_with_the_next_publish(self, tmp_path: Path) -> None:
        root = publish(tmp_path)
        with running(root, application(root)) as found:
            before = found.ask("/simple/demo/")
            index(manifest(artifact("demo-2.0.tar.gz")), root, Silence())
            after = found.ask("/simple/demo/", If_None_Match=before.headers["etag"])
            assert after.status == 200
            assert b"demo-2.0.tar.gz" in after.body
            assert found.ask("/simple/my-demo/").status == 404

    def test_a_page_that_is_replaced_meanwhile_is_never_a_mix(self, tmp_path: Path) -> None:
        root = publish(tmp_path)
        page = root / "simple/demo/index.html"
        versions = [bytes([letter]) * length for letter, length in ((65, 300_000), (66, 200_000), (67, 1))]
        write(page, versions[0])
        done = threading.Event()

        def replace() -> None:
            while not done.is_set():
                for body in versions:
                    write(page, body)

        writer = threading.Thread(target=replace)
        with running(root, application(root)) as found:
            writer.start()
            try:
                answers = [found.ask("/simple/demo/") for _ in range(150)]
            finally:
                done.set()
                writer.join()
        assert {answer.status for answer in answers} == {200}
        assert all(answer.body in versions for answer in answers)
        assert len({answer.headers["etag"] for answer in answers}) == len({answer.body for answer in answers}) > 1


class TestAddresses:
    @pytest.mark.parametrize(
        ("path", "target"),
        [
            ("/simple", "/simple/"),
            ("/simple/demo", "/simple/demo/"),
            ("/simple/My_Demo", "/simple/my-demo/"),
            ("/simple/My.Demo/", "/simple/my-demo/"),
            ("/simple/my--demo/", "/simple/my-demo/"),
            ("/simple/DEMO/index.html", "/simple/demo/"),
            ("/simple/DEMO/index.v1_json", "/simple/demo/index.v1_json"),
            ("/simple/demo/index.html", "/simple/demo/"),
            ("/simple/index.html", "/simple/"),
            ("/index.html", "/"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_u3_u4_u5_other_spellings_are_sent_to_the_page(
        self, site: Site, path: str, target: str, method: str
    ) -> None:
        answer = site.ask(path, method)
        assert answer.status == 301
        location = answer.headers["location"]
        assert urljoin(path, location) == target
        # Relative, so that it also holds behind a proxy that takes a prefix away.
        assert not location.startswith(("/", "http"))
        assert urljoin(f"https://mirror.example/pre/fix{path}", location) == f"https://mirror.example/pre/fix{target}"

    def test_every_redirect_arrives_under_a_prefix(self, site: Site) -> None:
        with running(site.root, Starlette(routes=[Mount("/deep/er", application(site.root))])) as found:
            for path in ("/deep/er/simple", "/deep/er/simple/My_Demo", "/deep/er/simple/My.Demo/"):
                answer = found.ask(urljoin(path, found.ask(path).headers["location"]))
                assert answer.status == 200
            assert found.ask(f"/deep/er/packages/{QUOTED}").body == BYTES
            assert found.ask("/simple/").status == 404

    @pytest.mark.parametrize(
        "path",
        [
            "/simple/unknown/",
            "/simple/unknown",
            "/simple/Un_Known/",
            "/simple/unknown/index.html",
            "/simple/unknown/index.v1_json",
            "/simple/demo/other",
            "/simple/demo/index.html/",
            "/simple/demo//",
            "/simple//",
            "/simple/-/",
            "/simple/%00/",
            "/simple/demo%0A/",
            "/simple/d%C3%A9mo/",
            f"/simple/{'a' * 300}/",
            f"/simple/{'a' * 300}",
            "/simplex/",
            "/SIMPLE/",
            "/packages/",
            "/packages",
            "/packages/demo-2.0.tar.gz",
            f"/packages/{'a' * 300}.whl",
            f"/packages/x/{QUOTED}",
            f"/packages/{QUOTED}/",
            f"//packages/{QUOTED}",
            "/projects",
            "/projects/",
            "/projects/demo",
            "/projects/Demo.html",
            "/projects/unknown.html",
            "/projects/demo.html/",
            "/projects/demo.html%0A",
            "/projects/x/demo.html",
            "/favicon.ico",
            "/robots.txt",
            "/%0A",
        ],
    )
    def test_u6_what_is_not_there_is_404(self, site: Site, path: str) -> None:
        answer = site.ask(path)
        assert answer.status == 404
        assert answer.headers["content-type"].startswith("text/plain")

    @pytest.mark.parametrize(
        "path",
        [
            "/.mirror/current.json",
            "/.mirror/",
            "/%2emirror/current.json",
            "/simple/../.mirror/current.json",
            "/simple/%2e%2e/.mirror/current.json",
            "/simple/..%2f.mirror%2fcurrent.json",
            "/packages/../.mirror/current.json",
            "/packages/..%2f.mirror%2fcurrent.json",
            "/packages/%2e%2e%2f%2e%2e%2fsecret.txt",
            "/packages/..%5csecret.txt",
            "/packages//etc/passwd",
            "/../secret.txt",
            "/simple/./demo/",
        ],
    )
    def test_nothing_outside_the_layout_is_served(self, site: Site, path: str) -> None:
        (site.root.parent / "secret.txt").write_text("secret")
        assert site.ask(path).status == 404

    def test_links_do_not_lead_out_of_the_tree_but_hard_links_are_files(self, tmp_path: Path) -> None:
        root = publish(tmp_path / "site")
        secret = tmp_path / "secret"
        (secret / "evil").mkdir(parents=True)
        (secret / "evil/index.html").write_text("secret")
        (root / "packages/out-1.0.tar.gz").symlink_to(secret / "evil/index.html")
        (root / "packages/state-1.0.tar.gz").symlink_to(root / ".mirror/current.json")
        (root / "packages/inside-1.0.tar.gz").symlink_to(PLUS)
        (root / "packages/dangling-1.0.tar.gz").symlink_to("nowhere")
        (root / "packages/folder-1.0.tar.gz").mkdir()
        (root / "simple/evil").symlink_to(secret / "evil")
        os.link(root / "packages" / PLUS, root / "packages/hard-1.0.tar.gz")
        os.mkfifo(root / "packages/pipe-1.0.tar.gz")
        with running(root, application(root)) as found:
            for name in ("out", "state", "inside", "dangling", "folder", "pipe"):
                assert found.ask(f"/packages/{name}-1.0.tar.gz").status == 404, name
            assert found.ask("/simple/evil/").status == 404
            assert found.ask("/simple/evil").status == 404
            assert found.ask("/packages/hard-1.0.tar.gz").body == BYTES

    def test_the_root_itself_may_be_a_link(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "current").symlink_to(site.root)
        with running(tmp_path, application(tmp_path / "current")) as found:
            assert found.ask("/simple/demo/").status == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_nothing_can_be_changed(self, site: Site, method: str) -> None:
        answer = site.ask("/simple/demo/", method)
        assert answer.status == 405
        assert {"GET", "HEAD"} == set(answer.headers["allow"].replace(" ", "").split(","))


class TestArtifacts:
    @pytest.mark.parametrize("name", [PLUS, QUOTED, QUOTED.replace("%2B", "%2b")])
    @pytest.mark.parametrize("suffix", ["", ".metadata"])
    def test_h8_plus_in_every_spelling(self, site: Site, name: str, suffix: str) -> None:
        answer = site.ask(f"/packages/{name}{suffix}")
        assert (answer.status, answer.body) == (200, b"Name: demo\n" if suffix else BYTES)

    def test_u13_u15_u17_what_stands_on_an_artifact(self, site: Site) -> None:
        headers = site.ask(f"/packages/{QUOTED}", Accept_Encoding="gzip, deflate, br, zstd").headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["content-length"] == str(len(BYTES))
        assert headers["accept-ranges"] == "bytes"
        assert headers["access-control-allow-origin"] == "*"
        assert headers["x-content-type-options"] == "nosniff"
        assert not {"content-encoding", "content-disposition", "transfer-encoding", "vary"} & set(headers)
        assert site.ask(f"/packages/{QUOTED}.metadata").headers["content-type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("path", ["/", "/simple/", "/simple/demo/", f"/packages/{QUOTED}", "/simple/nothing/"])
    def test_u12_head_says_what_get_would(self, site: Site, path: str) -> None:
        head, get = site.ask(path, "HEAD"), site.ask(path)
        assert head.body == b""
        assert head.status == get.status
        assert {**head.headers, "date": ""} == {**get.headers, "date": ""}

    @pytest.mark.parametrize(
        ("asked", "span"),
        [
            ("bytes=0-0", (0, 1)),
            ("bytes=10-19", (10, 20)),
            ("bytes=1000-", (1000, 1024)),
            ("bytes=1000-99999", (1000, 1024)),
            ("bytes=-24", (1000, 1024)),
            ("bytes=-99999", (0, 1024)),
            ("BYTES=5-6", (5, 7)),
        ],
    )
    @pytest.mark.parametrize("path", [f"/packages/{QUOTED}", "/simple/long/"], ids=["artifact", "page"])
    def test_u12_ranges(self, site: Site, path: str, asked: str, span: tuple[int, int]) -> None:
        whole = site.ask(path).body
        start, stop = span
        answer = site.ask(path, Range=asked)
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
        assert answer.headers["content-length"] == str(stop - start)
        assert answer.body == whole[start:stop]

    @pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=1024-2000", "bytes=-0", "bytes=999999999999-"])
    def test_u12_a_range_beyond_the_end_is_416(self, site: Site, asked: str) -> None:
        answer = site.ask(f"/packages/{QUOTED}", Range=asked)
        assert answer.status == 416
        assert answer.headers["content-range"] == "bytes */1024"

    @pytest.mark.parametrize(
        "asked", ["bytes=2-1", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", f"bytes=0-{'9' * 5000}", "x"]
    )
    def test_a_range_that_cannot_be_followed_is_ignored(self, site: Site, asked: str) -> None:
        answer = site.ask(f"/packages/{QUOTED}", Range=asked)
        assert (answer.status, answer.body) == (200, BYTES)

    def test_a_range_of_a_head_is_ignored(self, site: Site) -> None:
        assert site.ask(f"/packages/{QUOTED}", "HEAD", Range="bytes=0-1").headers["content-length"] == "1024"

    def test_if_range(self, site: Site) -> None:
        etag = site.ask(f"/packages/{QUOTED}").headers["etag"]
        asked = {"same": etag, "other": '"other"', "weak": f"W/{etag}", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
        found = {
            key: site.ask(f"/packages/{QUOTED}", Range="bytes=0-9", If_Range=value).status
            for key, value in asked.items()
        }
        assert found == {"same": 206, "other": 200, "weak": 200, "date": 200}

    def test_an_empty_file(self, tmp_path: Path) -> None:
        root = publish(tmp_path)
        write(root / "packages/empty-1.0.tar.gz", b"")
        with running(root, application(root)) as found:
            assert found.ask("/packages/empty-1.0.tar.gz").body == b""
            assert found.ask("/packages/empty-1.0.tar.gz", Range="bytes=0-").status == 416

    def test_a_large_file_comes_whole_and_a_client_that_leaves_harms_nobody(self, tmp_path: Path) -> None:
        root = publish(tmp_path)
        large = os.urandom(1 << 20) * 24
        write(root / "packages/large-1.0.tar.gz", large)
        with running(root, application(root)) as found:
            for _ in range(5):
                with socket.create_connection(("127.0.0.1", found.port)) as client:
                    client.sendall(b"GET /packages/large-1.0.tar.gz HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert client.recv(100).startswith(b"HTTP/1.1 200")
            assert found.ask("/packages/large-1.0.tar.gz").body == large
            assert (
                found.ask("/packages/large-1.0.tar.gz", Range="bytes=1000000-9000000").body
                == large[1_000_000:9_000_001]
            )
            if Path("/proc/self/fd").is_dir():
                # The server learns of a client that left a moment later.
                deadline = time.monotonic() + 20
                while _opened("large-1.0.tar.gz") and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert not _opened("large-1.0.tar.gz")


def _opened(name: str) -> list[str]:
    """Files of that name that this process has open (Linux)."""
    return [path for entry in Path("/proc/self/fd").iterdir() if (path := os.path.realpath(entry)).endswith(name)]


class TestConditions:
    PATHS = ("/", "/simple/", "/simple/demo/", f"/packages/{QUOTED}", f"/packages/{QUOTED}.metadata")

    @pytest.mark.parametrize("path", PATHS)
    def test_u14_a_strong_etag_answers_304(self, site: Site, path: str) -> None:
        etag = site.ask(path).headers["etag"]
        assert etag.startswith('"')
        for stated in (etag, f"W/{etag}", f'"a", {etag}', f'W/"b,c",{etag}', "*"):
            answer = site.ask(path, If_None_Match=stated)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["etag"] == etag
            assert answer.headers["cache-control"]
            assert "content-length" not in answer.headers
        for stated in ('"other"', etag.strip('"'), f'"x{etag[1:]}', ""):
            assert site.ask(path, If_None_Match=stated).status == 200

    def test_u14_the_condition_comes_before_the_range(self, site: Site) -> None:
        etag = site.ask(f"/packages/{QUOTED}").headers["etag"]
        assert site.ask(f"/packages/{QUOTED}", If_None_Match=etag, Range="bytes=0-1").status == 304
        assert site.ask(f"/packages/{QUOTED}", If_None_Match='"x"', Range="bytes=0-1").status == 206
        assert site.ask(f"/packages/{QUOTED}", "HEAD", If_None_Match=etag).status == 304

    def test_u14_a_replaced_artifact_has_another_etag(self, tmp_path: Path) -> None:
        root = publish(tmp_path)
        with running(root, application(root)) as found:
            before = found.ask(f"/packages/{QUOTED}").headers["etag"]
            write(root / "packages" / PLUS, BYTES[::-1])
            answer = found.ask(f"/packages/{QUOTED}", If_None_Match=before)
            assert (answer.status, answer.body) == (200, BYTES[::-1])


class TestNegotiation:
    """U9, by quality and precision as RFC 9110 weighs them."""

    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            ("", HTML_TYPE),
            ("*/*", HTML_TYPE),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML_TYPE),
            (f"{JSON_TYPE}, {HTML_V1};q=0.1, text/html;q=0.01", JSON_TYPE),
            (f"{JSON_TYPE}, {HTML_V1};q=0.2, text/html;q=0.01", JSON_TYPE),
            (f"{JSON_TYPE}, */*;q=0.1", JSON_TYPE),
            ("application/vnd.pypi.simple.latest+json", JSON_TYPE),
            (JSON_TYPE.upper(), JSON_TYPE),
            (f" {JSON_TYPE} ; q=1.0 ", JSON_TYPE),
            (f"{JSON_TYPE};q=0.5, text/html", HTML_TYPE),
            (f"text/html;q=0.9, {JSON_TYPE};q=0.8", HTML_TYPE),
            (f"text/html, {JSON_TYPE}", JSON_TYPE),
            (f"{JSON_TYPE};q=0", HTML_TYPE),
            (f"{JSON_TYPE};q=0, */*", HTML_TYPE),
            ("text/html;q=0, */*;q=0.5", HTML_V1),
            (f"text/html;q=0, {HTML_V1};q=0, */*", JSON_TYPE),
            (HTML_V1, HTML_V1),
            ("application/vnd.pypi.simple.latest+html", HTML_V1),
            ("text/*", HTML_TYPE),
            (f"{JSON_TYPE};q=nonsense", HTML_TYPE),
            (f"{JSON_TYPE};q=7", HTML_TYPE),
            ("image/png", HTML_TYPE),
            ("application/json", HTML_TYPE),
            (",,;,q=1", HTML_TYPE),
        ],
    )
    def test_u9(self, site: Site, accept: str, content_type: str) -> None:
        assert negotiate(accept)[0] == content_type
        answer = site.ask("/simple/demo/", Accept=accept)
        assert (answer.status, answer.headers["content-type"]) == (200, content_type)
        assert answer.body.startswith(b"{" if content_type == JSON_TYPE else b"<!DOCTYPE html>")

    def test_u9_several_headers_count_as_one(self, site: Site) -> None:
        with socket.create_connection(("127.0.0.1", site.port)) as client:
            client.sendall(
                b"GET /simple/demo/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                b"Accept: text/html;q=0.1\r\nAccept: " + JSON_TYPE.encode() + b"\r\n\r\n"
            )
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        assert b'{"meta"' in answer


class TestServing:
    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
    def test_it_says_where_it_listens_and_stops_when_told(self, tmp_path: Path, stop: signal.Signals) -> None:
        script = (
            "import sys\nfrom pathlib import Path\nfrom mirror.serve import serve\n"
            "serve(Path(sys.argv[1]), port=0, ready=lambda url: print(url, flush=True))\nprint('stopped')\n"
        )
        publish(tmp_path)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                assert child.stdout
                url = child.stdout.readline().strip()
                assert url.startswith("http://127.0.0.1:")
                port = int(url.rstrip("/").rpartition(":")[2])
                assert Site(tmp_path, port).ask("/simple/demo/").status == 200
                child.send_signal(stop)
                rest, errors = child.communicate(timeout=20)
            finally:
                child.kill()
        assert errors == ""
        if stop == signal.SIGINT:
            assert (child.returncode, rest) == (0, "stopped\n")
        else:
            assert child.returncode == -signal.SIGTERM

    def test_a_port_in_use_is_named(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(MirrorError, match=f"127.0.0.1:{port}") as caught:
                serve(tmp_path, port=port)
        assert "--port" in caught.value.hint

    @pytest.mark.parametrize(("host", "port"), [("no host", 0), ("127.0.0.1", 99999), ("192.0.2.1", 0)])
    def test_an_address_that_cannot_be_had(self, tmp_path: Path, host: str, port: int) -> None:
        with pytest.raises(MirrorError, match="cannot listen"):
            serve(tmp_path, host=host, port=port)

    def test_a_missing_tree_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(MirrorError, match="nowhere") as caught:
            serve(tmp_path / "nowhere")
        assert caught.value.hint

    def test_a_file_that_cannot_be_read_is_not_absent(self, tmp_path: Path) -> None:
        """Only "not found" means absent: an installer that is told 404 goes on to the next index."""
        root = publish(tmp_path)
        page = root / "simple/demo/index.html"
        page.chmod(0)
        with running(root, application(root)) as found:
            # The superuser reads whatever the mode says.
            expected = 200 if os.access(page, os.R_OK) else 500
            assert found.ask("/simple/demo/").status == expected
