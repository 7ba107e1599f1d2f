"""One bucket over HTTP: requests as S3 spells them, signed and sent by botocore, answered as they came.

The door to botocore for stores. It finds credentials, regions, endpoints, proxies and certificates as for every other
AWS tool of the user's, signs (Signature Version 4) and sends; its descriptions of services are not read, which takes
longer than a whole publish without changes, and neither are its retries used (see `s3_requests`).

Every request is signed with the SHA-256 of its body, which is known of every artifact and page before: it is computed
no second time, and a store that judges signatures refuses altered bytes even where it looks at no checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.endpoint import EndpointCreator
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError, IncompleteReadError, NoCredentialsError, ProfileNotFound
from botocore.response import StreamingBody
from botocore.session import Session
from botocore.utils import ensure_boolean

from mirror import __version__
from mirror.errors import MirrorError
from mirror.stores import s3_xml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 60.0
"""Both in seconds."""

_SOCKET = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)
"""A request goes out at once, although its body follows its head; a peer that vanished is noticed."""

_REGION = "us-east-1"
"""Where S3 is asked when no region is configured; it answers where the bucket really lies."""
_COMPATIBLE_REGION = "auto"
"""What a compatible store is told when no region is configured; R2 asks for this word, others take any."""

_ELSEWHERE = frozenset({301, 302, 307, 400})
"""Statuses with which S3 tells, in `x-amz-bucket-region`, that a bucket lies in another region."""

_SKEWED = "RequestTimeTooSkewed"
_MOST_SKEW = 15 * 60.0
"""Seconds by which clocks may differ before S3 refuses a signature."""

_PASSING = frozenset({408, 409, 429, 500, 502, 503, 504})
"""Statuses that another try may change; 409 is a race between two conditional writes, not a condition that failed."""

_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the bucket, or to an object in it."""

    method: str
    """Of HTTP, in capitals."""
    key: str = ""
    """Of the object, not quoted; empty for the bucket."""
    query: tuple[tuple[str, str], ...] = ()
    """Names, and values that are not quoted; an empty value is left out together with its equals sign."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BinaryIO = b""
    sha256: str = ""
    """Digest (hex) of the body; may be left out when that is bytes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that says yes."""

    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes


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


class _Signer(S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """Signs with a digest of the body that is known."""

    def payload(self, request: Any) -> str:
        """Digest (hex) of the body."""
        return str(request.context["payload"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the bucket is asked, and what requests there are signed for."""

    url: str
    """Of the bucket, without a slash at its end."""
    service: str
    region: str
    http: Any
    """botocore's HTTP session: a pool of connections."""


