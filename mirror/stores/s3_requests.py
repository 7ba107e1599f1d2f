"""Requests to an S3 API: one client for all threads, repeated while that may help, refused in words that help.

The door to boto3 for stores. Retries are our own and botocore's are off: a conditional write whose reply was lost looks
like a conflict when it is repeated, and only who counts the attempts can tell the two apart.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from mirror.errors import MirrorError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Answer = TypeVar("_Answer")

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 60.0
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 10.0
"""All in seconds."""

_COMPATIBLE_REGION = "auto"
"""What a compatible store is told when no region is configured; R2 asks for this word, others take any."""

_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses that another try may change; 409 is a race between two conditional writes, not a condition that failed."""

_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"})

_HINTS = {
    "NoSuchBucket": "create the bucket, or correct its name in DESTINATION or BUCKET_NAME",
    "InvalidAccessKeyId": "the store does not know this access key: check AWS_PROFILE and the credentials it names",
    "SignatureDoesNotMatch": "the secret key does not fit the access key: check the credentials",
    "ExpiredToken": "the credentials have expired: log in again, then run again",
    "InvalidToken": "the session token is not of this account or has expired: log in again, then run again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: set it, then run again",
    "PermanentRedirect": "the bucket lies in another region: set AWS_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket lies in another region: set AWS_REGION to it",
    "NotImplemented": "the store cannot do this: publish to one that speaks more of the language of S3",
}

_PERMISSIONS = {
    "list": "s3:ListBucket",
    "read": "s3:GetObject",
    "write": "s3:PutObject",
    "remove": "s3:DeleteObject",
}


_Operation: TypeAlias = "Callable[..., dict[str, Any]]"


class Client(Protocol):
    """What we use of boto3's S3 client. Each raises `ClientError` or `BotoCoreError`; safe for several threads."""

    list_objects_v2: _Operation
    head_object: _Operation
    get_object: _Operation
    put_object: _Operation
    delete_object: _Operation
    delete_objects: _Operation
    create_multipart_upload: _Operation
    upload_part: _Operation
    complete_multipart_upload: _Operation
    abort_multipart_upload: _Operation


