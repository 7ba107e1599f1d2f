"""Publishers whose clocks are wrong: what is refused is said in words, and nobody takes over what is held.

S3 refuses a signature whose time is off by more than fifteen minutes, and so does Ceph; LocalStack and moto do not
look, so there a clock may be off by an hour.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError
from mirror.layout import LEASE, POINTER, headers
from mirror.lease import Lease, Owner, holding
from mirror.progress import Silence
from tests.faulty_index import FaultyIndex
from tests.s3.command import Run, first, second, settings
from tests.sites import small_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.s3.conftest import Bucket

HOUR = 3600
STRANGER = Owner(host="ci.example", boot="another boot", pid=1, started="1")
WRONG = [("rgw", 600), ("rgw", -600), ("localstack", HOUR), ("moto", -HOUR)]
"""Servers, and seconds by which a clock may be off there: more than a lease lasts."""


def clock(seconds: int) -> dict[str, str]:
    """The environment of a process whose clock is off by that much; time passes as for everybody else."""
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[tuple[Run, Run]]:
    with FaultyIndex() as index:
        one = first(tmp_path / "first", index)
        two = second(tmp_path / "second", one)
        for run in (one, two):
            assert run("refresh").returncode == 0
        yield one, two


def keys(bucket: Bucket) -> list[str]:
    return [found.key for found in bucket.store().list()]


def test_the_clock_of_such_a_process_is_off(runs: tuple[Run, Run]) -> None:
    """Otherwise this file would prove nothing."""
    run = runs[0].project.environment(**clock(HOUR))
    done = subprocess.run([sys.executable, "-c", "import time; print(time.time())"], env=run, stdout=-1, check=True)
    assert abs(float(done.stdout) - time.time() - HOUR) < 60


@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_an_hour_off_is_refused_in_words(
    seconds: int, runs: tuple[Run, Run], make_bucket: Callable[[str], Bucket]
) -> None:
    """botocore sees it and does nothing about it; nothing is written, and nothing is taken for absent."""
    one, two = runs
    bucket = make_bucket("rgw")
    env = settings(bucket)
    assert one("sync", **env).returncode == 0
    before = keys(bucket)
    for command in (("sync", "--allow-shrink"), ("releases",), ("prune",), ("rollback", "000001")):
        done = two(*command, **env, **clock(seconds))
        assert done.returncode == 3, done.stderr
        assert "RequestTimeTooSkewed" in done.stderr
        words = "ahead of" if seconds > 0 else "behind"
        assert f"seconds {words} theirs" in done.stderr
        assert "our clock is 3,6" in done.stderr or "our clock is 3,5" in done.stderr
        assert "hint: the clock of this machine is wrong" in done.stderr
    assert keys(bucket) == before


def test_a_question_that_gets_no_words_in_return(runs: tuple[Run, Run], make_bucket: Callable[[str], Bucket]) -> None:
    """The answer to a HEAD has no body, but it tells the time."""
    bucket = make_bucket("rgw")
    asking = (
        "from mirror.files import DigestCache\n"
        "from mirror.stores.s3 import S3Options, S3Store\n"
        f"options = S3Options(profile='rgw', endpoint_url='{bucket.server.endpoint}')\n"
        f"S3Store.open('s3://{bucket.name}', options, DigestCache()).stat('index.html')\n"
    )
    env = runs[0].project.environment(**clock(HOUR))
    done = subprocess.run([sys.executable, "-c", asking], env=env, capture_output=True, text=True, check=False)
    assert "RefusedError" in done.stderr
    assert "RequestTimeTooSkewed our clock is 3," in done.stderr


@pytest.mark.parametrize(("name", "seconds"), WRONG)
def test_a_lease_that_is_held_is_respected(
    name: str, seconds: int, runs: tuple[Run, Run], make_bucket: Callable[[str], Bucket]
) -> None:
    """By a publisher for whom it ended long ago; and when it was given back he publishes, whatever his clock says."""
    one, two = runs
    bucket = make_bucket(name)
    env = {**settings(bucket), **clock(seconds)}
    assert one("sync", **settings(bucket)).returncode == 0
    pointer = bucket.store().read(POINTER)
    with holding(bucket.store(), STRANGER, Silence()) as lease:
        done = two("sync", "--allow-shrink", **env)
        assert done.returncode == 4, done.stderr
        assert "ci.example is publishing" in done.stderr
        lease.check()
        assert bucket.store().read(POINTER) == pointer
    done = two("sync", "--allow-shrink", **env)
    assert done.returncode == 0, done.stderr
    assert LEASE not in keys(bucket)
    # Times in lists, and what a rollback to a time means, are the store's.
    listed = json.loads(two("releases", "--json", **env).stdout)[0]["releases"]
    assert len(listed) == 2
    assert one("rollback", "--to", str(listed[1]["published"]), **env).returncode == 0


@pytest.mark.parametrize("name", ["rgw", "localstack", "moto"])
@pytest.mark.parametrize("way", [1, -1], ids=["ahead", "behind"])
def test_a_lease_ends_by_the_clock_of_the_store(
    way: int, name: str, make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    """Whatever its owner, who is gone, believed the time to be."""
    bucket = make_bucket(name)
    site = small_site(tmp_path / "one")
    theirs = float(int(time.time()) + way * HOUR)
    for lifetime in (300.0, 1.0):
        lease = Lease(owner=STRANGER, token="t", acquired=theirs, expires=theirs + lifetime, lifetime=lifetime)
        bucket.store().put(LEASE, lease.body, headers(LEASE))
        if lifetime == 300:
            with pytest.raises(ConflictError) as caught:
                site.publish(bucket.store())
            assert "its lease ends in " in caught.value.hint
            assert int(caught.value.hint.split()[-2]) in range(280, 302)
    # A store tells whole seconds.
    time.sleep(2.1)
    assert site.publish(bucket.store()).release
    assert LEASE not in keys(bucket)
