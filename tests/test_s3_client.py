"""Where a bucket is asked, and what becomes of answers that are not whole; a real S3 API is in tests/s3."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from mirror.errors import MirrorError, RemoteError
from mirror.files import DigestCache
from mirror.layout import headers
from mirror.stores.base import Body
from mirror.stores.s3 import S3Options, S3Store
from mirror.stores.s3_client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "packages/alpha-1.0+local-py3-none-any.whl"


class Asked(ThreadingHTTPServer):
    """Answers with what `answer(request)` says: a status, headers and a body."""

    daemon_threads = True

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
        for name, value in {"Content-Length": str(len(data)), **told}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        # A body that is shorter than it says ends with the connection.
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_CONNECT = _reply  # noqa: N815


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


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    # Asks nobody on the network who we are.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def store(endpoint: str = "", *, region: str = "eu-one-1", attempts: int = 2) -> S3Store:
    options = S3Options(endpoint_url=endpoint, region=region, attempts=attempts)
    return S3Store.open("s3://bucket/team", options, DigestCache())


def signed_for(request: BaseHTTPRequestHandler) -> str:
    """The region in the signature's scope."""
    return request.headers["Authorization"].split("/")[2]


def only_in(region: str) -> Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if signed_for(request) == region:
            return 200, {"ETag": '"here"'}, b"found"
        return 301, {"x-amz-bucket-region": region}, b"<Error><Code>PermanentRedirect</Code></Error>"

    return answer


def test_a_bucket_in_another_region_is_asked_there(tmp_path: Path) -> None:
    with server(only_in("eu-two-2")) as running:
        asking = store(running.endpoint)
        assert asking.read(KEY) == (b"found", "here")
        assert len(running.asked) == 2
        # It is remembered.
        assert asking.read(KEY) == (b"found", "here")
        assert len(running.asked) == 3


def test_a_file_is_sent_again_whole_to_another_region(tmp_path: Path) -> None:
    """One that is sent as a stream was read to its end by then."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)
    body = Body(path, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size)
    with server(only_in("eu-two-2")) as running:
        assert store(running.endpoint).put(KEY, body, headers(KEY)) == "here"
        assert [data == path.read_bytes() for data in running.bodies] == [True, True]


def test_a_region_that_contradicts_itself_is_no_endless_walk() -> None:
    moved = b"<Error><Code>PermanentRedirect</Code></Error>"
    with server(lambda request: (301, {"x-amz-bucket-region": f"{signed_for(request)}0"}, moved)) as running:
        with pytest.raises(RemoteError, match="PermanentRedirect") as caught:
            store(running.endpoint).read(KEY)
        assert "AWS_REGION" in caught.value.hint
        assert len(running.asked) == 2


def test_a_key_is_quoted_as_s3_signs_it() -> None:
    with server(lambda request: (200, {"ETag": '"x"'}, b"")) as running:
        store(running.endpoint).read("packages/a+b c~d.whl")
        assert running.asked == ["GET /bucket/team/packages/a%2Bb%20c~d.whl"]


def test_an_answer_that_is_cut_short_is_asked_for_again() -> None:
    whole = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if whole.is_set():
            return 200, {"ETag": '"x"'}, b"whole"
        whole.set()
        return 200, {"Content-Length": "5"}, b"wh"

    with server(answer) as running:
        assert store(running.endpoint).read(KEY) == (b"whole", "x")


@pytest.mark.parametrize("rehash", [False, True])
def test_an_answer_that_stays_short_is_no_content(rehash: bool) -> None:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Length": "5"}, b"" if request.command == "HEAD" else b"wh"

    with server(answer) as running, pytest.raises(RemoteError):
        store(running.endpoint).digest(KEY, rehash=rehash)


@pytest.mark.parametrize(
    "page", [b"<html>Sign in", b"{}", b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"]
)
def test_a_website_is_no_empty_store(page: bytes) -> None:
    """Only an answer of S3 says that there is nothing."""
    with server(lambda request: (200, {}, page)) as running, pytest.raises(RemoteError, match="no answer of S3"):
        list(store(running.endpoint).list())


# Where AWS is asked: a proxy is told the host, and keeps it to itself.


@pytest.mark.parametrize(
    ("bucket", "region", "environment", "host"),
    [
        ("wheels", "eu-central-1", {}, "wheels.s3.eu-central-1.amazonaws.com"),
        ("wheels", "", {}, "wheels.s3.us-east-1.amazonaws.com"),
        ("wheels", "", {"AWS_DEFAULT_REGION": "eu-west-3"}, "wheels.s3.eu-west-3.amazonaws.com"),
        ("wheels", "cn-north-1", {}, "wheels.s3.cn-north-1.amazonaws.com.cn"),
        ("wheels.example", "eu-central-1", {}, "s3.eu-central-1.amazonaws.com"),
        ("wheels", "us-east-2", {"AWS_USE_FIPS_ENDPOINT": "true"}, "wheels.s3-fips.us-east-2.amazonaws.com"),
        ("wheels", "us-east-2", {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "wheels.s3.dualstack.us-east-2.amazonaws.com"),
        ("wheels", "", {"AWS_ENDPOINT_URL": "https://own.example"}, "own.example"),
        ("wheels", "", {"AWS_ENDPOINT_URL_S3": "https://own.example"}, "own.example"),
        (
            *("wheels", "", {"AWS_ENDPOINT_URL": "https://own.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}),
            "wheels.s3.us-east-1.amazonaws.com",
        ),
    ],
)
def test_where_aws_is_asked(
    bucket: str, region: str, environment: dict[str, str], host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with server(lambda request: (502, {}, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.endpoint)
        asking = S3Store.open(f"s3://{bucket}", S3Options(region=region, attempts=1), DigestCache())
        with pytest.raises(RemoteError):
            asking.read(KEY)
        assert [unquote(line) for line in proxy.asked] == [f"CONNECT {host}:443"]


@pytest.mark.parametrize("bucket", ["wheels--use1-az4--x-s3", "arn:aws:s3::111122223333:accesspoint/a.mrap"])
def test_buckets_of_another_kind_are_refused(bucket: str) -> None:
    with pytest.raises(MirrorError, match="cannot use S3"):
        connect(bucket=bucket, region="us-east-1", profile="", endpoint_url="", connections=1)


def test_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(RemoteError) as caught:
        store("http://127.0.0.1:9").read(KEY)
    assert "AWS_PROFILE" in caught.value.hint
