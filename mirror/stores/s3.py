"""A bucket as a store: S3, and every store that speaks its language.

```
s3://<bucket>/<prefix>/<key>      metadata sha256=<hex>; content type and cache header of the key
```

Integrity: bytes are proven before they are sent and are sent with their SHA-256; S3 refuses what arrives altered, and a
store that does not look keeps the digest as metadata all the same. Conditions: `If-None-Match: *` and `If-Match` (cloud
2.1); one that seems to fail because the reply to its first attempt was lost is settled by looking at what is stored.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import islice
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from mirror import destination
from mirror.credentials import redact
from mirror.errors import ConflictError, IntegrityError, MirrorError, RemoteError
from mirror.guard import courtesy
from mirror.stores import s3_xml
from mirror.stores.base import ABSENT, StoredObject
from mirror.stores.s3_client import TIMEOUT, Refusal, Reply, Request, connect, moment
from mirror.stores.s3_requests import Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mirror.files import DigestCache
    from mirror.layout import Headers
    from mirror.stores.base import Body
    from mirror.stores.s3_client import Client
    from mirror.stores.s3_xml import Listing

_Answer = TypeVar("_Answer")

_CHUNK = 1 << 20
_IN_QUERY = ("endpoint_url", "region", "profile", "owner")
_BATCH = 1000
"""Keys in one request that removes (cloud 2.1)."""
_MOST_PARTS = 10_000
_PARTS_AT_ONCE = 4
_COLLISIONS = 3
"""How often an object is sent in parts when each time another write of it is under way."""
_METADATA = "x-amz-meta-"
_DIGEST = "sha256"
"""The name of our digest in the metadata of an object."""
_HEX = re.compile(r"[0-9a-f]{64}")
"""What we note there; others note other things under that name."""
_MARK = "mirror-write"
"""A random mark in the metadata, by which a conditional write knows its own work again."""
_CACHE_TAG = "cache-tag"
"""The metadata by which CloudFront knows what a tag stands for (cloud 1.3)."""

_ALTERED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"})
_NO_BATCHES = frozenset({400, 403, 405, 411, 501})
"""What stores answer that cannot remove in batches, or that judge a batch more strictly than what is in it (RGW)."""
_NO_CONDITION = frozenset({400, 501})
"""What stores answer that cannot remove on a condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """How a bucket is reached; an empty value means what the user's own AWS configuration says."""

    region: str = ""
    profile: str = ""
    endpoint_url: str = ""
    """Of a compatible store; empty for AWS."""
    owner: str = ""
    """Account (12 digits) that the bucket must belong to; empty to ask for none. It protects from a name that somebody
    else registered."""
    jobs: int = 16
    """Requests at once."""
    attempts: int = 10
    """How often a request is sent at most, with growing pauses."""
    timeout: float = TIMEOUT
    """Seconds for which the store may keep silent."""
    multipart_threshold: int = 64 << 20
    """Bytes above which an object is sent in parts; at most 5 GB."""
    part_size: int = 16 << 20
    """Bytes of a part; at least 5 MiB. Bodies in parts take up to `jobs` times as much memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """Where in S3 a mirror lies."""

    bucket: str
    prefix: str = ""
    """Empty, or ending in a slash."""
    options: S3Options

    @classmethod
    def parse(cls, url: str, options: S3Options) -> S3Location:
        """Read `s3://bucket/prefix`, and a query that says otherwise than `options` for one destination of several.

        The query is like `?endpoint_url=https://s3.example&region=eu-1&profile=spare&owner=111122223333`, each part
        optional. Raise `MirrorError` for anything else.
        """
        try:
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            bucket = destination.bucket(parts.netloc)
        except ValueError as error:
            raise _no_bucket(url) from error
        if parts.scheme != "s3" or not bucket or parts.fragment:
            raise _no_bucket(url)
        if odd := sorted(query.keys() - set(_IN_QUERY)):
            raise MirrorError(
                f"DESTINATION {_shown(url)}: {', '.join(odd)} cannot be said there",
                hint=f"what can be: {', '.join(_IN_QUERY)}",
            )
        for name, check in (("endpoint_url", destination.endpoint), ("owner", destination.account)):
            try:
                check(query.get(name, ""))
            except ValueError as error:
                raise MirrorError(f"DESTINATION {_shown(url)}: {name}: {error}", hint="correct it there") from error
        chosen = {name: query.get(name, getattr(options, name)) for name in _IN_QUERY}
        prefix = "/".join(part for part in parts.path.split("/") if part)
        return cls(bucket=bucket, prefix=f"{prefix}/" if prefix else "", options=replace(options, **chosen))

    @property
    def name(self) -> str:
        """The location as a URL, without the query."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True)
