"""Sync: bring a store from one release to the next, so that a page never lists what is not there.

Everything is decided before the first write. Then, each stage whole before the next begins: artifacts, metadata,
project pages, project list, front page, release manifest, pointer; removals last, of pages only (DESIGN rules 1 to 6).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from mirror.compare import Fingerprint, compare
from mirror.errors import ConflictError, IntegrityError, MirrorError
from mirror.layout import (
    FRONT_PAGE,
    JSON,
    PACKAGES,
    POINTER,
    SIMPLE,
    artifact_key,
    headers,
    metadata_key,
    project_list_keys,
    project_page_keys,
    release_key,
)
from mirror.lease import Owner, holding, leftover
from mirror.release import Kind, Pointer, Release, current, kind
from mirror.simple import html, json
from mirror.simple.page import PageError
from mirror.stores.base import ABSENT, Body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mirror.lease import Held
    from mirror.model import Manifest
    from mirror.progress import Progress, Task
    from mirror.stores.base import Store

__all__ = ["Owner", "SyncResult", "sync"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_ORDER = tuple(Kind)
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What was done; in a dry run, what would be done."""

    release: str | None
    """Id of the new release; None when the current one stays."""
    puts: tuple[str, ...] = ()
    """Keys that were stored, in the order of publishing; without release manifest and pointer."""
    deletes: tuple[str, ...] = ()
    """Keys that were removed, sorted."""
    size: int = 0
    """Bytes that were stored."""

    @property
    def counts(self) -> Mapping[Kind, int]:
        """How many objects of each kind were stored."""
        return Counter(kind(key) or Kind.STATE for key in self.puts)

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.release or self.puts or self.deletes)


