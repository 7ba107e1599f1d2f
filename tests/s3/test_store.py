"""One suite for every store; and what is more about a bucket."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from mirror.errors import ConflictError, IntegrityError, MirrorError, RemoteError
from mirror.files import DigestCache
from mirror.layout import POINTER, headers
from mirror.stores.base import ABSENT, Body
from mirror.stores.local import LocalStore
from mirror.stores.s3 import S3Options, S3Store
from tests.store_suite import PAGE, WHEEL, StoreSuite, keys, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.s3.conftest import Bucket

LARGE = bytes(range(256)) * 4096 * 12
"""12 MiB: three parts of the smallest size."""
PARTS: dict[str, Any] = {"multipart_threshold": 5 << 20, "part_size": 5 << 20}


class TestS3Store(StoreSuite):
    """A bucket keeps the promises of a store."""

    @pytest.fixture
    def store(self, bucket: Bucket) -> S3Store:
        return bucket.store()


class TestPrefix(StoreSuite):
    """So does a part of one, whatever lies beside it."""

    @pytest.fixture
    def store(self, make_bucket: Callable[[str], Bucket]) -> S3Store:
        bucket = make_bucket("rgw")
        for key in ("a", "index.html", "team/mirror2/x", "team/mirror", "packages/other", "z"):
            bucket.admin.put_object(Bucket=bucket.name, Key=key, Body=b"not of this mirror")
        return bucket.store("team/mirror/")


class TestDirectory(StoreSuite):
    """The same run proves the directory."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "site", DigestCache())


def test_content_type_cache_header_and_digest_are_stored(bucket: Bucket) -> None:
    store = bucket.store()
    for key in (PAGE, WHEEL, POINTER, "simple/index.v1_json"):
        put(store, key, b"x")
        found = bucket.admin.head_object(Bucket=bucket.name, Key=key)
        wanted = headers(key)
        assert (found["ContentType"], found["CacheControl"]) == (wanted.content_type, wanted.cache_control)
        assert found["Metadata"]["sha256"] == hashlib.sha256(b"x").hexdigest()


def test_a_digest_needs_no_download(bucket: Bucket) -> None:
    put(bucket.store(), WHEEL, b"x")
    bucket.admin.put_object(
        Bucket=bucket.name, Key="lied", Body=b"other", Metadata={"sha256": hashlib.sha256(b"x").hexdigest()}
    )
    # Told from the metadata, unless the bytes are to be read.
    assert bucket.store().digest("lied") == hashlib.sha256(b"x").hexdigest()
    assert bucket.store().digest("lied", rehash=True) == hashlib.sha256(b"other").hexdigest()


def test_what_others_put_there_is_read(bucket: Bucket) -> None:
    bucket.admin.put_object(Bucket=bucket.name, Key=WHEEL, Body=b"by hand")
    assert bucket.store().digest(WHEEL) == hashlib.sha256(b"by hand").hexdigest()
    bucket.admin.put_object(Bucket=bucket.name, Key=WHEEL, Body=b"x", Metadata={"sha256": "0" * 64}, ChecksumSHA256=(
        "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="
    ))  # fmt: skip
    if "checksum" in bucket.server.enforces:
        # Metadata and checksum contradict each other, so neither is believed.
        assert bucket.store().digest(WHEEL) == hashlib.sha256(b"x").hexdigest()


# In parts


def test_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "large.whl"
    path.write_bytes(LARGE)
    store = bucket.store(**PARTS)
    sha256 = hashlib.sha256(LARGE).hexdigest()
    etag = store.put(WHEEL, Body(path, sha256, len(LARGE)), headers(WHEEL), expect=ABSENT)
    assert "-3" in etag
    found = store.stat(WHEEL)
    assert found is not None
    assert (found.size, found.etag) == (len(LARGE), etag)
    assert store.digest(WHEEL) == store.digest(WHEEL, rehash=True) == sha256
    head = bucket.admin.head_object(Bucket=bucket.name, Key=WHEEL)
    assert head["ContentType"] == headers(WHEEL).content_type
    assert head["CacheControl"] == headers(WHEEL).cache_control


