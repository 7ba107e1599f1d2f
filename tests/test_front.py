"""The page for people: valid, self-contained, honest about what is there and how to use it."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from html import unescape
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import html5lib
import pytest
import tomli

from mirror.model import Manifest
from mirror.simple import front
from tests.oddities import FULL, Anchors, artifact, manifest, status

if TYPE_CHECKING:
    from pathlib import Path

PAGE = front.render(FULL).decode("ascii")


def text_of(page: str) -> str:
    body = page[page.index("<body>") :]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def rows(page: str) -> list[str]:
    return [" ".join(text_of(f"<body>{row}").split()) for row in re.findall(r"<li><span.*?</li>", page)]


@pytest.mark.parametrize("held", [FULL, Manifest()], ids=["full", "empty"])
def test_h1_valid_html5(held: Manifest) -> None:
    html5lib.HTMLParser(strict=True).parse(front.render(held))


def test_nothing_runs_and_nothing_is_fetched_from_elsewhere() -> None:
    tags = Anchors(PAGE.encode()).tags
    assert not set(tags) & {"script", "img", "link", "iframe", "object", "form", "base", "svg", "video", "audio"}
    assert not re.search(r"url\(|@import|\son[a-z]+=|style=", PAGE)


def test_the_policy_admits_the_style_sheet_and_nothing_else() -> None:
    (policy,) = [tag["content"] for tag in Anchors(PAGE.encode()).meta if "http-equiv" in tag]
    style = re.search(r"<style>(.*?)</style>", PAGE, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == front.POLICY
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


@pytest.mark.parametrize("prefix", ["https://a.example/", "https://a.example/deep/er/", "file:///srv/site/"])
def test_every_link_is_relative_and_stays_inside(prefix: str) -> None:
    hrefs = [str(attrs["href"]) for attrs, _ in Anchors(PAGE.encode()).found]
    assert {urljoin(prefix, href) for href in hrefs} == {
        f"{prefix}simple/",
        *(f"{prefix}simple/{name}/" for name in {held.project for held in FULL.artifacts}),
    }


def test_every_project_has_a_row_with_versions_newest_first_files_and_size() -> None:
    held = manifest(
        artifact("demo-1.9-py3-none-any.whl", size=1_500_000),
        artifact("demo-1.10-py3-none-any.whl", size=2_000_000, yanked="bad"),
        artifact("demo-1.10.tar.gz", size=1_000, yanked=None),
        artifact("demo-0.1.tar.gz", size=999, yanked=""),
        artifact("other-1.0+cpu-py3-none-any.whl", size=999_999),
    )
    assert rows(front.render(held).decode()) == [
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
    (row,) = rows(front.render(manifest(artifact("demo-1.0.tar.gz", size=size))).decode())
    assert row == f"demo 1.0 1 file {shown}"


def test_a_status_is_shown_quarantine_too() -> None:
    assert "stopped quarantined" in text_of(PAGE)
    assert "archived archived" in text_of(PAGE)


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    held = manifest(artifact("demo-1.0.tar.gz"), statuses=(status("demo", "<script>é"),), locks=("<b>",))
    page = front.render(held)
    html5lib.HTMLParser(strict=True).parse(page)
    assert b"<script>" not in page
    assert b"<b>" not in page
    assert page.isascii()


def test_each_installer_is_told_to_use_this_index_alone() -> None:
    blocks = [unescape(re.sub(r"<[^>]+>", "", block)) for block in re.findall(r"<pre.*?</pre>", PAGE, re.DOTALL)]
    pip, uv, poetry = blocks
    assert "pip config set global.index-url https://mirror.example/simple/\n" in pip
    assert tomli.loads(uv)["tool"]["uv"]["index"] == [
        {"name": "mirror", "url": "https://mirror.example/simple/", "default": True}
    ]
    assert tomli.loads(poetry)["tool"]["poetry"]["source"] == [
        {"name": "mirror", "url": "https://mirror.example/simple/", "priority": "primary"}
    ]
    assert "--extra-index-url" not in "".join(blocks)
    assert "Never as --extra-index-url" in text_of(PAGE)


def test_the_locks_are_named_by_digest() -> None:
    assert "sha256:" + "c" * 64 in PAGE
    assert "<footer>" not in front.render(Manifest()).decode()


def test_f5_no_order_of_the_manifest_shows() -> None:
    reverse = Manifest(artifacts=FULL.artifacts[::-1], statuses=FULL.statuses[::-1], locks=FULL.locks)
    assert front.render(reverse).decode() == PAGE


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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_applies_the_style_under_the_policy(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(PAGE.encode())
    chromium = shutil.which("chromium")
    assert chromium
    done = subprocess.run(
        [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
            *("--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
            (tmp_path / "index.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Make it the only index" in done.stdout
    assert "Content Security Policy" not in done.stderr
