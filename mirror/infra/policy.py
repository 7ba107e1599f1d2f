"""Who may do what: IAM documents as plain values, for templates and for READMEs alike.

Every statement names its resources; none is left without any by a choice (IAM refuses such a policy as a whole).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mirror.layout import FRONT_PAGE, LEASE, PACKAGES, PROJECTS, SIMPLE, STATE

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "2012-10-17"
Document = dict[str, Any]
Value = Any
"""A string, or a CloudFormation function that becomes one."""

PUBLIC = (FRONT_PAGE, f"{PROJECTS}*", f"{SIMPLE}*", f"{PACKAGES}*")
"""What a reader may see; never the state."""
PROBES = f"{STATE}probe/"
"""Scratch objects by which a store shows what it can do."""


def document(*statements: Document) -> Document:
    """A policy of some statements."""
    return {"Version": VERSION, "Statement": list(statements)}


def publisher(bucket: Value, objects: Sequence[Value], distribution: Value | None = None) -> list[Document]:
    """What sync, rollback, invalidate and verify need, and nothing else.

    `bucket` is its ARN; `objects` are ARNs made by `object_arns` of `PUBLISHED`, then of `REMOVED`. Listing is
    limited by prefix with "IfExists": reading an object that is not there is answered "not found" only to those
    who may list the bucket, and such a read states no prefix.
    """
    written, removed = objects[: len(PUBLISHED)], objects[len(PUBLISHED) :]
    statements = [
        _statement("ReadBucket", ["s3:GetBucketLocation", "s3:GetBucketVersioning"], bucket),
        _statement(
            "ListBucket", ["s3:ListBucket"], bucket,
            StringLikeIfExists={"s3:prefix": ["", *PUBLISHED]},
        ),
        _statement(
            "Publish",
            ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            list(written),
        ),
        _statement("Unlist", ["s3:DeleteObject"], list(removed)),
    ]  # fmt: skip
    if distribution is not None:
        statements.append(
            _statement(
                "Invalidate",
                [
                    "cloudfront:CreateInvalidation",
                    "cloudfront:GetDistribution",
                    "cloudfront:GetDistributionConfig",
                    "cloudfront:GetInvalidation",
                    "cloudfront:ListInvalidations",
                ],
                distribution,
            )
        )
    return statements


PUBLISHED = (*PUBLIC, f"{STATE}*")
"""Keys that a publisher reads and writes."""
REMOVED = (f"{PROJECTS}*", f"{SIMPLE}*", LEASE, f"{PROBES}*")
"""Keys that a publisher removes: pages, the lock and probes. Artifacts and releases are `prune`'s."""
PRUNED = (f"{PACKAGES}*", f"{STATE}*")
"""Keys that only `mirror prune` removes."""


def pruner(objects: Sequence[Value]) -> list[Document]:
    """What `mirror prune` needs on top of a publisher's; `objects` are the ARNs of `PRUNED`."""
    return [_statement("Prune", ["s3:DeleteObject"], list(objects))]


def secure_transport(bucket: Value, objects: Value) -> Document:
    """Refuse everything that does not come over TLS, whoever asks."""
    return {
        "Sid": "OnlyTLS",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket, objects],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def distribution_reads(bucket: Value, objects: Sequence[Value], distribution: Value, account: Value) -> list[Document]:
    """Let one distribution read what is public, and tell "not found" from "forbidden" (that takes listing)."""
    only = {"StringEquals": {"AWS:SourceArn": distribution, "AWS:SourceAccount": account}}
    cloudfront = {"Service": "cloudfront.amazonaws.com"}
    return [
        {
            "Sid": "DistributionReads",
            "Effect": "Allow",
            "Principal": cloudfront,
            "Action": "s3:GetObject",
            "Resource": list(objects),
            "Condition": only,
        },
        {
            "Sid": "DistributionSeesWhatIsMissing",
            "Effect": "Allow",
            "Principal": cloudfront,
            "Action": "s3:ListBucket",
            "Resource": bucket,
            "Condition": only,
        },
    ]


def everybody_reads(bucket: Value, objects: Sequence[Value]) -> list[Document]:
    """Let everybody read pages and packages over https; what is missing is answered 404, which takes listing.

    A read of what is missing states no prefix, so a listing without one is allowed, too. It shows the names of all
    keys, also those of the state, and no contents.
    """
    secure = {"Bool": {"aws:SecureTransport": "true"}}
    return [
        {
            "Sid": "EverybodyReads",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": list(objects),
            "Condition": secure,
        },
        {
            "Sid": "EverybodySeesWhatIsMissing",
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:ListBucket",
            "Resource": bucket,
            "Condition": {**secure, "StringLikeIfExists": {"s3:prefix": list(PUBLIC)}},
        },
    ]


def web_identity(provider: Value, issuer: str, audience: str, subjects: Sequence[str], **claims: str) -> Document:
    """Let jobs with a token of `issuer` assume a role: audience, exact subjects and further claims must all fit."""
    equals: dict[str, Any] = {f"{issuer}:aud": audience, f"{issuer}:sub": list(subjects)}
    equals.update({f"{issuer}:{name}": value for name, value in claims.items()})
    return {
        "Effect": "Allow",
        "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": equals},
    }


def _statement(sid: str, actions: list[str], resource: Value, **condition: Any) -> Document:
    made = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return {**made, "Condition": condition} if condition else made
