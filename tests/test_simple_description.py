"""What a project says of itself: read from any core metadata, cut to what fits, and harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.model import About
from mirror.simple.description import describe


def said(*lines: str, body: str = "") -> About:
    headers = "".join(f"{line}\n" for line in ("Metadata-Version: 2.1", "Name: demo", "Version: 1.0", *lines))
    return describe(f"{headers}\n{body}".encode(), "demo-1.0.tar.gz")


def test_summary_licence_and_links() -> None:
    about = said(
        "Summary: It demonstrates",
        "License-Expression: MIT OR Apache-2.0",
        "License: something else",
        "Project-URL: Source, https://demo.example/source",
        "Home-page: https://demo.example",
        body="Summary: of the description\n",
    )
    assert about == About(
        filename="demo-1.0.tar.gz",
        summary="It demonstrates",
        license="MIT OR Apache-2.0",
        links=(("Source", "https://demo.example/source"), ("Homepage", "https://demo.example")),
    )


def test_nothing_said_is_nothing_known() -> None:
    assert said() == describe(b"", "demo-1.0.tar.gz") == About(filename="demo-1.0.tar.gz")
    assert said("Summary: UNKNOWN", "License: UNKNOWN", "Home-page: UNKNOWN") == said()


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (["License: BSD-3-Clause", "Classifier: License :: OSI Approved :: MIT License"], "BSD-3-Clause"),
        (["Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (
            ["Classifier: License :: OSI Approved :: MIT License", "Classifier: License :: Public Domain"],
            "MIT License, Public Domain",
        ),
        (
            ["License: Copyright (c) Somebody", "        Permission is", "Classifier: License :: Free To Use"],
            "Free To Use",
        ),
        (["License: The Demo License", "        Permission is hereby granted"], "The Demo License"),
        ([f"License: {'word ' * 40}"], ("word " * 16).strip() + "\u2026"),
        (["Classifier: Programming Language :: Python"], ""),
    ],
    ids=["stated", "classifier", "classifiers", "text-and-classifier", "text", "long", "none"],
)
def test_the_licence_is_named_in_few_words(lines: list[str], shown: str) -> None:
    assert said(*lines).license == shown


def test_long_text_is_cut_between_words() -> None:
    summary = said(f"Summary: {'word ' * 100}").summary
    assert len(summary) <= 240
    assert summary.endswith("word\u2026")
    assert said(f"Summary: {'x' * 1000}").summary == "x" * 239 + "\u2026"


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_text_is_utf_8_on_one_line_whatever_ends_lines(ending: str) -> None:
    data = ending.join(["Name: demo", "Summary: caf\u00e9", "    and\x00 \x1bmore", "", "License: MIT"]).encode()
    assert describe(data, "f") == About(filename="f", summary="caf\u00e9 and more")


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert describe(b"Name: demo\nSummary: caf\xe9\n", "f").summary == "caf\ufffd"


@pytest.mark.parametrize(
    "link",
    [
        "Evil, javascript:alert(1)",
        "Evil, https://known.example@other.example/",
        "Mail, mailto:me@demo.example",
        "File, file:///etc/passwd",
        ", https://demo.example",
        "Nothing",
        f"Long, https://demo.example/{'x' * 500}",
    ],
)
def test_only_pages_are_linked(link: str) -> None:
    assert said(f"Project-URL: {link}").links == ()


def test_links_are_few_different_and_short() -> None:
    lines = [f"Project-URL: Label {number} {'x' * 40}, https://demo.example/{number}" for number in range(30)]
    links = said(*lines).links
    assert len(links) == 12
    assert max(len(label) for label, _ in links) <= 32
    same = said(
        "Project-URL: A, https://demo.example", "Home-page: https://demo.example", "Project-URL: A, https://b.example"
    )
    assert same.links == (("A", "https://demo.example"),)


def test_what_may_not_stand_in_a_url_is_quoted() -> None:
    (link,) = said('Project-URL: A, https://demo.example/a b?"<script>\u00e9%20').links
    assert link[1] == "https://demo.example/a%20b?%22%3Cscript%3E%C3%A9%20"


@given(st.binary(max_size=300), st.text(max_size=60), st.text(max_size=60))
def test_no_metadata_is_an_error(raw: bytes, label: str, url: str) -> None:
    link = f"Project-URL: {label}, {url}\nHome-page: {url}\n".encode("utf-8", "replace")
    for data in (raw, link, b"Summary: x\n" + raw, link + raw):
        about = describe(data, "f")
        assert "\n" not in about.summary + about.license
