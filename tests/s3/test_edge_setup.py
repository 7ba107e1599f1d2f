"""`mirror setup` on an account with nothing in it: a stack, a bucket and an edge come up, and clients install from it.

The control plane is the stand-ins (CloudFormation, IAM, STS; CloudFront); the bucket is Ceph's gateway, and what the
stack says of bucket and distribution is put to work when the stack is made: nginx runs the function that was deployed.
Clients reach it under CloudFront's own name, over https, through a proxy that leads there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from mirror.errors import INTERRUPTED
from mirror.layout import LEASE, POINTER, STATE, edge_key
from tests import aws_stand_in, project
from tests.clients import fetch, make_environment
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn
from tests.faulty_index import FaultyIndex
from tests.s3.conftest import client
from tests.s3.edge import bucket_policy, edge, tunnel
from tests.s3.faults import faulty
from tests.s3.servers import make_certificate
from tests.templates import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.aws_stand_in import Aws
    from tests.project import Project
    from tests.s3.edge import Edge, Tunnel
    from tests.s3.faults import Proxy
    from tests.s3.servers import Server
    from tests.templates import Resolver

HOST = "d111111abcdef8.cloudfront.net"
BUCKET = f"mirror-{ACCOUNT}-{REGION}"
CONFIG = f"""# ours
AWS_REGION={REGION}
INFRA_MODE=cdn   # behind CloudFront

