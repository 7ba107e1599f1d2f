"""Destinations in S3: what `s3://bucket/prefix?…` says, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from mirror.errors import MirrorError
from mirror.stores.s3 import S3Location, S3Options

OPTIONS = S3Options(region="eu-1", endpoint_url="https://s3.example", owner="111122223333")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://wheels", "s3://wheels"),
        ("s3://wheels/", "s3://wheels"),
        ("s3://wheels//team/python/", "s3://wheels/team/python"),
        ("s3://Old.Bucket_of-2006/team", "s3://Old.Bucket_of-2006/team"),
    ],
)
def test_a_bucket_and_what_is_below_it(url: str, name: str) -> None:
    location = S3Location.parse(url, OPTIONS)
    assert location.name == name
    assert location.options == OPTIONS


def test_a_query_says_otherwise_for_one_destination() -> None:
    url = "s3://wheels?endpoint_url=http://127.0.0.1:9000&region=auto&profile=spare&owner="
    options = S3Options(region="auto", profile="spare", endpoint_url="http://127.0.0.1:9000", owner="")
    assert S3Location.parse(url, OPTIONS).options == options


REFUSED = {
    "no-bucket": ("s3://", "names no bucket"),
    "user": ("s3://me:secret@wheels", "names no bucket"),
    "port": ("s3://wheels:9000/team", "names no bucket"),
    "blank": ("s3://my bucket/team", "names no bucket"),
    "escape": ("s3://wheels%2Fteam", "names no bucket"),
    "too-short": ("s3://ab", "names no bucket"),
    "fragment": ("s3://wheels#team", "names no bucket"),
    "query": ("s3://wheels?secret", "names no bucket"),
    "unknown": ("s3://wheels?password=secret", "password"),
    "endpoint-with-a-password": ("s3://wheels?endpoint_url=https://me:secret@s3.example", "endpoint_url"),
    "encoded-password": ("s3://wheels?endpoint_url=https%3A%2F%2Fme%3Asecret%40s3.example", "endpoint_url"),
    "endpoint-without-a-scheme": ("s3://wheels?endpoint_url=secret.example", "endpoint_url"),
    "owner": ("s3://wheels?owner=abc", "owner"),
}


@pytest.mark.parametrize(("url", "named"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_and_no_secret_is_shown(url: str, named: str) -> None:
    with pytest.raises(MirrorError, match=named) as caught:
        S3Location.parse(url, OPTIONS)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    assert "secret" not in f"{caught.value} {caught.value.hint}"
