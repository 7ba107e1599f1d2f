from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Union

import pytest

from mirror.compare import Fingerprint
from mirror.errors import ConflictError, IntegrityError, MirrorError, RemoteError
from mirror.files import hash_file
from mirror.layout import FRONT_PAGE, LEASE, POINTER, RELEASES, headers
from mirror.lease import Lease, Owner, holding
from mirror.model import Manifest
from mirror.phases.rollback import rollback
from mirror.progress import Silence
from mirror.publication import publish
from mirror.release import FORMAT, Kind, Pointer, Release, current, kind
from tests.buckets import Bucket
from tests.sites import Site, local, make_site, render, small_site, tree, visible
from tests.store_suite import put
from tests.watched import Watched
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mirror.layout import Headers
    from mirror.stores.base import Body, Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def one(tmp_path: Path) -> Site:
    return small_site(tmp_path / "one")


@pytest.fixture
def two(tmp_path: Path) -> Site:
    """The same with another version of alpha added, without beta, with gamma."""
    made = tmp_path / "two" / "made"
    paths = [make_wheel(made, name, version) for name, version in (("alpha", "2.0"), ("gamma", "1.0"))]
    kept = [path for path in (tmp_path / "one" / "made").iterdir() if path.name.startswith("alpha")]
    return make_site(tmp_path / "two", [*paths, *kept])


# The first publish


def test_the_first_publish(one: Site, root: Path) -> None:
    result = one.publish(local(root))
    assert result.release is not None
    assert result.release.startswith("000001-")
    assert result.counts == {
        Kind.ARTIFACT: 4,
        Kind.METADATA: 2,
        Kind.PROJECT_PAGE: 4,
        Kind.PROJECT_LIST: 2,
        Kind.ABOUT_PAGE: 2,
        Kind.FRONT_PAGE: 1,
    }
    wanted = dict(tree(one.pages))
    wanted |= {f"packages/{name}": data for name, data in tree(one.artifacts).items()}
    found = visible(root)
    assert {key: data for key, data in found.items() if not key.startswith(".mirror/")} == wanted
    assert result.size == sum(len(data) for data in wanted.values())
    assert {key for key in found if key.startswith(".mirror/")} == {POINTER, f"{RELEASES}{result.release}.json"}


def test_artifacts_are_the_same_files_as_in_the_pool_and_pages_are_not(one: Site, root: Path) -> None:
    one.publish(local(root))
    wheel = "alpha-1.0-py3-none-any.whl"
    assert (root / "packages" / wheel).samefile(one.artifacts / wheel)
    assert not (root / FRONT_PAGE).samefile(one.pages / FRONT_PAGE)


def test_the_order_of_publishing(one: Site, two: Site, root: Path) -> None:
    """A page never lists what is not there (rule 3; delete before upload, cloud section 9)."""
    one.publish(local(root))
    store = Watched(local(root))
    two.publish(store, jobs=8, allow_shrink=True)
    writes = [(what, key) for what, key in store.done if what in ("put", "delete", "remove") and key != LEASE]
    order = [*Kind, Kind.STATE]
    puts = [kind(key) for what, key in writes if what == "put"]
    assert puts == sorted(puts, key=lambda kind: order.index(kind or Kind.STATE))
    assert [key for _, key in writes if key.startswith(".mirror/")][-1] == POINTER
    gone = ("projects/beta.html", "simple/beta/index.html", "simple/beta/index.v1_json")
    assert writes[-3:] == [("delete", key) for key in gone], "what links to a page goes before it"


def test_an_empty_manifest_is_a_site_without_projects(tmp_path: Path, root: Path) -> None:
    site = Site(render(Manifest(), tmp_path / "index"), tmp_path / "index", tmp_path / "none")
    assert site.publish(local(root)).counts == {Kind.PROJECT_LIST: 2, Kind.FRONT_PAGE: 1}


# Again


