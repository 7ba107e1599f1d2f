"""`mirror doctor URL` on hosts that are odd, careless or hostile: it tells what clients meet, and comes to an end."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.doctor.check import Check, Outcome, Rank, diagnose
from mirror.doctor.machine import Checkup, good
from mirror.doctor.page import read_page
from mirror.doctor.values import is_instant, number, resolved, shown, split
from mirror.doctor.wire import PAGE_LIMIT, decoded
from mirror.errors import RemoteError
from tests.doctored import FAIL, WARN, answered, breaches, examine, headers, is_html, path_is, status, stored
from tests.mutants import BETA, Mutant, Reply, serve_mutant, subject
from tests.project import ROOT
from tests.sites import local, make_site
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from mirror.doctor.check import Diagnosis, Seen
    from mirror.doctor.visit import Visit
    from tests.mutants import Asked

HTML_TYPE = "text/html; charset=utf-8"
_Said = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
DIGITS = "9" * 5000


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good site; nobody writes to it."""
    folder = tmp_path_factory.mktemp("doctor")
    subject(folder)
    return folder / "root"


def publish(folder: Path, *paths: Path) -> Path:
    """A site of these files."""
    make_site(folder / "work", paths).publish(local(folder / "root"))
    return folder / "root"


def evidence(found: Diagnosis, row: str) -> str:
    return " ".join(seen.text for verdict in found.verdicts if verdict.check.id == row for seen in verdict.evidence)


