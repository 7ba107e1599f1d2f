"""Publishing to real servers: cheap when nothing changed, and right whatever happens on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.layout import LEASE, POINTER
from mirror.lease import Lease, Owner
from mirror.phases.verify import verify
from mirror.progress import Silence
from mirror.state import State
from mirror.stores.probe import ProbedStore
from tests.s3.faults import CUT, LOST, Proxy, faulty
from tests.sites import Site, make_site, small_site
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mirror.stores.base import Store
    from tests.s3.conftest import Bucket
    from tests.s3.faults import Verdict

SERVERS = ["rgw", "localstack", "moto"]


@pytest.fixture
def one(tmp_path: Path) -> Site:
    return small_site(tmp_path / "one")


@pytest.fixture
def two(tmp_path: Path, one: Site) -> Site:
    """The same with another version of alpha added, without beta, with gamma."""
    made = tmp_path / "two" / "made"
    paths = [make_wheel(made, name, version) for name, version in (("alpha", "2.0"), ("gamma", "1.0"))]
    kept = [path for path in (tmp_path / "one" / "made").iterdir() if path.name.startswith("alpha")]
    return make_site(tmp_path / "two", [*paths, *kept])


@pytest.fixture
def proxied(make_bucket: Callable[[str], Bucket]) -> Iterator[Callable[[str], tuple[Proxy, Bucket]]]:
    """Make a bucket that is reached through a proxy."""
    with ExitStack() as stack:

        def make(name: str) -> tuple[Proxy, Bucket]:
            bucket = make_bucket(name)
            proxy = stack.enter_context(faulty(bucket.server))
            return proxy, replace(bucket, server=replace(bucket.server, endpoint=proxy.endpoint))

        yield make


def findings(site: Site, store: Store) -> list[str]:
    coverage = verify((), store, Silence(), manifest=site.manifest, rehash=True, jobs=4)
    return [str(finding) for finding in coverage.findings]


def contents(bucket: Bucket, prefix: str = "") -> dict[str, bytes]:
    """Every object below a prefix, read by a plain client."""
    pages = bucket.admin.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=prefix)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return {key[len(prefix) :]: bucket.admin.get_object(Bucket=bucket.name, Key=key)["Body"].read() for key in keys}


# Requests


@pytest.mark.parametrize("name", SERVERS)
def test_a_publish_and_one_that_has_nothing_to_do(
    name: str, one: Site, two: Site, proxied: Callable[[str], tuple[Proxy, Bucket]], tmp_path: Path
) -> None:
    proxy, bucket = proxied(name)

    def store() -> ProbedStore:
        return ProbedStore(bucket.store(), State(tmp_path), Silence())

    assert one.publish(store()).release
    assert findings(one, store()) == []
    proxy.reset()
    assert not one.publish(store()).changed
    assert len(proxy.requests) <= 5
    assert {method for method, _ in proxy.requests} <= {"GET", "HEAD"}

    assert two.publish(store(), allow_shrink=True).deletes
    assert findings(two, store()) == []
    proxy.reset()
    assert not two.publish(store()).changed
    assert len(proxy.requests) <= 5


def test_each_object_is_sent_once_and_nothing_is_asked_about_it(
    one: Site, proxied: Callable[[str], tuple[Proxy, Bucket]]
) -> None:
    proxy, bucket = proxied("rgw")
    result = one.publish(bucket.store())
    puts = Counter(path for method, path in proxy.requests if method == "PUT" and LEASE not in path)
    assert set(puts.values()) == {1}
    # The manifest and the pointer are no part of the result.
    assert len(puts) == len(result.puts) + 2
    assert not [path for method, path in proxy.requests if method == "HEAD" and "/packages/" in path]


# Several publishers


@pytest.mark.parametrize("name", SERVERS)
def test_many_publishers_at_once(name: str, one: Site, two: Site, make_bucket: Callable[[str], Bucket]) -> None:
    """Whoever comes second is told to try again, and what is there is the work of one."""
    bucket = make_bucket(name)
    barrier = threading.Barrier(4)

    def publish(site: Site) -> str:
        store = bucket.store()
        barrier.wait(timeout=30)
        while True:
            try:
                return site.publish(store, allow_shrink=True).release or ""
            except ConflictError:
                time.sleep(0.05)

    with ThreadPoolExecutor(4) as threads:
        releases = list(threads.map(publish, (one, two, one, two)))
    assert any(releases)
    current = json.loads(contents(bucket)[POINTER])["release"]
    assert current in releases
    assert min(len(findings(site, bucket.store())) for site in (one, two)) == 0
    assert LEASE not in contents(bucket)


def test_a_lease_that_somebody_holds_and_one_that_ran_out(one: Site, make_bucket: Callable[[str], Bucket]) -> None:
    bucket = make_bucket("rgw")
    stranger = Owner(host="elsewhere.example", pid=1)
    now = float(int(time.time()))
    held = Lease(owner=stranger, token="t", acquired=now, expires=now + 300)
    bucket.admin.put_object(Bucket=bucket.name, Key=LEASE, Body=held.body.source)
    with pytest.raises(ConflictError, match=r"elsewhere\.example") as caught:
        one.publish(bucket.store())
    assert caught.value.exit_code == 4
    assert set(contents(bucket)) == {LEASE}
    old = replace(held, lifetime=1.0)
    bucket.admin.put_object(Bucket=bucket.name, Key=LEASE, Body=old.body.source)
    # The store says how old it is, in whole seconds.
    time.sleep(2.5)
    assert one.publish(bucket.store()).release
    assert findings(one, bucket.store()) == []


# A bad line


@pytest.mark.parametrize("name", ["rgw", "localstack"])
def test_the_first_reply_to_every_write_is_lost(
    name: str, one: Site, two: Site, proxied: Callable[[str], tuple[Proxy, Bucket]]
) -> None:
    """A condition then fails on our own work, which must not be taken for somebody else's."""
    proxy, bucket = proxied(name)
    seen: Counter[tuple[str, str]] = Counter()

    def judge(_number: int, method: str, path: str) -> Verdict:
        seen[method, path] += 1
        return LOST if method in ("PUT", "DELETE", "POST") and seen[method, path] == 1 else None

    proxy.judge = judge
    for site in (one, two):
        seen.clear()
        assert site.publish(bucket.store(), allow_shrink=True).release
        assert findings(site, bucket.store()) == []
    assert LEASE not in contents(bucket)