def test_nothing_changed_writes_nothing_and_reads_a_handful(one: Site, root: Path) -> None:
    one.publish(local(root))
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    store = Watched(local(root))
    result = one.publish(store)
    assert result.release is None
    assert not result.changed
    assert [what for what, _ in store.done] == ["read"] * 3
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_only_what_changed_is_put(one: Site, two: Site, root: Path) -> None:
    first = one.publish(local(root))
    result = two.publish(local(root), allow_shrink=True)
    assert result.release is not None
    assert result.release.startswith("000002-")
    assert result.puts == (
        "packages/alpha-2.0-py3-none-any.whl",
        "packages/gamma-1.0-py3-none-any.whl",
        "packages/alpha-2.0-py3-none-any.whl.metadata",
        "packages/gamma-1.0-py3-none-any.whl.metadata",
        "simple/alpha/index.html",
        "simple/alpha/index.v1_json",
        "simple/gamma/index.html",
        "simple/gamma/index.v1_json",
        "simple/index.html",
        "simple/index.v1_json",
        "projects/alpha.html",
        "projects/gamma.html",
        "index.html",
    )
    assert result.deletes == ("projects/beta.html", "simple/beta/index.html", "simple/beta/index.v1_json")
    assert (root / "packages/beta-1.0-py3-none-any.whl").exists(), "artifacts wait for prune"
    found = current(local(root).read, "site")
    assert found is not None
    assert (found.release.previous, found.release.sequence) == (first.release, 2)
    assert (root / f"{RELEASES}{first.release}.json").exists()


@dataclass(frozen=True)
class Before:
    """What versions of mirror published that made no pages about projects; they are left out of a site of today."""

    site: Site

    @property
    def locks(self) -> tuple[str, ...]:
        return self.site.manifest.locks

    @property
    def sources(self) -> dict[str, Path]:
        files = {f"packages/{name}": self.site.artifacts / name for name in tree(self.site.artifacts)}
        return files | {key: self.site.pages / key for key in tree(self.site.pages) if not key.startswith("projects/")}

    @property
    def objects(self) -> dict[str, Fingerprint]:
        return {key: Fingerprint(hash_file(path), path.stat().st_size) for key, path in self.sources.items()}

    def supply(self, keys: Sequence[str], store: Store) -> Mapping[str, Path | bytes]:
        return {key: self.sources[key] for key in keys}


def test_a_site_of_before_gets_its_pages_for_people_and_can_go_back(one: Site, root: Path) -> None:
    store = local(root)
    old = publish(Before(one), store, Silence(), owner=Owner.here())
    assert old.release
    assert not (root / "projects").exists()
    result = one.publish(store)
    assert result.puts == ("projects/alpha.html", "projects/beta.html")
    assert result.deletes == ()
    assert not one.publish(store).changed
    whole = visible(root)
    back = rollback(store, Silence(), release=old.release, owner=Owner.here())
    assert back.deletes == ("projects/alpha.html", "projects/beta.html")
    assert not list(root.glob("projects/*"))
    forth = rollback(store, Silence(), release=result.release or "", owner=Owner.here())
    assert forth.puts == result.puts
    pages = {key: data for key, data in whole.items() if not key.startswith(".mirror/")}
    assert {key: data for key, data in visible(root).items() if not key.startswith(".mirror/")} == pages


def test_what_an_unfinished_publish_left_of_pages_for_people_is_removed(one: Site, two: Site, root: Path) -> None:
    one.publish(local(root))
    with pytest.raises(RemoteError):
        two.publish(Watched(local(root), failing="put index.html"), allow_shrink=True)
    assert (root / "projects/gamma.html").exists()
    one.publish(local(root), allow_shrink=True)
    assert sorted(path.name for path in (root / "projects").iterdir()) == ["alpha.html", "beta.html"]


def test_a_page_of_the_same_length_is_put(one: Site, root: Path) -> None:
    """Same-size page change (cloud section 9): digests are compared, never sizes and times."""
    one.publish(local(root))
    artifacts = tuple(replace(each, upload_time="2024-01-02T03:04:06Z") for each in one.manifest.artifacts)
    later = Site(render(replace(one.manifest, artifacts=artifacts), one.pages), one.pages, one.artifacts)
    stamps = {path: path.stat() for path in root.rglob("*.html")}
    for path in one.pages.rglob("*.html"):
        os.utime(path, (0, 0))
    assert {key for key in later.publish(local(root)).puts if key.endswith(".html")} >= {
        "simple/alpha/index.html",
        "simple/beta/index.html",
    }
    assert stamps[root / "simple/alpha/index.html"].st_size == (root / "simple/alpha/index.html").stat().st_size


