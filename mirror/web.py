"""The one door to HTTP: pooled connections, the system's certificates, proxies, netrc, retries, safe redirects."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
import truststore
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_netrc_auth
from urllib3.exceptions import HTTPError, InsecureRequestWarning

from mirror import __version__
from mirror.credentials import origin, redact
from mirror.errors import MirrorError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mirror.credentials import Credentials
    from mirror.downloads.configuration import Network

_PASSING = (429, 500, 502, 503, 504)
_LONGEST_WAIT = 30.0
"""Seconds; a host that asks for more by `Retry-After` is given up on rather than waited for."""
_DEAD_AFTER = 4
"""Requests in a row that a host did not answer at all, before it is not asked any more in this run."""
_SLOWEST = 1024
"""Bytes a second, over several times the timeout; whoever sends less is as good as silent."""
_GATHERED_FOR = 0.25
"""Seconds; whoever shows progress, or has to stop, cannot wait for a slow host to fill a chunk."""
_FOREVER = float("inf")
_CHUNK = 1 << 18
_PIECE = 1 << 14
"""Bytes asked of the connection at once: it makes room for them whether they come or not, and TLS brings no more."""


class Interrupted(RemoteError):
    """The connection ended, or fell silent, in the middle of a body."""


class Unreachable(RemoteError):
    """The host did not answer, or nobody could be sure that it was the right one."""


class Reply:
    """A status, headers, and a body that is read once."""

    def __init__(self, response: requests.Response, patience: float) -> None:
        self._response = response
        self._patience = patience
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = redact(response.url)
        """Where the answer really came from, after redirects; without credentials."""

    def body(self, limit: int) -> bytes:
        """The whole body, decompressed. Raise `RemoteError` above `limit` bytes, `Interrupted` for half a body."""
        pieces, total = [], 0
        for piece in self._pieces(decode=True):
            total += len(piece)
            if total > limit:
                raise RemoteError(f"{self.url} is larger than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def chunks(self) -> Iterator[memoryview]:
        """The body as it is sent, undecoded, in chunks large enough that threads seldom wait for each other.

        A chunk is a view that holds until the next one is asked for. Raise `Interrupted` when the body ends before
        `Content-Length` is reached.
        """
        # One buffer for the whole body: large blocks that come and go cost more than the bytes in them.
        gathered, filled, since = memoryview(bytearray(_CHUNK + _PIECE)), 0, time.monotonic()
        try:
            for piece in self._pieces(decode=False):
                gathered[filled : filled + len(piece)] = piece
                filled += len(piece)
                if filled >= _CHUNK or time.monotonic() - since > _GATHERED_FOR:
                    yield gathered[:filled]
                    filled, since = 0, time.monotonic()
        except Interrupted:
            # What came before is good, and asking for the rest may be all that is needed.
            yield gathered[:filled]
            raise
        yield gathered[:filled]

    def _pieces(self, *, decode: bool) -> Iterator[bytes]:
        raw = self._response.raw
        since, received = time.monotonic(), 0
        try:
            # `read1` gives what is there. `read` and `stream` wait for a full chunk, and so for ever on a slow drip.
            while piece := raw.read1(_PIECE, decode_content=decode):
                yield piece
                received += len(piece)
                now = time.monotonic()
                if now - since > self._patience:
                    if received < _SLOWEST * (now - since):
                        raise Interrupted(f"{self.url}: only {received} bytes came in {now - since:.0f} seconds")
                    since, received = now, 0
        except (HTTPError, OSError) as error:
            raise Interrupted(f"{self.url}: {_plain(error)}") from error


class Web:
    """Requests to any host. Safe for several threads."""

    def __init__(
        self, network: Network, credentials: Credentials, environ: Mapping[str, str], connections: int
    ) -> None:
        """Keep up to `connections` open to each host. Raise `MirrorError` for a certificate that cannot be read."""
        self._network = network
        self._credentials = credentials
        self._silent: Counter[tuple[str, str, int | None]] = Counter()
        self._lock = threading.Lock()
        self._session = _Session()
        self._session.max_redirects = 10
        self._session.headers["User-Agent"] = f"mirror/{__version__}"
        for prefix in ("https://", "http://"):
            self._session.mount(prefix, _Adapter(_context(network, environ), network, connections))
        for host in network.trusted_hosts:
            urllib3.disable_warnings(InsecureRequestWarning)
            self._session.mount(f"https://{host}/", _Adapter(_unchecked(), network, connections))
            if ":" not in host:
                self._session.mount(f"https://{host}:", _Adapter(_unchecked(), network, connections))

    def plain_text_refused(self, url: str) -> bool:
        """Whether `url` is plain http to a host that is neither this machine nor trusted (standards U11, as pip)."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        trusted = {host, f"{host}:{parts.port}"} & set(self._network.trusted_hosts)
        return parts.scheme == "http" and not trusted and host not in ("localhost", "::1") and host[:4] != "127."

    @contextmanager
    def request(self, method: str, url: str, headers: Mapping[str, str], *, follow: bool = True) -> Iterator[Reply]:
        """Ask for `url` with the credentials of its origin; passing errors are retried, any status is an answer.

        `method` is GET or HEAD. With `follow` redirects lead on. Raise `Unreachable` when there is no answer,
        `RemoteError` for a redirect that must not be followed.
        """
        self._refuse_dead(url)
        try:
            response = self._session.request(
                method,
                url,
                allow_redirects=follow,
                headers=dict(headers),
                auth=self._credentials.of(url) or self._session.netrc(url),
                proxies=self._proxies(),
                timeout=(self._network.timeout or None, self._network.timeout or None),
                stream=True,
            )
        except (requests.TooManyRedirects, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL) as error:
            raise RemoteError(f"{redact(url)}: {_plain(error)}") from error
        except (requests.RequestException, HTTPError, OSError) as error:
            self._count(url, answered=False)
            raise Unreachable(f"{redact(url)}: {_plain(error)}") from error
        self._count(url, answered=True)
        with response:
            yield Reply(response, patience=4 * self._network.timeout or _FOREVER)

    @staticmethod
    def delay(attempt: int) -> float:
        """Seconds to wait before an attempt (1 is the first repetition): longer each time, not in step with others."""
        return min(0.25 * 2.0**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def close(self) -> None:
        """Close every connection."""
        self._session.close()

    def _proxies(self) -> dict[str, str]:
        proxy = self._network.proxy
        return {"http": proxy, "https": proxy} if proxy else {}

    def _refuse_dead(self, url: str) -> None:
        with self._lock:
            silent = self._silent[origin(url)]
        if silent >= _DEAD_AFTER:
            raise Unreachable(
                f"{redact(url)}: not asked, for the host left the last {silent} requests without an answer"
            )

    def _count(self, url: str, *, answered: bool) -> None:
        with self._lock:
            self._silent[origin(url)] = 0 if answered else self._silent[origin(url)] + 1


class _Session(requests.Session):
    """One that reads the environment and netrc once for each origin: for every request it would take half its time."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[tuple[str, str, int | None], Mapping[str, Any]] = {}
        self._netrc: dict[tuple[str, str, int | None], tuple[str, str] | Callable[..., Any]] = {}

    def merge_environment_settings(self, url: Any, *given: Any, **named: Any) -> Any:
        """Proxies and certificates for a URL; what we hand in is the same for every request."""
        place = origin(str(url))
        if place not in self._settings:
            self._settings[place] = super().merge_environment_settings(url, *given, **named)
        return dict(self._settings[place])

    def netrc(self, url: str) -> tuple[str, str] | Callable[..., Any] | None:
        """What netrc says of a host, and else an authentication that adds nothing; None where the URL has its own."""
        if "@" in urlsplit(url).netloc:
            return None
        place = origin(url)
        if place not in self._netrc:
            self._netrc[place] = get_netrc_auth(url) or _nobody
        return self._netrc[place]

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target is not None:
            # Whoever can listen on the second leg could answer in the host's place (standards section 5.5).
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme not in ("http", "https") or (resp.url.startswith("https:") and scheme != "https"):
                raise requests.exceptions.InvalidSchema(f"it redirects to {scheme}, which is not followed")
        return target


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Adapter(HTTPAdapter):
    """Connections with one TLS context for all: reading the certificates anew for each would take 20 ms of it."""

    def __init__(self, context: ssl.SSLContext, network: Network, connections: int) -> None:
        self._context = context
        retries = _Retry(
            total=network.retries,
            status_forcelist=_PASSING,
            backoff_factor=0.25,
            backoff_jitter=0.25,
            backoff_max=8.0,
            allowed_methods={"GET", "HEAD"},
            raise_on_status=False,
        )
        super().__init__(pool_connections=connections, pool_maxsize=connections, max_retries=retries)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        # What is trusted stands in the context; urllib3 must not be told anything else.
        return host, {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave it to the context."""


class _Retry(urllib3.Retry):
    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, _LONGEST_WAIT)


def _context(network: Network, environ: Mapping[str, str]) -> ssl.SSLContext:
    place = network.cert or environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE") or ""
    try:
        context = _trusting(place) if place else truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if network.client_cert:
            context.load_cert_chain(network.client_cert)
    except (OSError, ssl.SSLError) as error:
        named = network.client_cert if place and Path(place).exists() else place or network.client_cert
        raise MirrorError(
            f"cannot read the certificates in {named}: {_plain(error)}", hint="see pip's options cert and client-cert"
        ) from error
    return context


def _trusting(place: str) -> ssl.SSLContext:
    folder = Path(place).is_dir()
    return ssl.create_default_context(cafile=None if folder else place, capath=place if folder else None)


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _plain(error: BaseException) -> str:
    """What happened, in the words of the innermost error: the wrappings repeat addresses and object names."""
    while True:
        inner = getattr(error, "reason", None)
        inner = (
            inner
            if isinstance(inner, BaseException)
            else next((part for part in error.args if isinstance(part, BaseException)), None)
        )
        if inner is None:
            text = str(error.args[-1]) if error.args and isinstance(error.args[-1], str) else str(error)
            return redact(text.rpartition(">: ")[2] or type(error).__name__)
        error = inner
