"""The command line against buckets: every command that touches one, and every way in which it ends."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.layout import LEASE, POINTER
from mirror.lease import Lease, Owner
from tests import cloudfront_stand_in as cloud
from tests.cloudfront_stand_in import DISTRIBUTION, CloudFrontStandIn
from tests.faulty_index import FaultyIndex
from tests.s3.command import Run, address, first, second, settings
from tests.s3.faults import faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.s3.conftest import Bucket

WHEEL = "packages/alpha-1.0-py3-none-any.whl"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with FaultyIndex() as index:
        yield first(tmp_path / "first", index)


@pytest.fixture
def later(tmp_path: Path, run: Run) -> Run:
    return second(tmp_path / "second", run)


def keys(bucket: Bucket) -> set[str]:
    pages = bucket.admin.get_paginator("list_objects_v2").paginate(Bucket=bucket.name)
    return {found["Key"] for page in pages for found in page.get("Contents", ())}


def listed(run: Run, **environment: str) -> list[dict[str, object]]:
    done = run("releases", "--json", **environment)
    assert done.returncode == 0, done.stderr
    releases: list[dict[str, object]] = json.loads(done.stdout)[0]["releases"]
    return releases


@pytest.mark.parametrize("name", ["rgw", "localstack"])
def test_a_bucket_from_its_first_release_to_a_pruned_one(
    name: str, run: Run, later: Run, make_bucket: Callable[[str], Bucket]
) -> None:
    bucket = make_bucket(name)
    env = settings(bucket)
    done = run("refresh", **env)
    assert done.returncode == 0, done.stderr
    assert "may be listed" in done.stderr, "the store was tried out, and the run says what was found"
    assert run("verify", **env).returncode == 0
    done = run("sync", **env)
    assert done.returncode == 0
    assert "nothing changed since release 000001-" in done.stderr

    # Half of what is published would go.
    done = later("refresh", **env)
    assert done.returncode == 2
    assert "--allow-shrink" in done.stderr
    assert later("refresh", "--allow-shrink", **env).returncode == 0
    assert run("verify", **env).returncode == 1
    one = str(listed(run, **env)[-1]["id"])

    assert run("rollback", one, "--dry-run", **env).returncode == 0
    assert run("verify", **env).returncode == 1
    done = run("rollback", "000001", **env)
    assert done.returncode == 0, done.stderr
    assert run("verify", **env).returncode == 0
    assert [str(entry["id"])[:6] for entry in listed(run, **env)] == ["000003", "000002", "000001"]

    pruned = ("prune", "--keep", "1", "--grace", "0")
    assert run(*pruned, **env).returncode == 2
    planned = set(run(*pruned, "--allow-shrink", "--dry-run", **env).stdout.split())
    assert planned
    assert planned <= keys(bucket)
    done = run(*pruned, "--allow-shrink", **env)
    assert done.returncode == 0, done.stderr
    assert not planned & keys(bucket)
    assert run("verify", **env).returncode == 0
    assert LEASE not in keys(bucket)


def test_what_vanished_is_found_named_and_put_back(run: Run, make_bucket: Callable[[str], Bucket]) -> None:
    bucket = make_bucket("rgw")
    env = settings(bucket)
    assert run("refresh", **env).returncode == 0
    for key in (WHEEL, f"{WHEEL}.metadata", "simple/alpha/index.html", "simple/alpha/", "index.html"):
        bucket.admin.delete_object(Bucket=bucket.name, Key=key)
        done = run("verify", **env)
        assert done.returncode == 1
        assert key in done.stdout
        assert "hint: run `mirror sync --check-remote`" in done.stdout
        assert "nothing changed" in run("sync", **env).stderr
        done = run("sync", "--check-remote", **env)
        assert done.returncode == 0, done.stderr
        assert "repaired release" in done.stderr
        done = run("verify", **env)
        assert done.returncode == 0, done.stderr
        assert "--check-remote" not in done.stdout


def test_how_it_ends(
    run: Run, make_bucket: Callable[[str], Bucket], credentials: Callable[[str, str, str], None]
) -> None:
    bucket = make_bucket("rgw")
    env = settings(bucket)
    assert run("refresh", **env).returncode == 0
    before = keys(bucket)

    def refused(code: int, *words: str, command: tuple[str, ...] = ("sync", "--check-remote"), **changed: str) -> None:
        done = run(*command, **{**env, **changed})
        assert done.returncode == code, done.stderr
        assert "hint:" in done.stderr
        for word in words:
            assert word in done.stderr
        assert "Traceback" not in done.stderr
        assert keys(bucket) == before

    credentials("wrong", bucket.server.access_key, "not-the-secret")
    refused(3, "SignatureDoesNotMatch", AWS_PROFILE="wrong")
    refused(3, "AccessDenied", "s3:GetObject", AWS_PROFILE="rgw-second")
    refused(3, "NoSuchBucket", BUCKET_NAME="mirror-that-nobody-made")
    refused(3, "127.0.0.1", ENDPOINT_URL="http://127.0.0.1:1")
    refused(2, "nobody", AWS_PROFILE="nobody")
    refused(2, "names no bucket", DESTINATION="s3://")
    refused(2, "is the id of no release", command=("rollback", "000009"))

    lease = Lease(
        owner=Owner(host="ci.example", pid=1), token="t", acquired=time.time() // 1, expires=time.time() // 1 + 300
    )
    bucket.admin.put_object(Bucket=bucket.name, Key=LEASE, Body=lease.body.source)
    before = keys(bucket)
    bucket.admin.delete_object(Bucket=bucket.name, Key="index.html")
    before -= {"index.html"}
    refused(4, "ci.example is publishing")
    bucket.admin.delete_object(Bucket=bucket.name, Key=LEASE)
    before -= {LEASE}

    bucket.admin.put_object(Bucket=bucket.name, Key=WHEEL, Body=b"other bytes")
    refused(5, WHEEL)
    assert run("verify", "--rehash", **env).returncode == 5


# Several destinations


def test_a_bucket_here_a_bucket_there_and_a_folder(
    run: Run, make_bucket: Callable[[str], Bucket], tmp_path: Path
) -> None:
    """Three hosts with three ways in, in one run; each destination has a state of its own."""
    here, there, folder = make_bucket("rgw"), make_bucket("localstack"), tmp_path / "folder"
    places = {"DESTINATION": f"{address(here, 'team/')},{address(there)},{folder}"}
    done = run("refresh", **places)
    assert done.returncode == 0, done.stderr
    assert {key.removeprefix("team/") for key in keys(here)} == keys(there)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} >= {
        key for key in keys(there) if not key.endswith("/") and "/releases/" not in key
    }
    assert "localhost" not in done.stderr
    again = run("refresh", **places)
    assert again.stderr.count("nothing changed since release") == 3
    # What only one of them lost only that one gets back.
    there.admin.delete_object(Bucket=there.name, Key=WHEEL)
    assert run("verify", **places).returncode == 1
    done = run("sync", "--check-remote", **places)
    assert done.returncode == 0
    assert done.stderr.count("repaired release") == 1
    assert run("verify", **places).returncode == 0


@pytest.mark.parametrize("place", [0, 1], ids=["the first fails", "the second fails"])
@pytest.mark.parametrize("status", [503, 0], ids=["throttled", "no bucket"])
def test_one_that_fails_keeps_no_other_from_its_release(
    place: int, status: int, run: Run, later: Run, make_bucket: Callable[[str], Bucket]
) -> None:
    sound, failing = make_bucket("rgw"), make_bucket("localstack")
    with faulty(failing.server) as proxy:
        through = replace(failing, server=replace(failing.server, endpoint=proxy.endpoint))
        places = [address(sound), address(through)] if place else [address(through), address(sound)]
        flags = tuple(part for each in places for part in ("--destination", each))
        assert run("refresh", *flags).returncode == 0
        before = keys(failing)
        if status:
            # The others need not wait until it has been asked often enough.
            proxy.judge = lambda number, method, path: status if method == "PUT" else None
        else:
            gone = replace(through, name="mirror-that-nobody-made")
            flags = tuple(flag.replace(address(through), address(gone)) for flag in flags)
        done = later("refresh", "--allow-shrink", *flags)
        assert done.returncode == 3
        assert ("SlowDown" if status else "NoSuchBucket") in done.stderr
        assert keys(failing) == before
        assert "packages/gamma-1.0-py3-none-any.whl" in keys(sound)
        assert later("verify", "--destination", address(sound)).returncode == 0
        if status:
            proxy.reset()
            done = later("refresh", "--allow-shrink", *flags)
            assert done.returncode == 0, done.stderr
            assert done.stderr.count("nothing changed since release") == 1
            assert "packages/gamma-1.0-py3-none-any.whl" in keys(failing)


# A CDN in front


@pytest.mark.parametrize("name", ["rgw", "localstack"])
def test_the_ledger_of_a_cdn_lies_in_the_bucket(
    name: str, run: Run, later: Run, make_bucket: Callable[[str], Bucket], credentials: Callable[[str, str, str], None]
) -> None:
    """What one machine could not have confirmed the next one makes up for, and nothing is asked for twice."""
    bucket = make_bucket(name)
    ledger = f".mirror/edges/{DISTRIBUTION}.json"

    def known() -> dict[str, object]:
        found: dict[str, object] = json.loads(bucket.admin.get_object(Bucket=bucket.name, Key=ledger)["Body"].read())
        return found

    with CloudFrontStandIn() as cdn:
        # CloudFront is asked as somebody else than the bucket, whose destination names its own profile.
        credentials("cdn", cloud.CREDENTIALS["AWS_ACCESS_KEY_ID"], cloud.CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
        env = {
            "DESTINATION": address(bucket),
            "AWS_PROFILE": "cdn",
            "AWS_ENDPOINT_URL_CLOUDFRONT": cdn.url,
            "CLOUDFRONT_DISTRIBUTION_ID": DISTRIBUTION,
        }
        done = run("refresh", **env)
        assert done.returncode == 0, done.stderr
        assert [made.paths for made in cdn.invalidations] == [("/", "/index.html", "/projects/*", "/simple/*")]
        assert str(known()["release"]).startswith("000001-")

        cdn.takes = 600
        done = later("refresh", "--allow-shrink", INVALIDATION_WAIT="0.2", **env)
        assert done.returncode == 3
        assert "has not confirmed" in done.stderr
        owed = known()
        assert owed["paths"]
        assert str(owed["release"]).startswith("000001-")
        cdn.takes = 0
        cdn.requests.clear()
        # On another machine: the first work directory knows nothing of it.
        done = run("invalidate", **env)
        assert done.returncode == 0, done.stderr
        assert "asked for before" in done.stderr
        assert len(cdn.invalidations) == 2
        assert {"/simple/beta/", "/simple/gamma/index.v1_json"} <= set(cdn.invalidations[1].paths)
        assert (known()["paths"], str(known()["release"])[:6]) == ([], "000002")

        assert run("rollback", "000001", **env).returncode == 0
        assert len(cdn.invalidations) == 3
        assert set(cdn.invalidations[2].paths) == set(cdn.invalidations[1].paths)
        bucket.admin.delete_object(Bucket=bucket.name, Key="simple/alpha/index.html")
        assert run("refresh", "--check-remote", **env).returncode == 0
        assert set(cdn.invalidations[3].paths) == {"/simple/alpha/", "/simple/alpha/index.html"}
        assert (
            json.loads(bucket.admin.get_object(Bucket=bucket.name, Key=POINTER)["Body"].read())["release"]
            == (known()["release"])
        )
