from __future__ import annotations

import hashlib
import html
import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from mirror.compare import Fingerprint
from mirror.coverage import Coverage, Expectation, Finding, parse_policy
from mirror.errors import MirrorError, RemoteError
from mirror.files import DigestCache, hash_file
from mirror.layout import POINTER, release_key
from mirror.model import HOLES, Cell, Digest, LockedFile, Reason
from mirror.phases.verify import verify
from mirror.progress import Silence
from mirror.release import Pointer, current
from mirror.stores.local import LocalStore
from tests.expected import expectations, locked, reasons
from tests.sites import Site, local, make_site, tree, visible
from tests.store_suite import put
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINUX = "alpha-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"
ANY = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.0.tar.gz"
GAMMA = "gamma-1.0+local.1-py3-none-any.whl"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """alpha with a wheel for Linux and one for all, beta with an sdist only, gamma with a yanked local version."""
    made = tmp_path / "made"
    paths = [
        make_wheel(made, "alpha", "1.0", "cp311-cp311-manylinux_2_17_x86_64", requires_python=">=3.8"),
        make_wheel(made, "alpha", "1.0", requires_python=">=3.8"),
        make_sdist(made, "alpha", "1.0"),
        make_sdist(made, "beta", "1.0"),
        make_wheel(made, "gamma", "1.0+local.1"),
    ]
    return make_site(tmp_path / "work", paths, yanked={GAMMA: "broken <build>"})


@pytest.fixture
def root(tmp_path: Path, site: Site) -> Path:
    site.publish(local(tmp_path / "site"))
    # A copy, not hard links: what a mutant breaks is the destination alone.
    for path in (tmp_path / "site/packages").iterdir():
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    return tmp_path / "site"


def check(root: Path, site: Site, *, rehash: bool = False, trusting: bool = False) -> Coverage:
    manifest = None if trusting else site.manifest
    return verify(expectations(locked(site)), local(root), Silence(), manifest=manifest, rehash=rehash, jobs=2)


CLEAN = {"alpha": ["covered"] * 2, "beta": ["sdist-only"] * 2, "gamma": ["yanked"] * 2}


def test_a_good_site(root: Path, site: Site) -> None:
    coverage = check(root, site)
    assert coverage.findings == ()
    assert reasons(coverage) == CLEAN
    chosen = {(str(cell.package), cell.target): cell.filename for cell in coverage.cells}
    assert chosen["alpha", "linux-x86_64"] == LINUX
    assert chosen["alpha", "macos-arm64"] == ANY
    assert chosen["beta", "macos-arm64"] == BETA
    assert next(cell.detail for cell in coverage.cells if cell.package == "gamma") == "broken <build>"
    assert coverage.failures() == ()
    before = visible(root)
    check(root, site, rehash=True)
    assert visible(root) == before, "verify reads only"


# Mutants: break a published site in one way each. None may survive.


