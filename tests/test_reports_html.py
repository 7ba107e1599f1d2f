"""The report as a page: complete without script, safe under its own policy, and usable by everybody."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import html5lib
import pytest

from mirror.model import HOLES, Reason
from mirror.plain import line
from mirror.reports.html import render
from mirror.reports.report import Report
from tests.browser import Browser, needs_chromium
from tests.test_reports import (
    FINDING,
    HOSTILE,
    PYTHONS,
    TARGETS,
    cell,
    covering,
    everywhere,
    good,
    of_every_kind,
    spoken,
)

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"
MARKS = {
    Reason.COVERED: "✓",
    Reason.YANKED: "yanked",
    Reason.EXCLUDED_BY_MARKER: "–",  # noqa: RUF001 - the dash that readers see
    Reason.EXCLUDED_BY_PYTHON: "–",  # noqa: RUF001
    Reason.SDIST_ONLY: "sdist",
    Reason.DIRECT: "direct",
    Reason.NO_WHEEL: "no wheel",
    Reason.NOT_OFFERED: "not offered",
    Reason.DIGEST_MISMATCH: "digest",
    Reason.DOWNLOAD_FAILED: "failed",
    Reason.NOT_PUBLISHED: "not published",
}


def read(data: bytes) -> ET.Element:
    """The page as a browser builds it; what the standard calls an error is one here."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree: ET.Element = parser.parse(data.decode())
    return tree


def words(element: ET.Element | None) -> str:
    assert element is not None
    return " ".join("".join(element.itertext()).split())


def matrices(tree: ET.Element) -> list[ET.Element]:
    return [element for element in tree.iter("div") if element.get("class") == "matrix"]


def grid(tree: ET.Element) -> dict[str, list[str]]:
    """The rows of the first matrix: what each package's cells say."""
    table = next(matrices(tree)[0].iter("table"))
    body = table.find("tbody")
    assert body is not None
    return {words(row.find("th")): [words(mark) for mark in row.findall("td")] for row in body.findall("tr")}


EMPTY = Report(coverages=(covering(release=""),))
TWICE = Report(coverages=(good().coverages[0], replace(of_every_kind().coverages[0], destination="s3://mirror")))


@pytest.mark.parametrize(
    "report", [of_every_kind(), good(), EMPTY, TWICE, Report(coverages=())], ids=["bad", "good", "empty", "two", "none"]
)
def test_the_page_is_html_to_the_letter(report: Report) -> None:
    tree = read(render(report))
    assert tree.get("lang") == "en"
    assert words(tree.find("head/title")).startswith(report.verdict)
    assert words(next(tree.iter("h1"))) == report.verdict


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_text_is_taken_as_text(text: str) -> None:
    report = spoken(text)
    tree = read(render(report))
    assert line(text) in words(tree).replace("\N{NO-BREAK SPACE}", " ") or " ".join(line(text).split()) in words(tree)
    assert [element.tag for element in tree.iter("script")] == ["script"]
    assert not list(tree.iter("b"))
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on") or name == "style"]


def test_every_package_and_environment_has_its_cell() -> None:
    report = of_every_kind()
    tree = read(render(report))
    found = grid(tree)
    assert len(found) == len({item.package for item in report.coverages[0].cells})
    for reason in Reason:
        assert found[f"p-{reason} 1.0"] == [MARKS[reason]] * 4
    assert found["beta 1.0"] == ["", "✓", "", "not offered"]
    head = next(matrices(tree)[0].iter("thead"))
    assert [words(th) for th in head.iter("th")] == ["package", *TARGETS, *PYTHONS, *PYTHONS]


def test_what_fails_stands_first() -> None:
    report = of_every_kind()
    order = [name.split()[0] for name in grid(read(render(report)))]
    failing = {str(item.package) for item in report.coverages[0].failures(HOLES)}
    assert set(order[: len(failing)]) == failing
    text = render(report).decode()
    places = [
        text.index(mark) for mark in ("lack something</h3>", "on the site</h3>", "By target</h3>", 'class="matrix"')
    ]
    assert places == sorted(places)


def test_sizes_are_drawn_and_said() -> None:
    tree = read(render(of_every_kind()))
    pair = next(element for element in tree.iter("div") if element.get("class") == "pair")
    said = [[words(part) for part in row] for row in pair.iter("tr")]
    assert ["alpha", "", "26.0 kB", "1"] in said
    assert ["noarch", "", "110 kB", "4"] in said
    widths = [float(bar.get("width", "")) for bar in pair.iter(f"{SVG}rect")]
    assert max(widths) == 100
    assert all(0 <= width <= 100 for width in widths)


def test_of_many_projects_the_largest_are_shown_and_the_rest_is_folded_away() -> None:
    cells = [cell(f"p{number:03}" + "x" * number) for number in range(40)]
    tree = read(render(Report(coverages=(covering(*cells),))))
    pair = next(element for element in tree.iter("div") if element.get("class") == "pair")
    assert words(next(pair.iter("summary"))) == "28 more projects"
    folded = {words(row) for row in next(pair.iter("details")).iter("tr")}
    names = [words(row.find("th")) for row in pair.iter("tr") if row.find("td") is not None]
    assert sorted(name for name in names if name.startswith("p0")) == sorted(item.package for item in cells)
    assert not any(row.startswith("p039") for row in folded)


