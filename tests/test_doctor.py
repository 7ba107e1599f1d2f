"""`mirror doctor URL`: a good site passes every row, and for every row there is a site that breaks it.

The table of breaches is the proof that no check is empty: each case is a real site over real HTTP with one thing
wrong, and the rows that complain are these and no others.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

import html5lib
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from mirror.doctor.check import Outcome, Rank
from mirror.doctor.page import read_page
from mirror.doctor.rows import CHECKS
from mirror.doctor.wire import OTHER_SITE
from mirror.errors import MirrorError, RemoteError
from mirror.serve import application
from tests.doctored import (
    FAIL,
    HTML_TYPE,
    JSON_TYPE,
    WARN,
    answered,
    both,
    breaches,
    error_page,
    examine,
    headers,
    is_file,
    is_html,
    is_json,
    is_page,
    listed,
    nowhere,
    outcome,
    path_is,
    status,
    stored,
    together,
    written,
)
from tests.mutants import BETA, DELTA, DOCTOR, GAMMA, MUTANTS, Mutant, Reply, serve_mutant, subject
from tests.project import ROOT
from tests.served import served
from tests.sites import local, make_site
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from tests.mutants import Asked


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good site; nobody writes to it."""
    folder = tmp_path_factory.mktemp("doctor")
    subject(folder)
    return folder / "root"


def without(name: str) -> Mutant:
    """The page of one form is not there, whoever asks: a host that serves only the other one."""
    other = "index.html" if name == "index.v1_json" else "index.v1_json"

    def act(tree: Path) -> None:
        for path in tree.glob(f"simple/**/{name}"):
            shutil.copy(path.with_name(other), path)

    kind = HTML_TYPE if other == "index.html" else JSON_TYPE
    return Mutant(
        name="one form",
        stored=act,
        answered=lambda asked, reply: reply.having(content_type=kind) if is_page(asked, reply) else reply,
    )


def ticking() -> Mutant:
    """Every HTML page says which request it answers."""
    numbers = count()
    return answered(is_html, lambda reply: replace(reply, body=reply.body + b"<!-- %d -->\n" % next(numbers)))


def half_ranges() -> Mutant:
    """A range of other bytes than were asked for."""
    return answered(lambda _, reply: reply.status == 206, lambda reply: replace(reply, body=b"x" * len(reply.body)))


def long_heads(asked: Asked, reply: Reply) -> Reply:
    # The mutated host computes Content-Length from the body.
    return replace(reply, body=reply.body + b"x") if asked.method == "HEAD" and is_file(asked, reply) else reply


def slashless(asked: Asked, reply: Reply) -> Reply:
    page = b'<!DOCTYPE html><title>x</title><a href="../x-1.tar.gz">x-1.tar.gz</a>'
    return Reply(status=200, headers={"content-type": HTML_TYPE}, body=page) if asked.path == "simple/alpha" else reply


def sdist_metadata(version: str, *, dynamic: bool) -> Mutant:
    """Metadata offered for the sdist of beta."""
    data = f"Metadata-Version: {version}\nName: beta\nVersion: 1.0\n{'Dynamic: Requires-Dist' if dynamic else ''}\n"
    digest = sha256(data.encode()).hexdigest()
    pages = both(
        "beta",
        ('(#sha256=[0-9a-f]*")', rf'\1 data-core-metadata="sha256={digest}"'),
        ('"size"', f'"core-metadata":{{"sha256":"{digest}"}},"size"'),
    )

    def act(tree: Path) -> None:
        assert pages.stored is not None
        pages.stored(tree)
        (tree / f"packages/{BETA}.metadata").write_text(data)

    return Mutant(name="sdist metadata", stored=act)


@dataclass(frozen=True)
class Case:
    """A mutation, and exactly the rows that complain of it."""

    name: str
    mutant: Mutant
    rows: dict[str, Outcome]


