"""The function at the edge: its source, and the readers that it lets in."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT = 10 * 1024
"""Bytes that CloudFront takes as the source of a function."""

_TABLE = "const READERS = [];"
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMMENT = re.compile(r"^\s*//[^\n]*\n", re.MULTILINE)
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, order=True)
class Reader:
    """Somebody who may read the mirror. The digest is of a long random credential, so it may be written down."""

    user: str
    digest: str
    """sha256 (hex) of `base64(user:token)`, the text that follows "Basic " in a request (RFC 7617)."""

    @classmethod
    def parse(cls, text: str) -> Reader:
        """Read `user:<64 hex digits>`. Raise `ValueError` for anything else."""
        user, _, digest = text.partition(":")
        if not _USER.fullmatch(user) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{user!r} has no digest: readers are made by `mirror infra token USER`")
        return cls(user, digest)

    def __str__(self) -> str:
        return f"{self.user}:{self.digest}"


def new_reader(user: str) -> tuple[Reader, str]:
    """Make a reader with a new random token (256 bits), and return both; the token is kept nowhere.

    Raise `MirrorError` for a name that would not survive in a URL.
    """
    if not _USER.fullmatch(user):
        raise MirrorError(f"{user!r} is no name for a reader", hint="use letters, digits, '.', '_' and '-'")
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    credential = base64.b64encode(f"{user}:{token}".encode("ascii"))
    return Reader(user, hashlib.sha256(credential).hexdigest()), token


@cache
def _source() -> str:
    return resources.files("mirror.infra").joinpath("edge.js").read_text("utf-8")


def edge_function(readers: Sequence[Reader] = ()) -> str:
    """The function's source, with the table of readers in it and without the comments.

    Raise `MirrorError` when so many readers make it larger than CloudFront takes.
    """
    before, table, after = _source().partition(_TABLE)
    assert table, "edge.js has no table of readers"
    digests = ", ".join(f"'{reader.digest}'" for reader in sorted(readers))
    code = _COMMENT.sub("", f"{before}const READERS = [{digests}];{after}")
    size = len(code.encode("utf-8"))
    if size > LIMIT:
        raise MirrorError(
            f"the edge function with {len(readers)} readers has {size} bytes, CloudFront takes {LIMIT}",
            hint="let several machines share a reader: take some out of BASIC_AUTH",
        )
    return code
