"""Invalidate: make a CDN forget the pages that changed, and wait until it has.

What is owed follows from all releases since the one that the CDN is known to serve, which the ledger in the store
names, and from the pages that publishers noted there. So it does not matter who published or repaired, what ended
early, or whether it was a rollback. Artifacts are left out: their bytes never change under their name, and one that no
page lists any more may stay cached.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.cdn.base import NotConfirmed
from mirror.cdn.ledger import Ledger
from mirror.cdn.paths import collapsed, cost, crowded, merged, paths, whole
from mirror.compare import compare
from mirror.errors import ConflictError, IntegrityError
from mirror.layout import POINTER, edge_key, headers, release_key
from mirror.release import Kind, Pointer, Release, current, kind
from mirror.stores.base import ABSENT, Body

if TYPE_CHECKING:
    from mirror.cdn.base import Cdn, Ticket
    from mirror.progress import Progress
    from mirror.stores.base import Store

_ATTEMPTS = 5
"""How often to begin again when others write the ledger at the same moment."""
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidateResult:
    """What was asked for; in a dry run, what would be."""

    paths: tuple[str, ...] = ()
    """Sorted; none when the CDN is known to serve the current release."""
    confirmed: bool = True
    """Whether the CDN serves the current release now, as far as it is known."""


def invalidate(
    store: Store,
    cdn: Cdn,
    progress: Progress,
    *,
    wait: float,
    release: str = "",
    dry_run: bool = False,
    everything: bool = False,
    interval: float = 3.0,
) -> InvalidateResult:
    """Bring what `cdn` serves of `store` up to the current release.

    `release` is the id of the current one, as far as this run has just seen it; empty: the store is asked. With
    `everything` all pages are invalidated, whatever the ledger says. The CDN is asked every `interval` seconds, for
    `wait` seconds at most, whether it is done; with 0 it is not waited for, and the next run looks.

    Raise `NotConfirmed` when it is not done in time, `RemoteError` when the CDN or the store refuses, and
    `ConflictError` when others invalidate at the same moment. In each case the ledger keeps what is owed.
    """
    edge = _Edge(store=store, cdn=cdn)
    for _ in range(_ATTEMPTS):
        debt = edge.debt(release or edge.current(), everything=everything)
        if debt is None or not debt.ledger.paths:
            return _nothing(edge, debt, progress, dry_run=dry_run)
        if dry_run:
            return _preview(edge, debt, progress)
        try:
            etag = edge.write(debt)
        except ConflictError:
            # Others are at work, so what this run has seen may be old.
            release = ""
            continue
        return _ask(edge, debt, etag, progress, wait, interval)
    raise ConflictError(
        f"{store.name}: {edge.key} changes all the time", hint="others invalidate there just now: run again"
    )


def _nothing(edge: _Edge, debt: _Debt | None, progress: Progress, *, dry_run: bool) -> InvalidateResult:
    if debt and not dry_run:
        # A release that changed no page is noted, so that it is not compared again.
        edge.confirm(debt, debt.etag)
    progress.say(f"{edge.cdn.name}: no page changed, nothing to invalidate")
    return InvalidateResult()


def _preview(edge: _Edge, debt: _Debt, progress: Progress) -> InvalidateResult:
    progress.say(f"{edge.cdn.name}: would invalidate {cost(len(debt.ledger.paths))}")
    for path in _some(debt.ledger.paths):
        progress.say(f"  {path}")
    return InvalidateResult(paths=debt.ledger.paths, confirmed=False)


def _ask(edge: _Edge, debt: _Debt, etag: str, progress: Progress, wait: float, interval: float) -> InvalidateResult:
    cdn, asked = edge.cdn, debt.ledger.paths
    progress.say(f"{cdn.name}: invalidating {cost(len(asked))}{', asked for before' if debt.again else ''}")
    ticket = cdn.invalidate(asked, debt.ledger.reference)
    ticket = _wait(ticket, cdn, progress, wait, interval)
    if not ticket.completed and wait:
        raise NotConfirmed(
            f"{cdn.name} has not confirmed {', '.join(ticket.pending)} within {wait:g} seconds",
            hint="the new release is published and the edges follow; run `mirror invalidate` to wait on, at no cost, "
            "or raise INVALIDATION_WAIT",
        )
    if ticket.completed:
        edge.confirm(debt, etag)
        progress.say(f"{cdn.name}: confirmed, every edge serves release {debt.release}")
    else:
        progress.say(f"{cdn.name}: not waited for; the next run looks whether it is done")
    return InvalidateResult(paths=asked, confirmed=ticket.completed)


def _wait(ticket: Ticket, cdn: Cdn, progress: Progress, wait: float, interval: float) -> Ticket:
    deadline = time.monotonic() + wait
    with progress.task(f"Waiting for {cdn.name}", items=len(ticket.ids)) as task:
        task.advance(len(ticket.ids) - len(ticket.pending))
        while ticket.pending and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(interval, left))
            before, ticket = ticket, cdn.status(ticket)
            task.advance(len(before.pending) - len(ticket.pending))
    return ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class _Debt:
    """What a CDN is owed."""

    release: str
    """Id of the release that is current."""
    ledger: Ledger
    """As it must be before the CDN is asked."""
    etag: str
    """Of the ledger that is stored; `ABSENT` when there is none."""
    again: bool = False
    """Whether this very invalidation was asked for before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    """A CDN in front of a store, and the ledger between them."""

    store: Store
    cdn: Cdn

    @property
    def key(self) -> str:
        return edge_key(self.cdn.id)

    def current(self) -> str:
        """The id of the current release; empty when nothing was published there yet."""
        pointer = self.store.read(POINTER)
        return Pointer.parse(pointer[0], f"{self.store.name}: {POINTER}").release if pointer else ""

    def debt(self, release: str, *, everything: bool) -> _Debt | None:
        """What is owed when `release` is current; None when it is nothing, which takes one small read to find out."""
        if not release:
            return None
        found = self.store.read(self.key)
        if found is None:
            # What the edges hold of such a store is unknown.
            return _Debt(release=release, ledger=Ledger.opened().owing(release, self._whole()), etag=ABSENT)
        ledger, etag = Ledger.parse(found[0], f"{self.store.name}: {self.key}"), found[1]
        if everything:
            return _Debt(release=release, ledger=ledger.owing(release, self._whole()), etag=etag)
        if not ledger.pages and ledger.paths and ledger.asked == release:
            return _Debt(release=release, ledger=ledger, etag=etag, again=True)
        if not ledger.pages and not ledger.paths and ledger.release == release:
            return None
        return _Debt(release=release, ledger=ledger.owing(release, self._stale(ledger, release)), etag=etag)

    def _stale(self, ledger: Ledger, release: str) -> tuple[str, ...]:
        differing = self._differing(ledger.release, release)
        if differing is None:
            return self._whole()
        spelled = merged({*paths((*differing, *ledger.pages), self.cdn.base), *ledger.paths})
        if crowded(spelled, self.cdn.base):
            return collapsed(spelled, self.cdn.base, self.cdn.page_tag())
        return spelled

    def _differing(self, before: str, now: str) -> set[str] | None:
        """The pages that any release since `before` changed; None when that cannot be known any more.

        Not only those in which the last one differs: what a release in between brought may be cached as well.
        """
        changed: set[str] = set()
        release = self._current() if before != now else None
        while release and release.id != before:
            earlier = self._former(release.previous)
            if earlier is None:
                return None
            odd = compare(_pages_of(release), _pages_of(earlier))
            changed.update(odd.missing, odd.differing, odd.extraneous)
            release = earlier
        return changed

    def _former(self, release: str) -> Release | None:
        """A release that was current once; None when its manifest was pruned."""
        if not release:
            return None
        key = release_key(release)
        found = self.store.read(key)
        return Release.parse(found[0], f"{self.store.name}: {key}") if found else None

    def _current(self) -> Release:
        found = current(self.store.read, self.store.name)
        if found is None:
            raise IntegrityError(
                f"{self.store.name}: {POINTER} has just vanished", hint="find out who else changes that store"
            )
        return found.release

    def _whole(self) -> tuple[str, ...]:
        return whole(self.cdn.base, self.cdn.page_tag())

    def write(self, debt: _Debt) -> str:
        """Keep what is owed, before it is asked for. Raise `ConflictError` when somebody else has just written."""
        return debt.etag if debt.again else self._put(debt.ledger, debt.etag)

    def confirm(self, debt: _Debt, etag: str) -> None:
        """Cross out what is owed, unless somebody else has taken it over into a debt of their own."""
        try:
            self._put(debt.ledger.settled(debt.release), etag)
        except ConflictError:
            return

    def _put(self, ledger: Ledger, expect: str) -> str:
        data = ledger.data
        body = Body(data, hashlib.sha256(data).hexdigest(), len(data))
        return self.store.put(self.key, body, headers(self.key), expect=expect)


def _pages_of(release: Release) -> dict[str, object]:
    return {key: found for key, found in release.objects.items() if not (kind(key) or Kind.STATE).immutable}


def _some(spelled: tuple[str, ...]) -> tuple[str, ...]:
    rest = len(spelled) - _SHOWN
    return (*spelled[:_SHOWN], f"and {rest:,} more") if rest > 0 else spelled
