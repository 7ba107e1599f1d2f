"""The one door to HTTP: credentials, netrc, retries, safe redirects, and bodies that nobody can draw out for ever."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter, deque
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from itertools import islice
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout, make_headers, parse_url

from mirror import __version__
from mirror.connections import Connections
from mirror.credentials import Credentials, basic, origin, redact, strip
from mirror.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mirror.downloads.configuration import Network

_REDIRECTS = 10
"""How many are followed, one after the other."""
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
_OBJECT = re.compile(r"^(?:<[^>]*>|\w+\([^)]*\)): ")
"""An object that urllib3 puts before what happened to it."""
_CHUNK = 1 << 18
_PIECE = 1 << 14
"""Bytes asked of the connection at once: it makes room for them whether they come or not, and TLS brings no more."""


class Interrupted(RemoteError):
    """The connection ended, or fell silent, in the middle of a body."""


class Unreachable(RemoteError):
    """The host did not answer, or nobody could be sure that it was the right one."""


class Reply:
    """A status, headers, and a body that is read once."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, patience: float) -> None:
        self._response = response
        self._patience = patience
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        """By names in any case; several of one name are joined by `, `."""
        self.url = url
        """Where the answer really came from, after redirects; without credentials."""
        self.leads_to = response.get_redirect_location() or ""
        """Where a redirect says that it is; empty for any other answer."""

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
        length = self._response.length_remaining
        room = _CHUNK if length is None else min(length, _CHUNK)
        gathered, filled, since = memoryview(bytearray(room + _PIECE)), 0, time.monotonic()
        try:
            for piece in self._pieces(decode=False):
                gathered[filled : filled + len(piece)] = piece
                filled += len(piece)
                if filled >= room or time.monotonic() - since > _GATHERED_FOR:
                    yield gathered[:filled]
                    filled, since = 0, time.monotonic()
        except Interrupted:
            # What came before is good, and asking for the rest may be all that is needed.
            yield gathered[:filled]
            raise
        yield gathered[:filled]

    def _pieces(self, *, decode: bool) -> Iterator[bytes]:
        since, received = time.monotonic(), 0
        try:
            # `read1` gives what is there. `read` and `stream` wait for a full chunk, and so for ever on a slow drip.
            while piece := self._response.read1(_PIECE, decode_content=decode):
                yield piece
                received += len(piece)
                now = time.monotonic()
                if now - since > self._patience:
                    if received < _SLOWEST * (now - since):
                        raise Interrupted(f"{self.url}: only {received} bytes came in {now - since:.0f} seconds")
                    since, received = now, 0
        except (HTTPError, OSError) as error:
            raise Interrupted(f"{self.url}: {_plain(error)}") from error

    def close(self) -> None:
        """End the connection, unless the body was read to its end: then it serves others already."""
        self._response.close()

    def leave(self) -> None:
        """Read the few words of a redirect, so that its connection serves others; whoever says more is cut short."""
        with closing(self), suppress(Interrupted):
            deque(islice(self._pieces(decode=False), 4), maxlen=0)


