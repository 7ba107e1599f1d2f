"""History: the releases that a store still has, read back from the current one.

Release manifests form a chain along `previous`. One that is not in it belongs to a publish that never came to its end,
or that lost against another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.errors import MirrorError, RemoteError
from mirror.layout import RELEASES, release_key
from mirror.publication import spread
from mirror.release import Release, current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.release import Current
    from mirror.stores.base import Store, StoredObject

_KEY = re.compile(rf"{re.escape(RELEASES)}(\d{{6,}})-[0-9a-f]{{12}}\.json", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A release that a store still has."""

    release: Release
    published: float | None
    """When, in seconds since the epoch by the store's clock; None where the store does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that was published to a store and is still known there."""

    current: Current
    releases: tuple[Kept, ...]
    """The current release, the one before it, and so on, as far as they are there."""
    strays: tuple[StoredObject, ...]
    """Manifests of releases that never became current and never can: the pointer has moved past them."""

    def find(self, name: str) -> Release:
        """The release with that id, or whose id alone starts so. Raise `MirrorError` when there is not just one."""
        found = [kept.release for kept in self.releases if kept.release.id.startswith(name)]
        if len(found) != 1 or not name:
            raise MirrorError(
                f"{name!r} is the id of {'no' if not found else 'more than one'} release",
                hint="mirror releases lists the ids that there are",
            )
        return found[0]

    def at(self, moment: float) -> Release:
        """The release that was current at a moment. Raise `MirrorError` when none is known to have been."""
        if any(kept.published is None for kept in self.releases):
            raise MirrorError(
                "this destination does not tell when its releases were published",
                hint="name the release instead; mirror releases lists them",
            )
        for kept in self.releases:
            # To the second, as `releases` shows it: some stores tell fractions.
            if kept.published is not None and int(kept.published) <= moment:
                return kept.release
        raise MirrorError(
            "no release that was published by then is kept", hint="mirror releases lists those that are kept"
        )


def read_history(store: Store, jobs: int = 16) -> History | None:
    """Read the releases of a store; None when nothing was ever published there.

    Raise `IntegrityError` for a manifest that was altered, `RemoteError` when the store does not answer or a manifest
    cannot be understood.
    """
    # The pointer last: what it leads to may be newer than the listing, which then only lacks that one manifest.
    listed = {found.key: found for found in store.list(RELEASES)}
    now = current(store.read, store.name)
    if now is None:
        return None
    known = {key: found for key, found in listed.items() if _KEY.fullmatch(key)}
    bodies = dict(zip(known, spread(store.read, known, jobs), strict=True))
    data = {key: body[0] for key, body in bodies.items() if body is not None}
    chain = _chain(now.release, data, store.name)
    past = {release_key(release.id) for release in chain}
    return History(
        current=now,
        releases=tuple(Kept(release=release, published=_published(store, listed, release)) for release in chain),
        strays=tuple(
            found for key, found in known.items() if key not in past and _sequence(key) <= now.release.sequence
        ),
    )


def _chain(newest: Release, data: Mapping[str, bytes], name: str) -> list[Release]:
    chain = [newest]
    while (key := release_key(chain[-1].previous)) in data:
        release = Release.parse(data[key], f"{name}: {key}")
        if release_key(release.id) != key or release.sequence >= chain[-1].sequence:
            raise RemoteError(
                f"{name}: {key} is not the release before {chain[-1].id}",
                hint="restore that file from a backup, or remove it: older releases are then no longer listed",
            )
        chain.append(release)
    return chain


def _published(store: Store, listed: Mapping[str, StoredObject], release: Release) -> float | None:
    key = release_key(release.id)
    found = listed.get(key) or store.stat(key)
    return found.modified if found else None


def _sequence(key: str) -> int:
    match = _KEY.fullmatch(key)
    return int(match[1]) if match else 0
