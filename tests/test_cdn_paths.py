"""Paths of a CDN: every spelling, quoted as the links are, each paid for once."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.cdn import paths
from mirror.errors import MirrorError
from mirror.layout import artifact_href, artifact_key, project_html_key, project_list_keys, project_page_keys

SPELLINGS = {
    "front-page": (("index.html",), ("/", "/index.html")),
    "project-list": (project_list_keys(), ("/simple/", "/simple/index.html", "/simple/index.v1_json")),
    "project-page": (
        project_page_keys("foo-bar"),
        ("/simple/foo-bar/", "/simple/foo-bar/index.html", "/simple/foo-bar/index.v1_json"),
    ),
    "about-page": ((project_html_key("foo-bar"), project_html_key("foo")), ("/projects/*",)),
    "json-only": (("simple/foo/index.v1_json",), ("/simple/foo/", "/simple/foo/index.v1_json")),
    "key-with-a-slash": (("simple/foo/", "simple/"), ("/simple/", "/simple/foo/")),
    "local-version": (("packages/a-1.0+cu121.tar.gz",), ("/packages/a-1.0%2Bcu121.tar.gz",)),
    "epoch": (("packages/a-1!2.0.tar.gz.metadata",), ("/packages/a-1%212.0.tar.gz.metadata",)),
    "state": ((".mirror/current.json", ".mirror/releases/000001-abcdefabcdef.json"), ()),
    "twice": (("simple/foo/", "simple/foo/index.html", "simple/foo/"), ("/simple/foo/", "/simple/foo/index.html")),
    "nothing": ((), ()),
}


@pytest.mark.parametrize(("keys", "expected"), SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_of_a_key(keys: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert paths.paths(keys) == expected
    assert paths.paths(reversed(keys)) == expected
    assert paths.paths(keys, "/pypi") == tuple(f"/pypi{path}" for path in expected)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,40}", fullmatch=True))
def test_a_path_is_what_the_link_on_the_page_asks_for(filename: str) -> None:
    link = urljoin("https://mirror.example/simple/p/", artifact_href(filename))
    assert paths.paths([artifact_key(filename)]) == (urlsplit(link).path,)


@given(st.lists(st.text(st.characters(blacklist_characters="~", blacklist_categories=["Cs"]), max_size=20)))
def test_paths_are_sorted_unique_ascii_and_start_with_a_slash(names: list[str]) -> None:
    spelled = paths.paths(f"simple/{name}" for name in names)
    assert list(spelled) == sorted(set(spelled))
    assert all(re.fullmatch(r"/[A-Za-z0-9/%._-]*", path) for path in spelled)


@pytest.mark.parametrize("key", ["packages/~a", "a" * 4000], ids=["tilde", "long"])
def test_what_no_cdn_takes_is_refused(key: str) -> None:
    with pytest.raises(MirrorError, match="cannot be invalidated") as caught:
        paths.paths([key])
    assert caught.value.hint


BASES = {
    "": "",
    "/": "",
    "pypi": "/pypi",
    "/pypi/": "/pypi",
    "a//b/": "/a/b",
    "a b": "/a%20b",
    "a%20b": "/a%20b",
    "a*": "/a%2A",
}


@pytest.mark.parametrize(("path", "base"), BASES.items())
def test_a_base_has_one_spelling(path: str, base: str) -> None:
    assert paths.base_of(path) == base


@pytest.mark.parametrize("path", ["~team", "%7Eteam", "%7eteam", "a/~team/b"])
def test_a_base_that_no_cdn_takes_is_refused(path: str) -> None:
    with pytest.raises(MirrorError):
        paths.base_of(path)


def project_paths(count: int, base: str = "") -> tuple[str, ...]:
    names = [f"p{number}" for number in range(count)]
    return paths.paths((key for name in names for key in (*project_page_keys(name), project_html_key(name))), base)


@pytest.mark.parametrize("base", ["", "/pypi"])
def test_some_hundred_projects_are_named_one_by_one_and_more_at_once(base: str) -> None:
    assert not paths.crowded(project_paths(300, base), base)
    crowd = (*project_paths(301, base), f"{base}/packages/a.whl", f"{base}/")
    assert paths.crowded(crowd, base)
    assert paths.collapsed(crowd, base) == (
        f"{base}/", f"{base}/index.html", f"{base}/packages/a.whl", f"{base}/projects/*", f"{base}/simple/*"
    )  # fmt: skip


def test_a_tag_takes_the_place_of_the_wildcard() -> None:
    assert paths.whole() == ("/", "/index.html", "/projects/*", "/simple/*")
    assert paths.whole(tag="mirror-page") == ("#mirror-page", "/", "/index.html")
    assert paths.collapsed(project_paths(301), tag="t") == ("#t", "/", "/index.html")


def test_artifacts_are_no_crowd_of_pages() -> None:
    many = paths.paths(artifact_key(f"a-{number}.whl") for number in range(2000))
    assert not paths.crowded(many)


def test_what_a_wildcard_covers_is_not_paid_for_again() -> None:
    assert paths.merged(["/simple/a/", "/simple/*", "/", "/simple/", "/simplex"]) == ("/", "/simple/*", "/simplex")
    assert paths.merged(["/b", "/a", "/b"]) == ("/a", "/b")


def test_batches_hold_every_path_once_and_have_references_of_their_own() -> None:
    spelled = tuple(f"/{number:05d}" for number in range(2500))
    made = paths.batches(spelled, "r")
    assert [len(batch.paths) for batch in made] == [1000, 1000, 500]
    assert tuple(path for batch in made for path in batch.paths) == spelled
    assert len({batch.reference for batch in made}) == 3
    assert made == paths.batches(spelled, "r")
    assert {batch.reference for batch in made}.isdisjoint(b.reference for b in paths.batches(spelled, "s"))
    assert paths.batches(("/a",), "r")[0].reference != paths.batches(("/b",), "r")[0].reference
    assert paths.batches((), "r") == ()


def test_the_cost_is_said_with_its_date() -> None:
    assert paths.cost(1) == (
        "1 path: free within the 1,000 a month of an AWS account, beyond them up to 0.005 USD (prices of November 2026)"
    )
    assert "2,000 paths" in paths.cost(2000)
    assert "10.000 USD" in paths.cost(2000)