def test_a_bar_is_as_wide_as_the_share_that_it_stands_for() -> None:
    cells = [
        cell("a"),
        cell("b"),
        cell("c", Reason.YANKED),
        cell("d", Reason.NO_WHEEL),
        cell("e", Reason.EXCLUDED_BY_MARKER),
    ]
    tree = read(render(Report(coverages=(covering(*cells),))))
    first = next(element for element in tree.iter("td") if element.get("class") == "measure")
    drawn = {
        bar.get("class"): (float(bar.get("x", "")), float(bar.get("width", ""))) for bar in first.iter(f"{SVG}rect")
    }
    assert drawn == {"covered": (0, 50), "yanked": (50, 25), "holes": (75, 25)}


def test_the_colours_of_the_bars_have_a_key_of_those_that_there_are() -> None:
    tree = read(render(Report(coverages=(covering(cell("a"), cell("b", Reason.NO_WHEEL)),))))
    key = next(element for element in tree.iter("ul") if element.get("class") == "key")
    drawn = [(next(item.iter(f"{SVG}rect")).get("class"), words(item)) for item in key]
    assert drawn == [("covered", "covered"), ("holes", "holes")]
    assert not [element for element in read(render(EMPTY)).iter("ul") if element.get("class") == "key"]


def test_of_two_locks_the_matrix_says_which() -> None:
    cells = [*everywhere("alpha"), *everywhere("alpha", Reason.NO_WHEEL, lock="tools/poetry.lock")]
    rows = grid(read(render(Report(coverages=(covering(*cells),)))))
    assert list(rows) == ["alpha 1.0 tools/poetry.lock", "alpha 1.0 poetry.lock"]


# --- safety -------------------------------------------------------------------------------------


