"""Servers that run once for all tests, and an empty bucket for each. What cannot start fails, and skips nothing."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from mirror.files import DigestCache
from mirror.stores.s3 import S3Location, S3Options, S3Store
from mirror.stores.s3_client import Client, connect
from tests.s3 import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.s3.servers import Server

_numbers = count(1)


@pytest.fixture(scope="session")
def start(
    isolation: Path, machine_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Server]]:
    """Start a server by its name, once."""
    servers.install(machine_environment)
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def run(name: str) -> Server:
            if name not in running:
                folder = tmp_path_factory.mktemp(name)
                running[name] = stack.enter_context(getattr(servers, name)(folder, machine_environment))
            return running[name]

        yield run


@dataclass
class Bucket:
    """An empty bucket on a server."""

    server: Server
    name: str

    @property
    def options(self) -> S3Options:
        return S3Options(profile=self.server.name, endpoint_url=self.server.endpoint, region="us-east-1", jobs=4)

    def store(self, prefix: str = "", digests: DigestCache | None = None, **changes: Any) -> S3Store:
        """The bucket as a store; `changes` are options."""
        location = S3Location.parse(f"s3://{self.name}/{prefix}", replace(self.options, **changes))
        chosen = location.options
        return S3Store(
            _connected(self.name, chosen.endpoint_url, chosen.region, chosen.profile),
            location,
            digests or DigestCache(),
        )

    @cached_property
    def admin(self) -> Any:
        """A plain client of the bucket's owner."""
        return client(self.server)


@lru_cache(maxsize=16)
def _connected(bucket: str, endpoint_url: str, region: str, profile: str) -> Client:
    """Make a client once for each test, which has a bucket of its own; it takes longer than a publish."""
    return connect(bucket=bucket, region=region, profile=profile, endpoint_url=endpoint_url, connections=9)


def client(server: Server, service: str = "s3") -> Any:
    """A plain client of a server's owner."""
    return boto3.client(
        service,
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def credentials(home: Path) -> Callable[[str, str, str], None]:
    """Write a profile into the user's own AWS configuration, where the store finds it as it would anywhere."""

    def write(profile: str, access_key: str, secret_key: str) -> None:
        path = home / ".aws" / "credentials"
        path.parent.mkdir(exist_ok=True)
        section = f"[{profile}]\naws_access_key_id={access_key}\naws_secret_access_key={secret_key}\n"
        if not path.exists() or section not in path.read_text(encoding="utf-8"):
            with path.open("a", encoding="utf-8") as stream:
                stream.write(section)

    return write


@pytest.fixture
def make_bucket(
    start: Callable[[str], Server], credentials: Callable[[str, str, str], None]
) -> Callable[[str], Bucket]:
    """Make an empty bucket on the server with that name."""

    def make(name: str) -> Bucket:
        server = start(name)
        credentials(server.name, server.access_key, server.secret_key)
        if server.second[0]:
            credentials(f"{server.name}-second", *server.second)
        bucket = Bucket(server, f"mirror-{next(_numbers)}")
        bucket.admin.create_bucket(Bucket=bucket.name)
        return bucket

    return make


@pytest.fixture(params=["rgw", "localstack", "moto"])
def bucket(request: pytest.FixtureRequest, make_bucket: Callable[[str], Bucket]) -> Bucket:
    """Make an empty bucket on each of the servers in turn."""
    return make_bucket(request.param)
