"""Our signatures are botocore's: for keys, queries, headers and credentials of every kind, drawn at random."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror.stores.s3_signature import Signer, quoted_path, quoted_query

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 21, 23, 59, 59, tzinfo=timezone.utc)
URL = "https://bucket.s3.eu-one-1.example"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = st.lists(
    st.one_of(texts, st.sampled_from(["a+b", "a b", "", "~", "%2B", "ü", ".", "..", "a=b&c"])), max_size=4
).map("/".join)
queries = st.dictionaries(
    st.sampled_from(
        ["list-type", "prefix", "continuation-token", "uploads", "uploadId", "partNumber", "delete", "a b"]
    ),
    st.one_of(texts, st.sampled_from(["", "a+b c/d", "packages/", "ü~=&?", "2", "10"])),
    max_size=5,
).map(lambda found: tuple(found.items()))
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
headers = st.dictionaries(
    st.sampled_from(["Content-Type", "Cache-Control", "If-Match", "If-None-Match", "x-amz-meta-sha256", "Content-MD5"]),
    st.one_of(values, st.lists(values, min_size=1, max_size=3).map("   ".join)),
)
credentials = st.builds(Credentials, values, values, st.one_of(st.none(), values))


@pytest.fixture(autouse=True)
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[datetime]]:
    """Let botocore sign for a moment that we choose."""
    moments = [NOW]
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: moments[-1])
    yield moments


def theirs(who: Credentials, region: str, method: str, path: str, query: str, told: dict[str, str], body: bytes) -> str:
    request = AWSRequest(method, f"{URL}{path}{'?' if query else ''}{query}", told, body)
    S3SigV4Auth(who, "s3", region).add_auth(request)
    return str(request.headers["Authorization"])


@settings(max_examples=400)
@given(
    who=credentials,
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    key=keys,
    query=queries,
    told=headers,
    body=st.binary(max_size=8),
)
@example(who=Credentials("access", "secret"), method="PUT", key="simple/", query=(), told={}, body=b"")
def test_it_is_botocores(
    who: Credentials,
    method: str,
    key: str,
    query: tuple[tuple[str, str], ...],
    told: dict[str, str],
    body: bytes,
) -> None:
    path, fields = f"/{quoted_path(key)}", quoted_query(query)
    ours = Signer(service="s3", region="eu-one-1").signed(
        who,
        method,
        path,
        fields,
        {"Host": urlsplit(URL).netloc, **told},
        hashlib.sha256(body).hexdigest(),
        moment=NOW,
    )
    assert ours["authorization"] == theirs(who, "eu-one-1", method, path, fields, told, body)
    assert ours.get("x-amz-security-token") == who.token


def test_another_day_and_other_credentials_have_another_key(stopped: list[datetime]) -> None:
    """A run that goes on past midnight, and one whose session is renewed meanwhile."""
    signer = Signer(service="s3", region="eu-one-1")
    seen = set()
    for moment in (NOW, NOW + timedelta(seconds=2), NOW):
        for secret in ("one", "two", "one"):
            stopped.append(moment)
            who = Credentials("access", secret, "token")
            ours = signer.signed(
                who, "GET", "/key", "", {"host": urlsplit(URL).netloc}, hashlib.sha256().hexdigest(), moment=moment
            )["authorization"]
            assert ours == theirs(who, "eu-one-1", "GET", "/key", "", {}, b"")
            seen.add(ours)
    assert len(seen) == 4


def test_it_says_no_secret() -> None:
    signer = Signer(service="s3", region="eu-one-1")
    who = Credentials("access", "the-secret")
    signer.signed(who, "GET", "/", "", {"host": "h"}, "0" * 64)
    assert "the-secret" not in repr(signer)
