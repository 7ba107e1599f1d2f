"""Looking at this machine: what `mirror doctor` says without an address, and what `mirror setup` begins with."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mirror.clients.base import TooLarge
from mirror.credentials import Credentials, redact, strip
from mirror.doctor.machine import (
    Checkup,
    Line,
    broken,
    doubtful,
    good,
    judge_bucket,
    judge_index,
    judge_room,
    judge_versions,
)
from mirror.doctor.visit import Page
from mirror.doctor.wire import PIP, Exchange
from mirror.errors import MirrorError
from mirror.files import DigestCache
from mirror.layout import POINTER
from mirror.model import Plan
from mirror.pool import Pool
from mirror.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mirror.cli.session import Session
    from mirror.clients.base import Client

_ATTEMPTS = 2
"""How often a store is asked: it is tried out, not relied on."""
_ASKED_FOR = ("pip",)
"""What every complete index has."""
_LARGEST_PAGE = 4 << 20
"""Bytes of a page that is read; of a larger one it is enough to know what it is."""


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, as a session is configured to use it."""

    session: Session

    def look(self, *, destinations: bool = True) -> Checkup:
        """Look at everything; without `destinations` not at where the mirror will be published."""
        return Checkup(tuple(self._lines(destinations=destinations)))

    def _lines(self, *, destinations: bool) -> Iterator[Line]:
        yield from judge_versions(platform.python_version(), version("pip"))
        yield from _tried("Locks", self._locks)
        yield from _tried("Index", self._indexes)
        yield from _tried("Disk", self._disk)
        yield from _tried("AWS", self._identity)
        for destination in self.session.settings.destination if destinations else ():
            act = self._bucket if destination.startswith("s3://") else self._folder
            yield from _tried(redact(destination), lambda act=act, name=destination: act(name))  # type: ignore[misc]

    def _locks(self) -> Iterator[Line]:
        for lock in self.session.locks:
            yield good(lock.label, f"{lock.format}, {len(lock.packages)} packages")

    # Where files come from

    def _indexes(self) -> Iterator[Line]:
        configured = self.session.configuration.settings
        for index in configured.indexes:
            yield from _tried("Index", partial(self._index, index))
        if len(configured.indexes) > 1:
            yield doubtful(
                "pip",
                "it is configured with an extra index; of two that have a project, the higher version wins",
                "keep one index: pip config unset global.extra-index-url; mirror takes what the lock pins either way",
            )
        if configured.find_links:
            yield doubtful(
                "pip", "it is configured with find-links, where any file may come from",
                "pip config unset global.find-links, unless you mean it",
            )  # fmt: skip

    def _index(self, index: str) -> Iterator[Line]:
        from mirror.clients.http import HttpClient
        from mirror.web import Web

        shown, scheme = strip(index), urlsplit(index).scheme
        if scheme == "file":
            yield _of_files(index)
            return
        if scheme not in ("http", "https"):
            raise MirrorError(
                f"{shown}: nothing is fetched by {scheme}", hint="name it like https://index.example/simple"
            )
        chosen, environ = self.session.configuration.settings, self.session.configuration.environ
        # Its own credentials only: an index that cannot be asked hides no other.
        with closing(Web(chosen.network, Credentials((index,), environ), environ, 1)) as web:
            if web.plain_text_refused(index):
                raise MirrorError(
                    f"{shown} is plain http",
                    hint="use https, or pip config set global.trusted-host for a host you trust",
                )
            if self.session.settings.offline:
                yield good("Index", f"{shown}, not asked: OFFLINE")
            else:
                yield judge_index(shown, self._pages(HttpClient(web), shown.rstrip("/")))

    def _pages(self, client: Client, index: str) -> Iterator[Page]:
        """What an index says of projects that it should have, and of all of them."""
        for part in (*_ASKED_FOR, *self._locked(), ""):
            place = f"{index}/{part}/" if part else f"{index}/"
            try:
                answer = client.ask(place, headers={"Accept": PIP["Accept"]}, limit=_LARGEST_PAGE, follow=True)
            except TooLarge as error:
                answer = error.answer
            yield Page(exchange=Exchange(url=place, hops=(answer,)))

    def _locked(self) -> Sequence[str]:
        """A project that is wanted of an index; none when no lock can be read."""
        with suppress(MirrorError):
            return [package.name for lock in self.session.locks for package in lock.packages][:1]
        return []

    # Where it is made, and where it goes

    def _disk(self) -> Iterator[Line]:
        root = self.session.settings.work_dir
        workspace = self.session.workspace
        plan = State(workspace.state).load(Plan)
        needed = None
        if plan is not None:
            held = Pool(workspace.packages, DigestCache()).names()
            sizes = [file.size for file in plan.files if file.filename not in held]
            # Of one file whose size nobody told there may be more than of all others.
            needed = None if None in sizes else sum(size or 0 for size in sizes)
        _require_writable(_existing(root), "--work-dir")
        yield judge_room(str(root), shutil.disk_usage(_existing(root)).free, needed)

    def _identity(self) -> Iterator[Line]:
        """Who we are for AWS; stores that only speak its language are asked by using them."""
        chosen = self.session.settings
        buckets = [name for name in chosen.destination if name.startswith("s3://") and "endpoint_url=" not in name]
        on_aws = bool(buckets) and not chosen.endpoint_url
        if not (on_aws or chosen.infra_mode or chosen.cloudfront_distribution_id):
            return
        from mirror.infra.aws import Account

        account = Account(region=chosen.aws_region, profile=chosen.aws_profile)
        by = f"profile {chosen.aws_profile}" if chosen.aws_profile else "the default credentials"
        yield good("AWS", f"account {account.number} by {by}, region {account.where or 'not set'}")

    def _bucket(self, destination: str) -> Iterator[Line]:
        from mirror.stores.probe import probe

        store = self.session.bucket(destination, attempts=_ATTEMPTS)
        # First a question that changes nothing: its answer says best why nobody is let in.
        store.read(POINTER)
        yield judge_bucket(store.name, probe(store))

    def _folder(self, destination: str) -> Iterator[Line]:
        folder = self.session.folder(destination)
        _require_writable(_existing(folder), "--destination")
        if _linkable(_existing(self.session.workspace.packages), _existing(folder)):
            yield good(destination, "writable, files are shared with packages/ by hard links")
        else:
            yield doubtful(
                destination, "writable, but on another file system: every file is kept twice",
                "put --work-dir and the destination on one file system to save the space",
            )  # fmt: skip