DEPLOY_IDENTITY=user
"""

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]


@dataclass
class Knife:
    """Sends a signal to a process at the first request of a kind; the request itself is answered all the same."""

    place: str
    signal: signal.Signals
    process: subprocess.Popen[str] | None = None
    used: bool = False

    def at(self, what: str) -> None:
        if self.process and not self.used and self.place in what:
            self.used = True
            self.process.send_signal(self.signal)


@dataclass
class World:
    """An account, a bucket in it once a stack has made it, and the edge that clients reach."""

    folder: Path
    project: Project
    server: Server
    aws: Aws
    cloudfront: CloudFrontStandIn
    s3: Proxy
    tunnel: Tunnel
    identity: tuple[Path, Path]
    machine: dict[str, str]
    stack: ExitStack
    edge: Edge | None = None
    knife: Knife | None = field(default=None)

    def __post_init__(self) -> None:
        self.aws.on_stack = self.deployed
        self.aws.on_call = self.asked
        self.cloudfront.on_request = self.asked
        self.cloudfront.on_completed = self.forget
        self.s3.judge = lambda _, method, path: self.asked(f"{method} {path}")
        # Whoever the gateway knows as the bucket's owner is the account's administrator, too.
        self.aws.keys["administrator"] = {self.server.access_key: "Active"}
        (self.project.work / "config.env").write_text(CONFIG)

    def deployed(self, stack: Resolver) -> None:
        """Put to work what CloudFormation has made: the bucket as its properties say, and the distribution."""
        if self.edge is not None:
            return
        name, properties = stack.reference("Bucket"), stack.properties("Bucket")
        self.admin.create_bucket(Bucket=name)
        self.admin.put_bucket_versioning(Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"])
        self.admin.put_bucket_policy(Bucket=name, Policy=bucket_policy(stack))
        # The gateway takes every object without an ACL for one with a public one.
        blocked = {**properties["PublicAccessBlockConfiguration"], "BlockPublicAcls": False}
        self.admin.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=blocked)
        (self.folder / "edge").mkdir()
        running = edge(self.folder / "edge", self.machine, self.server, stack, self.identity)
        self.edge = self.stack.enter_context(running)
        self.tunnel.port = self.edge.tls_port

    def forget(self, paths: tuple[str, ...]) -> None:
        assert self.edge is not None, "there is nothing to forget before there is a distribution"
        self.edge.forget(paths)

    def asked(self, what: str) -> None:
        if self.knife:
            self.knife.at(what)

    @property
    def admin(self) -> Any:
        return client(self.server)

    @property
    def environment(self) -> dict[str, str]:
        """Where the clouds are, and how the world outside is reached, as a user's own environment tells."""
        return {
            "AWS_ENDPOINT_URL": self.aws.url,
            "AWS_ENDPOINT_URL_S3": self.s3.endpoint,
            "AWS_ENDPOINT_URL_CLOUDFRONT": self.cloudfront.url,
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HTTPS_PROXY": self.tunnel.url,
            "SSL_CERT_FILE": str(self.identity[0]),
        }

    def mirror(self, name: str, knife: Knife | None = None) -> tuple[int, str]:
        """Run a command as a user does; with a knife, until that is used."""
        self.knife = knife
        known = {"--project": str(self.project.folder), "--index-url": self.project.index.url}
        if name == "verify":
            del known["--index-url"]
        flags = [part for pair in known.items() for part in pair]
        with subprocess.Popen(
            [sys.executable, "-m", "mirror", name, *flags], cwd=self.project.work, text=True, stdin=subprocess.DEVNULL,
            env=self.project.environment(**self.environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            if knife:
                knife.process = process
            output, _ = process.communicate(timeout=300)
        self.knife = None
        return process.returncode, output

    def objects(self, *, state: bool) -> dict[str, bytes]:
        """What the bucket holds: what everybody may see, or what nobody may."""
        pages = self.admin.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {
            key: self.admin.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            for key in keys
            if key.startswith(STATE) is state
        }

    def check(self) -> None:
        """Everything stands, nobody holds anything, and the CDN is owed nothing.

        What a run leaves that is killed while it tries the bucket out goes with `mirror prune`.
        """
        assert {stack.state for stack in self.aws.stacks.values()} <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
        assert set(self.aws.stacks) == {"mirror"}
        assert not [each for each in self.aws.sets.values() if each.execution == "AVAILABLE" and each.changes]
        state = self.objects(state=True)
        assert POINTER in state
        assert LEASE not in state
        ledger = json.loads(state[edge_key(DISTRIBUTION)])
        assert (ledger["paths"], ledger["release"]) == ([], json.loads(state[POINTER])["release"])

    def install(self, pip: Path) -> None:
        """Install from https://d111111abcdef8.cloudfront.net/ with what the lock says."""
        python = make_environment(self.folder / "venv")
        wanted = ("alpha", "beta")
        blocks = (self.project.folder / "requirements-all.txt").read_text().replace("\\\n", "").splitlines()
        lines = [line for line in blocks if line.startswith(wanted)]
        assert len(lines) == len(wanted)
        (self.folder / "requirements.txt").write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [
                *(str(pip), "-m", "pip", "--python", str(python), "install", "--require-hashes", "--no-cache-dir"),
                *("--index-url", f"https://{HOST}/simple/", "-r", str(self.folder / "requirements.txt")),
            ],
            env={**os.environ, **self.environment, "PIP_CERT": str(self.identity[0])},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Successfully installed alpha-1.0 beta-1.0" in done.stdout


@contextmanager
def world(folder: Path, server: Server, machine: dict[str, str]) -> Iterator[World]:
    """An account with nothing in it, and nothing left of it afterwards."""
    folder.mkdir()
    with (
        ExitStack() as stack,
        FaultyIndex() as index,
        aws_stand_in.running() as aws,
        CloudFrontStandIn(takes=0.5, access_key=server.access_key) as cloudfront,
        faulty(server) as s3,
        tunnel(HOST) as way,
    ):
        made = World(
            folder, project.make(folder, index), server, aws, cloudfront, s3, way, make_certificate(folder, HOST),
            machine, stack,
        )  # fmt: skip
        yield made
        if made.edge:
            versions = made.admin.list_object_versions(Bucket=BUCKET)
            for each in (*versions.get("Versions", ()), *versions.get("DeleteMarkers", ())):
                made.admin.delete_object(Bucket=BUCKET, Key=each["Key"], VersionId=each["VersionId"])
            made.admin.delete_bucket(Bucket=BUCKET)


CUTS = (
    Knife("CreateChangeSet", signal.SIGKILL),
    Knife("DescribeChangeSet", signal.SIGTERM),
    Knife("DescribeStackEvents", signal.SIGTERM),
    Knife("ExecuteChangeSet", signal.SIGKILL),
    Knife("DescribeStacks", signal.SIGTERM),
    Knife(f"PUT /{BUCKET}/.mirror/probe/", signal.SIGKILL),
    Knife(f"PUT /{BUCKET}/.mirror/lock.json", signal.SIGTERM),
    Knife(f"PUT /{BUCKET}/packages/", signal.SIGKILL),
    Knife(f"PUT /{BUCKET}/simple/alpha/", signal.SIGTERM),
    Knife(f"PUT /{BUCKET}/simple/index", signal.SIGKILL),
    Knife(f"PUT /{BUCKET}/.mirror/releases/", signal.SIGTERM),
    Knife(f"PUT /{BUCKET}/.mirror/current.json", signal.SIGKILL),
    Knife("CreateInvalidation", signal.SIGTERM),
    Knife("GetInvalidation", signal.SIGKILL),
)


def test_setup_ends_with_a_working_mirror_whatever_cuts_it_short(
    start: Callable[[str], Server], machine_environment: dict[str, str], tmp_path: Path
) -> None:
    clients = fetch(machine_environment)
    with world(tmp_path / "whole", start("rgw"), machine_environment) as whole:
        code, output = whole.mirror("setup")
        assert code == 0, output
        # Looked at through the edge, and not only in the bucket.
        assert f"\nverified: https://{HOST}/: " in output
        whole.check()
        whole.install(clients.python)
        config, published = (whole.project.work / "config.env").read_text(), whole.objects(state=False)
        assert config.startswith(CONFIG)
        assert f"\nBASE_URL=https://{HOST}/\n" in config
        before = len(whole.cloudfront.invalidations), whole.objects(state=True)
        code, output = whole.mirror("setup")
        assert code == 0, output
        assert "nothing to change" in output
        assert (len(whole.cloudfront.invalidations), whole.objects(state=True)) == before
        assert (whole.project.work / "config.env").read_text() == config
    with world(tmp_path / "cut", start("rgw"), machine_environment) as cut:
        # Longer than all the runs that are cut: each finds what the last one asked for under way.
        cut.cloudfront.takes = 600
        for knife in CUTS:
            code, output = cut.mirror("setup", knife)
            assert knife.used, f"{knife.place} was never reached\n{output}"
            assert code == (INTERRUPTED if knife.signal is signal.SIGTERM else -signal.SIGKILL), f"{knife}\n{output}"
        cut.cloudfront.takes = 0
        code, output = cut.mirror("setup")
        assert code == 0, output
        assert f"\nverified: https://{HOST}/: " in output
        cut.check()
        cut.install(clients.python)
        assert cut.objects(state=False) == published
        assert (cut.project.work / "config.env").read_text() == config
