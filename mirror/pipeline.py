"""The pipeline: the phases in order, with the ports passed in.

Each step takes the last one's result from memory, or from the state files when it runs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from mirror.changes import Changes, Former, compare
from mirror.coverage import Coverage, Expectation
from mirror.errors import MirrorError
from mirror.layout import SlashKeys
from mirror.model import HOLES, Level, Manifest, Notice, Plan, Reason
from mirror.phases.against import former_release, names_release
from mirror.phases.consolidate import consolidate
from mirror.phases.download import download
from mirror.phases.export import export
from mirror.phases.index import index
from mirror.phases.invalidate import invalidate
from mirror.phases.plan import plan
from mirror.phases.prove import prove, trials
from mirror.phases.prune import prune, prune_pool
from mirror.phases.releases import releases
from mirror.phases.rollback import rollback
from mirror.phases.sync import sync
from mirror.phases.verify import verify
from mirror.phases.visit import SAMPLE, visit
from mirror.selection import SdistPolicy, environments, select
from mirror.state import Failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from mirror.cdn.base import Cdn
    from mirror.clients.base import Client
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
    from mirror.selection import Selection
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
    store: Store | None = None
    """What lies behind it, if that is known."""
    sample: int = SAMPLE
    """Files to read whole."""
    jobs: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The outside world."""

    upstream: Upstream
    wheels: Downloader
    sdists: Downloader
    pool: Pool
    stores: tuple[Store, ...]
    progress: Progress
    edges: tuple[Edge, ...] = ()
    address: Callable[[], Address] | None = None
    """Called when what is served is to be verified; None when nobody said where that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How a run behaves."""

    dry_run: bool = False
    allow_shrink: bool = False
    rehash: bool = False
    check_remote: bool = False
    offline: bool = False


