"""What goes wrong at the one request that decides, and is put right."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mirror.errors import ConflictError, RemoteError
from mirror.layout import LEASE, POINTER, headers
from mirror.stores.base import ABSENT, Body
from tests.s3.faults import LOST, faulty
from tests.sites import small_site
from tests.store_suite import WHEEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.s3.conftest import Bucket
    from tests.s3.faults import Proxy, Verdict

LARGE = bytes(range(256)) * 4096 * 6
"""6 MiB: two parts."""
BODY = Body(LARGE, hashlib.sha256(LARGE).hexdigest(), len(LARGE))
PARTS: dict[str, Any] = {"multipart_threshold": 5 << 20, "part_size": 5 << 20}


@pytest.fixture(params=["rgw", "localstack", "moto"])
def proxied(request: pytest.FixtureRequest, make_bucket: Callable[[str], Bucket]) -> Iterator[tuple[Proxy, Bucket]]:
    """Make a bucket that is reached through a proxy."""
    bucket = make_bucket(request.param)
    with ExitStack() as stack:
        proxy = stack.enter_context(faulty(bucket.server))
        yield proxy, replace(bucket, server=replace(bucket.server, endpoint=proxy.endpoint))


def direct(proxy: Proxy, bucket: Bucket) -> Bucket:
    """The same bucket, past the proxy."""
    return replace(bucket, server=replace(bucket.server, endpoint=proxy.upstream.geturl()))


def completes(method: str, path: str) -> bool:
    return method == "POST" and "uploadId=" in path


def open_uploads(bucket: Bucket) -> list[str]:
    found = bucket.admin.list_multipart_uploads(Bucket=bucket.name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


# Parts that become one


@pytest.mark.parametrize("expect", [ABSENT, None], ids=["created", "replaced"])
def test_the_reply_to_a_completion_is_lost(expect: str | None, proxied: tuple[Proxy, Bucket]) -> None:
    """The second one finds no upload, or an object that is there: it is ours."""
    proxy, bucket = proxied
    asked: list[str] = []

    def judge(_number: int, method: str, path: str) -> Verdict:
        if not completes(method, path):
            return None
        asked.append(path)
        return LOST if len(asked) == 1 else None

    proxy.judge = judge
    store = bucket.store(**PARTS)
    etag = store.put(WHEEL, BODY, headers(WHEEL), expect=expect)
    assert len(asked) == 2
    assert store.read(WHEEL) == (LARGE, etag)
    assert open_uploads(bucket) == []
    if expect == ABSENT:
        with pytest.raises(ConflictError):
            store.put(WHEEL, BODY, headers(WHEEL), expect=ABSENT)


def test_a_completion_that_somebody_else_won(proxied: tuple[Proxy, Bucket]) -> None:
    """After an attempt without a clear answer there is an object with the same bytes: it is not taken for ours."""
    proxy, bucket = proxied
    rival = direct(proxy, bucket)

    def judge(_number: int, method: str, path: str) -> Verdict:
        if not completes(method, path):
            return None
        proxy.judge = lambda number, method, path: None
        rival.admin.put_object(Bucket=bucket.name, Key=WHEEL, Body=LARGE)
        return 500

    proxy.judge = judge
    store = bucket.store(**PARTS)
    if "policy" in bucket.server.enforces:
        # RGW passes over the condition of a completion, and what counts is that the object is whole.
        store.put(WHEEL, BODY, headers(WHEEL), expect=ABSENT)
    else:
        with pytest.raises(ConflictError):
            store.put(WHEEL, BODY, headers(WHEEL), expect=ABSENT)
    found = rival.store().read(WHEEL)
    assert found is not None
    assert found[0] == LARGE
    assert open_uploads(bucket) == []


@pytest.mark.parametrize("times", [1, 9])
def test_a_collision_at_the_completion(times: int, proxied: tuple[Proxy, Bucket]) -> None:
    """409 ends an upload for good: all parts are sent again under a new one."""
    proxy, bucket = proxied
    uploads: list[str] = []

    def judge(_number: int, method: str, path: str) -> Verdict:
        if not completes(method, path):
            return None
        uploads.append(path)
        return 409 if len(uploads) <= times else None

    proxy.judge = judge
    store = bucket.store(**PARTS)
    if times == 1:
        etag = store.put(WHEEL, BODY, headers(WHEEL), expect=ABSENT)
        assert store.read(WHEEL) == (LARGE, etag)
    else:
        with pytest.raises(ConflictError) as caught:
            store.put(WHEEL, BODY, headers(WHEEL), expect=ABSENT)
        assert caught.value.exit_code == 4
        assert store.stat(WHEEL) is None
    assert max(Counter(uploads).values()) == 1, "no upload is completed twice"
    assert len(uploads) == min(times + 1, 3)
    assert open_uploads(bucket) == []


# The pointer


@pytest.mark.parametrize("status", [503, 409, 500])
def test_the_pointer_is_refused_for_a_while(status: int, proxied: tuple[Proxy, Bucket], tmp_path: Path) -> None:
    proxy, bucket = proxied
    refused = Counter[str]()

    def judge(_number: int, method: str, path: str) -> Verdict:
        if method == "PUT" and path.endswith(POINTER):
            refused[path] += 1
            return status if refused[path] <= 3 else None
        return None

    proxy.judge = judge
    site = small_site(tmp_path / "one")
    assert site.publish(bucket.store()).release
    assert sum(refused.values()) == 4
    proxy.reset()
    assert not site.publish(bucket.store()).changed


@pytest.mark.parametrize("status", [503, LOST])
def test_the_pointer_is_refused_for_good(status: Verdict, proxied: tuple[Proxy, Bucket], tmp_path: Path) -> None:
    """Exit code 3; and the next run, which is told that it is there or not, brings it to its end."""
    proxy, bucket = proxied
    one, two = small_site(tmp_path / "one"), small_site(tmp_path / "two", version="2.0")
    first = one.publish(bucket.store()).release
    proxy.judge = lambda number, method, path: status if method == "PUT" and path.endswith(POINTER) else None
    with pytest.raises(RemoteError) as caught:
        two.publish(bucket.store(attempts=3), allow_shrink=True)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    proxy.reset()
    # It waits for nobody: who failed has given its lease up.
    result = two.publish(bucket.store(), allow_shrink=True)
    assert result.current.startswith("000002-")
    assert bool(result.release) is (status != LOST), "what was lost on the way back was done"
    assert result.current != first
    assert bucket.store().stat(LEASE) is None
    assert not two.publish(bucket.store()).changed