def test_another_lock_alone_is_a_new_release(one: Site, root: Path) -> None:
    one.publish(local(root))
    other = Site(replace(one.manifest, locks=("sha256:" + "1" * 64,)), one.pages, one.artifacts)
    result = other.publish(local(root))
    assert result.release is not None
    assert (result.puts, result.deletes) == ((), ())


def test_a_dry_run_plans_the_same_and_writes_nothing(one: Site, two: Site, root: Path) -> None:
    one.publish(local(root))
    before = visible(root)
    store = Watched(local(root))
    planned = two.publish(store, dry_run=True, allow_shrink=True)
    assert {what for what, _ in store.done} <= {"read", "list", "stat", "digest"}
    assert visible(root) == before
    assert planned == two.publish(local(root), allow_shrink=True)
    fresh = root.parent / "fresh"
    one.publish(local(fresh), dry_run=True)
    assert not fresh.exists()


# Guards


def test_it_refuses_to_shrink(one: Site, tmp_path: Path, root: Path) -> None:
    one.publish(local(root))
    before = visible(root)
    less = make_site(tmp_path / "less", [tmp_path / "one/made/alpha-1.0.tar.gz"])
    with pytest.raises(MirrorError, match=r"drop 3 of 4 published artifacts \(75 %, the limit is 30 %\)") as caught:
        less.publish(local(root))
    assert caught.value.exit_code == 2
    assert "--allow-shrink" in caught.value.hint
    assert visible(root) == before
    less.publish(local(root), shrink_limit=0.75)
    assert one.publish(local(root)).release is not None
    assert less.publish(local(root), allow_shrink=True).release is not None


def rebuilt(tmp_path: Path, name: str = "rebuilt") -> Site:
    """The same filenames as `one`, of which a wheel has other bytes."""
    made = tmp_path / name / "made"
    shutil.copytree(tmp_path / "one/made", made)
    make_wheel(made, "alpha", "1.0", requires_python=">=3.8", files={"alpha.py": b"other = 1\n"})
    return make_site(tmp_path / name, list(made.iterdir()))


def test_an_artifact_never_changes_under_its_name(one: Site, tmp_path: Path, root: Path) -> None:
    """Overwritten filename (cloud section 9, standards F3): exit code 5 before the first write."""
    one.publish(local(root))
    store = Watched(local(root))
    with pytest.raises(IntegrityError, match=r"published other bytes under packages/alpha-1\.0-py3") as caught:
        rebuilt(tmp_path).publish(store)
    assert caught.value.exit_code == 5
    assert store.keys("put") == ()


def test_an_artifact_of_a_former_release_does_not_change_either(one: Site, tmp_path: Path, root: Path) -> None:
    one.publish(local(root))
    small_site(tmp_path / "beta", projects=("beta",)).publish(local(root), allow_shrink=True)
    store = Watched(local(root))
    with pytest.raises(IntegrityError, match=r"holds other bytes .* packages/alpha-1\.0-py3"):
        rebuilt(tmp_path).publish(store)
    assert store.keys("put") == ()


def test_an_artifact_that_somebody_creates_meanwhile(one: Site, tmp_path: Path, root: Path) -> None:
    """Create-only on conflict: the same bytes are fine, others stop the run, and nothing is overwritten."""

    class Raced(Watched):
        def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
            if key == wheel and not (root / key).exists():
                put(self._store, key, data)
            return super().put(key, body, headers, expect=expect)

    wheel = "packages/alpha-1.0-py3-none-any.whl"
    data = (one.artifacts / "alpha-1.0-py3-none-any.whl").read_bytes()
    assert one.publish(Raced(local(root))).release
    shutil.rmtree(root)
    data = b"other bytes"
    store = Raced(local(root))
    with pytest.raises(IntegrityError, match="just been created with other bytes"):
        one.publish(store)
    assert (root / wheel).read_bytes() == b"other bytes"
    assert not any("simple/" in key for key in store.keys("put")), "no page is written after a failure"


