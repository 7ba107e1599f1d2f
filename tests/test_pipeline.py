"""Where a run goes, as a user sees it: what needs no destination, what several do, and how hard they are asked."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests import project as projects
from tests.faulty_index import FaultyIndex
from tests.sites import local, make_site
from tests.wheels import make_wheel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.project import Project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with FaultyIndex() as index:
        yield projects.make(tmp_path_factory.mktemp("project"), index)


# --- what needs no destination ------------------------------------------------------------------

NOBODY = {"DESTINATION": "s3://wheels", "AWS_PROFILE": "publisher", "DOWNLOADER": "direct"}
"""A configuration that is shared with the machine that publishes; here that profile is not known."""


def test_a_command_that_touches_no_bucket_needs_no_credentials_of_it(project: Project) -> None:
    for name in ("export", "plan", "download", "consolidate", "index", "sbom"):
        done = project.mirror(name, **NOBODY)
        assert done.returncode == 0, (name, done.stderr)
    done = project.mirror("sync", "--destination", "s3://wheels", **NOBODY)
    assert done.returncode == 2
    assert "publisher" in done.stderr


def test_a_refresh_says_what_is_wrong_with_a_destination_before_it_fetches_anything(
    project: Project, tmp_path: Path
) -> None:
    asked = len(project.index.requests)
    for destination, said in (("s3://wheels", "publisher"), ("ftp://wheels", "no folder and no bucket")):
        done = project.mirror("refresh", "--destination", destination, "--work-dir", str(tmp_path), **NOBODY)
        assert done.returncode == 2
        assert said in done.stderr
    assert len(project.index.requests) == asked


# --- several destinations -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A sound destination, and one whose pointer cannot be read."""
    sound, broken = str(tmp_path_factory.mktemp("sound")), tmp_path_factory.mktemp("broken")
    done = project.mirror("refresh", "--destination", sound, DOWNLOADER="direct")
    assert done.returncode == 0, done.stderr
    (broken / ".mirror").mkdir()
    (broken / ".mirror" / "current.json").symlink_to("current.json")
    return sound, str(broken)


def on_both(
    project: Project, both: tuple[str, str], name: str, *flags: str, first: int = 1
) -> subprocess.CompletedProcess[str]:
    """Run a command on both, the broken one `first` (0) or last (1)."""
    order = both if first else both[::-1]
    flags = (*flags, *(part for place in order for part in ("--destination", place)), "--work-dir", str(project.work))
    return project.mirror(name, *flags)


@pytest.mark.parametrize("first", [0, 1])
def test_releases_of_the_others_are_listed(project: Project, both: tuple[str, str], first: int) -> None:
    done = on_both(project, both, "releases", "--json", first=first)
    assert done.returncode == 3
    assert [listed["destination"] for listed in json.loads(done.stdout)] == [both[0]]
    assert both[1] in done.stderr
    assert "current.json" in done.stderr


@pytest.mark.parametrize("first", [0, 1])
def test_what_was_verified_of_the_others_is_reported(
    project: Project, both: tuple[str, str], first: int, tmp_path: Path
) -> None:
    done = on_both(project, both, "verify", "--report", str(tmp_path / "r.json"), first=first)
    assert done.returncode == 3
    assert "verified:" in done.stdout
    assert both[1] in done.stderr
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert both[0] in json.dumps(report)
    assert both[1] not in json.dumps(report)


def test_a_site_that_does_not_answer_does_not_take_away_what_is_known_of_the_store(
    project: Project, both: tuple[str, str]
) -> None:
    done = project.mirror("verify", "--json", "--destination", both[0], "--url", "http://127.0.0.1:1/")
    assert done.returncode == 3
    assert [found["destination"] for found in json.loads(done.stdout)] == [both[0]]


def test_a_refresh_reports_the_store_although_the_site_does_not_answer(project: Project, tmp_path: Path) -> None:
    flags = ("--destination", str(tmp_path / "site"), "--report", str(tmp_path / "r.json"))
    done = project.mirror("refresh", *flags, DOWNLOADER="direct", BASE_URL="http://127.0.0.1:1/")
    assert done.returncode == 3
    assert "verified:" in done.stdout
    assert str(tmp_path / "site") in (tmp_path / "r.json").read_text("utf-8")


def test_a_refresh_of_which_one_destination_fails_publishes_to_the_others(
    project: Project, both: tuple[str, str], tmp_path: Path
) -> None:
    done = on_both(project, (str(tmp_path / "site"), both[1]), "refresh", first=0)
    assert done.returncode == 3
    assert "current.json" in done.stderr
    assert (tmp_path / "site" / "simple" / "alpha" / "index.html").is_file()


def test_what_would_be_pruned_of_the_others_is_named(project: Project, both: tuple[str, str], tmp_path: Path) -> None:
    site = make_site(tmp_path / "made", [make_wheel(tmp_path / "wheels", "alpha", "1.0")])
    other = make_site(tmp_path / "other", [make_wheel(tmp_path / "wheels", "beta", "1.0")])
    for each in (site, other):
        each.publish(local(tmp_path / "site"), allow_shrink=True)
    flags = ("--keep", "1", "--grace", "0", "--allow-shrink", "--dry-run")
    done = on_both(project, (str(tmp_path / "site"), both[1]), "prune", *flags, first=0)
    assert done.returncode == 3
    assert "packages/alpha-1.0-py3-none-any.whl" in done.stdout


def test_where_nothing_is_known_nothing_is_handed_out(project: Project, both: tuple[str, str], tmp_path: Path) -> None:
    flags = ("--destination", both[1], "--report", str(tmp_path / "r.json"))
    done = project.mirror("verify", *flags)
    assert done.returncode == 3
    assert done.stdout == ""
    assert not (tmp_path / "r.json").exists()


# --- how many requests at once ------------------------------------------------------------------


class Reading(ThreadingHTTPServer):
    """The published folder as a bucket that is only read; it counts how many requests are under way."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.lock = threading.Lock()
        self.now = self.most = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Reading

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def _reply(self) -> None:
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        time.sleep(0.01)
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        path = self.server.folder / unquote(parts.path).removeprefix("/wheels").strip("/")
        if "list-type" in query:
            status, body = 200, self._listing(query["prefix"][0])
        elif path.is_file():
            status, body = 200, path.read_bytes()
        else:
            status, body = 404, b"<Error><Code>NoSuchKey</Code></Error>"
        with self.server.lock:
            self.server.now -= 1
        self.send_response_only(status)
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = _reply  # noqa: N815

    def _listing(self, prefix: str) -> bytes:
        folder = self.server.folder
        found = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
            f'<ETag>"{key}"</ETag><Size>{path.stat().st_size}</Size></Contents>'
            for key, path in found
            if key.startswith(prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()


@contextmanager
def bucket(folder: Path) -> Iterator[Reading]:
    with Reading(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.parametrize("jobs", [1, 3])
def test_jobs_are_the_requests_that_a_bucket_gets_at_once(project: Project, both: tuple[str, str], jobs: int) -> None:
    with bucket(Path(both[0])) as running:
        destination = f"s3://wheels?endpoint_url=http://127.0.0.1:{running.server_address[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
        done = project.mirror("verify", "--destination", destination, JOBS=str(jobs), **keys)
        assert done.returncode == 0, done.stdout + done.stderr
        assert running.most == jobs