def test_in_parts_only_where_nothing_is(bucket: Bucket) -> None:
    store = bucket.store(**PARTS)
    etag = put(store, WHEEL, b"first")
    with pytest.raises(ConflictError):
        put(store, WHEEL, LARGE, expect=ABSENT)
    assert store.read(WHEEL) == (b"first", etag)
    assert not uploads(bucket)
    with pytest.raises(ConflictError):
        put(store, WHEEL, LARGE, expect="0" * 32)
    second = put(store, WHEEL, LARGE, expect=etag)
    assert store.read(WHEEL) == (LARGE, second)
    assert not uploads(bucket)


def test_a_file_that_changes_while_its_parts_are_sent_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    """Nothing becomes visible, and no part stays behind."""
    path = tmp_path / "large.whl"
    path.write_bytes(LARGE)

    class Meddling(DigestCache):
        """Lets somebody write into the file as soon as it was found to be right."""

        def digest(self, path: Path, algorithm: str = "sha256", *, rehash: bool = False) -> str:
            found = super().digest(path, algorithm, rehash=rehash)
            path.write_bytes(bytes(len(LARGE)))
            return found

    store = bucket.store(digests=Meddling(), **PARTS)
    with pytest.raises(IntegrityError):
        store.put(WHEEL, Body(path, hashlib.sha256(LARGE).hexdigest(), len(LARGE)), headers(WHEEL), expect=ABSENT)
    assert keys(store) == []
    assert not uploads(bucket)


def uploads(bucket: Bucket) -> list[str]:
    """What was begun in parts and not ended."""
    found = bucket.admin.list_multipart_uploads(Bucket=bucket.name)
    return [upload["Key"] for upload in found.get("Uploads", ())]


# Only "not found" means absent


@pytest.mark.parametrize("question", ["stat", "read", "digest"])
def test_a_bucket_that_is_not_there_is_no_empty_store(question: str, bucket: Bucket) -> None:
    store = S3Store.open("s3://mirror-that-nobody-made", bucket.options, DigestCache())
    with pytest.raises(RemoteError, match="NoSuchBucket") as caught:
        getattr(store, question)(WHEEL)
    assert "BUCKET_NAME" in caught.value.hint


def test_nothing_is_listed_written_or_removed_without_a_bucket(bucket: Bucket) -> None:
    store = S3Store.open("s3://mirror-that-nobody-made", bucket.options, DigestCache())
    with pytest.raises(RemoteError, match="NoSuchBucket"):
        list(store.list())
    for expect in (None, ABSENT):
        with pytest.raises(RemoteError, match="NoSuchBucket"):
            put(store, WHEEL, b"x", expect=expect)
    with pytest.raises(RemoteError, match="NoSuchBucket"):
        store.delete([WHEEL])


def test_a_wrong_secret_is_refused(
    make_bucket: Callable[[str], Bucket], credentials: Callable[[str, str, str], None]
) -> None:
    bucket = make_bucket("rgw")
    credentials("wrong", bucket.server.access_key, "not-the-secret")
    with pytest.raises(RemoteError) as caught:
        bucket.store(profile="wrong").read(WHEEL)
    assert "SignatureDoesNotMatch" in caught.value.message
    assert "not-the-secret" not in f"{caught.value} {caught.value.hint}"
    credentials("unknown", "nobody", "not-the-secret")
    with pytest.raises(RemoteError, match="InvalidAccessKeyId"):
        bucket.store(profile="unknown").read(WHEEL)


def test_an_altered_body_is_refused_by_a_store_that_looks(make_bucket: Callable[[str], Bucket]) -> None:
    """`send` leaves the proof to the store: LocalStack verifies the checksum as S3 does."""
    store = make_bucket("localstack").store()
    with pytest.raises(IntegrityError, match="did not arrive"):
        store.send(WHEEL, Body(b"other", hashlib.sha256(b"bytes").hexdigest(), 5), headers(WHEEL))
    assert keys(store) == []


def test_a_profile_that_is_not_there(bucket: Bucket) -> None:
    with pytest.raises(MirrorError, match="no AWS profile nobody"):
        S3Store.open("s3://mirror", S3Options(profile="nobody"), DigestCache())
