"""Names and passwords for indexes: taken out of every URL that is kept or shown, and given to their own origin only."""

from __future__ import annotations

import re
import threading
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DEFAULT_PORTS = {"http": 80, "https": 443}
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
"""Up to the last `@` of the authority, as `urlsplit` reads it: people write passwords that hold one."""


def strip(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def redact(text: str) -> str:
    """The text with the user and password of every URL in it taken out, for messages and reports."""
    return _USERINFO.sub("", text)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454): who is given a password. Raise `ValueError` for a port that is no number."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme)


def userinfo(url: str) -> tuple[str, str] | None:
    """User and password that stand in the URL itself, unquoted; None when there are none."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")


def basic(user: str, password: str) -> str:
    """The value of a header that tells who we are (RFC 7617)."""
    text = f"{user}:{password}"
    try:
        data = text.encode("latin-1")  # as pip does
    except UnicodeEncodeError:
        data = text.encode()
    return f"Basic {b64encode(data).decode('ascii')}"


class Credentials:
    """Who we are, by origin. Nothing in here is ever printed or written; netrc is left to those who ask."""

    def __init__(self, urls: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> None:
        """Know what stands in `urls`; `environ` has what Poetry's users set, `POETRY_HTTP_BASIC_<NAME>_USERNAME`."""
        self._environ = environ or {}
        self._lock = threading.Lock()
        self._known: list[tuple[str, tuple[str, str]]] = []
        for url in urls:
            self.add(url, userinfo(url))

    def add(self, url: str, pair: tuple[str, str] | None) -> None:
        """Remember a user and password for an index; None is nothing to remember."""
        if pair is not None:
            with self._lock:
                self._known.append((strip(url), pair))

    def learn(self, index: str, name: str) -> None:
        """Find the credentials of a lock's source in the environment, by its name as Poetry spells it there."""
        self.add(index, userinfo(index))
        prefix = f"POETRY_HTTP_BASIC_{name.upper().replace('-', '_').replace('.', '_')}"
        user, password = self._environ.get(f"{prefix}_USERNAME"), self._environ.get(f"{prefix}_PASSWORD")
        if name and (user is not None or password is not None):
            self.add(index, (user or "", password or ""))

    def of(self, url: str) -> tuple[str, str] | None:
        """User and password for a URL: of the index on the same origin whose path agrees the longest.

        Whoever may be told over http may be told over https, too, where hosts send everybody on to.
        """
        with self._lock:
            known = tuple(self._known)
        for place in (origin(url), _unsecured(url)):
            own = [(index, pair) for index, pair in known if origin(index) == place]
            if own:
                return max(own, key=lambda entry: _agreement(entry[0], url))[1]
        return None

    def inside(self, url: str) -> str:
        """The URL with its credentials, for places that nobody else reads."""
        pair = self.of(url)
        if pair is None:
            return url
        parts = urlsplit(strip(url))
        user, password = (quote(part, safe="") for part in pair)
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc}"))


def _unsecured(url: str) -> tuple[str, str, int | None] | None:
    """The origin that sends people on to that of a URL; none, unless it has the port of https."""
    scheme, host, port = origin(url)
    return ("http", host, _DEFAULT_PORTS["http"]) if (scheme, port) == ("https", _DEFAULT_PORTS["https"]) else None


def _agreement(index: str, url: str) -> int:
    ours, theirs = (urlsplit(text).path.strip("/").split("/") for text in (index, url))
    length = 0
    for left, right in zip(ours, theirs, strict=False):
        if left != right:
            break
        length += 1
    return length
