"""The whole pipeline as a user runs it: a process, a lock, an index on loopback, a folder that is published."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import project as projects
from tests.faulty_index import FaultyIndex, broken, wrong_bytes
from tests.served import served
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as served:
        yield served


@pytest.fixture
def project(tmp_path: Path, index: FaultyIndex) -> Project:
    return projects.make(tmp_path, index)


def succeed(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_refresh_mirrors_the_lock_and_proves_it(project: Project) -> None:
    report = json.loads(succeed(project.mirror("refresh", "--json")).stdout)
    assert report[0]["verified"]
    assert {cell["reason"] for cell in report[0]["cells"]} == {"covered", "sdist-only"}
    published = {path.name for path in (project.site / "packages").iterdir() if path.suffix != ".metadata"}
    assert published == set(project.index.files)
    assert (project.site / "simple" / "alpha" / "index.html").is_file()
    assert (project.folder / "requirements-prod.txt").is_file()
    assert (project.folder / "requirements-all.txt").is_file()


def test_an_impossible_time_on_the_index_ends_no_installer(project: Project, tmp_path: Path) -> None:
    for facts in project.index.facts.values():
        facts["upload-time"] = "2024-02-30T25:61:61Z"
    succeed(project.mirror("refresh"))
    with served(project.site) as url:
        options = ["--isolated", "--no-deps", "--no-cache-dir", "--dest", str(tmp_path / "got"), "--index-url"]
        command = [sys.executable, "-m", "pip", "download", *options, f"{url}simple/", "alpha"]
        succeed(subprocess.run(command, capture_output=True, text=True, check=False))
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["alpha-1.0-py3-none-any.whl"]
    succeed(project.mirror("sbom"))


def test_files_lie_with_their_target(project: Project) -> None:
    succeed(project.mirror("refresh"))
    homes = {path.name: path.parent.name for path in (project.work / "packages").glob("*-*/*")}
    assert homes == {
        f"native-2.0-{tag}.whl": home
        for tag, home in zip(
            projects.PLATFORM_TAGS, ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64"), strict=True
        )
    }
    assert {path.name for path in (project.work / "packages" / "noarch").iterdir()} == {
        "alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl", "source-3.0.tar.gz",
    }  # fmt: skip


def test_wheels_fetched_directly_are_the_same_and_checked_alike(project: Project, tmp_path: Path) -> None:
    succeed(project.mirror("refresh"))
    other = projects.Project(project.folder, tmp_path / "directly", project.index)
    other.work.mkdir()
    project.index.faults["beta-1.0-py3-none-any.whl"] = wrong_bytes
    assert other.mirror("refresh", "--downloader", "direct").returncode == 5
    assert not (other.site / "packages" / "beta-1.0-py3-none-any.whl").exists()
    del project.index.faults["beta-1.0-py3-none-any.whl"]
    succeed(other.mirror("refresh", DOWNLOADER="direct"))
    assert {path.name for path in (other.site / "packages").iterdir()} == {
        path.name for path in (project.site / "packages").iterdir()
    }


def test_a_second_run_changes_nothing_and_asks_the_network_nothing(project: Project) -> None:
    succeed(project.mirror("refresh"))
    before, asked = projects.tree(project.work), len(project.index.requests)
    stamps = {path: path.stat().st_mtime_ns for path in project.site.rglob("*")}
    succeed(project.mirror("refresh"))
    assert len(project.index.requests) == asked
    assert projects.tree(project.work) == before
    assert {path: path.stat().st_mtime_ns for path in project.site.rglob("*")} == stamps


def test_the_digest_of_a_copy_at_a_destination_is_kept(project: Project) -> None:
    succeed(project.mirror("plan"))
    succeed(project.mirror("download"))
    name = "alpha-1.0-py3-none-any.whl"
    (project.work / "packages" / "noarch" / name).chmod(0o600)  # no web server could read a link to it
    for phase in ("consolidate", "index", "sync"):
        succeed(project.mirror(phase))
    copy = (project.site / "packages" / name).stat()
    known = json.loads((project.work / ".mirror" / "digests.json").read_text())
    assert any(key.split(":")[2:4] == [str(copy.st_ino), str(copy.st_size)] for key in known)
    assert copy.st_ino != (project.work / "packages" / "noarch" / name).stat().st_ino


def test_two_machines_publish_the_same_bytes(project: Project, tmp_path: Path) -> None:
    succeed(project.mirror("refresh"))
    other = projects.Project(project.folder, tmp_path / "elsewhere", project.index)
    other.work.mkdir()
    succeed(other.mirror("refresh"))
    assert projects.tree(other.site) == projects.tree(project.site)


def test_every_phase_alone_gives_what_refresh_gives(project: Project, tmp_path: Path) -> None:
    succeed(project.mirror("refresh"))
    alone = projects.Project(project.folder, tmp_path / "alone", project.index)
    alone.work.mkdir()
    for phase in ("export", "plan", "download", "consolidate", "index", "sync", "verify"):
        succeed(alone.mirror(phase))
    assert projects.tree(alone.site) == projects.tree(project.site)


def test_consolidating_before_downloading_says_what_is_not_here(project: Project) -> None:
    succeed(project.mirror("plan"))
    assert "Consolidated 0 files, 7 planned but not downloaded" in succeed(project.mirror("consolidate")).stderr
    succeed(project.mirror("download"))
    assert "Consolidated 7 files\n" in succeed(project.mirror("consolidate")).stderr


@pytest.mark.parametrize("phase", ["download", "consolidate", "index", "sync"])
def test_a_phase_without_the_last_one_s_files_says_what_to_run(phase: str, project: Project) -> None:
    done = project.mirror(phase)
    assert done.returncode == 2
    assert "hint: run `mirror" in done.stderr


def test_offline_uses_what_is_kept_and_says_what_it_cannot_know(project: Project) -> None:
    succeed(project.mirror("refresh"))
    asked = len(project.index.requests)
    before = projects.tree(project.site)
    done = succeed(project.mirror("refresh", "--offline"))
    assert len(project.index.requests) == asked
    assert projects.tree(project.site) == before
    shutil.rmtree(project.work / ".mirror")
    done = succeed(project.mirror("refresh", "--offline"))
    assert len(project.index.requests) == asked
    assert "yank" in done.stderr


def test_offline_fetches_nothing_and_names_every_file_that_is_not_here(project: Project) -> None:
    succeed(project.mirror("plan"))
    asked = len(project.index.requests)
    done = project.mirror("refresh", "--offline", "--json")
    assert done.returncode == 1
    assert len(project.index.requests) == asked
    (report,) = json.loads(done.stdout)
    assert {cell["reason"] for cell in report["failures"]} == {"download-failed"}
    assert all(f"{name}: offline" in done.stderr for name in project.index.files)
    succeed(project.mirror("refresh"))


def test_download_alone_names_every_file_that_failed(tmp_path: Path, index: FaultyIndex) -> None:
    project = projects.make(tmp_path, index, names=tuple(f"name{number}" for number in range(20)))
    succeed(project.mirror("plan"))
    done = project.mirror("download", OFFLINE="true")
    assert done.returncode == 1
    assert all(f"name{number}-1.0-py3-none-any.whl" in done.stderr for number in range(20))


def test_dry_run_writes_nothing_that_is_not_read_from_upstream(project: Project) -> None:
    done = succeed(project.mirror("refresh", "--dry-run"))
    assert "native" not in done.stderr
    assert not project.site.exists()
    assert not (project.work / "packages").exists()
    assert not (project.folder / "requirements-all.txt").exists()
    assert not project.index.asked("/files/")
    assert "noarch" in done.stdout


@pytest.mark.parametrize("command", [("plan",), ("refresh", "--dry-run")], ids=" ".join)
def test_a_plan_says_how_much_would_be_fetched(command: tuple[str, ...], project: Project) -> None:
    assert "7 files to fetch (0.0 MB), 0 held already" in succeed(project.mirror(*command)).stderr
    succeed(project.mirror("refresh"))
    next((project.work / "packages" / "noarch").glob("alpha-*")).unlink()
    assert "1 file to fetch (0.0 MB), 6 held already" in succeed(project.mirror(*command)).stderr


def test_a_flag_of_zero_is_refused_as_the_setting_is(project: Project) -> None:
    done = project.mirror("plan", "--jobs", "0")
    assert done.returncode == 2
    assert "JOBS: " in done.stderr


def test_plan_tells_every_file_and_cell_as_json(project: Project) -> None:
    plan = json.loads(succeed(project.mirror("plan", "--json")).stdout)
    assert {file["filename"] for file in plan["files"]} == set(project.index.files)
    assert len(plan["cells"]) == 4 * 4
    assert all(file["size"] for file in plan["files"])


def test_a_lock_that_changes_moves_the_pages_and_keeps_the_artifacts(project: Project) -> None:
    succeed(project.mirror("refresh"))
    newer = make_wheel(project.folder.parent / "dist", "alpha", "1.1")
    projects.lock(project, [[newer]])
    done = project.mirror("refresh")
    assert done.returncode == 2
    assert "--allow-shrink" in done.stderr
    succeed(project.mirror("refresh", "--allow-shrink"))
    assert "1.1" in (project.site / "simple" / "alpha" / "index.html").read_text()
    assert "1.0" not in (project.site / "simple" / "alpha" / "index.html").read_text()
    assert not (project.site / "simple" / "beta").exists()
    assert (project.site / "packages" / "beta-1.0-py3-none-any.whl").is_file()


def test_what_upstream_withdraws_stays_mirrored(project: Project) -> None:
    succeed(project.mirror("refresh"))
    before = projects.tree(project.site)
    project.index.unlisted.add("alpha-1.0-py3-none-any.whl")
    (project.work / ".mirror" / "pages.json").unlink()
    succeed(project.mirror("refresh"))
    assert projects.tree(project.site) == before


def test_a_yank_is_carried_over(project: Project) -> None:
    succeed(project.mirror("refresh"))
    project.index.facts["alpha-1.0-py3-none-any.whl"]["yanked"] = "breaks <everything>"
    (project.work / ".mirror" / "pages.json").unlink()
    done = succeed(project.mirror("refresh"))
    assert "breaks <everything>" in done.stderr
    page = (project.site / "simple" / "alpha" / "index.html").read_text()
    assert 'data-yanked="breaks &lt;everything&gt;"' in page


def test_a_file_that_is_not_offered_is_a_hole_and_the_rest_goes_on(project: Project) -> None:
    project.index.unlisted.add("beta-1.0-py3-none-any.whl")
    done = project.mirror("refresh", "--json")
    assert done.returncode == 1
    (report,) = json.loads(done.stdout)
    assert {(cell["package"], cell["reason"]) for cell in report["failures"]} == {("beta", "not-offered")}
    assert (project.site / "simple" / "alpha" / "index.html").is_file()
    assert project.mirror("verify", "--fail-on", "no-wheel").returncode == 0
    assert project.mirror("verify", "--fail-on", "none").returncode == 0


def test_a_python_that_the_lock_does_not_admit_is_told(project: Project) -> None:
    done = succeed(project.mirror("plan", "--python", "3.11,3.14"))
    assert "poetry.lock: it does not admit Python 3.14" in done.stderr
    assert "Python 3.11" not in done.stderr


@pytest.mark.parametrize("command", [("plan",), ("refresh", "--dry-run")], ids=" ".join)
def test_a_plan_is_judged_by_the_policy_as_a_site_is(command: tuple[str, ...], project: Project) -> None:
    project.index.unlisted.add("beta-1.0-py3-none-any.whl")
    assert project.mirror(*command).returncode == 1
    assert project.mirror(*command, "--fail-on", "none").returncode == 0
    assert project.mirror(*command, FAIL_ON="no-wheel").returncode == 0
    assert project.mirror(*command, "--fail-on", "sdist-only").returncode == 1


def test_a_download_that_fails_is_named_with_its_reason(project: Project) -> None:
    project.index.faults["beta-1.0-py3-none-any.whl"] = broken(404)
    done = project.mirror("refresh")
    assert done.returncode == 1
    assert "beta" in done.stdout
    assert (project.site / "simple" / "alpha" / "index.html").is_file()


def test_wrong_bytes_end_in_the_integrity_exit_and_are_not_published(project: Project) -> None:
    project.index.faults["beta-1.0-py3-none-any.whl"] = wrong_bytes
    done = project.mirror("refresh", "--json")
    assert done.returncode == 5
    (report,) = json.loads(done.stdout)
    assert {(cell["package"], cell["reason"]) for cell in report["failures"]} == {("beta", "digest-mismatch")}
    assert not (project.site / "packages" / "beta-1.0-py3-none-any.whl").exists()


@pytest.mark.parametrize(
    "key", ["simple/alpha/index.html", "packages/alpha-1.0-py3-none-any.whl.metadata", "packages/source-3.0.tar.gz"]
)
def test_a_published_file_that_was_altered_ends_in_the_integrity_exit(key: str, project: Project) -> None:
    succeed(project.mirror("refresh"))
    altered = project.site / key
    data = altered.read_bytes()
    altered.unlink()  # its inode is the pool's
    altered.write_bytes(data + b" ")
    assert project.mirror("verify").returncode == 5
    altered.unlink()
    assert project.mirror("verify").returncode == 1


def test_a_stale_lock_is_an_error_unless_allowed(project: Project) -> None:
    pyproject = project.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + 'dependencies = ["gamma"]\n')
    done = project.mirror("refresh")
    assert done.returncode == 2
    assert "poetry.lock" in done.stderr
    assert not project.site.exists()
    succeed(project.mirror("refresh", "--allow-stale"))


def test_an_index_that_does_not_answer_ends_in_the_remote_exit(project: Project) -> None:
    project.index.close()
    done = project.mirror("refresh")
    assert done.returncode == 3
    assert "127.0.0.1" in done.stderr


def test_two_locks_with_two_digests_for_one_filename_end_in_the_integrity_exit(
    project: Project, tmp_path: Path, index: FaultyIndex
) -> None:
    other = projects.Project(tmp_path / "other", project.work, index)
    projects.lock(other, [[make_wheel(tmp_path / "other-dist", "alpha", "1.0", files={"other.py": b"other"})]])
    done = project.mirror("refresh", "--project", str(project.folder), "--project", str(other.folder))
    assert done.returncode == 5
    assert "alpha-1.0-py3-none-any.whl" in done.stderr
    assert not project.site.exists()


def test_several_projects_share_one_mirror(project: Project, tmp_path: Path, index: FaultyIndex) -> None:
    other = projects.Project(tmp_path / "other", project.work, index)
    projects.lock(other, [[make_wheel(tmp_path / "dist", "gamma", "1.0")]])
    flags = ("--project", str(project.folder), "--project", str(other.folder))
    (report,) = json.loads(succeed(project.mirror("refresh", "--json", *flags)).stdout)
    assert len({cell["lock"] for cell in report["cells"]}) == 2
    assert (project.site / "simple" / "gamma" / "index.html").is_file()


def test_several_destinations_are_published_and_one_that_fails_does_not_stop_the_other(
    project: Project, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    flags = ("--destination", str(blocked), "--destination", str(tmp_path / "second"))
    done = project.mirror("refresh", *flags)
    assert done.returncode in (2, 3)
    assert (tmp_path / "second" / "simple" / "alpha" / "index.html").is_file()


def test_every_destination_that_fails_is_named(project: Project, tmp_path: Path) -> None:
    blocked = [tmp_path / name for name in ("one", "two")]
    for path in blocked:
        path.write_text("a file where a folder should be")
    done = project.mirror("refresh", "--destination", str(blocked[0]), "--destination", str(blocked[1]))
    assert done.returncode == 3
    assert done.stderr.count(f"error: {blocked[0]}: ") == 1
    assert done.stderr.count(f"error: {blocked[1]}: ") == 1


@pytest.mark.parametrize("destination", [".", "", "index", "packages/all", ".mirror/site", "../work"])
def test_a_destination_among_the_work_directory_s_own_files_is_refused(destination: str, project: Project) -> None:
    done = project.mirror("sync", "--destination", destination)
    assert done.returncode == 2
    assert "DESTINATION" in done.stderr
    assert "hint: " in done.stderr


def test_a_work_directory_inside_the_published_files_is_refused(project: Project) -> None:
    inside = str(project.site / "packages" / "work")
    done = project.mirror("sync", "--work-dir", inside)
    assert done.returncode == 2
    assert "would share" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [("uv.lock", "app.v2/uv.lock is a lock file of uv"), ("poetry.lock", "app.v2/poetry.lock")],
)
def test_messages_name_the_lock_file_that_was_found(name: str, message: str, project: Project) -> None:
    folder = project.work / "app.v2"
    folder.mkdir()
    (folder / name).write_text("")
    done = project.mirror("plan", "--project", "app.v2")
    assert done.returncode == 2
    assert f"error: {message}" in done.stderr


def test_a_project_whose_path_the_system_refuses_is_an_error_without_a_traceback(project: Project) -> None:
    done = project.mirror("plan", "--project", "a" * 300)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_second_run_at_the_same_time_is_told_to_try_again(project: Project) -> None:
    from filelock import FileLock

    (project.work / ".mirror").mkdir(parents=True)
    with FileLock(project.work / ".mirror" / "work.lock"):
        done = project.mirror("refresh")
    assert done.returncode == 4
    assert "hint:" in done.stderr


def test_credentials_show_up_nowhere(project: Project) -> None:
    url = project.index.url.replace("http://", "http://robot:hunter2@")
    project.index.credentials = ("robot", "hunter2")
    done = succeed(project.mirror("refresh", "--index-url", url))
    assert "hunter2" not in done.stdout + done.stderr
    assert not [path for path in project.work.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_quiet_is_quiet_and_unknown_settings_are_warned_of(project: Project) -> None:
    assert succeed(project.mirror("refresh", "--quiet")).stderr == ""
    (project.work / "config.env").write_text("TARGTES=linux-x86_64\n")
    done = succeed(project.mirror("refresh"))
    assert "TARGTES is no setting of mirror; it is ignored; did you mean TARGETS?" in done.stderr


def test_a_destination_is_called_what_the_user_called_it(project: Project) -> None:
    done = succeed(project.mirror("refresh", "--destination", "./there"))
    assert "./there: published release 000001-" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("verified: ./there: ")
    assert str(project.work) not in done.stdout + done.stderr.replace(str(project.folder), "")


def test_serve_shows_what_the_settings_publish(project: Project) -> None:
    done = project.mirror("serve", DESTINATION="./elsewhere")
    assert done.returncode == 2
    assert "elsewhere" in done.stderr


def test_the_result_is_said_once(project: Project) -> None:
    done = succeed(project.mirror("refresh"))
    assert (done.stdout + done.stderr).count("cells covered") == 1


def test_commands_stand_in_the_order_of_their_use(project: Project) -> None:
    done = project.mirror("--help")
    commands = re.findall(r"^. ([a-z]+) ", done.stdout, re.MULTILINE)
    known = ["refresh", "setup", "export", "plan", "download", "consolidate", "index", "sync", "verify", "serve"]
    assert [name for name in commands if name in known] == known


def test_setup_checks_the_machine_refreshes_and_says_how_to_go_on(project: Project) -> None:
    done = succeed(project.mirror("setup"))
    assert "pip" in done.stderr
    assert "mirror serve" in done.stderr
    assert (project.site / "index.html").is_file()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--targets", "amiga"), "amiga"),
        (("--python", "three"), "PYTHON_VERSIONS"),
        (("--python", "2.7"), "admits none"),
        (("--fail-on", "rain"), "rain"),
        (("--config", "nowhere.env"), "nowhere.env"),
        (("--project", "nowhere"), "nowhere"),
        (("--destination", "ftp://host.example/"), "ftp://"),
        (("--groups", "nonsense"), "nonsense"),
        (("--jobs", "0"), "JOBS"),
    ],
)
def test_bad_input_names_itself_and_ends_in_the_usage_exit(flags: tuple[str, ...], word: str, project: Project) -> None:
    done = project.mirror("refresh", *flags)
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not project.site.exists()
