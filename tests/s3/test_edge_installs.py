"""Installers at work through the edge while releases come, go, come back and are pruned behind it.

A team that changes its lock publishes what is in use together with what comes next, and drops what nobody uses any
more. So does the publisher here: it announces a lock once the CDN has confirmed the release with its files, and waits
for the last installation from a lock before it drops that. Everything else happens at the same time.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
import venv
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from mirror.cdn.cloudfront import CloudFront
from mirror.infra.blueprint import Blueprint
from mirror.layout import HTML, JSON, JSON_TYPE, SIMPLE
from mirror.lease import Owner
from mirror.phases.invalidate import invalidate
from mirror.phases.prune import Retention, prune
from mirror.phases.rollback import rollback
from mirror.phases.verify import verify
from mirror.progress import Silence
from tests import lockfiles
from tests.clients import fetch
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn
from tests.s3.edge import bucket_policy, edge, resolved
from tests.s3.test_edge import ask
from tests.sites import make_site
from tests.templates import REGION
from tests.wheels import digest_of, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mirror.publication import SyncResult
    from mirror.stores.s3 import S3Store
    from tests.clients import Clients
    from tests.s3.conftest import Bucket
    from tests.s3.edge import Edge

REPLACEMENTS = 50
WINDOW = 4
"""Locks that a release holds at once."""
CYCLE = ("sync", "sync", "rollback", "sync", "prune")
INSTALLS = 10
"""Fewer by any client would not say much."""

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Lock:
    """A lock of the team: one project of its own, one that moves with every lock, one that returns, one that stays."""

    number: int
    pins: dict[str, str]
    wheels: dict[str, Path]

    @classmethod
    def make(cls, folder: Path, number: int) -> Lock:
        versions = {
            "steady": "1.0",
            "beta": f"{number % (WINDOW + 1)}.0+cpu",
            "alpha": f"{number}.0",
            f"only-{number}": "1.0",
        }
        requires = {"alpha": ["beta", "steady==1.0"], f"only-{number}": [f"alpha=={number}.0"]}
        padding = {"alpha": {"alpha.py": b"#" * (1 << 18)}}
        # Each in a folder of its own: a wheel that is made again must not be half there while others read it.
        place = folder / str(number)
        wheels = {
            name: make_wheel(place, name, version, requires=requires.get(name, ()), files=padding.get(name))
            for name, version in versions.items()
        }
        return cls(number, versions, wheels)

    @property
    def requirements(self) -> str:
        return "".join(f"{name}=={self.pins[name]} --hash={digest_of(wheel)}\n" for name, wheel in self.wheels.items())

    def write_project(self, folder: Path, index: str) -> None:
        """Write what Poetry wants: its lock, and a project whose only source is the edge."""
        source = f'[package.source]\ntype = "legacy"\nurl = "{index.rstrip("/")}"\nreference = "mirror"\n'
        tables = ""
        for name, wheel in self.wheels.items():
            files = f'[{{file = "{wheel.name}", hash = "{digest_of(wheel)}"}}]'
            tables += lockfiles.flat(name, self.pins[name], files_of=False, files=files, tables=source)
        wanted = ", ".join(f'"{name}=={version}"' for name, version in self.pins.items())
        lockfiles.write(
            folder, tables, python=">=3.10",
            pyproject=f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = [{wanted}]\n'
            "[tool.poetry]\npackage-mode = false\n"
            f'[[tool.poetry.source]]\nname = "mirror"\nurl = "{index}"\npriority = "primary"\n',
        )  # fmt: skip


class Board:
    """Which locks may be installed from just now, and who does."""

    def __init__(self) -> None:
        self._announced: dict[int, Lock] = {}
        self._used: Counter[int] = Counter()
        self._changed = threading.Condition()

    def announce(self, locks: tuple[Lock, ...]) -> None:
        with self._changed:
            self._announced = {lock.number: lock for lock in locks}

    def retire(self, stay: tuple[Lock, ...]) -> None:
        """Take everything else down, and wait until nobody installs from it."""
        with self._changed:
            self._announced = {lock.number: lock for lock in stay if lock.number in self._announced}
            assert self._announced, "there is always something to install"
            self._changed.wait_for(lambda: all(number in self._announced for number in +self._used))

    @contextmanager
    def using(self) -> Iterator[Lock]:
        """One that is announced; it stays until the block is over."""
        with self._changed:
            lock = random.choice(list(self._announced.values()))
            self._used[lock.number] += 1
        try:
            yield lock
        finally:
            with self._changed:
                self._used[lock.number] -= 1
                self._changed.notify_all()


@dataclass
class Fleet:
    """Installers that install from what is announced, again and again, each into a folder of its own."""

    board: Board
    clients: Clients
    index: str
    folder: Path
    done: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, name: str) -> None:
        """Install with one client until it is told to stop, or until something is wrong."""
        number = 0
        while not self.stop.is_set() and not self.failures:
            number += 1
            place = self.folder / f"{name}-{number}"
            place.mkdir()
            with self.board.using() as lock:
                command, packages = getattr(self, f"_{name}")(lock, place)
                ran = subprocess.run(
                    [*map(str, command)], cwd=place, env=self._environment(place, name), capture_output=True, text=True,
                    check=False, timeout=120,
                )  # fmt: skip
            found = _installed(packages)
            if ran.returncode or found != lock.pins:
                self.failures.append(f"{name}: lock {lock.number}: {found}\n{ran.stdout}\n{ran.stderr}")
            self.done[name] += 1
            shutil.rmtree(place)

    def _environment(self, place: Path, name: str) -> dict[str, str]:
        """No cache is shared: every page and every file is asked of the edge."""
        own = {"PIP_NO_CACHE_DIR": "1", "UV_CACHE_DIR": str(place / "cache"), "POETRY_CACHE_DIR": str(place / "cache")}
        return {**os.environ, **own, **({"VIRTUAL_ENV": str(place / "venv")} if name == "poetry" else {})}

    def _pip(self, lock: Lock, place: Path) -> tuple[tuple[str | Path, ...], Path]:
        (place / "requirements.txt").write_text(lock.requirements)
        return (
            self.clients.python, "-m", "pip", "install", "--disable-pip-version-check", "--require-hashes",
            "--retries", "0", "--index-url", self.index, "--target", place / "out", "-r", place / "requirements.txt",
        ), place / "out"  # fmt: skip

    def _uv(self, lock: Lock, place: Path) -> tuple[tuple[str | Path, ...], Path]:
        (place / "requirements.txt").write_text(lock.requirements)
        return (
            self.clients.tool("uv"), "pip", "install", "--no-config", "--require-hashes",
            "--python", self.clients.python, "--default-index", self.index,
            "--target", place / "out", "-r", place / "requirements.txt",
        ), place / "out"  # fmt: skip

    def _poetry(self, lock: Lock, place: Path) -> tuple[tuple[str | Path, ...], Path]:
        lock.write_project(place, self.index)
        venv.create(place / "venv", symlinks=True)
        packages = next((place / "venv").glob("lib/python*/site-packages"))
        return (self.clients.tool("poetry"), "install", "--no-interaction", "--no-root"), packages


def _installed(packages: Path) -> dict[str, str]:
    names = [path.name.removesuffix(".dist-info").split("-") for path in packages.glob("*.dist-info")]
    return {name.replace("_", "-"): version for name, version in names}


@dataclass
class Publisher:
    """Replaces releases, as `mirror` would be run, and tells the CDN of each."""

    store: S3Store
    cdn: CloudFront
    board: Board
    front: Edge
    folder: Path
    locks: list[Lock] = field(default_factory=list)
    history: list[tuple[str, tuple[Lock, ...]]] = field(default_factory=list)
    """Id and locks of each release, oldest first."""
    acts: Counter[str] = field(default_factory=Counter)

    def sync(self) -> None:
        self.locks.append(Lock.make(self.folder / "made", len(self.locks)))
        held = tuple(self.locks[-WINDOW:])
        # Somebody is early: that the page was not there is remembered by the edge, and must be forgotten, too.
        assert ask(self.front, f"/simple/only-{held[-1].number}/").status == 404
        wheels = {wheel.name: wheel for lock in held for wheel in lock.wheels.values()}
        site = make_site(self.folder / f"site-{len(self.history)}", list(wheels.values()))
        self._replace(held, lambda: site.publish(self.store, slash_keys=True, allow_shrink=True))

    def rollback(self) -> None:
        release, held = self.history[-2]
        self._replace(held, lambda: rollback(self.store, Silence(), release=release, owner=Owner.here()))

    def prune(self) -> None:
        retention = Retention(keep=3, grace=0, allow_shrink=True)
        assert prune(self.store, Silence(), retention, owner=Owner.here()).deletes
        self._tell()

    def _replace(self, held: tuple[Lock, ...], act: Callable[[], SyncResult]) -> None:
        if self.history:
            self.board.retire(held)
        result = act()
        assert result.release
        self._tell()
        self.history.append((result.release, held))
        self.board.announce(held)

    def _tell(self) -> None:
        assert invalidate(self.store, self.cdn, Silence(), wait=60, interval=0.05).confirmed

    def stale(self) -> list[str]:
        """The pages that the edge does not serve as they are published."""
        odd = []
        for key in sorted(found.key for found in self.store.list(SIMPLE)):
            if key.endswith((HTML, JSON)):
                accept = JSON_TYPE if key.endswith(JSON) else "text/html"
                served = ask(self.front, f"/{key.rpartition('/')[0]}/", Accept=accept)
                stored = self.store.read(key)
                odd += [key] if stored is None or served.body != stored[0] else []
        return odd


@pytest.fixture
def bucket(make_bucket: Callable[[str], Bucket]) -> Bucket:
    return make_bucket("rgw")


def test_no_installation_fails_while_releases_are_replaced(
    bucket: Bucket,
    tmp_path: Path,
    machine_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients = fetch(machine_environment)
    stack = resolved(Blueprint(region=REGION, bucket=bucket.name))
    bucket.admin.put_bucket_policy(Bucket=bucket.name, Policy=bucket_policy(stack))
    for name in ("edge", "installs"):
        (tmp_path / name).mkdir()
    with (
        edge(tmp_path / "edge", machine_environment, bucket.server, stack) as front,
        CloudFrontStandIn(takes=0.1, on_completed=front.forget) as cloud,
        ThreadPoolExecutor(3) as pool,
    ):
        for name, value in cloud.environment.items():
            monkeypatch.setenv(name, value)
        board = Board()
        publisher = Publisher(bucket.store(), CloudFront.open(DISTRIBUTION), board, front, tmp_path)
        publisher.sync()
        fleet = Fleet(board, clients, f"{front.url}simple/", tmp_path / "installs")
        began = time.monotonic()
        at_work = [pool.submit(fleet.run, name) for name in ("pip", "uv", "poetry")]
        try:
            for act in cycle(CYCLE):
                if publisher.acts["sync"] + publisher.acts["rollback"] == REPLACEMENTS or fleet.failures:
                    break
                getattr(publisher, act)()
                publisher.acts[act] += 1
                assert publisher.stale() == []
        finally:
            fleet.stop.set()
        for each in at_work:
            each.result()
        seconds = time.monotonic() - began
        assert not fleet.failures, "\n".join(fleet.failures)
        assert verify((), bucket.store(), Silence(), rehash=True).findings == ()
    statuses = Counter(line[1] for line in front.log)
    print(
        f"{dict(publisher.acts)} in {seconds:.0f} s; installs: {dict(fleet.done)}; "
        f"{len(cloud.invalidations)} invalidations of {cloud.billed} paths; answers of the edge: {dict(statuses)}"
    )
    assert set(fleet.done) == {"pip", "uv", "poetry"}
    assert min(fleet.done.values()) >= INSTALLS
