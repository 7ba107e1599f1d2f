"""The pages for people in a real browser: at a prefix, under the server's own policy, with a script and without."""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mirror.phases.index import index
from mirror.progress import Silence
from mirror.serve import application
from tests.browser import Browser, needs_chromium
from tests.oddities import FULL
from tests.test_serve import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [needs_chromium, pytest.mark.timeout(180)]

PAGES = ("index.html", "projects/demo.html", "projects/torch.html", "projects/stopped.html")
SHOWN = "[...document.querySelectorAll('.projects li')].filter(row => row.checkVisibility()).map(row => row.querySelector('a').textContent)"  # noqa: E501
MARKS = "[...new Set([...document.querySelectorAll('mark')].map(mark => mark.textContent))]"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a mirror that is served below a path."""
    root = tmp_path_factory.mktemp("site")
    index(FULL, root, Silence())
    for artifact in FULL.artifacts:
        (root / "packages").mkdir(exist_ok=True)
        (root / "packages" / artifact.filename).write_bytes(b"bytes")
    with running(root, Starlette(routes=[Mount("/deep/er", application(root))])) as found:
        yield f"http://127.0.0.1:{found.port}/deep/er/"


@contextmanager
def opened(url: str, profile: Path, *, script: bool = True) -> Iterator[Browser]:
    """A browser that shows a page, and complains of nothing until the block ends."""
    with Browser(profile, script=script) as browser:
        browser.open(url)
        yield browser
        # The browser asks for an icon, which a mirror does not have.
        assert [problem for problem in browser.problems if "404" not in problem] == []


def test_search_shows_what_fits_and_says_how_many(site: str, tmp_path: Path) -> None:
    with opened(site, tmp_path) as browser:
        everything = browser.value(SHOWN)
        assert everything == sorted({artifact.project for artifact in FULL.artifacts})
        found = "document.getElementById('found').textContent"
        assert browser.value(found) == ""
        browser.value("document.getElementById('search').focus()")
        browser.type("OLD")
        assert browser.value(SHOWN) == ["old"]
        assert browser.value(found) == f"1 of {len(everything)}"
        browser.type(" nowhere")
        assert browser.value(SHOWN) == []
        browser.value("document.getElementById('search').select()")
        browser.type("yanked demo")
        assert browser.value(SHOWN) == ["demo"], "every word counts, in whatever order, in summaries too"
        browser.value("document.getElementById('search').select()")
        browser.type(" ")
        assert browser.value(SHOWN) == everything


@pytest.mark.parametrize("page", ["", "index.html", "projects/demo.html"])
def test_snippets_show_the_address_that_the_browser_is_at(site: str, page: str, tmp_path: Path) -> None:
    with opened(f"{site}{page}?from=somewhere#files", tmp_path) as browser:
        assert browser.value(MARKS) == [site]
        assert browser.value("document.querySelector('pre').textContent").count(f" {site}simple/") == 1
        assert not browser.value("document.querySelector('.hint').checkVisibility()")


def test_a_folder_on_this_machine_is_an_address_too(tmp_path: Path) -> None:
    index(FULL, tmp_path / "site", Silence())
    with opened((tmp_path / "site" / "projects" / "demo.html").as_uri(), tmp_path / "profile") as browser:
        assert browser.value(MARKS) == [f"{(tmp_path / 'site').as_uri()}/"]


def test_copy_gives_the_whole_snippet(site: str, tmp_path: Path) -> None:
    with opened(f"{site}projects/epoch.html", tmp_path) as browser:
        browser.call("Page.bringToFront")
        browser.value("window.copied=[];navigator.clipboard.writeText=async text=>{window.copied.push(text)};0")
        assert browser.value("document.querySelectorAll('button').length") == 5
        browser.value("document.querySelector('button').focus()")
        browser.press("Enter", 13)
        browser.call("Input.dispatchKeyEvent", type="char", text="\r", key="Enter")
        browser.value("document.querySelectorAll('button')[1].click()")
        pip, uv = browser.value("window.copied")
        assert pip == f"pip install --index-url {site}simple/ 'epoch==1!2.0'"
        assert uv == f"uv pip install --default-index {site}simple/ 'epoch==1!2.0'"
        assert browser.value("document.querySelectorAll('button')[1].textContent") == "Copied"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_resolves(site: str, page: str, tmp_path: Path) -> None:
    with opened(site + page, tmp_path) as browser:
        links = browser.value("[...document.links].filter(link => !link.rel).map(link => link.href)")
        inside = browser.value("[...document.links].map(l => l.getAttribute('href')).filter(h => h[0] == '#')")
        assert all(browser.value(f"!!document.querySelector('{place}')") for place in inside)
    assert links
    for link in links:
        assert urljoin(site, link).startswith(site)
        with urllib.request.urlopen(link, timeout=20) as answer:
            assert answer.status == 200


def test_a_visitor_gets_from_the_front_page_to_a_project_and_back(site: str, tmp_path: Path) -> None:
    with opened(site, tmp_path) as browser:
        browser.open(browser.value("[...document.links].find(link => link.textContent == 'demo').href"))
        assert browser.value("document.querySelector('h1').textContent") == "demo"
        browser.open(browser.value("document.querySelector('nav a').href"))
        assert browser.value("[location.href, document.querySelector('h1').textContent]") == [
            site,
            "Python package mirror",
        ]


@pytest.mark.parametrize("page", PAGES[:2])
def test_without_a_script_everything_is_there(site: str, page: str, tmp_path: Path) -> None:
    with opened(site + page, tmp_path, script=False) as browser:
        document = browser.call("DOM.getDocument", depth=0)["root"]["nodeId"]

        def boxes(selector: str) -> int:
            """How many of these take up any room."""
            found = browser.call("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"]
            count = 0
            for node in found:
                tree = browser.call("Accessibility.getPartialAXTree", nodeId=node, fetchRelatives=False)["nodes"]
                count += not tree[0]["ignored"]
            return count

        assert boxes("mark") == len(browser.call("DOM.querySelectorAll", nodeId=document, selector="mark")["nodeIds"])
        assert boxes(".hint") == 1
        assert boxes("button") == boxes("#search") == 0
        if page == "index.html":
            assert boxes(".projects a") == len({artifact.project for artifact in FULL.artifacts})
        else:
            assert boxes("tbody a") == sum(artifact.project == "demo" for artifact in FULL.artifacts)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window_and_every_control_has_a_name(
    site: str, page: str, width: int, tmp_path: Path
) -> None:
    with Browser(tmp_path) as browser:
        browser.show(width=width)
        browser.open(site + page)
        assert browser.value("document.documentElement.scrollWidth") <= width
        nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
        roles = ("link", "button", "searchbox", "region", "columnheader", "rowheader", "heading")
        nameless = [
            node["role"]["value"]
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
        ]
        assert nameless == []


def test_no_line_of_a_snippet_is_broken_on_a_phone(site: str, tmp_path: Path) -> None:
    """It is scrolled instead: a line that is broken inside a name is read as two."""
    with Browser(tmp_path) as browser:
        browser.show(width=390)
        browser.open(site)
        shown = browser.value(
            "[...document.querySelectorAll('pre')].map(pre => [pre.textContent.split('\\n').length, "
            "Math.round(pre.clientHeight / parseFloat(getComputedStyle(pre).lineHeight))])"
        )
        assert len(shown) == 5
        assert all(lines == high for lines, high in shown)
        assert browser.value("[...document.querySelectorAll('pre')].some(pre => pre.scrollWidth > pre.clientWidth)")


def test_the_wide_tables_stay_tables_for_those_who_hear_them(site: str, tmp_path: Path) -> None:
    with Browser(tmp_path) as browser:
        browser.show(width=1280)
        for page, header in (("index.html", "Platform"), ("projects/demo.html", "File and sha256")):
            browser.open(site + page)
            nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
            named = [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "columnheader"]
            assert named[0] == header
