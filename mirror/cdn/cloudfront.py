"""CloudFront as the CDN in front of a store. Only runs that name a distribution import it, for boto3 takes its time."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from mirror.cdn.base import Ticket
from mirror.cdn.paths import base_of, batches
from mirror.errors import RemoteError
from mirror.layout import PAGE_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mirror.cdn.paths import Batch

_Answer = TypeVar("_Answer")

TAG_HEADER = "x-amz-meta-cache-tag"
"""The header by which an object in S3 says its tags: those in its metadata `cache-tag`."""

_REGION = "us-east-1"
"""CloudFront is one service for all regions, at home here; only China has one of its own."""
_CHINA = "cn-"
_BUSY = frozenset(
    {
        *("Throttling", "ThrottlingException", "TooManyInvalidationsInProgress", "RequestLimitExceeded", "SlowDown"),
        *("ServiceUnavailable", "InternalError", "InternalFailure", "RequestTimeout"),
    }
)
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_STRANGER = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"),
        *("SignatureDoesNotMatch", "InvalidSignatureException", "MissingAuthenticationToken", "RequestExpired"),
    }
)
_USED = frozenset({"InvalidationBatchAlreadyExists", "InvalidArgument"})
"""How CloudFront has been seen to refuse a reference that it knows with other paths."""


class Client(Protocol):
    """What is used of boto3's CloudFront client."""

    def create_invalidation(self, *, DistributionId: str, InvalidationBatch: Any) -> Any:  # noqa: N803
        """POST /distribution/<id>/invalidation."""

    def get_invalidation(self, *, DistributionId: str, Id: str) -> Any:  # noqa: N803
        """GET /distribution/<id>/invalidation/<id>."""

    def get_distribution_config(self, *, Id: str) -> Any:  # noqa: N803
        """GET /distribution/<id>/config."""


