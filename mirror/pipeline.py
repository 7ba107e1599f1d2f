"""The pipeline: the phases in order, with the ports passed in.

Each step takes the last one's result from memory, or from the state files when it runs alone. It imports its phase when
it is called: a run loads nothing that it does not use.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mirror.errors import MirrorError
from mirror.layout import SlashKeys
from mirror.model import HOLES, Level, Manifest, Notice, Plan, Reason
from mirror.state import Failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from mirror.cdn.base import Cdn
    from mirror.changes import Changes
    from mirror.clients.base import Client
    from mirror.coverage import Coverage, Expectation
    from mirror.downloads.base import Downloader
    from mirror.installers.base import Here, Installer, Trial
    from mirror.lease import Owner
    from mirror.locks.base import Lock
    from mirror.model import Scope
    from mirror.phases.download import DownloadResult
    from mirror.phases.export import ExportResult
    from mirror.phases.index import IndexResult
    from mirror.phases.invalidate import InvalidateResult
    from mirror.phases.prune import PruneResult, Retention
    from mirror.phases.releases import ReleaseList
    from mirror.pool import Pool
    from mirror.progress import Progress
    from mirror.publication import SyncResult
    from mirror.selection import SdistPolicy, Selection
    from mirror.state import State
    from mirror.stores.base import Store
    from mirror.targets import Baseline, Target
    from mirror.upstream.base import Upstream
    from mirror.workspace import Workspace

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of the locks is mirrored, and for whom."""

    platforms: tuple[Target, ...]
    pythons: tuple[str, ...]
    """Empty: every minor that a lock admits."""
    baseline: Baseline
    scope: Scope
    sdists: SdistPolicy
    wheels_directly: bool = False
    """Fetch wheels by plain HTTP instead of by pip."""
    slash_keys: SlashKeys = SlashKeys.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A CDN in front of one of the stores."""

    store: Store
    cdn: Cdn
    wait: float
    """Seconds for which its confirmation is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where installers find what is published."""

    url: str
    client: Client
    store: Store | None
    """What lies behind it, if that is known."""
    sample: int
    """Files to read whole."""


class Ports(Protocol):
    """The outside world. Each part is made when a phase first asks for it, so that none fails for want of another."""

    @property
    def upstream(self) -> Upstream:
        """Where projects are looked up."""

    @property
    def wheels(self) -> Downloader:
        """What fetches wheels."""

    @property
    def sdists(self) -> Downloader:
        """What fetches sdists, and wheels that need no pip."""

    @property
    def pool(self) -> Pool:
        """What was downloaded."""

    @property
    def stores(self) -> tuple[Store, ...]:
        """The destinations. Raise `MirrorError` for one that makes no sense; none is asked anything yet."""

    @property
    def edges(self) -> tuple[Edge, ...]:
        """The CDNs in front of them."""

    @property
    def site(self) -> Callable[[], Address] | None:
        """Called when what is served is to be verified; None when nobody said where that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How a run behaves."""

    jobs: int = 16
    """Requests to a destination, or to the site, at once."""
    dry_run: bool = False
    allow_shrink: bool = False
    rehash: bool = False
    check_remote: bool = False
    offline: bool = False


class Incomplete(MirrorError):
    """The worst error that a destination ended in, when others did not; `answers` is what those gave."""

    def __init__(self, worst: MirrorError, answers: tuple[Any, ...]) -> None:
        super().__init__(worst.message, hint=worst.hint)
        self.exit_code = worst.exit_code
        self.worst = worst
        self.answers = answers


@contextmanager
def known(act: Callable[[], tuple[_Answer, ...]]) -> Iterator[tuple[_Answer, ...]]:
    """What `act` learns of the destinations, for the block to hand out; what it could not learn is raised after it."""
    try:
        answers = act()
    except Incomplete as incomplete:
        yield incomplete.answers
        raise
    yield answers


@dataclass(kw_only=True)
class Pipeline:
    """One run over some locks. Every method is a phase; `refresh` is all of them."""

    read_locks: Callable[[], tuple[Lock, ...]]
    """Called when a phase needs the locks; the ones after `plan` work from the state files alone."""
    choice: Choice
    ports: Ports
    progress: Progress
    workspace: Workspace
    state: State
    owner: Owner
    switches: Switches

    def refresh(self) -> tuple[Coverage, ...]:
        """Bring the mirror up to date with the locks and prove it; one coverage for each destination."""
        # What is wrong with where it goes should not be noticed after an hour of downloads.
        _ = self.ports.stores, self.ports.edges, self.ports.site
        self.export()
        planned = self.plan()
        self.download(planned)
        manifest = self.consolidate(planned)
        self.index(manifest)
        self.publish(manifest)
        return self.verify(planned, manifest)

    def preview(self) -> Plan:
        """What a refresh would fetch; nothing is written but what was read from upstream."""
        self.export()
        return self.plan()

    def export(self) -> ExportResult:
        """Write the requirements files beside each lock."""
        from mirror.phases.export import export

        return export(self.locks, self.progress, dry_run=self.switches.dry_run)

    def plan(self) -> Plan:
        """Choose the files, asking each project's page once."""
        planned = self._planned(self.selections)
        self.progress.notices(planned.notices)
        if not self.switches.dry_run:
            # Holes are kept for `verify`, which finds out by itself what is covered or excluded.
            self.state.save(replace(planned, cells=tuple(cell for cell in planned.cells if cell.reason in HOLES)))
        return planned

    def changes(self, planned: Plan, against: str, former: Callable[[Lock, str], Lock | None]) -> Changes:
        """Compare a plan with a release of the first destination, or else with what the locks said at a git ref.

        `former` reads a lock as it was at a ref; None when it was not there. Raise `MirrorError` when nothing is known
        by the name `against`.
        """
        from mirror.changes import Former, compare
        from mirror.phases.against import former_release, names_release

        choice, before = self.choice, None
        if names_release(against):
            store = self.ports.stores[0]
            before = former_release(store, against, planned, self.selections, choice.platforms, choice.baseline)
        if before is None:
            locks = tuple(old for lock in self.locks if (old := former(lock, against)) is not None)
            before = Former.of_plan(against, self._planned(self._former(locks)))
        return compare(before, planned)

    def _former(self, locks: tuple[Lock, ...]) -> tuple[Selection, ...]:
        """What other locks than ours say; one that admits no Python of today's has nothing that could be compared."""
        pythons = self.choice.pythons
        admitting = [lock for lock in locks if any(map(lock.patches, pythons or lock.pythons()))]
        return tuple(chain.from_iterable(map(self._select, admitting)))

    def _planned(self, selections: tuple[Selection, ...]) -> Plan:
        from mirror.phases.plan import plan

        ports = self.ports
        return plan(selections, ports.upstream, ports.pool.names(), self.progress, sdists=self.choice.sdists)

    def download(self, planned: Plan | None = None, *, dry_run: bool = False) -> DownloadResult:
        """Fetch what the pool does not hold; `dry_run` only says how much that is."""
        from mirror.phases.download import download

        dry_run = dry_run or self.switches.dry_run
        result = download(
            planned or self.state.require(Plan, "plan"),
            self.ports.pool,
            self.ports.wheels,
            self.ports.sdists,
            self.workspace.staging,
            self.progress,
            dry_run=dry_run,
            offline=self.switches.offline,
            wheels_directly=self.choice.wheels_directly,
        )
        for failure in result.failures:
            # One by one, for several at once are cut short: every failed file is named (DESIGN section 3.4).
            message, where = failure.detail, failure.filename
            self.progress.notice(Notice(level=Level.WARNING, code=failure.reason, message=message, where=where))
        if not dry_run:
            self.state.save(Failures(failures=result.failures))
        return result

    def consolidate(self, planned: Plan | None = None) -> Manifest:
        """Link what the plan wants and the pool holds, and write the manifest."""
        from mirror.phases.consolidate import consolidate

        result = consolidate(
            planned or self.state.require(Plan, "plan"),
            self.ports.pool,
            self.progress,
            known=self.state.load(Manifest),
            rehash=self.switches.rehash,
        )
        self.progress.notices(result.notices)
        self.state.save(result.manifest)
        return result.manifest

    def index(self, manifest: Manifest | None = None) -> IndexResult:
        """Render the pages."""
        from mirror.phases.index import index

        manifest = manifest or self.state.require(Manifest, "consolidate")
        return index(manifest, self.workspace.pages, self.progress, dry_run=self.switches.dry_run)

    def sync(self, manifest: Manifest | None = None) -> tuple[SyncResult, ...]:
        """Publish to every destination; one that fails does not keep the next one from its release."""
        # A destination that is none comes before files that are not there yet: with another one they might be.
        _ = self.ports.stores
        wanted = manifest or self.state.require(Manifest, "consolidate")
        return self._everywhere(lambda store: self._sync(wanted, store))

    def invalidate(self, *, everything: bool = False) -> tuple[InvalidateResult, ...]:
        """Tell every CDN what changed behind it since it last confirmed; `everything` means every page."""
        return tuple(
            chain.from_iterable(self._everywhere(lambda store: self._invalidate(store, everything=everything)))
        )

    def publish(self, manifest: Manifest) -> None:
        """Sync and invalidate, one destination after the other."""

        def one(store: Store) -> None:
            self._invalidate(store, release=self._sync(manifest, store).current)

        try:
            self._everywhere(one)
        except Incomplete as incomplete:
            # Nothing is proven yet that could be handed out.
            raise incomplete.worst from incomplete

    def sbom(self, default_index: str) -> bytes:
        """Write the bill of materials; `default_index` is the one that a package URL means when it names none."""
        from mirror.sbom import render

        manifest, planned = self.state.require(Manifest, "consolidate"), self.state.load(Plan) or Plan()
        return render(manifest, planned.files, default_index=default_index)

    def releases(self) -> tuple[ReleaseList, ...]:
        """List what every destination has kept of what was published there."""
        from mirror.phases.releases import releases

        return self._everywhere(lambda store: releases(store, self.progress, jobs=self.switches.jobs))

    def rollback(self, release: str, moment: float | None = None) -> tuple[SyncResult, ...]:
        """Publish a kept release once more, by its id or by the moment at which it was current, and invalidate."""
        from mirror.phases.rollback import rollback

        def one(store: Store) -> SyncResult:
            result = rollback(
                store,
                self.progress,
                release=release,
                moment=moment,
                owner=self.owner,
                dry_run=self.switches.dry_run,
                jobs=self.switches.jobs,
            )
            if not self.switches.dry_run:
                self._invalidate(store, release=result.current)
            return result

        return self._everywhere(one)

    def prune(self, retention: Retention, *, pool: bool = False) -> tuple[PruneResult, ...]:
        """Remove from every destination what no kept release needs; with `pool` old downloads here, too."""
        from mirror.phases.prune import prune, prune_pool

        dry_run, jobs = self.switches.dry_run, self.switches.jobs
        results = self._everywhere(
            lambda store: prune(store, self.progress, retention, owner=self.owner, dry_run=dry_run, jobs=jobs)
        )
        if pool:
            planned = self.state.require(Plan, "plan")
            prune_pool(planned, self.ports.pool, self.progress, grace=retention.grace, dry_run=dry_run)
        return results

    def _everywhere(self, act: Callable[[Store], _Answer]) -> tuple[_Answer, ...]:
        """Act on every destination. Raise what `_all` raises."""
        try:
            return self._all(partial(act, store) for store in self.ports.stores)
        finally:
            # Where a destination cannot share the pool's files, its copies were digested: never again.
            self.ports.pool.digests.save()

    def _all(self, acts: Iterable[Callable[[], _Answer]]) -> tuple[_Answer, ...]:
        """The answers to all; one that fails does not keep the next from its own.

        Raise the worst `MirrorError` of those that failed, as `Incomplete` when others did not; the rest are notices.
        """
        answers: list[_Answer] = []
        errors: list[MirrorError] = []
        for act in acts:
            try:
                answers.append(act())
            except MirrorError as error:
                errors.append(error)
        if not errors:
            return tuple(answers)
        worst = max(errors, key=lambda error: error.exit_code)
        for other in errors:
            if other is not worst:
                message = f"{other.message}; {other.hint}"
                self.progress.notice(Notice(level=Level.ERROR, code="destination", message=message))
        if answers:
            raise Incomplete(worst, tuple(answers)) from worst
        raise worst

    def _sync(self, manifest: Manifest, store: Store) -> SyncResult:
        from mirror.phases.sync import sync

        return sync(
            manifest,
            self.workspace.pages,
            self.ports.pool.consolidated,
            store,
            self.progress,
            owner=self.owner,
            dry_run=self.switches.dry_run,
            allow_shrink=self.switches.allow_shrink,
            jobs=self.switches.jobs,
            check_remote=self.switches.check_remote,
            slash_keys=self.choice.slash_keys.wanted(possible=store.slash_keys),
        )

    def _invalidate(self, store: Store, *, release: str = "", everything: bool = False) -> tuple[InvalidateResult, ...]:
        from mirror.phases.invalidate import invalidate

        return tuple(
            invalidate(
                store,
                edge.cdn,
                self.progress,
                wait=edge.wait,
                release=release,
                dry_run=self.switches.dry_run,
                everything=everything,
            )
            for edge in self.ports.edges
            if edge.store is store
        )

    def verify(self, planned: Plan | None = None, manifest: Manifest | None = None) -> tuple[Coverage, ...]:
        """Compare every destination with the locks, and what is served where installers look, if that is known."""
        expectations = self._expectations(planned or self.state.load(Plan) or Plan())
        manifest = manifest or self.state.load(Manifest)
        acts = [partial(self._verify, expectations, manifest, store) for store in self.ports.stores]
        if self.ports.site:
            acts.append(partial(self._visit, expectations, manifest, self.ports.site))
        return self._all(acts)

    def _verify(self, expectations: tuple[Expectation, ...], manifest: Manifest | None, store: Store) -> Coverage:
        from mirror.phases.verify import verify

        rehash, jobs = self.switches.rehash, self.switches.jobs
        return verify(expectations, store, self.progress, manifest=manifest, rehash=rehash, jobs=jobs)

    def _visit(
        self, expectations: tuple[Expectation, ...], manifest: Manifest | None, site: Callable[[], Address]
    ) -> Coverage:
        from mirror.phases.visit import visit

        address = site()
        return visit(
            expectations,
            address.client,
            address.url,
            self.progress,
            manifest=manifest,
            store=address.store,
            sample=None if self.switches.rehash else address.sample,
            jobs=self.switches.jobs,
        )

    def prove(
        self,
        coverages: Sequence[Coverage],
        installers: Sequence[Installer],
        served: Callable[[str], AbstractContextManager[str]],
        here: Here,
    ) -> tuple[Coverage, ...]:
        """Let installers try every environment of every lock on each destination; `served` gives one's simple index.

        Where a bucket is served is tried once, though both may have been looked at.
        """
        from mirror.phases.prove import trials
        from mirror.selection import environments

        choice = self.choice
        wanted = tuple(
            chain.from_iterable(
                trials(lock, environments(lock, choice.platforms, choice.pythons, choice.baseline), choice.scope, here)
                for lock in self.locks
            )
        )
        tried: set[str] = set()
        # What is served was looked at last, and it is the place of which its results are told.
        proven = [self._proven(coverage, wanted, installers, served, tried) for coverage in reversed(coverages)]
        return tuple(reversed(proven))

    def _proven(
        self,
        coverage: Coverage,
        wanted: Sequence[Trial],
        installers: Sequence[Installer],
        served: Callable[[str], AbstractContextManager[str]],
        tried: set[str],
    ) -> Coverage:
        from mirror.phases.prove import prove

        if not coverage.published:
            # One finding says that nothing is there; no installer needs to.
            return coverage
        with served(coverage.destination) as index:
            if coverage.destination.startswith("s3://") and index in tried:
                message = "installers tried it where it is served"
                self.progress.notice(
                    Notice(level=Level.NOTE, code="not-tried", message=message, where=coverage.destination)
                )
                return coverage
            tried.add(index)
            return prove(coverage, wanted, installers, index, self.progress)

    @cached_property
    def locks(self) -> tuple[Lock, ...]:
        """The lock files."""
        return self.read_locks()

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """What each lock says of each package in each environment."""
        self.progress.notices(tuple(chain.from_iterable(map(self._unadmitted, self.locks))))
        return tuple(chain.from_iterable(map(self._select, self.locks)))

    def _select(self, lock: Lock) -> tuple[Selection, ...]:
        from mirror.selection import environments, select

        choice = self.choice
        return select(lock, environments(lock, choice.platforms, choice.pythons, choice.baseline), choice.scope)

    def _unadmitted(self, lock: Lock) -> Iterator[Notice]:
        for minor in self.choice.pythons:
            if not lock.patches(minor):
                message = f"it does not admit Python {minor}, which was asked for, so nothing is mirrored for that"
                yield Notice(level=Level.WARNING, code="python-not-admitted", message=message, where=lock.label)

    def _expectations(self, planned: Plan) -> tuple[Expectation, ...]:
        """The question of `plan` again, with what is known of why an answer may be missing."""
        failures = self.state.load(Failures) or Failures()
        failed = {failure.filename: (failure.reason, failure.detail) for failure in failures.failures}
        unplanned: dict[tuple[str, str, str, str, str], tuple[Reason, str]] = {
            (cell.lock, cell.package, cell.version, cell.target, cell.python): (cell.reason, cell.detail)
            for cell in planned.cells
            if cell.reason in HOLES
        }
        return tuple(_expectation(selection, failed, unplanned) for selection in self.selections)


def _expectation(
    selection: Selection,
    failed: dict[str, tuple[Reason, str]],
    unplanned: dict[tuple[str, str, str, str, str], tuple[Reason, str]],
) -> Expectation:
    from mirror.coverage import Expectation

    package, environment = selection.package, selection.environment
    key = (selection.lock.label, package.name, str(package.version), environment.target.name, environment.python)
    fallback = unplanned.get(key)
    if fallback is None and selection.verdict is None:
        candidates = selection.wheels or selection.sdists
        fallback = next((failed[file.filename] for file in candidates if file.filename in failed), None)
        if fallback is None and not selection.wheels:
            fallback = selection.shortfall, ""
    reason, detail = fallback or (Reason.NOT_PUBLISHED, "")
    return Expectation(
        lock=selection.lock.label,
        package=package.name,
        version=str(package.version),
        target=environment.target.name,
        python=environment.python,
        candidates=selection.wheels,
        sdists=selection.sdists,
        verdict=selection.verdict,
        fallback=reason,
        detail=detail,
    )
