"""Releases: what a store still has of what was published there, newest first."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mirror.history import read_history
from mirror.release import Kind, kind

if TYPE_CHECKING:
    from mirror.history import Kept
    from mirror.progress import Progress
    from mirror.stores.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEntry:
    """A release in a list."""

    id: str
    current: bool
    published: str
    """UTC, ISO 8601 with whole seconds; empty where the store does not tell."""
    artifacts: int
    pages: int
    """Project pages, project lists and the front page, in every form."""
    size: int
    """Bytes of all that it lists, shared with other releases or not."""
    locks: tuple[str, ...]
    """Digest of each lock that it stands for."""

    @property
    def row(self) -> tuple[str, ...]:
        """What people want to see of it; a lock by the beginning of its digest."""
        locks = ", ".join(lock.partition(":")[2][:12] for lock in self.locks)
        current = "current" if self.current else ""
        return self.id, self.published, str(self.artifacts), str(self.pages), f"{self.size:,}", locks, current


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseList:
    """The releases of one destination."""

    destination: str
    releases: tuple[ReleaseEntry, ...]
    """The current one first, then those before it."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def releases(store: Store, progress: Progress, *, jobs: int = 16) -> ReleaseList:
    """List the releases of a store, newest first; none when nothing was ever published there.

    Raise `IntegrityError` for a release manifest that was altered, `RemoteError` when the store does not answer.
    """
    history = read_history(store, jobs)
    if history is None:
        progress.say(f"{store.name}: nothing was published there yet")
        return ReleaseList(destination=store.name, releases=())
    entries = [_entry(kept, current=place == 0) for place, kept in enumerate(history.releases)]
    return ReleaseList(destination=store.name, releases=tuple(entries))


def _entry(kept: Kept, *, current: bool) -> ReleaseEntry:
    release = kept.release
    kinds = Counter(kind(key) for key in release.objects)
    return ReleaseEntry(
        id=release.id,
        current=current,
        published=_spell(kept.published),
        artifacts=kinds[Kind.ARTIFACT],
        pages=sum(count for what, count in kinds.items() if what and what.page),
        size=sum(found.size for found in release.objects.values()),
        locks=release.locks,
    )


def _spell(moment: float | None) -> str:
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
