"""Where a bucket is asked, and what becomes of answers that are not whole; a real S3 API is in tests/s3."""

from __future__ import annotations

import base64
import hashlib
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.files import DigestCache
from mirror.layout import LEASE, headers
from mirror.lease import leftover
from mirror.release import current
from mirror.stores.base import ABSENT, Body
from mirror.stores.s3 import S3Options, S3Store
from mirror.stores.s3_client import connect
from tests.answers import server

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

KEY = "packages/alpha-1.0+local-py3-none-any.whl"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "access")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    # Asks nobody on the network who we are.
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def store(endpoint: str = "", **options: Any) -> S3Store:
    options = {"endpoint_url": endpoint, "region": "eu-one-1", "attempts": 2, **options}
    return S3Store.open("s3://bucket/team", S3Options(**options), DigestCache())


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


def test_the_region_may_be_told_in_the_body_alone() -> None:
    wrong = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-two-2</Region></Error>"

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return (200, {"ETag": '"here"'}, b"found") if signed_for(request) == "eu-two-2" else (400, {}, wrong)

    with server(answer) as running:
        assert store(running.endpoint).read(KEY) == (b"found", "here")
        assert len(running.asked) == 2


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
    "page",
    [
        b"<html>Sign in",
        b"<html><body>Welcome</body></html>",
        b"{}",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    ],
)
def test_a_website_is_no_empty_store(page: bytes) -> None:
    """Only an answer of S3 says that there is nothing, and that something was removed."""
    with server(lambda request: (200, {}, page)) as running:
        with pytest.raises(RemoteError, match="no answer of S3"):
            list(store(running.endpoint).list())
        with pytest.raises(RemoteError, match="no answer of S3"):
            store(running.endpoint).delete([KEY])


@pytest.mark.parametrize(
    "ask",
    [
        lambda asking: asking.read(KEY),
        lambda asking: asking.stat(KEY),
        lambda asking: asking.digest(KEY),
        lambda asking: asking.digest(KEY, rehash=True),
        leftover,
        lambda asking: current(asking.read, asking.name),
    ],
    ids=["read", "stat", "digest", "bytes", "lease", "pointer"],
)
def test_a_404_of_a_load_balancer_is_no_empty_store(ask: Callable[[S3Store], object]) -> None:
    page = b"<html><body>default backend - 404</body></html>"
    answer = 404, {"Content-Type": "text/html"}, page
    with server(lambda request: answer) as running, pytest.raises(RemoteError, match="404"):
        ask(store(running.endpoint))