@pytest.mark.parametrize("key", ["index.html", "projects/alpha.html"])
def test_a_strangers_pages_are_not_overwritten(one: Site, root: Path, key: str) -> None:
    (root / key).parent.mkdir(parents=True)
    (root / key).write_bytes(b"my own page")
    with pytest.raises(MirrorError, match=f"not of this mirror: {re.escape(key)}") as caught:
        one.publish(local(root))
    assert caught.value.hint
    assert tree(root) == {key: b"my own page"}


def test_a_strangers_files_beside_ours_are_left_alone(one: Site, two: Site, root: Path) -> None:
    theirs = ("notes.txt", "simple/mine/index.html", "simple/beta/notes.txt", "packages/README", ".nojekyll")
    for name in theirs:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"theirs")
    one.publish(local(root))
    two.publish(local(root), allow_shrink=True, check_remote=True)
    assert {name: (root / name).read_bytes() for name in theirs} == dict.fromkeys(theirs, b"theirs")


@pytest.mark.parametrize("verb", ["put", "read"])
def test_a_failing_store_moves_nothing_and_the_next_run_ends_well(one: Site, two: Site, root: Path, verb: str) -> None:
    """Nothing is removed when any put failed; state moves only after a clean step (rules 4 and 6)."""
    one.publish(local(root))
    undisturbed = root.parent / "undisturbed"
    shutil.copytree(root, undisturbed)
    two.publish(local(undisturbed), allow_shrink=True)
    before = visible(root)
    key = POINTER if verb == "read" else "simple/alpha/index.html"
    store = Watched(local(root), failing=f"{verb} {key}")
    with pytest.raises(RemoteError, match="away"):
        two.publish(store, allow_shrink=True)
    assert store.keys("delete") == ()
    assert visible(root)[POINTER] == before[POINTER]
    assert ("simple/index.html" in store.keys("put")) is False
    two.publish(local(root), allow_shrink=True)
    assert visible(root) == visible(undisturbed)


def leased(*, pid: str) -> bytes:
    """A lease of this very host that never ends, with something in the place of its process."""
    here = Owner.here()
    lease = Lease(owner=Owner(host=here.host, boot=here.boot, pid=4321), token="t", acquired=0.0, expires=2.0**33)
    assert isinstance(lease.body.source, bytes)
    return lease.body.source.replace(b"4321", pid.encode())


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda root, _: (root / POINTER).write_bytes(b""), id="empty pointer"),
        pytest.param(lambda root, _: (root / POINTER).write_bytes(b"\xff{"), id="garbled pointer"),
        pytest.param(lambda root, _: (root / POINTER).write_text('{"format": 1}'), id="pointer to nothing"),
        pytest.param(lambda _, release: release.unlink(), id="release manifest missing"),
        pytest.param(
            lambda _, release: release.write_bytes(release.read_bytes() + b" "), id="release manifest altered"
        ),
        pytest.param(lambda root, _: (root / LEASE).write_bytes(b"{}"), id="garbled lease"),
        pytest.param(lambda root, _: (root / LEASE).write_bytes(leased(pid="Infinity")), id="lease of no process"),
        pytest.param(lambda root, _: (root / LEASE).write_bytes(leased(pid=str(10**40))), id="lease of a huge one"),
    ],
)
def test_state_that_cannot_be_understood_is_never_empty(one: Site, two: Site, root: Path, spoil: object) -> None:
    """Error read as an empty index (cloud section 9, rule 4)."""
    result = one.publish(local(root))
    assert callable(spoil)
    spoil(root, root / f"{RELEASES}{result.release}.json")
    before = visible(root)
    with pytest.raises((RemoteError, IntegrityError, ConflictError)) as caught:
        two.publish(local(root), allow_shrink=True)
    assert caught.value.hint
    assert visible(root) == before


