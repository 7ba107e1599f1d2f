"""Publication: bring a store from one release to the next, so that a page never lists what is not there.

Everything is decided before the first write. Then, each stage whole before the next begins: artifacts, metadata, the
pages that this release replaces, project pages, project list, pages for people about projects, front page, release
manifest, pointer; removals last, of pages only (DESIGN rules 1 to 6).

A page that no page of the next release equals is kept by its digest before it is replaced, so that each release can
come back on a store without versions. A first publish has nothing to keep.

Which pages at a CDN are old follows from releases. Where it does not, because a page was repaired or because a publish
was interrupted, the page is noted in the ledger of each CDN before the lease is given back.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from mirror.cdn.ledger import Ledger
from mirror.compare import Fingerprint, compare
from mirror.errors import ConflictError, IntegrityError, MirrorError, RemoteError
from mirror.guard import CalledOffError, guarded
from mirror.layout import (
    EDGES,
    FORMER_PAGES,
    FRONT_PAGE,
    PACKAGES,
    POINTER,
    PROJECTS,
    SIMPLE,
    former_page_key,
    headers,
    release_key,
)
from mirror.lease import LIFETIME, holding, leftover
from mirror.model import Level, Notice
from mirror.release import Kind, Pointer, Release, kind, stored
from mirror.stores.base import ABSENT, Body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mirror.lease import Held, Owner
    from mirror.progress import Progress, Task
    from mirror.release import Stored
    from mirror.stores.base import Store

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_ORDER = tuple(Kind)
_SHOWN = 5
_ATTEMPTS = 5
"""How often a ledger is written when others write it at the same moment."""

SHRINK_LIMIT = 0.3
"""The share of artifacts, from 0 to 1, that may vanish without somebody saying so."""


class Edition(Protocol):
    """What is to be published, and where its bytes come from."""

    @property
    def locks(self) -> tuple[str, ...]:
        """Digest of each lock that it stands for, `sha256:<hex>`, sorted."""

    @property
    def objects(self) -> Mapping[str, Fingerprint]:
        """Every artifact, sidecar and page by its key."""

    def supply(self, keys: Sequence[str], store: Store) -> Mapping[str, Path | bytes]:
        """Where the bytes of some objects come from, which `store` does not hold under their keys; without a write.

        Raise `MirrorError` when one cannot be had, `IntegrityError` when a page does not fit the other objects.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What was done; in a dry run, what would be done."""

    release: str | None
    """Id of the new release; None when the current one stays."""
    puts: tuple[str, ...] = ()
    """Keys that were stored, in the order of publishing; without former pages, release manifest and pointer."""
    deletes: tuple[str, ...] = ()
    """Keys that were removed, sorted."""
    size: int = 0
    """Bytes that were stored."""
    current: str = ""
    """Id of the release that is current when all is done."""

    @property
    def counts(self) -> Mapping[Kind, int]:
        """How many objects of each kind were stored."""
        return Counter(kind(key) or Kind.STATE for key in self.puts)

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.release or self.puts or self.deletes)

    @property
    def summary(self) -> str:
        """What was stored and removed, in words."""
        counts = [f"{count:,} {word.replace('-', ' ')}{'s' * (count > 1)}" for word, count in self.counts.items()]
        removed = [f"{len(self.deletes):,} removed"] if self.deletes else []
        return ", ".join([*counts, *removed]) or "no file changed"


def publish(
    edition: Edition,
    store: Store,
    progress: Progress,
    *,
    owner: Owner,
    dry_run: bool = False,
    allow_shrink: bool = False,
    shrink_limit: float = SHRINK_LIMIT,
    jobs: int = 16,
    check_remote: bool = False,
    lifetime: float = LIFETIME,
) -> SyncResult:
    """Make an edition the current release of a store. When nothing changed nothing is written, not even the lease.

    `shrink_limit` is the share of the published artifacts, from 0 to 1, that a release may drop without
    `allow_shrink`. `check_remote` reads back what the current release records and puts again what is missing, and
    pages that differ. `lifetime` is for how many seconds the lease is good without a sign of life.

    Raise `IntegrityError` before the first write when an artifact would change under its name or when the store holds
    other bytes than its release records; `MirrorError` when too much would vanish; what `edition` raises;
    `ConflictError` when somebody else publishes; `RemoteError` when the store does not answer or holds state that
    cannot be understood.
    """
    publisher = _Publisher(
        edition=edition,
        store=store,
        progress=progress,
        jobs=jobs,
        allow_shrink=allow_shrink,
        shrink_limit=shrink_limit,
        check_remote=check_remote,
    )
    state = _read_state(store)
    plan = publisher.plan(state)
    if plan.changed and not dry_run:
        with holding(store, owner, progress, lifetime=lifetime) as lease:
            now = _read_state(store)
            # Whoever came in between may have moved the pointer, left pages behind, or removed an artifact.
            if now.etag != state.etag or lease.unsettled:
                plan = publisher.plan(now)
            publisher.publish(plan, lease)
    return plan.result()


# What is there


@dataclass(frozen=True, kw_only=True)
class _State:
    """What a store says of itself."""

    stored: Stored | None
    """The current release; None when nothing was ever published."""
    unsettled: tuple[str, ...] | None
    """Pages that an unfinished publish may have left; None when every publish came to its end."""

    @property
    def etag(self) -> str:
        """Of the pointer; `ABSENT` when nothing was ever published."""
        return self.stored.etag if self.stored else ABSENT

    @cached_property
    def release(self) -> Release | None:
        return self.stored.current().release if self.stored else None


def _read_state(store: Store) -> _State:
    lease = leftover(store)
    return _State(stored=stored(store.read, store.name), unsettled=lease[0].unsettled if lease else None)


# What is to be done


@dataclass(frozen=True, slots=True)
class _Put:
    """An object to store, and its bytes."""

    source: Path | bytes
    fingerprint: Fingerprint
    kind: Kind

    def body(self) -> Body:
        source = self.source
        if isinstance(source, Path) and not self.kind.immutable:
            # A page is copied, for its file is rewritten by the next run; an artifact may be the same file as in the
            # pool.
            source = source.read_bytes()
        return Body(source, self.fingerprint.sha256, self.fingerprint.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Every write, decided."""

    etag: str
    """Of the pointer that this plan was made for."""
    current: str
    """Id of the release that is current when all is done."""
    release: Release | None
    """The new release; None when the current one stays."""
    puts: Mapping[str, _Put] = field(default_factory=dict)
    """In the order of publishing."""
    deletes: tuple[str, ...] = ()
    settles: bool = False
    """Whether an unfinished publish is brought to its end, even if nothing is left to do."""
    unsettled: tuple[str, ...] = ()
    """Pages that may be left as no release records them when this is interrupted."""
    untold: tuple[str, ...] = ()
    """Pages that a CDN may hold otherwise although this release and the one before have the same."""

    @property
    def changed(self) -> bool:
        return bool(self.release or self.puts or self.deletes or self.settles)

    def result(self) -> SyncResult:
        told = {key: put for key, put in self.puts.items() if put.kind is not Kind.FORMER_PAGE}
        return SyncResult(
            release=self.release.id if self.release else None,
            puts=tuple(told),
            deletes=self.deletes,
            size=sum(put.fingerprint.size for put in told.values()),
            current=self.current,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publisher:
    """One edition on its way to one store."""

    edition: Edition
    store: Store
    progress: Progress
    jobs: int
    allow_shrink: bool
    shrink_limit: float
    check_remote: bool

    def plan(self, state: _State) -> _Plan:
        """Decide everything, without a write. Raise what `publish` raises before the first write."""
        same = state.stored is not None and state.stored.says(self.edition.locks, self.edition.objects)
        settles = state.unsettled is not None
        if state.stored and same and not settles and not self.check_remote:
            return _Plan(etag=state.etag, current=state.stored.pointer.release, release=None)
        release = None if same else self._following(state.release)
        before = state.release.objects if state.release else {}
        self._refuse_changed_artifacts(before)
        self._refuse_shrinking(before)
        # Whatever else may be there, the release that was current and the publish that was interrupted know all pages.
        known = {*before, *(state.unsettled or ())}
        present = self._present_pages(state)
        pages = compare(self._of(immutable=False), present)
        if state.release is None and not settles:
            self._refuse_strangers_pages(pages.differing)
        keys = (*self._missing_artifacts(before), *pages.missing, *pages.differing)
        deletes = [key for key in pages.extraneous if key in known and (kind(key) or Kind.STATE).page]
        puts = {**self._puts(keys), **(self._former_pages(before) if release else {})}
        final = release or state.release
        unsettled = {*deletes, *pages.missing, *pages.differing}
        touched = {key for key in (*unsettled, *(state.unsettled or ())) if (kind(key) or Kind.STATE).page}
        return _Plan(
            etag=state.etag,
            current=final.id if final else "",
            release=release,
            puts=dict(sorted(puts.items(), key=_order)),
            deletes=tuple(deletes),
            settles=settles,
            unsettled=tuple(sorted(unsettled)),
            untold=tuple(sorted(key for key in touched if before.get(key) == self.edition.objects.get(key))),
        )

    def _of(self, *, immutable: bool) -> dict[str, Fingerprint]:
        objects = self.edition.objects.items()
        return {key: found for key, found in objects if (kind(key) or Kind.STATE).immutable is immutable}

    def _following(self, before: Release | None) -> Release:
        """The release after the current one."""
        return Release(
            sequence=before.sequence + 1 if before else 1,
            previous=before.id if before else "",
            locks=self.edition.locks,
            objects=self.edition.objects,
        )

    def _puts(self, keys: Sequence[str]) -> dict[str, _Put]:
        sources, objects = self.edition.supply(keys, self.store), self.edition.objects
        return {key: _Put(sources[key], objects[key], kind(key) or Kind.STATE) for key in keys}

    def _present_pages(self, state: _State) -> dict[str, Fingerprint]:
        """The pages in the store: from the release while it can be trusted, otherwise read back."""
        if state.release and state.unsettled is None and not self.check_remote:
            return {
                key: found for key, found in state.release.objects.items() if not (kind(key) or Kind.STATE).immutable
            }
        listed = {found.key: found.size for prefix in (SIMPLE, PROJECTS) for found in self.store.list(prefix)}
        front = self.store.stat(FRONT_PAGE)
        if front:
            listed[FRONT_PAGE] = front.size
        digests = self._digests(listed)
        return {key: Fingerprint(sha256, listed[key]) for key, sha256 in digests.items()}

    def _missing_artifacts(self, before: Mapping[str, Fingerprint]) -> tuple[str, ...]:
        """Artifacts and sidecars that are not in the store. Raise `IntegrityError` for one that is there and differs.

        The listing is read on every change, so no page is ever written on the word of a release alone (rule 3).
        """
        wanted = self._of(immutable=True)
        present = {found.key: found.size for found in self.store.list(PACKAGES)}
        sizes = compare({key: found.size for key, found in wanted.items()}, present)
        # What the release before recorded was proven when it was stored; anything else is read back.
        doubted = sizes.matching if self.check_remote else [key for key in sizes.matching if key not in before]
        found = self._digests(doubted)
        digests = compare({key: wanted[key].sha256 for key in found}, found)
        wrong = [*sizes.differing, *digests.differing]
        if wrong:
            raise IntegrityError(
                f"{self.store.name} holds other bytes than should be there under {some(wrong)}",
                hint="an artifact never changes under its name: find out what put it there, then remove it by hand",
            )
        return sizes.missing

    def _former_pages(self, before: Mapping[str, Fingerprint]) -> dict[str, _Put]:
        """The pages of the current release that are about to vanish and that nobody has kept yet, with their bytes."""
        staying = {found.sha256 for found in self.edition.objects.values()}
        leaving = {
            former_page_key(found.sha256): (key, found)
            for key, found in before.items()
            if (kind(key) or Kind.STATE).page and found.sha256 not in staying
        }
        if leaving:
            kept = {found.key for found in self.store.list(FORMER_PAGES)}
            leaving = {key: page for key, page in leaving.items() if key not in kept}
        puts = {}
        bodies = spread(lambda page: self.store.read(page[0]), leaving.values(), self.jobs)
        for (key, (page, wanted)), read in zip(leaving.items(), bodies, strict=True):
            if read is None or hashlib.sha256(read[0]).hexdigest() != wanted.sha256:
                message = "it is not as it was published and cannot be kept: its release cannot be rolled back to"
                where = f"{self.store.name}: {page}"
                self.progress.notice(Notice(level=Level.WARNING, code="lost-page", message=message, where=where))
            else:
                puts[key] = _Put(read[0], wanted, Kind.FORMER_PAGE)
        return puts

    def _digests(self, keys: Iterable[str]) -> dict[str, str]:
        """sha256 of objects, read at once; without those that vanished meanwhile."""
        found = dict(spread(lambda key: (key, self.store.digest(key)), keys, self.jobs))
        return {key: digest for key, digest in found.items() if digest is not None}

    def _refuse_changed_artifacts(self, before: Mapping[str, Fingerprint]) -> None:
        changed = compare(self._of(immutable=True), before).differing
        if changed:
            raise IntegrityError(
                f"{self.store.name} has published other bytes under {some(changed)}",
                hint="a file never changes under its name: lock the bytes that are published, or a new version of it, "
                "or publish to a new destination",
            )

    def _refuse_shrinking(self, before: Mapping[str, Fingerprint]) -> None:
        published = [key for key in before if kind(key) is Kind.ARTIFACT]
        dropped = [key for key in published if key not in self.edition.objects]
        if self.allow_shrink or not published or len(dropped) / len(published) <= self.shrink_limit:
            return
        raise MirrorError(
            f"{self.store.name}: this would drop {len(dropped):,} of {len(published):,} published artifacts "
            f"({100 * len(dropped) / len(published):.0f} %, the limit is {100 * self.shrink_limit:.0f} %), such as "
            f"{some(dropped)}",
            hint="if that is what you want, run again with --allow-shrink",
        )

    def _refuse_strangers_pages(self, differing: Sequence[str]) -> None:
        # No pointer and no lease: nothing of ours was ever written there.
        if differing:
            raise MirrorError(
                f"{self.store.name} holds pages that are not of this mirror: {some(differing)}",
                hint="publish to an empty destination, or move those files away",
            )

    def _refuse_slashes(self, puts: Mapping[str, _Put]) -> None:
        # Only now, for some stores are not tried out before the lease is taken.
        slashed = [key for key in puts if key.endswith("/")]
        if slashed and not self.store.slash_keys:
            raise RemoteError(
                f"{self.store.name} cannot hold keys that end in a slash, such as {some(slashed)}",
                hint="set SLASH_KEYS=never, or auto, which knows it on this machine from now on",
            )

    # Doing it

    def publish(self, plan: _Plan, lease: Held) -> None:
        """Do what was planned. Any failure ends it before the next stage, and nothing is removed then."""
        self._refuse_slashes(plan.puts)
        lease.note(plan.unsettled)
        with guarded(lease.check):
            self._carry_out(plan, lease)

    def _carry_out(self, plan: _Plan, lease: Held) -> None:
        size = sum(put.fingerprint.size for put in plan.puts.values())
        with self.progress.task("Publishing", items=len(plan.puts), size=size) as task:
            for _, stage in groupby(plan.puts.items(), key=lambda entry: entry[1].kind):
                _exhaust(spread(lambda entry: self._put(*entry, lease, task), stage, self.jobs))
        if plan.release:
            lease.check()
            self._announce(plan.release, plan.etag)
        if plan.deletes:
            lease.check()
            self.store.delete(plan.deletes)
        if plan.untold:
            lease.check()
            for found in tuple(self.store.list(EDGES)):
                self._tell(found.key, plan.untold)

    def _put(self, key: str, put: _Put, lease: Held, task: Task) -> None:
        lease.check()
        expect = ABSENT if put.kind.immutable else None
        try:
            self.store.put(key, put.body(), headers(key), expect=expect)
        except ConflictError:
            # Somebody was faster, or an answer was lost on the way: the same bytes are as good as ours.
            if self.store.digest(key) != put.fingerprint.sha256:
                raise IntegrityError(
                    f"{self.store.name}: {key} has just been created with other bytes",
                    hint="an artifact never changes under its name: find out who else publishes there",
                ) from None
        except OSError as error:
            raise MirrorError(f"cannot read {put.source!s}: {error.strerror}", hint="run mirror index again") from error
        task.advance(1, put.fingerprint.size, key)

    def _tell(self, key: str, pages: Sequence[str]) -> None:
        """Note in the ledger of a CDN what it is owed. Raise `ConflictError` when others write there all the time."""
        for _ in range(_ATTEMPTS):
            found = self.store.read(key)
            if found is None:
                return
            ledger = Ledger.parse(found[0], f"{self.store.name}: {key}").noting(pages)
            with suppress(ConflictError):
                self.store.put(key, body_of(ledger.data), headers(key), expect=found[1])
                return
        raise ConflictError(f"{self.store.name}: {key} changes all the time", hint="others invalidate there: run again")

    def _announce(self, release: Release, etag: str) -> None:
        key, pointer = release_key(release.id), Pointer.to(release)
        try:
            self.store.put(key, body_of(release.data), headers(key), expect=ABSENT)
        except ConflictError:
            # An interrupted publish of the same release came this far.
            if self.store.digest(key) != pointer.sha256:
                raise IntegrityError(
                    f"{self.store.name}: {key} is there with other contents",
                    hint="find out what put it there, then remove it by hand",
                ) from None
        self.store.put(POINTER, body_of(pointer.data), headers(POINTER), expect=etag)


def _order(entry: tuple[str, _Put]) -> tuple[int, str]:
    return _ORDER.index(entry[1].kind), entry[0]


def body_of(data: bytes) -> Body:
    """Bytes with their digest."""
    return Body(data, hashlib.sha256(data).hexdigest(), len(data))


def spread(act: Callable[[_Item], _Answer], items: Iterable[_Item], jobs: int) -> Iterator[_Answer]:
    """Act on items, `jobs` at once, in their order.

    The first failure is raised, and so is an interruption; then no other item is begun, and nothing is tried again.
    """
    ended = threading.Event()

    def guard() -> None:
        if ended.is_set():
            raise CalledOffError

    with ThreadPoolExecutor(jobs, thread_name_prefix="store") as threads, guarded(guard):
        try:
            futures = [threads.submit(copy_context().run, act, item) for item in items]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            ended.set()
            threads.shutdown(wait=True, cancel_futures=True)
    for future in done:
        future.result()
    yield from (future.result() for future in futures)


def _exhaust(answers: Iterator[object]) -> None:
    for _ in answers:
        pass


def some(keys: Sequence[str]) -> str:
    """Name a few keys, and say how many more there are."""
    rest = f" and {len(keys) - _SHOWN:,} more" if len(keys) > _SHOWN else ""
    return ", ".join(sorted(keys)[:_SHOWN]) + rest
