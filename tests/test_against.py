"""`mirror plan --against`: what a lock change means, since a git ref and since a release, in every form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from packaging.utils import canonicalize_name

from mirror.changes import ELSEWHERE, Amount, Former, compare, of_release
from mirror.coverage import Coverage
from mirror.errors import MirrorError
from mirror.git import Revision
from mirror.model import Cell, Digest, Plan, PlannedFile, Reason, Scope
from mirror.phases.against import names_release
from mirror.reports.plan import render
from mirror.reports.report import Report
from mirror.selection import environments, select
from mirror.targets import TARGETS, Baseline
from tests import project as projects
from tests.faulty_index import FaultyIndex
from tests.locked import ListedLock, package
from tests.test_reports import read_command
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project

WHEEL = "py3-none-any"
LINUX, _, MACOS, WINDOWS = projects.PLATFORM_TAGS


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as served:
        yield served


@pytest.fixture
def project(tmp_path: Path, index: FaultyIndex) -> Project:
    """A git repository whose first commit, tagged `old`, locks alpha 1.0 and native 2.0 for every platform."""
    made = projects.Project(tmp_path / "project", tmp_path / "work", index)
    made.work.mkdir()
    dist = tmp_path / "dist"
    lock(made, [
        [make_wheel(dist, "alpha", "1.0")],
        [make_wheel(dist, "gone", "1.0")],
        [make_wheel(dist, "native", "2.0", tag) for tag in projects.PLATFORM_TAGS],
    ])  # fmt: skip
    git(made.folder, "init", "--quiet", "--initial-branch=main")
    commit(made, "old")
    return made


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@project.example", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(project: Project, tag: str) -> None:
    git(project.folder, "add", "--all")
    git(project.folder, "commit", "--quiet", "--message", tag)
    git(project.folder, "tag", tag)


def lock(project: Project, releases: list[list[Path]]) -> None:
    """Lock some releases; the index tells the sizes of their files."""
    sizes: dict[str, Any] = {path.name: {"size": path.stat().st_size} for release in releases for path in release}
    projects.lock(project, releases, **sizes)


def change(project: Project) -> dict[str, Path]:
    """Lock something else: alpha 2.0, native 2.1 without macOS, a new package, and one less; the new files by name."""
    dist = project.folder.parent / "dist"
    alpha, new = make_wheel(dist, "alpha", "2.0"), make_wheel(dist, "new", "1.0")
    native = [make_wheel(dist, "native", "2.1", tag) for tag in projects.PLATFORM_TAGS if tag != MACOS]
    lock(project, [[alpha], native, [new]])
    return {path.name: path for path in (alpha, new, *native)}


def plan(project: Project, *flags: str, code: int = 0) -> dict[str, Any]:
    done = project.mirror("plan", "--json", "--destination", str(project.site), *flags)
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def expect_the_change(document: dict[str, Any], files: dict[str, Path], *, removed_from_macos: int = 1) -> None:
    assert {entry["package"]: (entry["before"], entry["after"]) for entry in document["packages"]} == {
        "alpha": (["1.0"], ["2.0"]),
        "gone": (["1.0"], []),
        "native": (["2.0"], ["2.1"]),
        "new": ([], ["1.0"]),
    }
    rows = {row["target"]: (row["added"]["files"], row["removed"]["files"]) for row in document["targets"]}
    assert rows == {
        "linux-x86_64": (1, 1),
        "linux-aarch64": (1, 1),
        "macos-arm64": (0, removed_from_macos),
        "windows-amd64": (1, 1),
        "noarch": (2, 2),
    }
    assert document["total"]["added"] == {
        "files": len(files),
        "size": sum(path.stat().st_size for path in files.values()),
        "unsized": 0,
    }
    lost = [(cell["package"], cell["version"], cell["target"], cell["reason"]) for cell in document["uncovered"]]
    assert lost == [("native", "2.1", "macos-arm64", "no-wheel")]


def test_against_a_git_ref(project: Project) -> None:
    files = change(project)
    document = plan(project, "--against", "old", code=1)
    assert document["against"] == "old"
    expect_the_change(document, files)


@pytest.mark.parametrize("ref", ["HEAD", "commit"])
def test_nothing_changes_against_the_same_lock(project: Project, ref: str) -> None:
    ref = git(project.folder, "rev-parse", "HEAD") if ref == "commit" else ref
    document = plan(project, "--against", ref)
    assert not any(document[key] for key in ("packages", "targets", "uncovered", "yanked"))


def test_nothing_of_the_comparison_is_kept(project: Project) -> None:
    """The plan that stays is that of today's lock, and the repository is as it was."""
    change(project)
    plan(project, "--against", "old", code=1)
    kept = json.loads((project.work / ".mirror" / "plan.json").read_text())
    assert {file["version"] for file in kept["files"] if file["project"] == "alpha"} == {"2.0"}
    assert git(project.folder, "stash", "list") == ""
    assert "poetry.lock" in git(project.folder, "status", "--porcelain")


