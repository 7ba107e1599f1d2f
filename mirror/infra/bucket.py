"""The end of a bucket: every version and marker in it, and then the bucket itself. Nothing here runs by itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from mirror.errors import MirrorError, RemoteError
from mirror.infra.aws import Refused, translated
from mirror.infra.template import TAG
from mirror.layout import FRONT_PAGE, PACKAGES, PROJECTS, SIMPLE, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.infra.aws import Client
    from mirror.progress import Progress

_BATCH = 1000
"""Keys that one request may delete, and that one page of a listing holds."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a bucket holds."""

    versions: int
    markers: int
    size: int
    """Bytes, old versions included."""
    strangers: tuple[str, ...]
    """Keys that no mirror puts there, the first few."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket that a stack made, by its name and the account that must own it.

    Every method raises `RemoteError` when S3 refuses; a bucket of somebody else is refused by S3 itself.
    """

    client: Client
    name: str
    owner: str
    """The account's number, stated with every request."""

    def exists(self) -> bool:
        """Whether it is there."""
        try:
            with translated(f"bucket {self.name}", "s3:ListBucket"):
                self.client.head_bucket(Bucket=self.name, ExpectedBucketOwner=self.owner)
        except Refused as error:
            if error.code in ("404", "NoSuchBucket"):
                return False
            raise
        return True

    def stack(self) -> str:
        """The stack that made it, by its tag; empty when it has none."""
        try:
            with translated(f"bucket {self.name}", "s3:GetBucketTagging"):
                tags = self.client.get_bucket_tagging(Bucket=self.name, ExpectedBucketOwner=self.owner)["TagSet"]
        except Refused as error:
            if error.code == "NoSuchTagSet":
                return ""
            raise
        return next((str(tag["Value"]) for tag in tags if tag["Key"] == TAG), "")

    def contents(self) -> Contents:
        """Count everything in it, old versions included."""
        versions = markers = size = 0
        strangers: set[str] = set()
        for page in self._pages():
            for version in page.get("Versions", ()):
                versions += 1
                size += version["Size"]
                _note(version["Key"], strangers)
            for marker in page.get("DeleteMarkers", ()):
                markers += 1
                _note(marker["Key"], strangers)
        return Contents(versions=versions, markers=markers, size=size, strangers=tuple(sorted(strangers)[:_SHOWN]))

    def refuse_doubts(self, stack: str) -> Contents:
        """Look at everything, and raise `MirrorError` unless it is a mirror's bucket that `stack` made."""
        made = self.stack()
        if made != stack:
            raise MirrorError(
                f"bucket {self.name} was not made by stack {stack} (its tag {TAG} is {made or 'not there'})",
                hint="nothing was removed; check STACK_NAME and BUCKET_NAME, or remove the bucket by hand",
            )
        contents = self.contents()
        if contents.strangers:
            raise MirrorError(
                f"bucket {self.name} holds what no mirror puts there: {', '.join(contents.strangers)}",
                hint="nothing was removed; move it elsewhere first, or remove the bucket by hand",
            )
        return contents

    def remove(self, progress: Progress, *, items: int) -> None:
        """Delete every version and marker, then broken uploads, then the bucket. It can be interrupted and repeated.

        Raise `RemoteError` naming what could not be deleted.
        """
        with progress.task(f"empty {self.name}", items=items) as task:
            entries = self._entries()
            while batch := list(islice(entries, _BATCH)):
                self._delete(batch)
                task.advance(items=len(batch))
        self._abort_uploads()
        with translated(f"bucket {self.name}", "s3:DeleteBucket"):
            self.client.delete_bucket(Bucket=self.name, ExpectedBucketOwner=self.owner)

    def _delete(self, batch: list[dict[str, str]]) -> None:
        with translated(f"bucket {self.name}", "s3:DeleteObjectVersion"):
            answer = self.client.delete_objects(
                Bucket=self.name, ExpectedBucketOwner=self.owner, Delete={"Objects": batch, "Quiet": True}
            )
        errors = answer.get("Errors", ())
        if errors:
            first = errors[0]
            raise RemoteError(
                f"bucket {self.name}: {len(errors)} of {len(batch)} versions stay, first {first.get('Key')}: "
                f"{first.get('Code')}: {first.get('Message')}",
                hint="mend what it says and run `mirror infra down` again; it goes on where it was",
            )

    def _entries(self) -> Iterator[dict[str, str]]:
        for page in self._pages():
            for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                yield {"Key": entry["Key"], "VersionId": entry["VersionId"]}

    def _pages(self) -> Iterator[dict[str, Any]]:
        marker: dict[str, str] = {}
        while True:
            with translated(f"bucket {self.name}", "s3:ListBucketVersions"):
                page = self.client.list_object_versions(
                    Bucket=self.name, ExpectedBucketOwner=self.owner, MaxKeys=_BATCH, **marker
                )
            yield page
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def _abort_uploads(self) -> None:
        with translated(f"bucket {self.name}", "s3:ListBucketMultipartUploads"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.name, ExpectedBucketOwner=self.owner
            )
            uploads = [upload for page in pages for upload in page.get("Uploads", ())]
        for upload in uploads:
            with translated(f"bucket {self.name}", "s3:AbortMultipartUpload"):
                self.client.abort_multipart_upload(
                    Bucket=self.name,
                    Key=upload["Key"],
                    UploadId=upload["UploadId"],
                    ExpectedBucketOwner=self.owner,
                )


def _note(key: str, strangers: set[str]) -> None:
    if key != FRONT_PAGE and not key.startswith((PROJECTS, SIMPLE, PACKAGES, STATE)):
        strangers.add(key)
