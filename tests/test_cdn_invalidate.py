"""Invalidate: what a CDN is owed follows from releases, is kept until it is confirmed, and is paid for once."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from mirror.cdn.base import NotConfirmed
from mirror.cdn.cloudfront import CloudFront
from mirror.cdn.ledger import Ledger
from mirror.errors import ConflictError, RemoteError
from mirror.layout import POINTER, edge_key
from mirror.lease import Owner
from mirror.phases.invalidate import InvalidateResult, invalidate
from mirror.progress import Silence
from tests import cloudfront_stand_in as cloud
from tests import sites
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn, covered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mirror.phases.sync import SyncResult
    from mirror.stores.base import Body, Store
    from mirror.stores.local import LocalStore

WHOLE = ("/", "/index.html", "/projects/*", "/simple/*")
FRONT = ("/", "/index.html")
PEOPLE = (*FRONT, "/projects/*")


def project(name: str) -> tuple[str, ...]:
    return (f"/simple/{name}/", f"/simple/{name}/index.html", f"/simple/{name}/index.v1_json")


REPAIRED = ("/simple/beta/", "/simple/beta/index.html")
PAGES = ("simple/", "projects/", "index.html")
LIST = ("/simple/", "/simple/index.html", "/simple/index.v1_json")


class Words(Silence):
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass
class World:
    """A store, a CDN before it, and releases of one small mirror."""

    folder: Path
    stand_in: CloudFrontStandIn
    words: Words = field(default_factory=Words)
    domain: str = ""
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def published(self) -> dict[str, bytes]:
        """Everything that lies in the store, without what belongs to the processes that are writing."""
        found = sites.tree(self.folder / "site")
        return {key: data for key, data in found.items() if not key.startswith((".mirror/.staging/", ".mirror/.lock"))}

    @property
    def store(self) -> LocalStore:
        return sites.local(self.folder / "site")

    def publish(self, *projects: str, version: str = "1.0", store: Store | None = None, **options: Any) -> SyncResult:
        """Publish wheels and sdists of these projects; the same projects give the same bytes."""
        made = sites.small_site(self.folder / str(next(self.numbers)), projects=projects, version=version)
        return made.publish(store or self.store, allow_shrink=True, **options)

    @property
    def pointer(self) -> str:
        """The id of the current release."""
        found = self.store.read(POINTER)
        assert found
        return str(json.loads(found[0])["release"])

    def cdn(self, **options: Any) -> CloudFront:
        opened = CloudFront.open(DISTRIBUTION, domain=self.domain)
        return CloudFront(opened._client, DISTRIBUTION, domain=self.domain, **{"delay": 0.01, **options})

    def invalidate(
        self, result: SyncResult | None = None, *, store: Store | None = None, **options: Any
    ) -> InvalidateResult:
        """Invalidate as a run does that has just published, or as one that knows nothing."""
        options = {"wait": 10.0, "interval": 0.02, "release": result.current if result else "", **options}
        return invalidate(store or self.store, self.cdn(), self.words, **options)

    @property
    def ledger(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / "site" / edge_key(DISTRIBUTION)).read_bytes())
        return document

    @property
    def asked(self) -> list[tuple[str, ...]]:
        return [made.paths for made in self.stand_in.invalidations]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with CloudFrontStandIn() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield World(tmp_path, running)


@pytest.fixture
def current(world: World) -> World:
    """A world whose CDN is up to date."""
    world.invalidate(world.publish("alpha", "beta"))
    world.stand_in.requests.clear()
    return world


# --- what is owed -------------------------------------------------------------------------------


def test_nothing_is_owed_before_anything_is_published(world: World) -> None:
    assert world.invalidate() == InvalidateResult()
    assert world.stand_in.requests == []
    assert not (world.folder / "site").exists()


def test_a_cdn_of_which_nothing_is_known_forgets_every_page(world: World) -> None:
    result = world.publish("alpha", "beta")
    assert world.invalidate(result) == InvalidateResult(paths=WHOLE)
    assert world.asked == [WHOLE]
    assert world.ledger["release"] == result.release
    assert world.ledger["paths"] == []


def test_nothing_changed_means_no_invalidation_and_no_request(current: World) -> None:
    before = current.published
    result = current.publish("alpha", "beta")
    assert not result.changed
    assert current.invalidate(result) == InvalidateResult()
    assert current.stand_in.requests == []
    assert current.published == before
    assert "nothing to invalidate" in current.words.said[-1]


def test_exactly_the_changed_pages_are_named_in_every_spelling(current: World) -> None:
    result = current.publish("alpha", "beta", "gamma")
    expected = tuple(sorted((*PEOPLE, *LIST, *project("gamma"))))
    assert expected == tuple(sorted(set(expected)))
    found = current.invalidate(result)
    assert found.paths == expected
    assert found.confirmed
    assert current.asked[1:] == [expected]


def test_removed_projects_are_named_too(current: World) -> None:
    assert set(project("beta")) <= set(current.invalidate(current.publish("alpha")).paths)
    assert not set(project("alpha")) & set(current.asked[-1])


def test_artifacts_are_never_named(current: World) -> None:
    current.invalidate(current.publish("alpha", version="2.0"))
    assert not [path for paths in current.asked for path in paths if "packages" in path or ".mirror" in path]


def test_below_a_path_every_name_has_it_in_front(world: World) -> None:
    world.domain = "cdn.example/pypi"
    world.invalidate(world.publish("alpha"))
    world.invalidate(world.publish("alpha", "beta"))
    assert world.asked[0] == ("/pypi/", "/pypi/index.html", "/pypi/projects/*", "/pypi/simple/*")
    assert all(path.startswith("/pypi/") for path in world.asked[1])
    assert "/pypi/simple/beta/" in world.asked[1]


def test_a_release_back_to_old_bytes_is_invalidated_again(current: World) -> None:
    for _ in range(2):
        current.invalidate(current.publish("alpha", "beta", version="2.0"))
        current.invalidate(current.publish("alpha", "beta"))
    assert len(current.asked) == 5
    assert len({frozenset(paths) for paths in current.asked[1:]}) == 1
    assert len({made.reference for made in current.stand_in.invalidations}) == 5


def test_a_store_emptied_and_filled_again_repeats_no_reference(world: World) -> None:
    for _ in range(2):
        world.invalidate(world.publish("alpha"))
        world.invalidate(world.publish("alpha", "beta"))
        for path in world.folder.iterdir():
            shutil.rmtree(path)
    assert world.asked[:2] == world.asked[2:]
    assert len({made.id for made in world.stand_in.invalidations}) == 4


def test_a_page_repaired_within_a_release_is_invalidated(current: World) -> None:
    for _ in range(2):
        # Again and again, if need be: each repair is a request of its own. Who invalidates has not to be who repaired.
        (current.folder / "site" / "simple" / "beta" / "index.html").write_text("damaged")
        assert current.publish("alpha", "beta", check_remote=True).release is None
        assert current.ledger["pages"] == ["simple/beta/index.html"]
        assert current.invalidate().paths == REPAIRED
        assert current.invalidate() == InvalidateResult()
    assert current.ledger["pages"] == []
    assert len({made.reference for made in current.stand_in.invalidations}) == 3


def test_a_repair_and_a_release_are_one_invalidation(current: World) -> None:
    (current.folder / "site" / "simple" / "beta" / "index.html").write_text("damaged")
    current.publish("alpha", "beta", check_remote=True)
    current.publish("alpha", "beta", "gamma")
    assert current.invalidate().paths == tuple(sorted({*PEOPLE, *LIST, *REPAIRED, *project("gamma")}))


def test_a_mirror_without_a_cdn_has_no_ledger_and_needs_none(world: World) -> None:
    world.publish("alpha", "beta")
    (world.folder / "site" / "simple" / "beta" / "index.html").write_text("damaged")
    assert world.publish("alpha", "beta", check_remote=True).puts == ("simple/beta/index.html",)
    assert not (world.folder / "site" / edge_key(DISTRIBUTION)).exists()
    assert world.invalidate().paths == WHOLE


def test_all_means_every_page_every_time(current: World) -> None:
    for _ in range(2):
        assert current.invalidate(everything=True).paths == WHOLE
    assert current.asked == [WHOLE] * 3


def test_several_releases_at_once_are_one_invalidation(current: World) -> None:
    current.publish("alpha", "beta", "gamma")
    current.publish("alpha", "gamma")
    found = current.invalidate()
    assert found.paths == tuple(sorted((*PEOPLE, *LIST, *project("beta"), *project("gamma"))))


def test_a_page_that_only_a_release_in_between_changed_is_invalidated(current: World) -> None:
    current.publish("alpha", "beta", version="2.0")
    current.publish("alpha", "beta")
    found = current.invalidate()
    assert set(found.paths) == {*PEOPLE, *project("alpha"), *project("beta")}


def test_when_the_release_before_was_pruned_every_page_is_invalidated(current: World) -> None:
    before = current.ledger["release"]
    result = current.publish("alpha", "beta", "gamma")
    (current.folder / "site" / ".mirror" / "releases" / f"{before}.json").unlink()
    assert current.invalidate(result).paths == WHOLE


def test_a_crowd_of_pages_becomes_a_wildcard_for_each_folder_or_one_tag(world: World) -> None:
    crowd = [f"p{number}" for number in range(301)]
    world.invalidate(world.publish("alpha"))
    result = world.publish("alpha", *crowd)
    assert len(result.puts) > 900
    assert world.invalidate(result).paths == WHOLE
    world.stand_in.distributions[DISTRIBUTION].tag_header = "x-amz-meta-cache-tag"
    assert world.invalidate(world.publish("alpha")).paths == ("#mirror-page", *FRONT)


# --- dry run, words -----------------------------------------------------------------------------


def test_a_dry_run_shows_everything_and_does_nothing(current: World) -> None:
    current.publish("alpha", "beta", "gamma")
    before = current.published
    found = current.invalidate(dry_run=True)
    assert found.paths
    assert not found.confirmed
    assert current.stand_in.requests == []
    assert current.published == before
    assert "would invalidate 9 paths: free within the 1,000" in " ".join(current.words.said)
    assert "  /simple/gamma/" in current.words.said
    assert current.invalidate().paths == found.paths


def test_the_words_say_count_cost_and_end(world: World) -> None:
    result = world.publish("alpha")
    world.invalidate(result)
    assert world.words.said == [
        f"CloudFront {DISTRIBUTION}: invalidating 4 paths: free within the 1,000 a month of an AWS account, beyond "
        "them up to 0.020 USD (prices of November 2026)",
        f"CloudFront {DISTRIBUTION}: confirmed, every edge serves release {result.release}",
    ]


# --- what comes between -------------------------------------------------------------------------


def test_not_confirmed_in_time_is_told_and_waited_for_by_the_next_run_at_no_cost(current: World) -> None:
    current.stand_in.takes = 0.6
    result = current.publish("alpha", "beta", "gamma")
    with pytest.raises(NotConfirmed, match=r"not confirmed I0000000000002 within 0\.1 seconds") as caught:
        current.invalidate(result, wait=0.1)
    assert caught.value.exit_code == 3
    assert "mirror invalidate" in caught.value.hint
    paid = current.stand_in.billed
    again = current.publish("alpha", "beta", "gamma")
    assert not again.changed
    assert current.invalidate(again).confirmed
    assert "asked for before" in current.words.said[-2]
    assert current.stand_in.billed == paid
    current.stand_in.requests.clear()
    assert current.invalidate() == InvalidateResult()
    assert current.stand_in.requests == []


def test_who_does_not_wait_is_not_told_off_and_the_next_run_looks(current: World) -> None:
    current.stand_in.takes = 600
    assert not current.invalidate(current.publish("alpha", "gamma"), wait=0.0).confirmed
    assert not current.invalidate(wait=0.0).confirmed
    current.stand_in.takes = 0
    assert current.invalidate().confirmed
    assert len(current.asked) == 2


REFUSALS = {"denied": cloud.DENIED, "no-distribution": cloud.Fault("NoSuchDistribution", 404)}


@pytest.mark.parametrize("fault", REFUSALS.values(), ids=REFUSALS)
def test_what_was_refused_is_asked_for_again_although_nothing_changed(current: World, fault: cloud.Fault) -> None:
    result = current.publish("alpha", "beta", "gamma")
    current.stand_in.faults = [fault]
    with pytest.raises(RemoteError):
        current.invalidate(result)
    assert current.ledger["paths"]
    found = current.invalidate(current.publish("alpha", "beta", "gamma"))
    assert set(project("gamma")) < set(found.paths)
    assert current.asked[1:] == [found.paths]


def test_a_run_killed_between_sync_and_invalidate_is_made_up_for(current: World) -> None:
    current.publish("alpha", "beta", "gamma")
    found = current.invalidate(current.publish("alpha", "beta", "gamma"))
    assert set(project("gamma")) < set(found.paths)


GONE = replace(Owner.here(), pid=2**22 + 1)
"""A process of this machine that does not run any more; no system gives out such a number."""


class Dies(Exception):
    """As a killed process stops."""


class Dying:
    """A store that dies after so many calls, before or after it has done the last one."""

    def __init__(self, store: Store, calls: int, *, after: bool) -> None:
        self._store, self._calls, self._after = store, calls, after

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._store, name)
        if name == "name":
            return inner

        def call(*args: Any, **options: Any) -> Any:
            self._calls -= 1
            if self._calls < 0 and not self._after:
                raise Dies
            answer = inner(*args, **options)
            if self._calls < 0:
                raise Dies
            return answer

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("calls", range(7))
def test_killed_at_every_step_the_next_run_brings_it_to_its_end(current: World, calls: int, after: bool) -> None:
    result = current.publish("alpha", "beta", "gamma")
    expected = tuple(sorted((*PEOPLE, *LIST, *project("gamma"))))
    dying = Dying(current.store, calls, after=after)
    # Two small reads, two manifests behind a pointer, the ledger before and after.
    with pytest.raises(Dies):
        current.invalidate(store=dying)
    current.invalidate(current.publish("alpha", "beta", "gamma"))
    assert current.asked[1:] == [expected]
    assert current.ledger["release"] == result.release
    assert current.ledger["paths"] == []


@pytest.mark.parametrize("after", [False, True])
def test_a_repair_that_is_killed_at_any_step_is_invalidated_once_it_is_made(current: World, after: bool) -> None:
    page = current.folder / "site" / "simple" / "beta" / "index.html"
    whole = page.read_bytes()
    for calls in count():
        page.write_text("damaged")
        dying = Dying(current.store, calls, after=after)
        try:
            current.publish("alpha", "beta", check_remote=True, store=dying, owner=GONE, jobs=1)
        except Dies:
            pass
        else:
            assert calls > 10
            break
        # Whatever came of it, it is made up for by a run of somebody who knows nothing of it.
        if page.read_bytes() != whole:
            current.publish("alpha", "beta", check_remote=True)
        current.publish("alpha", "beta")
        asked = current.invalidate().paths
        assert set(REPAIRED) <= set(asked), f"killed {'after' if after else 'before'} call {calls}"
        assert page.read_bytes() == whole


def test_a_lost_reply_is_paid_for_once(current: World) -> None:
    result = current.publish("alpha", "gamma")
    current.stand_in.faults = [cloud.LOST_REPLY]
    found = current.invalidate(result)
    assert current.stand_in.billed == len(WHOLE) + len(found.paths)


def test_what_is_still_owed_goes_along_with_the_next_release(current: World) -> None:
    current.stand_in.faults = [cloud.DENIED]
    with pytest.raises(RemoteError):
        current.invalidate(current.publish("alpha", "beta", "gamma"))
    found = current.invalidate(current.publish("alpha", "beta", "gamma", "delta"))
    assert set(project("gamma")) | set(project("delta")) < set(found.paths)
    assert len(current.asked) == 2


# --- others -------------------------------------------------------------------------------------


class Meeting:
    """A store in which somebody else acts just before a key is put."""

    slash_keys = False

    def __init__(self, store: Store, key: str, acts: Iterable[Any]) -> None:
        self.name = store.name
        self._store, self._key, self._acts = store, key, iter(acts)

    def put(self, key: str, body: Body, headers: Any, *, expect: str | None = None) -> str:
        act = next(self._acts, None) if key == self._key else None
        if act:
            act()
        return self._store.put(key, body, headers, expect=expect)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def meeting(world: World, *acts: Any) -> Any:
    return Meeting(world.store, edge_key(DISTRIBUTION), acts)


def test_two_at_once_do_it_once(current: World) -> None:
    result = current.publish("alpha", "beta", "gamma")
    # The other one has finished when we are about to write: then nothing is left to do.
    found = current.invalidate(store=meeting(current, current.invalidate))
    assert found == InvalidateResult()
    assert len(current.asked) == 2
    assert current.ledger["release"] == result.release


def test_a_debt_that_somebody_took_over_is_left_to_them(current: World) -> None:
    current.publish("alpha", "beta", "gamma")

    def other() -> None:
        current.publish("alpha", "beta", "gamma", "delta")
        current.invalidate(wait=0.0)

    current.stand_in.takes = 0.2
    current.invalidate(store=meeting(current, None, other))
    assert current.ledger["paths"], "the other's debt must not be crossed out by us"
    found = current.invalidate()
    assert set(project("gamma")) | set(project("delta")) < set(found.paths)
    assert current.ledger["paths"] == []


@pytest.mark.parametrize("key", ["simple/beta/index.v1_json", "projects/beta.html", "index.html", POINTER])
def test_a_page_of_a_release_that_never_came_to_be_is_invalidated(current: World, key: str) -> None:
    """A publish that ends early leaves pages that an edge may fetch; then the old locks are published again."""

    def die() -> None:
        raise Dies

    before = sites.visible(current.folder / "site")
    with pytest.raises(Dies):
        current.publish("beta", "gamma", version="2.0", store=Meeting(current.store, key, [die]), jobs=1)
    left = sites.visible(current.folder / "site")
    odd = [each for each in {*before, *left} if each.startswith(PAGES) and before.get(each) != left.get(each)]
    current.publish("alpha", "beta")
    asked = current.invalidate().paths
    assert odd
    assert set(covered(asked, [f"/{each}" for each in odd])) == {f"/{each}" for each in odd}
    assert sites.visible(current.folder / "site").keys() >= before.keys()


def test_a_note_for_a_ledger_that_others_write_is_not_lost(current: World) -> None:
    page = current.folder / "site" / "simple" / "beta" / "index.html"
    page.write_text("damaged")

    def other() -> None:
        current.invalidate(everything=True)

    current.publish("alpha", "beta", check_remote=True, store=meeting(current, other))
    assert current.invalidate().paths == REPAIRED
    page.write_text("damaged")
    with pytest.raises(ConflictError, match=r"\.mirror/edges/"):
        current.publish("alpha", "beta", check_remote=True, store=meeting(current, *[other] * 20))
    # What could not be noted is, by whoever publishes next.
    current.publish("alpha", "beta")
    assert current.invalidate().paths == REPAIRED


def test_a_ledger_that_never_rests_is_a_conflict(current: World) -> None:
    current.publish("alpha", "gamma")
    stored = current.folder / "site" / edge_key(DISTRIBUTION)

    def other() -> None:
        stored.write_text(json.dumps({**current.ledger, "count": current.ledger["count"] + 1}))

    with pytest.raises(ConflictError, match=r"\.mirror/edges/") as caught:
        current.invalidate(store=meeting(current, *[other] * 20))
    assert caught.value.exit_code == 4
    assert len(current.asked) == 1


def test_many_at_once_lose_nothing(current: World) -> None:
    result = current.publish("alpha", "beta", "gamma")
    errors: list[BaseException] = []

    def run() -> None:
        try:
            current.invalidate()
        except ConflictError:
            pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    current.invalidate()
    assert current.ledger["release"] == result.release
    assert current.ledger["paths"] == []
    assert set(project("gamma")) < set(current.asked[1])


# --- the ledger ---------------------------------------------------------------------------------

UNREADABLE: dict[str, str | bytes] = {
    "no-json": b"\xff",
    "list": "[]",
    "newer": '{"format": 2}',
    "word": '{"asked": 1, "count": 1, "format": 1, "life": "a", "paths": [], "release": ""}',
    "paths": '{"asked": "", "count": 1, "format": 1, "life": "a", "paths": "/", "release": ""}',
    "path": '{"asked": "", "count": 1, "format": 1, "life": "a", "paths": [1], "release": ""}',
    "count": '{"asked": "", "count": true, "format": 1, "life": "a", "paths": [], "release": ""}',
    "missing": '{"asked": "", "count": 1, "format": 1, "paths": [], "release": ""}',
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_a_ledger_that_cannot_be_read_is_no_empty_one(current: World, data: str | bytes) -> None:
    stored = current.folder / "site" / edge_key(DISTRIBUTION)
    stored.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(RemoteError, match="no ledger") as caught:
        current.invalidate()
    assert "remove that file" in caught.value.hint
    assert len(current.asked) == 1


@pytest.mark.parametrize("paths", [(), ("/", "/simple/a%2Bb/")])
def test_a_ledger_is_read_as_it_was_written(paths: Sequence[str]) -> None:
    ledger = Ledger.opened().owing("000001-0123456789ab", tuple(paths))
    for each in (ledger, ledger.noting(["simple/b/", "simple/a/"])):
        assert Ledger.parse(each.data, "somewhere") == each
    assert Ledger.opened().life != Ledger.opened().life