def test_a_lock_that_was_not_there_yet_adds_everything(project: Project) -> None:
    git(project.folder, "checkout", "--quiet", "--orphan", "empty")
    git(project.folder, "rm", "--quiet", "--cached", "poetry.lock", "pyproject.toml")
    git(project.folder, "commit", "--quiet", "--allow-empty", "--message", "empty")
    document = plan(project, "--against", "empty")
    assert {entry["package"] for entry in document["packages"]} == {"alpha", "gone", "native"}
    assert document["total"]["removed"]["files"] == 0


def test_a_lock_in_a_folder_of_the_repository(tmp_path: Path, index: FaultyIndex) -> None:
    """The file beside the lock is meant, not the one of that name at the top of the repository."""
    made = projects.Project(tmp_path / "top" / "app", tmp_path / "work", index)
    made.work.mkdir()
    lock(made, [[make_wheel(tmp_path / "dist", "alpha", "1.0")]])
    (tmp_path / "top" / "poetry.lock").write_text("not a lock")
    git(tmp_path / "top", "init", "--quiet")
    git(tmp_path / "top", "add", "--all")
    git(tmp_path / "top", "commit", "--quiet", "--message", "old")
    assert not plan(made, "--against", "HEAD")["packages"]


def test_a_stale_lock_of_then_is_read(project: Project) -> None:
    pyproject = project.folder / "pyproject.toml"
    text = pyproject.read_text()
    pyproject.write_text(text.replace(">=3.11", ">=3.10"))
    commit(project, "stale")
    pyproject.write_text(text)
    assert not plan(project, "--against", "stale")["packages"]


def test_a_file_that_was_yanked_meanwhile_is_newly_yanked_against_a_release(project: Project) -> None:
    assert project.mirror("refresh", "--quiet").returncode == 0
    project.index.facts["alpha-1.0-py3-none-any.whl"]["yanked"] = "broken"
    (project.work / ".mirror" / "pages.json").unlink()
    document = plan(project, "--against", "current")
    assert {(cell["package"], cell["target"]) for cell in document["yanked"]} == {
        ("alpha", name) for name in ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")
    }
    # Once that is published it is no news, and against the release before it still is.
    assert project.mirror("refresh", "--quiet").returncode == 0
    assert not plan(project, "--against", "current")["yanked"]
    assert len(plan(project, "--against", "000001")["yanked"]) == 4


def test_a_release_that_was_locked_anew_and_is_yanked_is_newly_yanked(project: Project) -> None:
    change(project)
    project.index.facts["alpha-2.0-py3-none-any.whl"]["yanked"] = "broken"
    document = plan(project, "--against", "old", code=1)
    assert {(cell["package"], cell["version"]) for cell in document["yanked"]} == {("alpha", "2.0")}


def test_against_a_release(project: Project) -> None:
    assert project.mirror("refresh", "--quiet").returncode == 0
    files = change(project)
    current = plan(project, "--against", "current", code=1)
    expect_the_change(current, files)
    assert current["against"].startswith("000001-")
    assert plan(project, "--against", "000001", code=1) == current
    assert plan(project, "--against", current["against"], code=1) == current


def test_what_a_release_lacked_already_is_no_news(project: Project) -> None:
    change(project)
    assert project.mirror("refresh", "--quiet").returncode == 1
    document = plan(project, "--against", "current", code=1)
    assert not any(document[key] for key in ("packages", "targets", "uncovered", "yanked"))


def test_the_console_says_it_in_tables_and_a_sentence(project: Project) -> None:
    change(project)
    done = project.mirror("plan", "--against", "old", "--quiet")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any(line.split() == ["alpha", "1.0", "2.0"] for line in lines)
    assert any(line.startswith("newly uncovered: native 2.1 on macos-arm64 3.11: no-wheel") for line in lines)
    assert lines[-1].startswith("against old: 4 packages changed, 5 files added (")


