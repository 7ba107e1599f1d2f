"""No mutant of a published site survives: what catches each, over HTTP and in the store where it lies there."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mirror.clients.http import HttpClient
from mirror.credentials import Credentials
from mirror.downloads.configuration import Network
from mirror.phases.verify import verify
from mirror.phases.visit import visit
from mirror.progress import Silence
from mirror.web import Web
from tests.expected import expectations, locked, reasons
from tests.mutants import MUTANTS, VERIFY, Asked, Mutant, Reply, mutated, serve_mutant, subject
from tests.sites import local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mirror.coverage import Coverage
    from mirror.model import Manifest
    from mirror.stores.local import LocalStore
    from tests.sites import Site

CLEAN = {
    "alpha": ["covered"] * 2, "beta": ["sdist-only"] * 2, "delta": ["yanked"] * 2, "gamma": ["covered"] * 2,
}  # fmt: skip
KNOWING = (
    *("stale page behind a cache", "yank marker missing", "page lacks a file"),
    *("a project that nobody mirrored", "JSON names other versions"),
)
"""What no finding betrays to somebody who knows nothing but the lock; the last one makes a hole, though."""
BY_THE_HOST = {"`+` bare in links, a space to the host": {"missing", "not-published"}}
"""What follows from how the host reads an address, and is right in the store."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("subject")


@pytest.fixture(scope="module")
def site(folder: Path) -> Site:
    return subject(folder)


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient(Web(Network(retries=0, timeout=10), Credentials(), {}, connections=4))
    yield client
    client.close()


def look(
    site: Site, client: HttpClient, url: str, manifest: Manifest | None, store: LocalStore | None = None
) -> Coverage:
    return visit(expectations(locked(site)), client, url, Silence(), manifest=manifest, store=store, jobs=4)


def caught(coverage: Coverage) -> set[str]:
    """What a report says against the site: codes, and the reasons of the cells that changed."""
    cells = {
        str(cell.reason)
        for cell in coverage.cells
        if reasons(coverage)[cell.package] != CLEAN[cell.package] and str(cell.reason) not in CLEAN[cell.package]
    }
    return {finding.code for finding in coverage.findings} | cells


def test_every_mutant_is_named_once_and_in_the_table() -> None:
    assert [mutant.name for mutant in MUTANTS] == list(VERIFY)


def _packed(asked: Asked, reply: Reply) -> Reply:
    """Pages in two members of gzip, as a host packs what it streams (RFC 1952, 2.2)."""
    if not asked.path.startswith("simple/") or "gzip" not in asked.headers.get("accept-encoding", ""):
        return reply
    half = len(reply.body) // 2
    body = gzip.compress(reply.body[:half]) + gzip.compress(reply.body[half:])
    return replace(reply, body=body).having(content_encoding="gzip")


def _by_another_path(asked: Asked, reply: Reply) -> Reply:
    """Another spelling that takes two hops, and an address that names its port."""
    host = asked.headers["host"]
    if asked.path == "simple/Alpha/":
        return Reply(status=301, headers={"location": "/simple/alpha"})
    if asked.path == "simple/alpha":
        return Reply(status=301, headers={"location": f"http://{host}/simple/alpha/"})
    return reply.having(accept_ranges="bytes, bytes") if asked.path.startswith("packages/") else reply


GOOD = (
    Mutant(name="ours"),
    Mutant(name="html-only", ignored=("accept",)),
    Mutant(name="gzip", answered=_packed),
    Mutant(name="redirects", answered=_by_another_path),
    Mutant(name="bare-sockets", wired=True),
)


@pytest.mark.parametrize("knows", ["manifest", "lock-alone", "store", "manifest-and-store"])
@pytest.mark.parametrize("host", GOOD, ids=str)
def test_a_good_site_has_no_finding(folder: Path, site: Site, client: HttpClient, host: Mutant, knows: str) -> None:
    store = local(folder / "root") if "store" in knows else None
    with serve_mutant(folder / "root", host) as url:
        coverage = look(site, client, url, site.manifest if "manifest" in knows else None, store)
    assert coverage.findings == ()
    assert reasons(coverage) == CLEAN
    assert coverage.destination == url


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_none_survives_the_look_from_outside(folder: Path, site: Site, client: HttpClient, mutant: Mutant) -> None:
    with serve_mutant(folder / "root", mutant) as url:
        coverage = look(site, client, url, site.manifest)
    assert caught(coverage) >= set(VERIFY[mutant.name])
    assert not coverage.to_json()["verified"]
    assert all(finding.message and finding.key for finding in coverage.findings)
    assert all(cell.detail for cell in coverage.failures())


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.name not in KNOWING], ids=str)
def test_without_the_manifest_the_lock_is_enough(folder: Path, site: Site, client: HttpClient, mutant: Mutant) -> None:
    with serve_mutant(folder / "root", mutant) as url:
        coverage = look(site, client, url, None)
    assert caught(coverage) >= set(VERIFY[mutant.name]) - {"page-disagrees"}
    assert not coverage.to_json()["verified"]


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if mutant.stored], ids=str)
def test_none_survives_in_the_store(folder: Path, site: Site, tmp_path: Path, mutant: Mutant) -> None:
    root = mutated(folder / "root", tmp_path / "root", mutant)
    coverage = verify(expectations(locked(site)), local(root), Silence(), manifest=site.manifest, rehash=True)
    # What is told apart only by reading the wheel's own METADATA is told by the release and the manifest there.
    assert caught(coverage) >= set(VERIFY[mutant.name]) - {"metadata-differs"} - BY_THE_HOST.get(mutant.name, set())
    assert not coverage.to_json()["verified"]