HEX = "[0-9a-f]{64}"
BREACHES = (
    Case("list names a project twice", both("", ("</body>", '<a href="beta/">beta</a><br>\n</body>'),
                                            (r"\]\}\s*$", ',{"name":"beta"}]}')), {"U1": FAIL}),
    Case("list names a project elsewhere", stored((".html", '"gamma/"', '"Gamma/"')), {"U2": FAIL}),
    Case("listed project has no page", answered(path_is("simple/beta/"), status(404)), {"U2": FAIL}),
    Case("page without its slash", Mutant(name="", answered=slashless), {"U3": FAIL, "U4": WARN}),
    Case("no redirect to the slash", answered(path_is("simple/alpha"), status(404)), {"U4": WARN}),
    Case("redirect to somewhere else", answered(path_is("simple/alpha"), lambda _: Reply(
        status=301, headers={"location": "/login"})), {"U4": WARN}),
    Case("redirect to the slash over plain http", answered(path_is("simple/alpha"), lambda _: Reply(
        status=301, headers={"location": "http://internal.example:8080/simple/alpha/"})), {"U4": WARN, "U11": FAIL}),
    Case("no redirect to the name", answered(path_is("simple/Alpha/"), status(404)), {"U5": WARN}),
    Case("403 for the unknown", answered(nowhere, status(403)), {"U6": FAIL}),
    Case("500 for the unknown", answered(nowhere, status(500)), {"U6": FAIL}),
    Case("200 for the unknown", answered(nowhere, error_page), {"U6": FAIL}),
    Case("JSON as application/json", headers(is_json, content_type="application/json"), {"U7": FAIL}),
    Case("HTML as octets", headers(is_html, content_type="binary/octet-stream"), {"U7": FAIL}),
    Case("no charset", headers(is_html, content_type="text/html"), {"U8": WARN}),
    Case("not ASCII", stored(("delta.html", "broken", "kapütt")), {"U8": WARN}),
    Case("not ASCII, no charset", together(stored(("delta.html", "broken", "kapütt")),
                                           headers(is_html, content_type="text/html")), {"U8": FAIL}),
    Case("no Vary", headers(is_page, vary=""), {"U9": WARN}),
    Case("latest under its own name", answered(
        lambda asked, reply: is_json(asked, reply) and "latest" in asked.headers["accept"],
        lambda reply: reply.having(content_type="application/vnd.pypi.simple.latest+json")), {"U9": FAIL}),
    Case("HTML only", without("index.v1_json"), {"U9": WARN}),
    Case("JSON only", without("index.html"), {"U9": WARN}),
    Case("link to plain http", together(stored(("gamma.html", r'href="\.\./\.\./', 'href="http://files.invalid/'),
                                               ("gamma.json", r'"\.\./\.\./', '"http://files.invalid/'))),
         {"U11": FAIL, "H12": FAIL, "F4": FAIL}),
    Case("redirect to plain http", answered(
        path_is(f"packages/{GAMMA}"), lambda _: Reply(status=302, headers={"location": "http://files.invalid/x"})),
         {"U11": FAIL, "F4": FAIL}),
    Case("HEAD tells another length", Mutant(name="", answered=long_heads), {"U12": FAIL}),
    Case("HEAD fails", answered(lambda asked, _: asked.method == "HEAD", status(500)), {"U12": FAIL}),
    *(Case(f"HEAD is refused with {code}", answered(lambda asked, _: asked.method == "HEAD", status(code)),
           {"U12": WARN}) for code in (400, 403, 404, 405, 501)),
    Case("ranges of other bytes", half_ranges(), {"U12": FAIL}),
    Case("Range is not heeded", replace(headers(is_file, accept_ranges=""), ignored=("range",)), {"U12": WARN}),
    Case("Range is announced and not heeded", replace(headers(is_file), ignored=("range",)), {"U12": FAIL}),
    Case("wheel is compressed", next(each for each in MUTANTS if each.name == "gzip-encoded wheel"), {"U13": FAIL}),
    Case("metadata is compressed", next(each for each in MUTANTS if each.name == "gzip-encoded `.metadata`"),
         {"U13": FAIL}),
    Case("page in an unknown encoding", headers(is_html, content_encoding="br"), {"U13": FAIL}),
    Case("no ETag", headers(is_page, etag=""), {"U14": WARN}),
    Case("no ETag on JSON", headers(is_json, etag=""), {"U14": WARN}),
    Case("no ETag on the list", headers(lambda asked, _: asked.path == "simple/", etag=""), {"U14": WARN}),
    Case("ETag never matches", replace(headers(is_page), ignored=("if-none-match",)), {"U14": WARN}),
    Case("If-None-Match fails", answered(lambda asked, _: "if-none-match" in asked.headers, status(412)),
         {"U14": FAIL}),
    Case("pages for a year", headers(is_page, cache_control="max-age=31536000"), {"U15": FAIL}),
    Case("pages for ever", headers(is_page, cache_control="max-age=600, immutable"), {"U15": FAIL}),
    Case("pages older than they may be", headers(is_page, age="601"), {"U15": FAIL}),
    Case("pages for nobody knows how long", headers(is_page, cache_control=""), {"U15": WARN}),
    Case("files are not kept", headers(is_file, cache_control="no-store"), {"U15": WARN}),
    Case("not for browsers", headers(lambda _, reply: reply.status == 200, access_control_allow_origin=""),
         {"U16": WARN}),
    Case("file renamed by its host", headers(is_file, content_disposition='attachment; filename="x.bin"'),
         {"U17": FAIL}),
    Case("file named by its host", headers(lambda asked, _: asked.path.endswith(DELTA),
                                           content_disposition=f"attachment; filename={DELTA}"), {"U17": WARN}),
    Case("no doctype", stored(("alpha.html", "<!DOCTYPE html>", "")), {"H1": FAIL}),
    Case("no title", stored(("alpha.html", "<title>.*</title>", "")), {"H1": FAIL}),
    Case("heading never closed", stored((".html", "</h1>", "")), {"H1": FAIL}),
    Case("no version", stored(("alpha.html", "<meta name[^>]*>", "")), {"H2": WARN}),
    Case("version of another major", stored(("alpha.html", 'content="1.4"', 'content="2.0"')), {"H2": FAIL}),
    Case("version that HTML does not have", stored(("alpha.html", 'content="1.4"', 'content="1.5"')), {"H2": FAIL}),
    Case("version twice", stored(("alpha.html", "(<meta name[^>]*>)", r"\1\1")), {"H2": FAIL}),
    Case("version in the body", stored(("alpha.html", "(<meta name[^>]*>)(.*<body>)", r"\2\1")), {"H2": FAIL}),
    Case("list text is another name", stored((".html", ">gamma</a>", ">Gimmel</a>")), {"H3": FAIL}),
    Case("list link to the page's file", stored((".html", '"gamma/"', '"gamma/index.html"')), {"H3": FAIL}),
    Case("list link without its slash", stored((".html", '"gamma/"', '"gamma"')), {"H3": FAIL}),
    Case("link to the list", stored(("alpha.html", "<h1>", '<a href="../">up</a><h1>')), {"H4": FAIL}),
    Case("file listed twice", stored(("beta.html", "(<a .*</a><br>\n)", r"\1\1")), {"H4": FAIL}),
    Case("text is another filename", stored(("beta.html", ">beta-1.0", ">beta-1.1")), {"H5": FAIL}),
    Case("relative base", stored(("alpha.html", "<title>", '<base href="./"><title>')), {"H6": FAIL}),
    Case("another digest, in upper case", stored(("beta.html", f"sha256={HEX}", f"sha256={'A' * 64}")),
         {"H7": WARN, "J15": FAIL, "F3": FAIL}),
    Case("digest in upper case", written("simple/beta/index.html", lambda data: re.sub(
        rb"sha256=([0-9a-f]{64})", lambda match: b"sha256=" + match[1].upper(), data)), {"H7": WARN}),
    Case("no digest", stored(("beta.html", f"#sha256={HEX}", "")), {"H7": WARN, "J15": FAIL}),
    Case("digest that uv refuses", stored(("beta.html", f"sha256={HEX}", f"sha1={'a' * 40}")),
         {"H7": FAIL, "J15": FAIL}),
    Case("bare +", both("gamma", ("%2B", "+"), ("%2B", "+")), {"H8": WARN}),
    Case("bare + is a space", together(both("gamma", ("%2B", "+"), ("%2B", "+")), answered(
        lambda asked, _: "+" in asked.raw and asked.raw.endswith(".whl"), status(404))), {"H8": FAIL, "F4": FAIL}),
    Case("no specifier", both("alpha", ("&gt;=3.8", "three"), (">=3.8", "three")), {"H9": FAIL}),
    Case("another requires-python than the file's", both("alpha", ("&gt;=3.8", "&gt;=3.6"), (">=3.8", ">=3.6")),
         {"H9": FAIL}),
    Case("no requires-python where the file has one", both(
        "alpha", (' data-requires-python="&gt;=3.8"', ""), ('"requires-python":">=3.8",', "")), {"H9": WARN}),
    Case("metadata without its digest", both("delta", (f'metadata="sha256={HEX}"', 'metadata="true"'),
                                             (rf'metadata":\{{"sha256":"{HEX}"\}}', 'metadata":true')),
         {"H10": WARN, "J7": WARN}),
    Case("metadata with half a digest", both("delta", (f'metadata="sha256={HEX}"', 'metadata="sha256=abc"'),
                                             (f'metadata":{{"sha256":"{HEX}"', 'metadata":{"sha256":"abc"')),
         {"H10": FAIL, "H12": FAIL, "J7": FAIL}),
    Case("metadata under the old name too", stored(("delta.html", f'( data-)core(-metadata="sha256={HEX}")',
                                                    r"\1core\2\1dist-info\2")), {"H11": FAIL}),
    Case("metadata under the old name only", stored(("delta.html", "data-core-", "data-dist-info-")),
         {"H10": FAIL, "H11": FAIL}),
    Case("metadata missing, with a compressed error page", answered(
        path_is(f"packages/{DELTA}.metadata"), lambda _: Reply(
            status=404, headers={"content-encoding": "gzip"}, body=gzip.compress(b"no"))), {"H12": FAIL}),
    Case("metadata of another version, as identity", together(
        written(f"packages/{DELTA}.metadata", lambda data: data + b"Summary: x\n"),
        headers(path_is(f"packages/{DELTA}.metadata"), content_encoding="identity")), {"H12": FAIL}),
    Case("metadata of another version", written(f"packages/{DELTA}.metadata", lambda data: data + b"Summary: x\n"),
         {"H12": FAIL}),
    Case("no metadata", both("delta", (f' data-core-metadata="sha256={HEX}"', ""),
                             (rf'"core-metadata":\{{"sha256":"{HEX}"\}},', "")), {"H13": WARN}),
    Case("metadata of a dynamic sdist", sdist_metadata("2.2", dynamic=True), {"H13": FAIL}),
    Case("metadata of an old sdist", sdist_metadata("2.1", dynamic=False), {"H13": FAIL}),
    Case("yanked without a value", stored(("delta.html", 'data-yanked="[^"]*"', "data-yanked")),
         {"H14": WARN, "H19": WARN}),
    Case("yanked in JSON only", stored(("delta.html", ' data-yanked="[^"]*"', "")), {"H14": FAIL, "J15": FAIL}),
    Case("relative provenance", stored(("beta.html", " data-size", ' data-provenance="/p" data-size')),
         {"H15": FAIL}),
    Case("signature on one of three", stored(("alpha.html", " data-size", ' data-gpg-sig="false" data-size')),
         {"H16": WARN}),
    Case("signature that is not there", both("beta", (" data-size", ' data-gpg-sig="true" data-size'),
                                             ('"size"', '"gpg-sig":true,"size"')), {"H16": WARN}),
    Case("status that nobody knows", stored(("beta.html", "<title>", '<meta name="pypi:project-status" '
                                             'content="tired"><title>')), {"H17": WARN}),
    Case("quarantined with a file", stored(("beta.html", "<title>", '<meta name="pypi:project-status" '
                                            'content="quarantined"><title>')), {"H17": FAIL}),
    Case("status before 1.4", stored(("beta.html", "<title>", '<meta name="pypi:project-status" '
                                      'content="archived"><title>'), ("beta.html", '"1.4"', '"1.3"')), {"H2": FAIL}),
    Case("upload on no day", stored(("beta.html", 'time="2024-01-02', 'time="2024-13-02')), {"H18": FAIL}),
    Case("size in words", stored(("beta.html", 'data-size="[0-9]+"', 'data-size="many"')), {"H18": FAIL}),
    Case("no sizes in HTML, and no JSON", together(
        stored(("beta.html", ' data-size="[0-9]+"', "")), without("index.v1_json")), {"U9": WARN, "H18": WARN}),
    Case("single quotes", stored(("beta.html", 'data-size="([0-9]+)"', r"data-size='\1'")), {"H19": WARN}),
    Case("two links on a line", stored(("alpha.html", "</a><br>\n<a", "</a><a")), {"H19": WARN}),
    Case("raw > in a value", stored(("alpha.html", "&gt;=3.8", ">=3.8")), {"H19": WARN}),
    Case("API of another major", stored(("alpha.json", '"1.4"', '"2.0"')), {"J1": FAIL}),
    Case("API version is a number", stored((".json", '"1.4"', "1.4")), {"J1": FAIL}),
    Case("no JSON", stored(("beta.json", "^.", "")), {"J1": FAIL}),
    Case("no versions", stored(("beta.json", '"versions":[^]]*],', "")), {"J1": FAIL}),
    Case("lists differ", stored((".json", r',\{"name":"gamma"\}', "")), {"J2": FAIL}),
    Case("list of words", stored((".json", r'\{"name":"gamma"\}', '"gamma"')), {"J2": FAIL}),
    Case("name of another spelling", stored(("alpha.json", '"name":"alpha"', '"name":"Alpha"')), {"J3": FAIL}),
    Case("files is no list", stored(("beta.json", r'"files":\[.*\]', '"files":{}')), {"J3": FAIL, "J15": FAIL}),
    Case("version missing", stored(("alpha.json", r'"versions":\["1.0"\]', '"versions":[]')), {"J4": FAIL}),
    Case("version twice", stored(("alpha.json", r'"versions":\["1.0"\]', '"versions":["1.0","1.0.0"]')),
         {"J4": FAIL}),
    Case("size is a text", stored(("beta.json", r'"size":(\d+)', r'"size":"\1"')), {"J5": FAIL}),
    Case("requires-python is a number", stored(("alpha.json", '"requires-python":">=3.8"', '"requires-python":3.8')),
         {"J5": FAIL, "J15": FAIL, "H9": WARN}),
    Case("gpg-sig is a word", stored(("beta.json", '"size"', '"gpg-sig":"yes","size"')), {"J5": FAIL}),
    Case("half a digest in JSON", stored(("beta.json", f'"sha256":"{HEX}"', '"sha256":"abc"')),
         {"J5": FAIL, "J15": FAIL, "F1": FAIL, "F3": FAIL}),
    Case("no hashes", stored(("beta.json", rf'"hashes":\{{"sha256":"{HEX}"\}},', "")),
         {"J5": FAIL, "J15": FAIL}),
    Case("other address", stored(("beta.json", r"(packages/[^\"]*)", r"\1?x")), {"J6": FAIL}),
    Case("metadata under the old key", stored(("delta.json", '"core-metadata"', '"dist-info-metadata"')),
         {"J7": FAIL}),
    Case("empty reason", stored(("beta.json", '"size"', '"yanked":"","size"')), {"J8": FAIL}),
    Case("upload at no time", stored(("beta.json", "2024-01-02T03:04:05Z", "2024-99-99T99:99:99Z")), {"J9": FAIL}),
    Case("time in another form", stored(("beta.json", "T03:04:05Z", " 03:04:05")), {"J9": FAIL}),
    Case("no time", stored(("beta.json", ',"upload-time":"[^"]*"', "")), {"J9": WARN}),
    Case("null time", stored(("beta.json", '"upload-time":"[^"]*"', '"upload-time":null')), {"J10": FAIL}),
    Case("null size", stored(("beta.json", r'"size":\d+', '"size":null')), {"J10": FAIL}),
    Case("blake2b", stored(("beta.json", '"sha256"', '"blake2b":"aa","sha256"')), {"J11": FAIL}),
    Case("sha512", stored(("beta.json", '"sha256"', '"sha512":"aa","sha256"')), {"J11": WARN}),
    Case("relative provenance in JSON", stored(("beta.json", '"size"', '"provenance":"/p","size"')), {"J12": FAIL}),
    Case("unknown status in JSON", stored(("beta.json", '"name"', '"project-status":{"status":"tired"},"name"')),
         {"J13": WARN}),
    Case("quarantined with a file in JSON", stored(
        ("beta.json", '"name"', '"project-status":{"status":"quarantined"},"name"')), {"J13": FAIL}),
    Case("unknown key", stored(("beta.json", '"size"', '"colour":"red","size"')), {"J14": WARN}),
    Case("forms differ", stored(("alpha.json", ">=3.8", ">=3.9")), {"H9": FAIL, "J15": FAIL}),
    Case("file altered", written(f"packages/{BETA}", lambda data: data[:-1] + b"?"), {"F1": FAIL}),
    Case("file cut short", written(f"packages/{BETA}", lambda data: data[:-1]), {"F1": FAIL}),
    Case("version that nobody can order", listed("alpha-dev.zip", copy_of=BETA), {"F2": WARN}),
    Case("dumb archive", listed("alpha-1.0.linux-x86_64.tar.gz", copy_of=BETA), {"F2": WARN}),
    Case("file of another project", listed("other-1.0.tar.gz", copy_of=BETA), {"F2": FAIL}),
    Case("filename with markup", stored(("beta.html", "packages/beta-1.0.tar", "packages/beta-1.0%3Cb%3E.tar"),
                                        ("beta.html", ">beta-1.0.tar", ">beta-1.0&lt;b&gt;.tar")),
         {"J15": FAIL, "F2": FAIL, "F4": FAIL}),
    Case("names differ in case", listed("Alpha-1.0.tar.gz", copy_of="alpha-1.0.tar.gz"), {"F3": FAIL}),
    Case("listed and not there", listed("alpha-1.0.zip"), {"F4": FAIL}),
    Case("pages change from request to request", ticking(), {"F5": FAIL}),
)  # fmt: skip


