"""What may be said of a bucket, in the settings and in the query of one destination alike.

Each function returns what it is given, or raises `ValueError` with a sentence that shows no password.
"""

from __future__ import annotations

import re

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}", re.ASCII)
"""As wide as the oldest rules of AWS and those of compatible stores; the store itself may be more strict."""
_ENDPOINT = re.compile(r"https?://[^\s/@?#]+[^\s@?#]*", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


def bucket(name: str) -> str:
    """The name of a bucket, without a port, a user, a blank or an escape; empty when none is named."""
    if name and not _BUCKET.fullmatch(name):
        raise ValueError("the name of a bucket is three or more letters, digits, '-', '.' or '_'")
    return name


def endpoint(url: str) -> str:
    """The address of a store that is compatible with S3; empty for AWS."""
    if url and not _ENDPOINT.fullmatch(url):
        raise ValueError("an address begins with https:// or http:// and holds no user or password")
    return url


def account(owner: str) -> str:
    """The account that a bucket belongs to; empty when that does not matter."""
    if owner and not _ACCOUNT.fullmatch(owner):
        raise ValueError(f"{owner!r} is no account: twelve digits, such as 111122223333")
    return owner
