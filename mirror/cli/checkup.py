"""Looking at this machine: what `mirror doctor` says without an address, and what `mirror setup` begins with."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mirror.credentials import redact, strip
from mirror.doctor.machine import Checkup, Line, broken, doubtful, good, judge_bucket, judge_room, judge_versions
from mirror.errors import MirrorError, RemoteError
from mirror.files import DigestCache
from mirror.layout import POINTER
from mirror.model import Plan
from mirror.pool import Pool
from mirror.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mirror.cli.session import Session

_ATTEMPTS = 2
"""How often a store is asked: it is tried out, not relied on."""
_ASKED_FOR = "pip/"
"""A project that every complete index has; one that has it not answers all the same."""


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
            yield self._index(index)
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

    def _index(self, index: str) -> Line:
        from mirror.clients.http import HttpClient
        from mirror.web import Web

        shown = strip(index)
        if urlsplit(index).scheme not in ("http", "https"):
            return good("Index", shown)
        configuration = self.session.configuration
        web = Web(configuration.settings.network, configuration.credentials, configuration.environ, 1)
        if web.plain_text_refused(index):
            raise MirrorError(
                f"{shown} is plain http", hint="use https, or pip config set global.trusted-host for a host you trust"
            )
        if self.session.settings.offline:
            return good("Index", f"{shown}, not asked: OFFLINE")
        answer = HttpClient(web).ask(f"{strip(index).rstrip('/')}/{_ASKED_FOR}", follow=True)
        if answer.status in (401, 407):
            raise RemoteError(
                f"{shown} wants to know who asks ({answer.status})",
                hint="put user and password into pip's index-url, netrc or keyring",
            )
        if answer.status >= 500:
            raise RemoteError(f"{shown} answers {answer.status}", hint="try again later, or name another INDEX_URL")
        return good("Index", f"{shown} answers")

    # Where it is made, and where it goes

    def _disk(self) -> Iterator[Line]:
        root = self.session.settings.work_dir
        workspace = self.session.workspace
        plan = State(workspace.state).load(Plan)
        needed = None
        if plan is not None:
            held = Pool(workspace.packages, DigestCache()).names()
            needed = sum(file.size or 0 for file in plan.files if file.filename not in held)
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