@pytest.mark.parametrize("case", BREACHES, ids=lambda case: case.name)
def test_each_breach_is_found_by_its_rows_and_by_no_other(case: Case, root: Path) -> None:
    with serve_mutant(root, case.mutant) as url:
        found = examine(url)
    assert breaches(found) == case.rows, [(verdict.check.id, verdict.evidence) for verdict in found.of(FAIL, WARN)]
    assert found.failed is (FAIL in case.rows.values())


def test_every_row_has_a_site_that_breaks_it() -> None:
    assert {check.id for check in CHECKS} == {row for case in BREACHES for row in case.rows}
    assert len({check.id for check in CHECKS}) == len(CHECKS)


def test_only_a_must_or_a_client_that_breaks_fails_a_run() -> None:
    ranks = {check.id: check.rank for check in CHECKS}
    failing = {row for case in BREACHES for row, outcome in case.rows.items() if outcome is FAIL}
    assert {ranks[row] for row in failing} == {Rank.MUST, Rank.REQUIRED}


def test_every_check_says_who_breaks_and_what_to_do() -> None:
    assert all(check.breaks and check.fix and check.asserts for check in CHECKS)


def test_our_own_site_passes_every_row(root: Path) -> None:
    with serve_mutant(root, None) as url:
        found = examine(url)
    assert breaches(found) == {}
    idle = {verdict.check.id for verdict in found.of(Outcome.NOT_APPLICABLE)}
    # Nothing of the kind is on it: attestations, signatures, statuses.
    assert idle == {"H15", "H16", "H17", "J12", "J13"}
    assert (found.listed, found.looked_at, found.files) == (4, 4, 6)


