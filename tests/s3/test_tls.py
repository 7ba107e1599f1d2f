"""Through TLS, without which S3 itself is never reached: certificates, and bodies that arrive as they were signed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.errors import RemoteError
from mirror.layout import headers
from mirror.phases.verify import verify
from mirror.progress import Silence
from mirror.stores.base import ABSENT, Body
from tests.sites import small_site
from tests.store_suite import WHEEL, StoreSuite, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mirror.stores.s3 import S3Store
    from tests.s3.conftest import Bucket


@pytest.fixture
def bucket(make_bucket: Callable[[str], Bucket]) -> Bucket:
    return make_bucket("rgw")


@pytest.fixture
def trusted(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Reach the bucket over TLS, with its certificate trusted as boto3's users do it."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bucket.server.certificate))
    return replace(bucket, server=replace(bucket.server, endpoint=bucket.server.tls_endpoint))


class TestOverTls(StoreSuite):
    """The gateway refuses every body that comes with a checksum behind it; so do many compatible stores."""

    @pytest.fixture
    def store(self, trusted: Bucket) -> S3Store:
        return trusted.store()


def test_a_large_file_in_one_piece_and_in_parts(trusted: Bucket, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096 * 12
    path = tmp_path / "large.whl"
    path.write_bytes(data)
    whole = Body(path, hashlib.sha256(data).hexdigest(), len(data))
    for number, options in enumerate(({}, {"multipart_threshold": 5 << 20, "part_size": 5 << 20})):
        store = trusted.store(f"{number}/", **options)  # type: ignore[arg-type]
        etag = store.put(WHEEL, whole, headers(WHEEL), expect=ABSENT)
        assert store.read(WHEEL) == (data, etag)
        assert store.digest(WHEEL) == whole.sha256


def test_publish(trusted: Bucket, tmp_path: Path) -> None:
    site = small_site(tmp_path / "one")
    assert site.publish(trusted.store()).release
    assert verify((), trusted.store(), Silence(), manifest=site.manifest, rehash=True).findings == ()
    assert not site.publish(trusted.store()).changed


def test_a_certificate_that_nobody_trusts(bucket: Bucket) -> None:
    stranger = replace(bucket, server=replace(bucket.server, endpoint=bucket.server.tls_endpoint))
    with pytest.raises(RemoteError) as caught:
        put(stranger.store(), WHEEL, b"x")
    assert "AWS_CA_BUNDLE" in caught.value.hint
