"""Layout: every key, href and header of a published mirror."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror import layout
from mirror.filenames import InvalidFilename, parse

_filenames = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,60}\.(whl|tar\.gz|zip)", fullmatch=True)


@pytest.mark.parametrize(
    ("key", "content_type", "cache"),
    [
        ("index.html", "text/html; charset=utf-8", "max-age=600"),
        ("projects/foo.html", "text/html; charset=utf-8", "max-age=600"),
        ("simple/index.html", "text/html; charset=utf-8", "max-age=600"),
        ("simple/index.v1_json", "application/vnd.pypi.simple.v1+json", "max-age=600"),
        ("simple/foo/index.html", "text/html; charset=utf-8", "max-age=600"),
        ("simple/foo/index.v1_json", "application/vnd.pypi.simple.v1+json", "max-age=600"),
        ("packages/foo-1.0.tar.gz", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("packages/foo-1.0-py3-none-any.whl", "application/octet-stream", "public, max-age=31536000, immutable"),
        (
            "packages/foo-1.0-py3-none-any.whl.metadata",
            "text/plain; charset=utf-8",
            "public, max-age=31536000, immutable",
        ),
        (".mirror/current.json", "application/json", "no-store"),
        (".mirror/lock.json", "application/json", "no-store"),
        (".mirror/releases/000001-0123456789ab.json", "application/json", "no-store"),
    ],
)
def test_every_kind_of_key_has_its_headers(key: str, content_type: str, cache: str) -> None:
    """U7, U8, U15: exact content types; pages are short-lived, artifacts immutable, state is never kept."""
    found = layout.headers(key)
    assert (found.content_type, found.cache_control) == (content_type, cache)


@pytest.mark.parametrize("name", ["index.html.zip", "index.v1_json.tar.gz", "a.json.zip", "simple-1.0.tar.gz"])
def test_an_artifact_is_one_whatever_its_name_looks_like(name: str) -> None:
    assert layout.headers(layout.artifact_key(name)).content_type == "application/octet-stream"


def test_keys_are_those_of_the_contract() -> None:
    """DESIGN 3.3."""
    assert layout.FRONT_PAGE == "index.html"
    assert layout.project_list_keys() == ("simple/index.html", "simple/index.v1_json")
    assert layout.project_page_keys("foo-bar") == ("simple/foo-bar/index.html", "simple/foo-bar/index.v1_json")
    assert layout.project_html_key("foo-bar") == "projects/foo-bar.html"
    assert layout.artifact_key("foo-1.0+cpu.tar.gz") == "packages/foo-1.0+cpu.tar.gz"
    assert layout.metadata_key("foo-1.0.whl") == "packages/foo-1.0.whl.metadata"
    assert layout.POINTER == ".mirror/current.json"
    assert layout.release_key("000001-abc") == ".mirror/releases/000001-abc.json"


@pytest.mark.parametrize(
    ("filename", "href"),
    [
        ("foo-1.0-py3-none-any.whl", "../../packages/foo-1.0-py3-none-any.whl"),
        ("foo-1.0+cpu-py3-none-any.whl", "../../packages/foo-1.0%2Bcpu-py3-none-any.whl"),
        ("foo-1!2.0.tar.gz", "../../packages/foo-1%212.0.tar.gz"),
        ("a/../b?c#d&e=\"<'> %.zip", "../../packages/a%2F..%2Fb%3Fc%23d%26e%3D%22%3C%27%3E%20%25.zip"),
        ("föö.zip", "../../packages/f%C3%B6%C3%B6.zip"),
    ],
)
def test_an_href_is_relative_and_quoted(filename: str, href: str) -> None:
    """H8 and standards 2.4: S3 reads a bare `+` in a path as a space."""
    assert layout.artifact_href(filename) == href


@pytest.mark.parametrize(
    "root",
    ["https://host.example/", "https://host.example/a/prefix/", "http://127.0.0.1:8080/", "file:///srv/mirror/site/"],
)
@given(filename=_filenames)
def test_an_href_leads_from_a_page_to_the_artifact(root: str, filename: str) -> None:
    page = urljoin(root, layout.project_page_keys("foo")[0])
    reached = urljoin(page, layout.artifact_href(filename))
    assert reached.startswith(root)
    assert unquote(urlsplit(reached).path) == urlsplit(root).path + layout.artifact_key(filename)
    # The same from the page's URL with a slash, as most clients ask for it.
    assert urljoin(urljoin(root, "simple/foo/"), layout.artifact_href(filename)) == reached


@given(filename=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_no_name_breaks_out_of_an_attribute_or_a_folder(filename: str) -> None:
    href = layout.artifact_href(filename)
    assert href.isascii()
    assert not set(href) & set("\"'<>&?# +\\")
    assert href.count("/") == 3
    reader = _Anchors()
    reader.feed(f'<a href="{href}#sha256=00">x</a>')
    assert reader.found == [f"{href}#sha256=00"]


@given(filename=_filenames)
def test_two_filenames_never_share_a_key(filename: str) -> None:
    other = layout.metadata_key(filename)
    assert other != layout.artifact_key(filename)
    with pytest.raises(InvalidFilename):
        parse(other.removeprefix(layout.PACKAGES))


@pytest.mark.parametrize("key", [layout.POINTER, layout.LEASE, layout.release_key("1")])
def test_state_lies_apart_from_what_is_public(key: str) -> None:
    assert key.startswith(layout.STATE)
    assert not key.startswith((layout.SIMPLE, layout.PACKAGES))


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name == "href"]