@pytest.mark.parametrize(
    ("row", "mutant"),
    [
        ("H13", sdist_metadata("2.2", dynamic=False)),
        ("H15", stored(("beta.html", " data-size", ' data-provenance="https://a.example/p" data-size'))),
        ("H16", stored(("beta.html", " data-size", ' data-gpg-sig="false" data-size'))),
        ("H17", stored(("beta.html", "<title>", '<meta name="pypi:project-status" content="archived"><title>'))),
        ("J12", stored(("beta.json", '"size"', '"provenance":"https://a.example/p","size"'))),
        ("J13", stored(("beta.json", '"name"', '"project-status":{"status":"archived"},"name"'))),
        ("J14", stored(("beta.json", '"size"', '"_colour":"red","size"'))),
        ("U15", headers(is_page, cache_control="no-cache")),
        ("U15", headers(is_page, cache_control="max-age=600, stale-while-revalidate=600", age="1200")),
        # As hosts do whose caches keep answers apart by Origin.
        ("U16", headers(lambda asked, _: "origin" not in asked.headers, access_control_allow_origin="")),
        ("U16", headers(lambda asked, _: "origin" in asked.headers, access_control_allow_origin=OTHER_SITE)),
        ("U4", answered(path_is("simple/alpha"), status(308))),
        (
            "U4",
            answered(
                path_is("simple/alpha"),
                lambda reply: replace(reply, body=gzip.compress(b"moved")).having(content_encoding="gzip"),
            ),
        ),
        *(
            ("F2", listed(f"alpha-1.0{suffix}", copy_of=BETA))
            for suffix in ("-py2.7.egg", ".win32-py2.7.exe", ".dmg", ".deb", "-1.noarch.rpm", ".msi", ".tar.Z")
        ),
    ],
)
def test_what_a_standard_allows_passes(row: str, mutant: Mutant, root: Path) -> None:
    with serve_mutant(root, mutant) as url:
        found = examine(url)
    assert (breaches(found), outcome(found, row)) == ({}, Outcome.PASS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_every_mutant_is_caught_by_the_rows_that_are_said_to(mutant: Mutant, root: Path) -> None:
    with serve_mutant(root, mutant) as url:
        found = examine(url)
    assert tuple(breaches(found)) == DOCTOR[mutant.name]


def test_a_required_project_that_the_list_does_not_name_is_noticed(tmp_path: Path) -> None:
    made = tmp_path / "made"
    paths = [make_wheel(made, "alpha", "1.0", requires=("beta>=1", 'gamma; python_version < "3"'))]
    site = make_site(tmp_path / "work", [*paths, make_sdist(made, "beta", "1.0")])
    site.publish(local(tmp_path / "root"))
    lacking = both("", ('<a href="beta/">beta</a><br>\n', ""), (r',\{"name":"beta"\}', ""))
    with serve_mutant(tmp_path / "root", None) as url:
        assert breaches(examine(url)) == {}
    with serve_mutant(tmp_path / "root", lacking) as url:
        found = examine(url)
    assert breaches(found) == {"U1": FAIL}
    assert "beta" in found.of(FAIL)[0].evidence[0].text


# Where the index is


@pytest.mark.parametrize("given", ["", "simple/", "simple", "#top"])
def test_an_index_is_found_by_its_base_or_its_list(given: str, root: Path) -> None:
    with serve_mutant(root, None) as url:
        found = examine(url + given)
    assert found.url == f"{url}simple/"
    assert breaches(found) == {}


def test_an_index_may_have_any_prefix_and_its_files_another_host(root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "root"
    shutil.copytree(root, tree)
    with ExitStack() as stack:
        files = stack.enter_context(served(root))
        for path in tree.glob("simple/*/index.*"):
            path.write_text(path.read_text().replace("../../packages/", f"{files}packages/"))
        shutil.rmtree(tree / "packages")
        app = Starlette(routes=[Mount("/deep/down", _SimpleOnly(application(tree)))])
        url = stack.enter_context(served(tree, app))
        found = examine(f"{url}deep/down/")
    assert found.url == f"{url}deep/down/"
    assert (breaches(found), found.files) == ({}, 6)


class _SimpleOnly:
    """The project list at the root of an application, as indexes have it that are nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = scope.get("root_path", "")
        path = scope["path"].removeprefix(prefix)
        await self._app({**scope, "path": f"{prefix}/simple{path}"}, receive, send)


def test_who_asks_is_told_to_the_host_and_to_nobody_else(root: Path) -> None:
    def locked(asked: Asked, reply: Reply) -> Reply:
        known = asked.headers.get("authorization") == "Basic dXNlcjpzZWNyZXQ="
        return reply if known else Reply(status=401, headers={"www-authenticate": "Basic"})

    with serve_mutant(root, Mutant(name="locked", answered=locked)) as url:
        found = examine(url.replace("://", "://user:secret@"))
        assert breaches(found) == {}
        assert "secret" not in json.dumps(found.to_json())
        assert "user" not in found.url
        with pytest.raises(RemoteError, match="401"):
            examine(url)


@pytest.mark.parametrize("address", ["ftp://mirror.example/", "mirror.example/simple", "https:///simple/"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(MirrorError, match="no address") as caught:
        examine(address)
    assert caught.value.exit_code == 2


def test_a_host_that_does_not_answer_and_one_without_an_index_are_errors(root: Path) -> None:
    with serve_mutant(root, answered(lambda *_: True, status(404))) as url, pytest.raises(RemoteError, match="404"):
        examine(url)
    with pytest.raises(RemoteError, match="does not answer"):
        examine(url)


def test_a_large_index_is_sampled_and_can_be_visited_whole(tmp_path: Path) -> None:
    made = tmp_path / "made"
    names = [f"project-{number:02}" for number in range(30)]
    site = make_site(tmp_path / "work", [make_wheel(made, name, "1.0") for name in names])
    site.publish(local(tmp_path / "root"))
    (tmp_path / f"root/packages/{names[17].replace('-', '_')}-1.0-py3-none-any.whl").unlink()
    with serve_mutant(tmp_path / "root", None) as url:
        some, everything = examine(url, sample=3), examine(url, sample=None)
    assert (some.listed, some.looked_at, breaches(some)) == (30, 3, {})
    assert (everything.looked_at, breaches(everything)) == (30, {"F4": FAIL})


def test_a_host_that_never_stops_redirecting_is_left(root: Path) -> None:
    around = answered(path_is("simple/beta/"), lambda _: Reply(status=302, headers={"location": "./"}))
    with serve_mutant(root, around) as url:
        found = examine(url)
    assert breaches(found) == {"U2": FAIL}
    assert "redirects" in found.of(FAIL)[0].evidence[0].text


# HTML


@pytest.mark.parametrize(
    "page",
    [
        "<html><head><title>x</title></head><body></body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body><a href=x>x</body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body><a href=x>x</a></a></body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body><a href=x><a href=y>y</a></a></body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body><a href=x href=y>x</a></body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body><h1>x</body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body></br></body></html>",
        "<!DOCTYPE html><html><head><title>x</title></head><body><a/></body></html>",
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"><html><head><title>x</title></head></html>',
    ],
)
def test_what_html5lib_refuses_is_refused(page: str) -> None:
    with pytest.raises(html5lib.html5parser.ParseError):
        html5lib.HTMLParser(strict=True).parse(page)
    assert read_page(page.encode()).problems


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><title>x</title><ul><li>one<li>two</ul><p>three<br/><a href=x>x</a>",
        "<!doctype html>\n<html><head><meta charset=utf-8><title>x</title></head><body><p>a<p>b</body></html>",
        '<!DOCTYPE html><title>x</title><a href="?a=1&amp;b=2">&lt;x&gt;</a><!-- no </a> here -->',
        "<!DOCTYPE html><title>x</title><svg><path d=x /></svg><table><tr><td>x</table>",
        "<!DOCTYPE html><title>x</title><svg><title>y</title><g><path d=x /></g></svg><svg/><p>x",
        "<!DOCTYPE html><title>x</title><p><textarea><b></textarea><script>'</p><a>'</script>",
    ],
)
def test_what_html5lib_accepts_is_accepted(page: str) -> None:
    html5lib.HTMLParser(strict=True).parse(page)
    assert read_page(page.encode()).problems == ()


# The command


def mirror(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mirror", "doctor", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=cwd,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_command_is_compact_when_all_is_well(root: Path, tmp_path: Path) -> None:
    with serve_mutant(root, None) as url:
        done = mirror(url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 failed, 0 warned" in done.stdout
    assert len(done.stdout.splitlines()) == 3


def test_the_command_shows_failures_first_and_ends_in_1(root: Path, tmp_path: Path) -> None:
    broken = together(stored(("beta.html", 'data-size="([0-9]+)"', r"data-size='\1'")), answered(nowhere, status(403)))
    with serve_mutant(root, broken) as url:
        done = mirror(url, cwd=tmp_path)
        told = mirror(url, "--json", cwd=tmp_path)
    assert done.returncode == told.returncode == 1
    first, second = done.stdout.index("fail U6 (R)"), done.stdout.index("warn H19 (R)")
    assert first < second < done.stdout.index("passed U1")
    for word in ("403 for uv", "no-such-project", "breaks:", "uv stops", "fix:", "s3:ListBucket"):
        assert word in done.stdout, word
    report = json.loads(told.stdout)
    assert (report["format"], report["verdict"], report["counts"]["fail"]) == (1, "fail", 1)
    assert {check["id"]: check["outcome"] for check in report["checks"]}["U6"] == "fail"
    assert all(bool(check["fix"]) is (check["outcome"] in ("warn", "fail")) for check in report["checks"])


def test_the_command_ends_in_3_when_nobody_answers_and_in_2_without_an_address(root: Path, tmp_path: Path) -> None:
    with serve_mutant(root, None) as url:
        pass
    assert mirror(url, cwd=tmp_path).returncode == 3
    assert mirror("ftp://mirror.example/", cwd=tmp_path).returncode == 2
