"""One bucket over HTTP: requests as S3 spells them, signed, sent, and answered as they came.

botocore finds credentials, regions and endpoints as for every other AWS tool of the user's. Its descriptions of
services are not read, which takes longer than a whole publish without changes, and it neither signs nor sends
(`s3_signature`, `s3_transport`) nor repeats (`s3_requests`): for a small upload that takes longer than to send it.

Every request is signed with the SHA-256 of its body, which is known of every artifact and page before: it is computed
no second time, and a store that judges signatures refuses altered bytes even where it looks at no checksum.
"""

from __future__ import annotations

import hashlib
import http.client
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from botocore.configprovider import ConfiguredEndpointProvider
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError, NoCredentialsError, ProfileNotFound
from botocore.session import Session
from botocore.utils import ensure_boolean

from mirror import __version__
from mirror.errors import MirrorError
from mirror.stores import s3_xml
from mirror.stores.s3_signature import Signer, quoted_path, quoted_query
from mirror.stores.s3_transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mirror.stores.s3_transport import Answer

TIMEOUT = 60.0
"""Seconds for which a store may keep silent."""

_SESSION = {"requests_ca_bundle": (None, "REQUESTS_CA_BUNDLE", None, None)}
"""What botocore's sessions do not look up by themselves: by name, the setting, the variable, the default, the type."""

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

