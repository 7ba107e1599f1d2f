"""`mirror verify` and `refresh` on what is served, as a user runs them: a process, a site on loopback."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.settings import Settings
from tests import project as projects
from tests.faulty_index import FaultyIndex
from tests.mutants import Asked, Mutant, Reply, serve_mutant
from tests.served import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project

ALPHA = "packages/alpha-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with FaultyIndex() as index:
        made = projects.make(tmp_path_factory.mktemp("project"), index)
        done = made.mirror("refresh", DOWNLOADER="direct")
        assert done.returncode == 0, done.stderr
        yield made


@pytest.fixture(scope="module")
def url(project: Project) -> Iterator[str]:
    with served(project.site) as found:
        yield found


def verify(project: Project, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user who names no destination, unless `flags` do."""
    where = ("--project", str(project.folder), "--work-dir", str(project.work))
    return subprocess.run(
        [sys.executable, "-m", "mirror", "verify", "--json", *where, *flags],
        env=project.environment(**environment), cwd=project.work,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def destinations(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    reports = json.loads(done.stdout)
    assert all(report["verified"] and report["percent"] == 75.0 for report in reports), "the sdist is the rest"
    return [report["destination"] for report in reports]


def test_what_is_looked_at(project: Project, url: str) -> None:
    """What flags name beats what is configured; the destination is looked at when there is no address."""
    site = str(project.site)
    elsewhere = {"BASE_URL": "http://127.0.0.1:1/"}
    assert destinations(verify(project)) == ["./site"]
    assert destinations(verify(project, BASE_URL=url)) == [url]
    assert destinations(verify(project, "--url", f"{url}simple/", **elsewhere)) == [url]
    assert destinations(verify(project, "--destination", site, **elsewhere)) == [site]
    assert destinations(verify(project, "--destination", site, "--url", url)) == [site, url]


def test_a_bucket_behind_it_is_not_asked(project: Project, url: str) -> None:
    """No credentials of it are needed, nor is it reached at all."""
    bucket = {"DESTINATION": "s3://a-bucket-of-nobody/python", "ENDPOINT_URL": "http://127.0.0.1:1"}
    assert destinations(verify(project, BASE_URL=url, **bucket)) == [url]
    assert verify(project, **bucket).returncode == 3


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, ""),
        ({"base_url": "https://mirror.example/py/"}, "https://mirror.example/py/"),
        ({"cloudfront_domain": "d1.cloudfront.example"}, "https://d1.cloudfront.example/"),
        ({"cloudfront_domain": "https://d1.cloudfront.example/py/"}, "https://d1.cloudfront.example/py/"),
        ({"base_url": "https://a.example/", "cloudfront_domain": "b.example"}, "https://a.example/"),
    ],
)
def test_where_the_mirror_is_served(settings: dict[str, str], address: str) -> None:
    assert Settings(**settings).address == address  # type: ignore[arg-type]


def test_deep_reads_what_a_sample_leaves_out(project: Project, url: str, tmp_path: Path) -> None:
    def flip(root: Path) -> None:
        data = (root / ALPHA).read_bytes()
        (root / ALPHA).write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])

    with serve_mutant(project.site, Mutant(name="byte", stored=flip)) as broken:
        assert verify(project, "--url", broken, "--sample", "0").returncode == 0
        for flag in ("--deep", "--rehash"):
            done = verify(project, "--url", broken, flag)
            assert done.returncode == 5
            assert "altered" in {finding["code"] for finding in json.loads(done.stdout)[0]["findings"]}


def test_a_sample_of_nothing_served_is_refused(project: Project) -> None:
    done = verify(project, "--sample", "3")
    assert done.returncode == 2
    assert "BASE_URL" in done.stderr


def test_findings_end_in_their_exit_code(project: Project) -> None:
    unknown = Mutant(name="403", answered=lambda _, reply: replace(reply, status=403) if reply.status == 404 else reply)
    with serve_mutant(project.site, unknown) as url:
        done = verify(project, "--url", url)
    assert done.returncode == 1
    assert [finding["code"] for finding in json.loads(done.stdout)[0]["findings"]] == ["not-404", "not-404"]


def test_refresh_verifies_the_destination_and_what_is_served(project: Project, url: str) -> None:
    done = project.mirror("refresh", "--json", BASE_URL=url)
    assert destinations(done) == [str(project.site), url]
    served_one = json.loads(done.stdout)[1]
    assert served_one["release"] == json.loads(done.stdout)[0]["release"], "what lies behind it is known there"


def test_what_a_cache_still_serves_after_a_refresh_is_called_stale(project: Project) -> None:
    page = (project.site / "simple/alpha/index.html").read_bytes()

    def old(asked: Asked, reply: Reply) -> Reply:
        if asked.path != "simple/alpha/" or reply.body != page:
            return reply
        return replace(reply, body=page.replace(b"2026-01-02", b"2026-01-01"))

    with serve_mutant(project.site, Mutant(name="stale", answered=old)) as url:
        done = project.mirror("refresh", "--json", BASE_URL=url)
    assert done.returncode == 1
    stored, seen = json.loads(done.stdout)
    assert stored["verified"]
    assert ("stale-page", "simple/alpha/index.html") in {
        (finding["code"], finding["key"]) for finding in seen["findings"]
    }


def test_refresh_ends_in_three_when_the_site_is_not_there_and_tells_what_is_stored(project: Project) -> None:
    done = project.mirror("refresh", BASE_URL="http://ci:s3cret@127.0.0.1:1/")
    assert done.returncode == 3
    assert f"{project.site}: 12 of 16 cells covered" in done.stdout
    assert "s3cret" not in done.stderr + done.stdout


def test_what_is_no_address_is_told_before_anything_is_fetched(project: Project) -> None:
    done = project.mirror("refresh", BASE_URL="mirror.example")
    assert done.returncode == 2
    assert "no address of a mirror" in done.stderr
    assert "Reading indexes" not in done.stderr


def test_setup_shows_the_address_and_keeps_its_credentials(project: Project) -> None:
    wanted = "Basic " + base64.b64encode(b"ci:s3cret").decode()

    def guarded(asked: Asked, reply: Reply) -> Reply:
        return reply if asked.headers.get("authorization") == wanted else Reply(status=401)

    with serve_mutant(project.site, Mutant(name="guarded", answered=guarded)) as url:
        done = project.mirror("setup", BASE_URL=url.replace("://", "://ci:s3cret@"))
        refused = project.mirror("setup", BASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert f"--index-url {url}simple/" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
    assert refused.returncode == 3
    assert "credentials" in refused.stderr
