"""Rollback: publish a former release once more, from what the store has kept of it.

It is a publish like every other, under the same lease, order and conditions: a new release with the objects of the old
one. Its artifacts have to be there still; its pages come from where they were kept when they were replaced.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.errors import IntegrityError, MirrorError
from mirror.history import read_history
from mirror.layout import former_page_key
from mirror.publication import publish, some, spread
from mirror.release import Kind, kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mirror.compare import Fingerprint
    from mirror.lease import Owner
    from mirror.progress import Progress
    from mirror.publication import SyncResult
    from mirror.release import Release
    from mirror.stores.base import Store


def rollback(
    store: Store,
    progress: Progress,
    *,
    release: str = "",
    moment: float | None = None,
    owner: Owner,
    dry_run: bool = False,
    jobs: int = 16,
) -> SyncResult:
    """Make a kept release current again: the one with the id `release`, or the one that was current at `moment`.

    `release` may be the beginning of an id; `moment` is in seconds since the epoch. Rolling back to what is current
    changes nothing, but brings an interrupted publish to its end.

    Raise `MirrorError` when there is no such release, `IntegrityError` naming what is no longer there of it or has
    other bytes, `ConflictError` when somebody else publishes, `RemoteError` when the store does not answer.
    """
    history = read_history(store, jobs)
    if history is None:
        raise MirrorError(f"{store.name}: nothing was published there yet", hint="run mirror refresh first")
    wanted = history.find(release) if moment is None else history.at(moment)
    places = {found.sha256: key for key, found in history.current.release.objects.items()}
    edition = _Former(release=wanted, places=places, jobs=jobs)
    # Whoever names a release wants exactly what it had, be it much less.
    result = publish(edition, store, progress, owner=owner, dry_run=dry_run, allow_shrink=True, jobs=jobs)
    progress.say(f"{store.name}: {_sentence(wanted, result, dry_run=dry_run)}")
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Former:
    """The `Edition` that was published before."""

    release: Release
    places: Mapping[str, str]
    """By sha256: a key under which the current release has these bytes."""
    jobs: int

    @property
    def locks(self) -> tuple[str, ...]:
        return self.release.locks

    @property
    def objects(self) -> Mapping[str, Fingerprint]:
        return self.release.objects

    def supply(self, keys: Sequence[str], store: Store) -> Mapping[str, Path | bytes]:
        """The bytes of pages. Raise `IntegrityError` when one of them, or any artifact, is not in the store."""
        gone = [key for key in keys if not (kind(key) or Kind.STATE).page]
        if gone:
            raise self._lost(store, gone)
        pages = dict(zip(keys, spread(lambda key: self._page(key, store), keys, self.jobs), strict=True))
        lost = [key for key, data in pages.items() if data is None]
        if lost:
            raise self._lost(store, lost)
        return {key: data for key, data in pages.items() if data is not None}

    def _page(self, key: str, store: Store) -> bytes | None:
        sha256 = self.objects[key].sha256
        for place in (former_page_key(sha256), self.places.get(sha256), key):
            found = store.read(place) if place else None
            if found and hashlib.sha256(found[0]).hexdigest() == sha256:
                return found[0]
        return None

    def _lost(self, store: Store, keys: Sequence[str]) -> IntegrityError:
        return IntegrityError(
            f"{store.name}: release {self.release.id} cannot come back: {some(keys)} is no longer there as it was",
            hint="nothing was changed; choose another release, or publish that release's locks again",
        )


def _sentence(wanted: Release, result: SyncResult, *, dry_run: bool) -> str:
    if not result.changed:
        return f"what release {wanted.id} holds is current already"
    verb = "would roll back" if dry_run else "rolled back"
    return f"{verb} to release {wanted.id} as release {result.current}: {result.summary}"
