"""Signature Version 4, as S3 wants it: who asks, for what and when, proven by a secret that is not sent.

Source: "Authenticating Requests (AWS Signature Version 4)" in the reference of Amazon S3. Unlike other services it
takes the path as it is sent, without a second quoting and without normalization. The key that signs is derived from
the secret for one day, region and service, and is kept for that day.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """Who asks."""

    @property
    def access_key(self) -> str:
        """Names the secret key."""

    @property
    def secret_key(self) -> str:
        """Never sent."""

    @property
    def token(self) -> str | None:
        """Of a session; None for credentials that last."""


def quoted_path(path: str) -> str:
    """A path as S3 is sent it: everything quoted but letters, digits, `-._~` and the slash."""
    return quote(path, safe="/~")


def quoted_query(query: Iterable[tuple[str, str]]) -> str:
    """A query as S3 is sent it; a name without a value, such as `uploads`, stands there without its equals sign."""
    fields = ((quote(name, safe="~"), quote(value, safe="~")) for name, value in query)
    return "&".join(f"{name}={value}" if value else name for name, value in fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs what is asked of one service in one region. Safe for several threads."""

    service: str
    region: str
    _keys: dict[tuple[str, str], bytes] = field(default_factory=dict, compare=False, repr=False)
    """What signs, by secret and day; only the last one is kept."""

    def signed(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        sha256: str,
        *,
        moment: datetime | None = None,
    ) -> dict[str, str]:
        """The headers of a request together with those that prove it; their names in lower case.

        `path` and `query` are quoted as they are sent. `headers` has `host`, and lacks what somebody on the way may
        change, such as `expect`. `sha256` is the digest (hex) of the body, `moment` is in UTC and now by default.
        """
        time = (moment or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%SZ")
        told = {name.lower(): value for name, value in headers.items()}
        told["x-amz-date"], told["x-amz-content-sha256"] = time, sha256
        if credentials.token:
            told["x-amz-security-token"] = credentials.token
        names = sorted(told)
        lines = [f"{name}:{' '.join(told[name].split())}\n" for name in names]
        listed, day = ";".join(names), time[:8]
        request = f"{method}\n{path}\n{_canonical(query)}\n{''.join(lines)}\n{listed}\n{sha256}"
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        text = f"{_ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key(credentials.secret_key, day), text.encode(), "sha256").hex()
        told["authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        )
        return told

    def _key(self, secret: str, day: str) -> bytes:
        key = self._keys.get((secret, day))
        if key is None:
            key = f"AWS4{secret}".encode()
            for part in (day, self.region, self.service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._keys.clear()
            self._keys[secret, day] = key
        return key


def _canonical(query: str) -> str:
    """A query in the order of its names and values, each with its equals sign."""
    if not query:
        return ""
    return "&".join(sorted(part if "=" in part else f"{part}=" for part in query.split("&")))
