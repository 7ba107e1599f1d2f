"""Least privilege, enforced by a real gateway on a real second user: enough for what we do, and for nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from mirror.cdn.ledger import Ledger
from mirror.errors import RemoteError
from mirror.infra.policy import PUBLISHED, REMOVED, VERSION, publisher
from mirror.layout import LEASE, POINTER, edge_key
from mirror.phases.verify import verify
from mirror.progress import Silence
from mirror.state import State
from mirror.stores.probe import ProbedStore
from tests.sites import small_site
from tests.store_suite import WHEEL, put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.s3.conftest import Bucket


def policy(bucket: str) -> dict[str, Any]:
    """What the infrastructure allows a publisher, for a second user of this gateway."""
    arn = f"arn:aws:s3:::{bucket}"
    user = {"AWS": ["arn:aws:iam:::user/deploy"]}
    statements = publisher(arn, [f"{arn}/{key}" for key in (*PUBLISHED, *REMOVED)])
    return {"Version": VERSION, "Statement": [{**statement, "Principal": user} for statement in statements]}


@pytest.fixture
def bucket(make_bucket: Callable[[str], Bucket]) -> Bucket:
    made = make_bucket("rgw")
    made.admin.put_bucket_policy(Bucket=made.name, Policy=json.dumps(policy(made.name)))
    return made


@pytest.fixture
def user(bucket: Bucket) -> Any:
    """A plain client of the second user."""
    access_key, secret_key = bucket.server.second
    return boto3.client(
        "s3", endpoint_url=bucket.server.endpoint, region_name="us-east-1", aws_access_key_id=access_key,
        aws_secret_access_key=secret_key, config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip


def test_it_is_enough_to_probe_publish_and_verify(bucket: Bucket, tmp_path: Path) -> None:
    one = small_site(tmp_path / "one")
    two = small_site(tmp_path / "two", projects=("alpha", "gamma"))
    for site in (one, two):
        options = {"multipart_threshold": 100, "part_size": 5 << 20}
        store = ProbedStore(
            bucket.store(profile="rgw-second", **options),  # type: ignore[arg-type]
            State(tmp_path / "state"), Silence(),
        )  # fmt: skip
        assert site.publish(store, allow_shrink=True).release
        assert verify((), store, Silence(), manifest=site.manifest, rehash=True).findings == ()
        assert not site.publish(store).changed
    assert one.publish(store, allow_shrink=True, check_remote=True).release
    assert store.stat(LEASE) is None


def test_it_is_enough_to_repair_a_page_and_to_tell_the_cdn(bucket: Bucket, tmp_path: Path) -> None:
    site, page, edge = small_site(tmp_path), "simple/alpha/index.html", edge_key("EDFDVBD6EXAMPLE")
    store = bucket.store(profile="rgw-second")
    site.publish(store)
    put(store, edge, Ledger.opened().data)
    put(store, page, b"damaged")
    assert site.publish(store, check_remote=True).puts == (page,)
    found = store.read(edge)
    assert found
    assert Ledger.parse(found[0], edge).pages == (page,)


DENIED: dict[str, Callable[[Any, str], object]] = {
    "remove an artifact": lambda client, name: client.delete_object(Bucket=name, Key=WHEEL),
    "remove artifacts": lambda client, name: _raising(
        client.delete_objects(Bucket=name, Delete={"Objects": [{"Key": WHEEL}]})
    ),
    "remove the pointer": lambda client, name: client.delete_object(Bucket=name, Key=POINTER),
    "write elsewhere": lambda client, name: client.put_object(Bucket=name, Key="elsewhere", Body=b""),
    "read elsewhere": lambda client, name: client.get_object(Bucket=name, Key="secret"),
    "make it public": lambda client, name: client.put_bucket_acl(Bucket=name, ACL="public-read"),
    "make an object public": lambda client, name: client.put_object_acl(Bucket=name, Key=WHEEL, ACL="public-read"),
    "change the policy": lambda client, name: client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy(name))),
    "remove the policy": lambda client, name: client.delete_bucket_policy(Bucket=name),
    "turn versioning off": lambda client, name: client.put_bucket_versioning(
        Bucket=name, VersioningConfiguration={"Status": "Suspended"}
    ),
    "expire everything": lambda client, name: client.put_bucket_lifecycle_configuration(
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [{"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
        },
    ),
    "remove the bucket": lambda client, name: client.delete_bucket(Bucket=name),
    "list old versions": lambda client, name: client.list_object_versions(Bucket=name),
}


def _raising(reply: dict[str, Any]) -> None:
    for error in reply.get("Errors", ()):
        raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 403}}, "DeleteObjects")  # type: ignore[arg-type,unused-ignore]


@pytest.mark.parametrize("what", DENIED)
def test_it_is_not_more_than_that(what: str, bucket: Bucket, user: Any) -> None:
    for key in (WHEEL, POINTER, "secret"):
        bucket.admin.put_object(Bucket=bucket.name, Key=key, Body=b"kept")
    with pytest.raises(ClientError) as caught:
        DENIED[what](user, bucket.name)
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    for key in (WHEEL, POINTER, "secret"):
        assert bucket.admin.get_object(Bucket=bucket.name, Key=key)["Body"].read() == b"kept"


@pytest.mark.parametrize(
    ("action", "verb"), [("s3:ListBucket", "list"), ("s3:GetObject", "read"), ("s3:PutObject", "write")]
)
def test_a_permission_that_is_missing_is_named(action: str, verb: str, bucket: Bucket) -> None:
    lacking = policy(bucket.name)
    arn = f"arn:aws:s3:::{bucket.name}"
    lacking["Statement"].append(
        {
            "Effect": "Deny",
            "Principal": lacking["Statement"][0]["Principal"],
            "Action": [action],
            "Resource": [arn, f"{arn}/*"],
        }
    )
    bucket.admin.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(lacking))
    bucket.admin.put_object(Bucket=bucket.name, Key=WHEEL, Body=b"kept")
    store = bucket.store(profile="rgw-second")
    acts: dict[str, Callable[[], object]] = {
        "list": lambda: list(store.list()),
        "read": lambda: store.read(WHEEL),
        "write": lambda: put(store, WHEEL, b""),
    }
    with pytest.raises(RemoteError, match="AccessDenied") as caught:
        acts[verb]()
    assert action in caught.value.hint


def test_a_stranger_is_refused(bucket: Bucket, credentials: Callable[[str, str, str], None], user: Any) -> None:
    bucket.admin.delete_bucket_policy(Bucket=bucket.name)
    with pytest.raises(RemoteError, match="AccessDenied"):
        bucket.store(profile="rgw-second").read(WHEEL)