@contextmanager
def host(answer: Callable[[str, str, Mapping[str, str]], _Said]) -> Iterator[str]:
    """A host that answers to (method, path, headers) with (status, headers, body), and checks nothing of it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            code, stated, body = answer(self.command, self.path, dict(self.headers))
            self.send_response_only(code)
            for name, value in {"Content-Length": str(len(body)), **stated}.items():
                if value:
                    self.send_header(name, value)
            if not stated.get("Content-Length", "?"):
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            # Who has seen enough of it hangs up.
            with suppress(OSError):
                self.wfile.write(b"" if self.command == "HEAD" else body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def a_page(*links: str) -> bytes:
    return f"<!DOCTYPE html><title>x</title>{''.join(links)}".encode()


def link(address: str, text: str) -> str:
    return f'<a href="{address}">{text}</a><br>\n'


# What a host writes may be anything


def moved(path: str, place: str) -> Mutant:
    # Headers are bytes: what is beyond Latin-1 comes as its UTF-8.
    location = place.encode().decode("latin-1")
    return answered(path_is(path), lambda _: Reply(status=302, headers={"location": location}))


STRANGE = (
    "http://[::1",
    "http://127.0.0.1:99999/",
    "http://a..b/",
    "http://\N{ACCOUNT OF}.example/",
    "//",
    "http:///x",
)
HOSTILE = {
    "marked section": stored(("beta.html", "</body>", "<![foo[x]]></body>")),
    "half a marked section": stored(("beta.html", "</body>", "<![%")),
    "link": stored(("beta.html", "</body>", '<a href="http://[x/beta-1.1.tar.gz">beta-1.1.tar.gz</a></body>')),
    "link on the list": stored((".html", "</body>", '<a href="http://[x/">x</a></body>')),
    "base": stored(("beta.html", "<title>", '<base href="http://["><title>')),
    "provenance": stored(("beta.html", " data-size", ' data-provenance="https://[" data-size')),
    "provenance in JSON": stored(("beta.json", '"size"', '"provenance":"https://[","size"')),
    "size": stored(("beta.html", 'data-size="[0-9]+"', f'data-size="{DIGITS}"')),
    "size in JSON": stored(("beta.json", r'"size":\d+', f'"size":{DIGITS}')),
    "size below nothing": stored(("beta.json", r'"size":\d+', '"size":-1')),
    "repository version": stored(("beta.html", '"1.4"', f'"1.{DIGITS}"')),
    "API version": stored(("beta.json", '"1.4"', f'"1.{DIGITS}"')),
    "versions": stored(("beta.json", r'"versions":\["1.0"\]', f'"versions":["{DIGITS}"]')),
    "requires-python": stored(("alpha.html", "&gt;=3.8", f">={DIGITS}"), ("alpha.json", ">=3.8", f">={DIGITS}")),
    "reference": stored(("beta.html", "<title>", f'<meta name="x" content="&#{DIGITS};"><title>&#{DIGITS};')),
    "brackets": stored(("beta.json", '"name"', f'"project-status":{"[" * 960}{"]" * 960},"name"')),
    "age": headers(is_html, cache_control="max-age=600", age="\N{SUPERSCRIPT TWO}"),
    **{f"redirect to {place}": moved("simple/beta/", place) for place in STRANGE},
    **{f"redirect to the slash at {place}": moved("simple/beta", place) for place in STRANGE},
    **{f"file is at {place}": moved(f"packages/{BETA}", place) for place in STRANGE[:3]},
}


@pytest.mark.parametrize("mutant", HOSTILE.values(), ids=HOSTILE)
def test_what_a_host_writes_ends_nothing(mutant: Mutant, root: Path) -> None:
    with serve_mutant(root, mutant) as url:
        found = examine(url)
    assert (found.looked_at >= 4, found.files >= 5) == (True, True)
    # Nothing stumbles, not even where that would be caught.
    assert "cannot be judged" not in json.dumps(found.to_json())


def test_a_length_that_is_no_number_ends_nothing() -> None:
    def answer(method: str, path: str, _: Mapping[str, str]) -> _Said:
        if path == "/simple/":
            return 200, {"Content-Type": HTML_TYPE}, a_page(link("foo/", "foo"))
        if path == "/simple/foo/":
            return 200, {"Content-Type": HTML_TYPE}, a_page(link("foo-1.0.tar.gz", "foo-1.0.tar.gz"))
        stated = {"Content-Length": "\N{SUPERSCRIPT TWO}"} if method == "HEAD" else {}
        return 200 if path.endswith(".gz") else 404, stated, b"x"

    with host(answer) as url:
        assert examine(url).files == 1


def test_a_requirement_of_brackets_in_brackets_ends_nothing(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "made", "alpha", "1.0", requires=(f"x; {'(' * 3000}", "beta"))
    with serve_mutant(publish(tmp_path, wheel), None) as url:
        assert breaches(examine(url)) == {}


def test_a_judge_that_stumbles_fails_its_row_and_no_other() -> None:
    def stumbles(_: Visit) -> Iterator[Seen]:
        raise RuntimeError("on https://user:secret@mirror.example/")

    check = Check(id="X1", rank=Rank.MUST, asserts="x", breaks="x", fix="x", judge=stumbles)
    good = replace(check, id="X2", judge=lambda _: iter(()))
    found = diagnose((check, good), nothing())
    assert [each.outcome for each in found.verdicts] == [Outcome.FAIL, Outcome.NOT_APPLICABLE]
    assert "RuntimeError: on https://mirror.example/" in found.verdicts[0].evidence[0].text


def nothing() -> Visit:
    from mirror.doctor.visit import Page, Visit
    from mirror.doctor.wire import Exchange

    page = Page(exchange=Exchange(url="https://mirror.example/simple/"))
    return Visit(
        base=page.url, as_html=page, as_json=page, bare=None, unknown={}, projects=(), files=(), heads=()
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT TWO}", "-1", "1.0", " 1", DIGITS])
def test_what_is_no_number_is_none(text: str) -> None:
    assert number(text) is None
    assert number("007") == 7


@pytest.mark.parametrize("text", [*STRANGE[:2], "http://\N{ACCOUNT OF}.example/", "http://127.0.0.1:abc/", "//["])
def test_what_is_no_address_leads_nowhere(text: str) -> None:
    assert not any(split(text))
    assert resolved("https://mirror.example/simple/", text) == ""


def test_instants_are_those_that_exist() -> None:
    assert all(map(is_instant, ("2024-02-29T00:00:00Z", "2024-01-02T03:04:05.6Z", "2024-01-02T03:04:05.123456Z")))
    wrong = ("2023-02-29T00:00:00Z", "2024-01-02T03:04:60Z", "2024-01-02T03:04:05", "2024-01-02", "x", 7, None)
    assert not any(map(is_instant, wrong))


def test_compressed_in_several_pieces_is_unpacked_and_a_bomb_is_not() -> None:
    import gzip

    assert decoded(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip") == b"one two"
    assert decoded(gzip.compress(b"one")[:-1], "gzip") is None
    assert decoded(gzip.compress(bytes(PAGE_LIMIT + 1)), "gzip") is None
    assert decoded(b"", "gzip") is None
    assert decoded(b"one", "identity") == b"one"


# Pages that are meant to take for ever


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part",
    [
        *("<!--", "<a ", "<a href='", "<![CDATA[", "</a", "<!x", "&#", "<", "<b>", "<title>", "<textarea></textare"),
        *('<li><a href="p/">p</a>\n', "<b></i>\n", "<svg></b>", '<a href="x-1.zip">x-1.zip</a><br>', "<a\n"),
    ],
)
def test_a_page_takes_time_and_room_in_proportion(part: str) -> None:
    # With their square, these would take minutes, or more memory than there is.
    page = read_page(f"<!DOCTYPE html><title>x</title>{part * 70_000}".encode())
    assert all(len(anchor.after) <= 40 for anchor in page.anchors)


@pytest.mark.timeout(60)
def test_many_attributes_and_many_files_take_time_in_proportion(root: Path) -> None:
    names = " ".join(f"a{number}" for number in range(100_000))
    assert len(read_page(f"<a {names}>x</a>".encode()).anchors[0].attributes) == 100_000
    files = "".join(link(f"../../packages/beta-1.{each}.tar.gz", f"beta-1.{each}.tar.gz") for each in range(1, 20_000))
    with serve_mutant(root, stored(("beta.html", "</body>", f"{files}</body>"))) as url:
        found = examine(url)
    assert {"J15", "F4"} <= set(breaches(found))
    assert "H4" not in breaches(found)


_PARTS = (
    *("<a href=x>", '<a href="y">', "<a href='q' data-x>", '<A HREF="Z"x=1>', "<a b=c/>", "<a/>", "<a href=x", "</a>"),
    *("<!-- c -->", "<!--", "-->", "<!---->", "<!-->", "<", ">", "&amp;", "&lt", "text", "<title>", "</title>"),
    *("<script>", "</script>", "<textarea>", "</textarea>", "<br/>", "<b>", "</b>", "<!x>", "<?y?>", "</ z>", "<p>"),
    *('"', "'", " =", "\n"),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(_PARTS), max_size=9))
def test_links_are_those_that_browsers_see(parts: list[str]) -> None:
    page = f"<!DOCTYPE html><title>x</title>{''.join(parts)}"
    tree = html5lib.HTMLParser(namespaceHTMLElements=False).parse(page)
    # A link that is not closed is opened again in the next paragraph: it is there more than once then.
    expected = {frozenset(element.attrib.items()) for element in tree.iter("a")}
    anchors = read_page(page.encode()).anchors
    found = {frozenset((name, anchor.get(name)) for name, _ in anchor.attributes) for anchor in anchors}
    assert found == expected


# Hosts that are odd


def test_names_that_are_forwarded_to_another_index_are_warned_of(tmp_path: Path) -> None:
    made = tmp_path / "made"
    elsewhere = publish(tmp_path / "elsewhere", make_wheel(made, "other", "1.0"))
    wheel = make_wheel(made, "alpha", "1.0", requires=("other",))
    ours = publish(tmp_path / "ours", wheel)
    with serve_mutant(elsewhere, None) as public:

        def forward(asked: Asked, reply: Reply) -> Reply:
            away = reply.status == 404 and asked.path.startswith("simple/")
            return Reply(status=303, headers={"location": f"{public}{asked.path}"}) if away else reply

        with serve_mutant(ours, Mutant(name="forwards", answered=forward)) as url:
            found = examine(url)
    assert breaches(found) == {"U6": WARN}
    assert f"forwarded to {public.split('/')[2]}" in evidence(found, "U6")


@pytest.mark.parametrize("code", [403, 405, 501])
def test_files_that_are_gone_are_noticed_where_head_is_refused(code: int, tmp_path: Path) -> None:
    files = [make_wheel(tmp_path / "made", "alpha", f"1.{number}+x") for number in range(6)]
    tree = publish(tmp_path, *files)
    refuses = answered(lambda asked, _: asked.method == "HEAD", status(code))
    with serve_mutant(tree, refuses) as url:
        assert breaches(examine(url)) == {"U12": WARN}
    gone = files[4].name
    for path in tree.glob(f"packages/{gone}*"):
        path.unlink()
    with serve_mutant(tree, refuses) as url:
        found = examine(url)
    assert breaches(found) == {"U12": WARN, "H12": FAIL, "F4": FAIL}


def test_a_file_that_is_listed_with_another_size_is_noticed_where_head_is_refused(tmp_path: Path) -> None:
    files = [make_sdist(tmp_path / "made", "alpha", f"1.{number}") for number in range(5)]
    tree = publish(tmp_path, *files)
    target = tree / "packages" / files[4].name
    target.write_bytes(target.read_bytes() + b"?")
    with serve_mutant(tree, answered(lambda asked, _: asked.method == "HEAD", status(403))) as url:
        found = examine(url)
    assert set(breaches(found)) & {"F1", "F4"}


def test_old_requirements_of_the_file_itself_are_warned_of(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "made", "alpha", "1.0", requires_python=">=2.7.*")
    with serve_mutant(publish(tmp_path, wheel), None) as url:
        found = examine(url)
    assert breaches(found) == {"H9": WARN}


def test_a_front_page_behind_a_login_hides_no_index(root: Path) -> None:
    with serve_mutant(root, answered(path_is(""), status(401))) as url:
        assert breaches(examine(url)) == {}


@pytest.mark.parametrize("path", ["wheels/", "simple/foo/"])
@pytest.mark.parametrize("kind", ["HTML", "JSON"])
def test_a_page_of_files_is_no_index(path: str, kind: str) -> None:
    document = {"meta": {"api-version": "1.0"}, "name": "foo", "files": [{"filename": "foo-1.0.zip", "url": "x"}]}
    page = a_page(link("../", ".."), link("foo-1.0.zip", "foo-1.0.zip")) if kind == "HTML" else json.dumps(document)
    content_type = HTML_TYPE if kind == "HTML" else "application/vnd.pypi.simple.v1+json"

    def answer(_: str, asked: str, __: Mapping[str, str]) -> _Said:
        there = asked == f"/{path}"
        body = page if isinstance(page, bytes) else page.encode()
        return 200 if there else 404, {"Content-Type": content_type}, body if there else b""

    with host(answer) as url, pytest.raises(RemoteError, match="page of files"):
        examine(f"{url}{path}")


# Bounds


def many(body: bytes, stated: dict[str, str]) -> Callable[[str, str, Mapping[str, str]], _Said]:
    """Twenty projects with a file each, of a host that knows neither HEAD nor ranges."""

    def answer(method: str, path: str, _: Mapping[str, str]) -> _Said:
        parts = path.strip("/").split("/")
        if path == "/simple/":
            return 200, {"Content-Type": HTML_TYPE}, a_page(*(link(f"foo{each}/", f"foo{each}") for each in range(20)))
        if parts[0] == "simple" and path.endswith("/") and parts[1].startswith("foo"):
            return 200, {"Content-Type": HTML_TYPE}, a_page(link(f"/f/{parts[1]}-1.0.zip", f"{parts[1]}-1.0.zip"))
        if parts[0] == "f":
            return (405, {}, b"") if method == "HEAD" else (200, stated, body)
        return 404, {}, b""

    return answer


@pytest.mark.parametrize("size", [15 << 20, 17 << 20])
def test_files_of_unknown_size_are_read_within_bounds(size: int) -> None:
    with host(many(bytes(size), {"Content-Length": ""})) as url:
        found = examine(url)
    # A connection holds some more than was asked of it.
    assert found.size < (256 << 20) + 80 * (1 << 19)
    assert "F4" not in breaches(found)
    assert found.files == 20


def test_projects_are_visited_until_enough_pages_came() -> None:
    padding = f"<!--{'x' * (24 << 20)}-->".encode()

    def answer(_: str, path: str, __: Mapping[str, str]) -> _Said:
        names = [f"foo{each}" for each in range(40)]
        if path == "/simple/":
            return 200, {"Content-Type": HTML_TYPE}, a_page(*(link(f"{name}/", name) for name in names))
        there = path.strip("/").rpartition("/")[2] in names
        return 200 if there else 404, {"Content-Type": HTML_TYPE}, a_page() + padding if there else b""

    with host(answer) as url:
        found = examine(url, jobs=2, sample=40)
    assert 0 < found.looked_at < 20
    assert found.listed == 40


def test_a_host_that_drips_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=feed, args=(listener.accept()[0],), daemon=True).start()

        def feed(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
                while True:
                    connection.sendall(b"x" * 2000)
                    time.sleep(0.1)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        since = time.monotonic()
        with pytest.raises(RemoteError, match="does not answer"):
            examine(f"http://127.0.0.1:{listener.getsockname()[1]}/simple/", patience=1.0)
        assert time.monotonic() - since < 15


# What nobody else may see


SECRET = "TOPSECRET"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"https://user:{SECRET}@mirror.example/x", "https://mirror.example/x"),
        (f"leads to '//user:{SECRET}@mirror.example/x'", "leads to '//mirror.example/x'"),
        (f"https://m.example/x?A={SECRET}&X-Amz-Signature={SECRET}#f", "https://m.example/x?A=…&X-Amz-Signature=…#f"),
        ("max-age=600, a@b", "max-age=600, a@b"),
        ("x" * 1000, "x" * 400 + "…"),
    ],
)
def test_what_is_shown_lets_nobody_in(text: str, expected: str) -> None:
    assert shown(text) == expected


def mirror(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", "doctor", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=cwd,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_no_secret_of_a_page_or_a_redirect_is_shown(root: Path, tmp_path: Path) -> None:
    leaking = stored(
        ("beta.html", r'href="\.\./\.\./', f'href="http://u:{SECRET}@127.0.0.1:1/'),
        (".html", "</body>", f'<a href="//u:{SECRET}@127.0.0.1:1/">x</a></body>'),
    )

    def presigned(asked: Asked, reply: Reply) -> Reply:
        if asked.path.endswith(".whl"):
            return Reply(status=302, headers={"location": f"/signed?X-Amz-Signature={SECRET}"})
        return Reply(status=200, body=b"x") if asked.path == "signed" else reply

    mutant = replace(leaking, answered=presigned)
    with serve_mutant(root, mutant) as url:
        plain, told = mirror(url, cwd=tmp_path), mirror(url, "--json", cwd=tmp_path)
    assert plain.returncode == told.returncode == 1
    for done in (plain, told):
        assert SECRET not in done.stdout + done.stderr
    assert "X-Amz-Signature=" in told.stdout


@pytest.mark.parametrize(
    "address",
    [
        f"user:{SECRET}@mirror.example/simple/",
        f"https://user:{SECRET}@[::1/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://127.0.0.1:abc/",
    ],
)
def test_an_address_that_is_none_ends_in_2(address: str, tmp_path: Path) -> None:
    done = mirror(address, cwd=tmp_path)
    assert done.returncode == 2
    assert "is no address of an index" in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr


# The report


def documented(kind: str) -> dict[str, Any]:
    """What the README shows of a report."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return next(data for data in map(json.loads, blocks) if data.get("kind") == kind)