class Sent:
    """What the store said of an object that it took."""

    etag: str
    version: str
    """Empty when the bucket keeps no versions."""


class S3Store:
    """A `Store` on a bucket, or on a part of one. Nothing is sent before the first question.

    The etag is the one of S3 without its quotes, which compatible stores put there or leave out as they like.
    """

    def __init__(self, client: Client, location: S3Location, digests: DigestCache) -> None:
        """Publish below `location`; `digests` knows the files of the pool, so that none is hashed twice."""
        self._location = location
        self._options = location.options
        self._digests = digests
        self._requests = Requests(
            client=client, name=location.name, bucket=location.bucket, attempts=location.options.attempts
        )
        # As much memory as bodies in parts may take.
        self._gate = BoundedSemaphore(location.options.jobs)
        self._quoting = True

    @classmethod
    def open(cls, url: str, options: S3Options, digests: DigestCache) -> S3Store:
        """Make the store of `s3://bucket/prefix`. Raise `MirrorError` for a location or a profile that is none."""
        location = S3Location.parse(url, options)
        chosen = location.options
        client = connect(
            bucket=location.bucket,
            region=chosen.region,
            profile=chosen.profile,
            endpoint_url=chosen.endpoint_url,
            # The jobs, the parts that some of them send, and the heartbeat of the lease.
            connections=2 * chosen.jobs + 1,
            timeout=chosen.timeout,
        )
        return cls(client, location, digests)

    @property
    def name(self) -> str:
        """The location as a URL."""
        return self._location.name

    @property
    def slash_keys(self) -> bool:
        """A key is any text for S3."""
        return True

    @property
    def address(self) -> str:
        """The location together with the host: two stores are the same when their addresses are."""
        return f"{self.name} {redact(self._options.endpoint_url)}".rstrip()

    # Reading

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key; one request for each 1,000."""
        start, token = self._location.prefix, ""
        while True:
            page = self._page(start + prefix, token)
            for found in page.objects:
                yield replace(found, key=found.key[len(start) :]) if start else found
            token = page.continuation
            if not token:
                return

    def _page(self, prefix: str, token: str) -> Listing:
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, "continuation-token": token}
        request = self._request("GET", query={name: value for name, value in query.items() if value})
        try:
            reply = self._requests.send(lambda client: client.ask(request))
        except Refusal as refusal:
            raise self._requests.error(refusal, "list", "") from refusal
        return self._understood(reply, lambda: s3_xml.listing(reply.body))

    def stat(self, key: str) -> StoredObject | None:
        """One object's size and etag; None when there is none."""
        found = self._head(key)
        if found is None:
            return None
        told = found.headers
        size = self._understood(found, lambda: int(told["content-length"]))
        modified, now = moment(told.get("last-modified")), moment(told.get("date"))
        return StoredObject(key, size, _etag(found), modified=modified, told=now)

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and etag; None when there is none."""
        found = self._ask("read", key, self._object("GET", key), absent=True)
        return (found.body, _etag(found)) if found else None

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        """sha256 (hex) of the stored bytes; None when there is no such object.

        The store's own checksum is taken when it is one of the whole object, or what was noted when the object was
        put; without either, and with `rehash`, the bytes are read.
        """
        if not rehash:
            found = self._head(key)
            if found is None:
                return None
            if known := _known_digest(found):
                return known
        return self._send("read", key, lambda client: self._hash(client, key), absent=True)

    def checksum(self, key: str) -> str | None:
        """sha256 (hex) that the store itself computed of a whole object; None when it tells none."""
        found = self._head(key)
        return _checksum(found) if found else None

    def _hash(self, client: Client, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in client.chunks(self._object("GET", key), _CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def _head(self, key: str) -> Reply | None:
        request = self._object("HEAD", key, headers={"x-amz-checksum-mode": "ENABLED"})
        found = self._ask("read", key, request, absent=True)
        if found is None:
            # A HEAD cannot tell what is missing, the object, the bucket or the whole store; a GET can.
            found = self._ask("read", key, replace(request, method="GET"), absent=True)
        return found

    def _require(self, key: str, expect: str | None) -> None:
        if expect is None:
            return
        if self._etag(key) != expect:
            raise self._conflict(key)

    # Writing

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        """Store an object whole or not at all, once its bytes were found to have the digest that is stated.

        Raise `IntegrityError` when they have another, here or on arrival; `ConflictError` when the object is not what
        `expect` says.
        """
        self._prove(key, body)
        return self.send(key, body, headers, expect=expect).etag

    def send(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> Sent:
        """Do what `put` does, but leave it to the store to look at the bytes."""
        mark = secrets.token_hex(8)
        parts = body.size > self._options.multipart_threshold
        about = {
            "Content-Type": headers.content_type,
            "Cache-Control": headers.cache_control,
            f"{_METADATA}{_DIGEST}": body.sha256,
            # What came in parts cannot be sent once more like a page: a second completion finds no upload.
            **({f"{_METADATA}{_MARK}": mark} if parts or expect is not None else {}),
            **({f"{_METADATA}{_CACHE_TAG}": headers.cache_tag} if headers.cache_tag else {}),
        }
        act = self._send_parts if parts else self._send_whole
        try:
            reply = act(key, body, about, expect)
        except Refusal as refusal:
            settled = self._settled(key, mark) if refusal.uncertain else None
            if settled is None:
                raise self._refused_write(refusal, key, expect) from refusal
            reply = settled
        except OSError as error:
            raise self._unreadable(key, error) from error
        # RGW tells no etag of what came in parts.
        etag = _etag(reply) or self._etag(key)
        if not etag:
            raise RemoteError(
                f"{self.name}: the store took {key} and does not have it", hint="what is stored is whole: run again"
            )
        return Sent(etag, reply.headers.get("x-amz-version-id", ""))

    def _send_whole(self, key: str, body: Body, about: Mapping[str, str], expect: str | None) -> Reply:
        checksum = base64.b64encode(bytes.fromhex(body.sha256)).decode("ascii")

        def act(client: Client, condition: Mapping[str, str]) -> Reply:
            headers = {**about, **condition, "x-amz-checksum-sha256": checksum}
            with _opened(body) as stream:
                request = self._object("PUT", key, headers=headers, body=stream, size=body.size, sha256=body.sha256)
                return client.ask(request)

        return self._conditional(key, expect, act)

    def _send_parts(self, key: str, body: Body, about: Mapping[str, str], expect: str | None) -> Reply:
        """Send an object in parts, and all of them again when another write came in between their becoming one."""
        for _ in range(_COLLISIONS):
            with contextlib.suppress(_CollisionError):
                return self._upload(key, body, about, expect)
        raise self._conflict(key)

    def _upload(self, key: str, body: Body, about: Mapping[str, str], expect: str | None) -> Reply:
        """Send an object in parts; they become one when all arrived and the condition still holds."""
        self._require(key, expect)
        begin = self._object("POST", key, query={"uploads": ""}, headers=about)
        created = self._requests.send(lambda client: client.ask(begin))
        upload = {"uploadId": self._understood(created, lambda: s3_xml.upload(created.body))}
        try:
            parts = s3_xml.completion(self._upload_parts(key, body, upload))
            # A file that changed while its parts were read shows another inode, size or time, and is hashed again.
            self._prove(key, body)
            # Not every store that knows conditions holds to them on completion (RGW does not).
            self._require(key, expect)
            return self._conditional(
                key,
                expect,
                lambda client, condition: _completed(
                    client, self._object("POST", key, query=upload, headers=condition, body=parts)
                ),
            )
        except BaseException:
            # The first error is the one to tell; parts that stay behind are removed by a rule of the bucket.
            with contextlib.suppress(MirrorError, Refusal), courtesy():
                self._requests.send(lambda client: client.ask(self._object("DELETE", key, query=upload)))
            raise

    def _upload_parts(self, key: str, body: Body, upload: Mapping[str, str]) -> tuple[str, ...]:
        """Send the parts; return their etags in order."""
        size = max(self._options.part_size, -(-body.size // _MOST_PARTS))

        def send(start: int) -> str:
            with self._gate:
                data = _part(body, start, size)
                request = self._object(
                    "PUT",
                    key,
                    query={"partNumber": str(start // size + 1), **upload},
                    # The one checksum of a part that every store verifies.
                    headers={"Content-MD5": _md5(data)},
                    body=data,
                )
                reply = self._requests.send(lambda client: client.ask(request))
                return self._understood(reply, lambda: reply.headers["etag"])

        with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="parts") as threads:
            guarded = (copy_context() for _ in range(0, body.size, size))
            return tuple(
                threads.map(lambda context, start: context.run(send, start), guarded, range(0, body.size, size))
            )

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, up to 1,000 with one request where the store knows how."""
        remaining = iter(keys)
        while batch := tuple(islice(remaining, _BATCH)):
            for key in self._delete_batch(batch):
                # Alone, so that a failure that passes is tried again, and one that stays is told.
                self._delete_one(key)

    def _delete_one(self, key: str) -> None:
        self._ask("remove", key, self._object("DELETE", key))

    def _delete_batch(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Remove objects with one request; return the keys that are left."""
        start = self._location.prefix
        body = s3_xml.removal(start + key for key in keys)
        request = self._request("POST", query={"delete": ""}, headers={"Content-MD5": _md5(body)}, body=body)
        try:
            reply = self._requests.send(lambda client: client.ask(request))
        except Refusal as refusal:
            if refusal.status in _NO_BATCHES:
                return keys
            raise self._requests.error(refusal, "remove", start + keys[0]) from refusal
        left = self._understood(reply, lambda: s3_xml.not_removed(reply.body))
        return tuple(key[len(start) :] for key in left)

    def remove(self, key: str, *, expect: str) -> None:
        """Remove one object that must have the etag `expect`.

        It is looked at first; a store that knows the condition holds to it between that look and the removal too.
        """
        self._require(key, expect)

        def act(client: Client, condition: Mapping[str, str]) -> Reply:
            return client.ask(self._object("DELETE", key, headers=condition))

        try:
            self._conditional(key, expect, act)
        except Refusal as refusal:
            if refusal.uncertain and (refusal.absent or self._head(key) is None):
                # Gone after an attempt without an answer: that attempt removed it.
                return
            if refusal.status == 412 or refusal.absent:
                raise self._conflict(key) from refusal
            if refusal.status not in _NO_CONDITION:
                raise self._requests.error(refusal, "remove", self._location.prefix + key) from refusal
            self._delete_one(key)

    # Conditions

    def _conditional(self, key: str, expect: str | None, act: Callable[[Client, Mapping[str, str]], Reply]) -> Reply:
        """Act on the condition that `expect` stands for. Raise `Refusal`."""
        try:
            return self._requests.send(lambda client: act(client, self._condition(expect)))
        except Refusal as refusal:
            if refusal.status != 412 or not expect or not self._quoting or not self._is(key, expect):
                raise
        # The object is what it should be: this store (RGW) compares the etag with the quotes that belong around it.
        self._quoting = False
        return self._requests.send(lambda client: act(client, self._condition(expect)))

    def _condition(self, expect: str | None) -> dict[str, str]:
        if expect is None:
            return {}
        if expect == ABSENT:
            return {"If-None-Match": "*"}
        return {"If-Match": f'"{expect}"' if self._quoting else expect}

    def _is(self, key: str, etag: str) -> bool:
        return self._etag(key) == etag

    def _settled(self, key: str, mark: str) -> Reply | None:
        """After a write whose reply may have been lost: what the store has, if that is what we sent."""
        found = self._head(key)
        # Not by its bytes: somebody else may have written the same.
        return found if found and found.headers.get(f"{_METADATA}{_MARK}") == mark else None

    def _etag(self, key: str) -> str:
        found = self._head(key)
        return _etag(found) if found else ABSENT

    # Requests

    def _request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Request:
        owner = {"x-amz-expected-bucket-owner": self._options.owner} if self._options.owner else {}
        return Request(method=method, query=tuple((query or {}).items()), headers={**(headers or {}), **owner}, **rest)

    def _object(self, method: str, key: str, **rest: Any) -> Request:
        return self._request(method, key=self._location.prefix + key, **rest)

    def _ask(self, verb: str, key: str, request: Request, *, absent: bool = False) -> Reply | None:
        return self._send(verb, key, lambda client: client.ask(request), absent=absent)

    def _send(self, verb: str, key: str, act: Callable[[Client], _Answer], *, absent: bool = False) -> _Answer | None:
        """Send a request about an object; None when there is none and that is an answer (`absent`)."""
        try:
            return self._requests.send(act)
        except Refusal as refusal:
            if absent and refusal.absent:
                return None
            raise self._requests.error(refusal, verb, self._location.prefix + key) from refusal

    # Errors

    def _understood(self, reply: Reply, read: Callable[[], _Answer]) -> _Answer:
        """Read the XML of an answer. Raise `RemoteError` for what is none of S3's."""
        try:
            return read()
        except (KeyError, ValueError) as error:
            raise RemoteError(
                f"{self.name}: this is no answer of S3: {reply.body[:80]!r}: {error}",
                hint="check ENDPOINT_URL: it is the address of the S3 API, not of a website or console",
            ) from error

    def _prove(self, key: str, body: Body) -> None:
        try:
            if isinstance(body.source, bytes):
                found, size = hashlib.sha256(body.source).hexdigest(), len(body.source)
            else:
                found, size = self._digests.digest(body.source), body.source.stat().st_size
        except OSError as error:
            raise self._unreadable(key, error) from error
        if (found, size) != (body.sha256, body.size):
            raise self._altered(key, body, f"the bytes at hand are {size} with sha256:{found}")

    def _refused_write(self, refusal: Refusal, key: str, expect: str | None) -> MirrorError:
        if refusal.code in _ALTERED:
            return IntegrityError(
                f"{self.name}: {key} did not arrive as it was sent: {refusal.code}",
                hint="nothing was stored; the connection altered it, or the file changed meanwhile: run again",
            )
        # A condition on what is not there fails as "no such key".
        if expect is not None and (refusal.status == 412 or refusal.absent):
            return self._conflict(key)
        return self._requests.error(refusal, "write", self._location.prefix + key)

    def _altered(self, key: str, body: Body, found: str) -> IntegrityError:
        return IntegrityError(
            f"{self.name}: {key} should be {body.size} bytes with sha256:{body.sha256}, {found}",
            hint="nothing was stored; the local file changed after it was checked: run the whole refresh again",
        )

    def _conflict(self, key: str) -> ConflictError:
        return ConflictError(f"{self.name}: {key} changed meanwhile", hint="somebody else is publishing: run again")

    def _unreadable(self, key: str, error: OSError) -> RemoteError:
        return RemoteError(
            f"{self.name}: cannot read what is to be stored as {key}: {error.strerror or error}",
            hint="run mirror consolidate, which links the files to publish",
        )


class _CollisionError(Exception):
    """Two writes of one object met, and the parts of ours cannot be used any more."""


def _completed(client: Client, request: Request) -> Reply:
    try:
        reply = client.ask(request)
    except Refusal as refusal:
        # "On a 409 failure you should re-initiate the multipart upload" (S3, CompleteMultipartUpload; cloud 2.1).
        if refusal.status == 409:
            raise _CollisionError from refusal
        raise
    if not s3_xml.completed(reply.body):
        # Cut off, or that of a proxy which gave up: whether there is an object now, the next attempt finds out.
        raise Refusal(status=500, code="NoResult", message="the answer ends before it says that the parts are one")
    return reply


def _opened(body: Body) -> contextlib.AbstractContextManager[Any]:
    """The bytes for one attempt: whole when they are few, otherwise as a stream, of which a part is read at a time."""
    if isinstance(body.source, bytes):
        return contextlib.nullcontext(body.source)
    if body.size <= _CHUNK:
        return contextlib.nullcontext(body.source.read_bytes())
    return body.source.open("rb")


def _part(body: Body, start: int, size: int) -> bytes:
    if isinstance(body.source, bytes):
        return body.source[start : start + size]
    with body.source.open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


def _etag(reply: Reply) -> str:
    return reply.headers.get("etag", "").strip('"')


def _known_digest(head: Reply) -> str | None:
    """sha256 (hex) of a whole object, as far as a HEAD tells it and does not contradict itself."""
    noted = head.headers.get(f"{_METADATA}{_DIGEST}", "")
    known = {noted if _HEX.fullmatch(noted) else None, _checksum(head)} - {None}
    return known.pop() if len(known) == 1 else None


def _checksum(head: Reply) -> str | None:
    # One that was made of the checksums of parts is no digest; it carries their number, or says so (cloud 2.2).
    text = head.headers.get("x-amz-checksum-sha256", "")
    if not text or "-" in text or head.headers.get("x-amz-checksum-type") == "COMPOSITE":
        return None
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        return None


def _no_bucket(url: str) -> MirrorError:
    return MirrorError(
        f"DESTINATION {_shown(url)} names no bucket",
        hint="write s3://bucket or s3://bucket/prefix; the name is three or more letters, digits, '-', '.' or '_'",
    )


def _shown(url: str) -> str:
    """A destination without its query, in which somebody may have written a password."""
    return redact(url.partition("?")[0])