class CloudFront:
    """A `Cdn` on one distribution."""

    def __init__(
        self, client: Client, distribution: str, *, domain: str = "", attempts: int = 8, delay: float = 1.0
    ) -> None:
        """Use `client`, which must not retry by itself.

        `domain` is the name under which the distribution is reached, with the path of the mirror when it is not at the
        root. A busy CloudFront is asked `attempts` times, after waits that begin at up to `delay` seconds and double.
        """
        host, _, path = domain.rpartition("://")[2].partition("/")
        self._client = client
        self._distribution = distribution
        self._host = host
        self._base = base_of(path)
        self._attempts = attempts
        self._delay = delay

    @classmethod
    def open(cls, distribution: str, *, domain: str = "", profile: str = "", region: str = "") -> CloudFront:
        """Connect with the credentials that boto3 finds; `profile` names one of the AWS configuration.

        `region` is where everything else is. Raise `RemoteError` for a profile that there is none of.
        """
        home = region if region.startswith(_CHINA) else _REGION
        try:
            session = boto3.Session(profile_name=profile or None, region_name=home)
            settings = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
            return cls(session.client("cloudfront", config=settings), distribution, domain=domain)
        except BotoCoreError as error:
            raise _unconfigured(error) from error

    @property
    def id(self) -> str:
        """The distribution's id."""
        return self._distribution

    @property
    def name(self) -> str:
        """CloudFront, the id, and the domain where it is known."""
        return f"CloudFront {self._distribution}" + (f" ({self._host})" if self._host else "")

    @property
    def base(self) -> str:
        """The path of the domain."""
        return self._base

    def page_tag(self) -> str:
        """The tag of all pages if the distribution takes tags from S3's metadata; CloudFront ignores it otherwise.

        A publisher that may not read the configuration gets along without tags.
        """
        try:
            answer = self._ask(
                "GetDistributionConfig", lambda: self._client.get_distribution_config(Id=self._distribution)
            )
        except _Denied:
            return ""
        header = (answer["DistributionConfig"].get("CacheTagConfig") or {}).get("HeaderName") or ""
        return PAGE_TAG if header.lower() == TAG_HEADER else ""

    def invalidate(self, paths: Sequence[str], reference: str) -> Ticket:
        """Ask for all paths, a batch at a time."""
        made = [self._create(batch) for batch in batches(paths, reference)]
        return Ticket(
            ids=tuple(identity for identity, _ in made),
            pending=tuple(identity for identity, status in made if not _is_done(status)),
        )

    def status(self, ticket: Ticket) -> Ticket:
        """Look at the invalidations that are pending."""
        pending = tuple(identity for identity in ticket.pending if not _is_done(self._status(identity)))
        return Ticket(ids=ticket.ids, pending=pending)

    def _create(self, batch: Batch) -> tuple[str, str]:
        """The id and status of the invalidation of a batch."""
        body = {
            "CallerReference": batch.reference,
            "Paths": {"Quantity": len(batch.paths), "Items": list(batch.paths)},
        }
        # A lost answer is no harm: the same reference brings the invalidation that was made then.
        answer = self._ask(
            "CreateInvalidation",
            lambda: self._client.create_invalidation(DistributionId=self._distribution, InvalidationBatch=body),
        )
        return answer["Invalidation"]["Id"], answer["Invalidation"]["Status"]

    def _status(self, identity: str) -> str:
        answer = self._ask(
            "GetInvalidation",
            lambda: self._client.get_invalidation(DistributionId=self._distribution, Id=identity),
        )
        return str(answer["Invalidation"]["Status"])

    def _ask(self, action: str, call: Callable[[], _Answer]) -> _Answer:
        """Call until CloudFront has the time to answer."""
        for attempt in range(1, self._attempts + 1):
            try:
                return call()
            except (NoCredentialsError, PartialCredentialsError, TokenRetrievalError) as error:
                raise _unconfigured(error) from error
            except (ClientError, HTTPClientError) as error:
                if attempt == self._attempts or not _is_passing(error):
                    raise self._refusal(action, error) from error
            except BotoCoreError as error:
                raise self._refusal(action, error) from error
            time.sleep(random.uniform(0.5, 1.0) * min(self._delay * 2 ** (attempt - 1), 20 * self._delay))  # noqa: S311
        raise AssertionError

    def _refusal(self, action: str, error: Exception) -> RemoteError:
        if not isinstance(error, ClientError):
            return RemoteError(
                f"{self.name} does not answer: {error}",
                hint="run `mirror invalidate` again; it asks for the very same thing, which costs nothing",
            )
        code, message = _reason(error)
        if code in _DENIED:
            return _Denied(
                f"{self.name}: {action} was refused: {message}",
                hint=f"allow the publisher cloudfront:{action} on "
                f"arn:aws:cloudfront::<account>:distribution/{self._distribution}",
            )
        return RemoteError(f"{self.name}: {action} failed: {code}: {message}", hint=self._advice(code))

    def _advice(self, code: str) -> str:
        if code == "NoSuchDistribution":
            return f"CLOUDFRONT_DISTRIBUTION_ID is {self._distribution}: correct it, or choose the account that has it"
        if code in _STRANGER:
            return "the credentials are wrong or have expired: renew them and run again"
        if code in _BUSY:
            return "CloudFront is busy with other requests of this account: run `mirror invalidate` in a few minutes"
        if code in _USED:
            return "run `mirror invalidate --all`, which asks for every page under a new reference"
        return "what is published is whole; run `mirror invalidate` again"


class _Denied(RemoteError):
    """The credentials are good, and do not suffice."""


def _is_done(status: str) -> bool:
    # The documentation writes `Completed`, some that speak the same protocol write it in capitals.
    return status.lower() == "completed"


def _is_passing(error: Exception) -> bool:
    if not isinstance(error, ClientError):
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _reason(error)[0] in _BUSY or status == 429 or status >= 500


def _reason(error: ClientError) -> tuple[str, str]:
    found = error.response.get("Error", {})
    return str(found.get("Code") or "unknown"), str(found.get("Message") or "no reason is given").strip()


def _unconfigured(error: BotoCoreError) -> RemoteError:
    fix = (
        "correct AWS_PROFILE"
        if isinstance(error, ProfileNotFound)
        else "log in, or set AWS_PROFILE or the variables that the AWS documentation names"
    )
    return RemoteError(f"CloudFront cannot be asked: {error}", hint=fix)
