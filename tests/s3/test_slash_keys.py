"""A bucket that knows no index documents, read by pip as it is: each page has a key that ends in a slash."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.errors import RemoteError
from mirror.phases.verify import verify
from mirror.progress import Silence
from mirror.state import State
from mirror.stores.probe import ProbedStore
from tests.s3.faults import faulty
from tests.sites import make_site
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.s3.conftest import Bucket


@pytest.mark.parametrize("name", ["rgw", "localstack"])
def test_pip_downloads_from_the_bucket_alone(name: str, make_bucket: Callable[[str], Bucket], tmp_path: Path) -> None:
    bucket = make_bucket(name)
    public = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket.name}/team/*"
    }  # fmt: skip
    bucket.admin.put_bucket_policy(
        Bucket=bucket.name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [public]})
    )
    made = tmp_path / "made"
    paths = [make_wheel(made, "alpha", "1.0+local.1", requires=("beta>=1",)), make_wheel(made, "beta", "2.0")]
    old = make_site(tmp_path / "one", [*paths, make_sdist(made, "gone", "1.0")])
    site = make_site(tmp_path / "two", paths)
    store = bucket.store("team/")
    for each in (old, site):
        each.publish(store, slash_keys=True, allow_shrink=True)
    slashed = [found.key for found in store.list("simple/") if found.key.endswith("/")]
    assert slashed == ["simple/", "simple/alpha/", "simple/beta/"], "the twin of a page that is gone is gone, too"
    assert verify((), store, Silence(), manifest=site.manifest, rehash=True, jobs=2).findings == ()

    def download(index: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-cache-dir")
        return subprocess.run(
            (*command, "--index-url", index, "--dest", tmp_path / "dest", "alpha"), cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    address = f"{bucket.server.endpoint}/{bucket.name}/team/simple/"
    done = download(address)
    assert done.returncode == 0, done.stderr
    assert {path.read_bytes() for path in (tmp_path / "dest").iterdir()} == {path.read_bytes() for path in paths}
    # Without that key there is nothing where pip asks.
    store.delete(["simple/beta/"])
    assert download(address).returncode != 0


def test_a_store_that_refuses_such_keys_says_so_before_anything_is_published(
    make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    """As MinIO does; it is found out when the store is tried out, and remembered."""
    bucket = make_bucket("moto")
    site = make_site(tmp_path / "site", [make_wheel(tmp_path / "made", "alpha", "1.0")])
    with faulty(bucket.server) as proxy:
        through = replace(bucket, server=replace(bucket.server, endpoint=proxy.endpoint))

        def store() -> ProbedStore:
            return ProbedStore(through.store(), State(tmp_path), Silence())

        proxy.judge = lambda number, method, path: 400 if method == "PUT" and path.endswith("/") else None
        assert store().slash_keys
        with pytest.raises(RemoteError, match="end in a slash") as caught:
            site.publish(store(), slash_keys=True)
        assert "SLASH_KEYS=never" in caught.value.hint
        assert [found.key for found in store().list()] == []
        assert not store().slash_keys
        assert site.publish(store(), slash_keys=store().slash_keys).release