_BELATED = {"PreconditionFailed": 412, "ConditionalRequestConflict": 409, "NoSuchUpload": 404}
"""The status that belongs to an error which came with status 200; any other passes, as far as that can be known."""

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
    size: int = 0
    """Bytes of a body that is a file."""
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
    silent: bool = False
    """Whether the answer could not tell more than its status, as that to a HEAD."""
    uncertain: bool = False
    """Whether an earlier attempt of the same request got no clear answer, and may have been carried out."""

    @property
    def absent(self) -> bool:
        """Whether it says that there is no such object; a bucket that is missing is something else."""
        # Any other answer with a body may be that of a proxy or a load balancer (DESIGN rule 4).
        return self.status == 404 and (self.code == "NoSuchKey" or self.silent)

    @property
    def passing(self) -> bool:
        """Whether the same request may have another answer a moment later."""
        return self.status in _PASSING or self.code in _PASSING_CODES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the bucket is asked, and what requests there are signed for."""

    path: str
    """Of the bucket, without a slash at its end."""
    signer: Signer
    transport: Transport


def connect(
    *, bucket: str, region: str, profile: str, endpoint_url: str, connections: int, timeout: float = TIMEOUT
) -> Client:
    """Make the client of a bucket; empty values mean what the user's own AWS configuration says.

    With an `endpoint_url` keys are addressed below the bucket's path, which every compatible store understands, unless
    the configuration says `addressing_style = virtual`. `timeout` is for how many seconds the store may keep silent.
    Raise `MirrorError` for a profile or an endpoint that makes no sense. Nothing is sent.
    """
    session = Session(session_vars=_SESSION, profile=profile or None)
    session.user_agent_name, session.user_agent_version = "mirror", __version__
    try:
        endpoint = endpoint_url or _configured_endpoint(session)
        chosen = region or session.get_config_variable("region") or (_COMPATIBLE_REGION if endpoint else _REGION)
        return Client(session, bucket, endpoint, chosen, connections, timeout)
    except ProfileNotFound as error:
        raise MirrorError(
            f"there is no AWS profile {profile or session.profile}",
            hint="correct AWS_PROFILE, or make it with: aws configure --profile",
        ) from error
    except (BotoCoreError, ValueError) as error:
        raise MirrorError(f"cannot use S3: {error}", hint="check ENDPOINT_URL and AWS_REGION") from error
    except OSError as error:
        raise MirrorError(
            f"cannot read the certificates of authorities: {error}", hint="check AWS_CA_BUNDLE"
        ) from error


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

    Its methods raise `Refusal` for an answer that is no success, `NoAnswer` when there is none, and `BotoCoreError`
    when nobody knows who we are.
    """

    def __init__(
        self, session: Session, bucket: str, endpoint_url: str, region: str, connections: int, timeout: float
    ) -> None:
        """Be ready to ask; see `connect`. Raise `BotoCoreError`, `ValueError` or `OSError` for what makes no sense."""
        self._session = session
        self._bucket = bucket
        self._endpoint_url = endpoint_url
        self._connections = connections
        self._timeout = timeout
        self._place = self._find(region)

    def ask(self, request: Request) -> Reply:
        """Send a request, and read the whole answer."""
        answer = self._send(request)
        body = answer.read()
        if request.method == "POST" and (told := s3_xml.error(body)):
            # Work that takes long begins its answer before it knows the outcome.
            raise Refusal(status=_BELATED.get(told.code, 500), code=told.code, message=told.message)
        return Reply(answer.headers, body)

    def chunks(self, request: Request, size: int) -> Iterator[bytes]:
        """Send a request, and read the answer `size` bytes at a time."""
        return self._send(request, stream=True).chunks(size)

    def _send(self, request: Request, *, stream: bool = False) -> Answer:
        """Send a request, twice when the bucket turns out to lie in another region."""
        place = self._place
        answer = self._sent(request, place, stream=stream)
        if answer.status < 300:
            return answer
        told = s3_xml.error(answer.read())
        region = answer.headers.get("x-amz-bucket-region") or (told.region if told else "")
        if answer.status in _ELSEWHERE and region and region != place.signer.region:
            self._place = place = self._find(region)
            if not isinstance(request.body, bytes):
                request.body.seek(0)
            answer = self._sent(request, place, stream=stream)
            if answer.status < 300:
                return answer
            told = s3_xml.error(answer.read())
        raise _refusal(request, answer, told)

    def _sent(self, request: Request, place: _Place, *, stream: bool) -> Answer:
        if self._credentials is None:
            raise NoCredentialsError
        path = f"{place.path}/{quoted_path(request.key)}"
        query = quoted_query(request.query)
        sha256 = request.sha256 or hashlib.sha256(request.body).hexdigest()  # type: ignore[arg-type]
        headers = place.signer.signed(
            self._credentials.get_frozen_credentials(),
            request.method,
            path,
            query,
            {**request.headers, "host": place.transport.host},
            sha256,
        )
        headers["user-agent"] = self._user_agent
        target = f"{path}?{query}" if query else path
        return place.transport.send(request.method, target, headers, request.body, size=request.size, stream=stream)

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
        session = self._session
        transport = Transport(
            url,
            certificates=session.get_config_variable("ca_bundle") or session.get_config_variable("requests_ca_bundle"),
            connections=self._connections,
            timeout=self._timeout,
        )
        path = quoted_path(urlsplit(url).path.rstrip("/"))
        return _Place(path=path, signer=Signer(service=service, region=signed), transport=transport)

    def _address(self, region: str) -> tuple[str, str, str]:
        """The bucket's URL, and the service and region to sign for."""
        session = self._session
        own = session.get_config_variable("s3") or {}
        style = own.get("addressing_style")
        if self._endpoint_url and style != "virtual":
            return f"{self._endpoint_url.rstrip('/')}/{self._bucket}", "s3", region
        loader = session.get_component("data_loader")
        # The rules of AWS itself: partitions, dots in names, FIPS, dual stack, access points.
        rules = EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))
        given = {"Endpoint": self._endpoint_url} if self._endpoint_url else {}
        found = rules.resolve_endpoint(
            **given,
            Bucket=self._bucket,
            Region=region,
            UseFIPS=bool(session.get_config_variable("use_fips_endpoint")),
            UseDualStack=bool(session.get_config_variable("use_dualstack_endpoint")),
            ForcePathStyle=style == "path",
            Accelerate=ensure_boolean(own.get("use_accelerate_endpoint", False)),
            UseArnRegion=ensure_boolean(own.get("use_arn_region", True)),
            UseGlobalEndpoint=False,
            DisableMultiRegionAccessPoints=True,
        )
        for scheme in found.properties["authSchemes"]:
            if scheme["name"] == "sigv4":
                return found.url.rstrip("/"), scheme["signingName"], scheme["signingRegion"]
        raise ValueError(f"{self._bucket} is a kind of bucket that cannot be published to")


def moment(date: str | None) -> float | None:
    """Seconds since the epoch of a date as HTTP writes it; None for none, and for what is no date."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None


def _refusal(request: Request, answer: Answer, told: s3_xml.Fault | None) -> Refusal:
    status = answer.status
    code, message = (told.code, told.message) if told else (str(status), "")
    theirs = moment(answer.headers.get("date"))
    skew = time.time() - theirs if theirs else 0.0
    if status == 403 and code == "403" and abs(skew) > _MOST_SKEW:
        # A HEAD is told no reason, but every answer tells the time.
        code = _SKEWED
    if code == _SKEWED:
        message = f"our clock is {abs(skew):,.0f} seconds {'ahead of' if skew > 0 else 'behind'} theirs"
    if not message:
        message = http.client.responses.get(status, "")
    return Refusal(status=status, code=code, message=message, silent=request.method == "HEAD")