def test_pages_that_are_not_of_this_manifest_are_refused(one: Site, two: Site, root: Path) -> None:
    for wrong, message in (
        (Site(one.manifest, two.pages, one.artifacts), "run mirror index"),
        (Site(two.manifest, one.pages, two.artifacts), "run mirror index"),
        (Site(one.manifest, one.pages, two.artifacts), "run mirror consolidate"),
    ):
        with pytest.raises(MirrorError) as caught:
            wrong.publish(local(root))
        assert message in caught.value.hint
    assert not root.exists()


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("simple/alpha/index.html", b"alpha-1.0.tar.gz#", b"alpha-9.9.tar.gz#"),
        ("simple/alpha/index.html", b"#sha256=", b"#sha256=0"),
        ("simple/alpha/index.v1_json", b'"sha256":"', b'"sha256":"0'),
        ("simple/alpha/index.v1_json", b'"files"', b'"flies"'),
        ("simple/index.html", b"beta", b"bete"),
        ("simple/index.v1_json", b"beta", b"bete"),
    ],
)
def test_a_page_that_lists_what_is_not_there_is_refused(
    one: Site, root: Path, key: str, old: bytes, new: bytes
) -> None:
    page = one.pages / key
    assert old in page.read_bytes()
    page.write_bytes(page.read_bytes().replace(old, new))
    with pytest.raises(IntegrityError, match=key):
        one.publish(local(root))
    assert not root.exists()


# Repair


@pytest.mark.parametrize("key", ["packages/alpha-1.0.tar.gz", "packages/alpha-1.0-py3-none-any.whl.metadata"])
def test_check_remote_puts_missing_artifacts_again(one: Site, root: Path, key: str) -> None:
    one.publish(local(root))
    before = visible(root)
    (root / key).unlink()
    assert not one.publish(local(root)).changed, "the release is trusted unless told otherwise"
    result = one.publish(local(root), check_remote=True)
    assert (result.release, result.puts) == (None, (key,))
    assert visible(root) == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "same size"])
def test_check_remote_repairs_pages(one: Site, root: Path, damage: str) -> None:
    one.publish(local(root))
    before = visible(root)
    page = root / "simple/alpha/index.html"
    data = page.read_bytes()
    page.unlink()
    if damage != "missing":
        page.write_bytes(data[:-1] if damage == "truncated" else data[:-1] + b"x")
    planned = one.publish(local(root), check_remote=True, dry_run=True)
    result = one.publish(local(root), check_remote=True)
    assert planned == result
    assert (result.release, result.puts) == (None, ("simple/alpha/index.html",))
    assert visible(root) == before
    assert not one.publish(local(root), check_remote=True).changed


@pytest.mark.parametrize("data", [b"short", None], ids=["size", "digest"])
def test_check_remote_reports_a_corrupt_artifact(one: Site, root: Path, data: bytes | None) -> None:
    one.publish(local(root))
    path = root / "packages/alpha-1.0.tar.gz"
    data = data or path.read_bytes()[:-1] + b"x"
    path.unlink()
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"holds other bytes .* packages/alpha-1\.0\.tar\.gz"):
        one.publish(local(root), check_remote=True)
    assert path.read_bytes() == data


def test_any_change_puts_missing_artifacts_again(one: Site, tmp_path: Path, root: Path) -> None:
    """No page is written on the word of the last release alone: what it lists is looked up first (rule 3)."""
    one.publish(local(root))
    (root / "packages/beta-1.0.tar.gz").unlink()
    more = make_site(
        tmp_path / "more", [*(tmp_path / "one/made").iterdir(), make_wheel(tmp_path / "x", "alpha", "3.0")]
    )
    assert "packages/beta-1.0.tar.gz" in more.publish(local(root)).puts
    assert (root / "packages/beta-1.0.tar.gz").exists()


# Several publishers


def other_host() -> Owner:
    return Owner(host="ci-7.example", boot="another boot", pid=1, started="1")


