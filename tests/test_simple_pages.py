"""Reading foreign project pages, in both forms: what stands there, whatever the server's taste, and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.model import Digest
from mirror.simple import html
from mirror.simple import json as json_form
from mirror.simple.page import PageError, PageFile, ProjectPage

URL = "https://index.example/simple/demo/"
SHA256 = "ab" * 32
WHEEL = "demo-1.0-py3-none-any.whl"


def read_html(body: str, url: str = URL, wanted: set[str] | None = None) -> ProjectPage:
    return html.parse(body.encode(), url, "demo", wanted)


def read_json(wanted: set[str] | None = None, **more: Any) -> ProjectPage:
    page = {"meta": {"api-version": "1.4"}, "name": "demo", "files": []} | more
    return json_form.parse(json.dumps(page).encode(), URL, "demo", wanted)


def anchor(attributes: str = "", href: str = WHEEL, text: str = WHEEL) -> PageFile:
    (file,) = read_html(f'<a href="{href}" {attributes}>{text}</a>').files
    return file


def entry(**more: Any) -> PageFile:
    (file,) = read_json(files=[{"filename": WHEEL, "url": WHEEL, "hashes": {}} | more]).files
    return file


class TestUrls:
    @pytest.mark.parametrize(
        ("href", "url"),
        [
            ("../../packages/demo-1.0.tar.gz#sha256=" + SHA256, "https://index.example/packages/demo-1.0.tar.gz"),
            ("/packages/demo-1.0.tar.gz", "https://index.example/packages/demo-1.0.tar.gz"),
            ("//files.example/demo-1.0.tar.gz", "https://files.example/demo-1.0.tar.gz"),
            ("https://files.example/a/demo-1.0.tar.gz", "https://files.example/a/demo-1.0.tar.gz"),
            ("demo-1.0.tar.gz?token=x%26y", f"{URL}demo-1.0.tar.gz?token=x%26y"),
            ("demo%2D1.0.tar.gz", f"{URL}demo%2D1.0.tar.gz"),
            ("file:///mirror/demo-1.0.tar.gz", "file:///mirror/demo-1.0.tar.gz"),
            (" demo-1.0.tar.gz\n", f"{URL}demo-1.0.tar.gz"),
        ],
        ids=["relative", "rooted", "other host", "absolute", "query", "quoted", "file", "white space"],
    )
    def test_an_href_is_resolved_and_loses_its_fragment(self, href: str, url: str) -> None:
        file = anchor(href=href, text="demo-1.0.tar.gz")
        assert (file.filename, file.url) == ("demo-1.0.tar.gz", url)

    @pytest.mark.parametrize(
        ("base", "expected"),
        [
            ("https://cdn.example/files/", "https://cdn.example/files/demo-1.0.tar.gz"),
            ("../files/", "https://index.example/simple/files/demo-1.0.tar.gz"),
            ("", f"{URL}demo-1.0.tar.gz"),
        ],
        ids=["absolute", "relative", "empty"],
    )
    def test_h6_a_base_is_understood(self, base: str, expected: str) -> None:
        page = read_html(
            f'<base target="x"><base href="{base}"><base href="https://no.example/"><a href="demo-1.0.tar.gz">x</a>'
        )
        assert [file.url for file in page.files] == [expected]

    def test_a_key_serves_as_url_so_that_a_published_page_can_be_read_from_a_store(self) -> None:
        page = read_html(f'<a href="../../packages/{WHEEL}">{WHEEL}</a>', url="simple/demo/index.html")
        assert [file.url for file in page.files] == [f"packages/{WHEEL}"]

    def test_h8_a_plus_is_found_in_either_spelling(self) -> None:
        name = "demo-1.0+cpu-py3-none-any.whl"
        hrefs = ["demo-1.0+cpu-py3-none-any.whl", "demo-1.0%2Bcpu-py3-none-any.whl", "demo-1.0%2bcpu-py3-none-any.whl"]
        page = read_html("".join(f'<a href="{href}">{name}</a>' for href in hrefs))
        assert [file.filename for file in page.files] == [name] * 3
        assert [file.url for file in page.files] == [URL + href for href in hrefs]

    def test_the_text_names_a_file_whose_url_does_not(self) -> None:
        file = anchor(href="/download?id=7", text=f"\n {WHEEL}\n")
        assert (file.filename, file.url) == (WHEEL, "https://index.example/download?id=7")

    @pytest.mark.parametrize("scheme", ["git+ssh://git@", "javascript:alert(1)//", "ftp://", "data:,"])
    def test_what_no_fetcher_should_follow_is_not_offered(self, scheme: str) -> None:
        assert read_html(f'<a href="{scheme}evil.example/{WHEEL}">{WHEEL}</a>').files == ()
        assert read_json(files=[{"filename": WHEEL, "url": f"{scheme}evil.example/{WHEEL}"}]).files == ()

    @pytest.mark.parametrize("form", ["html", "json"])
    def test_a_url_cannot_break_out_of_a_line_of_requirements(self, form: str) -> None:
        url = f"https://files.example/a b\n--index-url 'x'\u2028\u00e9/{WHEEL}"
        file = anchor(href=url) if form == "html" else entry(url=url)
        assert file.url.isascii()
        assert file.url.isprintable()
        assert " " not in file.url

    @pytest.mark.parametrize("start", ["http://[", "http://x.example:y", "http://x.example:70000"])
    def test_an_href_that_is_no_url_is_named(self, start: str) -> None:
        with pytest.raises(PageError, match=re.escape(start)):
            read_html(f'<a href="{start}/{WHEEL}">{WHEEL}</a>')
        with pytest.raises(PageError, match=re.escape(start)):
            read_json(files=[{"filename": WHEEL, "url": f"{start}/{WHEEL}"}])


class TestDigests:
    @pytest.mark.parametrize(
        ("fragment", "digests"),
        [
            (f"sha256={SHA256}", [Digest("sha256", SHA256)]),
            (f"SHA256={SHA256.upper()}", [Digest("sha256", SHA256)]),
            (f"egg=demo&amp;sha256={SHA256}", [Digest("sha256", SHA256)]),
            ("md5=" + "0" * 32, [Digest("md5", "0" * 32)]),
            ("sha1=" + "0" * 40, [Digest("sha1", "0" * 40)]),
            ("sha224=" + "0" * 56, [Digest("sha224", "0" * 56)]),
            ("sha512=" + "0" * 128, [Digest("sha512", "0" * 128)]),
            ("blake2b=" + "0" * 128, []),
            ("sha256=tooshort", []),
            ("", []),
        ],
    )
    def test_h7_any_algorithm_in_the_fragment(self, fragment: str, digests: list[Digest]) -> None:
        assert anchor(href=f"{WHEEL}#{fragment}").digests == tuple(digests)

    def test_j5_hashes(self) -> None:
        hashes = {"sha512": "1" * 128, "sha256": SHA256, "blake2b_256": "0" * 64, "md5": None}
        assert entry(hashes=hashes).digests == (Digest("sha256", SHA256), Digest("sha512", "1" * 128))

    @pytest.mark.parametrize(
        ("attributes", "digest"),
        [
            (f'data-core-metadata="sha256={SHA256}"', Digest("sha256", SHA256)),
            (f'data-dist-info-metadata="sha256={SHA256}"', Digest("sha256", SHA256)),
            (f'data-core-metadata="sha256={SHA256}" data-dist-info-metadata="true"', Digest("sha256", SHA256)),
            ('data-core-metadata="true"', None),
            ("data-core-metadata", None),
        ],
        ids=["new name", "old name", "both", "true", "valueless"],
    )
    def test_h10_metadata_digest(self, attributes: str, digest: Digest | None) -> None:
        assert anchor(attributes).core_metadata == digest
        assert anchor(attributes).bare_metadata == (attributes == 'data-core-metadata="true"')

    @pytest.mark.parametrize(
        ("keys", "digest"),
        [
            ({"core-metadata": {"sha256": SHA256, "sha512": "0" * 128}}, Digest("sha256", SHA256)),
            ({"dist-info-metadata": {"sha256": SHA256}}, Digest("sha256", SHA256)),
            ({"core-metadata": False, "dist-info-metadata": {"sha256": SHA256}}, None),
            ({"core-metadata": True}, None),
            ({"core-metadata": None}, None),
        ],
        ids=["sha256 first", "old name", "new name wins", "true", "null"],
    )
    def test_j7_metadata_digest(self, keys: dict[str, Any], digest: Digest | None) -> None:
        assert entry(**keys).core_metadata == digest
        assert entry(**keys).bare_metadata == (keys.get("core-metadata") is True)


class TestAttributes:
    @pytest.mark.parametrize(
        ("attribute", "yanked"),
        [("", None), ("data-yanked", ""), ('data-yanked=""', ""), ('data-yanked="bad &lt;wheel&gt;"', "bad <wheel>")],
    )
    def test_h14_yanked_in_html(self, attribute: str, yanked: str | None) -> None:
        assert anchor(attribute).yanked == yanked

    @pytest.mark.parametrize(
        ("value", "yanked"), [(None, None), (False, None), (True, ""), ("", ""), ("broken", "broken")]
    )
    def test_j8_yanked_in_json(self, value: object, yanked: str | None) -> None:
        assert entry(yanked=value).yanked == yanked
        assert entry().yanked is None

    def test_j8_what_is_neither_is_no_answer(self) -> None:
        with pytest.raises(PageError, match=WHEEL):
            entry(yanked=[])

    def test_h9_requires_python_is_unescaped(self) -> None:
        assert anchor('data-requires-python="&gt;=3.8, &lt; 4"').requires_python == ">=3.8, < 4"
        assert entry(**{"requires-python": ">=3.8"}).requires_python == ">=3.8"
        assert entry(**{"requires-python": None}).requires_python == ""

    @pytest.mark.parametrize(
        ("stated", "read"),
        [
            ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
            ("2024-01-02T03:04:05.678901Z", "2024-01-02T03:04:05.678901Z"),
            ("2024-01-02T03:04:05.678901234Z", "2024-01-02T03:04:05.678901Z"),
            ("2024-01-02T03:04:05.6+00:00", "2024-01-02T03:04:05.600000Z"),
            ("2024-01-02T03:04:05+02:00", ""),
            ("2024-01-02T03:04:0506Z", ""),
            ("2024-01-02T03:04:05.Z", ""),
            # The shape of a time alone is none: pip ends in a traceback.
            ("2024-13-45T99:99:99Z", ""),
            ("2023-02-29T00:00:00Z", ""),
            ("0000-01-01T00:00:00Z", ""),
            ("2024-01-02T24:00:00Z", ""),
            ("2024-01-02T23:59:60Z", ""),
            ("yesterday", ""),
        ],
    )
    def test_h18_j9_upload_time(self, stated: str, read: str) -> None:
        assert anchor(f'data-upload-time="{stated}"').upload_time == read
        assert entry(**{"upload-time": stated}).upload_time == read

    @pytest.mark.parametrize(
        ("stated", "read"), [(12, 12), (0, 0), ("12", 12), (-1, None), ("x", None), ("\u0664", None), ("9" * 30, None)]
    )
    def test_h18_j5_size(self, stated: object, read: int | None) -> None:
        assert anchor(f'data-size="{stated}"').size == read
        assert entry(size=stated).size == read

    @pytest.mark.parametrize("value", [None, True, 1.5, 10**40], ids=str)
    def test_a_size_that_is_none(self, value: object) -> None:
        assert entry(size=value).size is None

    def test_h17_status_in_html(self) -> None:
        page = read_html(
            '<meta name="pypi:project-status" content="archived">'
            '<meta name="pypi:project-status-reason" content="done &amp; dusted">'
        )
        assert (page.status, page.status_reason) == ("archived", "done & dusted")
        assert read_html("<p>").status == "active"

    @pytest.mark.parametrize("place", ["top", "meta"])
    def test_j13_status_in_json(self, place: str) -> None:
        stated: dict[str, Any] = {"project-status": {"status": "archived", "reason": "done"}}
        page = read_json(**stated) if place == "top" else read_json(meta={"api-version": "1.4"} | stated)
        assert (page.status, page.status_reason) == ("archived", "done")

    def test_j4_versions(self) -> None:
        assert read_json(versions=["1.0", "2.0"]).versions == ("1.0", "2.0")


class TestFiles:
    NAMES = ("demo-1.0.tar.gz", "demo-1.0.zip", WHEEL)
    OTHERS = ("demo-1.0.egg", "demo-1.0.exe", "demo-1.0.rpm", "demo-1.0-variants.json", f"{WHEEL}.asc", "..", "")

    def test_only_wheels_and_sdists_become_values(self) -> None:
        names = self.NAMES + self.OTHERS
        found = read_html("".join(f'<a href="{name}">{name}</a>' for name in names)).files
        assert tuple(file.filename for file in found) == self.NAMES
        found = read_json(files=[{"filename": name, "url": name} for name in names]).files
        assert tuple(file.filename for file in found) == self.NAMES

    def test_only_what_is_wanted_becomes_a_value(self) -> None:
        wanted = {"demo-1.0.zip", "demo-9.9.zip"}
        found = read_html("".join(f'<a href="{name}">{name}</a>' for name in self.NAMES), wanted=wanted).files
        assert [file.filename for file in found] == ["demo-1.0.zip"]
        found = read_json(wanted, files=[{"filename": name, "url": name} for name in self.NAMES]).files
        assert [file.filename for file in found] == ["demo-1.0.zip"]

    def test_anchors_without_an_href_are_no_files(self) -> None:
        assert read_html(f'<a name="top">{WHEEL}</a><a href>{WHEEL}</a>').files == ()

    @pytest.mark.parametrize(
        "bad",
        [
            {"files": None},
            {"files": {}},
            {"files": ["x"]},
            {"files": [{"url": "x"}]},
            {"files": [{"filename": 1, "url": "x"}]},
            {"files": [{"filename": WHEEL, "url": None}]},
            {"versions": "1.0"},
            {"meta": []},
            {"name": "other"},
            {"name": None},
        ],
        ids=str,
    )
    def test_a_broken_page_is_an_error_and_never_empty(self, bad: dict[str, Any]) -> None:
        with pytest.raises(PageError):
            read_json(**bad)

    @pytest.mark.parametrize("body", [b"", b" \n", b"[]", b"{}", b"null", b"{", b"\xff\xfe", b"[" * 100_000])
    def test_a_body_that_is_no_json_page_is_an_error(self, body: bytes) -> None:
        with pytest.raises(PageError):
            json_form.parse(body, URL, "demo")
        with pytest.raises(PageError):
            json_form.parse_list(body)

    def test_an_empty_body_is_no_html_page(self) -> None:
        with pytest.raises(PageError):
            html.parse(b" \n", URL, "demo")

    def test_a_name_may_be_spelled_otherwise(self) -> None:
        page = {"meta": {"api-version": "1.0"}, "name": "My.Demo", "files": []}
        assert json_form.parse(json.dumps(page).encode(), URL, "my-demo").name == "my-demo"


@pytest.mark.parametrize(
    ("version", "understood"),
    [("1.0", True), ("1.99", True), ("2.0", False), ("0.9", False), ("1", False), ("x", False), ("", False)],
)
def test_any_1_x_is_read_and_another_major_refused(version: str, understood: bool) -> None:
    markup = f'<meta name="pypi:repository-version" content="{version}">'
    for read in (
        lambda: read_html(markup),
        lambda: html.parse_list(markup.encode()),
        lambda: read_json(meta={"api-version": version}),
    ):
        if understood:
            read()
        else:
            with pytest.raises(PageError, match=r"1\.x"):
                read()


def test_lists_are_read_as_they_stand() -> None:
    markup = b'<a href="demo/">demo</a>\n<a href="/simple/other/"> Other.Name </a><a href="x/"></a>'
    assert html.parse_list(markup) == ("demo", "Other.Name")
    body = json.dumps({"meta": {"api-version": "1.0"}, "projects": [{"name": "demo"}, {"name": "Other.Name"}]})
    assert json_form.parse_list(body.encode()) == ("demo", "Other.Name")
    assert html.parse_list(html.render_list(["a", "b-c"])) == ("a", "b-c")
    assert json_form.parse_list(json_form.render_list(["a", "b-c"])) == ("a", "b-c")


def test_j1_a_file_without_a_size_cannot_be_rendered_as_1_4() -> None:
    page = ProjectPage(name="demo", files=(PageFile(filename=WHEEL, url=WHEEL),))
    with pytest.raises(PageError, match="size"):
        json_form.render_project(page)


# Fragments of pages, so that what is drawn gets past the first check.
_PIECES = st.sampled_from(
    [
        "<a href=",
        f'<a href="{WHEEL}',
        '"',
        ">",
        "</a>",
        f"#sha256={SHA256}",
        " data-yanked",
        " data-core-metadata=",
        " data-size=",
        "<base href=",
        '<meta name="pypi:repository-version" content="',
        "http://[",
        "//x:99999999/",
        "%ff%00.whl",
        "&#xd800;",
        "\x00",
        "<!--",
        "<svg><a ",
        "<template>",
    ]
)
_HTML = st.lists(_PIECES | st.text(max_size=8), max_size=20).map("".join)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_KEYS = st.sampled_from(
    [
        "filename",
        "url",
        "hashes",
        "yanked",
        "size",
        "upload-time",
        "core-metadata",
        "requires-python",
        "status",
        "sha256",
    ]
)
_VALUES = st.recursive(
    _SCALARS | st.sampled_from([WHEEL, f"http://[/{WHEEL}", f"\ud800{WHEEL}", "sha256"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=8,
)
_ENTRY = st.fixed_dictionaries(
    {"filename": st.just(WHEEL), "url": st.just(WHEEL) | st.text(max_size=9)},
    optional=dict.fromkeys(("hashes", "yanked", "size", "upload-time", "core-metadata", "requires-python"), _VALUES),
)
_JSON = st.fixed_dictionaries(
    {"meta": st.just({"api-version": "1.4"}), "files": st.lists(_ENTRY | _VALUES, max_size=3)},
    optional={"versions": _VALUES, "name": _VALUES, "project-status": _VALUES, "projects": _VALUES},
)


def _total(form: Any, body: bytes) -> None:
    """Whatever the bytes: a value that can be written out again, or `PageError`."""
    try:
        page = form.parse(body, URL, "demo")
    except PageError:
        return
    html.render_project(page)
    for file in page.files:
        assert file.url.isascii()
        file.filename.encode()
        (file.yanked or "").encode()


@given(st.binary(max_size=200) | _HTML.map(lambda text: text.encode("utf-8", "replace")))
def test_reading_html_is_total(body: bytes) -> None:
    _total(html, body)


@given(st.binary(max_size=200) | (_JSON | _VALUES).map(lambda value: json.dumps(value).encode()))
def test_reading_json_is_total(body: bytes) -> None:
    _total(json_form, body)
    try:
        json_form.parse_list(body)
    except PageError:
        return


@given(st.binary(max_size=200) | _HTML.map(lambda text: text.encode("utf-8", "replace")))
def test_reading_a_list_is_total(body: bytes) -> None:
    try:
        names = html.parse_list(body)
    except PageError:
        return
    assert all(isinstance(name, str) for name in names)
