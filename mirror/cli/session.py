"""Wiring: the only room that picks adapters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from mirror import locks, settings
from mirror.console import Console
from mirror.downloads.configuration import Configuration
from mirror.downloads.direct import DirectDownloader
from mirror.downloads.pip import PipDownloader
from mirror.errors import LockError, MirrorError
from mirror.files import DigestCache
from mirror.model import Level, Notice
from mirror.phases.sync import Owner
from mirror.pipeline import Choice, Pipeline, Ports, Switches
from mirror.pool import Pool
from mirror.state import State
from mirror.stores.local import LocalStore
from mirror.upstream.http import HttpUpstream
from mirror.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from mirror.locks.base import Lock
    from mirror.settings import Settings
    from mirror.stores.base import Store

_SWITCHES = ("dry_run", "allow_shrink", "rehash", "check_remote")


@dataclass(kw_only=True)
class Session:
    """One invocation: its settings, its console, and what is built from them when it is needed."""

    config: Path | None
    flags: dict[str, Any]
    console: Console

    @classmethod
    def from_flags(cls, flags: dict[str, Any]) -> Session:
        """Take the common flags out of a command's; the rest are settings and switches."""
        return cls(config=flags.pop("config"), console=Console(quiet=flags.pop("quiet")), flags=flags)

    @cached_property
    def settings(self) -> Settings:
        """The settings; keys of the config file that are none are warned of."""
        for key in settings.unknown_keys(self.config):
            where = str(self.config or settings.CONFIG)
            message = f"{key} is no setting of mirror; it is ignored"
            self.console.notice(Notice(level=Level.WARNING, code="unknown-key", message=message, where=where))
        given = {name: value or None for name, value in self.flags.items() if name in settings.Settings.model_fields}
        return settings.load(self.config, given)

    @cached_property
    def workspace(self) -> Workspace:
        """The work directory."""
        return Workspace(self.settings.work_dir)

    @cached_property
    def locks(self) -> tuple[Lock, ...]:
        """The lock files. Raise `LockError` with every problem shown when one cannot be used."""
        read = []
        for path in self.settings.project:
            try:
                read.append(locks.read(path, allow_stale=bool(self.flags.get("allow_stale"))))
            except LockError as error:
                self.console.notices(error.notices)
                raise
        self.console.notices(tuple(chain.from_iterable(lock.notices for lock in read)))
        return tuple(read)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline with its ports. Locks are only read for the phases that look at them."""
        chosen = self.settings
        digests = DigestCache(self.workspace.state / "digests.json")
        configuration = Configuration.start(index_url=chosen.index_url)
        ports = Ports(
            upstream=HttpUpstream(
                configuration=configuration,
                cache=self.workspace.state / "pages.json",
                offline=chosen.offline,
                jobs=chosen.jobs,
            ),
            wheels=PipDownloader(configuration),
            sdists=DirectDownloader(configuration, digests),
            pool=Pool(self.workspace.packages, digests),
            stores=tuple(_store(destination, digests) for destination in chosen.destination),
            progress=self.console,
        )
        return Pipeline(
            read_locks=lambda: self.locks,
            choice=Choice(
                platforms=chosen.platforms,
                pythons=chosen.python_versions,
                baseline=chosen.baseline,
                scope=chosen.scope,
                sdists=chosen.sdists,
            ),
            ports=ports,
            workspace=self.workspace,
            state=State(self.workspace.state),
            owner=Owner.here(),
            switches=Switches(**{name: bool(self.flags.get(name)) for name in _SWITCHES}),
        )


def _store(destination: str, digests: DigestCache) -> Store:
    scheme, separator, _ = destination.partition("://")
    if separator and scheme != "file":
        raise MirrorError(
            f"DESTINATION {destination} is no folder", hint="write a path such as ./site, or file:///srv/mirror"
        )
    return LocalStore.at(destination, digests)
