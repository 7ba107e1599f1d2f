"""The front page: valid, self-contained, honest about what is there and how to use it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape
from itertools import pairwise
from urllib.parse import urljoin

import html5lib
import pytest
import tomli

from mirror.model import Manifest, Origin
from mirror.simple import front
from mirror.simple.held import held as projects_of
from mirror.simple.people import policy
from tests.oddities import FULL, Anchors, about, artifact, manifest, status


def render(manifest: Manifest) -> bytes:
    return front.render(manifest, tuple(projects_of(manifest)))


PAGE = render(FULL).decode("ascii")


def text_of(page: str) -> str:
    body = re.sub(r"<script>.*?</script>", "", page[page.index("<body") :], flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def rows(page: str) -> list[str]:
    return [" ".join(text_of(f"<body>{row}").split()) for row in re.findall(r"<li><span.*?</li>", page)]


@pytest.mark.parametrize("held", [FULL, Manifest()], ids=["full", "empty"])
def test_h1_valid_html5(held: Manifest) -> None:
    html5lib.HTMLParser(strict=True).parse(render(held))


def test_nothing_is_fetched_from_elsewhere() -> None:
    tags = Anchors(PAGE.encode()).tags
    assert not set(tags) & {"img", "link", "iframe", "object", "form", "base", "video", "audio"}
    assert tags.count("script") == tags.count("style") == 1
    assert not re.search(r"url\(|@import|\son[a-z]+=|\sstyle=|\ssrc=|fetch|XMLHttp|innerHTML", PAGE)


def test_the_policy_admits_this_style_and_this_script_and_nothing_else() -> None:
    (stated,) = [tag["content"] for tag in Anchors(PAGE.encode()).meta if "http-equiv" in tag]
    digests = []
    for element in ("script", "style"):
        found = re.search(rf"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
        assert found
        digests.append(base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode())
    assert stated == policy(front.DRESS)
    assert stated.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{digests[0]}'",
        f"style-src 'sha256-{digests[1]}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


@pytest.mark.parametrize("prefix", ["https://a.example/", "https://a.example/deep/er/", "file:///srv/site/"])
def test_every_link_is_relative_and_stays_inside(prefix: str) -> None:
    hrefs = [str(attrs["href"]) for attrs, _ in Anchors(PAGE.encode()).found]
    assert {urljoin(prefix, href) for href in hrefs if not href.startswith("#")} == {
        f"{prefix}simple/index.html",
        *(f"{prefix}projects/{name}.html" for name in {held.project for held in FULL.artifacts}),
    }


def test_the_menu_leads_to_what_is_there() -> None:
    inner = {str(attrs["href"])[1:] for attrs, _ in Anchors(PAGE.encode()).found if str(attrs["href"])[0] == "#"}
    assert inner == {"use", "mirrored", "projects"}
    assert inner <= set(re.findall(r'id="([^"]+)"', PAGE))
    assert "#mirrored" not in render(Manifest()).decode()


def test_every_project_has_a_row_with_versions_newest_first_files_and_size() -> None:
    held = manifest(
        artifact("demo-1.9-py3-none-any.whl", size=1_500_000),
        artifact("demo-1.10-py3-none-any.whl", size=2_000_000, yanked="bad"),
        artifact("demo-1.10.tar.gz", size=1_000, yanked=None),
        artifact("demo-0.1.tar.gz", size=999, yanked=""),
        artifact("other-1.0+cpu-py3-none-any.whl", size=999_999),
    )
    assert rows(render(held).decode()) == [
        "demo 1.10, 1.9, 0.1 yanked 4 files 3.5 MB",
        "other 1.0+cpu 1 file 1.0 MB",
    ]


def test_the_totals() -> None:
    page = text_of(PAGE)
    assert "projects 6" in page
    assert "releases 7" in page
    assert "files: 7 wheels, 2 sdists 9" in page
    assert "to download in all 2.3 GB" in page


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (3_000_000_000_000, "3.0 TB"),
        (5_000_000_000_000_000, "5000 TB"),
    ],
)
def test_sizes_have_three_digits_at_most(size: int, shown: str) -> None:
    (row,) = rows(render(manifest(artifact("demo-1.0.tar.gz", size=size))).decode())
    assert row == f"demo 1.0 1 file {shown}"


def test_a_status_is_shown_quarantine_too() -> None:
    assert "stopped quarantined" in text_of(PAGE)
    assert "archived archived" in text_of(PAGE)


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    bad = "<script>\u202e\u00e9"
    origin = Origin(digest="<b>", file=bad, project=bad, packages=1)
    held = manifest(
        artifact("demo-1.0.tar.gz"),
        statuses=(status("demo", bad),),
        locks=("<b>",),
        origins=(origin,),
        about=(about("demo-1.0.tar.gz", summary=bad),),
    )
    page = render(held)
    html5lib.HTMLParser(strict=True).parse(page)
    assert page.count(b"<script>") == 1
    assert b"&#8238;" not in page, "nothing turns the text around it"
    assert b"<b>" not in page
    assert page.isascii()


def test_each_installer_is_told_to_use_this_index_alone() -> None:
    blocks = [unescape(re.sub(r"<[^>]+>", "", block)) for block in re.findall(r"<pre.*?</pre>", PAGE, re.DOTALL)]
    pip, uv, poetry, pdm, dockerfile = blocks
    assert "pip config set global.index-url https://mirror.example/simple/\n" in pip
    assert tomli.loads(uv)["tool"]["uv"]["index"] == [
        {"name": "mirror", "url": "https://mirror.example/simple/", "default": True}
    ]
    assert tomli.loads(poetry)["tool"]["poetry"]["source"] == [
        {"name": "mirror", "url": "https://mirror.example/simple/", "priority": "primary"}
    ]
    assert tomli.loads(pdm)["tool"]["pdm"]["source"] == [{"name": "pypi", "url": "https://mirror.example/simple/"}]
    assert dockerfile.splitlines()[:2] == [
        "ENV PIP_INDEX_URL=https://mirror.example/simple/ \\",
        "    UV_DEFAULT_INDEX=https://mirror.example/simple/",
    ]
    assert "--require-hashes -r requirements-prod.txt" in pip
    assert "--require-hashes -r requirements-prod.txt" in dockerfile
    assert "EXTRA_INDEX" not in dockerfile
    assert "--extra-index-url" not in "".join(blocks)
    assert "Never as --extra-index-url" in text_of(PAGE)


def test_the_locks_are_named_by_project_file_count_and_digest() -> None:
    assert "shop , poetry.lock: 6 packages sha256:" + "c" * 64 in text_of(PAGE)


def test_a_lock_of_which_only_the_digest_is_known_is_named_by_that() -> None:
    """Manifests of before had nothing else."""
    page = text_of(render(Manifest(locks=("sha256:" + "d" * 64,))).decode())
    assert "What is mirrored sha256:" + "d" * 64 in page


def test_coverage_has_a_row_for_each_target_with_the_numbers_that_the_bar_shows() -> None:
    table = PAGE[PAGE.index('<table class="coverage">') : PAGE.index("</table>")]
    lines = [" ".join(text_of(f"<body>{row}").split()) for row in re.findall(r"<tr><th scope=\"row\".*?</tr>", table)]
    assert lines == [
        "linux-x86_64 3.11, 3.12 75.0 % 9 2 1",
        "macos-arm64 3.11 100.0 % 6 0 0",
        "windows-amd64 3.11 100.0 % 0 0 0",
    ]
    bars = re.findall(r"<svg.*?</svg>", table)
    assert [re.findall(r'class="(\w+)" x="(\d+)" width="(\d+)"', bar) for bar in bars] == [
        [("wheels", "0", "9"), ("sdists", "9", "2"), ("missing", "11", "1")],
        [("wheels", "0", "6")],
        [],
    ]
    assert [re.search(r'viewBox="0 0 (\d+) 1"', bar)[1] for bar in bars] == ["12", "6", "1"]  # type: ignore[index]


def test_a_summary_is_shown_with_its_project() -> None:
    held = manifest(artifact("demo-1.0.tar.gz"), about=(about("demo-1.0.tar.gz", summary="It demonstrates"),))
    assert rows(render(held).decode()) == ["demo 1.0 1 file 15 B It demonstrates"]


def test_without_a_script_everything_is_there_and_no_dead_control() -> None:
    """What only a script can do is hidden until one runs."""
    assert '<div class="find" hidden><label for="search">Find a project</label>' in PAGE
    body = PAGE[PAGE.index("<body") : PAGE.index("<script>")]
    assert "<button" not in body
    assert re.findall(r"<(\w+)[^>]* hidden", body) == ["div"]
    assert all(f">{name}</a>" in body for name in {held.project for held in FULL.artifacts})


def test_f5_no_order_of_the_manifest_shows() -> None:
    reverse = replace(FULL, artifacts=FULL.artifacts[::-1], statuses=FULL.statuses[::-1], about=FULL.about[::-1])
    assert render(reverse).decode() == PAGE


def test_it_is_readable_for_everyone() -> None:
    assert '<html lang="en">' in PAGE
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in PAGE
    assert "prefers-color-scheme:dark" in PAGE
    headings = [int(level) for level in re.findall(r"<h(\d)", PAGE)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert PAGE.count("<main>") == PAGE.count("</main>") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: "a contrast ratio of at least 4.5:1"."""
    palettes = re.findall(r":root\{(.*?)\}", PAGE, re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", palettes[scheme == "dark"]))
    pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("page", "card")]
    pairs += [("warn", "warn-bg"), ("note", "note-bg"), ("ink", "mark"), ("ink", "warn-bg")]
    for ink, ground in pairs:
        assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
