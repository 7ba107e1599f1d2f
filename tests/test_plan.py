"""Plan: one file for each package and environment, or the reason why there is none."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.utils import NormalizedName, canonicalize_name

from mirror import selection
from mirror.errors import IntegrityError, RemoteError
from mirror.model import (
    Cell,
    Digest,
    Level,
    LockedFile,
    Origin,
    Plan,
    ProjectStatus,
    Reason,
    Scope,
    Source,
    SourceKind,
    TargetCoverage,
)
from mirror.phases.plan import plan
from mirror.progress import Silence
from mirror.selection import SdistPolicy
from mirror.simple.page import PageFile
from mirror.state import State
from mirror.targets import KNOWN_PYTHONS, TARGETS, Baseline
from mirror.upstream.base import Offer

from .locked import ListedLock, digest, package

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mirror.model import LockedPackage
    from mirror.progress import Progress
    from mirror.upstream.base import Upstream, Want

INDEX = "https://index.example/simple"
CORP = "https://corp.example/simple"


def offered(filename: str, *, of: str | None = "a", url: str = "", **facts: str | int | None) -> PageFile:
    """Describe a file as a page of `INDEX` lists it, with the digest made of the letter `of`, or with none."""
    page_file = PageFile(filename=filename, url=url or f"https://files.example/{filename}")
    return replace(page_file, digests=(digest(of),) if of else (), **facts)  # type: ignore[arg-type]


@dataclass
class Pages:
    """An upstream with its pages in memory; it joins them with what is wanted, by filename and digest."""

    pages: Mapping[str, tuple[PageFile, ...]] = field(default_factory=dict)
    """By project: what the index offers."""
    corp: Mapping[str, tuple[PageFile, ...]] = field(default_factory=dict)
    """The same for `CORP`."""
    statuses: Mapping[str, ProjectStatus] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()
    """Projects whose page only pip may read."""
    asked: list[Want] = field(default_factory=list)

    def read(self, wants: Sequence[Want], progress: Progress) -> Mapping[tuple[NormalizedName, str], Offer]:
        """Answer every want."""
        self.asked += wants
        return {(want.project, want.index): self._answer(want) for want in wants}

    def _answer(self, want: Want) -> Offer:
        if want.project in self.problems:
            return Offer(problem=self.problems[want.project])
        if want.project in self.refused:
            return Offer(by_name=True)
        page = (self.corp if want.index == CORP else self.pages).get(want.project, ())
        listed = {file.filename: file for file in page}
        files: dict[str, PageFile] = {}
        mismatched: dict[str, Digest] = {}
        for locked in want.files:
            found = listed.get(locked.filename)
            stated = (
                next((item for item in found.digests if item.algorithm == locked.digest.algorithm), None)
                if found
                else None
            )
            if found is not None and stated in (None, locked.digest):
                files[locked.filename] = found
            elif stated is not None:
                mismatched[locked.filename] = stated
        return Offer(
            files=files,
            indexes=dict.fromkeys(files, want.index or INDEX),
            mismatched=mismatched,
            status=self.statuses.get(want.project, ProjectStatus()),
        )


def make(
    *locks: ListedLock,
    upstream: Upstream,
    targets: tuple[str, ...] = ("linux-x86_64",),
    pythons: tuple[str, ...] = ("3.11",),
    held: frozenset[str] = frozenset(),
    sdists: SdistPolicy = SdistPolicy.FALLBACK,
) -> Plan:
    """Select from the locks, and plan."""
    platforms = [TARGETS[name] for name in targets]
    selections = [
        answer
        for lock in locks
        for answer in selection.select(lock, selection.environments(lock, platforms, pythons, Baseline()), Scope())
    ]
    return plan(selections, upstream, held, Silence(), sdists=sdists)


def one(planned: Plan) -> Cell:
    (cell,) = planned.cells
    return cell


WHEEL = "foo-1.0-py3-none-any.whl"
NATIVE = "foo-1.0-cp311-cp311-manylinux2014_x86_64.whl"
SDIST = "foo-1.0.tar.gz"
FOO = ListedLock(packages=(package("foo", "1.0", WHEEL, SDIST),))
EVERYTHING = Pages({"foo": (offered(WHEEL), offered(NATIVE), offered(SDIST))})


# --- what is chosen -----------------------------------------------------------------------------


def test_a_locked_and_offered_wheel_is_covered() -> None:
    facts = offered(WHEEL, size=7, upload_time="2024-01-02T03:04:05Z", requires_python=">=3.8")
    planned = make(FOO, upstream=Pages({"foo": (facts,)}))
    (file,) = planned.files
    assert (file.filename, file.project, file.version, file.digest) == (WHEEL, "foo", "1.0", digest())
    assert (file.url, file.index) == (f"https://files.example/{WHEEL}", INDEX)
    assert (file.size, file.upload_time, file.requires_python) == (7, "2024-01-02T03:04:05Z", ">=3.8")
    assert (file.home, file.python, file.yanked) == ("noarch", "3.11", None)
    assert one(planned) == Cell(
        lock="poetry.lock",
        package=canonicalize_name("foo"),
        version="1.0",
        target="linux-x86_64",
        python="3.11",
        reason=Reason.COVERED,
        filename=WHEEL,
    )
    assert not planned.notices
    assert not planned.statuses
    assert planned.locks == (FOO.digest,)


def test_the_best_wheel_that_can_be_had_is_chosen() -> None:
    lock = ListedLock(packages=(package("foo", "1.0", WHEEL, NATIVE, SDIST),))
    assert one(make(lock, upstream=EVERYTHING)).filename == NATIVE
    withdrawn = Pages({"foo": (offered(WHEEL), offered(SDIST))})
    assert one(make(lock, upstream=withdrawn)).filename == WHEEL


def test_a_page_without_digests_is_joined_by_name() -> None:
    planned = make(FOO, upstream=Pages({"foo": (offered(WHEEL, of=None),)}))
    assert one(planned).reason is Reason.COVERED
    assert planned.files[0].digest == digest()


@pytest.mark.parametrize(
    ("reason", "detail", "notice"),
    [
        ("broken on windows", "broken on windows", f"{WHEEL} is yanked: broken on windows"),
        ("", "yanked without a reason", f"{WHEEL} is yanked"),
    ],
    ids=["with-a-reason", "without"],
)
def test_a_yanked_file_is_covered_with_a_warning(reason: str, detail: str, notice: str) -> None:
    planned = make(FOO, upstream=Pages({"foo": (offered(WHEEL, yanked=reason),)}))
    cell = one(planned)
    assert (cell.reason, cell.filename, cell.detail) == (Reason.YANKED, WHEEL, detail)
    assert cell.reason.covered
    assert planned.files[0].yanked == reason
    (warning,) = planned.notices
    assert (warning.level, warning.code, warning.message, warning.package) == (Level.WARNING, "yanked", notice, "foo")


def test_a_yanked_file_is_warned_of_once_for_all_environments() -> None:
    upstream = Pages({"foo": (offered(WHEEL, yanked=""),)})
    planned = make(FOO, upstream=upstream, targets=("linux-x86_64", "macos-arm64"), pythons=("3.11", "3.12"))
    assert [cell.reason for cell in planned.cells] == [Reason.YANKED] * 4
    assert len(planned.notices) == 1


def test_files_are_sorted_and_each_stands_once() -> None:
    names = ("zeta", "alpha", "mid")
    lock = ListedLock(packages=tuple(package(name, "1.0", f"{name}-1.0-py3-none-any.whl") for name in names))
    upstream = Pages({name: (offered(f"{name}-1.0-py3-none-any.whl"),) for name in names})
    planned = make(lock, upstream=upstream, targets=("linux-x86_64", "windows-amd64"), pythons=("3.10", "3.11"))
    assert [file.project for file in planned.files] == ["alpha", "mid", "zeta"]
    assert len(planned.cells) == 12


# --- why there is none --------------------------------------------------------------------------


def test_a_locked_file_that_the_index_lacks_is_not_offered() -> None:
    planned = make(FOO, upstream=Pages())
    cell = one(planned)
    assert (cell.reason, cell.filename) == (Reason.NOT_OFFERED, "")
    assert WHEEL in cell.detail
    assert planned.files == ()


def test_an_index_that_states_another_digest_is_a_mismatch() -> None:
    planned = make(FOO, upstream=Pages({"foo": (offered(WHEEL, of="b"),)}))
    cell = one(planned)
    assert cell.reason is Reason.DIGEST_MISMATCH
    assert all(part in cell.detail for part in (WHEEL, str(digest("a")), str(digest("b"))))
    assert planned.files == ()


def test_an_unreachable_index_is_a_failed_download_in_its_words() -> None:
    planned = make(FOO, upstream=Pages(problems={"foo": "index.example does not answer (timed out)"}))
    cell = one(planned)
    assert (cell.reason, cell.detail) == (Reason.DOWNLOAD_FAILED, "index.example does not answer (timed out)")
    (warning,) = planned.notices
    assert (warning.level, warning.code, warning.package) == (Level.WARNING, "upstream", "foo")
    assert "does not answer" in warning.message


def test_nothing_that_can_be_read_at_all_ends_the_run() -> None:
    class Down:
        def read(self, wants: Sequence[Want], progress: Progress) -> Mapping[tuple[NormalizedName, str], Offer]:
            raise RemoteError("no index answers")

    with pytest.raises(RemoteError, match="no index answers"):
        make(FOO, upstream=Down())


def test_an_index_that_refuses_us_is_left_to_pip_by_name() -> None:
    planned = make(FOO, upstream=Pages(refused=frozenset({"foo"})))
    assert one(planned).reason is Reason.COVERED
    (file,) = planned.files
    assert (file.filename, file.url, file.index, file.digest) == (WHEEL, "", "", digest())


@pytest.mark.parametrize(
    "upstream",
    [
        pytest.param(Pages(), id="withdrawn"),
        pytest.param(Pages(problems={"foo": "offline"}), id="unreachable"),
        pytest.param(Pages({"foo": (offered(WHEEL, of="b"),)}), id="index-states-another-digest"),
    ],
)
def test_what_the_pool_holds_stays_mirrored(upstream: Pages) -> None:
    planned = make(FOO, upstream=upstream, held=frozenset({WHEEL}))
    assert (one(planned).reason, one(planned).filename) == (Reason.COVERED, WHEEL)
    assert [(file.filename, file.url) for file in planned.files] == [(WHEEL, "")]


@pytest.mark.parametrize("kind", [SourceKind.GIT, SourceKind.URL, SourceKind.FILE, SourceKind.DIRECTORY])
def test_a_direct_reference_is_named_and_nobody_is_asked_for_it(kind: SourceKind) -> None:
    source = Source(kind=kind, url="../foo")
    upstream = Pages()
    planned = make(ListedLock(packages=(package("foo", "1.0", WHEEL, source=source),)), upstream=upstream)
    assert one(planned).reason is Reason.DIRECT
    assert f"a {kind} reference" in one(planned).detail
    assert "../foo" in one(planned).detail
    assert planned.files == ()
    assert upstream.asked == []


def test_a_password_in_a_reference_is_not_kept(tmp_path: Path) -> None:
    source = Source(kind=SourceKind.GIT, url="https://user:pa55word@host.example/foo.git")
    planned = make(ListedLock(packages=(package("foo", "1.0", source=source),)), upstream=Pages())
    assert "host.example/foo.git" in one(planned).detail
    State(tmp_path).save(planned)
    assert b"pa55word" not in (tmp_path / "plan.json").read_bytes()


def test_an_excluded_package_is_a_cell_and_nobody_is_asked_for_it() -> None:
    upstream = Pages()
    lock = replace(FOO, marked={"foo": "sys_platform == 'win32'"})
    assert one(make(lock, upstream=upstream)).reason is Reason.EXCLUDED_BY_MARKER
    assert upstream.asked == []


def test_no_package_goes_without_a_cell() -> None:
    lock = ListedLock(
        packages=(
            package("covered", "1.0", "covered-1.0-py3-none-any.whl"),
            package("lost", "1.0", "lost-1.0-py3-none-any.whl"),
            package("old", "1.0", "old-1.0-cp27-none-win32.whl"),
            package("path", "1.0", source=Source(kind=SourceKind.DIRECTORY, url=".")),
            package("source", "1.0", "source-1.0.tar.gz"),
            package("windows", "1.0", "windows-1.0-py3-none-any.whl"),
        ),
        marked={"windows": "os_name == 'nt'"},
    )
    upstream = Pages({"covered": (offered("covered-1.0-py3-none-any.whl"),), "source": (offered("source-1.0.tar.gz"),)})
    planned = make(lock, upstream=upstream)
    assert {cell.package: cell.reason for cell in planned.cells} == {
        "covered": Reason.COVERED,
        "lost": Reason.NOT_OFFERED,
        "old": Reason.NO_WHEEL,
        "path": Reason.DIRECT,
        "source": Reason.SDIST_ONLY,
        "windows": Reason.EXCLUDED_BY_MARKER,
    }


# --- sdists -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "filenames", "files", "reason", "chosen"),
    [
        pytest.param("never", (WHEEL, SDIST), [WHEEL], "covered", WHEEL, id="never-with-wheel"),
        pytest.param("never", (SDIST,), [], "sdist-only", "", id="never-without"),
        pytest.param("fallback", (WHEEL, SDIST), [WHEEL], "covered", WHEEL, id="fallback-with-wheel"),
        pytest.param("fallback", (SDIST,), [SDIST], "sdist-only", SDIST, id="fallback-without"),
        pytest.param("always", (WHEEL, SDIST), [WHEEL, SDIST], "covered", WHEEL, id="always-with-wheel"),
        pytest.param("always", (SDIST,), [SDIST], "sdist-only", SDIST, id="always-without"),
        pytest.param("always", (WHEEL,), [WHEEL], "covered", WHEEL, id="always-has-none"),
    ],
)
def test_sdists_by_policy(policy: str, filenames: tuple[str, ...], files: list[str], reason: str, chosen: str) -> None:
    lock = ListedLock(packages=(package("foo", "1.0", *filenames),))
    planned = make(lock, upstream=EVERYTHING, sdists=SdistPolicy(policy))
    assert [file.filename for file in planned.files] == files
    assert (one(planned).reason, one(planned).filename) == (Reason(reason), chosen)


def test_an_sdist_lives_with_what_runs_anywhere() -> None:
    planned = make(ListedLock(packages=(package("foo", "1.0", SDIST),)), upstream=EVERYTHING)
    assert [file.home for file in planned.files] == ["noarch"]


def test_a_package_with_a_wheel_for_some_falls_back_for_the_others() -> None:
    lock = ListedLock(packages=(package("foo", "1.0", NATIVE, SDIST),))
    planned = make(lock, upstream=EVERYTHING, targets=("linux-x86_64", "windows-amd64"))
    assert [(cell.target, cell.reason, cell.filename) for cell in planned.cells] == [
        ("linux-x86_64", Reason.COVERED, NATIVE),
        ("windows-amd64", Reason.SDIST_ONLY, SDIST),
    ]
    assert [file.filename for file in planned.files] == [NATIVE, SDIST]


@pytest.mark.parametrize("policy", [SdistPolicy.FALLBACK, SdistPolicy.ALWAYS])
@pytest.mark.parametrize(
    ("upstream", "reason"),
    [
        pytest.param(Pages(), Reason.NOT_OFFERED, id="withdrawn"),
        pytest.param(Pages(problems={"foo": "offline"}), Reason.DOWNLOAD_FAILED, id="unreachable"),
        pytest.param(Pages({"foo": (offered(SDIST, of="b"),)}), Reason.DIGEST_MISMATCH, id="other-digest"),
    ],
)
def test_an_sdist_that_is_all_there_is_and_cannot_be_had_is_a_hole(
    policy: SdistPolicy, upstream: Pages, reason: Reason
) -> None:
    planned = make(ListedLock(packages=(package("foo", "1.0", SDIST),)), upstream=upstream, sdists=policy)
    assert (one(planned).reason, one(planned).filename) == (reason, "")


def test_of_two_sdists_the_preferred_one_that_can_be_had() -> None:
    lock = ListedLock(packages=(package("foo", "1.0", "foo-1.0.zip", SDIST),))
    both = Pages({"foo": (offered("foo-1.0.zip"), offered(SDIST))})
    assert [file.filename for file in make(lock, upstream=both).files] == [SDIST]
    only_zip = Pages({"foo": (offered("foo-1.0.zip"),)})
    assert [file.filename for file in make(lock, upstream=only_zip).files] == ["foo-1.0.zip"]


# --- homes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "homes"),
    [
        pytest.param("py3-none-any", {"noarch"}, id="noarch"),
        pytest.param("cp311-none-any", {"noarch"}, id="any-of-one-python"),
        pytest.param("cp311-cp311-macosx_10_9_universal2", {"macos-arm64"}, id="universal2-once"),
        pytest.param("cp311-cp311-win_amd64", {"windows-amd64"}, id="platform"),
        pytest.param("py3-none-manylinux1_x86_64.macosx_11_0_arm64", {"linux-x86_64"}, id="first-target-wins"),
    ],
)
def test_a_file_has_one_home(tag: str, homes: set[str]) -> None:
    filename = f"foo-1.0-{tag}.whl"
    lock = ListedLock(packages=(package("foo", "1.0", filename),))
    planned = make(lock, upstream=Pages({"foo": (offered(filename),)}), targets=tuple(TARGETS), pythons=("3.11",))
    assert [file.filename for file in planned.files] == [filename]
    assert {file.home for file in planned.files} == homes


def test_a_home_comes_with_a_python_that_accepts_the_file_there() -> None:
    filename = "foo-1.0-cp312-cp312-win_amd64.whl"
    lock = ListedLock(packages=(package("foo", "1.0", filename),))
    upstream = Pages({"foo": (offered(filename),)})
    planned = make(lock, upstream=upstream, targets=("linux-x86_64", "windows-amd64"), pythons=("3.11", "3.12"))
    assert [(file.home, file.python) for file in planned.files] == [("windows-amd64", "3.12")]


# --- what people are told of it -----------------------------------------------------------------


def test_coverage_counts_the_cells_of_each_target() -> None:
    lock = ListedLock(
        packages=(
            package("foo", "1.0", NATIVE, SDIST),
            package("bar", "1.0", "bar-1.0-py3-none-any.whl"),
            package("gone", "1.0", "gone-1.0-py3-none-any.whl"),
            package("windows", "1.0", "windows-1.0-py3-none-any.whl"),
            package("repo", "1.0", source=Source(kind=SourceKind.GIT, url="https://git.example/repo")),
        ),
        marked={"windows": "sys_platform == 'win32'"},
    )
    listed = (NATIVE, SDIST, "bar-1.0-py3-none-any.whl", "windows-1.0-py3-none-any.whl")
    upstream = Pages({name: tuple(map(offered, listed)) for name in ("foo", "bar", "windows")})
    planned = make(lock, upstream=upstream, targets=("linux-x86_64", "windows-amd64"), pythons=("3.11", "3.12"))
    linux, windows = planned.coverage
    # NATIVE is for CPython 3.11 alone; `gone` is not offered.
    assert linux == TargetCoverage(
        target="linux-x86_64", pythons=("3.11", "3.12"), wanted=8, wheels=3, sdists=1, direct=2
    )
    assert windows == TargetCoverage(
        target="windows-amd64", pythons=("3.11", "3.12"), wanted=10, wheels=4, sdists=2, direct=2
    )
    assert (linux.missing, windows.missing) == (2, 2)
    assert {file.filename: file.cells for file in planned.files} == {
        NATIVE: (("linux-x86_64", 1),),
        SDIST: (("linux-x86_64", 1), ("windows-amd64", 2)),
        "bar-1.0-py3-none-any.whl": (("linux-x86_64", 2), ("windows-amd64", 2)),
        "windows-1.0-py3-none-any.whl": (("windows-amd64", 2),),
    }


def test_an_sdist_that_is_not_mirrored_covers_nothing() -> None:
    planned = make(ListedLock(packages=(package("foo", "1.0", SDIST),)), upstream=EVERYTHING, sdists=SdistPolicy.NEVER)
    (row,) = planned.coverage
    assert (row.wanted, row.wheels, row.sdists, row.missing) == (1, 0, 0, 1)


def test_locks_are_named_without_a_path() -> None:
    """The front page is public, and a path tells of the machine and its user."""
    here = replace(FOO, path=Path("/home/somebody/secret/poetry.lock"), project="shop")
    there = replace(other(FOO), path=Path("../api/poetry.lock"), project="api")
    planned = make(here, there, upstream=Pages({"foo": (offered(WHEEL),)}))
    assert planned.origins == (
        Origin(digest=there.digest, file="poetry.lock", project="api", packages=1),
        Origin(digest=here.digest, file="poetry.lock", project="shop", packages=1),
    )


def test_a_lock_is_as_large_as_what_is_wanted_of_it() -> None:
    lock = ListedLock(
        packages=(package("foo", "1.0", WHEEL), package("win", "1.0", "win-1.0-py3-none-any.whl")),
        marked={"win": "sys_platform == 'win32'"},
    )
    (origin,) = make(lock, upstream=EVERYTHING, pythons=("3.11", "3.12")).origins
    assert origin.packages == 1


# --- several locks ------------------------------------------------------------------------------


def other(lock: ListedLock, label: str = "other/poetry.lock") -> ListedLock:
    return replace(lock, label=label, digest="sha256:" + "1" * 64)


def test_two_locks_with_the_same_file_need_it_once() -> None:
    upstream = Pages({"foo": (offered(WHEEL),)})
    planned = make(FOO, other(FOO), upstream=upstream)
    assert [file.filename for file in planned.files] == [WHEEL]
    assert [cell.lock for cell in planned.cells] == ["poetry.lock", "other/poetry.lock"]
    assert planned.locks == (FOO.digest, other(FOO).digest)
    assert len(upstream.asked) == 1


def test_two_locks_with_two_versions_ask_for_both_on_one_page() -> None:
    newer = "foo-2.0-py3-none-any.whl"
    upstream = Pages({"foo": (offered(WHEEL), offered(newer))})
    planned = make(FOO, other(ListedLock(packages=(package("foo", "2.0", newer),))), upstream=upstream)
    assert [file.filename for file in planned.files] == [WHEEL, newer]
    (want,) = upstream.asked
    assert [file.filename for file in want.files] == [WHEEL, SDIST, newer]


def test_two_locks_with_two_digests_for_one_filename_end_the_run() -> None:
    """F3: an artifact never changes under its name."""
    changed = other(ListedLock(packages=(package("foo", "1.0", WHEEL, of="b"),)))
    upstream = Pages()
    with pytest.raises(IntegrityError) as caught:
        make(FOO, changed, upstream=upstream)
    assert caught.value.exit_code == 5
    assert all(part in str(caught.value) for part in (WHEEL, str(digest("a")), str(digest("b"))))
    assert caught.value.hint
    assert upstream.asked == []


def test_a_digest_of_a_package_that_nobody_installs_disturbs_nobody() -> None:
    changed = ListedLock(packages=(package("foo", "1.0", WHEEL, of="b"),), marked={"foo": "os_name == 'nt'"})
    planned = make(FOO, other(changed), upstream=Pages({"foo": (offered(WHEEL),)}))
    assert [cell.reason for cell in planned.cells] == [Reason.COVERED, Reason.EXCLUDED_BY_MARKER]


def test_two_builds_of_a_release_for_two_platforms_stand_together() -> None:
    """Two indexes offer one release; where no environment wants both builds of a file, nothing is in doubt."""
    arm = "foo-1.0-cp311-cp311-manylinux2014_aarch64.whl"
    apple = "foo-1.0-cp311-cp311-macosx_11_0_arm64.whl"
    first = ListedLock(packages=(package("foo", "1.0", NATIVE, apple),), marked={"foo": "platform_machine == 'x86_64'"})
    second = ListedLock(
        packages=(package("foo", "1.0", arm, apple, of="b"),), marked={"foo": "platform_machine == 'aarch64'"}
    )
    upstream = Pages({"foo": (offered(NATIVE), offered(arm, of="b"))})
    planned = make(first, other(second), upstream=upstream, targets=("linux-x86_64", "linux-aarch64"))
    assert {file.filename: file.digest for file in planned.files} == {NATIVE: digest("a"), arm: digest("b")}


def test_two_files_that_differ_in_case_only_end_the_run() -> None:
    """Standards 5.2: a case-insensitive file system would hold only one of them."""
    older = package("foo", "1.0", "Foo-1.0.tar.gz")
    locks = ListedLock(packages=(older,)), other(ListedLock(packages=(package("foo", "1.0", SDIST),)))
    with pytest.raises(IntegrityError, match="differ in upper and lower case only") as caught:
        make(*locks, upstream=Pages({"foo": (offered("Foo-1.0.tar.gz"), offered(SDIST))}))
    assert caught.value.hint


# --- indexes ------------------------------------------------------------------------------------


def from_corp(*filenames: str, reference: str = "corp") -> LockedPackage:
    return package("foo", "1.0", *filenames, source=Source(kind=SourceKind.LEGACY, url=CORP, reference=reference))


def test_a_package_of_another_index_is_asked_for_there() -> None:
    upstream = Pages({"foo": (offered(WHEEL, url="https://files.example/wrong"),)}, corp={"foo": (offered(WHEEL),)})
    planned = make(ListedLock(packages=(from_corp(WHEEL),)), upstream=upstream)
    assert [(want.index, want.name) for want in upstream.asked] == [(CORP, "corp")]
    assert [(file.url, file.index) for file in planned.files] == [(f"https://files.example/{WHEEL}", CORP)]


def test_one_index_with_two_names_is_asked_once_for_everything() -> None:
    upstream = Pages(corp={"foo": (offered(WHEEL), offered(SDIST))})
    locks = (
        ListedLock(packages=(from_corp(WHEEL),)),
        other(ListedLock(packages=(from_corp(SDIST, reference="internal"),))),
    )
    planned = make(*locks, upstream=upstream)
    assert [file.filename for file in planned.files] == [WHEEL, SDIST]
    (want,) = upstream.asked
    assert (want.index, want.name, len(want.files)) == (CORP, "corp", 2)


def test_every_locked_file_is_asked_for_sorted_and_once() -> None:
    upstream = Pages()
    lock = ListedLock(packages=(package("foo", "1.0", WHEEL, SDIST, NATIVE),))
    make(lock, upstream=upstream, targets=("linux-x86_64", "windows-amd64"), pythons=("3.10", "3.11"))
    (want,) = upstream.asked
    assert (want.project, want.index) == ("foo", "")
    assert want.files == tuple(LockedFile(name, digest()) for name in sorted((WHEEL, SDIST, NATIVE)))


def test_a_status_that_is_not_active_is_carried_and_told() -> None:
    upstream = Pages({"foo": (offered(WHEEL),)}, statuses={"foo": ProjectStatus(status="archived", reason="moved on")})
    planned = make(FOO, upstream=upstream)
    assert planned.statuses == (("foo", ProjectStatus(status="archived", reason="moved on")),)
    (warning,) = planned.notices
    assert (warning.code, warning.package) == ("status", "foo")
    assert warning.message == "the project is archived upstream: moved on"


def test_a_project_of_two_indexes_has_one_status() -> None:
    status = ProjectStatus(status="deprecated")
    lock = ListedLock(packages=(package("foo", "1.0", WHEEL), from_corp(SDIST)))
    planned = make(lock, upstream=Pages(statuses={"foo": status}))
    assert planned.statuses == (("foo", status),)


# --- size ---------------------------------------------------------------------------------------


def test_a_large_lock_is_planned_for_twelve_environments() -> None:
    """Issue: 650 packages for 12 environments in less than 2 s of CPU. The number is printed, not judged."""
    platforms = ("manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_17_aarch64.manylinux2014_aarch64")
    tags = [f"cp3{minor}-cp3{minor}-{platform}" for minor in range(8, 14) for platform in (*platforms, "win_amd64")]
    tags += [f"cp3{minor}-cp3{minor}-macosx_11_0_arm64" for minor in range(8, 14)]
    packages = []
    for number in range(650):
        name = f"package_{number}"
        wheels = tags if number % 3 == 0 else ["py3-none-any"]
        filenames = [f"{name}-{number}.{number % 7}-{tag}.whl" for tag in wheels]
        packages.append(
            package(
                name.replace("_", "-"), f"{number}.{number % 7}", *filenames, f"{name}-{number}.{number % 7}.tar.gz"
            )
        )
    pages = {str(locked.name): tuple(offered(file.filename) for file in locked.files) for locked in packages}
    markers = {str(locked.name): "sys_platform != 'win32'" for locked in packages[::10]}
    lock = ListedLock(packages=tuple(packages), marked=markers)
    targets = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")
    start = time.process_time()
    planned = make(lock, upstream=Pages(pages), targets=targets, pythons=KNOWN_PYTHONS[3:6])
    print(f"{len(packages)} packages for 12 environments in {time.process_time() - start:.2f} s of CPU")
    assert len(planned.cells) == 650 * 12
    assert all(cell.reason in (Reason.COVERED, Reason.EXCLUDED_BY_MARKER) for cell in planned.cells)
    homes = {home: len(list(files)) for home, files in groupby(sorted(file.home for file in planned.files))}
    assert homes["linux-x86_64"] == homes["linux-aarch64"] == homes["macos-arm64"] == 217 * 3
