"""A publisher that was held up for longer than its lease, and somebody else who published meanwhile.

Its machine was asleep, or its network away. What it was about to write must not replace what the other one has written;
and what had left already and arrives too late is put right by whoever comes next.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mirror.errors import ConflictError
from mirror.layout import LEASE, SIMPLE
from mirror.lease import Owner, leftover
from mirror.phases.verify import verify
from mirror.progress import Silence
from tests.s3.faults import CUT, faulty
from tests.sites import small_site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.s3.conftest import Bucket
    from tests.s3.faults import Verdict
    from tests.sites import Site

LIFETIME = 2.0
"""Seconds; 300 in life, and everything else in proportion."""


class Sleeper(threading.Thread):
    """Publishes in a thread of its own."""

    def __init__(self, site: Site, bucket: Bucket, **options: Any) -> None:
        super().__init__(daemon=True)
        self.site, self.bucket, self.options = site, bucket, options
        self.caught: list[BaseException] = []

    def run(self) -> None:
        try:
            self.site.publish(
                self.bucket.store(**self.options), owner=Owner(host="asleep.example", pid=1), lifetime=LIFETIME
            )
        except ConflictError as error:
            self.caught.append(error)


@pytest.mark.parametrize("fate", ["lost on the way", "arrives late"])
def test_what_the_other_one_published_stays_or_comes_back(
    fate: str, make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    bucket = make_bucket("rgw")
    ours, theirs = (small_site(tmp_path / name, projects=("alpha", "beta", name)) for name in ("gamma", "delta"))
    first = small_site(tmp_path / "first")
    assert first.publish(bucket.store()).release
    asleep, awake = threading.Event(), threading.Event()

    def judge(_number: int, method: str, path: str) -> Verdict:
        if not asleep.is_set() and not (method == "PUT" and f"/{SIMPLE}index." in path):
            return None
        asleep.set()
        if fate == "arrives late":
            awake.wait(60)
            return None
        return None if awake.is_set() else CUT

    with faulty(bucket.server) as proxy:
        proxy.judge = judge
        through = replace(bucket, server=replace(bucket.server, endpoint=proxy.endpoint))
        sleeper = Sleeper(ours, through, attempts=50)
        sleeper.start()
        assert asleep.wait(60)
        # A store tells whole seconds.
        time.sleep(LIFETIME + 1.5)
        published = theirs.publish(bucket.store())
        assert published.release
        assert bucket.store().stat(LEASE) is None
        awake.set()
        sleeper.join(60)
        assert [type(error) for error in sleeper.caught] == [ConflictError]

    left = leftover(bucket.store())
    assert left is not None
    assert set(left[0].unsettled) >= {f"{SIMPLE}index.html", f"{SIMPLE}index.v1_json"}
    damaged = verify((), bucket.store(), Silence(), manifest=theirs.manifest).findings
    assert bool(damaged) is (fate == "arrives late")
    again = theirs.publish(bucket.store())
    assert again.current == published.release
    assert again.changed is (fate == "arrives late")
    assert verify((), bucket.store(), Silence(), manifest=theirs.manifest, rehash=True).findings == ()
    assert bucket.store().stat(LEASE) is None