def _tried(subject: str, act: Callable[[], Iterator[Line]]) -> Iterator[Line]:
    """The lines of `act`, and one for the error that ended it."""
    try:
        yield from act()
    except MirrorError as error:
        yield broken(subject, error)


def _of_files(index: str) -> Line:
    """An index that is a folder. Raise `MirrorError` when there is none: then the scheme was forgotten, mostly."""
    folder = url2pathname(urlsplit(index).path)
    if not Path(folder).is_dir():
        raise MirrorError(
            f"{folder.rpartition('@')[2]} is no folder of this machine",
            hint="name an index like https://index.example/simple, with its scheme",
        )
    return good("Index", folder)


def _existing(path: Path) -> Path:
    """The path, or the first folder above it that there is. Raise `MirrorError` where a file is in the way."""
    path = path.absolute()
    found = next(place for place in (path, *path.parents) if place.exists())
    if not found.is_dir():
        raise MirrorError(f"{found} is no folder", hint="name another place, or move it away")
    return found


def _require_writable(folder: Path, flag: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MirrorError(
            f"cannot write to {folder}: {error.strerror}", hint=f"choose another place with {flag}"
        ) from error


def _linkable(source: Path, target: Path) -> bool:
    """Whether a file in one folder can be a hard link to one in the other."""
    try:
        with tempfile.NamedTemporaryFile(dir=source) as file, tempfile.TemporaryDirectory(dir=target) as folder:
            os.link(file.name, Path(folder) / "link")
    except OSError:
        return False
    return True