def test_one_publisher_at_a_time(one: Site, two: Site, root: Path) -> None:
    one.publish(local(root))
    before = visible(root)
    with holding(local(root), other_host(), Silence()):
        with pytest.raises(ConflictError, match=r"process 1 on ci-7\.example is publishing since") as caught:
            two.publish(local(root), allow_shrink=True)
        assert caught.value.exit_code == 4
        assert "its lease ends in" in caught.value.hint
    assert visible(root) == before
    assert two.publish(local(root), allow_shrink=True).release


def test_an_expired_lease_is_taken_over(one: Site, root: Path) -> None:
    lease = Lease(owner=other_host(), token="t", acquired=1000.0, expires=1300.0)
    local(root).put(LEASE, lease.body, headers(LEASE))
    assert one.publish(local(root)).release
    assert not (root / LEASE).exists()


def test_a_lease_is_as_old_as_the_store_says() -> None:
    """Whatever the clock of whoever wrote it, and ours: that of this store is off by half a century."""
    now = [5000.0]
    bucket = Bucket(lambda: now[0])
    with holding(bucket, other_host(), Silence(), lifetime=300) as held:
        for moment in (5000.0, 5299.0):
            now[0] = moment
            with pytest.raises(ConflictError) as caught, holding(bucket, Owner.here(), Silence()):
                pytest.fail("two publishers at once")
        assert "ends in 1 seconds" in caught.value.hint
        held.renew()
        now[0] = 5598.0
        with pytest.raises(ConflictError), holding(bucket, Owner.here(), Silence()):
            pytest.fail("two publishers at once")
        now[0] = 5600.0
        with holding(bucket, Owner.here(), Silence()):
            pass


def test_a_lease_that_was_given_up_is_free_at_once(one: Site, two: Site) -> None:
    """Even where the store says that it is younger than nothing: its clock is read twice, and rounded."""
    now = [5000.0]
    bucket = Bucket(lambda: now[0])
    one.publish(bucket)
    with pytest.raises(RemoteError):
        two.publish(Watched(bucket, failing="put simple/index.html"), allow_shrink=True, owner=other_host())
    assert LEASE in bucket.objects
    now[0] = 4999.0
    assert two.publish(bucket, allow_shrink=True).release


def test_a_publisher_that_lost_its_lease_stops() -> None:
    now = [5000.0]
    bucket = Bucket(lambda: now[0])
    with holding(bucket, other_host(), Silence(), clock=lambda: now[0], lifetime=300) as slow:
        now[0] = 5299.0
        slow.check()
        now[0] = 5300.0
        with pytest.raises(ConflictError, match="renewed in time"):
            slow.check()
        with holding(bucket, Owner.here(), Silence(), clock=lambda: now[0], lifetime=300) as quick:
            with pytest.raises(ConflictError, match="took it over"):
                slow.renew()
            with pytest.raises(ConflictError, match="took it over"):
                slow.check()
            quick.check()
    assert LEASE not in bucket.objects


def test_a_lease_is_renewed_while_it_is_held(root: Path) -> None:
    beats = iter(range(5000, 6000, 100))
    seen: set[bytes] = set()
    with holding(local(root), Owner.here(), Silence(), clock=lambda: float(next(beats)), lifetime=0.03):
        while len(seen) < 3:
            seen.add((root / LEASE).read_bytes())


def test_a_process_of_this_host_that_is_gone_is_known() -> None:
    here = Owner.here()
    assert not here.gone(here)
    if not here.boot:
        pytest.skip("this system does not tell one boot from another")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        stat = Path(f"/proc/{child.pid}/stat").read_bytes().rpartition(b")")[2].split()
        owner = replace(here, pid=child.pid, started=stat[19].decode())
        assert not owner.gone(here)
        assert replace(owner, started="1").gone(here), "another process has its id now"
        child.kill()
        # Not reaped yet: a zombie publishes nothing.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert owner.gone(here)
    finally:
        child.kill()
        child.wait()
    assert owner.gone(here)
    assert not replace(owner, host="elsewhere").gone(here)
    assert not replace(owner, boot="before").gone(here)


