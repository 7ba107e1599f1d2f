"""CloudFront's control plane on loopback, as far as invalidation goes, and as strict as the real one.

It speaks REST with XML over real HTTP, so that real boto3 is what is tested (`AWS_ENDPOINT_URL_CLOUDFRONT` leads it
here). It checks what AWS checks: who asks, which distribution, caller references, spellings of paths, quotas. It counts
what would be billed, and fails as it is told. When an invalidation completes, `on_completed` is called with its paths:
there a test removes what its edge has cached.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMESPACE = "http://cloudfront.amazonaws.com/doc/2020-05-31/"
ACCOUNT = "111122223333"
DISTRIBUTION = "EDFDVBD6EXAMPLE"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "EXAMPLE-ACCESS-KEY",
    "AWS_SECRET_ACCESS_KEY": "EXAMPLE-SECRET",
    "AWS_EC2_METADATA_DISABLED": "true",
}

_ROOT = "/2020-05-31/distribution/"
_MOST_PATHS = 3000
_LONGEST_PATH = 4000
_PATH = re.compile(r"/(?:[A-Za-z0-9$\-_.+!'(),;:@&=?/]|%[0-9A-Fa-f]{2})*\*?")
"""What RFC 1738 lets stand unquoted in a URL, and nothing else; `*` only at the end."""
_TAG = re.compile(r"#[\x21-\x2b\x2d-\x7e]{1,256}")


@dataclass
class Invalidation:
    """An invalidation that was accepted."""

    id: str
    reference: str
    paths: tuple[str, ...]
    created: float
    done: bool = False


@dataclass(frozen=True)
class Fault:
    """What a request meets: `refuse` answers an error, `hang_up` acts, or not, and closes without an answer."""

    code: str
    status: int = 400
    message: str = "as the test wants it"
    acts: bool = False
    """The request is carried out before the connection is closed."""

    @property
    def hangs_up(self) -> bool:
        return self.code == "hang-up"


THROTTLED = Fault("Throttling", 400, "Rate exceeded")
BUSY = Fault("TooManyInvalidationsInProgress", 400, "Processing your request will cause you to exceed the maximum")
BROKEN = Fault("InternalError", 500, "We encountered an internal error")
DENIED = Fault("AccessDenied", 403, f"User: arn:aws:iam::{ACCOUNT}:user/publisher is not authorized")
LOST_REQUEST = Fault("hang-up")
LOST_REPLY = Fault("hang-up", acts=True)


@dataclass
class Distribution:
    """A distribution: how it is configured, and every invalidation of it, oldest first."""

    tag_header: str = ""
    """`CacheTagConfig.HeaderName`; empty for a distribution that has none."""
    invalidations: list[Invalidation] = field(default_factory=list)


class CloudFrontStandIn:
    """A CloudFront at `url`. Use as a context.

    `takes` is the time in seconds for which an invalidation is `InProgress`; `rate` how many paths a second are taken
    on average, None for any number; `spells_done` is what a completed one is called; `access_key` names who may ask.
    """

    def __init__(
        self,
        *,
        takes: float = 0.0,
        rate: float | None = None,
        spells_done: str = "Completed",
        on_completed: Callable[[tuple[str, ...]], None] | None = None,
        access_key: str = CREDENTIALS["AWS_ACCESS_KEY_ID"],
    ) -> None:
        self.distributions = {DISTRIBUTION: Distribution()}
        self.takes = takes
        self.rate = rate
        self.spells_done = spells_done
        self.on_completed = on_completed
        self.access_key = access_key
        """Of the one who may ask."""
        self.on_request: Callable[[str], None] | None = None
        """Called with each action before it is carried out."""
        self.faults: list[Fault] = []
        """The next requests meet these, one each."""
        self.denied: set[str] = set()
        """Actions that the publisher has no permission for."""
        self.requests: list[str] = []
        """The action of every request, in order."""
        self.credit = 0.0
        self.refilled = time.monotonic()
        self.lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stand_in = self
        self._stopped = threading.Event()
        self._threads = (
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._complete, daemon=True),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads boto3 here."""
        return {"AWS_ENDPOINT_URL_CLOUDFRONT": self.url, **CREDENTIALS}

    @property
    def invalidations(self) -> list[Invalidation]:
        """Those of the usual distribution."""
        return self.distributions[DISTRIBUTION].invalidations

    @property
    def billed(self) -> int:
        """Paths and tags of all accepted invalidations; what was asked for again is not billed again."""
        with self.lock:
            return sum(len(made.paths) for one in self.distributions.values() for made in one.invalidations)

    def __enter__(self) -> CloudFrontStandIn:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def _complete(self) -> None:
        while not self._stopped.wait(0.01):
            self.complete()

    def complete(self) -> None:
        """Bring to its end what has taken long enough."""
        with self.lock:
            for made in [made for one in self.distributions.values() for made in one.invalidations]:
                if not made.done and time.monotonic() >= made.created + self.takes:
                    if self.on_completed:
                        self.on_completed(made.paths)
                    made.done = True

    # What the service does

    def create(self, distribution: str, body: bytes) -> tuple[int, str]:
        known = self._distribution(distribution)
        reference, paths = _read_batch(body)
        for made in known.invalidations:
            if made.reference == reference:
                if set(made.paths) == set(paths):
                    return 201, self._spell(made)
                raise _Refusal(
                    "InvalidArgument", 400,
                    "Your request contains a caller reference that was used for a previous invalidation batch for the "
                    "same distribution.",
                )  # fmt: skip
        _check(paths)
        self._take(len(paths))
        made = Invalidation(f"I{len(known.invalidations) + 1:013d}", reference, paths, time.monotonic())
        known.invalidations.append(made)
        return 201, self._spell(made)

    def get(self, distribution: str, identity: str) -> tuple[int, str]:
        for made in self._distribution(distribution).invalidations:
            if made.id == identity:
                return 200, self._spell(made)
        raise _Refusal("NoSuchInvalidation", 404, "The specified invalidation does not exist.")

    def list(self, distribution: str, query: str) -> tuple[int, str]:
        """Newest first, a page at a time."""
        asked = parse_qs(query)
        most, marker = int(asked.get("MaxItems", ["100"])[0]), asked.get("Marker", [""])[0]
        every = [
            made for made in reversed(self._distribution(distribution).invalidations) if not marker or made.id < marker
        ]
        shown, more = every[:most], len(every) > most
        items = "".join(
            f"<InvalidationSummary><Id>{made.id}</Id><CreateTime>{_TIME}</CreateTime>"
            f"<Status>{self._status(made)}</Status></InvalidationSummary>"
            for made in shown
        )
        following = f"<NextMarker>{shown[-1].id}</NextMarker>" if more else ""
        return 200, (
            f'<InvalidationList xmlns="{NAMESPACE}"><Marker>{marker}</Marker>{following}<MaxItems>{most}</MaxItems>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated><Quantity>{len(shown)}</Quantity><Items>{items}</Items>"
            "</InvalidationList>"
        )

    def configuration(self, distribution: str) -> tuple[int, str]:
        header = self._distribution(distribution).tag_header
        tags = f"<CacheTagConfig><HeaderName>{header}</HeaderName></CacheTagConfig>" if header else ""
        return 200, (
            f'<DistributionConfig xmlns="{NAMESPACE}"><CallerReference>made</CallerReference><Comment></Comment>'
            f"<Enabled>true</Enabled>{tags}</DistributionConfig>"
        )

    def _distribution(self, distribution: str) -> Distribution:
        try:
            return self.distributions[distribution]
        except KeyError:
            raise _Refusal("NoSuchDistribution", 404, "The specified distribution does not exist.") from None

    def _take(self, count: int) -> None:
        if self.rate is None:
            return
        now = time.monotonic()
        # A burst is let through when there was quiet before it, however long; then the average has to be reached again.
        self.credit = min(0.0, self.credit + (now - self.refilled) * self.rate)
        self.refilled = now
        if self.credit < 0:
            raise _Refusal(THROTTLED.code, THROTTLED.status, THROTTLED.message)
        self.credit -= count

    def _status(self, made: Invalidation) -> str:
        return self.spells_done if made.done else "InProgress"

    def _spell(self, made: Invalidation) -> str:
        self.complete()
        items = "".join(f"<Path>{escape(path)}</Path>" for path in made.paths)
        return (
            f'<Invalidation xmlns="{NAMESPACE}"><Id>{made.id}</Id><Status>{self._status(made)}</Status>'
            f"<CreateTime>{_TIME}</CreateTime><InvalidationBatch><Paths><Quantity>{len(made.paths)}</Quantity>"
            f"<Items>{items}</Items></Paths><CallerReference>{escape(made.reference)}</CallerReference>"
            "</InvalidationBatch></Invalidation>"
        )


