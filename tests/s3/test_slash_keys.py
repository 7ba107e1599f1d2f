"""A bucket that knows no index documents, read by pip as it is: each page has a key that ends in a slash."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mirror.phases.verify import verify
from mirror.progress import Silence
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
