"""Wiring: the only room that picks adapters. Each is loaded and made when it is first used."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mirror import layout, settings
from mirror.console import Console
from mirror.credentials import Credentials, redact, strip
from mirror.errors import LockError, MirrorError
from mirror.files import DigestCache
from mirror.lease import Owner
from mirror.model import Level, Notice
from mirror.pipeline import Address, Choice, Edge, Pipeline, Switches
from mirror.pool import Pool
from mirror.samples import FILES
from mirror.settings import DownloaderName
from mirror.state import State
from mirror.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mirror.clients.base import Client
    from mirror.downloads.base import Downloader
    from mirror.downloads.configuration import Configuration, Network
    from mirror.downloads.direct import DirectDownloader
    from mirror.installers.base import Installer
    from mirror.locks.base import Lock
    from mirror.settings import Settings
    from mirror.stores.base import Store
    from mirror.stores.s3 import S3Store
    from mirror.upstream.base import Upstream

_SWITCHES = ("dry_run", "allow_shrink", "rehash", "check_remote")


@dataclass(kw_only=True)
class Session:
    """One invocation: its settings, its console, and what is built from them when it is needed.

    It is the `Ports` of its pipeline.
    """

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
            message = f"{key} is no setting of mirror; it is ignored{_meant(key)}"
            self.console.notice(Notice(level=Level.WARNING, code="unknown-key", message=message, where=where))
        given = {name: value for name, value in self.flags.items() if name in settings.NAMES and value not in ("", ())}
        return settings.load(self.config, given)

    @cached_property
    def configuration(self) -> Configuration:
        """How pip reaches its indexes."""
        from mirror.downloads.configuration import Configuration

        # Only the commands that know of an index ask pip, and those do it while the locks are read.
        return Configuration.start(index_url=self.settings.index_url, at_once="index_url" in self.flags)

    @property
    def published(self) -> Path:
        """The folder that is published first. Raise `MirrorError` when the destination is none."""
        return _folder(self.settings.destination[0])

    @cached_property
    def workspace(self) -> Workspace:
        """The work directory."""
        return Workspace(self.settings.work_dir)

    def client(self, url: str) -> Client:
        """Requests to a site as installers make them, with the credentials that stand in `url`."""
        network = self.configuration.settings.network
        # A host that fails is what is looked for: it gets one more chance, not pip's five.
        return self._client(url, replace(network, retries=min(network.retries, 1)))

    def _client(self, url: str, network: Network) -> Client:
        from mirror.clients.http import HttpClient
        from mirror.web import Web

        return HttpClient(Web(network, Credentials((url,)), self.configuration.environ, self.settings.jobs))

    @cached_property
    def locks(self) -> tuple[Lock, ...]:
        """The lock files. Raise `LockError` with every problem shown when one cannot be used."""
        from mirror.locks.formats import read as read_lock

        read = []
        for path in self.settings.project:
            try:
                read.append(read_lock(path, allow_stale=bool(self.flags.get("allow_stale"))))
            except LockError as error:
                self.console.notices(error.notices)
                raise
        self.console.notices(tuple(chain.from_iterable(lock.notices for lock in read)))
        return tuple(read)

    def require_cdn(self) -> None:
        """Raise `MirrorError` when no CDN is configured."""
        if not self.settings.cloudfront_distribution_id:
            raise MirrorError(
                "there is no CDN to tell: CLOUDFRONT_DISTRIBUTION_ID is not set",
                hint="write the distribution's id into config.env; a destination without a CDN needs no invalidation",
            )

    @cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline, with this session as its ports. Locks are only read for the phases that look at them."""
        chosen = self.settings
        return Pipeline(
            read_locks=lambda: self.locks,
            choice=Choice(
                platforms=chosen.platforms,
                pythons=chosen.python_versions,
                baseline=chosen.baseline,
                scope=chosen.scope,
                sdists=chosen.sdists,
                wheels_directly=chosen.downloader is DownloaderName.DIRECT,
                slash_keys=chosen.slash_keys,
            ),
            ports=self,
            progress=self.console,
            workspace=self.workspace,
            state=State(self.workspace.state),
            owner=Owner.here(),
            switches=Switches(jobs=chosen.jobs, offline=chosen.offline, **{name: self._on(name) for name in _SWITCHES}),
        )

    # Ports

    @cached_property
    def digests(self) -> DigestCache:
        """What is known of files that were digested before."""
        return DigestCache(self.workspace.state / "digests.json")

    @cached_property
    def pool(self) -> Pool:
        """What was downloaded."""
        return Pool(self.workspace.packages, self.digests)

    @cached_property
    def upstream(self) -> Upstream:
        """The indexes that pip is configured to use, with what earlier runs read there."""
        from mirror.upstream.http import HttpUpstream

        return HttpUpstream(
            configuration=self.configuration,
            cache=self.workspace.state / "pages.json",
            offline=self.settings.offline,
            jobs=self.settings.jobs,
        )

    @cached_property
    def wheels(self) -> Downloader:
        """What fetches wheels."""
        from mirror.downloads.pip import PipDownloader

        return PipDownloader(self.configuration, self.digests, direct=self.sdists)

    @cached_property
    def sdists(self) -> DirectDownloader:
        """What fetches sdists, and wheels that need no pip."""
        from mirror.downloads.direct import DirectDownloader

        return DirectDownloader(self.configuration, self.digests)

    @property
    def stores(self) -> tuple[Store, ...]:
        """The destinations; none when only what is served is to be verified."""
        return self._opened if self._stored else ()

    @cached_property
    def _opened(self) -> tuple[Store, ...]:
        return tuple(self._store(destination) for destination in self._opening)

    @property
    def _opening(self) -> tuple[str, ...]:
        # What is served is verified without the credentials of the buckets behind it.
        return tuple(text for text in self.settings.destination if self._stored or not text.startswith("s3://"))

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The configured distribution in front of the first bucket, or of the first destination if there is none."""
        chosen = self.settings
        front = _front(self._opening, self.stores)
        if front is None or not chosen.cloudfront_distribution_id:
            return ()
        from mirror.cdn.cloudfront import CloudFront

        cdn = CloudFront.open(
            chosen.cloudfront_distribution_id,
            domain=chosen.cloudfront_domain,
            profile=chosen.aws_profile,
            region=chosen.aws_region,
        )
        return (Edge(store=front, cdn=cdn, wait=chosen.invalidation_wait),)

    @property
    def site(self) -> Callable[[], Address] | None:
        """What is served, where that is known. Raise `MirrorError` for what is no address of a mirror."""
        if self.address:
            return self._site
        if self.flags.get("sample") is not None:
            raise MirrorError(
                "--sample is about files of a site that is served, and nobody said where",
                hint="add --url, or set BASE_URL",
            )
        return None

    def _site(self) -> Address:
        # Whoever names a site and nothing else may mean another one than ours.
        stranger = self.flags.get("url") and not self.flags["destination"]
        sample = self.flags.get("sample")
        return Address(
            url=self.address,
            client=self._client(self.address, self.configuration.settings.network),
            store=None if stranger else _front(self._opening, self._opened),
            sample=FILES if sample is None else sample,
        )

    def _on(self, switch: str) -> bool:
        """Whether a switch is set; whoever wants every byte of what is served wants that of what is stored, too."""
        return bool(self.flags.get(switch) or (switch == "rehash" and self.flags.get("deep")))

    @property
    def address(self) -> str:
        """Where what is published is read as installers read it; empty when that is not known, or not wanted.

        With the credentials that stand in it. Raise `MirrorError` for what is no address of a mirror.
        """
        from mirror.phases.visit import base_of

        given = self.flags.get("url")
        if not given and "url" in self.flags and self.flags["destination"]:
            return ""
        url = given or self.settings.address
        return base_of(url) if url else ""

    @property
    def _stored(self) -> bool:
        """Whether the destinations themselves are looked at: not when only what is served is to be verified."""
        return "url" not in self.flags or bool(self.flags["destination"]) or not self.address

    def former_lock(self, lock: Lock, ref: str) -> Lock | None:
        """A lock as it was at a git ref; None when it was not there.

        Raise `MirrorError` when git knows no such ref, or cannot be asked, `LockError` for a lock that cannot be read.
        """
        from mirror.git import Revision
        from mirror.locks.formats import read as read_lock

        revision = Revision.find(lock.path.absolute().parent, ref, self.configuration.environ)
        with TemporaryDirectory(prefix="mirror-") as folder:
            names = (lock.path.name, "pyproject.toml")
            found = {name: data for name in names if (data := revision.read(name)) is not None}
            if lock.path.name not in found:
                return None
            for name, data in found.items():
                (Path(folder) / name).write_bytes(data)
            # Whether it was up to date then is nobody's business now.
            return read_lock(Path(folder) / lock.path.name, label=lock.label, allow_stale=True)

    @cached_property
    def installers(self) -> tuple[Installer, ...]:
        """The installers that can try a mirror: our own pip, and uv where there is one."""
        from mirror.installers.pip import Pip
        from mirror.installers.uv import Uv

        environ = self.configuration.environ

        def network() -> Network:
            return self.configuration.settings.network

        pip, uv = Pip.find(environ, network), Uv.find(environ, network)
        return (pip, uv) if uv else (pip,)

    @contextmanager
    def served(self, destination: str) -> Iterator[str]:
        """The simple index of a destination: of a folder on loopback while the block runs, else where installers go.

        Raise `MirrorError` when nobody said where that is.
        """
        if "://" not in destination or destination.startswith("file:"):
            from mirror.serve import serving

            with serving(_folder(destination)) as root:
                yield f"{root}simple/"
            return
        from mirror.phases.visit import base_of

        address = str(self.flags.get("url") or "") or self.settings.address
        if destination.startswith("s3://"):
            if not address:
                raise MirrorError(
                    f"where do installers find {destination}? They cannot read a bucket as such",
                    hint="set BASE_URL to the address of the mirror",
                )
            destination = strip(base_of(address))
        # A report names the address that was led to, and that without credentials; installers need them.
        yield Credentials((address,)).inside(f"{destination.rstrip('/')}/simple/")

    def _store(self, destination: str) -> Store:
        if destination.startswith("s3://"):
            from mirror.stores.probe import ProbedStore

            return ProbedStore(self.bucket(destination, self.digests), State(self.workspace.state), self.console)
        from mirror.stores.local import LocalStore

        return LocalStore(self.folder(destination), self.digests, name=destination)

    def folder(self, destination: str) -> Path:
        """The folder that a destination names. Raise `MirrorError` when it is none, or one that we work in."""
        folder = _folder(destination)
        _refuse_overlap(folder, self.workspace)
        return folder

    def bucket(self, url: str, digests: DigestCache | None = None, *, attempts: int = 0) -> S3Store:
        """The bucket that a destination names, nothing known of it. Raise `MirrorError` for what names none.

        `attempts` is how often a request is sent at most; 0 leaves that to the store.
        """
        from mirror.stores.s3 import S3Options, S3Store

        chosen = self.settings
        options = S3Options(
            region=chosen.aws_region,
            profile=chosen.aws_profile,
            endpoint_url=chosen.endpoint_url,
            owner=chosen.bucket_owner,
            jobs=chosen.jobs,
        )
        if attempts:
            options = replace(options, attempts=attempts)
        return S3Store.open(url, options, digests or DigestCache())


def _meant(key: str) -> str:
    import difflib

    known = [name.upper() for name in settings.NAMES]
    return "".join(f"; did you mean {name}?" for name in difflib.get_close_matches(key.upper(), known, n=1))


def _front(destinations: Sequence[str], stores: Sequence[Store]) -> Store | None:
    """What is served to installers: the first bucket, or the first destination where there is none."""
    buckets = (place for place, destination in enumerate(destinations) if destination.startswith("s3://"))
    return stores[next(buckets, 0)] if stores else None


def _folder(destination: str) -> Path:
    scheme, separator, rest = destination.partition("://")
    if destination.strip() and not separator:
        return Path(destination)
    if scheme == "file" and rest.startswith("/"):
        from urllib.request import url2pathname

        return Path(url2pathname(rest))
    raise MirrorError(
        f"DESTINATION {redact(destination)!r} is no folder and no bucket",
        hint="write a path such as ./site, file:///srv/mirror, or s3://bucket/prefix",
    )


def _refuse_overlap(destination: Path, workspace: Workspace) -> None:
    """Pages that are published where they are made would be seen before the files that they list (DESIGN rule 3)."""
    root = destination.resolve()
    published = [root / key for key in (layout.PACKAGES, layout.PROJECTS, layout.SIMPLE, layout.STATE)]
    for own in (workspace.packages.resolve(), workspace.pages.resolve(), workspace.state.resolve()):
        if any(own in (place, *place.parents) or place in own.parents for place in published):
            raise MirrorError(
                f"DESTINATION {destination} and the work directory {workspace.root} would share {own}",
                hint="publish to a folder of its own, such as ./site, or choose another --work-dir",
            )
