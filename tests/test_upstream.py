"""Reading project pages from a real index on loopback, and remembering them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from mirror.downloads.configuration import Configuration, Network, PipSettings
from mirror.model import Digest, LockedFile, ProjectStatus
from mirror.progress import Silence
from mirror.upstream.base import Want
from mirror.upstream.http import HttpUpstream
from mirror.upstream.record import freshness
from tests.faulty_index import HTML, JSON, FaultyIndex, Page
from tests.wheels import digest_of, make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mirror.upstream.base import Offer

IMPATIENT = Network(timeout=5.0, retries=0)


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FaultyIndex]:
    with FaultyIndex() as running:
        yield running


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """An upstream with one cache, made anew for each read, as each run of the program does."""

    def __init__(self, cache: Path, *indexes: str, environ: Mapping[str, str] | None = None) -> None:
        self.cache = cache
        self.settings = PipSettings(indexes=indexes, network=IMPATIENT)
        self.environ = {**os.environ, "NETRC": os.devnull, **(environ or {})}
        self.clock = Clock()

    def read(
        self, *files: Path | LockedFile, offline: bool = False, index: str = "", name: str = ""
    ) -> dict[str, Offer]:
        locked = [file if isinstance(file, LockedFile) else LockedFile(file.name, digest_of(file)) for file in files]
        projects: dict[str, list[LockedFile]] = {}
        for file in locked:
            projects.setdefault(canonicalize_name(file.filename.split("-")[0]), []).append(file)
        wants = [
            Want(project=canonicalize_name(project), index=index, files=tuple(wanted), name=name)
            for project, wanted in projects.items()
        ]
        configuration = Configuration(self.settings, self.environ)
        upstream = HttpUpstream(configuration=configuration, cache=self.cache, offline=offline, now=self.clock)
        return {project: offer for (project, _), offer in upstream.read(wants, Silence()).items()}


@pytest.fixture
def reader(tmp_path: Path, index: FaultyIndex) -> Reader:
    return Reader(tmp_path / "pages.json", index.url)


@pytest.mark.parametrize("speaks_json", [True, False], ids=["json", "html"])
def test_a_page_tells_where_files_are(tmp_path: Path, index: FaultyIndex, reader: Reader, speaks_json: bool) -> None:
    index.speaks_json = speaks_json
    wheel, sdist = make_wheel(tmp_path, "one", "1.0+local"), make_sdist(tmp_path, "one", "1.0")
    for path in (wheel, sdist, make_wheel(tmp_path, "one", "2.0")):
        index.add(path)
    offer = reader.read(wheel, sdist)["one"]
    assert {name: file.url for name, file in offer.files.items()} == {
        path.name: index.file_url(path.name) for path in (wheel, sdist)
    }
    assert dict(offer.indexes) == dict.fromkeys((wheel.name, sdist.name), index.url)
    assert (offer.problem, offer.by_name, dict(offer.mismatched)) == ("", False, {})
    assert len(index.requests) == 1


def test_json_is_preferred_and_html_accepted(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    """Standards U9 and 2.1: the Accept header that pip sends."""
    index.add(make_wheel(tmp_path, "one", "1.0"))
    reader.read(make_wheel(tmp_path, "one", "1.0"))
    accept = index.requests[0].headers["Accept"]
    assert accept.startswith(f"{JSON}, ")
    assert "text/html;q=0.01" in accept


def test_every_fact_of_a_page_is_carried_and_kept(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    wheel = make_wheel(tmp_path, "one", "1.0")
    facts = {"upload-time": "2024-01-02T03:04:05.678901Z", "requires-python": ">=3.9,<4", "yanked": "broken <b>"}
    index.add(wheel)
    index.facts[wheel.name] |= facts
    index.status["one"] = {"status": "deprecated", "reason": "use two"}
    offers = [reader.read(wheel)["one"] for _ in range(2)]
    assert len(index.requests) == 1
    for offer in offers:
        file = offer.files[wheel.name]
        assert (file.upload_time, file.requires_python, file.yanked) == tuple(facts.values())
        assert (file.size, file.digests) == (wheel.stat().st_size, (digest_of(wheel),))
        assert offer.status == ProjectStatus(status="deprecated", reason="use two")


def test_yanked_without_a_reason_is_yanked(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    """PEP 592: an empty reason is not "not yanked"."""
    wheel, fine = make_wheel(tmp_path, "one", "1.0"), make_wheel(tmp_path, "one", "2.0")
    index.add(wheel, yanked=True)
    index.add(fine, yanked=False)
    for _ in range(2):
        offer = reader.read(wheel, fine)["one"]
        assert (offer.files[wheel.name].yanked, offer.files[fine.name].yanked) == ("", None)


def test_other_bytes_under_the_locked_name(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    wheel = make_wheel(tmp_path, "one", "1.0")
    index.add(wheel)
    offer = reader.read(LockedFile(wheel.name, Digest("sha256", "0" * 64)))["one"]
    assert dict(offer.files) == {}
    assert dict(offer.mismatched) == {wheel.name: digest_of(wheel)}


def test_a_page_without_the_locked_algorithm_matches_by_name(
    tmp_path: Path, index: FaultyIndex, reader: Reader
) -> None:
    wheel = make_wheel(tmp_path, "one", "1.0")
    index.add(wheel)
    locked = LockedFile(wheel.name, digest_of(wheel, "sha512"))
    assert wheel.name in reader.read(locked)["one"].files


def test_of_two_entries_of_one_name_the_locked_one_counts(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    wheel = make_wheel(tmp_path, "one", "1.0")
    links = [
        f'<a href="{index.root}{place}/{wheel.name}#sha256={digest}">{wheel.name}</a>'
        for place, digest in (("old", "0" * 64), ("new", digest_of(wheel).hex))
    ]
    index.pages["one"] = Page("".join(links).encode())
    for _ in range(2):
        assert "/new/" in reader.read(wheel)["one"].files[wheel.name].url


class TestSeveralIndexes:
    def test_later_ones_are_asked_only_for_what_is_missing(
        self, tmp_path: Path, index: FaultyIndex, other: FaultyIndex
    ) -> None:
        first, second = make_wheel(tmp_path, "first", "1.0"), make_wheel(tmp_path, "second", "1.0")
        index.add(first)
        for path in (first, second):
            other.add(path)
        offers = Reader(tmp_path / "pages.json", index.url, other.url).read(first, second)
        assert offers["first"].indexes[first.name] == index.url
        assert offers["second"].indexes[second.name] == other.url
        assert [request.path for request in other.requests] == ["/simple/second/"]

    def test_a_mismatch_on_one_is_made_good_by_another(
        self, tmp_path: Path, index: FaultyIndex, other: FaultyIndex
    ) -> None:
        rebuilt = make_wheel(tmp_path / "rebuilt", "one", "1.0", files={"other.py": b""})
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(rebuilt)
        other.add(wheel)
        offer = Reader(tmp_path / "pages.json", index.url, other.url).read(wheel)["one"]
        assert offer.files[wheel.name].url == other.file_url(wheel.name)
        assert dict(offer.mismatched) == {}

    def test_a_failing_one_does_not_hide_what_another_has(
        self, tmp_path: Path, index: FaultyIndex, other: FaultyIndex
    ) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.pages["one"] = Page(b"", status=500)
        other.add(wheel)
        offer = Reader(tmp_path / "pages.json", index.url, other.url).read(wheel)["one"]
        assert wheel.name in offer.files
        assert "answers 500" in offer.problem

    def test_the_locks_own_index_is_asked_alone(self, tmp_path: Path, index: FaultyIndex, other: FaultyIndex) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        other.add(wheel)
        offer = Reader(tmp_path / "pages.json", index.url).read(wheel, index=other.url.rstrip("/"))["one"]
        assert offer.files[wheel.name].url == other.file_url(wheel.name)
        assert index.requests == []


class TestKept:
    def test_fresh_is_not_asked_again(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        wheel, absent = make_wheel(tmp_path, "one", "1.0"), make_wheel(tmp_path, "absent", "1.0")
        index.add(wheel)
        index.unlisted.add(make_wheel(tmp_path, "one", "9.0").name)
        for _ in range(3):
            offers = reader.read(wheel, tmp_path / "one-9.0-py3-none-any.whl", absent)
            assert list(offers["one"].files) == [wheel.name]
            assert offers["absent"].problem == ""
            reader.clock.now += 150
        assert sorted(request.path for request in index.requests) == ["/simple/absent/", "/simple/one/"]

    def test_stale_is_asked_with_its_etag(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        """Standards U14."""
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        for _ in range(2):
            assert wheel.name in reader.read(wheel)["one"].files
            reader.clock.now += 601
        assert ["If-None-Match" in request.headers for request in index.requests] == [False, True]
        reader.clock.now -= 100
        assert wheel.name in reader.read(wheel)["one"].files
        assert len(index.requests) == 2, "a 304 makes it fresh again"

    def test_a_yank_is_noticed_when_stale(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        reader.read(wheel)
        index.add(wheel, yanked="bad")
        reader.clock.now += 601
        assert reader.read(wheel)["one"].files[wheel.name].yanked == "bad"

    def test_a_file_that_nobody_asked_about_before(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        first, second = make_wheel(tmp_path, "one", "1.0"), make_wheel(tmp_path, "one", "2.0")
        for path in (first, second):
            index.add(path)
        reader.read(first)
        assert second.name in reader.read(second)["one"].files
        assert "If-None-Match" not in index.requests[1].headers, "a 304 would say nothing of it"
        assert first.name in reader.read(first)["one"].files
        assert len(index.requests) == 2

    def test_only_wanted_files_are_kept(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        for number in range(50):
            index.add(make_wheel(tmp_path, "one", f"1.{number}"))
        reader.read(make_wheel(tmp_path, "one", "1.7"))
        assert reader.cache.read_text().count(".whl") == 3

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, 600),
            ({"Cache-Control": "max-age=60, public"}, 60),
            ({"Cache-Control": "MAX-AGE=60", "Age": "50"}, 10),
            ({"Cache-Control": "max-age=60", "Age": "70"}, 0),
            ({"Cache-Control": "no-cache"}, 0),
            ({"Cache-Control": "private, no-store, max-age=60"}, 0),
            ({"Cache-Control": "max-age=0"}, 0),
            ({"Cache-Control": "immutable, max-age=31536000"}, 86400),
            ({"Cache-Control": "max-age=soon"}, 600),
        ],
        ids=str,
    )
    def test_how_long_a_page_is_fresh(
        self, tmp_path: Path, index: FaultyIndex, reader: Reader, headers: dict[str, str], seconds: float
    ) -> None:
        assert freshness(headers) == seconds
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        index.page_headers = headers
        reader.read(wheel)
        reader.clock.now += seconds - 1
        reader.read(wheel)
        assert len(index.requests) == (1 if seconds else 2)
        reader.clock.now += 2
        reader.read(wheel)
        assert len(index.requests) == (2 if seconds else 3)

    def test_a_clock_that_was_set_back_proves_nothing(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        reader.read(wheel)
        reader.clock.now -= 3600
        reader.read(wheel)
        assert len(index.requests) == 2

    @pytest.mark.parametrize(
        "damage",
        [
            b"",
            b"{",
            b"[]",
            b'{"format":999,"indexes":{}}',
            b'{"format":2,"indexes":[]}',
            b'{"format":2,"indexes":{"%s":{"one":7}}}',
            b'{"format":2,"indexes":{"%s":{"one":{"fetched":"x"}}}}',
            b'{"format":2,"indexes":{"%s":{"one":{"fetched":1700000000,"freshness":600,"etag":"","present":true,'
            b'"status":["active",""],"files":{"one-1.0-py3-none-any.whl":[{"nonsense":1}]}}}}}',
        ],
    )
    def test_a_corrupt_cache_is_a_cold_one(
        self, tmp_path: Path, index: FaultyIndex, reader: Reader, damage: bytes
    ) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        reader.cache.write_bytes(damage.replace(b"%s", index.url.rstrip("/").encode()))
        assert wheel.name in reader.read(wheel)["one"].files
        assert wheel.name in reader.read(wheel)["one"].files
        assert len(index.requests) == 1

    def test_what_nobody_asks_about_is_forgotten(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        for name in ("one", "two"):
            index.add(make_wheel(tmp_path, name, "1.0"))
        reader.read(make_wheel(tmp_path, "one", "1.0"))
        reader.clock.now += 100 * 86400
        reader.read(make_wheel(tmp_path, "two", "1.0"))
        (projects,) = json.loads(reader.cache.read_bytes())["indexes"].values()
        assert list(projects) == ["two"]

    def test_an_index_that_is_down_leaves_us_with_what_was_read(
        self, tmp_path: Path, index: FaultyIndex, reader: Reader
    ) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        reader.read(wheel)
        reader.clock.now += 3600
        index.pages["one"] = Page(b"", status=500)
        offer = reader.read(wheel)["one"]
        assert wheel.name in offer.files
        assert "answers 500" in offer.problem
        assert "earlier" in offer.problem


class TestOffline:
    def test_what_is_kept_is_used_whatever_its_age(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        wheel = make_wheel(tmp_path, "one", "1.0")
        index.add(wheel)
        reader.read(wheel)
        reader.clock.now += 30 * 86400
        offer = reader.read(wheel, offline=True)["one"]
        assert wheel.name in offer.files
        assert offer.problem == ""
        assert len(index.requests) == 1

    def test_what_is_not_known_is_said(self, tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
        first, second = make_wheel(tmp_path, "one", "1.0"), make_wheel(tmp_path, "one", "2.0")
        for path in (first, second):
            index.add(path)
        reader.read(first)
        before = len(index.requests)
        offers = reader.read(first, second, make_wheel(tmp_path, "two", "1.0"), offline=True)
        assert list(offers["one"].files) == [first.name]
        assert offers["one"].problem.startswith("offline")
        assert offers["two"].problem.startswith("offline")
        assert len(index.requests) == before

    def test_the_client_is_not_even_imported(self, tmp_path: Path) -> None:
        """Importing it takes longer than a run in which nothing has changed may."""
        modules = "mirror.upstream.http, mirror.downloads.pip, mirror.downloads.direct"
        script = f"import sys, {modules}; print('urllib3' in sys.modules)"
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
        told = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == "False"


class TestWhoWeAre:
    @pytest.fixture
    def secret(self, tmp_path: Path) -> Iterator[FaultyIndex]:
        with FaultyIndex(credentials=("jane", "s3cr:et/")) as running:
            running.add(make_wheel(tmp_path, "one", "1.0"))
            yield running

    @pytest.fixture
    def wheel(self, tmp_path: Path) -> Path:
        return make_wheel(tmp_path, "one", "1.0")

    def test_an_index_that_refuses_us_is_left_to_pip(self, tmp_path: Path, secret: FaultyIndex, wheel: Path) -> None:
        offer = Reader(tmp_path / "pages.json", secret.url).read(wheel)["one"]
        assert offer.by_name
        assert "credentials" in offer.problem
        assert dict(offer.files) == {}

    @pytest.mark.parametrize("status", [401, 403])
    def test_the_locks_own_index_that_refuses_us_is_named(
        self, tmp_path: Path, index: FaultyIndex, wheel: Path, status: int
    ) -> None:
        index.pages["one"] = Page(b"", status=status)
        url = index.url.replace("://", "://a:b@")
        offer = Reader(tmp_path / "pages.json").read(wheel, index=url)["one"]
        assert offer.by_name
        assert dict(offer.indexes) == {wheel.name: index.url}

    def test_from_the_url(self, tmp_path: Path, secret: FaultyIndex, wheel: Path) -> None:
        url = secret.url.replace("://", "://jane:s3cr%3Aet%2F@")
        reader = Reader(tmp_path / "pages.json", url)
        offer = reader.read(wheel)["one"]
        assert offer.files[wheel.name].url == secret.file_url(wheel.name)
        assert offer.indexes[wheel.name] == secret.url
        for text in (repr(offer), reader.cache.read_text()):
            assert "jane" not in text
            assert "s3cr" not in text

    def test_from_netrc(self, tmp_path: Path, secret: FaultyIndex, wheel: Path) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login jane password s3cr:et/\n")
        netrc.chmod(0o600)
        reader = Reader(tmp_path / "pages.json", secret.url, environ={"NETRC": str(netrc)})
        assert wheel.name in reader.read(wheel)["one"].files

    def test_as_poetry_is_told(self, tmp_path: Path, secret: FaultyIndex, wheel: Path) -> None:
        variables = {"POETRY_HTTP_BASIC_MY_IDX_USERNAME": "jane", "POETRY_HTTP_BASIC_MY_IDX_PASSWORD": "s3cr:et/"}
        reader = Reader(tmp_path / "pages.json", environ=variables)
        assert wheel.name in reader.read(wheel, index=secret.url, name="my-idx")["one"].files

    def test_from_pips_index_on_the_same_origin(self, tmp_path: Path, secret: FaultyIndex, wheel: Path) -> None:
        reader = Reader(tmp_path / "pages.json", secret.root.replace("://", "://jane:s3cr%3Aet%2F@") + "other/")
        assert wheel.name in reader.read(wheel, index=secret.url)["one"].files

    def test_nobody_else_is_told(self, tmp_path: Path, index: FaultyIndex, secret: FaultyIndex, wheel: Path) -> None:
        """Standards section 5.5: credentials do not follow a redirect to another origin."""
        index.add(wheel)
        moved = Page(b"", status=302, headers={"Location": f"{index.url}one/"})
        secret.pages["one"] = moved
        url = secret.url.replace("://", "://jane:s3cr%3Aet%2F@")
        assert wheel.name in Reader(tmp_path / "pages.json", url).read(wheel)["one"].files
        assert "Authorization" in secret.requests[-1].headers
        assert ["Authorization" in request.headers for request in index.requests] == [False]


class TestFileTrees:
    def test_a_tree_on_disk(self, tmp_path: Path) -> None:
        """Standards section 2.6: <project>/index.html is what clients look for."""
        wheel = make_wheel(tmp_path / "tree" / "files", "one", "1.0+local")
        page = tmp_path / "tree" / "simple" / "one" / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<a href="../../files/{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
        reader = Reader(tmp_path / "pages.json", (tmp_path / "tree" / "simple").as_uri())
        offers = reader.read(wheel, make_wheel(tmp_path, "absent", "1.0"))
        assert offers["one"].files[wheel.name].url == wheel.as_uri().replace("+", "%2B")
        assert (dict(offers["absent"].files), offers["absent"].problem) == ({}, "")

    def test_a_tree_that_is_not_there_is_a_problem(self, tmp_path: Path, index: FaultyIndex) -> None:
        wheel, fine = make_wheel(tmp_path, "one", "1.0"), make_wheel(tmp_path, "fine", "1.0")
        index.add(fine)
        offers = Reader(tmp_path / "pages.json", index.url, (tmp_path / "no tree").as_uri()).read(wheel, fine)
        assert "no tree" in offers["one"].problem
        assert offers["fine"].problem == ""


def test_plain_http_is_refused_unless_trusted(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    """Standards U11: pip ignores plain-http indexes other than loopback unless told to trust them."""
    wheel = make_wheel(tmp_path, "one", "1.0")
    index.add(wheel)
    reader.settings = PipSettings(indexes=(index.url, "http://plain.example/simple/"), network=IMPATIENT)
    offers = reader.read(wheel, make_wheel(tmp_path, "two", "1.0"))
    assert wheel.name in offers["one"].files
    assert "trusted-host" in offers["two"].problem


def test_without_any_index_pip_is_asked_by_name(tmp_path: Path) -> None:
    offer = Reader(tmp_path / "pages.json").read(make_wheel(tmp_path, "one", "1.0"))["one"]
    assert offer.by_name
    assert "no-index" in offer.problem


def test_a_page_from_elsewhere_has_no_business_in_our_files(tmp_path: Path, index: FaultyIndex, reader: Reader) -> None:
    wheel = make_wheel(tmp_path, "one", "1.0")
    index.pages["one"] = Page(f'<a href="{wheel.as_uri()}">{wheel.name}</a>'.encode(), HTML)
    assert dict(reader.read(wheel)["one"].files) == {}


def test_nothing_wanted_asks_nothing(reader: Reader, index: FaultyIndex) -> None:
    assert reader.read() == {}
    assert index.requests == []