@pytest.mark.parametrize("status", [503, 429, 500, 409])
def test_every_request_is_refused_twice_before_it_is_answered(
    status: int, one: Site, proxied: Callable[[str], tuple[Proxy, Bucket]]
) -> None:
    proxy, bucket = proxied("rgw")
    seen: Counter[tuple[str, str]] = Counter()

    def judge(_number: int, method: str, path: str) -> Verdict:
        seen[method, path] += 1
        return status if seen[method, path] <= 2 else None

    proxy.judge = judge
    assert one.publish(bucket.store()).release
    assert findings(one, bucket.store()) == []


def test_a_store_that_stays_away_ends_the_run(one: Site, proxied: Callable[[str], tuple[Proxy, Bucket]]) -> None:
    proxy, bucket = proxied("rgw")
    proxy.judge = lambda number, method, path: 503
    with pytest.raises(RemoteError, match="SlowDown") as caught:
        one.publish(bucket.store(attempts=3))
    assert caught.value.exit_code == 3
    assert contents(replace(bucket, server=replace(bucket.server, endpoint=proxy.upstream.geturl()))) == {}


@pytest.mark.parametrize("verdict", [CUT, LOST])
def test_cut_off_after_any_number_of_requests(
    verdict: str, one: Site, two: Site, proxied: Callable[[str], tuple[Proxy, Bucket]]
) -> None:
    """Run again, it ends in what an undisturbed publish ends in; and no page ever lists what is not there."""
    proxy, bucket = proxied("rgw")
    direct = replace(bucket, server=replace(bucket.server, endpoint=proxy.upstream.geturl()))
    dead = _dead()
    for before, site in ((None, one), (one, two)):
        prefix = "undisturbed-two/" if before else "undisturbed-one/"
        if before:
            before.publish(direct.store(prefix))
        site.publish(direct.store(prefix), allow_shrink=True)
        expected = contents(direct, prefix)
        number, done = 0, False
        while not done:
            number += 1
            prefix = f"{'two' if before else 'one'}-{verdict}-{number}/"
            if before:
                before.publish(direct.store(prefix))
            proxy.reset()
            proxy.judge = lambda counted, method, path, number=number: _after(counted, number, verdict)  # type: ignore[misc]
            try:
                site.publish(bucket.store(prefix, attempts=1), allow_shrink=True, owner=dead)
                done = len(proxy.requests) < number
            except MirrorError as error:
                assert isinstance(error, (RemoteError, ConflictError)), error
            proxy.reset()
            _nothing_dangles(direct, prefix)
            site.publish(direct.store(prefix), allow_shrink=True)
            assert contents(direct, prefix) == expected, f"cut after {number} requests"
        assert number > 20


def _after(counted: int, number: int, verdict: str) -> Verdict:
    if counted == number:
        return verdict
    return CUT if counted > number else None


def _dead() -> Owner:
    """The owner of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = Owner.here()
    return Owner(host=here.host, boot=here.boot, pid=ended.pid, started="0")


def _nothing_dangles(bucket: Bucket, prefix: str) -> None:
    found = contents(bucket, prefix)
    packages = {key.removeprefix("packages/") for key in found if key.startswith("packages/")}
    for key, data in found.items():
        if key.startswith("simple/") and key.endswith("index.v1_json") and key.count("/") == 2:
            assert {file["filename"] for file in json.loads(data)["files"]} <= packages, key


def test_pointer_that_must_not_be_read(one: Site, two: Site, make_bucket: Callable[[str], Bucket]) -> None:
    """What cannot be read is not taken for absent: the run stops before the first write."""
    bucket = make_bucket("rgw")
    one.publish(bucket.store())
    before = contents(bucket)
    arn = f"arn:aws:s3:::{bucket.name}"
    user = {"AWS": ["arn:aws:iam:::user/deploy"]}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": user, "Action": "s3:*", "Resource": [arn, f"{arn}/*"]},
            {"Effect": "Deny", "Principal": user, "Action": "s3:GetObject", "Resource": f"{arn}/{POINTER}"},
        ],
    }
    bucket.admin.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))
    with pytest.raises(RemoteError, match="AccessDenied") as caught:
        two.publish(bucket.store(profile="rgw-second"), allow_shrink=True)
    assert "s3:GetObject" in caught.value.hint
    assert POINTER in caught.value.hint
    assert contents(bucket) == before
