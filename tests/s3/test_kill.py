"""A publisher that is killed at any of its requests, while somebody reads all the time (DESIGN rules 3 and 6)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from mirror.layout import FRONT_PAGE, LEASE, PROBE, SIMPLE
from tests.faulty_index import FaultyIndex
from tests.s3.command import Run, first, second, settings
from tests.s3.faults import CUT, LOST, faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.s3.conftest import Bucket
    from tests.s3.faults import Proxy, Verdict

STRIDE = 5
"""Every fifth request is the last one of a run, before or after the store has heard of it in turn."""


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[Run, Run]]:
    """Two work directories that are ready to be published, one after the other."""
    with FaultyIndex() as index:
        one = first(tmp_path / "first", index)
        two = second(tmp_path / "second", one)
        for run in (one, two):
            assert run("refresh").returncode == 0
        yield one, two


class Reader(threading.Thread):
    """Follows every link of a mirror, again and again, and writes down those that lead nowhere."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(daemon=True)
        self.bucket = bucket
        self.rounds = 0
        self.dangling: list[str] = []
        self.done = threading.Event()

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.join()

    def run(self) -> None:
        while not self.done.wait(0.01):
            self.look()
            self.rounds += 1

    def look(self) -> None:
        for name in self.projects():
            page = self.read(f"{SIMPLE}{name}/index.v1_json")
            if page is None:
                # Its removal follows that of its name.
                if name in self.projects():
                    self.dangling.append(f"{name} is listed and has no page")
                continue
            for file in json.loads(page)["files"]:
                key = unquote(file["url"]).removeprefix("../../")
                if self.digest(key) != file["hashes"]["sha256"]:
                    self.dangling.append(f"{name} lists {key}")
                sidecar = file.get("core-metadata")
                if sidecar and self.digest(f"{key}.metadata") != sidecar["sha256"]:
                    self.dangling.append(f"{name} lists {key}.metadata")

    def projects(self) -> list[str]:
        page = self.read(f"{SIMPLE}index.v1_json")
        return [project["name"] for project in json.loads(page)["projects"]] if page else []

    def read(self, key: str) -> bytes | None:
        client = self.bucket.admin
        try:
            data: bytes = client.get_object(Bucket=self.bucket.name, Key=key)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        return data

    def digest(self, key: str) -> str | None:
        client = self.bucket.admin
        try:
            metadata = client.head_object(Bucket=self.bucket.name, Key=key)["Metadata"]
        except client.exceptions.ClientError:
            return None
        return str(metadata["sha256"])


def contents(bucket: Bucket) -> dict[str, bytes]:
    client = bucket.admin
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=bucket.name).get("Contents", ())]
    # What is left of trying out the store is for `prune`, which knows whether somebody still does.
    return {
        key: client.get_object(Bucket=bucket.name, Key=key)["Body"].read() for key in keys if not key.startswith(PROBE)
    }


def copy(source: Bucket, target: Bucket) -> None:
    """Bring a bucket to the state of another one."""
    client = source.admin
    keys = [
        [found["Key"] for found in client.list_objects_v2(Bucket=bucket.name).get("Contents", ())]
        for bucket in (source, target)
    ]
    for key in keys[1]:
        client.delete_object(Bucket=target.name, Key=key)
    # Pages last, as they were published: somebody reads.
    for key in sorted(keys[0], key=lambda key: (key.startswith(SIMPLE), key == f"{SIMPLE}index.v1_json")):
        client.copy_object(Bucket=target.name, Key=key, CopySource={"Bucket": source.name, "Key": key})


class Assassin:
    """Kills whoever makes the request with a certain number."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def run(self, run: Run, number: int, verdict: str, *flags: str, **environment: str) -> bool:
        """Run `sync` and kill it at that request; say whether it came to an end before."""
        self.proxy.reset()
        processes: list[subprocess.Popen[bytes]] = []
        started = threading.Event()

        def judge(counted: int, _method: str, _path: str) -> Verdict:
            if counted < number:
                return None
            started.wait()
            os.kill(processes[0].pid, signal.SIGKILL)
            return verdict if counted == number else CUT

        self.proxy.judge = judge
        with subprocess.Popen(
            run.command("sync", *flags), env=run.project.environment(**environment), cwd=run.project.work,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            processes.append(process)
            started.set()
            status = process.wait(60)
        self.proxy.reset()
        assert status in (0, -signal.SIGKILL)
        return status == 0


def test_killed_at_any_request_and_run_again(
    releases: tuple[Run, Run], make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    """It ends as an undisturbed publish does, whoever reads meanwhile."""
    one, two = releases
    empty, before, wanted, torn = (make_bucket("rgw") for _ in range(4))
    for run in (one, two):
        assert run("sync", "--allow-shrink", **settings(wanted)).returncode == 0
    assert one("sync", **settings(before)).returncode == 0
    with faulty(torn.server) as proxy:
        through = replace(torn, server=replace(torn.server, endpoint=proxy.endpoint))
        assassin = Assassin(proxy)
        for start, run, end in ((empty, one, contents(before)), (before, two, contents(wanted))):
            number, finished, kills = 1, False, 0
            while not finished:
                copy(start, torn)
                with Reader(torn) as reader:
                    verdict = (CUT, LOST)[number % 2]
                    finished = assassin.run(run, number, verdict, "--allow-shrink", **settings(through))
                    if not finished:
                        kills += 1
                        done = run("sync", "--allow-shrink", **settings(torn))
                        assert done.returncode == 0, done.stderr
                assert reader.rounds, "somebody read meanwhile"
                assert reader.dangling == [], f"{verdict} at request {number}"
                found = contents(torn)
                assert found == end, f"{verdict} at request {number}"
                assert FRONT_PAGE in found
                assert LEASE not in found
                number += STRIDE
            assert kills > 5
