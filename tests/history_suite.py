"""Releases, rollback and prune on any store. A store's tests are a subclass with a `store` fixture."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from mirror.errors import ConflictError, IntegrityError, MirrorError
from mirror.history import read_history
from mirror.layout import FORMER_PAGES, LEASE, POINTER, PROBE, RELEASES, SIMPLE, former_page_key, headers, release_key
from mirror.lease import Lease, Owner
from mirror.phases.prune import DAY, PruneResult, Retention, prune
from mirror.phases.releases import releases
from mirror.phases.rollback import rollback
from mirror.progress import Silence
from mirror.release import Kind, Release, current, kind
from mirror.simple import html, json
from tests.buckets import Interrupting, Timeless
from tests.sites import Site, make_site
from tests.store_suite import put
from tests.watched import Watched
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from mirror.publication import SyncResult
    from mirror.stores.base import Store

ALPHA = "packages/alpha-1.0-py3-none-any.whl"
BETA = "packages/beta-1.0.tar.gz"


def three_sites(folder: Path) -> tuple[Site, Site, Site]:
    """One has alpha and beta, two another alpha beside it and gamma instead of beta, three lacks alpha."""
    made = folder / "made"
    alpha, alpha2 = make_wheel(made, "alpha", "1.0"), make_wheel(made, "alpha", "2.0")
    beta, gamma = make_sdist(made, "beta", "1.0"), make_wheel(made, "gamma", "1.0")
    one = make_site(folder / "one", [alpha, beta])
    two = make_site(folder / "two", [alpha, alpha2, gamma])
    three = make_site(folder / "three", [gamma])
    return one, two, three


def back(store: Store, release: str | None, **options: Any) -> SyncResult:
    return rollback(store, Silence(), release=release or "", **{"owner": Owner.here(), "jobs": 2, **options})


def pruned(store: Store, *, days: float = 0, dry_run: bool = False, **retention: Any) -> PruneResult:
    """Prune as if that many days had passed; however much goes."""
    chosen = Retention(**{"keep": 1, "allow_shrink": True, **retention})
    later = time.time() + days * DAY
    return prune(store, Silence(), chosen, owner=Owner.here(), dry_run=dry_run, jobs=2, clock=lambda: later)


def now(store: Store) -> Release:
    found = current(store.read, store.name)
    assert found is not None
    return found.release


def content(store: Store, prefix: str = "") -> dict[str, str | None]:
    """What is published, by digest, without state."""
    return {found.key: store.digest(found.key) for found in store.list(prefix) if not found.key.startswith(".mirror/")}


def assert_sound(store: Store) -> None:
    """No page lists what is not there, and what releases record is there."""
    for found in store.list(SIMPLE):
        if kind(found.key) is Kind.PROJECT_PAGE and not found.key.endswith("/"):
            read = store.read(found.key)
            assert read is not None
            form = json if found.key.endswith("json") else html
            for file in form.parse(read[0], f"/{found.key}", found.key.split("/")[1]).files:
                key = unquote(file.url).removeprefix("/")
                assert {each.hex for each in file.digests} == {store.digest(key)}, f"{found.key} lists {key}"
    history = read_history(store, 2)
    assert history is not None
    for place, kept in enumerate(history.releases):
        for key, wanted in kept.release.objects.items():
            page = (kind(key) or Kind.STATE).page
            places = (key,) if place == 0 else (former_page_key(wanted.sha256), *history.current.release.objects)
            if not page:
                assert store.digest(key) == wanted.sha256, f"{kept.release.id} needs {key}"
            else:
                assert any(store.digest(each) == wanted.sha256 for each in places), f"{kept.release.id} needs {key}"


class HistorySuite:
    """Subclass it, and give it a fixture `store` that makes an empty store."""

    @pytest.fixture
    def sites(self, tmp_path: Path) -> tuple[Site, Site, Site]:
        return three_sites(tmp_path / "sites")

    @pytest.fixture
    def ids(self, store: Store, sites: tuple[Site, Site, Site]) -> list[str]:
        """Publish all three; return the ids, oldest first."""
        return [site.publish(store, allow_shrink=True).release or "" for site in sites]

    # Releases

    def test_a_store_without_releases(self, store: Store) -> None:
        assert releases(store, Silence()).releases == ()
        assert pruned(store) == PruneResult()
        with pytest.raises(MirrorError, match="nothing was published"):
            back(store, "000001")

    def test_releases_are_listed_newest_first(self, store: Store, sites: tuple[Site, ...], ids: list[str]) -> None:
        listed = releases(store, Silence()).releases
        assert [entry.id for entry in listed] == ids[::-1]
        assert [entry.current for entry in listed] == [True, False, False]
        assert [entry.artifacts for entry in listed] == [1, 3, 2]
        assert [entry.pages for entry in listed] == [6, 9, 9]
        assert [entry.locks for entry in listed] == [sites[0].manifest.locks] * 3
        assert listed[0].size == sum(found.size for found in now(store).objects.values())
        assert all(entry.published for entry in listed)

    def test_a_stray_manifest_is_no_release(self, store: Store, ids: list[str]) -> None:
        """Left by a publish that was interrupted before it moved the pointer."""
        for sequence, goes in ((2, True), (4, False)):
            stray = Release(sequence=sequence, previous=ids[0])
            put(store, release_key(stray.id), stray.data)
            assert [entry.id for entry in releases(store, Silence()).releases] == ids[::-1]
            # One with the next number may be about to become current.
            assert (release_key(stray.id) in pruned(store, days=8, keep=9).deletes) is goes

    # Rollback

    def test_a_rollback_is_a_new_release_with_the_objects_of_the_old(self, store: Store, ids: list[str]) -> None:
        for sequence, wanted in enumerate((ids[0], ids[1], ids[2], ids[0]), start=4):
            result = back(store, wanted)
            release = now(store)
            assert result.release == release.id == result.current
            assert (release.sequence, release.id[7:]) == (sequence, wanted[7:])
            found = {key: store.digest(key) for key in release.objects}
            assert found == {key: wanted.sha256 for key, wanted in release.objects.items()}
            assert content(store, SIMPLE).keys() == {key for key in release.objects if key.startswith(SIMPLE)}
            assert_sound(store)
        assert store.stat(LEASE) is None

    def test_a_first_publish_keeps_no_pages_and_a_second_one_those_that_it_replaces(
        self, store: Store, sites: tuple[Site, Site, Site]
    ) -> None:
        sites[0].publish(store)
        before = now(store)
        assert list(store.list(FORMER_PAGES)) == []
        sites[1].publish(store, allow_shrink=True)
        pages = {found.sha256 for key, found in before.objects.items() if (kind(key) or Kind.STATE).page}
        staying = {found.sha256 for found in now(store).objects.values()}
        assert {found.key for found in store.list(FORMER_PAGES)} == {
            former_page_key(sha256) for sha256 in pages - staying
        }

    def test_the_order_of_a_rollback(self, store: Store, ids: list[str]) -> None:
        watched = Watched(store)
        back(watched, ids[0], jobs=8)
        puts = [kind(key) for key in watched.keys("put") if key != LEASE]
        order = [*Kind, Kind.STATE]
        assert puts == sorted(puts, key=lambda what: order.index(what or Kind.STATE))
        assert watched.keys("put")[-1] == POINTER
        assert [kind(key) for key in watched.keys("delete")] == [Kind.ABOUT_PAGE, Kind.PROJECT_PAGE, Kind.PROJECT_PAGE]

    def test_back_to_what_is_current_writes_nothing(self, store: Store, ids: list[str]) -> None:
        watched = Watched(store)
        assert not back(watched, ids[2]).changed
        assert watched.keys("put") == watched.keys("delete") == ()

    def test_a_dry_run_changes_nothing(self, store: Store, ids: list[str]) -> None:
        watched = Watched(store)
        planned = back(watched, ids[0], dry_run=True)
        assert watched.keys("put") == watched.keys("delete") == watched.keys("remove") == ()
        assert planned == back(store, ids[0])
        assert planned.changed

    def test_a_release_by_the_beginning_of_its_id_and_by_time(self, store: Store, ids: list[str]) -> None:
        assert back(store, ids[0][:6], dry_run=True).current[7:] == ids[0][7:]
        moment = time.time() + 3600
        assert back(store, "", moment=moment, dry_run=True).current == ids[2]
        for wrong in ("", "0000", "000009", "nothing"):
            with pytest.raises(MirrorError, match="is the id of") as caught:
                back(store, wrong)
            assert "mirror releases" in caught.value.hint
        with pytest.raises(MirrorError, match="published by then"):
            back(store, "", moment=1000.0)
        with pytest.raises(MirrorError, match="does not tell"):
            back(Timeless(store), "", moment=moment)

    @pytest.mark.parametrize("key", [ALPHA, f"{ALPHA}.metadata", BETA])
    def test_what_is_gone_or_altered_is_named(self, store: Store, ids: list[str], key: str) -> None:
        for data in (None, b"other bytes"):
            store.delete([key])
            if data:
                put(store, key, data)
            before, watched = content(store), Watched(store)
            with pytest.raises(IntegrityError) as caught:
                back(watched, ids[0])
            assert key in str(caught.value)
            assert caught.value.hint
            assert watched.keys("put") == ()
            assert content(store) == before

    def test_a_page_that_was_not_kept_is_named(self, store: Store, ids: list[str]) -> None:
        old = read_history(store)
        assert old is not None
        page = old.find(ids[0]).objects["simple/beta/index.html"]
        store.delete([former_page_key(page.sha256)])
        with pytest.raises(IntegrityError, match=r"simple/beta/index\.html"):
            back(store, ids[0])

    def test_one_publisher_at_a_time(self, store: Store, ids: list[str]) -> None:
        lease = Lease(
            owner=Owner(host="ci.example", pid=1), token="t", acquired=time.time() // 1, expires=time.time() // 1 + 300
        )
        store.put(LEASE, lease.body, headers(LEASE))
        before = content(store)
        with pytest.raises(ConflictError):
            back(store, ids[0])
        with pytest.raises(ConflictError):
            pruned(store, grace=0)
        assert content(store) == before

    # Prune

    def test_what_no_kept_release_needs_goes_after_the_grace_period(self, store: Store, ids: list[str]) -> None:
        assert pruned(store, days=6.9).deletes == ()
        assert pruned(store, days=8, keep=3).deletes == ()
        result = pruned(store, days=8, keep=2)
        assert set(result.deletes) >= {release_key(ids[0]), BETA}
        assert ALPHA not in result.deletes
        assert_sound(store)
        result = pruned(store, days=8)
        assert set(result.deletes) >= {release_key(ids[1]), ALPHA, f"{ALPHA}.metadata"}
        assert result.kept == (ids[2],)
        kinds = [kind(key) for key in result.deletes]
        order = [Kind.STATE, Kind.FORMER_PAGE, Kind.METADATA, Kind.ARTIFACT]
        assert kinds == sorted(kinds, key=lambda what: order.index(what or Kind.ARTIFACT)), "artifacts go last"
        assert list(store.list(FORMER_PAGES)) == []
        assert [found.key for found in store.list(RELEASES)] == [release_key(ids[2])]
        assert content(store).keys() == now(store).objects.keys()
        assert_sound(store)
        watched = Watched(store)
        assert pruned(watched, days=9).deletes == ()
        assert watched.keys("put") == ()

    def test_grace_0_ignores_age_and_times_are_not_needed_then(self, store: Store, ids: list[str]) -> None:
        assert pruned(Timeless(store), days=99).deletes == ()
        assert BETA in pruned(Timeless(store), grace=0).deletes
        assert_sound(store)

    def test_a_dry_run_removes_nothing(self, store: Store, ids: list[str]) -> None:
        watched = Watched(store)
        planned = pruned(watched, grace=0, dry_run=True)
        assert watched.keys("put") == watched.keys("delete") == ()
        assert planned == pruned(store, grace=0)

    def test_the_limit_holds_and_the_next_run_goes_on(self, store: Store, ids: list[str]) -> None:
        whole = pruned(store, grace=0, dry_run=True)
        gone: list[str] = []
        while len(gone) < len(whole.deletes):
            part = pruned(store, grace=0, limit=3)
            assert len(part.deletes) == min(3, len(whole.deletes) - len(gone))
            assert part.left == len(whole.deletes) - len(gone) - len(part.deletes)
            gone += part.deletes
            assert_sound(store)
        assert set(gone) == set(whole.deletes)

    def test_it_refuses_to_remove_a_large_share(self, store: Store, ids: list[str]) -> None:
        before = content(store)
        with pytest.raises(MirrorError, match=r"remove 3 of 4 stored artifacts \(75 %") as caught:
            pruned(store, grace=0, allow_shrink=False)
        assert "--allow-shrink" in caught.value.hint
        assert content(store) == before

    def test_what_trying_out_the_store_left_goes(self, store: Store, ids: list[str]) -> None:
        """By a run that was killed meanwhile; that of a run that is under way stays."""
        put(store, f"{PROBE}0123456789abcdef", b"first")
        assert pruned(store, days=6.9, keep=3).deletes == ()
        assert pruned(store, days=8, keep=3).deletes == (f"{PROBE}0123456789abcdef",)
        assert list(store.list(PROBE)) == []

    def test_what_is_not_ours_stays(self, store: Store, ids: list[str]) -> None:
        theirs = ("packages/README", "packages/notes.metadata", "packages/a/b-1.0.tar.gz", "notes.txt")
        for key in theirs:
            put(store, key, b"theirs")
        put(store, "packages/orphan-1.0.tar.gz", b"never released")
        assert "packages/orphan-1.0.tar.gz" in pruned(store, days=8).deletes
        assert all(store.stat(key) for key in theirs)

    def test_after_an_unfinished_publish_nothing_goes(
        self, store: Store, sites: tuple[Site, Site, Site], ids: list[str]
    ) -> None:
        """Its pages may list what no release records."""
        with pytest.raises(MirrorError):
            sites[0].publish(Watched(store, failing="put simple/index.html"), allow_shrink=True)
        before = content(store)
        with pytest.raises(ConflictError, match="not finished") as caught:
            pruned(store, grace=0)
        assert "mirror sync" in caught.value.hint
        assert content(store) == before
        back(store, ids[2])
        assert content(store, SIMPLE).keys() == {key for key in now(store).objects if key.startswith(SIMPLE)}
        pruned(store, grace=0)
        assert_sound(store)

    # Both at once

    def test_a_publisher_that_reuses_what_prune_removes_never_loses_it(
        self, store: Store, sites: tuple[Site, Site, Site]
    ) -> None:
        """A whole prune right before each call of a publish that wants the artifacts back."""
        pruning, at = {"done"}, 0
        while pruning:
            at += 1
            wipe(store)
            for site in (sites[0], sites[2]):
                site.publish(store, allow_shrink=True)
            pruning, outcome = self.undermined(store, sites[0], at)
            assert_sound(store)
            # Whoever met a conflict runs again, and then it is there.
            if outcome == "conflict":
                sites[0].publish(store, allow_shrink=True)
            assert BETA in now(store).objects
            assert_sound(store)
        assert at > 20

    def undermined(self, store: Store, site: Site, at: int) -> tuple[set[str], str]:
        """What became of a prune right before the call of a publish with that number, and of the publish."""
        pruning = set()
        watched = Interrupting(store, at, lambda: pruning.add(tried(lambda: pruned(store, grace=0))))
        return pruning, tried(lambda: site.publish(watched, allow_shrink=True, jobs=1))

    def test_a_prune_during_which_somebody_publishes_loses_nothing(
        self, store: Store, sites: tuple[Site, Site, Site]
    ) -> None:
        """A whole publish right before each call of a prune, with the lease respected and with it taken away."""
        for steal in (False, True):
            outcomes, losses, at = {"done"}, 0, 0
            while outcomes:
                at += 1
                wipe(store)
                for site in (sites[0], sites[2]):
                    site.publish(store, allow_shrink=True)
                outcomes, outcome = self.overtaken(store, sites[0], at, steal=steal)
                lost = any(store.stat(key) is None for key in now(store).objects)
                # Only a removal that is under way while the lease is lost takes a file, and that is told.
                assert lost is (outcome == "loss")
                losses += lost
                sites[0].publish(store, allow_shrink=True, check_remote=lost)
                assert BETA in now(store).objects
                assert_sound(store)
            assert at > 10
            assert losses <= 2 * steal, "metadata, artifacts"

    def overtaken(self, store: Store, site: Site, at: int, *, steal: bool) -> tuple[set[str], str]:
        """What became of a publish right before the call of a prune with that number, and of the prune."""
        published = set()

        def event() -> None:
            if steal:
                expire(store)
            published.add(tried(lambda: site.publish(store, allow_shrink=True)))

        return published, tried(lambda: pruned(Interrupting(store, at, event), grace=0))


def wipe(store: Store) -> None:
    store.delete([found.key for found in store.list()])


def expire(store: Store) -> None:
    """Let the lease run out, as if its holder had been suspended."""
    found = store.read(LEASE)
    if found:
        lease = Lease.parse(found[0], LEASE)
        expired = Lease(
            owner=Owner(host="elsewhere.example", pid=1), token="x", acquired=1000.0, expires=1001.0, lifetime=0.0,
            unsettled=lease.unsettled,
        )  # fmt: skip
        store.put(LEASE, expired.body, headers(LEASE))


def tried(act: Any) -> str:
    try:
        act()
    except ConflictError:
        return "conflict"
    except IntegrityError:
        return "loss"
    return "done"
