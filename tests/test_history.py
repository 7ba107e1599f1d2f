"""Releases, rollback and prune on a directory and in memory; slash keys."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from mirror.errors import MirrorError, RemoteError
from mirror.files import DigestCache
from mirror.history import read_history
from mirror.layout import SlashKeys, headers, slash_key
from mirror.lease import Owner
from mirror.model import Digest, Plan, PlannedFile
from mirror.phases.prune import DAY, Retention, prune, prune_pool
from mirror.phases.rollback import rollback
from mirror.phases.verify import verify
from mirror.pool import Pool
from mirror.progress import Silence
from mirror.release import Kind, kind
from tests.buckets import Bucket
from tests.history_suite import HistorySuite, assert_sound, back, now, three_sites
from tests.sites import Site, local, small_site
from tests.store_suite import put

if TYPE_CHECKING:
    from pathlib import Path

    from mirror.stores.base import Store


class TestDirectory(HistorySuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return local(tmp_path / "site")


class TestMemory(HistorySuite):
    @pytest.fixture
    def store(self) -> Store:
        return Bucket(time.time)


# Any sequence


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site, Site]:
    return three_sites(tmp_path_factory.mktemp("sites"))


steps = st.one_of(
    st.tuples(st.just("publish"), st.integers(0, 2)),
    st.tuples(st.just("rollback"), st.integers(0, 5)),
    st.tuples(st.just("prune"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.integers(1, 9)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(steps, max_size=12), slash_keys=st.booleans(), limit=st.sampled_from([2, 1000]))
def test_no_sequence_of_publishes_rollbacks_and_prunes_breaks_a_promise(
    sites: tuple[Site, Site, Site], script: list[tuple[str, int]], slash_keys: bool, limit: int
) -> None:
    today = [time.time()]
    store = Bucket(lambda: today[0])
    known: list[str] = []
    for verb, number in [("publish", 0), *script]:
        if verb == "publish":
            known.append(sites[number].publish(store, allow_shrink=True, slash_keys=slash_keys).current)
        elif verb == "wait":
            today[0] += number * DAY
        elif verb == "prune":
            retention = Retention(keep=number, limit=limit, allow_shrink=True)
            prune(store, Silence(), retention, owner=Owner.here(), clock=lambda: today[0])
        else:
            wanted = known[number % len(known)]
            try:
                known.append(rollback(store, Silence(), release=wanted, owner=Owner.here()).current)
            except MirrorError:
                assert not any(found.key.endswith(f"{wanted}.json") for found in store.list(".mirror/releases/"))
        assert_sound(store)


def test_a_time_is_meant_to_the_second_as_it_is_shown(sites: tuple[Site, Site, Site]) -> None:
    """Listings of some stores tell fractions of a second, and nobody is shown them."""
    today = [1000.7]
    store = Bucket(lambda: today[0])
    ids = []
    for site in sites:
        ids.append(site.publish(store, allow_shrink=True).current)
        today[0] += 60
    history = read_history(store)
    assert history is not None
    assert [history.at(moment).id for moment in (1000, 1059.9, 1060, 1120)] == [ids[0], ids[0], *ids[1:]]
    with pytest.raises(MirrorError, match="published by then"):
        history.at(999.9)


# Slash keys


def test_html_pages_are_stored_once_more_under_keys_that_end_in_a_slash(tmp_path: Path) -> None:
    site, store = small_site(tmp_path), Bucket(time.time)
    result = site.publish(store, slash_keys=True)
    twins = {key for key in result.puts if key.endswith("/")}
    assert twins == {"simple/", "simple/alpha/", "simple/beta/"}
    for twin in twins:
        assert store.read(twin) == store.read(f"{twin}index.html")
        assert store.headers[twin] == store.headers[f"{twin}index.html"]
        assert now(store).objects[twin] == now(store).objects[f"{twin}index.html"]
    assert not site.publish(store, slash_keys=True).changed
    assert verify((), store, Silence(), manifest=site.manifest).findings == ()
    result = site.publish(store, slash_keys=False)
    assert set(result.deletes) == twins
    assert result.release
    assert set(back(store, "000001").puts) == twins


def test_a_twin_that_is_not_its_page_is_found(tmp_path: Path) -> None:
    site, store = small_site(tmp_path), Bucket(time.time)
    site.publish(store, slash_keys=True)
    put(store, "simple/alpha/", b"other")
    findings = verify((), store, Silence(), manifest=site.manifest).findings
    assert {(found.code, found.key) for found in findings} == {
        ("altered", "simple/alpha/"),
        ("twin-disagrees", "simple/alpha/"),
    }
    assert site.publish(store, slash_keys=True, check_remote=True).puts == ("simple/alpha/",)


def test_a_directory_refuses_them_clearly(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="cannot hold keys that end in a slash") as caught:
        small_site(tmp_path).publish(local(tmp_path / "site"), slash_keys=True)
    assert "SLASH_KEYS" in caught.value.hint
    assert list(local(tmp_path / "site").list()) == [], "it was found out before anything was stored"


def test_who_gets_slash_keys() -> None:
    table = {choice: [choice.wanted(possible=possible) for possible in (True, False)] for choice in SlashKeys}
    assert table == {
        SlashKeys.AUTO: [True, False],
        SlashKeys.ALWAYS: [True, True],
        SlashKeys.NEVER: [False, False],
    }


@pytest.mark.parametrize(
    ("key", "expected"), [("simple/", Kind.PROJECT_LIST), ("simple/a-b/", Kind.PROJECT_PAGE), ("simple/A/", None)]
)
def test_the_kind_and_headers_of_a_slash_key(key: str, expected: Kind | None) -> None:
    assert kind(key) is expected
    assert headers(key) == headers(f"{key}index.html")
    assert slash_key(f"{key}index.html") == key


# The pool


def test_old_downloads_that_the_plan_does_not_want_are_deleted(tmp_path: Path) -> None:
    for name in ("packages/noarch/a-1.0.tar.gz", "packages/noarch/b-1.0.tar.gz", "packages/all/b-1.0.tar.gz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    digest = Digest("sha256", "0" * 64)
    wanted = PlannedFile(
        filename="a-1.0.tar.gz",
        digest=digest,
        home="noarch",
        project=canonicalize_name("a"),
        version="1.0",
        python="3.12",
    )
    planned, pool = Plan(files=(wanted,)), Pool(tmp_path / "packages", DigestCache())
    old = tmp_path / "packages/noarch/b-1.0.tar.gz"
    assert prune_pool(planned, pool, Silence()) == ()
    later = time.time() + 8 * DAY
    assert prune_pool(planned, pool, Silence(), dry_run=True, clock=lambda: later) == (old,)
    assert old.exists()
    assert prune_pool(planned, pool, Silence(), clock=lambda: later) == (old,)
    assert not old.exists()
    assert pool.names() == {"a-1.0.tar.gz"}
    assert (tmp_path / "packages/all/b-1.0.tar.gz").exists()