def test_reports_and_the_summary_of_a_job(project: Project, tmp_path: Path) -> None:
    change(project)
    summary = tmp_path / "summary.md"
    files = [tmp_path / "changes.md", tmp_path / "changes.json"]
    flags = [part for path in files for part in ("--report", str(path))]
    done = project.mirror("plan", "--against", "old", *flags, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1, done.stderr
    assert files[0].read_bytes() == summary.read_bytes()
    assert "| <code>native</code> | <code>2.0</code> | <code>2.1</code> |" in summary.read_text()
    assert json.loads(files[1].read_text())["against"] == "old"


@pytest.mark.parametrize("flags", [["--against", "HEAD"], []], ids=["against", "alone"])
def test_a_job_is_told_what_is_missing_also_where_it_was_missing_before(
    project: Project, tmp_path: Path, flags: list[str]
) -> None:
    project.index.unlisted.add("gone-1.0-py3-none-any.whl")
    job = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "output")}
    done = project.mirror("plan", *flags, GITHUB_ACTIONS="true", GITHUB_WORKSPACE=str(tmp_path), **job)
    assert done.returncode == 1, done.stderr
    summary = (tmp_path / "summary").read_text()
    assert summary.startswith("### &#10060; Mirror: 1 package lacks something")
    assert "&#9989;" not in summary
    assert "<code>gone 1.0</code>" in summary
    assert ("(0 of them new)" in summary) is bool(flags)
    (command,) = (text for text in done.stderr.splitlines() if text.startswith("::"))
    level, facts, _ = read_command(command)
    lock_lines = (project.folder / "poetry.lock").read_text().splitlines()
    assert (level, facts["file"]) == ("error", "project/poetry.lock")
    assert lock_lines[int(facts["line"])] == 'name = "gone"'
    assert "verified=false\n" in (tmp_path / "output").read_text()
    assert "not-offered" in done.stdout
    assert "gone 1.0" in done.stdout


def test_of_what_is_missing_the_new_stands_first(project: Project, tmp_path: Path) -> None:
    project.index.unlisted.add("alpha-1.0-py3-none-any.whl")
    dist = tmp_path / "dist"
    native = [make_wheel(dist, "native", "2.1", tag) for tag in projects.PLATFORM_TAGS if tag != MACOS]
    lock(project, [[dist / "alpha-1.0-py3-none-any.whl"], native])
    summary = tmp_path / "summary"
    assert project.mirror("plan", "--against", "old", GITHUB_STEP_SUMMARY=str(summary)).returncode == 1
    text = summary.read_text()
    assert "<b>2 packages lack something</b> (1 of them new)" in text
    assert text.index("native 2.1") < text.index("alpha 1.0")


def test_what_the_policy_lets_pass_is_no_failure(project: Project, tmp_path: Path) -> None:
    change(project)
    summary = tmp_path / "summary"
    done = project.mirror("plan", "--against", "old", GITHUB_STEP_SUMMARY=str(summary), FAIL_ON="digest-mismatch")
    assert done.returncode == 0
    assert summary.read_text().startswith("### &#9888; ")
    assert "1 cell newly uncovered</b>, which the policy lets pass" in summary.read_text()
    assert "::error" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(["--against", "nowhere"], "git knows no such commit", id="unknown-ref"),
        pytest.param(["--against", "--output=/etc/x"], "git knows no such commit", id="option"),
        pytest.param(["--against", "000009"], "'000009' is no release, and git knows no such commit", id="no-release"),
        pytest.param(["--report", "changes.md"], "--against", id="report-of-nothing"),
        pytest.param(["--against", "old", "--report", "changes.xml"], ".md or .json", id="form"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(project: Project, flags: list[str], said: str) -> None:
    if "000009" in flags:
        assert project.mirror("refresh", "--quiet").returncode == 0
    done = project.mirror("plan", "--destination", str(project.site), *flags)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("tag", ["20241101", "202411-01"])
def test_a_tag_that_looks_like_a_release_is_a_tag(project: Project, tag: str, *, published: bool) -> None:
    git(project.folder, "tag", tag)
    if published:
        assert project.mirror("refresh", "--quiet").returncode == 0
    files = change(project)
    document = plan(project, "--against", tag, code=1)
    assert document["against"] == tag
    expect_the_change(document, files)


def test_a_release_goes_before_a_tag_of_its_name(project: Project) -> None:
    assert project.mirror("refresh", "--quiet").returncode == 0
    git(project.folder, "tag", "000001")
    assert plan(project, "--against", "000001")["against"].startswith("000001-")


def test_where_nothing_is_published_there_is_no_release(project: Project) -> None:
    done = project.mirror("plan", "--destination", str(project.site), "--against", "current")
    assert done.returncode == 2
    assert "nothing was published there yet" in done.stderr


# git


def test_git_reads_the_repository_of_the_folder_whatever_the_environment_says(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    revision = Revision.find(project.folder, "old", {**os.environ, "GIT_DIR": str(other / ".git")})
    assert revision.commit == git(project.folder, "rev-parse", "old")
    assert revision.read("poetry.lock") == (project.folder / "poetry.lock").read_bytes()
    assert revision.read("absent.txt") is None


def test_without_git_there_is_advice(project: Project, tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="git") as raised:
        Revision.find(project.folder, "old", {"PATH": str(tmp_path)})
    assert raised.value.hint


def test_a_folder_of_that_name_is_no_lock(project: Project) -> None:
    (project.folder / "folder").mkdir()
    shutil.copy(project.folder / "poetry.lock", project.folder / "folder" / "poetry.lock")
    commit(project, "with-folder")
    assert Revision.find(project.folder, "with-folder", os.environ).read("folder") is None


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("current", True),
        ("000041", True),
        ("000041-", True),
        ("000041-0123456789ab", True),
        ("main", False),
        ("v1.0", False),
        ("HEAD^1", False),
        ("0123456789abcdef0123456789abcdef01234567", False),
        ("41", False),
    ],
)
def test_what_is_taken_for_a_release(name: str, *, release: bool) -> None:
    assert names_release(name) is release