def test_a_pointer_that_moved_meanwhile_is_not_overwritten(one: Site, two: Site, tmp_path: Path, root: Path) -> None:
    """The fence: a publisher that lost its lease fails at the end instead of undoing another's work (cloud 2.5)."""

    class Overtaken(Watched):
        def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
            if key == POINTER:
                put(self._store, POINTER, pointer.data)
            return super().put(key, body, headers, expect=expect)

    one.publish(local(root))
    pointer = Pointer("000009-0123456789ab", "0" * 64)
    store = Overtaken(local(root))
    with pytest.raises(ConflictError):
        two.publish(store, allow_shrink=True)
    assert (root / POINTER).read_bytes() == pointer.data
    assert store.keys("delete") == ()


def test_a_publisher_that_comes_between_plan_and_lease(one: Site, two: Site, tmp_path: Path, root: Path) -> None:
    class Slow(Watched):
        def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
            if key == LEASE and not overtaken:
                overtaken.append(three.publish(local(root), allow_shrink=True).release)
            return super().put(key, body, headers, expect=expect)

    overtaken: list[str | None] = []
    three = small_site(tmp_path / "three", projects=("alpha", "delta"))
    one.publish(local(root))
    result = two.publish(Slow(local(root)), allow_shrink=True)
    assert result.release is not None
    assert result.release.startswith("000003-")
    assert "simple/delta/index.html" in result.deletes
    found = current(local(root).read, "site")
    assert found is not None
    assert found.release.previous == overtaken[0]
    assert_promises(root)


# Kill it anywhere