def connect(*, region: str, profile: str, endpoint_url: str, connections: int) -> Client:
    """Make a client; empty values mean what the user's own AWS configuration says.

    With an `endpoint_url` keys are addressed below the bucket's path, which every compatible store understands. Raise
    `MirrorError` for a profile or an endpoint that makes no sense. Nothing is sent.
    """
    config = Config(
        # A trailer with a checksum is refused by many compatible stores (cloud 2.2); ours is sent as a header.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=connections,
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        tcp_keepalive=True,
        parameter_validation=False,
        s3={
            "addressing_style": "path" if endpoint_url else "auto",
            # The digest is in a header of its own, so hashing the body for the signature as well would tell nothing
            # new. Without TLS that signature is all that protects the body, so there it stays.
            **({} if endpoint_url.startswith("http://") else {"payload_signing_enabled": False}),
        },
    )
    try:
        session = boto3.Session(profile_name=profile or None, region_name=region or None)
        client: Client = session.client(
            "s3",
            config=config,
            endpoint_url=endpoint_url or None,
            region_name=session.region_name or (_COMPATIBLE_REGION if endpoint_url else None),
        )
    except ProfileNotFound as error:
        raise MirrorError(
            f"there is no AWS profile {profile}", hint="correct AWS_PROFILE, or make it with: aws configure --profile"
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise MirrorError(f"cannot use S3: {error}", hint="check ENDPOINT_URL and AWS_REGION") from error
    return client


@dataclass(eq=False, kw_only=True)
class Refusal(Exception):
    """An answer of the store that is no success; the caller knows what it means."""

    status: int
    """Of HTTP."""
    code: str
    """Of S3, such as `NoSuchKey`; to a HEAD only the status as text."""
    message: str
    uncertain: bool = False
    """Whether an earlier attempt of the same request got no clear answer, and may have been carried out."""

    @property
    def absent(self) -> bool:
        """Whether it says that there is no such object; a bucket that is missing is something else."""
        return self.status == 404 and self.code in ("NoSuchKey", "404", "NotFound")

    @property
    def passing(self) -> bool:
        """Whether the same request may have another answer a moment later."""
        return self.status in _PASSING or self.code in _PASSING_CODES


@dataclass(kw_only=True)
class Requests:
    """Requests to one bucket."""

    client: Client
    name: str
    """What messages call the store."""
    bucket: str
    attempts: int
    """How often a request is sent at most."""
    answered: bool = False
    """Whether the bucket is known to be there."""

    def send(self, act: Callable[[Client], _Answer]) -> _Answer:
        """Let `act` ask the client, again and again while that may help, with pauses that grow and are drawn by lot.

        Raise `Refusal` for an answer that is none of success, `RemoteError` when there is no answer.
        """
        uncertain = False
        for delay in _delays(self.attempts):
            try:
                answer = act(self.client)
            except ClientError as error:
                refusal = _refusal(error, uncertain=uncertain)
                if not refusal.passing or delay is None:
                    raise refusal from error
                uncertain = uncertain or refusal.status >= 500
            except SSLError as error:
                raise self._unreachable(error) from error
            except (HTTPClientError, BotoConnectionError, IncompleteReadError) as error:
                if delay is None:
                    raise self._unreachable(error) from error
                # A connection that was never made has carried nothing.
                uncertain = uncertain or not isinstance(error, EndpointConnectionError)
            except BotoCoreError as error:
                raise self._unreachable(error) from error
            else:
                self.answered = True
                return answer
            if delay:
                time.sleep(delay)
        raise AssertionError("the last attempt answers or raises")

    def error(self, refusal: Refusal, verb: str, key: str) -> RemoteError:
        """Say what was refused, and what to do about it. `verb` is list, read, write or remove."""
        hint = _HINTS.get(refusal.code)
        if hint is None and refusal.status == 403:
            hint = f"allow {self._permission(verb, key)}, and check that the bucket belongs to the expected account"
        if hint is None:
            hint = "what is stored is whole: run again to go on"
        what = f"{verb} {key}" if key else verb
        return RemoteError(
            f"{self.name}: cannot {what}: {refusal.status} {refusal.code} {refusal.message}".rstrip(), hint=hint
        )

    def _permission(self, verb: str, key: str) -> str:
        arn = f"arn:aws:s3:::{self.bucket}"
        if verb == "list":
            return f"{_PERMISSIONS[verb]} on {arn}"
        needed = f"{_PERMISSIONS[verb]} on {arn}/{key}"
        # Without it S3 answers 403 for what is not there (cloud 2.1).
        return f"{needed} and s3:ListBucket on {arn}" if verb == "read" else needed

    def _unreachable(self, error: BotoCoreError) -> RemoteError:
        if isinstance(error, (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)):
            hint = "set AWS_PROFILE, or the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        elif isinstance(error, SSLError):
            hint = "if the store has a certificate of your own authority, name that in AWS_CA_BUNDLE"
        else:
            hint = "check the network, ENDPOINT_URL and AWS_REGION; what is stored is whole: run again to go on"
        return RemoteError(f"{self.name}: {error}", hint=hint)


def _delays(attempts: int) -> Iterator[float | None]:
    """The pause after each attempt, in seconds; None after the last one."""
    for number in range(attempts - 1):
        # Full jitter: publishers that failed together do not come back together.
        yield random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2**number))  # noqa: S311 # keeps no secret
    yield None


def _refusal(error: ClientError, *, uncertain: bool) -> Refusal:
    told = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = str(told.get("Message") or "")
    return Refusal(status=int(status), code=str(told.get("Code", status)), message=message, uncertain=uncertain)
