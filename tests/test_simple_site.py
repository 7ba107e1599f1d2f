"""The generated pages against the checklist of the simple repository API; each test names its rows (U, H, J, F)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from random import Random
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import html5lib
import jsonschema
import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from mirror import layout
from mirror.filenames import parse
from mirror.model import Manifest
from mirror.release import Kind, kind
from mirror.simple import html
from mirror.simple import json as json_form
from mirror.simple.site import pages
from tests.oddities import FULL, HOSTILE, Anchors, artifact, manifest, schema, status

SITE = dict(pages(FULL))
NAMES = sorted({held.project for held in FULL.artifacts})
BASE = "https://mirror.example/prefix/"


def page(name: str) -> Anchors:
    return Anchors(SITE[layout.project_page_keys(name)[0]])


def data(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SITE[layout.project_page_keys(name)[1]])
    return loaded


def entry(filename: str) -> dict[str, Any]:
    found: dict[str, Any] = next(file for file in data(parse(filename).name)["files"] if file["filename"] == filename)
    return found


def attributes(filename: str) -> dict[str, str | None]:
    return next(attrs for attrs, text in page(parse(filename).name).found if text == filename)


every_project = pytest.mark.parametrize("name", NAMES)
every_html = pytest.mark.parametrize("key", [key for key in SITE if key.endswith(".html")])
every_simple_html = pytest.mark.parametrize("key", [key for key in SITE if re.match(r"simple/.*html$", key)])


def test_u1_h3_the_list_has_every_project_once_under_its_normalized_name() -> None:
    listed = Anchors(SITE["simple/index.html"]).found
    assert [(attrs["href"], text) for attrs, text in listed] == [(f"{name}/", name) for name in NAMES]


def test_j2_the_json_list_has_the_same_projects() -> None:
    loaded = json.loads(SITE["simple/index.v1_json"])
    assert loaded == {"meta": {"api-version": "1.4"}, "projects": [{"name": name} for name in NAMES]}


def test_u2_every_project_has_both_pages_in_a_normalized_folder() -> None:
    folders = [key.split("/")[1] for key in SITE if key.count("/") == 2]
    assert folders == [name for name in NAMES for _ in range(2)]
    assert all(canonicalize_name(folder) == folder for folder in folders)


@every_html
def test_h1_html5_without_a_parse_error(key: str) -> None:
    document = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(SITE[key])
    assert SITE[key].startswith(b"<!DOCTYPE html>\n")
    assert document.findtext("head/title")
    assert document.get("lang") == "en"


@every_html
def test_u8_pages_are_ascii_and_say_utf_8(key: str) -> None:
    assert SITE[key].isascii()
    assert b'<meta charset="utf-8">' in SITE[key]


@every_simple_html
def test_h2_one_repository_version_1_4_in_the_head(key: str) -> None:
    versions = [tag["content"] for tag in Anchors(SITE[key]).meta if tag.get("name") == "pypi:repository-version"]
    assert versions == ["1.4"]
    assert SITE[key].index(b"pypi:repository-version") < SITE[key].index(b"</head>")


@every_simple_html
def test_h6_no_base_and_no_script(key: str) -> None:
    tags = set(Anchors(SITE[key]).tags)
    assert tags <= {"html", "head", "meta", "title", "body", "h1", "a", "br"}


@every_project
def test_h4_h5_one_anchor_per_file_whose_text_is_the_last_segment(name: str) -> None:
    held = {item.filename for item in FULL.artifacts if item.project == name}
    anchors = page(name).found
    assert len(anchors) == len(held)
    for attrs, text in anchors:
        path = urlsplit(str(attrs["href"])).path
        assert unquote(path.rpartition("/")[2]) == text
        assert text in held


@every_project
def test_h7_the_fragment_is_the_sha256(name: str) -> None:
    known = {item.filename: item.sha256 for item in FULL.artifacts}
    for attrs, text in page(name).found:
        assert urlsplit(str(attrs["href"])).fragment == f"sha256={known[text]}"


@pytest.mark.parametrize(
    ("filename", "segment"),
    [
        ("torch-2.1.0+cu118-cp311-cp311-linux_x86_64.whl", "torch-2.1.0%2Bcu118-cp311-cp311-linux_x86_64.whl"),
        ("epoch-1!2.0-py3-none-any.whl", "epoch-1%212.0-py3-none-any.whl"),
    ],
    ids=["plus", "exclamation mark"],
)
def test_h8_the_href_is_quoted_and_leads_to_the_literal_key(filename: str, segment: str) -> None:
    href = str(attributes(filename)["href"])
    assert href.startswith(f"../../packages/{segment}#")
    found = urljoin(f"{BASE}simple/{parse(filename).name}/", href)
    assert unquote(urlsplit(found).path) == f"/prefix/{layout.artifact_key(filename)}"


def test_h9_requires_python_is_exact_and_absent_when_there_is_none() -> None:
    assert attributes("demo-1.9-py3-none-any.whl")["data-requires-python"] == "!=3.9.*,>=3.8"
    assert attributes("archived-1.0.tar.gz")["data-requires-python"] == '===1"&<>\u00e9'
    assert "data-requires-python" not in attributes("demo-1.9.tar.gz")
    assert b"&gt;=3.8,&lt;4" in SITE["simple/demo/index.html"]


def test_h10_h11_metadata_under_its_new_name_only() -> None:
    assert attributes("demo-1.10-py3-none-any.whl")["data-core-metadata"] == "sha256=" + "a" * 64
    assert "data-core-metadata" not in attributes("demo-1.9.0-cp311-cp311-win_amd64.whl")
    assert not any(b"dist-info-metadata" in body for body in SITE.values())


def test_h14_a_yanked_file_says_so_with_a_valued_attribute() -> None:
    assert attributes("demo-1.9-py3-none-any.whl")["data-yanked"] == ""
    assert b'data-yanked=""' in SITE["simple/demo/index.html"]
    assert "data-yanked" not in attributes("demo-1.10-py3-none-any.whl")


def test_h14_a_hostile_reason_stays_text_on_one_line() -> None:
    reason = attributes("demo-1.9.tar.gz")["data-yanked"]
    assert reason == '<script>alert("1")</script> & it\'s yanked caf\u00e9 \U0001f40d ]]> -->'
    assert reason == entry("demo-1.9.tar.gz")["yanked"]


def test_h15_j12_nothing_claims_provenance() -> None:
    assert not any(b"provenance" in body for body in SITE.values())


def test_h17_j13_status_and_reason_are_passed_on() -> None:
    meta = {tag.get("name"): tag.get("content") for tag in page("archived").meta}
    assert meta["pypi:project-status"] == "archived"
    assert meta["pypi:project-status-reason"] == data("archived")["project-status"]["reason"]
    assert data("old")["project-status"] == {"status": "deprecated"}
    assert "pypi:project-status-reason" not in {tag.get("name") for tag in page("old").meta}


def test_h17_j13_pinned_files_of_a_quarantined_project_are_served_without_the_marker() -> None:
    assert len(page("stopped").found) == 1
    assert len(data("stopped")["files"]) == 1
    assert "project-status" not in data("stopped")
    assert b"project-status" not in SITE["simple/stopped/index.html"]


def test_h17_a_status_that_the_standard_does_not_know_is_not_passed_on() -> None:
    site = dict(pages(manifest(artifact("demo-1.0.tar.gz"), statuses=(status("demo", "haunted", "boo"),))))
    assert not any(b"haunted" in site[key] for key in layout.project_page_keys("demo"))


def test_h18_size_and_upload_time_in_html_too() -> None:
    attrs = attributes("demo-1.9.tar.gz")
    assert attrs["data-upload-time"] == "2024-02-29T23:59:59.123456Z"
    assert attrs["data-size"] == str(len("demo-1.9.tar.gz"))
    assert "data-upload-time" not in attributes("demo-1.10-py3-none-any.whl")


@every_project
def test_h19_every_anchor_suits_the_most_fragile_reader(name: str) -> None:
    body = SITE[layout.project_page_keys(name)[0]].decode("ascii")
    lines = [line for line in body.splitlines() if "<a" in line]
    assert len(lines) == body.count("<a ")
    for line in lines:
        assert re.fullmatch(r'<a href="[^"<>]*"( data-[a-z-]+="[^"<>]*")*>[^<>]+</a><br>', line)
    assert set(re.findall(r"&[^;]*;", body)) <= {"&lt;", "&gt;", "&amp;", "&quot;", "&#39;"} | set(
        re.findall(r"&#\d+;", body)
    )


@every_project
def test_j1_j3_j5_j7_j8_j9_j10_the_schema_holds(name: str) -> None:
    jsonschema.Draft202012Validator(schema()).validate(data(name))
    assert data(name)["name"] == name


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("J1", {"meta": {"api-version": "1.5"}}),
        ("J3", {"name": "My_Demo"}),
        ("J4", {"versions": ["1.0", "1.0"]}),
        ("J13", {"project-status": {"status": "quarantined"}}),
    ],
)
def test_the_schema_notices_a_broken_page(row: str, change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate({**data("demo"), **change})


@pytest.mark.parametrize(
    ("row", "change"),
    [
        ("J5", {"size": "1"}),
        ("J6", {"url": "https://mirror.example/packages/demo-1.9.tar.gz"}),
        ("J7", {"dist-info-metadata": True}),
        ("J8", {"yanked": ""}),
        ("J9", {"upload-time": "2024-02-29 23:59:59"}),
        ("J10", {"upload-time": None}),
        ("J11", {"hashes": {"md5": "0" * 32}}),
        ("J12", {"provenance": "../demo.provenance"}),
    ],
)
def test_the_schema_notices_a_broken_file(row: str, change: dict[str, Any]) -> None:
    page = data("demo")
    page["files"][0].update(change)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(page)


def test_j4_versions_are_unique_as_versions_and_cover_every_file() -> None:
    versions = [Version(version) for version in data("demo")["versions"]]
    assert data("demo")["versions"] == ["1.9", "1.10"]
    assert {parse(file["filename"]).version for file in data("demo")["files"]} == set(versions)


@every_project
def test_j6_the_url_is_the_href_without_fragment(name: str) -> None:
    hrefs = [str(attrs["href"]).partition("#")[0] for attrs, _ in page(name).found]
    assert [file["url"] for file in data(name)["files"]] == hrefs


def test_j8_yanked_is_true_or_a_reason() -> None:
    assert entry("demo-1.9-py3-none-any.whl")["yanked"] is True
    assert "yanked" not in entry("demo-1.10-py3-none-any.whl")


def test_j10_no_null_anywhere() -> None:
    assert not any(re.search(rb"[:,\[]null", body) for key, body in SITE.items() if key.endswith("json"))


@every_project
def test_j11_sha256_is_the_only_digest(name: str) -> None:
    assert all(list(file["hashes"]) == ["sha256"] for file in data(name)["files"])


@every_project
def test_j15_both_forms_read_back_say_the_same(name: str) -> None:
    url = f"{BASE}simple/{name}/"
    html_key, json_key = layout.project_page_keys(name)
    from_html = html.parse(SITE[html_key], url, name)
    from_json = json_form.parse(SITE[json_key], url, name)
    assert from_html.files
    assert from_html == replace(from_json, versions=())


@every_project
def test_what_is_read_back_is_what_the_manifest_holds(name: str) -> None:
    read = json_form.parse(SITE[layout.project_page_keys(name)[1]], f"{BASE}simple/{name}/", name)
    held = {item.filename: item for item in FULL.artifacts if item.project == name}
    assert {file.filename for file in read.files} == set(held)
    for file in read.files:
        item = held[file.filename]
        assert (file.size, file.requires_python, file.upload_time) == (
            item.size,
            item.requires_python,
            item.upload_time,
        )
        assert [digest.hex for digest in file.digests] == [item.sha256]
        assert (file.core_metadata.hex if file.core_metadata else "") == item.metadata_sha256
        assert (file.yanked is None) == (item.yanked is None)


def test_f3_files_are_sorted_by_version_not_by_text() -> None:
    assert [text for _, text in page("demo").found] == [
        "demo-1.9-py3-none-any.whl",
        "demo-1.9.0-cp311-cp311-win_amd64.whl",
        "demo-1.9.tar.gz",
        "demo-1.10-py3-none-any.whl",
    ]


def test_f4_pages_come_in_publishing_order() -> None:
    about = [f"projects/{name}.html" for name in NAMES]
    assert list(SITE)[2 * len(NAMES) :] == ["simple/index.html", "simple/index.v1_json", *about, "index.html"]
    kinds = [list(Kind).index(kind(key) or Kind.STATE) for key in SITE]
    assert kinds == sorted(kinds)


def test_f5_the_same_manifest_in_any_order_gives_the_same_bytes() -> None:
    artifacts = list(FULL.artifacts)
    Random(7).shuffle(artifacts)
    shuffled = replace(FULL, artifacts=tuple(artifacts), statuses=FULL.statuses[::-1])
    assert list(pages(shuffled)) == list(SITE.items())


def test_f5_pages_end_in_a_newline_and_know_no_carriage_return() -> None:
    assert all(body.endswith(b"\n") and b"\r" not in body for body in SITE.values())


def test_an_empty_manifest_is_a_valid_empty_index() -> None:
    site = dict(pages(Manifest()))
    assert set(site) == {"index.html", "simple/index.html", "simple/index.v1_json"}
    assert json.loads(site["simple/index.v1_json"])["projects"] == []
    html5lib.HTMLParser(strict=True).parse(site["index.html"])


def test_hostile_text_is_really_hostile() -> None:
    assert "<script>" in HOSTILE
    assert not HOSTILE.isprintable()