def sync(
    manifest: Manifest,
    pages: Path,
    artifacts: Path,
    store: Store,
    progress: Progress,
    *,
    owner: Owner,
    dry_run: bool = False,
    allow_shrink: bool = False,
    shrink_limit: float = 0.3,
    jobs: int = 16,
    check_remote: bool = False,
) -> SyncResult:
    """Publish the manifest's artifacts from `artifacts` and its pages from `pages`.

    `shrink_limit` is the share of the published artifacts, from 0 to 1, that a release may drop without
    `allow_shrink`. `check_remote` reads back what the current release records and puts again what is missing, and
    pages that differ. When nothing changed nothing is written, not even the lease.

    Raise `IntegrityError` before the first write when an artifact would change under its name, when the store holds
    other bytes than its release records, or when a page lists what the manifest does not have; `MirrorError` when too
    much would vanish or the local files are incomplete; `ConflictError` when somebody else publishes; `RemoteError`
    when the store does not answer or holds state that cannot be understood.
    """
    publisher = _Publisher(
        site=_read_site(manifest, pages, artifacts),
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
        with holding(store, owner, progress) as lease:
            now = _read_state(store)
            # Whoever came in between may have moved the pointer, or left pages behind.
            if now.etag != state.etag or lease.unsettled:
                plan = publisher.plan(now)
            publisher.publish(plan, lease)
    result = plan.result()
    progress.say(_sentence(store, result, plan.current, dry_run=dry_run))
    return result


# What should be there


@dataclass(frozen=True, slots=True)
class _Object:
    """Something to publish."""

    source: Path
    fingerprint: Fingerprint
    kind: Kind

    def body(self) -> Body:
        # A page is copied, for its file is rewritten by the next run; an artifact may be the same file as in the pool.
        source = self.source if self.kind.immutable else self.source.read_bytes()
        return Body(source, self.fingerprint.sha256, self.fingerprint.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Everything to publish, by key."""

    locks: tuple[str, ...]
    objects: Mapping[str, _Object]
    projects: Mapping[str, set[str]]
    """The artifacts of each project, by key."""

    @property
    def record(self) -> dict[str, Fingerprint]:
        return {key: item.fingerprint for key, item in self.objects.items()}

    def of(self, *, immutable: bool) -> dict[str, Fingerprint]:
        return {key: item.fingerprint for key, item in self.objects.items() if item.kind.immutable is immutable}


def _read_site(manifest: Manifest, pages: Path, artifacts: Path) -> _Site:
    objects: dict[str, _Object] = {}
    projects: defaultdict[str, set[str]] = defaultdict(set)
    for artifact in manifest.artifacts:
        projects[artifact.project].add(artifact_key(artifact.filename))
        found = Fingerprint(artifact.sha256, artifact.size)
        path = artifacts / artifact.filename
        objects[artifact_key(artifact.filename)] = _Object(path, found, Kind.ARTIFACT)
        if artifact.metadata_sha256:
            found = Fingerprint(artifact.metadata_sha256, artifact.metadata_size)
            path = artifacts / f"{artifact.filename}.metadata"
            objects[metadata_key(artifact.filename)] = _Object(path, found, Kind.METADATA)
    for name in sorted(projects):
        objects.update((key, _page(pages, key, Kind.PROJECT_PAGE)) for key in project_page_keys(name))
    objects.update((key, _page(pages, key, Kind.PROJECT_LIST)) for key in project_list_keys())
    objects[FRONT_PAGE] = _page(pages, FRONT_PAGE, Kind.FRONT_PAGE)
    return _Site(locks=tuple(sorted(manifest.locks)), objects=objects, projects=projects)


def _page(pages: Path, key: str, kind: Kind) -> _Object:
    try:
        data = (pages / key).read_bytes()
    except OSError as error:
        raise MirrorError(
            f"cannot read the page {pages / key}: {error.strerror}", hint="run mirror index, which makes it"
        ) from error
    return _Object(pages / key, Fingerprint(hashlib.sha256(data).hexdigest(), len(data)), kind)


# What is there


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What a store says of itself."""

    etag: str
    """Of the pointer; `ABSENT` when nothing was ever published."""
    release: Release | None
    unsettled: tuple[str, ...] | None
    """Pages that an unfinished publish may have left; None when every publish came to its end."""


def _read_state(store: Store) -> _State:
    lease = leftover(store)
    unsettled = lease[0].unsettled if lease else None
    found = current(store.read, store.name)
    return _State(etag=found.etag if found else ABSENT, release=found.release if found else None, unsettled=unsettled)


# What is to be done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Every write, decided."""

    etag: str
    """Of the pointer that this plan was made for."""
    current: str
    """Id of the release that is current when all is done."""
    release: Release | None
    """The new release; None when the current one stays."""
    puts: Mapping[str, _Object] = field(default_factory=dict)
    """In the order of publishing."""
    deletes: tuple[str, ...] = ()
    settles: bool = False
    """Whether an unfinished publish is brought to its end, even if nothing is left to do."""
    unsettled: tuple[str, ...] = ()
    """Pages that may be left behind when this is interrupted."""

    @property
    def changed(self) -> bool:
        return bool(self.release or self.puts or self.deletes or self.settles)

    def result(self) -> SyncResult:
        return SyncResult(
            release=self.release.id if self.release else None,
            puts=tuple(self.puts),
            deletes=self.deletes,
            size=sum(item.fingerprint.size for item in self.puts.values()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Publisher:
    """One site on its way to one store."""

    site: _Site
    store: Store
    progress: Progress
    jobs: int
    allow_shrink: bool
    shrink_limit: float
    check_remote: bool

    def plan(self, state: _State) -> _Plan:
        """Decide everything, without a write. Raise what `sync` raises before the first write."""
        release = self._following(state)
        settles = state.unsettled is not None
        if release is None and not settles and not self.check_remote and state.release:
            return _Plan(etag=state.etag, current=state.release.id, release=None)
        before = state.release.objects if state.release else {}
        self._refuse_changed_artifacts(before)
        self._refuse_shrinking(before)
        # Whatever else may be there, the release that was current and the publish that was interrupted know all pages.
        known = {*before, *(state.unsettled or ())}
        present = self._present_pages(state)
        pages = compare(self.site.of(immutable=False), present)
        if state.release is None and not settles:
            self._refuse_strangers_pages(pages.differing)
        keys = {*self._missing_artifacts(before), *pages.missing, *pages.differing}
        deletes = [key for key in pages.extraneous if key in known and kind(key) is Kind.PROJECT_PAGE]
        puts = {key: self.site.objects[key] for key in sorted(keys, key=self._order)}
        self._check_sources(puts)
        self._check_pages()
        final = release or state.release
        return _Plan(
            etag=state.etag,
            current=final.id if final else "",
            release=release,
            puts=puts,
            deletes=tuple(deletes),
            settles=settles,
            unsettled=tuple(sorted({*deletes, *(key for key in pages.missing if kind(key) is Kind.PROJECT_PAGE)})),
        )

    def _order(self, key: str) -> tuple[int, str]:
        return _ORDER.index(self.site.objects[key].kind), key

    def _following(self, state: _State) -> Release | None:
        """The release after the current one; None when that one says the same."""
        record, before = self.site.record, state.release
        if before and (before.objects, before.locks) == (record, self.site.locks):
            return None
        return Release(
            sequence=before.sequence + 1 if before else 1,
            previous=before.id if before else "",
            locks=self.site.locks,
            objects=record,
        )

    def _present_pages(self, state: _State) -> dict[str, Fingerprint]:
        """The pages in the store: from the release while it can be trusted, otherwise read back."""
        if state.release and state.unsettled is None and not self.check_remote:
            return {
                key: found for key, found in state.release.objects.items() if not (kind(key) or Kind.STATE).immutable
            }
        listed = {found.key: found.size for found in self.store.list(SIMPLE)}
        front = self.store.stat(FRONT_PAGE)
        if front:
            listed[FRONT_PAGE] = front.size
        digests = self._digests(listed)
        return {key: Fingerprint(sha256, listed[key]) for key, sha256 in digests.items()}

    def _missing_artifacts(self, before: Mapping[str, Fingerprint]) -> tuple[str, ...]:
        """Artifacts and sidecars that are not in the store. Raise `IntegrityError` for one that is there and differs.

        The listing is read on every change, so no page is ever written on the word of a release alone (rule 3).
        """
        wanted = self.site.of(immutable=True)
        present = {found.key: found.size for found in self.store.list(PACKAGES)}
        sizes = compare({key: found.size for key, found in wanted.items()}, present)
        # What the release before recorded was proven when it was stored; anything else is read back.
        doubted = sizes.matching if self.check_remote else [key for key in sizes.matching if key not in before]
        found = self._digests(doubted)
        digests = compare({key: wanted[key].sha256 for key in found}, found)
        wrong = [*sizes.differing, *digests.differing]
        if wrong:
            raise IntegrityError(
                f"{self.store.name} holds other bytes than should be there under {_some(wrong)}",
                hint="an artifact never changes under its name: find out what put it there, then remove it by hand",
            )
        return sizes.missing

    def _digests(self, keys: Iterable[str]) -> dict[str, str]:
        """sha256 of objects, read at once; without those that vanished meanwhile."""
        found = dict(_spread(lambda key: (key, self.store.digest(key)), keys, self.jobs))
        return {key: digest for key, digest in found.items() if digest is not None}

    def _refuse_changed_artifacts(self, before: Mapping[str, Fingerprint]) -> None:
        changed = compare(self.site.of(immutable=True), before).differing
        if changed:
            raise IntegrityError(
                f"{self.store.name} has published other bytes under {_some(changed)}",
                hint="a file never changes under its name: lock the bytes that are published, or a new version of it, "
                "or publish to a new destination",
            )

    def _refuse_shrinking(self, before: Mapping[str, Fingerprint]) -> None:
        published = [key for key in before if kind(key) is Kind.ARTIFACT]
        dropped = [key for key in published if key not in self.site.objects]
        if self.allow_shrink or not published or len(dropped) / len(published) <= self.shrink_limit:
            return
        raise MirrorError(
            f"{self.store.name}: this would drop {len(dropped):,} of {len(published):,} published artifacts "
            f"({100 * len(dropped) / len(published):.0f} %, the limit is {100 * self.shrink_limit:.0f} %), such as "
            f"{_some(dropped)}",
            hint="if that is what you want, run again with --allow-shrink",
        )

    def _refuse_strangers_pages(self, differing: Sequence[str]) -> None:
        # No pointer and no lease: nothing of ours was ever written there.
        if differing:
            raise MirrorError(
                f"{self.store.name} holds pages that are not of this mirror: {_some(differing)}",
                hint="publish to an empty destination, or move those files away",
            )

    def _check_sources(self, puts: Mapping[str, _Object]) -> None:
        absent = [key for key, item in puts.items() if not item.source.is_file()]
        if absent:
            raise MirrorError(
                f"the files to publish are incomplete: {_some(absent)}", hint="run mirror consolidate, which links them"
            )

    def _check_pages(self) -> None:
        """Hold every page against the manifest: what it lists is in the store, or is about to be."""
        for key, item in self.site.objects.items():
            if item.kind is Kind.PROJECT_PAGE:
                self._check_project_page(key, item.source.read_bytes())
            if item.kind is Kind.PROJECT_LIST:
                names = _parsed(key, (json if key.endswith(JSON) else html).parse_list, item.source.read_bytes())
                if set(names) != set(self.site.projects):
                    odd = set(names).symmetric_difference(self.site.projects)
                    raise _unfit(key, f"it lists other projects: {_some(sorted(odd))}")

    def _check_project_page(self, key: str, data: bytes) -> None:
        form = json if key.endswith(JSON) else html
        name = PurePosixPath(key).parent.name
        page = _parsed(key, lambda body: form.parse(body, f"/{key}", name), data)
        listed = {unquote(file.url).removeprefix("/"): file for file in page.files}
        if set(listed) != self.site.projects[name]:
            odd = set(listed).symmetric_difference(self.site.projects[name])
            raise _unfit(key, f"it lists other files: {_some(sorted(odd))}")
        for place, file in listed.items():
            sidecar = self.site.objects.get(f"{place}.metadata")
            stated = ({digest.hex for digest in file.digests}, file.core_metadata and file.core_metadata.hex)
            if stated != ({self.site.objects[place].fingerprint.sha256}, sidecar and sidecar.fingerprint.sha256):
                raise _unfit(key, f"it states another digest for {place}")

    # Doing it

    def publish(self, plan: _Plan, lease: Held) -> None:
        """Do what was planned. Any failure ends it before the next stage, and nothing is removed then."""
        lease.note(plan.unsettled)
        size = sum(item.fingerprint.size for item in plan.puts.values())
        with self.progress.task("Publishing", items=len(plan.puts), size=size) as task:
            for _, stage in groupby(plan.puts.items(), key=lambda entry: entry[1].kind):
                _exhaust(_spread(lambda entry: self._put(*entry, lease, task), stage, self.jobs))
        if plan.release:
            lease.check()
            self._announce(plan.release, plan.etag)
        if plan.deletes:
            lease.check()
            self.store.delete(plan.deletes)

    def _put(self, key: str, item: _Object, lease: Held, task: Task) -> None:
        lease.check()
        expect = ABSENT if item.kind.immutable else None
        try:
            self.store.put(key, item.body(), headers(key), expect=expect)
        except ConflictError:
            # Somebody was faster, or an answer was lost on the way: the same bytes are as good as ours.
            if self.store.digest(key) != item.fingerprint.sha256:
                raise IntegrityError(
                    f"{self.store.name}: {key} has just been created with other bytes",
                    hint="an artifact never changes under its name: find out who else publishes there",
                ) from None
        except OSError as error:
            raise MirrorError(f"cannot read {item.source}: {error.strerror}", hint="run mirror index again") from error
        task.advance(1, item.fingerprint.size, key)

    def _announce(self, release: Release, etag: str) -> None:
        key, pointer = release_key(release.id), Pointer.to(release)
        try:
            self.store.put(key, _body(release.data), headers(key), expect=ABSENT)
        except ConflictError:
            # An interrupted publish of the same release came this far.
            if self.store.digest(key) != pointer.sha256:
                raise IntegrityError(
                    f"{self.store.name}: {key} is there with other contents",
                    hint="find out what put it there, then remove it by hand",
                ) from None
        self.store.put(POINTER, _body(pointer.data), headers(POINTER), expect=etag)


def _body(data: bytes) -> Body:
    return Body(data, hashlib.sha256(data).hexdigest(), len(data))


def _spread(act: Callable[[_Item], _Answer], items: Iterable[_Item], jobs: int) -> Iterator[_Answer]:
    """Act on items, several at once; the first failure keeps the others from starting and is raised."""
    with ThreadPoolExecutor(jobs, thread_name_prefix="store") as threads:
        futures = [threads.submit(act, item) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)
        for future in done:
            future.result()
        yield from (future.result() for future in futures)


def _exhaust(answers: Iterator[object]) -> None:
    for _ in answers:
        pass


def _parsed(key: str, parse: Callable[[bytes], _Answer], data: bytes) -> _Answer:
    try:
        return parse(data)
    except PageError as error:
        raise _unfit(key, str(error)) from error


def _unfit(key: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"the page {key} does not fit the manifest: {why}", hint="run mirror index, which makes it anew"
    )


def _some(keys: Sequence[str]) -> str:
    rest = f" and {len(keys) - _SHOWN:,} more" if len(keys) > _SHOWN else ""
    return ", ".join(sorted(keys)[:_SHOWN]) + rest


def _sentence(store: Store, result: SyncResult, release: str, *, dry_run: bool) -> str:
    if not result.changed:
        return f"{store.name}: nothing changed since release {release}"
    counts = [f"{count:,} {word.replace('-', ' ')}{'s' * (count > 1)}" for word, count in result.counts.items()]
    removed = [f"{len(result.deletes):,} removed"] if result.deletes else []
    verb = (
        ("would publish" if dry_run else "published") if result.release else ("would repair" if dry_run else "repaired")
    )
    return f"{store.name}: {verb} release {release}: {', '.join([*counts, *removed]) or 'no file changed'}"