class Web:
    """Requests to any host. Safe for several threads."""

    def __init__(
        self, network: Network, credentials: Credentials, environ: Mapping[str, str], connections: int
    ) -> None:
        """Keep up to `connections` open to each host. Raise `MirrorError` for a certificate that cannot be read."""
        self._network = network
        self._credentials = credentials
        self._environ = environ
        self._connections = Connections(network, environ, connections)
        self._headers = {
            "User-Agent": f"mirror/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": make_headers(accept_encoding=True)["accept-encoding"],
        }
        self._timeout = Timeout(connect=network.timeout or None, read=network.timeout or None)
        self._retries = _Retry(
            total=network.retries,
            status_forcelist=_PASSING,
            backoff_factor=0.25,
            backoff_jitter=0.25,
            backoff_max=8.0,
            allowed_methods={"GET", "HEAD"},
            raise_on_status=False,
        )
        self._silent: Counter[tuple[str, str, int | None]] = Counter()
        self._lock = threading.Lock()

    def plain_text_refused(self, url: str) -> bool:
        """Whether `url` is plain http to a host that is neither this machine nor trusted (standards U11, as pip)."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        local = host in ("localhost", "::1") or host.startswith("127.")
        return parts.scheme == "http" and not local and not self._connections.trusts(url)

    @contextmanager
    def request(self, method: str, url: str, headers: Mapping[str, str], *, follow: bool = True) -> Iterator[Reply]:
        """Ask for `url` with the credentials of its origin; passing errors are retried, any status is an answer.

        `method` is GET or HEAD. With `follow` redirects lead on. Raise `Unreachable` when there is no answer,
        `RemoteError` for a redirect that must not be followed.
        """
        try:
            # What stands in a URL itself is meant for that one alone.
            known = Credentials((url,)) if "@" in urlsplit(url).netloc else self._credentials
            url = strip(url)
        except ValueError as error:
            raise RemoteError(f"{redact(url)}: {_plain(error)}") from error
        reply = self._ask(method, url, headers, known)
        followed = 0
        while follow and reply.leads_to:
            reply.leave()
            if followed == _REDIRECTS:
                raise RemoteError(f"{reply.url}: it redirects more than {_REDIRECTS} times")
            followed += 1
            reply = self._ask(method, _led(reply.url, reply.leads_to), headers, known)
        with closing(reply):
            yield reply

    @staticmethod
    def delay(attempt: int) -> float:
        """Seconds to wait before an attempt (1 is the first repetition): longer each time, not in step with others."""
        return min(0.25 * 2.0**attempt, 8.0) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()

    def _ask(self, method: str, url: str, headers: Mapping[str, str], known: Credentials) -> Reply:
        """Ask one host, and tell it who we are if that is known of its origin; redirects are answers."""
        try:
            self._refuse_dead(url)
            response = self._connections.to(url).urlopen(
                method,
                url,
                redirect=False,
                headers={**self._headers, **headers, **self._authorization(url, known)},
                retries=self._retries,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except ValueError as error:
            raise RemoteError(f"{url}: {_plain(error)}") from error
        except (HTTPError, OSError) as error:
            self._count(url, answered=False)
            raise Unreachable(f"{url}: {_plain(error)}") from error
        self._count(url, answered=True)
        return Reply(response, url, patience=4 * self._network.timeout or _FOREVER)

    def _authorization(self, url: str, known: Credentials) -> dict[str, str]:
        pair = known.of(url)
        if pair is None and self._netrc is not None:
            user, account, password = self._netrc.authenticators(urlsplit(url).hostname or "") or ("", "", None)
            pair = None if password is None else (user or account or "", password)
        return {} if pair is None else {"Authorization": basic(*pair)}

    @cached_property
    def _netrc(self) -> netrc | None:
        """As curl and pip find it; one that cannot be read is as good as none."""
        named = self._environ.get("NETRC")
        for place in ("~/.netrc", "~/_netrc") if named is None else (named,):
            with suppress(OSError, RuntimeError, ValueError, NetrcParseError):
                return netrc(Path(place).expanduser())
        return None

    def _refuse_dead(self, url: str) -> None:
        with self._lock:
            silent = self._silent[origin(url)]
        if silent >= _DEAD_AFTER:
            raise Unreachable(f"{url}: not asked, for the host left the last {silent} requests without an answer")

    def _count(self, url: str, *, answered: bool) -> None:
        with self._lock:
            self._silent[origin(url)] = 0 if answered else self._silent[origin(url)] + 1


def _led(url: str, location: str) -> str:
    """Where a redirect leads, without credentials. Raise `RemoteError` for what must not be followed."""
    try:
        # Headers are read as Latin-1; what is not ASCII in them, hosts send as UTF-8.
        target = parse_url(urljoin(url, location.encode("latin-1").decode("utf-8", "replace")))
    except ValueError as error:
        raise RemoteError(f"{url}: it redirects to what is no address: {_plain(error)}") from error
    # Whoever can listen on the second leg could answer in the host's place (standards section 5.5).
    if target.scheme not in ("http", "https") or (urlsplit(url).scheme, target.scheme) == ("https", "http"):
        raise RemoteError(f"{url}: it redirects to {target.scheme}, which is not followed")
    return target._replace(auth=None, fragment=None).url


class _Retry(urllib3.Retry):
    def get_retry_after(self, response: urllib3.BaseHTTPResponse) -> float | None:
        wait = super().get_retry_after(response)
        return None if wait is None else min(wait, _LONGEST_WAIT)


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
            return redact(_OBJECT.sub("", text) or type(error).__name__)
        error = inner