@dataclass(kw_only=True)
class Pipeline:
    """One run over some locks. Every method is a phase; `refresh` is all of them."""

    read_locks: Callable[[], tuple[Lock, ...]]
    """Called when a phase needs the locks; the ones after `plan` work from the state files alone."""
    choice: Choice
    ports: Ports
    workspace: Workspace
    state: State
    owner: Owner
    switches: Switches

    def refresh(self) -> tuple[Coverage, ...]:
        """Bring the mirror up to date with the locks and prove it; one coverage for each destination."""
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
        return export(self.locks, self.ports.progress, dry_run=self.switches.dry_run)

    def plan(self) -> Plan:
        """Choose the files, asking each project's page once."""
        planned = plan(
            self.selections,
            self.ports.upstream,
            self.ports.pool.names(),
            self.ports.progress,
            sdists=self.choice.sdists,
        )
        self.ports.progress.notices(planned.notices)
        if not self.switches.dry_run:
            # Holes are kept for `verify`, which finds out by itself what is covered or excluded.
            self.state.save(replace(planned, cells=tuple(cell for cell in planned.cells if cell.reason in HOLES)))
        return planned

    def changes(self, planned: Plan, against: str, former: Callable[[Lock, str], Lock | None]) -> Changes:
        """Compare a plan with a release of the first destination, or with what the locks said at a git ref.

        `former` reads a lock as it was at a ref; None when it was not there. Raise `MirrorError` when nothing is known
        by the name `against`.
        """
        choice = self.choice
        if names_release(against):
            store = self.ports.stores[0]
            before = former_release(store, against, planned, self.selections, choice.platforms, choice.baseline)
        else:
            locks = tuple(old for lock in self.locks if (old := former(lock, against)) is not None)
            before = Former.of_plan(against, self._planned(locks))
        return compare(before, planned)

    def _planned(self, locks: tuple[Lock, ...]) -> Plan:
        """The plan for other locks than ours."""
        pythons = self.choice.pythons
        # One that admits no Python of today's has nothing that could be compared.
        admitting = [lock for lock in locks if any(map(lock.patches, pythons or lock.pythons()))]
        selections = tuple(chain.from_iterable(map(self._select, admitting)))
        ports = self.ports
        return plan(selections, ports.upstream, ports.pool.names(), ports.progress, sdists=self.choice.sdists)

    def download(self, planned: Plan | None = None, *, dry_run: bool = False) -> DownloadResult:
        """Fetch what the pool does not hold; `dry_run` only says how much that is."""
        dry_run = dry_run or self.switches.dry_run
        result = download(
            planned or self.state.require(Plan, "plan"),
            self.ports.pool,
            self.ports.wheels,
            self.ports.sdists,
            self.workspace.staging,
            self.ports.progress,
            dry_run=dry_run,
            offline=self.switches.offline,
            wheels_directly=self.choice.wheels_directly,
        )
        for failure in result.failures:
            # One by one, for several at once are cut short: every failed file is named (DESIGN section 3.4).
            message, where = failure.detail, failure.filename
            self.ports.progress.notice(Notice(level=Level.WARNING, code=failure.reason, message=message, where=where))
        if not dry_run:
            self.state.save(Failures(failures=result.failures))
        return result

    def consolidate(self, planned: Plan | None = None) -> Manifest:
        """Link what the plan wants and the pool holds, and write the manifest."""
        result = consolidate(
            planned or self.state.require(Plan, "plan"),
            self.ports.pool,
            self.ports.progress,
            known=self.state.load(Manifest),
            rehash=self.switches.rehash,
        )
        self.ports.progress.notices(result.notices)
        self.state.save(result.manifest)
        return result.manifest

    def index(self, manifest: Manifest | None = None) -> IndexResult:
        """Render the pages."""
        manifest = manifest or self.state.require(Manifest, "consolidate")
        return index(manifest, self.workspace.pages, self.ports.progress, dry_run=self.switches.dry_run)

    def sync(self, manifest: Manifest | None = None) -> tuple[SyncResult, ...]:
        """Publish to every destination; one that fails does not keep the next one from its release."""
        wanted = manifest or self.state.require(Manifest, "consolidate")
        return self._everywhere(lambda store: self._sync(wanted, store))

    def invalidate(self, *, everything: bool = False) -> tuple[InvalidateResult, ...]:
        """Tell every CDN what changed behind it since it last confirmed; `everything` means every page."""
        return tuple(chain.from_iterable(self._everywhere(lambda store: self._invalidate(store, (), everything))))

    def publish(self, manifest: Manifest) -> None:
        """Sync and invalidate, one destination after the other."""

        def one(store: Store) -> None:
            result = self._sync(manifest, store)
            self._invalidate(store, (*result.puts, *result.deletes))

        self._everywhere(one)

    def sbom(self, default_index: str) -> bytes:
        """Write the bill of materials; `default_index` is the one that a package URL means when it names none."""
        # The library is slow to import, and only this needs it.
        from mirror.sbom import render  # noqa: PLC0415

        manifest, planned = self.state.require(Manifest, "consolidate"), self.state.load(Plan) or Plan()
        return render(manifest, planned.files, default_index=default_index)

    def releases(self) -> tuple[ReleaseList, ...]:
        """List what every destination has kept of what was published there."""
        return self._everywhere(lambda store: releases(store, self.ports.progress))

    def rollback(self, release: str, moment: float | None = None) -> tuple[SyncResult, ...]:
        """Publish a kept release once more, by its id or by the moment at which it was current, and invalidate."""

        def one(store: Store) -> SyncResult:
            result = rollback(
                store,
                self.ports.progress,
                release=release,
                moment=moment,
                owner=self.owner,
                dry_run=self.switches.dry_run,
            )
            if not self.switches.dry_run:
                self._invalidate(store, (*result.puts, *result.deletes))
            return result

        return self._everywhere(one)

    def prune(self, retention: Retention, *, pool: bool = False) -> tuple[PruneResult, ...]:
        """Remove from every destination what no kept release needs; with `pool` old downloads here, too."""
        dry_run = self.switches.dry_run
        results = self._everywhere(
            lambda store: prune(store, self.ports.progress, retention, owner=self.owner, dry_run=dry_run)
        )
        if pool:
            planned = self.state.require(Plan, "plan")
            prune_pool(planned, self.ports.pool, self.ports.progress, grace=retention.grace, dry_run=dry_run)
        return results

    def _everywhere(self, act: Callable[[Store], _Answer]) -> tuple[_Answer, ...]:
        results: list[_Answer] = []
        errors: list[MirrorError] = []
        for store in self.ports.stores:
            try:
                results.append(act(store))
            except MirrorError as error:
                errors.append(error)
        # Where a destination cannot share the pool's files, its copies were digested: never again.
        self.ports.pool.digests.save()
        if errors:
            worst = max(errors, key=lambda error: error.exit_code)
            for other in errors:
                if other is not worst:
                    notice = Notice(level=Level.ERROR, code="sync", message=f"{other.message}; {other.hint}")
                    self.ports.progress.notice(notice)
            raise worst
        return tuple(results)

    def _sync(self, manifest: Manifest, store: Store) -> SyncResult:
        return sync(
            manifest,
            self.workspace.pages,
            self.ports.pool.consolidated,
            store,
            self.ports.progress,
            owner=self.owner,
            dry_run=self.switches.dry_run,
            allow_shrink=self.switches.allow_shrink,
            check_remote=self.switches.check_remote,
            slash_keys=self.choice.slash_keys.wanted(possible=store.slash_keys),
        )

    def _invalidate(
        self, store: Store, changed: tuple[str, ...], everything: bool = False
    ) -> tuple[InvalidateResult, ...]:
        return tuple(
            invalidate(
                changed,
                store,
                edge.cdn,
                self.ports.progress,
                wait=edge.wait,
                dry_run=self.switches.dry_run,
                everything=everything,
            )
            for edge in self.ports.edges
            if edge.store is store
        )

    def verify(self, planned: Plan | None = None, manifest: Manifest | None = None) -> tuple[Coverage, ...]:
        """Compare every destination with the locks, and what is served where installers look, if that is known."""
        planned = planned or self.state.load(Plan) or Plan()
        manifest = manifest or self.state.load(Manifest)
        expectations = self._expectations(planned)
        stored = tuple(
            verify(expectations, store, self.ports.progress, manifest=manifest, rehash=self.switches.rehash)
            for store in self.ports.stores
        )
        if self.ports.address is None:
            return stored
        try:
            return (*stored, self._visit(self.ports.address(), expectations, manifest))
        except MirrorError:
            # What is known of the stores is not lost with it.
            for coverage in stored:
                self.ports.progress.say(coverage.summary)
            raise

    def _visit(self, address: Address, expectations: tuple[Expectation, ...], manifest: Manifest | None) -> Coverage:
        return visit(
            expectations,
            address.client,
            address.url,
            self.ports.progress,
            manifest=manifest,
            store=address.store,
            sample=None if self.switches.rehash else address.sample,
            jobs=address.jobs,
        )

    def prove(
        self,
        coverages: Sequence[Coverage],
        installers: Sequence[Installer],
        served: Callable[[str], AbstractContextManager[str]],
        here: Here,
    ) -> tuple[Coverage, ...]:
        """Let installers try every environment of every lock on each destination; `served` gives one's simple index."""
        choice = self.choice
        wanted = tuple(
            chain.from_iterable(
                trials(lock, environments(lock, choice.platforms, choice.pythons, choice.baseline), choice.scope, here)
                for lock in self.locks
            )
        )
        return tuple(self._proven(coverage, wanted, installers, served) for coverage in coverages)

    def _proven(
        self,
        coverage: Coverage,
        wanted: Sequence[Trial],
        installers: Sequence[Installer],
        served: Callable[[str], AbstractContextManager[str]],
    ) -> Coverage:
        if not coverage.published:
            # One finding says that nothing is there; no installer needs to.
            return coverage
        with served(coverage.destination) as index:
            return prove(coverage, wanted, installers, index, self.ports.progress)

    @cached_property
    def locks(self) -> tuple[Lock, ...]:
        """The lock files."""
        return self.read_locks()

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """What each lock says of each package in each environment."""
        self.ports.progress.notices(tuple(chain.from_iterable(map(self._unadmitted, self.locks))))
        return tuple(chain.from_iterable(map(self._select, self.locks)))

    def _select(self, lock: Lock) -> tuple[Selection, ...]:
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