def test_nothing_runs_or_loads_but_what_the_policy_names_by_digest() -> None:
    text = render(of_every_kind()).decode()
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0])
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("style", "script"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not re.search(r"\b(src|href|action|srcset)=|url\(|@import|https?://", text)
    assert "unsafe" not in policy


# --- everybody ----------------------------------------------------------------------------------


def test_the_page_has_what_a_screen_reader_goes_by() -> None:
    tree = read(render(TWICE))
    parents = {child: parent for parent in tree.iter() for child in parent}
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {element.get("aria-labelledby") for element in tree.iter() if element.get("aria-labelledby")} <= set(ids)
    assert all(th.get("scope") in ("col", "row") for th in tree.iter("th"))
    drawings = list(tree.iter(f"{SVG}svg"))
    assert drawings
    assert all(svg.get("aria-hidden") == "true" for svg in drawings)
    controls = [element for element in tree.iter() if element.tag in ("input", "select")]
    assert len(controls) == 8
    assert all(parents[control].tag == "label" for control in controls)
    levels = [int(element.tag[1]) for element in tree.iter() if re.fullmatch("h[1-6]", str(element.tag))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert [len(list(tree.iter(tag))) for tag in ("main", "header", "footer")] == [1, 1, 1]
    scrolling = [element for element in tree.iter("div") if element.get("class") == "scroll tall"]
    assert all(element.get("tabindex") == "0" and element.get("role") == "region" for element in scrolling)
    assert len(scrolling) == 2


PAIRS = (
    *(("ink", "page"), ("ink", "card"), ("soft", "page"), ("soft", "card"), ("soft", "head"), ("good", "card")),
    *(
        ("good", "good-bg"),
        ("bad", "bad-bg"),
        ("bad", "card"),
        ("bad", "page"),
        ("warn", "warn-bg"),
        ("note", "note-bg"),
    ),
)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("pair", PAIRS, ids="-on-".join)
def test_text_can_be_told_from_its_ground(pair: tuple[str, str], scheme: int) -> None:
    """WCAG 2.2 success criterion 1.4.3: 4.5 to 1."""
    style = re.findall(r"<style>(.*?)</style>", render(good()).decode(), re.DOTALL)[0]
    colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]+)", re.findall(r":root\{(.*?)\}", style, re.DOTALL)[scheme]))
    light, dark = sorted((_luminance(colours[name]) for name in pair), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- in a browser -------------------------------------------------------------------------------

SHOWN = """
[...document.querySelectorAll(".matrix tbody tr")].filter((row) => row.offsetParent)
  .map((row) => [row.querySelector("th div").firstChild.textContent.trim(),
                 ...[...row.cells].slice(1).filter((cell) => cell.offsetParent).map((cell) => cell.textContent)])
"""


HEADS = """
[...document.querySelectorAll(".matrix thead th")].filter((th) => th.offsetParent).map((th) => th.textContent)
"""


def focused_typing(browser: Browser, name: str, text: str) -> None:
    browser.value(f"document.querySelector('[name={name}]').focus()")
    browser.type(text)


def chosen(browser: Browser, name: str, value: str) -> None:
    browser.value(
        f"(() => {{ const field = document.querySelector('[name={name}]'); field.value = '{value}';"
        "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


@needs_chromium
def test_search_and_filters_narrow_the_matrix_and_stay_in_the_address(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(render(of_every_kind()))
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        everything = browser.value(SHOWN)
        assert len(everything) == len(Reason) + 2
        status = "document.querySelector('[role=status]').textContent"
        assert browser.value(status) == "13 packages"

        focused_typing(browser, "search", "P-NOT")
        assert {row[0] for row in browser.value(SHOWN)} == {"p-not-offered", "p-not-published"}
        assert browser.value(status) == "2 of 13 packages"

        browser.value("document.querySelector('[type=reset]').click()")
        assert browser.value("new Promise((done) => setTimeout(() => done(true), 50))")
        assert browser.value(SHOWN) == everything
        assert browser.value("location.hash") == ""

        chosen(browser, "state", "o")
        assert {row[0] for row in browser.value(SHOWN)} == {"p-not-offered", "beta"}
        chosen(browser, "target", TARGETS[0])
        assert browser.value(SHOWN) == [["p-not-offered", "not offered", "not offered"]]
        chosen(browser, "python", "3.9")
        assert browser.value(SHOWN) == [["p-not-offered", "not offered"]]
        assert browser.value(HEADS) == ["package", TARGETS[0], "3.9"]
        assert browser.value("location.hash") == f"#state=o&target={TARGETS[0]}&python=3.9"

        # What was asked for can be sent to somebody else, and nonsense asks for nothing.
        browser.open("about:blank")
        browser.open(f"{path.as_uri()}#search=beta&target={TARGETS[1]}&python=9.9&colour=red")
        assert browser.value(SHOWN) == [["beta", "", "not offered"]]
        assert browser.problems == []


@needs_chromium
def test_the_keyboard_reaches_everything(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(render(of_every_kind()))
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        met = []
        for _ in range(12):
            browser.press("Tab", 9)
            met.append(browser.value("document.activeElement.name || document.activeElement.tagName"))
        wanted = ["search", "state", "target", "python", "BUTTON", "DIV", "SUMMARY"]
        assert [name for name in dict.fromkeys(met) if name in wanted] == wanted


@needs_chromium
def test_without_script_everything_is_there_and_nothing_promises_more(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(render(of_every_kind()))
    with Browser(tmp_path / "profile", script=False) as browser:
        browser.open(path.as_uri())
        # Evaluated by the tester's side, which may look even where pages may not run anything.
        document = browser.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
        rows = browser.call("DOM.querySelectorAll", nodeId=document, selector=".matrix tbody tr")["nodeIds"]
        assert len(rows) == len(Reason) + 2
        assert all(browser.call("DOM.getBoxModel", nodeId=row)["model"]["height"] > 10 for row in rows)
        form = browser.call("DOM.querySelector", nodeId=document, selector=".matrix form")["nodeId"]
        attributes = browser.call("DOM.getAttributes", nodeId=form)["attributes"]
        assert "hidden" in attributes


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(width: int, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(render(of_every_kind()))
    with Browser(tmp_path / "profile") as browser:
        for dark in (False, True):
            browser.show(width=width, dark=dark)
            browser.open(path.as_uri())
            assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.problems == []


@needs_chromium
@pytest.mark.parametrize(("width", "at_least", "at_most"), [(390, 140, 180), (1280, 200, 400)])
def test_a_long_name_is_whole_and_has_room(width: int, at_least: int, at_most: int, tmp_path: Path) -> None:
    names = ("opentelemetry-exporter-otlp-proto-common", "x" * 90, "six")
    targets = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")
    cells = [
        cell(name, Reason.COVERED, target, f"3.{minor}") for name in names for target in targets
        for minor in range(10, 15)
    ]  # fmt: skip
    path = tmp_path / "report.html"
    path.write_bytes(render(Report(coverages=(covering(*cells),))))
    with Browser(tmp_path / "profile") as browser:
        browser.show(width=width)
        browser.open(path.as_uri())
        heads = "[...document.querySelectorAll('.matrix tbody th')]"
        assert at_least <= browser.value(f"{heads}[0].clientWidth") <= at_most
        assert browser.value(f"{heads}.every(th => th.scrollWidth <= th.clientWidth)")
        assert browser.value("document.documentElement.scrollWidth") <= width
        sizes = "[...document.querySelectorAll('.pair .scroll')]"
        assert browser.value(f"{sizes}.every(table => table.scrollWidth <= table.clientWidth)")


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_what_may_be_searched_for_can_be_read_in_its_field(dark: bool, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(render(good()))
    with Browser(tmp_path / "profile") as browser:
        browser.show(width=1280, dark=dark)
        browser.open(path.as_uri())
        style = "getComputedStyle(document.querySelector('[type=search]'), '::placeholder')"
        soft = "getComputedStyle(document.querySelector('.soft')).color"
        assert browser.value(f"[{style}.color, {style}.opacity]") == [browser.value(soft), "1"]


def test_findings_are_told_on_the_page() -> None:
    text = words(read(render(of_every_kind())))
    assert FINDING.message in text
    assert "To do: run mirror sync --check-remote" in text
