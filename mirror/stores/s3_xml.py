"""The XML of S3: what is read of its answers, and what is written into requests.

Some stores leave out the namespace, so names are compared without it. Answers come from the one store that is published
to; what is no XML, or lacks something, is told as `ValueError` or `KeyError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from mirror.stores.base import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a listing (ListObjectsV2)."""

    objects: tuple[StoredObject, ...]
    """With their whole keys."""
    continuation: str
    """Asks for the next page; empty after the last one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as a store tells it."""

    code: str
    message: str
    region: str
    """Where the bucket lies, for who asked in another region; otherwise empty."""


def listing(data: bytes) -> Listing:
    """Read a page of a listing. Raise `ValueError` or `KeyError` for anything else."""
    root = _root(data, "ListBucketResult")
    fields = _texts(root)
    decode = unquote_plus if fields.get("EncodingType") == "url" else str
    objects = tuple(_stored(_texts(child), decode) for child in root if _name(child) == "Contents")
    more = fields.get("IsTruncated") == "true"
    return Listing(objects, fields["NextContinuationToken"] if more else "")


def _stored(fields: Mapping[str, str], decode: type[str] | object) -> StoredObject:
    moment = datetime.fromisoformat(fields["LastModified"].replace("Z", "+00:00"))
    key = decode(fields["Key"])  # type: ignore[operator]
    return StoredObject(key, int(fields["Size"]), fields["ETag"].strip('"'), modified=moment.timestamp())


def error(data: bytes) -> Fault | None:
    """Read an error; None for anything else, also for what is no XML."""
    if b"<Error" not in data:
        return None
    try:
        fields = _texts(_root(data, "Error"))
    except ValueError:
        return None
    code = fields.get("Code")
    return Fault(code, fields.get("Message", ""), fields.get("Region", "")) if code else None


def upload(data: bytes) -> str:
    """The id of an upload in parts that was begun. Raise `ValueError` or `KeyError` for anything else."""
    return _texts(_root(data, "InitiateMultipartUploadResult"))["UploadId"]


def completed(data: bytes) -> bool:
    """Whether this says that parts became one object."""
    try:
        _root(data, "CompleteMultipartUploadResult")
    except ValueError:
        return False
    return True


def not_removed(data: bytes) -> tuple[str, ...]:
    """The keys that a removal in a batch left. Raise `ValueError` or `KeyError` for anything else."""
    return tuple(_texts(child)["Key"] for child in _root(data, "DeleteResult") if _name(child) == "Error")


def removal(keys: Iterable[str]) -> bytes:
    """What asks for a removal in a batch."""
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f'<Delete xmlns="{_NAMESPACE}"><Quiet>true</Quiet>{objects}</Delete>'.encode()


def completion(etags: Sequence[str]) -> bytes:
    """What makes one object of its parts; their etags in order."""
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    return f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{parts}</CompleteMultipartUpload>'.encode()


def _root(data: bytes, name: str) -> ElementTree.Element:
    """The one element with that name. Raise `ValueError` for anything else."""
    try:
        # A store that keeps a connection alive with blanks sends them before the declaration, too.
        root = ElementTree.fromstring(data.strip())  # noqa: S314 - of the store that we publish to; expat bounds it
    except ElementTree.ParseError as error:
        raise ValueError(f"this is no XML: {error}") from error
    if _name(root) != name:
        raise ValueError(f"this is {_name(root)}, and not {name}")
    return root


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _texts(element: ElementTree.Element) -> dict[str, str]:
    """The text of each child by its name."""
    return {_name(child): child.text or "" for child in element}