# The difference


def cell(package: str, reason: Reason, version: str = "1.0", filename: str = "") -> Cell:
    return Cell(
        lock="poetry.lock", package=canonicalize_name(package), version=version, target="linux-x86_64", python="3.11",
        reason=reason, filename=filename,
    )  # fmt: skip


def planned(filename: str, size: int | None = 1, home: str = "noarch", yanked: str | None = None) -> PlannedFile:
    name, version = filename.split("-")[:2]
    return PlannedFile(
        filename=filename, project=canonicalize_name(name), version=version, digest=Digest("sha256", "a" * 64),
        home=home, python="3.11", size=size, yanked=yanked,
    )  # fmt: skip


def report_of(plan: Plan) -> Report:
    return Report(coverages=(Coverage(destination="plan", release="", cells=plan.cells, findings=(), sizes={}),))


ALPHA = f"alpha-1.0-{WHEEL}.whl"


@pytest.mark.parametrize("before", list(Reason))
@pytest.mark.parametrize("after", list(Reason))
def test_a_cell_is_newly_uncovered_when_it_is_and_was_not(before: Reason, after: Reason) -> None:
    changes = compare(Former.of_plan("old", Plan(cells=(cell("a", before),))), Plan(cells=(cell("a", after),)))
    missing = {reason for reason in Reason if not reason.covered and not reason.excluded}
    assert bool(changes.uncovered) is (after in missing and before not in missing)


def test_a_size_that_nobody_knows_is_said() -> None:
    after = Plan(files=(planned(ALPHA, None), planned(f"beta-1.0-{WHEEL}.whl", 5)))
    changes = compare(Former.of_plan("old", Plan()), after)
    assert changes.total.added == Amount(files=2, size=5, unsized=1)
    assert changes.total.added.weight == "5 B +"
    assert Amount(files=1, unsized=1).weight == "?"
    assert "does not tell the size of 1 file." in render(report_of(after), changes).decode()


def test_a_release_is_judged_for_the_environments_of_today() -> None:
    sizes = {
        ALPHA: 1,
        f"native-2.0-{WINDOWS}.whl": 2,
        "odd-1.0-2.tar.gz": 3,
        "old-1.0-cp27-cp27m-macosx_10_6_intel.whl": 4,
    }
    lock = ListedLock(packages=(package("alpha", "1.0", ALPHA), package("native", "2.0"), package("absent", "1")))
    platforms = [TARGETS["linux-x86_64"], TARGETS["windows-amd64"]]
    selections = select(lock, environments(lock, platforms, ["3.11"], Baseline()), Scope())
    former = of_release("000001-x", sizes, frozenset(), selections, platforms, Baseline())
    assert {file.filename: file.home for file in former.files} == dict(
        zip(sizes, ("noarch", "windows-amd64", "noarch", ELSEWHERE), strict=True)
    )
    assert former.versions["odd"] == {"1.0.post2"}
    assert former.uncovered == {("poetry.lock", "native", "linux-x86_64", "3.11")}


def test_markdown_shows_hostile_names_as_they_are_and_stays_below_its_limit() -> None:
    hostile = "<img src=x>|`@user`\n## x"
    cells = tuple(
        replace(cell(f"p{number}", Reason.NO_WHEEL), detail=hostile * 3, lock=hostile) for number in range(3000)
    )
    report, changes = report_of(Plan(cells=cells)), compare(Former.of_plan(hostile, Plan()), Plan(cells=cells))
    document = render(report, changes)
    assert len(document) < 1 << 20
    assert b"more left out" in document
    for active in (b"<img", b"@user", b"`", b"\n## "):
        assert active not in document
    assert render(report, changes, 100) == b""


def test_versions_are_ordered_as_versions() -> None:
    after = Plan(cells=(cell("a", Reason.COVERED, "10.0"), cell("a", Reason.COVERED, "9.0")))
    (found,) = compare(Former.of_plan("old", Plan()), after).packages
    assert found.after == ("9.0", "10.0")


def test_a_package_without_a_file_is_no_change_against_a_release() -> None:
    """A release knows files only: whatever has none would be added again in every comparison."""
    after = Plan(cells=(cell("direct", Reason.DIRECT),))
    former = Former(name="r", files=(), versions={}, uncovered=frozenset(), yanked=frozenset(), whole=False)
    assert not compare(former, after).packages
