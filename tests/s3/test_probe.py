"""What the probe finds on real servers, and publishing to one that ignores conditions."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, RemoteError
from mirror.layout import LEASE, POINTER, PROBE, STATE
from mirror.lease import Owner, holding
from mirror.progress import Silence
from mirror.state import State
from mirror.stores.base import ABSENT
from mirror.stores.probe import ProbedStore, probe
from tests.s3.faults import faulty
from tests.sites import small_site
from tests.store_suite import keys, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mirror.model import Notice
    from tests.s3.conftest import Bucket


class Heard(Silence):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def notice(self, notice: Notice) -> None:
        self.warned.append(notice.code)


FOUND = {
    # By server: create, replace, digests verified (RGW: that of the signature), kept.
    "rgw": (True, True, True, False),
    "localstack": (True, True, True, True),
    "moto": (True, True, False, False),
    "rclone": (False, False, False, True),
}


@pytest.mark.parametrize("name", FOUND)
def test_it_finds_what_a_server_does_and_leaves_nothing(name: str, make_bucket: Callable[[str], Bucket]) -> None:
    bucket = make_bucket(name)
    store = bucket.store()
    found = probe(store)
    assert (
        found.creates_on_condition, found.replaces_on_condition, found.verifies_checksums, found.keeps_checksums
    ) == FOUND[name]  # fmt: skip
    assert found.lists
    assert not found.keeps_versions
    assert found.slash_keys
    assert keys(store) == []


@pytest.mark.parametrize("name", ["rgw", "localstack", "moto"])
def test_it_finds_versioning(name: str, make_bucket: Callable[[str], Bucket]) -> None:
    bucket = make_bucket(name)
    bucket.admin.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    assert probe(bucket.store()).keeps_versions


def test_a_bucket_that_is_not_there_cannot_be_probed(make_bucket: Callable[[str], Bucket]) -> None:
    bucket = make_bucket("moto")
    bucket.admin.delete_bucket(Bucket=bucket.name)
    with pytest.raises(RemoteError, match="NoSuchBucket"):
        probe(bucket.store())


def test_a_store_is_probed_once_and_only_when_it_is_written(
    make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    bucket, heard = make_bucket("moto"), Heard()

    def store() -> ProbedStore:
        return ProbedStore(bucket.store(), State(tmp_path), heard)

    assert store().read(POINTER) is None
    assert store().digest(POINTER) is None
    assert keys(store()) == []
    put(store(), POINTER, b"x")
    assert not heard.said
    put(store(), LEASE, b"x", expect=ABSENT)
    put(store(), LEASE + "2", b"x", expect=ABSENT)
    assert len(heard.said) == 1
    assert "yes: creates only what is absent" in heard.said[0]
    assert not heard.warned


@pytest.mark.parametrize("name", ["rgw", "moto"])
@pytest.mark.parametrize("status", [503, 500])
@pytest.mark.parametrize("place", range(1, 5))
def test_a_store_that_is_overloaded_is_not_remembered_as_one_that_can_do_little(
    place: int, status: int, name: str, make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    """Whichever of the scratch objects is refused, nothing is learned from it."""
    bucket = make_bucket(name)
    state = State(tmp_path)
    with faulty(bucket.server) as proxy:
        through = replace(bucket, server=replace(bucket.server, endpoint=proxy.endpoint))
        written: list[str] = []

        def judge(_number: int, method: str, path: str) -> int | None:
            if method == "PUT" and PROBE in path:
                written.append(path)
            return status if method == "PUT" and len(written) >= place else None

        proxy.judge = judge
        heard = Heard()
        with pytest.raises(RemoteError):
            put(ProbedStore(through.store(attempts=2), state, heard), LEASE, b"x", expect=ABSENT)
        assert not heard.said
        proxy.reset()
        put(ProbedStore(through.store(), state, heard), LEASE, b"x", expect=ABSENT)
    assert "yes: creates only what is absent, yes: replaces only what was seen" in heard.said[0]
    assert not heard.warned


class TestWithoutConditions:
    """rclone replaces whatever is there, and says that all is well."""

    @pytest.fixture
    def bucket(self, make_bucket: Callable[[str], Bucket]) -> Bucket:
        return make_bucket("rclone")

    def store(self, bucket: Bucket, tmp_path: Path, heard: Heard, settle: float = 0.2) -> ProbedStore:
        return ProbedStore(bucket.store(), State(tmp_path / "state"), heard, settle=settle)

    def test_it_is_published_to_with_a_warning(self, bucket: Bucket, tmp_path: Path) -> None:
        heard = Heard()
        site = small_site(tmp_path / "one")
        store = self.store(bucket, tmp_path, heard)
        assert site.publish(store).release
        assert heard.warned == ["no-conditions"]
        assert not site.publish(store).changed
        assert [key for key in keys(store, STATE) if "release" not in key] == [POINTER]

    def test_a_condition_that_does_not_hold_is_noticed(self, bucket: Bucket, tmp_path: Path) -> None:
        store = self.store(bucket, tmp_path, Heard())
        etag = put(store, POINTER, b"one", expect=ABSENT)
        with pytest.raises(ConflictError):
            put(store, POINTER, b"two", expect=ABSENT)
        second = put(store, POINTER, b"two", expect=etag)
        with pytest.raises(ConflictError):
            put(store, POINTER, b"three", expect=etag)
        assert store.read(POINTER) == (b"two", second)

    def test_who_is_overwritten_meanwhile_has_lost(self, bucket: Bucket, tmp_path: Path) -> None:
        """Another publisher takes the lease between our write and our second look."""
        ours = self.store(bucket, tmp_path, Heard(), settle=1.0)
        assert not ours.capabilities.conditions
        theirs = bucket.store()

        def overwrite() -> None:
            while theirs.stat(LEASE) is None:
                pass
            put(theirs, LEASE, b"another owner")

        rival = threading.Thread(target=overwrite)
        rival.start()
        with pytest.raises(ConflictError), holding(ours, Owner.here(), Silence()):
            pytest.fail("the lease was lost")
        rival.join()
        assert theirs.read(LEASE) is not None