def test_a_head_that_is_wrong_about_what_is_missing_is_no_answer() -> None:
    """It has no body to tell a store from what stands before it, so the object itself is asked for."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return (404, {}, b"") if request.command == "HEAD" else (200, {"ETag": '"x"'}, b"here")

    with server(answer) as running:
        found = store(running.endpoint).stat(KEY)
        assert found is not None
        assert (found.size, found.etag) == (4, "x")


@pytest.mark.parametrize("length", ["", "many"])
def test_a_size_that_is_not_told_is_not_zero(length: str) -> None:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return 200, {"ETag": '"x"', "Content-Length": length}, b""

    with server(answer) as running, pytest.raises(RemoteError):
        store(running.endpoint).stat(KEY)


@pytest.mark.parametrize("date", ["not a date", "-1", "Sat, 99 Nov 2026 15:46:10 GMT"])
def test_a_date_that_is_none_is_no_date(date: str) -> None:
    missing = b"<Error><Code>NoSuchKey</Code></Error>"
    with server(lambda request: (404, {"Date": date}, missing)) as running:
        assert store(running.endpoint).read(KEY) is None
    with server(lambda request: (200, {"Date": date, "Last-Modified": date, "ETag": '"x"'}, b"")) as running:
        found = store(running.endpoint).stat(KEY)
        assert found is not None
        assert found.age is None


@pytest.mark.parametrize(
    "noted", [base64.b64encode(bytes(32)).decode(), hashlib.sha256(b"found").hexdigest().upper(), "none", ""]
)
def test_a_digest_that_is_none_of_ours_is_not_believed(noted: str) -> None:
    """What others note under that name may be anything; then the bytes are read."""
    told = {"ETag": '"x"', "x-amz-meta-sha256": noted}
    with server(lambda request: (200, told, b"found")) as running:
        assert store(running.endpoint).digest(KEY) == hashlib.sha256(b"found").hexdigest()


# Parts that become one

PARTS = {"multipart_threshold": 1 << 20, "part_size": 5 << 20}
LARGE = bytes(2 << 20)
DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>'
FAILED = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def completing(*bodies: bytes) -> Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]:
    """Take an upload in parts, and answer its completions with 200 and these in turn; nothing is ever there."""
    answers = list(bodies)

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if request.command == "POST" and request.path.endswith("?uploads"):
            return 200, {}, b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        if request.command == "POST":
            return 200, {}, answers.pop(0) if len(answers) > 1 else answers[0]
        if request.command == "PUT":
            return 200, {"ETag": '"part"'}, b""
        return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"

    return answer


def put_large(endpoint: str) -> str:
    body = Body(LARGE, hashlib.sha256(LARGE).hexdigest(), len(LARGE))
    return store(endpoint, **PARTS).put(KEY, body, headers(KEY), expect=ABSENT)


@pytest.mark.parametrize(
    "completed",
    [
        DECLARED + b"\n \n" + FAILED,
        b"\n  \n" + DECLARED + FAILED,
        DECLARED + FAILED[:40],
        b"",
        b"<html>hello",
        b"<html><body>hello</body></html>",
        # Nobody has it, whatever was said.
        b"<CompleteMultipartUploadResult/>",
    ],
    ids=["error", "late error", "cut off", "empty", "no xml", "website", "not there"],
)
def test_what_did_not_become_one_object_is_not_stored(completed: bytes) -> None:
    """The status is 200 as soon as the store begins to put the parts together."""
    with server(completing(completed)) as running, pytest.raises(RemoteError):
        put_large(running.endpoint)


def test_a_completion_that_fails_in_passing_is_repeated() -> None:
    upload = completing(b"\n" + DECLARED + FAILED, b"", b"<CompleteMultipartUploadResult/>")

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return (200, {"ETag": '"whole-1"'}, b"") if request.command == "HEAD" else upload(request)

    with server(answer) as running:
        asking = store(running.endpoint, attempts=3, **PARTS)
        body = Body(LARGE, hashlib.sha256(LARGE).hexdigest(), len(LARGE))
        assert asking.put(KEY, body, headers(KEY)) == "whole-1"


def test_a_condition_that_fails_while_parts_become_one_is_a_conflict() -> None:
    """It is told with status 200 as well, and is not tried again."""
    failed = DECLARED + b"<Error><Code>PreconditionFailed</Code></Error>"
    with server(completing(failed)) as running:
        with pytest.raises(ConflictError):
            put_large(running.endpoint)
        assert sum("POST" in line and "uploadId" in line for line in running.asked) == 1


def test_a_part_without_its_etag_is_no_answer() -> None:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        return (200, {}, b"") if request.command == "PUT" else completing(b"")(request)

    with server(answer) as running, pytest.raises(RemoteError, match="no answer of S3"):
        put_large(running.endpoint)


# Removal


def test_a_removal_whose_reply_was_lost_is_done() -> None:
    """Some stores say of what is not there that the condition failed."""
    asked: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if request.command == "DELETE":
            asked.append(request.path)
            if len(asked) == 1:
                return 500, {}, b""
            return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        return (404, {}, b"<Error><Code>NoSuchKey</Code></Error>") if asked else (200, {"ETag": '"x"'}, b"")

    with server(answer) as running:
        store(running.endpoint).remove(LEASE, expect="x")
        assert len(asked) == 2


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


def test_a_compatible_store_is_asked_by_host_where_the_configuration_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "config"
    configuration.write_text("[default]\ns3 =\n  addressing_style = virtual\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    with server(lambda request: (502, {}, b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.endpoint)
        options = S3Options(endpoint_url="https://oss.example", region="oss", attempts=1)
        with pytest.raises(RemoteError):
            S3Store.open("s3://wheels", options, DigestCache()).read(KEY)
        assert proxy.asked == ["CONNECT wheels.oss.example:443"]


@pytest.mark.parametrize("bucket", ["wheels--use1-az4--x-s3", "arn:aws:s3::111122223333:accesspoint/a.mrap"])
def test_buckets_of_another_kind_are_refused(bucket: str) -> None:
    with pytest.raises(MirrorError, match="cannot use S3"):
        connect(bucket=bucket, region="us-east-1", profile="", endpoint_url="", connections=1)


def test_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(RemoteError) as caught:
        store("http://127.0.0.1:9").read(KEY)
    assert "AWS_PROFILE" in caught.value.hint