def keys(data: object) -> object:
    """The keys of a document, as deep as it goes; of a list those of its first entry."""
    if isinstance(data, list):
        return [keys(entry) for entry in data[:1]]
    return {key: keys(value) for key, value in data.items()} if isinstance(data, dict) else None


def test_the_report_has_exactly_these_keys(root: Path) -> None:
    with serve_mutant(root, answered(lambda _, reply: reply.status == 404, status(403))) as url:
        report = examine(url).to_json()
    assert list(report) == [
        *("format", "kind", "url", "verdict", "projects", "files", "requests", "bytes", "counts", "checks")
    ]
    assert (report["format"], report["kind"]) == (1, "index")
    assert list(report["projects"]) == ["listed", "looked_at"]
    assert list(report["counts"]) == ["not-applicable", "pass", "warn", "fail"]
    assert keys(report) == keys(documented("index"))
    for check in report["checks"]:
        assert list(check) == ["id", "level", "asserts", "outcome", "evidence", "breaks", "fix"]
        assert all(list(seen) == ["url", "seen", "outcome"] for seen in check["evidence"])


def test_the_report_of_a_machine_has_the_keys_that_are_documented() -> None:
    assert keys(Checkup((good("Python", "3.12.4"),)).to_json()) == keys(documented("machine"))
