"""The look from outside: what is asked, of whom, and what is said of hosts that are unlike ours."""

from __future__ import annotations

import base64
import functools
import gzip
import http.server
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mirror import inspection
from mirror.clients import conduct
from mirror.clients.http import HttpClient
from mirror.coverage import Finding
from mirror.credentials import Credentials
from mirror.downloads.configuration import Network
from mirror.errors import MirrorError, RemoteError
from mirror.layout import HTML_TYPE, JSON_TYPE
from mirror.model import Reason
from mirror.outside import files, manners, pages
from mirror.phases import visit as module
from mirror.phases.visit import base_of, visit
from mirror.progress import Silence
from mirror.serve import application
from mirror.web import Web
from tests.expected import expectations, locked, reasons
from tests.mutants import (
    ANY,
    DELTA,
    GAMMA,
    LINUX,
    MUTANTS,
    VERIFY,
    Asked,
    Mutant,
    Reply,
    mutated,
    serve_mutant,
    subject,
)
from tests.served import served
from tests.sites import local, make_site, tree
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mirror.coverage import Coverage, Expectation
    from mirror.model import Notice
    from tests.sites import Site

CLEAN = {
    "alpha": ["covered"] * 2, "beta": ["sdist-only"] * 2, "delta": ["yanked"] * 2, "gamma": ["covered"] * 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("subject")


@pytest.fixture(scope="module")
def site(folder: Path) -> Site:
    return subject(folder)


@dataclass
class Told(Silence):
    """Keeps what is told."""

    notices_seen: list[Notice] = field(default_factory=list)

    def notice(self, notice: Notice) -> None:
        self.notices_seen.append(notice)


@contextmanager
def asking(url: str = "", **network: Any) -> Iterator[HttpClient]:
    settings = Network(**{"retries": 0, "timeout": 10.0, **network})
    client = HttpClient(Web(settings, Credentials((url,)), {}, connections=4))
    yield client
    client.close()


def look(site: Site, url: str, *, knows: bool = True, told: Told | None = None, **options: Any) -> Coverage:
    asked = options.pop("asked", None) or expectations(locked(site))
    manifest = site.manifest if knows else None
    with asking(url) as client:
        return visit(asked, client, url, told or Told(), manifest=manifest, jobs=4, **options)


def codes(coverage: Coverage) -> set[str]:
    return {finding.code for finding in coverage.findings}


def answering(change: Callable[[Asked, Reply], Reply]) -> Mutant:
    return Mutant(name="host", answered=change)


@contextmanager
def counted(root: Path) -> Iterator[tuple[str, list[Asked]]]:
    """Serve `root`, and write down every request."""
    asked: list[Asked] = []

    def note(request: Asked, reply: Reply) -> Reply:
        asked.append(request)
        return reply

    with serve_mutant(root, answering(note)) as url:
        yield url, asked


def test_every_code_is_explained_and_what_to_do_about_it_is_said() -> None:
    modules = (module, inspection, conduct, pages, files, manners)
    source = "".join(Path(str(part.__file__)).read_text("utf-8") for part in modules)
    used = set(re.findall(r'(?:find\(|Finding\(|odd\(|yield )"([a-z0-9-]+)"', source))
    assert used == set(re.findall(r"^([a-z0-9-]+)  +\S", str(module.__doc__), re.MULTILINE))
    assert {code for words in VERIFY.values() for code in words} - set(Reason) <= used
    of_the_host = {"no-index", "refused", "encoded", "wrong-type", "wrong-cache", "no-head", "no-ranges", "not-404"}
    assert "sync" not in "".join(Finding(code, "", "").advice for code in {*of_the_host, "wrong-redirect"})


# Where it is


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://mirror.example", "https://mirror.example/"),
        ("https://mirror.example/simple", "https://mirror.example/"),
        ("https://mirror.example/python/simple/", "https://mirror.example/python/"),
        ("https://mirror.example/not-simple", "https://mirror.example/not-simple/"),
        ("http://user:secret@127.0.0.1:8000/simple/", "http://user:secret@127.0.0.1:8000/"),
    ],
)
def test_the_address_of_the_mirror_or_of_its_index_will_do(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize("url", ["mirror.example", "ftp://mirror.example/", "https:///simple/", "https://h/?a=b"])
def test_what_is_no_address_of_a_site(url: str) -> None:
    with pytest.raises(MirrorError, match="no address of a mirror") as caught:
        base_of(url)
    assert caught.value.exit_code == 2


def test_a_mirror_below_a_path(folder: Path, site: Site, tmp_path: Path) -> None:
    app = application(folder / "root")

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix("/py/thon")
        await app({**scope, "path": path if path != scope["path"] else "/nothing"}, receive, send)

    with served(tmp_path, mounted) as url:
        coverage = look(site, f"{url}py/thon/simple")
    assert (coverage.findings, coverage.destination) == ((), f"{url}py/thon/")
    assert reasons(coverage) == CLEAN


def test_behind_a_redirect_everything_is_asked_where_it_leads_to(folder: Path, site: Site) -> None:
    with serve_mutant(folder / "root", None) as url:
        moved = answering(
            lambda asked, _: Reply(status=302, headers={"location": f"{url}{asked.raw.removeprefix('/')}"})
        )
        with serve_mutant(folder / "root", moved) as old:
            coverage = look(site, old)
    assert (coverage.findings, coverage.destination) == ((), url)
    assert reasons(coverage) == CLEAN


def test_plain_http_is_passed_over_by_pip_unless_it_trusts_the_host(folder: Path, site: Site) -> None:
    """Loopback by its number is no name that pip knows as this machine."""
    with serve_mutant(folder / "root", None) as url:
        elsewhere = url.replace("127.0.0.1", "2130706433")
        found = look(site, elsewhere)
        with asking(trusted_hosts=("2130706433",)) as client:
            trusted = visit(expectations(locked(site)), client, elsewhere, Told(), manifest=site.manifest, jobs=4)
    assert [(finding.code, finding.key) for finding in found.findings] == [("plain-http", "simple/")]
    assert reasons(found) == CLEAN
    assert trusted.findings == ()


# Who asks


def guarded(asked: Asked, reply: Reply) -> Reply:
    wanted = "Basic " + base64.b64encode(b"ci:s3cr:t").decode()
    if asked.headers.get("authorization") == wanted:
        return reply
    return Reply(status=401, headers={"www-authenticate": "Basic"})


def test_credentials_in_the_address_are_used_and_never_shown(folder: Path, site: Site) -> None:
    with serve_mutant(folder / "root", answering(guarded)) as url:
        coverage = look(site, url.replace("://", "://ci:s3cr%3At@"))
    assert (coverage.findings, coverage.destination) == ((), url)
    assert reasons(coverage) == CLEAN
    assert "s3cr" not in str(coverage.to_json())


def test_credentials_from_netrc_are_used(folder: Path, site: Site, home: Path) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login ci password s3cr:t\n")
    (home / ".netrc").chmod(0o600)
    with serve_mutant(folder / "root", answering(guarded)) as url:
        assert look(site, url).findings == ()


@pytest.mark.parametrize("status", [401, 403])
def test_a_site_that_lets_nobody_in_wants_credentials(folder: Path, site: Site, status: int) -> None:
    closed = answering(lambda _, __: Reply(status=status))
    with serve_mutant(folder / "root", closed) as url, pytest.raises(RemoteError, match="credentials") as caught:
        look(site, url.replace("://", "://ci:wr0ng@"))
    assert caught.value.exit_code == 3
    assert "netrc" in caught.value.hint
    assert "wr0ng" not in str(caught.value)


def test_a_site_that_fails_or_is_not_there_is_no_finding(folder: Path, site: Site) -> None:
    failing = answering(lambda _, __: Reply(status=500))
    with serve_mutant(folder / "root", failing) as url, pytest.raises(RemoteError, match="answers 500"):
        look(site, url)
    with pytest.raises(RemoteError):
        look(site, url)


# What is there


def test_where_there_is_no_index_one_finding_says_so(site: Site, tmp_path: Path) -> None:
    with served(tmp_path) as url:
        coverage = look(site, url)
    assert [finding.code for finding in coverage.findings] == ["no-index"]
    assert set(reasons(coverage)["alpha"]) == {"not-published"}
    assert not coverage.published


def test_without_a_project_list_the_pages_are_judged_all_the_same(folder: Path, site: Site) -> None:
    with serve_mutant(
        folder / "root", answering(lambda asked, reply: Reply(status=404) if asked.path == "simple/" else reply)
    ) as url:
        coverage = look(site, url)
    assert [(finding.code, finding.key) for finding in coverage.findings] == [("missing", "simple/index.html")]
    assert reasons(coverage) == CLEAN


@pytest.mark.parametrize("behind", [True, False], ids=["store", "address-alone"])
@pytest.mark.parametrize("form", ["HTML", "JSON"])
def test_a_host_with_one_form_is_judged_by_that_one(folder: Path, site: Site, form: str, behind: bool) -> None:
    """As a plain web server that knows index.html only, or a bucket where JSON lies under every key."""
    suffix, kind = ("index.html", HTML_TYPE) if form == "HTML" else ("index.v1_json", JSON_TYPE)

    def always(asked: Asked, reply: Reply) -> Reply:
        path = folder / "root" / f"{asked.path}{suffix}"
        if asked.path.startswith("simple/") and asked.path.endswith("/") and path.is_file():
            return replace(reply, body=path.read_bytes()).having(content_type=kind)
        return reply

    told = Told()
    with serve_mutant(folder / "root", answering(always)) as url:
        coverage = look(site, url, told=told, store=local(folder / "root") if behind else None)
    assert coverage.findings == ()
    assert reasons(coverage) == CLEAN
    assert [notice.code for notice in told.notices_seen] == ["one-form"]
    assert f"answers in {form}" in told.notices_seen[0].message


def test_a_page_without_the_form_that_others_have(folder: Path, site: Site, tmp_path: Path) -> None:
    def negotiates_but_once(asked: Asked, reply: Reply) -> Reply:
        if asked.path != "simple/gamma/" or "json" not in asked.headers.get("accept", ""):
            return reply
        page = (folder / "root/simple/gamma/index.html").read_bytes()
        return replace(reply, body=page).having(content_type=HTML_TYPE)

    told = Told()
    with serve_mutant(folder / "root", answering(negotiates_but_once)) as url:
        coverage = look(site, url, told=told)
    assert [(finding.code, finding.key) for finding in coverage.findings] == [("missing", "simple/gamma/index.v1_json")]
    assert reasons(coverage) == CLEAN, "installers take the form that there is"
    assert told.notices_seen == []


def test_pages_may_come_compressed_and_files_may_not(folder: Path, site: Site) -> None:
    def compressed(asked: Asked, reply: Reply) -> Reply:
        if not asked.path.startswith("simple/") or "gzip" not in asked.headers.get("accept-encoding", ""):
            return reply
        return replace(reply, body=gzip.compress(reply.body)).having(content_encoding="gzip")

    with serve_mutant(folder / "root", answering(compressed)) as url:
        assert look(site, url).findings == ()


@pytest.mark.parametrize(
    "body", [b"no gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage"], ids=["nothing", "garbage"]
)
def test_a_page_that_cannot_be_unpacked(folder: Path, site: Site, body: bytes) -> None:
    def broken(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, body=body).having(content_encoding="gzip") if asked.path == "simple/gamma/" else reply

    with serve_mutant(folder / "root", answering(broken)) as url:
        coverage = look(site, url)
    assert "unreadable-page" in codes(coverage)
    assert reasons(coverage) == {**CLEAN, "gamma": ["not-published"] * 2}


@pytest.mark.parametrize("status", [403, 503])
def test_a_file_that_is_refused_is_not_called_missing(folder: Path, site: Site, status: int) -> None:
    with serve_mutant(
        folder / "root",
        answering(lambda asked, reply: Reply(status=status) if asked.path == f"packages/{ANY}" else reply),
    ) as url:
        coverage = look(site, url)
    assert [(finding.code, finding.key) for finding in coverage.findings] == [("refused", f"packages/{ANY}")]
    assert reasons(coverage) == {**CLEAN, "alpha": ["covered", "not-published"]}


def test_a_page_that_is_refused(folder: Path, site: Site) -> None:
    with serve_mutant(
        folder / "root",
        answering(lambda asked, reply: Reply(status=403) if asked.path == "simple/gamma/" else reply),
    ) as url:
        coverage = look(site, url)
    assert codes(coverage) == {"refused"}
    assert "credentials" in coverage.findings[0].message
    assert reasons(coverage) == {**CLEAN, "gamma": ["not-published"] * 2}


def test_nobody_is_sent_to_another_host(folder: Path, site: Site, tmp_path: Path) -> None:
    asked: list[str] = []

    def note(request: Asked, reply: Reply) -> Reply:
        asked.append(request.path)
        return reply

    with serve_mutant(folder / "root", answering(note)) as elsewhere:

        def lead_away(root: Path) -> None:
            for page in (root / "simple/gamma").iterdir():
                page.write_text(page.read_text().replace("../../packages/", f"{elsewhere}packages/"))

        with serve_mutant(folder / "root", Mutant(name="links", stored=lead_away)) as url:
            coverage = look(site, url)
    assert asked == []
    assert codes(coverage) == {"wrong-link"}
    assert reasons(coverage) == {**CLEAN, "gamma": ["not-published"] * 2}


def test_a_list_with_names_that_are_none(folder: Path, site: Site) -> None:
    def hostile(root: Path) -> None:
        page = root / "simple/index.html"
        link = '<a href="x/">../../.mirror/current.json</a><br>\n<a href="A/">Alpha</a><br>\n</body>'
        page.write_text(page.read_text().replace("</body>", link))

    with serve_mutant(folder / "root", Mutant(name="list", stored=hostile)) as url:
        coverage = look(site, url)
    assert codes(coverage) == {"list-disagrees"}
    assert "which no project is called" in coverage.findings[0].message


def test_what_is_cut_short_once_is_whole(folder: Path, site: Site) -> None:
    cut: list[str] = []

    def once(asked: Asked, reply: Reply) -> Reply:
        if asked.method == "HEAD" or not reply.body or asked.raw in cut:
            return reply
        cut.append(asked.raw)
        return replace(reply, sent=len(reply.body) // 2)

    with serve_mutant(folder / "root", Mutant(name="host", answered=once, wired=True)) as url:
        coverage = look(site, url, sample=None)
    assert len(cut) > len(EVERY)
    assert coverage.findings == ()
    assert reasons(coverage) == CLEAN


@pytest.mark.parametrize(("sent", "code"), [(9, "unreadable-page"), (-1, "refused")], ids=["cut", "reset"])
def test_a_page_that_never_comes_whole_ends_nothing(folder: Path, site: Site, sent: int, code: str) -> None:
    def broken(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, sent=sent) if asked.path == "simple/gamma/" else reply

    with serve_mutant(folder / "root", Mutant(name="host", answered=broken, wired=True)) as url:
        coverage = look(site, url)
    keys = ["simple/gamma/index.html", "simple/gamma/index.v1_json"]
    assert [(finding.code, finding.key) for finding in coverage.findings] == [(code, key) for key in keys]
    assert reasons(coverage) == {**CLEAN, "gamma": ["not-published"] * 2}


@pytest.mark.parametrize(("sent", "code"), [(9, "altered"), (-1, "refused")], ids=["cut", "reset"])
def test_a_sidecar_that_never_comes_whole_ends_nothing(folder: Path, site: Site, sent: int, code: str) -> None:
    key = f"packages/{GAMMA}.metadata"

    def broken(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, sent=sent) if asked.path == key else reply

    with serve_mutant(folder / "root", Mutant(name="host", answered=broken, wired=True)) as url:
        coverage = look(site, url)
    assert [(finding.code, finding.key) for finding in coverage.findings] == [(code, key)]
    assert reasons(coverage) == CLEAN


def test_a_host_that_goes_away_in_between_is_no_finding(folder: Path, site: Site) -> None:
    def goes(asked: Asked, reply: Reply) -> Reply:
        gone.extend([asked] if asked.path.startswith("packages/") and asked.method == "HEAD" else [])
        return replace(reply, sent=-1) if gone else reply

    gone: list[Asked] = []
    with (
        serve_mutant(folder / "root", Mutant(name="host", answered=goes, wired=True)) as url,
        pytest.raises(RemoteError) as caught,
    ):
        look(site, url)
    assert caught.value.exit_code == 3


def test_files_that_another_host_sends_are_no_fault_and_are_told_of(folder: Path, site: Site) -> None:
    """As a web server in front of a bucket does it, with addresses that hold for a while."""
    with serve_mutant(folder / "root", None) as bucket:

        def signed(asked: Asked, reply: Reply) -> Reply:
            if not asked.path.startswith("packages/"):
                return reply
            return Reply(status=302, headers={"location": f"{bucket}{asked.raw.removeprefix('/')}?signature=s3cret"})

        told = Told()
        with serve_mutant(folder / "root", answering(signed)) as url:
            coverage = look(site, url, told=told)
    assert coverage.findings == ()
    assert reasons(coverage) == CLEAN
    (notice,) = told.notices_seen
    assert notice.code == "sent-elsewhere"
    assert "6 files" in notice.message
    assert "s3cret" not in notice.message


def test_a_head_without_a_size_is_told_and_the_file_is_read(folder: Path, site: Site) -> None:
    app = application(folder / "root")

    async def sizeless(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if scope["method"] == "HEAD" and "headers" in message:
                message["headers"] = [pair for pair in message["headers"] if pair[0].lower() != b"content-length"]
            await send(message)

        await app(scope, receive, sent)

    told = Told()
    with served(folder / "root", sizeless) as url:
        coverage = look(site, url, sample=0, told=told)
    assert codes(coverage) == {"no-head"}
    assert "no length" in coverage.findings[0].message
    assert reasons(coverage) == CLEAN
    assert [(notice.code, "6 of 6" in notice.message) for notice in told.notices_seen] == [("read-whole", True)]


@pytest.mark.parametrize("stated", ["sha512=" + "0" * 128, "true"])
def test_metadata_without_a_sha256_is_asked_for_and_not_called_altered(folder: Path, site: Site, stated: str) -> None:
    algorithm, _, digest = stated.partition("=")
    as_json = f'{{"{algorithm}":"{digest}"}}' if digest else stated

    def state(root: Path) -> None:
        for page, old, new in (
            ("index.html", r'data-core-metadata="[^"]*"', f'data-core-metadata="{stated}"'),
            ("index.v1_json", r'"core-metadata":\{[^}]*\}', f'"core-metadata":{as_json}'),
        ):
            path = root / "simple/gamma" / page
            path.write_text(re.sub(old, new, path.read_text()))

    with serve_mutant(folder / "root", Mutant(name="metadata", stored=state)) as url:
        assert look(site, url, knows=False).findings == ()


def test_no_room_for_a_wheel_is_an_error_with_a_hint(
    folder: Path, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_mutant(folder / "root", None) as url:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        with pytest.raises(MirrorError, match="cannot write") as caught:
            look(site, url, sample=None)
    assert "TMPDIR" in caught.value.hint


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files")
def test_a_full_disk_is_an_error_with_a_hint(folder: Path, site: Site) -> None:
    """A process of its own, which may write no file of more than a hundred bytes."""
    with serve_mutant(folder / "root", None) as url:
        script = f"""
import resource, signal
from mirror.clients.http import HttpClient
from mirror.credentials import Credentials
from mirror.downloads.configuration import Network
from mirror.errors import MirrorError
from mirror.phases.visit import visit
from mirror.progress import Silence
from mirror.web import Web
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    visit((), HttpClient(Web(Network(), Credentials(), {{}}, 2)), {url!r}, Silence(), sample=None)
except MirrorError as error:
    print(error.message, error.hint)
"""
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ)
    assert done.stdout.startswith("cannot write to ")
    assert "TMPDIR" in done.stdout


# A publish in between


def test_a_page_that_is_replaced_while_it_is_read_is_read_again(folder: Path, site: Site) -> None:
    """HTML of the release before, JSON of the one after, and a list that does not know the newest project yet."""
    seen: list[str] = []

    def former(asked: Asked, reply: Reply) -> Reply:
        if asked.path not in ("simple/alpha/", "simple/") or asked.path in seen:
            return reply
        seen.append(asked.path)
        body = re.sub(rb'<a href="[^"]*(gamma/|linux[^"]*)".*?</a><br>\n', b"", reply.body)
        assert body != reply.body
        return replace(reply, body=body)

    for options in ({}, {"store": local(folder / "root")}, {"knows": False}):
        seen.clear()
        with serve_mutant(folder / "root", answering(former)) as url:
            coverage = look(site, url, **options)
        assert coverage.findings == ()
        assert reasons(coverage) == CLEAN


def test_a_good_site_is_read_once(folder: Path, site: Site) -> None:
    with counted(folder / "root") as (url, asked):
        look(site, url, sample=0)
    pages = Counter(
        (request.path, request.headers["accept"]) for request in asked if "if-none-match" not in request.headers
    )
    assert {pages[f"simple/{name}/", accept] for name in CLEAN for accept in conduct.ACCEPT} == {1}
    ranges = [request for request in asked if "range" in request.headers]
    assert ranges == [], "ranges are tried on the files of the sample"


def test_ranges_are_tried_on_a_sample_however_many_files_are_read(tmp_path: Path) -> None:
    wheels = [make_wheel(tmp_path / "made", f"p{place}", "1.0") for place in range(20)]
    made = make_site(tmp_path / "work", wheels)
    made.publish(local(tmp_path / "root"))
    with counted(tmp_path / "root") as (url, asked):
        assert look(made, url, sample=None).findings == ()
    assert len([request for request in asked if "range" in request.headers]) == 16


# How much is read


def read_whole(asked: list[Asked]) -> set[str]:
    """The artifacts that were downloaded."""
    return {
        request.path.removeprefix("packages/")
        for request in asked
        if request.method == "GET" and request.path.startswith("packages/") and request.path.endswith((".whl", ".gz"))
        and "no-such-project" not in request.path
    }  # fmt: skip


EVERY = {LINUX, ANY, "alpha-1.0.tar.gz", "beta-1.0.tar.gz", GAMMA, DELTA}


@pytest.mark.parametrize(("sample", "count"), [(0, 1), (2, 3), (None, 6)])
def test_a_sample_is_read_and_whatever_has_a_plus(folder: Path, site: Site, sample: int | None, count: int) -> None:
    with counted(folder / "root") as (url, asked):
        coverage = look(site, url, sample=sample)
        first = read_whole(asked)
        asked.clear()
        assert look(site, url, sample=sample) == coverage
        assert read_whole(asked) == first, "the same files as long as the site is the same"
    assert coverage.findings == ()
    assert GAMMA in first
    assert len(first) in ({count, count - 1} if sample else {count})
    assert sample is not None or first == EVERY


def test_every_file_is_looked_at_and_every_sidecar_is_read(folder: Path, site: Site) -> None:
    with counted(folder / "root") as (url, asked):
        look(site, url, sample=0)
    heads = {request.path.removeprefix("packages/") for request in asked if request.method == "HEAD"}
    assert heads == EVERY
    sidecars = {request.path for request in asked if request.path.endswith(".metadata")}
    assert sidecars == {f"packages/{name}.metadata" for name in (LINUX, ANY, GAMMA, DELTA)}
    assert all("+" not in request.raw for request in asked), "as the links spell it: %2B"


def test_another_release_is_sampled_elsewhere(tmp_path: Path) -> None:
    """Nightly runs look at other files as the mirror changes."""
    drawn = []
    for number in range(4):
        home = tmp_path / str(number)
        wheels = [make_wheel(home / "made", f"p{place}", "1.0") for place in range(20)]
        wheels.append(make_wheel(home / "made", "changing", f"{number}.0"))
        made = make_site(home / "work", wheels)
        made.publish(local(home / "root"))
        with counted(home / "root") as (url, asked):
            look(made, url, sample=3)
        drawn.append(frozenset(read_whole(asked)))
    assert len(set(drawn)) > 1


def test_a_flipped_byte_outside_the_sample_is_found_when_every_file_is_read(folder: Path, site: Site) -> None:
    def flip(root: Path) -> None:
        path = root / "packages" / ANY
        data = path.read_bytes()
        path.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])

    with serve_mutant(folder / "root", Mutant(name="byte", stored=flip)) as url:
        assert look(site, url, sample=0).findings == ()
        coverage = look(site, url, sample=None)
    assert codes(coverage) == {"altered"}
    assert reasons(coverage) == {**CLEAN, "alpha": ["covered", "digest-mismatch"]}


def test_another_build_published_consistently_is_found_without_reading_a_byte(tmp_path: Path) -> None:
    """The lock alone decides (DESIGN rule 1): pages, manifest and files agree with each other, and are wrong."""
    good = make_site(tmp_path / "good", [make_wheel(tmp_path / "a", "alpha", "1.0")])
    evil = make_site(tmp_path / "evil", [make_wheel(tmp_path / "b", "alpha", "1.0", files={"alpha.py": b"evil = 1\n"})])
    evil.publish(local(tmp_path / "root"))
    with serve_mutant(tmp_path / "root", None) as url:
        coverage = look(evil, url, asked=expectations(locked(good)), sample=0)
    assert coverage.findings == ()
    assert reasons(coverage) == {"alpha": ["digest-mismatch"] * 2}


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_files_that_a_lock_pins_otherwise_are_read_for_that_digest(
    folder: Path, site: Site, tmp_path: Path, algorithm: str
) -> None:
    asked = expectations(locked(site, algorithm))
    with serve_mutant(folder / "root", None) as url:
        assert reasons(look(site, url, asked=asked, sample=0)) == CLEAN
    wrong = [_repinned(expectation) for expectation in asked]
    with serve_mutant(folder / "root", None) as url:
        assert set(reasons(look(site, url, asked=wrong, sample=0))["gamma"]) == {"digest-mismatch"}


def _repinned(expectation: Expectation) -> Expectation:
    files = tuple(
        replace(file, digest=replace(file.digest, hex="0" * len(file.digest.hex))) for file in expectation.candidates
    )
    return replace(expectation, candidates=files)


# What lies behind it


def older(asked: Asked, reply: Reply) -> Reply:
    """A page as it was before, without any header that betrays a cache."""
    if asked.path != "simple/delta/" or reply.status != 200:
        return reply
    body = reply.body.replace(b"broken &lt;build&gt;", b"earlier").replace(b"broken <build>", b"earlier")
    assert body != reply.body
    return replace(reply, body=body)


def test_a_page_is_stale_when_the_store_has_another_one(folder: Path, site: Site) -> None:
    with serve_mutant(folder / "root", answering(older)) as url:
        assert codes(look(site, url)) == {"page-disagrees"}, "who cannot look behind it cannot know"
        assert codes(look(site, url, store=local(folder / "root"))) == {"stale-page"}


def test_a_page_that_is_wrong_in_the_store_is_not_stale(folder: Path, site: Site, tmp_path: Path) -> None:
    def act(root: Path) -> None:
        for page in (root / "simple/delta").iterdir():
            text = page.read_text().replace("broken &lt;build&gt;", "earlier").replace("broken <build>", "earlier")
            page.write_text(text)

    mutant = Mutant(name="page", stored=act)
    behind = local(mutated(folder / "root", tmp_path / "root", mutant))
    with serve_mutant(folder / "root", mutant) as url:
        assert codes(look(site, url, store=behind)) == {"page-disagrees"}


def test_with_the_store_the_release_is_named_and_held_against_every_page(folder: Path, site: Site) -> None:
    store = local(folder / "root")

    def front(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, body=reply.body + b"<!-- -->").having(age="30") if asked.path == "" else reply

    with serve_mutant(folder / "root", answering(front)) as url:
        coverage = look(site, url, knows=False, store=store)
    assert coverage.release.startswith("000001-")
    assert [(finding.code, finding.key) for finding in coverage.findings] == [("stale-page", "index.html")]
    assert "age: 30" in coverage.findings[0].message


def test_pages_for_people_that_the_release_has_are_there(folder: Path, site: Site) -> None:
    def hidden(asked: Asked, reply: Reply) -> Reply:
        return Reply(status=404) if asked.path in ("", "index.html") or asked.path.startswith("projects/") else reply

    with serve_mutant(folder / "root", answering(hidden)) as url:
        coverage = look(site, url, store=local(folder / "root"))
        assert look(site, url).findings == (), "nobody said that there is one"
    found = [(finding.code, finding.key) for finding in coverage.findings]
    assert found == [("missing", "index.html"), ("missing", "projects/alpha.html")]


@pytest.mark.parametrize("status", [200, 403])
def test_a_bucket_has_no_front_page_but_under_its_key(folder: Path, site: Site, status: int) -> None:
    def bucket(asked: Asked, reply: Reply) -> Reply:
        if asked.path == "":
            return Reply(status=status, headers={"content-type": "application/xml"}, body=b"<ListBucketResult/>")
        page = (folder / "root/index.html").read_bytes()
        return Reply(status=200, headers=reply.headers, body=page) if asked.path == "index.html" else reply

    with serve_mutant(folder / "root", answering(bucket)) as url:
        assert look(site, url, store=local(folder / "root")).findings == ()


def test_one_of_two_forms_that_is_stale_is_what_is_said(folder: Path, site: Site) -> None:
    def old(asked: Asked, reply: Reply) -> Reply:
        json = "json" in reply.headers.get("content-type", "")
        return older(asked, reply) if json else reply

    def cached(asked: Asked, reply: Reply) -> Reply:
        changed = old(asked, reply)
        return changed if changed is reply else changed.having(age="30")

    with serve_mutant(folder / "root", answering(old)) as url:
        coverage = look(site, url, knows=False, store=local(folder / "root"))
    assert [(finding.code, finding.key) for finding in coverage.findings] == [
        ("stale-page", "simple/delta/index.v1_json")
    ]
    with serve_mutant(folder / "root", answering(cached)) as url:
        assert codes(look(site, url, knows=False)) == {"stale-page"}


def test_after_a_rollback_pages_are_held_against_the_release_alone(folder: Path, site: Site) -> None:
    manifest = replace(site.manifest, artifacts=site.manifest.artifacts[1:], locks=("sha256:" + "1" * 64,))
    newer = replace(site, manifest=manifest)
    asked = expectations(locked(site))
    with serve_mutant(folder / "root", None) as url:
        assert look(newer, url, asked=asked, store=local(folder / "root")).findings == ()
        assert codes(look(newer, url, asked=asked)) == {"page-disagrees"}, "who cannot look behind it cannot know"


def test_a_project_that_the_store_forgot_and_a_cache_did_not(folder: Path, site: Site) -> None:
    (planted,) = (mutant for mutant in MUTANTS if mutant.name == "a project that nobody mirrored")
    with serve_mutant(folder / "root", planted) as url:
        coverage = look(site, url, store=local(folder / "root"))
    assert ("stale-page", "simple/evil/index.html") in {(finding.code, finding.key) for finding in coverage.findings}


def test_a_visit_writes_nothing(folder: Path, site: Site) -> None:
    before = tree(folder / "root")
    with served(folder / "root") as url:
        look(site, url, store=local(folder / "root"), sample=None)
    assert tree(folder / "root") == before


# Another server


def test_a_plain_static_server_is_judged_by_what_it_lacks(folder: Path, site: Site) -> None:
    """The standard library's: HTML only, no ranges, everything below its root, `.mirror/` included."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    handler = functools.partial(Quiet, directory=str(folder / "root"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        told = Told()
        coverage = look(site, f"http://127.0.0.1:{server.server_address[1]}/", told=told)
        server.shutdown()
    assert codes(coverage) == {"no-ranges", "state-public"}
    assert reasons(coverage) == CLEAN
    assert [notice.code for notice in told.notices_seen] == ["one-form"]


def test_what_is_odd_of_many_files_is_one_finding(folder: Path, site: Site) -> None:
    def plain(asked: Asked, reply: Reply) -> Reply:
        return reply.having(cache_control="no-store") if asked.path.startswith("packages/") else reply

    with serve_mutant(folder / "root", answering(plain)) as url:
        (finding,) = look(site, url).findings
    assert (finding.code, finding.key) == ("wrong-cache", f"packages/{LINUX}")
    assert finding.message.endswith("as of 9 more")
