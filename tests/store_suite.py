"""What every store must do. A store's tests are a subclass with a `store` fixture, and its own extras."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, IntegrityError, RemoteError
from mirror.layout import LEASE, POINTER, headers
from mirror.stores.base import ABSENT, Body

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mirror.stores.base import Store

PAGE = "simple/alpha/index.html"
WHEEL = "packages/alpha-1.0+local.1-py3-none-any.whl"


def body(data: bytes) -> Body:
    return Body(data, hashlib.sha256(data).hexdigest(), len(data))


def put(store: Store, key: str, data: bytes, *, expect: str | None = None) -> str:
    return store.put(key, body(data), headers(key), expect=expect)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


class StoreSuite:
    """Subclass it, and give it a fixture `store` that makes an empty store."""

    def test_an_empty_store_has_nothing(self, store: Store) -> None:
        assert list(store.list()) == []
        assert list(store.list("packages/")) == []
        assert store.stat(PAGE) is None
        assert store.read(PAGE) is None
        assert store.digest(PAGE) is None
        assert store.digest(WHEEL, rehash=True) is None

    @pytest.mark.parametrize("data", [b"", b"x", b"page\n" * 100_000], ids=["empty", "byte", "large"])
    @pytest.mark.parametrize("key", [PAGE, WHEEL, POINTER], ids=["page", "wheel with +", "state"])
    def test_what_was_put_is_found(self, store: Store, key: str, data: bytes) -> None:
        etag = put(store, key, data)
        found = store.stat(key)
        assert found is not None
        assert (found.key, found.size, found.etag) == (key, len(data), etag)
        assert store.read(key) == (data, etag)
        assert store.digest(key) == store.digest(key, rehash=True) == hashlib.sha256(data).hexdigest()
        assert list(store.list()) == [found]

    def test_a_file_is_stored_whole(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "source.whl"
        path.write_bytes(b"wheel")
        store.put(WHEEL, Body(path, hashlib.sha256(b"wheel").hexdigest(), 5), headers(WHEEL))
        path.unlink()
        found = store.read(WHEEL)
        assert found is not None
        assert found[0] == b"wheel"

    def test_an_object_is_replaced_and_its_etag_moves(self, store: Store) -> None:
        # The same length at the same moment: a store that compares size and time would miss it (cloud 2.3).
        etags = [put(store, PAGE, data) for data in (b"old", b"new", b"one")]
        assert len(set(etags)) == 3
        assert store.read(PAGE) == (b"one", etags[-1])
        assert keys(store) == [PAGE]

    @pytest.mark.parametrize(
        "wrong",
        [
            Body(b"bytes", hashlib.sha256(b"others").hexdigest(), 5),
            Body(b"bytes", hashlib.sha256(b"bytes").hexdigest(), 6),
        ],
        ids=["digest", "size"],
    )
    def test_bytes_that_are_not_what_they_should_be_are_refused(self, store: Store, wrong: Body) -> None:
        etag = put(store, PAGE, b"kept")
        with pytest.raises(IntegrityError, match="sha256"):
            store.put(PAGE, wrong, headers(PAGE))
        assert store.read(PAGE) == (b"kept", etag)

    def test_a_file_that_changed_after_it_was_checked_is_refused(self, store: Store, tmp_path: Path) -> None:
        path = tmp_path / "source.whl"
        path.write_bytes(b"altered")
        with pytest.raises(IntegrityError, match=r"alpha-1\.0"):
            store.put(WHEEL, Body(path, hashlib.sha256(b"checked").hexdigest(), 7), headers(WHEEL), expect=ABSENT)
        assert list(store.list()) == []

    def test_a_file_that_is_gone_is_an_error(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(RemoteError, match=r"alpha-1\.0"):
            store.put(WHEEL, Body(tmp_path / "gone.whl", hashlib.sha256(b"").hexdigest(), 0), headers(WHEEL))
        assert list(store.list()) == []

    def test_listing_is_in_order_and_by_prefix(self, store: Store) -> None:
        wanted = [
            "index.html",
            "packages/B-1.whl",
            "packages/a-1.whl",
            "packages/a-1.whl.metadata",
            "simple/a-b/index.html",
            "simple/a/index.html",
            "simple/a/index.v1_json",
            "simple/ab/index.html",
            "simple/index.html",
        ]
        for key in reversed(wanted):
            put(store, key, key.encode())
        assert keys(store) == wanted
        assert keys(store, "packages/") == wanted[1:4]
        assert keys(store, "packages/a") == wanted[2:4]
        assert keys(store, "simple/a") == wanted[4:8]
        assert keys(store, "simple/a/") == wanted[5:7]
        assert keys(store, "simple/a/index.html") == ["simple/a/index.html"]
        assert keys(store, "simple/nothing/") == keys(store, "s/") == keys(store, "simple/index.html/") == []

    def test_more_than_a_thousand_keys(self, store: Store) -> None:
        # A page of S3's listing holds 1,000 keys (cloud 2.1).
        wanted = [f"packages/p{number:04d}-1.tar.gz" for number in range(1005)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: put(store, key, b"x"), wanted))
        assert keys(store, "packages/") == wanted
        store.delete(wanted)
        assert keys(store) == []

    def test_create_only(self, store: Store) -> None:
        etag = put(store, WHEEL, b"first", expect=ABSENT)
        for data in (b"other", b"first"):
            with pytest.raises(ConflictError) as caught:
                put(store, WHEEL, data, expect=ABSENT)
            assert caught.value.hint
        assert store.read(WHEEL) == (b"first", etag)

    def test_compare_and_replace(self, store: Store) -> None:
        first = put(store, POINTER, b"one", expect=ABSENT)
        second = put(store, POINTER, b"two", expect=first)
        with pytest.raises(ConflictError):
            put(store, POINTER, b"three", expect=first)
        assert store.read(POINTER) == (b"two", second)

    def test_compare_and_replace_what_is_gone(self, store: Store) -> None:
        etag = put(store, POINTER, b"one")
        store.delete([POINTER])
        with pytest.raises(ConflictError):
            put(store, POINTER, b"two", expect=etag)
        assert store.read(POINTER) is None

    def test_remove_only_what_was_seen(self, store: Store) -> None:
        first = put(store, LEASE, b"mine")
        second = put(store, LEASE, b"theirs")
        with pytest.raises(ConflictError):
            store.remove(LEASE, expect=first)
        assert store.stat(LEASE) is not None
        store.remove(LEASE, expect=second)
        assert store.stat(LEASE) is None
        with pytest.raises(ConflictError):
            store.remove(LEASE, expect=second)

    def test_delete(self, store: Store) -> None:
        for key in (PAGE, WHEEL, POINTER):
            put(store, key, b"x")
        store.delete([PAGE, "simple/never/index.html", WHEEL])
        assert keys(store) == [POINTER]
        store.delete([PAGE])
        store.delete([])
        put(store, PAGE, b"again")
        assert keys(store) == [POINTER, PAGE]

    def test_one_of_many_creates(self, store: Store) -> None:
        """Two publishers, one lost entry: the race of helm-s3 issue 18 (cloud 2.5)."""
        won = _race(lambda number: put(store, POINTER, b"by %d" % number, expect=ABSENT), 8)
        assert len(won) == 1
        found = store.read(POINTER)
        assert found is not None
        assert found[0] == b"by %d" % won[0]

    def test_one_of_many_replaces(self, store: Store) -> None:
        for turn in range(5):
            etag = put(store, POINTER, b"turn %d" % turn)
            won = _race(lambda number, etag=etag: put(store, POINTER, b"by %4d" % number, expect=etag), 8)
            assert len(won) == 1

    def test_no_update_is_lost(self, store: Store) -> None:
        put(store, POINTER, b"000")

        def count(_number: int) -> None:
            while True:
                found = store.read(POINTER)
                assert found is not None
                try:
                    put(store, POINTER, b"%03d" % (int(found[0]) + 1), expect=found[1])
                except ConflictError:
                    continue
                return

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(count, range(24)))
        found = store.read(POINTER)
        assert found is not None
        assert found[0] == b"024"

    def test_a_reader_never_sees_a_mix(self, store: Store) -> None:
        versions = [bytes([number]) * 200_000 for number in range(4)]
        put(store, PAGE, versions[0])
        done = threading.Event()

        def look() -> int:
            seen = 0
            while not done.is_set():
                found = store.read(PAGE)
                assert found is not None
                assert found[0] in versions
                assert hashlib.sha256(found[0]).hexdigest() == store_digest(found)
                seen += 1
            return seen

        def store_digest(found: tuple[bytes, str]) -> str:
            return hashlib.sha256(versions[found[0][0]]).hexdigest()

        with ThreadPoolExecutor(2) as threads:
            readers = [threads.submit(look) for _ in range(2)]
            try:
                for turn in range(40):
                    put(store, PAGE, versions[turn % 4])
            finally:
                done.set()
            assert all(reader.result() for reader in readers)

    def test_its_name_says_no_secret(self, store: Store) -> None:
        assert store.name
        assert "@" not in store.name


def _race(act: object, runners: int) -> Sequence[int]:
    """Let threads do the same at the same moment; return those that met no conflict."""
    assert callable(act)
    barrier = threading.Barrier(runners)

    def run(number: int) -> bool:
        barrier.wait(timeout=30)
        try:
            act(number)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(runners) as threads:
        return [number for number, won in enumerate(threads.map(run, range(runners))) if won]