_TIME = "2026-01-02T03:04:05.678Z"


class _Refusal(Exception):
    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(code)
        self.code, self.status, self.message = code, status, message


def _read_batch(body: bytes) -> tuple[str, tuple[str, ...]]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise _Refusal("MissingBody", 400, str(error)) from error
    names = {"": NAMESPACE}
    reference = root.findtext("CallerReference", "", names)
    paths = tuple(item.text or "" for item in root.iterfind("Paths/Items/Path", names))
    if root.findtext("Paths/Quantity", "", names) != str(len(paths)):
        raise _Refusal("InconsistentQuantities", 400, "The value of Quantity and the size of Items do not match.")
    if not reference or not paths:
        raise _Refusal("InvalidArgument", 400, "A caller reference and at least one path are needed.")
    return reference, paths


def _check(paths: tuple[str, ...]) -> None:
    if len(paths) > _MOST_PATHS:
        raise _Refusal("BatchTooLarge", 413, f"{len(paths)} paths are more than {_MOST_PATHS}.")
    for path in paths:
        if path.startswith("#") and _TAG.fullmatch(path):
            continue
        if not _PATH.fullmatch(path) or "%7e" in path.lower() or len(path) > _LONGEST_PATH:
            raise _Refusal("InvalidArgument", 400, "Your request contains one or more invalid invalidation paths.")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stand_in: CloudFrontStandIn

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that are killed leave in the middle."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        stand_in = self.server.stand_in
        with stand_in.lock:
            try:
                action, act = self._route(body)
                stand_in.requests.append(action)
                if stand_in.on_request:
                    stand_in.on_request(action)
                fault = stand_in.faults.pop(0) if stand_in.faults else None
                if fault and fault.hangs_up:
                    if fault.acts:
                        act()
                    self.close_connection = True
                    return
                if fault or action in stand_in.denied:
                    fault = fault or DENIED
                    raise _Refusal(fault.code, fault.status, fault.message)
                status, answer = act()
            except _Refusal as refusal:
                status, answer = (
                    refusal.status,
                    (
                        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{refusal.code}</Code>'
                        f"<Message>{escape(refusal.message)}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
                    ),
                )
        self._answer(status, answer)

    def _route(self, body: bytes) -> tuple[str, Callable[[], tuple[int, str]]]:
        self._authenticate()
        url = urlsplit(self.path)
        stand_in, parts = self.server.stand_in, tuple(url.path.removeprefix(_ROOT).split("/"))
        if url.path.startswith(_ROOT):
            if self.command == "POST" and parts[1:] == ("invalidation",):
                return "CreateInvalidation", lambda: stand_in.create(parts[0], body)
            if self.command == "GET" and parts[1:] == ("invalidation",):
                return "ListInvalidations", lambda: stand_in.list(parts[0], url.query)
            if self.command == "GET" and parts[1:2] == ("invalidation",) and len(parts) == 3:
                return "GetInvalidation", lambda: stand_in.get(parts[0], parts[2])
            if self.command == "GET" and parts[1:] == ("config",):
                return "GetDistributionConfig", lambda: stand_in.configuration(parts[0])
        raise _Refusal("InvalidAction", 404, f"{self.command} {url.path}")

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "")
        scope = rf"AWS4-HMAC-SHA256 Credential={re.escape(self.server.stand_in.access_key)}/\d+/us-east-1/cloudfront/"
        if not given:
            raise _Refusal("MissingAuthenticationToken", 403, "Request is missing Authentication Token")
        if not re.match(scope, given):
            raise _Refusal("InvalidClientTokenId", 403, "The security token included in the request is invalid")

    def _answer(self, status: int, answer: str) -> None:
        data = f'<?xml version="1.0"?>\n{answer}'.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def wildcard_matches(path: str, cached: str) -> bool:
    """Whether an invalidation path covers the path of a cached object, as CloudFront compares them."""
    return cached.startswith(path[:-1]) if path.endswith("*") else cached == path


def covered(paths: tuple[str, ...], cached: list[str]) -> Iterator[str]:
    """The cached paths that an invalidation removes."""
    return (one for one in cached if any(wildcard_matches(path, one) for path in paths))
