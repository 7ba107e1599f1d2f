"""Prune: remove what no kept release needs any more, and never what somebody may still be led to.

A release is kept while it is one of the newest, or while less than the grace period has passed since another replaced
it. What a kept release lists stays; everything else goes, in the reverse order of publishing: release manifests, oldest
first, then former pages, metadata, artifacts. A prune that is interrupted therefore leaves only releases that can come
back whole. Files below `packages/` that are named like no wheel and no sdist are somebody else's.

Why no publisher loses an artifact that it found in the store and did not put again:

* Both hold the lease while they write, so each sees the other's work as done or as not begun. A publisher that finds
  the lease of an interrupted prune looks at everything again before it writes.
* A publisher plans before it takes the lease. `prune` moves the pointer, whose etag is the condition of every publish,
  before the first removal and after the last one: whoever looked before or between them either looks again under the
  lease, or fails at the pointer.
* A publisher that was interrupted may have left pages that no release records; then nothing is removed, for what
  they list is not known. `sync` or `rollback` settles that.
* The lease is renewed right before each batch of removals. A process that is suspended longer than a lease lasts in
  the middle of a removal can still reach the store when it wakes; it then finds that the pointer was moved and says
  which files of the current release it took, if any.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from mirror.errors import ConflictError, IntegrityError, MirrorError
from mirror.filenames import is_artifact
from mirror.guard import guarded
from mirror.history import read_history
from mirror.layout import FORMER_PAGES, PACKAGES, POINTER, PROBE, former_page_key, headers, release_key
from mirror.lease import holding, leftover
from mirror.model import Level, Notice
from mirror.publication import SHRINK_LIMIT, body_of, some
from mirror.release import Kind, current, kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mirror.history import History, Kept
    from mirror.lease import Held, Owner
    from mirror.model import Plan
    from mirror.pool import Pool
    from mirror.progress import Progress
    from mirror.release import Current
    from mirror.stores.base import Store, StoredObject

DAY = 86400.0
"""Seconds."""
_BATCH = 1000
"""Objects removed by one call: as many as S3 takes in one request."""
_ORDER = (Kind.STATE, Kind.FORMER_PAGE, Kind.METADATA, Kind.ARTIFACT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneResult:
    """What was removed; in a dry run, what would be."""

    deletes: tuple[str, ...] = ()
    """Keys in the order of removal."""
    size: int = 0
    """Bytes that this gives back."""
    left: int = 0
    """How many more could go, but for the limit."""
    kept: tuple[str, ...] = ()
    """Ids of the releases that stay, the current one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What stays although the current release does not need it."""

    keep: int = 10
    """The number of newest releases that stay whatever their age, the current one included; at least 1."""
    grace: float = 7 * DAY
    """Seconds for which something stays after the release that dropped it was published. Longer than any cache: who
    has read a page may come for a file that it lists."""
    limit: int = 1000
    """How many objects one run removes at most."""
    allow_shrink: bool = False
    """Remove even a large share of the artifacts."""


def prune(
    store: Store,
    progress: Progress,
    retention: Retention,
    *,
    owner: Owner,
    dry_run: bool = False,
    jobs: int = 16,
    clock: Callable[[], float] = time.time,
) -> PruneResult:
    """Remove what no kept release needs and whose grace period is over. When there is nothing, nothing is written.

    On a store that does not tell when things were stored nothing is ever old enough, unless the grace period is 0.

    Raise `MirrorError` before the first removal when too much would go, `ConflictError` when somebody else publishes
    or has left a publish unfinished, `IntegrityError` for a release manifest that was altered, `RemoteError` when the
    store does not answer.
    """
    pruning = _Pruning(store=store, progress=progress, retention=retention, jobs=jobs, clock=clock)
    interrupted = pruning.interrupted()
    plan = pruning.plan()
    if (plan.deletes or interrupted) and not dry_run:
        with holding(store, owner, progress) as lease:
            pruning.interrupted()
            # Only what is seen under the lease is acted upon.
            plan = pruning.plan()
            if plan.deletes and plan.history:
                pruning.remove(plan, plan.history, lease)
    result = plan.result()
    progress.say(f"{store.name}: {_sentence(result, dry_run=dry_run)}")
    return result


def prune_pool(
    planned: Plan,
    pool: Pool,
    progress: Progress,
    *,
    grace: float = 7 * DAY,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> tuple[Path, ...]:
    """Delete the downloads that the plan does not want and that are older than `grace` seconds; return their paths.

    Nothing is lost for good: a file that a later lock pins again is downloaded again. Raise `MirrorError` when the disk
    refuses.
    """
    paths = pool.surplus({file.filename for file in planned.files}, clock() - grace)
    size = sum(path.stat().st_size for path in paths)
    if not dry_run:
        pool.discard(paths)
    verb = "would delete" if dry_run else "deleted"
    progress.say(f"{pool.root}: {verb} {len(paths):,} downloads of {size / 1e6:,.1f} MB that are not wanted any more")
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    history: History | None = None
    kept: tuple[Kept, ...] = ()
    deletes: tuple[StoredObject, ...] = ()
    """In the order of removal."""
    left: int = 0

    def result(self) -> PruneResult:
        return PruneResult(
            deletes=tuple(found.key for found in self.deletes),
            size=sum(found.size for found in self.deletes),
            left=self.left,
            kept=tuple(kept.release.id for kept in self.kept),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pruning:
    """One store, and what may go there."""

    store: Store
    progress: Progress
    retention: Retention
    jobs: int
    clock: Callable[[], float]

    def interrupted(self) -> bool:
        """Whether a lease is there. Raise `ConflictError` when pages may be there, too, that no release records."""
        lease = leftover(self.store)
        if lease and any((kind(key) or Kind.STATE).page for key in lease[0].unsettled):
            raise ConflictError(
                f"{self.store.name}: a publish is not finished, so it is not known what its pages list",
                hint="wait for it, or run mirror sync, which brings an interrupted one to its end; then prune again",
            )
        return lease is not None

    def plan(self) -> _Plan:
        """Decide what goes. Raise `MirrorError` when that is too much."""
        history = read_history(self.store, self.jobs)
        if history is None:
            return _Plan()
        kept = self._kept(history)
        going = self._manifests(history, kept)
        needed = {key for each in kept for key in _needs(each)}
        # What a release drops is as old as its successor, which is past the grace period or that release were kept;
        # what no release here lists, an interrupted publish may have put a moment ago.
        dated = {key for each in history.releases[len(kept) :] for key in _needs(each)}
        stored = [*self.store.list(FORMER_PAGES), *filter(_ours, self.store.list(PACKAGES))]
        going += [
            found for found in stored if found.key not in needed and (found.key in dated or self._old(found.modified))
        ]
        # A run that was killed while it tried the store out.
        going += [found for found in self.store.list(PROBE) if self._old(found.modified)]
        self._refuse_much(going, stored)
        going.sort(key=lambda found: _ORDER.index(kind(found.key) or Kind.STATE))
        self._tell_timeless(history)
        limit = self.retention.limit
        return _Plan(history=history, kept=kept, deletes=tuple(going[:limit]), left=len(going[limit:]))

    def _kept(self, history: History) -> tuple[Kept, ...]:
        """The newest releases, without a gap, so that each can still be found from the one after it."""
        count = min(max(self.retention.keep, 1), len(history.releases))
        for place, successor in enumerate(history.releases[:-1], start=1):
            if place >= count and not self._old(successor.published):
                count = place + 1
        return history.releases[:count]

    def _manifests(self, history: History, kept: Sequence[Kept]) -> list[StoredObject]:
        """Manifests that go, the oldest release first."""
        past = [self.store.stat(release_key(each.release.id)) for each in reversed(history.releases[len(kept) :])]
        strays = [found for found in history.strays if self._old(found.modified)]
        return [*(found for found in past if found), *strays]

    def _old(self, moment: float | None) -> bool:
        """Whether the grace period is over for what happened at a moment."""
        if not self.retention.grace:
            return True
        return moment is not None and self.clock() - moment >= self.retention.grace

    def _refuse_much(self, going: Sequence[StoredObject], stored: Sequence[StoredObject]) -> None:
        gone = [found.key for found in going if kind(found.key) is Kind.ARTIFACT]
        count = sum(kind(found.key) is Kind.ARTIFACT for found in stored)
        if self.retention.allow_shrink or not gone or len(gone) / count <= SHRINK_LIMIT:
            return
        raise MirrorError(
            f"{self.store.name}: this would remove {len(gone):,} of {count:,} stored artifacts "
            f"({100 * len(gone) / count:.0f} %, the limit is {100 * SHRINK_LIMIT:.0f} %), such as {some(gone)}",
            hint="look at what --dry-run --allow-shrink lists; if that is what you want, run with --allow-shrink",
        )

    def _tell_timeless(self, history: History) -> None:
        if self.retention.grace and history.releases[0].published is None:
            message = "it does not tell when things were stored, so nothing is old enough to go; --grace 0 ignores age"
            self.progress.notice(Notice(level=Level.WARNING, code="no-times", message=message, where=self.store.name))

    def remove(self, plan: _Plan, history: History, lease: Held) -> None:
        """Remove what was planned, between two moves of the pointer."""
        lease.note(found.key for found in plan.deletes)
        fenced = replace(history, current=self._fence(history))
        done: list[str] = []
        try:
            with self.progress.task("Pruning", items=len(plan.deletes), size=plan.result().size) as task:
                for batch in _batches(plan.deletes):
                    lease.renew()
                    done += [found.key for found in batch]
                    with guarded(lease.check):
                        self.store.delete([found.key for found in batch])
                    task.advance(len(batch), sum(found.size for found in batch), batch[-1].key)
            self._fence(fenced)
        except ConflictError:
            self._refuse_loss(done)
            raise

    def _fence(self, history: History) -> Current:
        """Move the pointer without changing the release, so that every publish planned before this fails."""
        pointer = replace(history.current.pointer, fence=history.current.pointer.fence + 1)
        etag = self.store.put(POINTER, body_of(pointer.data), headers(POINTER), expect=history.current.etag)
        return replace(history.current, pointer=pointer, etag=etag)

    def _refuse_loss(self, done: Sequence[str]) -> None:
        found = current(self.store.read, self.store.name)
        lost = [key for key in done if found and key in found.release.objects and self.store.stat(key) is None]
        if lost:
            raise IntegrityError(
                f"{self.store.name}: while this run was held up a new release was published, and {some(lost)} of it is "
                "removed now",
                hint="run mirror sync --check-remote at once, which puts it there again",
            )


def _needs(kept: Kept) -> Iterator[str]:
    """The keys that have to be there so that a release can be served, and come back."""
    for key, found in kept.release.objects.items():
        yield former_page_key(found.sha256) if (kind(key) or Kind.STATE).page else key


def _ours(found: StoredObject) -> bool:
    filename = found.key.removeprefix(PACKAGES)
    return kind(found.key) is not None and is_artifact(filename.removesuffix(".metadata"))


def _batches(deletes: Sequence[StoredObject]) -> Iterator[list[StoredObject]]:
    """Removals of one kind at a time, for an artifact must not go before its release."""
    for _, group in groupby(deletes, key=lambda found: kind(found.key)):
        stage = list(group)
        yield from (stage[start : start + _BATCH] for start in range(0, len(stage), _BATCH))


def _sentence(result: PruneResult, *, dry_run: bool) -> str:
    releases = f"{len(result.kept):,} release{'s' * (len(result.kept) != 1)} kept"
    if not result.deletes:
        return f"nothing to prune, {releases}"
    more = f", {result.left:,} more than the limit are left for the next run" if result.left else ""
    verb = "would remove" if dry_run else "removed"
    return f"{verb} {len(result.deletes):,} objects of {result.size / 1e6:,.1f} MB, {releases}{more}"
