"""Leases whose changes get no answer, and leases that are lost: nothing that may be unsettled is forgotten."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from mirror.errors import ConflictError, RemoteError
from mirror.layout import LEASE
from mirror.lease import Owner, holding, leftover
from mirror.progress import Silence
from tests.sites import local, small_site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mirror.layout import Headers
    from mirror.model import Notice
    from mirror.stores.base import Body, Store, StoredObject

ONE, TWO = Owner(host="one.example", pid=1), Owner(host="two.example", pid=2)


class Deaf:
    """A store whose answers to some writes are lost, although it does what it was asked."""

    slash_keys = False

    def __init__(self, store: Store) -> None:
        self.store = store
        self.name = store.name
        self.deaf = 0

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return self.store.list(prefix)

    def stat(self, key: str) -> StoredObject | None:
        return self.store.stat(key)

    def read(self, key: str) -> tuple[bytes, str] | None:
        return self.store.read(key)

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        return self.store.digest(key, rehash=rehash)

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        etag = self.store.put(key, body, headers, expect=expect)
        if self.deaf:
            self.deaf -= 1
            raise RemoteError("no answer", hint="run again")
        return etag

    def delete(self, keys: Iterable[str]) -> None:
        self.store.delete(keys)

    def remove(self, key: str, *, expect: str) -> None:
        self.store.remove(key, expect=expect)


class Heard(Silence):
    """Keeps what was warned of."""

    def __init__(self) -> None:
        self.warned: list[str] = []

    def notice(self, notice: Notice) -> None:
        self.warned.append(f"{notice.code}: {notice.message}")


def test_a_renewal_that_got_no_answer_is_not_taken_for_somebody_elses(tmp_path: Path) -> None:
    store, heard = Deaf(local(tmp_path / "site")), Heard()
    with holding(store, ONE, heard) as lease:
        store.deaf = 1
        with pytest.raises(RemoteError):
            lease.renew()
        lease.note(["simple/index.html"])
        store.deaf = 1
        with pytest.raises(RemoteError):
            lease.renew()
        lease.check()
    assert heard.warned == []
    assert store.stat(LEASE) is None


def test_who_has_lost_the_lease_leaves_word_when_nobody_has_it(tmp_path: Path) -> None:
    """What was on its way may arrive after the other one looked; so the next one looks at all pages once more."""
    store = local(tmp_path / "site")
    passed = [0.0]
    with pytest.raises(ConflictError, match="could not be renewed") as caught:  # noqa: SIM117
        with holding(store, ONE, Silence(), clock=lambda: passed[0], lifetime=2.0) as lease:
            lease.note(["simple/index.html"])
            store.remove(LEASE, expect=lease_etag(store))
            passed[0] = 60
            lease.check()
    assert "looks at every page" in caught.value.hint
    found = leftover(store)
    assert found is not None
    assert found[0].unsettled == ("simple/index.html",)
    assert found[0].left(time.time(), None) == 0


def test_it_waits_for_who_has_it_now(tmp_path: Path) -> None:
    store = local(tmp_path / "site")
    taken = threading.Event()

    def rival() -> None:
        with holding(store, TWO, Silence()):
            taken.set()
            time.sleep(1.5)

    other = threading.Thread(target=rival)
    with pytest.raises(ConflictError, match="somebody else"):  # noqa: SIM117
        with holding(store, ONE, Silence(), lifetime=30.0) as lease:
            lease.note(["simple/index.html"])
            store.remove(LEASE, expect=lease_etag(store))
            other.start()
            taken.wait(30)
            lease.renew()
    other.join()
    found = leftover(store)
    assert found is not None
    assert (found[0].owner, found[0].unsettled) == (ONE, ("simple/index.html",))
    # Whoever comes next reads the pages back, and brings it to its end.
    site = small_site(tmp_path / "one")
    assert site.publish(store).release
    assert leftover(store) is None


def test_who_has_the_lease_for_too_long_is_told_of(tmp_path: Path) -> None:
    store, heard = local(tmp_path / "site"), Heard()
    done, taken = threading.Event(), threading.Event()

    def rival() -> None:
        with holding(store, TWO, Silence()):
            taken.set()
            done.wait(60)

    other = threading.Thread(target=rival)
    with pytest.raises(ConflictError):  # noqa: SIM117
        with holding(store, ONE, heard, lifetime=1.5) as lease:
            lease.note(["simple/index.html"])
            store.remove(LEASE, expect=lease_etag(store))
            other.start()
            taken.wait(30)
            lease.renew()
    done.set()
    other.join()
    assert len(heard.warned) == 1
    assert "--check-remote" in heard.warned[0]


def lease_etag(store: Store) -> str:
    found = leftover(store)
    assert found is not None
    return found[1]