def edit(key: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace in a page, by regular expression."""

    def act(root: Path) -> None:
        text = (root / key).read_text()
        changed = re.sub(old, new, text, flags=re.DOTALL)
        assert changed != text, "this mutant breaks nothing"
        (root / key).write_text(changed)

    return act


def edit_both(name: str, html: tuple[str, str], as_json: tuple[str, str]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        edit(f"simple/{name}/index.html", *html)(root)
        edit(f"simple/{name}/index.v1_json", *as_json)(root)

    return act


def write(key: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        data = (root / key).read_bytes()
        assert change(data) != data
        (root / key).write_bytes(change(data))

    return act


def unlink(*keys: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        for key in keys:
            (root / key).unlink()

    return act


def flip(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def anchor(filename: str) -> str:
    return rf'<a href="[^"]*{re.escape(filename.replace("+", "%2B"))}#.*?</a><br>\n'


def entry(filename: str) -> str:
    return rf'\{{"filename":"{re.escape(filename)}".*?"upload-time":"[^"]*"\}}'


ZEROS = "0" * 64
GHOST_LINK = f'<a href="../../packages/alpha-1.1.tar.gz#sha256={ZEROS}">alpha-1.1.tar.gz</a><br>\n</body>'
GHOST_JSON = (
    '{"filename":"alpha-1.1.tar.gz","url":"../../packages/alpha-1.1.tar.gz","size":1,'
    f'"hashes":{{"sha256":"{ZEROS}"}}}}]}}'
)
PAGE, JSON_PAGE = "simple/gamma/index.html", "simple/gamma/index.v1_json"
ALPHA, JSON_ALPHA = "simple/alpha/index.html", "simple/alpha/index.v1_json"
UNPUBLISHED = {"gamma": ["not-published"] * 2}
MISMATCH = {"gamma": ["digest-mismatch"] * 2}

MUTANTS = {
    "file deleted": (unlink(f"packages/{GAMMA}"), {("missing", f"packages/{GAMMA}")}, UNPUBLISHED),
    "file truncated": (
        write(f"packages/{GAMMA}", lambda data: data[:-1]),
        {("altered", f"packages/{GAMMA}")},
        MISMATCH,
    ),
    "file empty": (write(f"packages/{GAMMA}", lambda _: b""), {("altered", f"packages/{GAMMA}")}, MISMATCH),
    "one byte flipped": (write(f"packages/{GAMMA}", flip), {("altered", f"packages/{GAMMA}")}, MISMATCH),
    "sdist deleted": (
        unlink(f"packages/{BETA}"),
        {("missing", f"packages/{BETA}")},
        {"beta": ["not-published"] * 2},
    ),
    "better wheel broken": (
        write(f"packages/{LINUX}", flip),
        {("altered", f"packages/{LINUX}")},
        {"alpha": ["digest-mismatch", "covered"]},
    ),
    "page lacks a file": (
        edit_both("gamma", (anchor(GAMMA), ""), (entry(GAMMA), "")),
        {("page-disagrees", PAGE), ("page-disagrees", JSON_PAGE)},
        UNPUBLISHED,
    ),
    "page lacks the better wheel": (
        edit_both("alpha", (anchor(LINUX), ""), (entry(LINUX) + ",", "")),
        {("page-disagrees", ALPHA), ("page-disagrees", JSON_ALPHA)},
        {"alpha": ["covered", "covered"]},
    ),
    "page lacks the sdist": (
        edit_both("beta", (anchor(BETA), ""), (entry(BETA), "")),
        {("page-disagrees", "simple/beta/index.html")},
        {"beta": ["not-published"] * 2},
    ),
    "HTML lacks a file": (edit(PAGE, anchor(GAMMA), ""), {("forms-disagree", JSON_PAGE)}, UNPUBLISHED),
    "JSON lacks a file": (edit(JSON_PAGE, entry(GAMMA), ""), {("forms-disagree", JSON_PAGE)}, UNPUBLISHED),
    "page lists what is not there": (
        edit_both("alpha", ("</body>", GHOST_LINK), (r"\]\}\n$", f",{GHOST_JSON}\n")),
        {("missing", "packages/alpha-1.1.tar.gz"), ("page-disagrees", ALPHA)},
        CLEAN,
    ),
    "JSON has another requires-python": (
        edit(JSON_ALPHA, '">=3.8"', '">=3.9"'),
        {("forms-disagree", JSON_ALPHA), ("page-disagrees", JSON_ALPHA)},
        CLEAN,
    ),
    "both have another requires-python": (
        edit_both("alpha", ("&gt;=3.8", "&gt;=3.9"), (">=3.8", ">=3.9")),
        {("page-disagrees", ALPHA), ("page-disagrees", JSON_ALPHA)},
        CLEAN,
    ),
    "both have another upload time": (
        edit_both("gamma", ("2024-01-02", "2024-01-03"), ("2024-01-02", "2024-01-03")),
        {("page-disagrees", PAGE), ("page-disagrees", JSON_PAGE)},
        CLEAN,
    ),
    "JSON has another size": (
        edit(JSON_PAGE, r'"size":\d+', '"size":1'),
        {("forms-disagree", JSON_PAGE), ("altered", f"packages/{GAMMA}")},
        CLEAN,
    ),
    "yank marker removed": (
        edit_both("gamma", (r' data-yanked="[^"]*"', ""), (r'"yanked":"[^"]*",', "")),
        {("page-disagrees", PAGE), ("page-disagrees", JSON_PAGE)},
        {"gamma": ["covered"] * 2},
    ),
    "yank marker removed from HTML": (
        edit(PAGE, r' data-yanked="[^"]*"', ""),
        {("forms-disagree", JSON_PAGE), ("page-disagrees", PAGE)},
        CLEAN,
    ),
    "yank reason changed": (
        edit_both("gamma", ("broken", "mended"), ("broken", "mended")),
        {("page-disagrees", PAGE), ("page-disagrees", JSON_PAGE)},
        CLEAN,
    ),
    "yank marker added": (
        edit(JSON_ALPHA, '"size"', '"yanked":true,"size"'),
        {("forms-disagree", JSON_ALPHA), ("page-disagrees", JSON_ALPHA)},
        {"alpha": ["yanked"] * 2},
    ),
    "digest in the href changed": (
        edit(PAGE, r"#sha256=\w{64}", f"#sha256={ZEROS}"),
        {("forms-disagree", JSON_PAGE), ("altered", f"packages/{GAMMA}")},
        MISMATCH,
    ),
    "digest in both forms changed": (
        edit_both(
            "gamma",
            (r"#sha256=\w{64}", f"#sha256={ZEROS}"),
            (r'hashes":\{"sha256":"\w{64}', f'hashes":{{"sha256":"{ZEROS}'),
        ),
        {("altered", f"packages/{GAMMA}"), ("page-disagrees", PAGE)},
        MISMATCH,
    ),
    "digest in the href dropped": (
        edit(PAGE, r"#sha256=\w{64}", ""),
        {("forms-disagree", JSON_PAGE), ("altered", f"packages/{GAMMA}")},
        MISMATCH,
    ),
    "href leads elsewhere": (
        edit(PAGE, r'href="../../packages/', 'href="../../pakages/'),
        {("wrong-link", PAGE)},
        CLEAN,
    ),
    "metadata of another version": (
        write(f"packages/{GAMMA}.metadata", lambda data: data.replace(b"Version: 1.0", b"Version: 2.0")),
        {("altered", f"packages/{GAMMA}.metadata")},
        CLEAN,
    ),
    "metadata deleted": (
        unlink(f"packages/{GAMMA}.metadata"),
        {("missing", f"packages/{GAMMA}.metadata")},
        CLEAN,
    ),
    "metadata no longer offered": (
        edit_both(
            "gamma",
            (r' data-core-metadata="[^"]*"', ""),
            (r'"core-metadata":\{"sha256":"\w+"\},', ""),
        ),
        {("page-disagrees", PAGE), ("page-disagrees", JSON_PAGE)},
        CLEAN,
    ),
    "project missing from the HTML list": (
        edit("simple/index.html", r'<a href="gamma/">gamma</a><br>\n', ""),
        {("list-disagrees", "simple/index.html")},
        CLEAN,
    ),
    "project missing from the JSON list": (
        edit("simple/index.v1_json", r',\{"name":"gamma"\}', ""),
        {("list-disagrees", "simple/index.v1_json")},
        CLEAN,
    ),
    "list names a project without pages": (
        edit("simple/index.html", r"</body>", '<a href="ghost/">ghost</a><br>\n</body>'),
        {("list-disagrees", "simple/index.html")},
        CLEAN,
    ),
    "list deleted": (unlink("simple/index.v1_json"), {("missing", "simple/index.v1_json")}, CLEAN),
    "HTML page deleted": (unlink(PAGE), {("missing", PAGE)}, UNPUBLISHED),
    "JSON page deleted": (unlink(JSON_PAGE), {("missing", JSON_PAGE)}, UNPUBLISHED),
    "project deleted": (
        unlink(PAGE, JSON_PAGE),
        {("missing", PAGE), ("missing", JSON_PAGE), ("list-disagrees", "simple/index.html")},
        UNPUBLISHED,
    ),
    "JSON page cut short": (
        write(JSON_PAGE, lambda data: data[:-20]),
        {("unreadable-page", JSON_PAGE)},
        UNPUBLISHED,
    ),
    "page of another project": (
        edit(JSON_PAGE, '"name":"gamma"', '"name":"beta"'),
        {("unreadable-page", JSON_PAGE)},
        UNPUBLISHED,
    ),
    "status added": (
        edit(JSON_PAGE, '"name":"gamma"', '"project-status":{"status":"archived"},"name":"gamma"'),
        {("forms-disagree", JSON_PAGE), ("page-disagrees", JSON_PAGE)},
        CLEAN,
    ),
}

# These are seen because the release records every byte; a forged release would have to be signed to be noticed.
RECORDED = {
    "front page changed": (write("index.html", lambda data: data + b"<!-- -->"), {("altered", "index.html")}, CLEAN),
    "front page deleted": (unlink("index.html"), {("missing", "index.html")}, CLEAN),
    "page for people changed": (
        write("projects/beta.html", lambda data: data.replace(b"beta", b"bete")),
        {("altered", "projects/beta.html")},
        CLEAN,
    ),
    "page for people deleted": (unlink("projects/beta.html"), {("missing", "projects/beta.html")}, CLEAN),
    "stranger's page for people": (
        lambda root: put(local(root), "projects/aaa.html", b"<!DOCTYPE html>") and None,
        {("unknown-page", "projects/aaa.html")},
        CLEAN,
    ),
    "release manifest altered": (
        lambda root: write(current_key(root), lambda data: data + b" ")(root),
        {("no-release", POINTER)},
        CLEAN,
    ),
    "release manifest deleted": (lambda root: unlink(current_key(root))(root), {("no-release", POINTER)}, CLEAN),
    "pointer deleted": (unlink(POINTER), {("no-release", POINTER)}, CLEAN),
    "stranger's page": (
        lambda root: put(local(root), "simple/aaa/index.html", b"<!DOCTYPE html>") and None,
        {("unknown-page", "simple/aaa/index.html"), ("missing", "simple/aaa/index.v1_json")},
        CLEAN,
    ),
}


def current_key(root: Path) -> str:
    found = current(local(root).read, "site")
    assert found is not None
    return release_key(found.release.id)


def forge(root: Path) -> None:
    """Make the release record whatever lies there now."""
    found = current(local(root).read, "site")
    assert found is not None
    objects = {
        key: Fingerprint(hashlib.sha256(data).hexdigest(), len(data))
        for key, data in tree(root).items()
        if not key.startswith(".mirror/")
    }
    release = replace(found.release, objects=objects)
    put(local(root), release_key(release.id), release.data)
    put(local(root), POINTER, Pointer.to(release).data)


def assert_caught(coverage: Coverage, findings: set[tuple[str, str]], cells: dict[str, list[str]]) -> None:
    found = {(finding.code, finding.key) for finding in coverage.findings}
    assert findings <= found
    assert reasons(coverage) == {**CLEAN, **cells}
    holes = [cell for cell in coverage.cells if cell.reason in HOLES]
    assert list(coverage.failures()) == holes
    assert all(cell.detail for cell in holes)
    assert not coverage.to_json()["verified"]


@pytest.mark.parametrize("mutant", [*MUTANTS, *RECORDED])
def test_no_mutant_survives(root: Path, site: Site, mutant: str) -> None:
    act, findings, cells = {**MUTANTS, **RECORDED}[mutant]
    act(root)
    assert_caught(check(root, site), findings, cells)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_no_mutant_survives_with_a_forged_release(root: Path, site: Site, mutant: str) -> None:
    act, findings, cells = MUTANTS[mutant]
    act(root)
    forge(root)
    coverage = check(root, site)
    assert_caught(coverage, findings, cells)
    assert not any(finding.code == "no-release" for finding in coverage.findings)


def test_a_flipped_byte_behind_the_old_size_and_time_is_found_by_rehash_only(root: Path, site: Site) -> None:
    """What a store knows of an unchanged file is trusted, unless told otherwise."""
    store = LocalStore(root, DigestCache())

    def judge(*, rehash: bool) -> Coverage:
        return verify(expectations(locked(site)), store, Silence(), manifest=site.manifest, rehash=rehash)

    assert judge(rehash=False).findings == ()
    path = root / "packages" / GAMMA
    before = path.stat()
    path.write_bytes(flip(path.read_bytes()))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert judge(rehash=False).findings == ()
    assert reasons(judge(rehash=True))["gamma"] == ["digest-mismatch"] * 2


def test_another_build_published_consistently_is_found_by_the_lock_alone(tmp_path: Path, site: Site) -> None:
    """One chain from the lock to the stored bytes (rule 1): pages, manifest and release all agree, and are wrong."""
    made = tmp_path / "other" / "made"
    wheel = make_wheel(made, "gamma", "1.0+local.1", files={"gamma.py": b"evil = True\n"})
    others = [path for path in (tmp_path / "made").iterdir() if path.name != wheel.name]
    other = make_site(tmp_path / "other", [wheel, *others])
    other.publish(local(tmp_path / "site"))
    coverage = verify(expectations(locked(site)), local(tmp_path / "site"), Silence(), manifest=other.manifest)
    assert coverage.findings == ()
    assert reasons(coverage) == {**CLEAN, **MISMATCH}
    assert "the lock pins sha256:" in coverage.failures()[0].detail


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_locks_with_other_digests_are_proven_too(root: Path, site: Site, algorithm: str) -> None:
    asked = expectations(locked(site, algorithm))
    assert reasons(verify(asked, local(root), Silence(), manifest=site.manifest)) == CLEAN
    write(f"packages/{GAMMA}", flip)(root)
    forge(root)
    assert reasons(verify(asked, local(root), Silence())) == {**CLEAN, **MISMATCH}


def test_without_a_manifest_the_rest_is_still_proven(root: Path, site: Site) -> None:
    assert check(root, site, trusting=True).findings == ()
    edit(PAGE, "#sha256=.", "#sha256=")(root)
    assert {finding.code for finding in check(root, site, trusting=True).findings} >= {"forms-disagree", "altered"}


def test_nothing_published_yet(tmp_path: Path, site: Site) -> None:
    coverage = check(tmp_path / "nowhere", site)
    assert not (tmp_path / "nowhere").exists()
    assert ("no-release", POINTER) in {(finding.code, finding.key) for finding in coverage.findings}
    assert coverage.release == ""
    assert reasons(coverage)["alpha"] == ["not-published"] * 2
    assert coverage.percent == 0


def test_a_store_that_does_not_answer_is_no_finding(tmp_path: Path, site: Site) -> None:
    (tmp_path / "file").write_bytes(b"no directory")
    with pytest.raises(RemoteError):
        check(tmp_path / "file", site)


def test_artifacts_that_wait_for_prune_are_no_finding(root: Path, site: Site) -> None:
    put(local(root), "packages/alpha-0.9.tar.gz", b"of a former release")
    assert check(root, site).findings == ()


# Cells


def judge_one(root: Path, **changes: object) -> Cell:
    wheel = root / "packages" / ANY
    file = LockedFile(ANY, Digest("sha256", hashlib.sha256(wheel.read_bytes()).hexdigest()))
    expectation = Expectation(
        lock="poetry.lock",
        package=canonicalize_name("alpha"),
        version="1.0",
        target="linux-x86_64",
        python="3.11",
        candidates=(file,),
    )
    expectation = replace(expectation, **changes)  # type: ignore[arg-type]
    return verify([expectation], local(root), Silence()).cells[0]


ABSENT = LockedFile("alpha-1.0-cp311-cp311-win_amd64.whl", Digest("sha256", "0" * 64))
NO_SDIST = LockedFile("alpha-1.0.zip", Digest("sha256", "0" * 64))


@pytest.mark.parametrize("verdict", [Reason.EXCLUDED_BY_MARKER, Reason.EXCLUDED_BY_PYTHON, Reason.DIRECT])
def test_what_is_settled_stays_settled(root: Path, verdict: Reason) -> None:
    cell = judge_one(root, verdict=verdict, detail="said before")
    assert (cell.reason, cell.filename, cell.detail) == (verdict, "", "said before")


def test_a_second_choice_covers_and_says_so(root: Path) -> None:
    good = LockedFile(ANY, Digest("sha256", hashlib.sha256((root / "packages" / ANY).read_bytes()).hexdigest()))
    cell = judge_one(root, candidates=(ABSENT, good))
    assert (cell.reason, cell.filename) == (Reason.COVERED, ANY)
    assert cell.detail == f"choice 2, for {ABSENT.filename} is not published"


@pytest.mark.parametrize("stated", [">=4", "<3.11", ">3.11.99"])
def test_a_file_that_the_page_keeps_from_this_python_is_no_choice(root: Path, stated: str) -> None:
    """Installers pass over it and take the next one (PEP 345)."""
    for key, old, new in (
        ("simple/alpha/index.html", rf"(data-requires-python=)[^ ]*([^>]*>{ANY})", rf'\1"{html.escape(stated)}"\2'),
        ("simple/alpha/index.v1_json", rf'("{ANY}".*?"requires-python":)"[^"]*"', rf'\1"{stated}"'),
    ):
        edit(key, old, new)(root)
    files = [LockedFile(name, Digest("sha256", hash_file(root / "packages" / name))) for name in (ANY, LINUX)]
    cell = judge_one(root, candidates=tuple(files))
    assert (cell.reason, cell.filename) == (Reason.COVERED, LINUX)
    cell = judge_one(root, candidates=(files[0],))
    assert cell.reason is Reason.NOT_PUBLISHED
    assert stated in cell.detail


def test_a_page_is_not_held_against_a_manifest_of_other_locks(root: Path, site: Site) -> None:
    """As after a rollback: the manifest here is of what was published then."""
    manifest = replace(site.manifest, artifacts=site.manifest.artifacts[1:], locks=("sha256:" + "1" * 64,))
    asked = expectations(locked(site))
    assert verify(asked, local(root), Silence(), manifest=manifest).findings == ()
    same_locks = replace(manifest, locks=site.manifest.locks)
    assert verify(asked, local(root), Silence(), manifest=same_locks).findings != ()


@pytest.mark.parametrize("reason", sorted(HOLES))
def test_what_the_earlier_phases_know_of_a_hole(root: Path, reason: Reason) -> None:
    cell = judge_one(root, candidates=(ABSENT,), fallback=reason, detail="the index said 404")
    assert (cell.reason, cell.detail) == (reason, "the index said 404")


def test_an_sdist_does_not_make_up_for_a_wheel_that_should_be_there(root: Path) -> None:
    sdist = root / "packages/alpha-1.0.tar.gz"
    file = LockedFile(sdist.name, Digest("sha256", hashlib.sha256(sdist.read_bytes()).hexdigest()))
    cell = judge_one(root, candidates=(ABSENT,), sdists=(file,), fallback=Reason.SDIST_ONLY)
    assert cell.reason is Reason.NOT_PUBLISHED
    cell = judge_one(root, candidates=(), sdists=(file,), fallback=Reason.NO_WHEEL)
    assert (cell.reason, cell.filename) == (Reason.SDIST_ONLY, sdist.name)


def test_a_release_without_any_file_for_the_environment(root: Path) -> None:
    assert judge_one(root, candidates=(), fallback=Reason.NO_WHEEL).reason is Reason.NO_WHEEL
    cell = judge_one(root, candidates=(), sdists=(NO_SDIST,), fallback=Reason.SDIST_ONLY, detail="sdists: never")
    assert (cell.reason, cell.filename, cell.detail) == (Reason.SDIST_ONLY, "", "sdists: never")


def test_a_file_of_another_project_covers_nothing(root: Path) -> None:
    assert judge_one(root, package=canonicalize_name("beta")).reason is Reason.NOT_PUBLISHED


# The report


def test_rows_count_each_file_and_cell_once(root: Path, site: Site) -> None:
    coverage = check(root, site)
    rows = {row.target: row for row in coverage.rows}
    assert list(rows) == ["linux-x86_64", "macos-arm64", "noarch"]
    linux, macos, noarch = rows.values()
    assert (linux.cells, linux.covered, linux.yanked, linux.sdist_only, linux.holes) == (3, 2, 1, 1, 0)
    assert (linux.files, linux.size) == (1, (root / "packages" / LINUX).stat().st_size)
    assert (macos.files, macos.size) == (0, 0), "all of its files are for every platform"
    assert (noarch.cells, noarch.covered, noarch.sdist_only, noarch.files) == (3, 2, 1, 3)
    assert noarch.size == sum((root / "packages" / name).stat().st_size for name in (ANY, BETA, GAMMA))
    assert coverage.total.files == 4
    assert coverage.total.size == linux.size + noarch.size
    assert round(coverage.percent, 1) == 66.7


def test_the_report_as_json(root: Path, site: Site) -> None:
    unlink(f"packages/{GAMMA}")(root)
    coverage = check(root, site)
    report = json.loads(json.dumps(coverage.to_json(frozenset({Reason.NOT_PUBLISHED}))))
    assert report["format"] == 1
    assert report["percent"] == 33.3
    assert report["verified"] is False
    assert report["policy"] == ["not-published"]
    assert [cell["package"] for cell in report["failures"]] == ["gamma", "gamma"]
    assert report["findings"][0]["code"] == "missing"
    assert [row["target"] for row in report["targets"]] == ["linux-x86_64", "macos-arm64", "noarch"]
    assert report["cells"] == sorted(
        report["cells"], key=lambda cell: [cell[name] for name in ("lock", "package", "version", "target", "python")]
    )
    assert set(report["cells"][0]) == {"lock", "package", "version", "target", "python", "reason", "filename", "detail"}
    again = check(root, site)
    assert json.dumps(again.to_json()) == json.dumps(coverage.to_json())
    assert "1 finding on the site" in coverage.summary
    assert "2 holes" in coverage.summary


def test_nothing_that_lacks_a_cell_is_called_complete() -> None:
    cells = [
        Cell(
            lock="l", package=canonicalize_name(f"p{number}"), version="1", target="linux-x86_64", python="3.11",
            reason=Reason.COVERED if number else Reason.NO_WHEEL,
        )
        for number in range(5000)
    ]  # fmt: skip
    coverage = Coverage(destination="d", release="r", cells=tuple(cells), findings=(), sizes={})
    assert coverage.to_json()["percent"] == 99.9
    assert "(99.9 %)" in coverage.summary


def test_where_nothing_is_published_that_is_the_only_finding(tmp_path: Path, site: Site) -> None:
    coverage = check(tmp_path / "empty", site)
    assert [finding.code for finding in coverage.findings] == ["no-release"]
    assert not coverage.published
    assert {cell.reason for cell in coverage.failures()} == {Reason.NOT_PUBLISHED}


def test_no_cells_at_all() -> None:
    coverage = Coverage(destination="d", release="", cells=(), findings=(Finding("no-release", "", "x"),), sizes={})
    assert coverage.rows == ()
    assert coverage.percent == 100
    assert coverage.to_json()["verified"] is False


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no-wheel,not-offered", {Reason.NO_WHEEL, Reason.NOT_OFFERED}),
        (" yanked , sdist-only,direct", {Reason.YANKED, Reason.SDIST_ONLY, Reason.DIRECT}),
        ("", set()),
        ("none", set()),
        (",".join(sorted(HOLES)), HOLES),
    ],
)
def test_a_policy_is_read(text: str, policy: set[Reason]) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize("text", ["covered", "excluded-by-marker", "no_wheel", "no-wheel,typo"])
def test_a_policy_with_a_wrong_word(text: str) -> None:
    with pytest.raises(MirrorError, match="no reason to fail on") as caught:
        parse_policy(text)
    assert "no-wheel" in caught.value.hint
    assert caught.value.exit_code == 2