def assert_promises(root: Path) -> None:
    """No page lists what is not there, no list names a project without pages, no file is half (rules 1 and 3)."""
    result = subprocess.run([sys.executable, KILLER, "look", root], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


Step = Union[Site, "list[str]"]
KILLER = Path(__file__).parent / "killing.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="publishers are forked")
@pytest.mark.parametrize(
    ("scenario", "jobs"), [("first", 1), ("next", 4), ("detour", 1), ("rollback", 1), ("prune", 1)]
)
def test_killed_anywhere_and_run_again_it_ends_the_same(tmp_path: Path, scenario: str, jobs: int) -> None:
    """SIGKILL before every single change of a name, a file or a folder below the destination (rule 6).

    `first` is a first publish, `next` goes from one release to the next, `detour` is stopped on the way to a release
    that is then no longer wanted, and stopped again on the way to another, `rollback` goes back to a former release,
    `prune` removes what only the former one needed.
    """
    made = tmp_path / "made"
    alpha, alpha2 = make_wheel(made, "alpha", "1.0"), make_wheel(made, "alpha", "2.0")
    beta, gamma, delta = (make_sdist(made, name, "1.0") for name in ("beta", "gamma", "delta"))
    one = make_site(tmp_path / "one", [alpha, beta])
    two = make_site(tmp_path / "two", [alpha, alpha2, gamma])
    three = make_site(tmp_path / "three", [alpha, delta])
    steps: dict[str, tuple[list[Site], Step, Step]] = {
        "first": ([], one, one),
        "next": ([one], two, two),
        "detour": ([one], two, three),
        "rollback": ([one, two], ["rollback", "000001"], ["rollback", "000001"]),
        "prune": ([one, two], ["prune", ""], ["prune", ""]),
    }
    before, killed, wanted = steps[scenario]
    for name, sites in (("before", [*before]), ("killed", [killed]), ("wanted", [wanted])):
        (tmp_path / f"{name}.json").write_text(json.dumps([job(step) for step in sites]))
    result = subprocess.run(
        [sys.executable, KILLER, "kill", tmp_path, str(jobs)], capture_output=True, text=True, check=False, timeout=280
    )
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert report["killed"] > 20, "every change of the destination was a place to be killed at"


def job(step: Step) -> object:
    return [str(step.pages), str(step.artifacts), dump(step.manifest)] if isinstance(step, Site) else step


def dump(manifest: Manifest) -> object:
    return {"artifacts": [asdict(artifact) for artifact in manifest.artifacts], "locks": manifest.locks}


# Release manifests


def some_release() -> Release:
    objects = {"packages/a-1+x.tar.gz": Fingerprint("a" * 64, 3), "index.html": Fingerprint("b" * 64, 0)}
    return Release(sequence=7, previous="000006-0123456789ab", locks=("sha256:" + "c" * 64,), objects=objects)


def test_a_release_manifest_reads_back() -> None:
    release = some_release()
    assert Release.parse(release.data, "x") == release
    assert Release.parse(release.data, "x").data == release.data
    assert Pointer.parse(Pointer.to(release).data, "x") == Pointer.to(release)
    assert release.data.isascii()
    assert b"\r" not in release.data


def test_the_id_says_what_is_in_it() -> None:
    release = some_release()
    assert release.id.startswith("000007-")
    assert replace(release, previous="").id == release.id
    for other in (
        replace(release, locks=()),
        replace(release, objects={}),
        replace(release, objects={**release.objects, "index.html": replace(release.objects["index.html"], size=1)}),
        replace(release, sequence=8),
    ):
        assert other.id != release.id


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('"format":1', f'"format":{FORMAT + 1}', RemoteError, "newer than format"),
        ('"format":1', '"format":"1"', RemoteError, "states no format"),
        ('"format":1', '"format":true', RemoteError, "states no format"),
        ("7\n}\n", "7\n", RemoteError, "not what a publish left"),
        ('"sequence":7', '"sequence":"7"', RemoteError, "sequence|int"),
        ('"sequence":7', '"sequence":8', IntegrityError, "its contents are those of"),
        ("aaaa", "aaab", IntegrityError, "its contents are those of"),
        ("aaaa", "AAAA", RemoteError, "not expected"),
        (",3]", ",-3]", RemoteError, "size -3"),
        (",3]", ",3.5]", RemoteError, "no int"),
        (",3]", "]", RemoteError, "not what a publish left"),
        ("packages/a", "packages/../a", RemoteError, "no key of the layout"),
        ("index.html", "/etc/passwd", RemoteError, "no key of the layout"),
        ("index.html", ".mirror/lock.json", RemoteError, "no key of the layout"),
        ('"locks":[', '"locks":[1,', RemoteError, "not expected"),
        ('"previous"', '"former"', RemoteError, "previous"),
    ],
)
def test_a_release_manifest_that_is_not_understood(old: str, new: str, error: type[MirrorError], message: str) -> None:
    data = some_release().data.decode()
    assert old in data
    with pytest.raises(error, match=message) as caught:
        Release.parse(data.replace(old, new).encode(), "here")
    assert "here" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("release", ["../../etc/passwd", "1-0123456789ab", "000001-0123456789a", ""])
def test_a_pointer_leads_nowhere_else(release: str) -> None:
    with pytest.raises(RemoteError, match="pointer here"):
        Pointer.parse(Pointer(release, "0" * 64).data, "pointer here")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("index.html", Kind.FRONT_PAGE),
        ("projects/a-b.html", Kind.ABOUT_PAGE),
        ("projects/index.html", Kind.ABOUT_PAGE),
        ("projects/A.html", None),
        ("projects/a-.html", None),
        ("projects/", None),
        ("projects/a/b.html", None),
        ("simple/index.html", Kind.PROJECT_LIST),
        ("simple/index.v1_json", Kind.PROJECT_LIST),
        ("simple/a-b/index.html", Kind.PROJECT_PAGE),
        ("simple/a/index.v1_json", Kind.PROJECT_PAGE),
        ("packages/a-1+x.whl", Kind.ARTIFACT),
        ("packages/a-1+x.whl.metadata", Kind.METADATA),
        (POINTER, Kind.STATE),
        ("simple/A/index.html", None),
        ("simple/../index.html", None),
        ("packages/a/b.whl", None),
        ("packages/..", None),
        ("packages/a..b.whl", None),
        ("favicon.ico", None),
        ("", None),
    ],
)
def test_the_kind_of_a_key(key: str, expected: Kind | None) -> None:
    assert kind(key) is expected