def connect(*, bucket: str, region: str, profile: str, endpoint_url: str, connections: int) -> Client:
    """Make the client of a bucket; empty values mean what the user's own AWS configuration says.

    With an `endpoint_url` keys are addressed below the bucket's path, which every compatible store understands. Raise
    `MirrorError` for a profile or an endpoint that makes no sense. Nothing is sent.
    """
    session = Session(profile=profile or None)
    session.user_agent_name, session.user_agent_version = "mirror", __version__
    try:
        endpoint = endpoint_url or _configured_endpoint(session)
        chosen = region or session.get_config_variable("region") or (_COMPATIBLE_REGION if endpoint else _REGION)
        return Client(session, bucket, endpoint, chosen, connections)
    except ProfileNotFound as error:
        raise MirrorError(
            f"there is no AWS profile {profile or session.profile}",
            hint="correct AWS_PROFILE, or make it with: aws configure --profile",
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise MirrorError(f"cannot use S3: {error}", hint="check ENDPOINT_URL and AWS_REGION") from error


def _configured_endpoint(session: Session) -> str:
    """What AWS_ENDPOINT_URL and the like say, or the profile; empty for AWS itself."""
    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return ""
    provider = ConfiguredEndpointProvider(
        full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
    )
    return str(provider.provide() or "")


class Client:
    """Asks one bucket. Safe for several threads.

    Its methods raise `Refusal` for an answer that is no success, and `BotoCoreError` when there is none.
    """

    def __init__(self, session: Session, bucket: str, endpoint_url: str, region: str, connections: int) -> None:
        """Be ready to ask; see `connect`. Raise `BotoCoreError` or `ValueError` for an endpoint that is none."""
        self._session = session
        self._bucket = bucket
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._place = self._find(region)

    def ask(self, request: Request) -> Reply:
        """Send a request, and read the whole answer."""
        response = self._send(request)
        headers = {name.lower(): str(value) for name, value in response.headers.items()}
        body: bytes = response.content
        length = headers.get("content-length", "")
        if request.method != "HEAD" and length.isdecimal() and len(body) != int(length):
            raise IncompleteReadError(actual_bytes=len(body), expected_bytes=int(length))
        if request.method == "POST" and (told := s3_xml.error(body)):
            # Work that takes long begins its answer before it knows the outcome.
            raise Refusal(status=500, code=told[0], message=told[1])
        return Reply(headers, body)

    def chunks(self, request: Request, size: int) -> Iterator[bytes]:
        """Send a request, and read the answer `size` bytes at a time."""
        response = self._send(request, stream=True)
        with contextlib.closing(StreamingBody(response.raw, response.headers.get("Content-Length"))) as stream:
            yield from stream.iter_chunks(size)

    def _send(self, request: Request, *, stream: bool = False) -> Any:
        """Send a request, twice when the bucket turns out to lie in another region."""
        place = self._place
        response = place.http.send(self._signed(request, place, stream=stream))
        region = response.headers.get("x-amz-bucket-region")
        if response.status_code in _ELSEWHERE and region and region != place.region:
            self._place = place = self._find(region)
            if not isinstance(request.body, bytes):
                request.body.seek(0)
            response = place.http.send(self._signed(request, place, stream=stream))
        if response.status_code >= 300:
            raise _refusal(response)
        return response

    def _signed(self, request: Request, place: _Place, *, stream: bool) -> Any:
        if self._credentials is None:
            raise NoCredentialsError
        url = f"{place.url}/{quote(request.key, safe='/~')}"
        if request.query:
            fields = (f"{name}={quote(value, safe='')}" if value else name for name, value in request.query)
            url = f"{url}?{'&'.join(fields)}"
        headers = {"User-Agent": self._user_agent, **request.headers}
        if not isinstance(request.body, bytes):
            # A body that will be refused need not be sent.
            headers["Expect"] = "100-continue"
        made = AWSRequest(request.method, url, headers, request.body or None, stream_output=stream)
        made.context["payload"] = request.sha256 or hashlib.sha256(request.body).hexdigest()  # type: ignore[arg-type]
        _Signer(self._credentials.get_frozen_credentials(), place.service, place.region).add_auth(made)
        return made.prepare()

    @cached_property
    def _credentials(self) -> Any:
        """Who we are; some kinds are asked for over the network, and renew themselves."""
        return self._session.get_credentials()

    @cached_property
    def _user_agent(self) -> str:
        return str(self._session.user_agent())

    # Where to

    def _find(self, region: str) -> _Place:
        """Where the bucket is asked when it lies in a region."""
        url, service, signed = self._address(region)
        # Proxies and certificates as for every client of botocore; of the service it wants no more than the name.
        endpoint = EndpointCreator(self._session.get_component("event_emitter")).create_endpoint(
            SimpleNamespace(endpoint_prefix="s3"),
            region,
            url,
            verify=self._session.get_config_variable("ca_bundle"),
            timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT),
            max_pool_connections=self._connections,
            socket_options=list(_SOCKET),
        )
        return _Place(url=url, service=service, region=signed, http=endpoint.http_session)

    def _address(self, region: str) -> tuple[str, str, str]:
        """The bucket's URL, and the service and region to sign for."""
        if self._endpoint_url:
            return f"{self._endpoint_url.rstrip('/')}/{self._bucket}", "s3", region
        session = self._session
        own = session.get_config_variable("s3") or {}
        loader = session.get_component("data_loader")
        # The rules of AWS itself: partitions, dots in names, FIPS, dual stack, access points.
        rules = EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))
        found = rules.resolve_endpoint(
            Bucket=self._bucket,
            Region=region,
            UseFIPS=bool(session.get_config_variable("use_fips_endpoint")),
            UseDualStack=bool(session.get_config_variable("use_dualstack_endpoint")),
            ForcePathStyle=own.get("addressing_style") == "path",
            Accelerate=ensure_boolean(own.get("use_accelerate_endpoint", False)),
            UseArnRegion=ensure_boolean(own.get("use_arn_region", True)),
            UseGlobalEndpoint=False,
            DisableMultiRegionAccessPoints=True,
        )
        for scheme in found.properties["authSchemes"]:
            if scheme["name"] == "sigv4":
                return found.url.rstrip("/"), scheme["signingName"], scheme["signingRegion"]
        raise ValueError(f"{self._bucket} is a kind of bucket that cannot be published to")


def _refusal(response: Any) -> Refusal:
    status: int = response.status_code
    code, message = s3_xml.error(response.content) or (str(status), "")
    skew = _skew(response.headers.get("Date"))
    if status == 403 and code == "403" and abs(skew) > _MOST_SKEW:
        # A HEAD is told no reason, but every answer tells the time.
        code = _SKEWED
    if code == _SKEWED:
        message = f"our clock is {abs(skew):,.0f} seconds {'ahead of' if skew > 0 else 'behind'} theirs"
    if not message:
        message = http.client.responses.get(status, "")
    return Refusal(status=status, code=code, message=message)


def _skew(date: str | None) -> float:
    """Seconds by which the clock of this machine is ahead of the store's."""
    return time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
