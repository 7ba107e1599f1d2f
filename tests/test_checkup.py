"""`mirror doctor` without an address: what this machine has and lacks, each with what to do, and the exit code."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mirror.doctor.check import Outcome
from mirror.doctor.machine import PIPS, PYTHONS, ROOM, SPARE, judge_bucket, judge_room, judge_versions
from mirror.stores.probe import Capabilities
from tests import project as projects
from tests.faulty_index import FaultyIndex, Page
from tests.project import ROOT, Project

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with FaultyIndex() as index:
        yield projects.make(tmp_path, index)


def lines(project: Project, *flags: str, **environment: str) -> tuple[int, dict[str, tuple[str, str, str]]]:
    """The exit code, and for each thing its outcome, what was seen, and the fix."""
    done = project.mirror("doctor", "--json", *flags, **environment)
    report = json.loads(done.stdout)
    assert list(report) == ["format", "kind", "verdict", "lines"]
    assert (report["format"], report["kind"]) == (1, "machine")
    assert all(list(line) == ["subject", "outcome", "seen", "fix"] for line in report["lines"])
    found = {line["subject"]: (line["outcome"], line["seen"], line["fix"]) for line in report["lines"]}
    assert "Traceback" not in done.stderr
    worst = {outcome for outcome, _, _ in found.values()}
    assert report["verdict"] == next(word for word in ("fail", "warn", "pass") if word in worst)
    return done.returncode, found


def test_a_machine_that_has_everything(project: Project) -> None:
    code, found = lines(project)
    assert code == 0
    assert {outcome for outcome, _, _ in found.values()} == {"pass"}
    assert set(found) == {"Python", "pip", "Index", "Disk", str(project.site), f"{project.folder}/poetry.lock"}
    assert found[f"{project.folder}/poetry.lock"][1].endswith("4 packages")
    assert not project.site.exists()
    assert list(project.work.iterdir()) == []


def test_people_read_a_line_for_each_and_the_fix_below_it(project: Project) -> None:
    done = project.mirror("doctor", PIP_FIND_LINKS="./wheels", INDEX_URL="")
    assert "pass Python: 3." in done.stdout
    done = project.mirror("doctor", "--project", "nowhere")
    assert done.returncode == 2
    assert "fail Locks: " in done.stdout
    assert "     fix: " in done.stdout


@pytest.mark.parametrize("broken", ["no lock", "stale"])
def test_locks_that_cannot_be_used_end_in_2(broken: str, project: Project) -> None:
    if broken == "no lock":
        (project.folder / "poetry.lock").unlink()
    else:
        text = (project.folder / "pyproject.toml").read_text()
        (project.folder / "pyproject.toml").write_text(text + 'dependencies = ["other"]\n')
    code, found = lines(project)
    assert (code, found["Locks"][0]) == (2, "fail")
    assert found["Locks"][2]


def test_an_index_that_does_not_answer_ends_in_3(project: Project) -> None:
    project.index.close()
    code, found = lines(project)
    assert (code, found["Index"][0]) == (3, "fail")


def test_an_index_is_not_asked_when_offline(project: Project) -> None:
    project.index.close()
    code, found = lines(project, "--offline")
    assert (code, found["Index"][0]) == (0, "pass")
    assert "OFFLINE" in found["Index"][1]


def test_an_index_that_wants_a_password_says_so(project: Project) -> None:
    project.index.credentials = ("reader", "secret")
    code, found = lines(project)
    assert (code, found["Index"][0]) == (3, "fail")
    assert "netrc" in found["Index"][2]
    address = project.index.url.replace("://", "://reader:secret@")
    code, found = lines(project, "--index-url", address)
    assert (code, found["Index"][0]) == (0, "pass")
    assert "secret" not in json.dumps(found)


def test_an_index_that_fails_ends_in_3(project: Project) -> None:
    project.index.pages["pip"] = Page(b"", status=500)
    code, found = lines(project)
    assert (code, found["Index"][0]) == (3, "fail")
    assert "500" in found["Index"][1]


def test_an_index_that_refuses_ends_in_3(project: Project) -> None:
    for name in ("pip", "", "alpha"):
        project.index.pages[name] = Page(b"", status=403)
    code, found = lines(project)
    assert (code, found["Index"][0]) == (3, "fail")
    assert "403" in found["Index"][1]
    # Some hosts say so of every project that they do not have.
    del project.index.pages["alpha"]
    code, found = lines(project)
    assert (code, found["Index"][0]) == (0, "pass")


@pytest.mark.parametrize("status", [200, 404])
def test_an_address_without_an_index_is_doubtful(status: int, project: Project) -> None:
    for name in ("pip", "", "alpha"):
        project.index.pages[name] = Page(b"<!DOCTYPE html><title>Welcome</title><p>Please log in", status=status)
    code, found = lines(project)
    assert (code, found["Index"][0]) == (0, "warn")
    assert str(status) in found["Index"][1]
    assert "simple/" in found["Index"][2]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("htps://user:TOPSECRET@index.example/simple", "nothing is fetched by htps"),
        ("user:TOPSECRET@index.example/simple", "index.example/simple is no folder"),
    ],
)
def test_an_index_that_nothing_is_fetched_from_ends_in_2(index: str, expected: str, project: Project) -> None:
    code, found = lines(project, "--index-url", index)
    assert (code, found["Index"][0]) == (2, "fail")
    assert expected in found["Index"][1]
    assert "TOPSECRET" not in json.dumps(found)


def test_a_folder_is_an_index(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "an index"
    folder.mkdir()
    code, found = lines(project, "--index-url", folder.as_uri())
    assert (code, found["Index"][:2]) == (0, ("pass", str(folder)))


def test_a_broken_index_hides_no_other_and_no_advice(project: Project) -> None:
    project.index.pages["pip"] = Page(b"", status=503)
    settings = {"PIP_INDEX_URL": project.index.url, "PIP_EXTRA_INDEX_URL": "htps://b.example/", "PIP_RETRIES": "0"}
    done = project.mirror("doctor", "--json", "--index-url", "", PIP_FIND_LINKS="./wheels", **settings)
    told = [line for line in json.loads(done.stdout)["lines"] if line["subject"] in ("Index", "pip")]
    assert [line["outcome"] for line in told] == ["pass", "fail", "fail", "warn", "warn"]
    assert ["503" in line["seen"] for line in told[1:3]] == [True, False]
    assert done.returncode == 3


def test_extra_indexes_find_links_and_plain_http_are_told_of(project: Project) -> None:
    url = project.index.url
    extra = url.replace("://", "://reader:secret@")
    settings = {"PIP_INDEX_URL": url, "PIP_EXTRA_INDEX_URL": extra, "PIP_FIND_LINKS": "./wheels"}
    done = project.mirror("doctor", "--json", "--index-url", "", **settings)
    told = [line for line in json.loads(done.stdout)["lines"] if line["outcome"] == "warn"]
    assert done.returncode == 0, done.stdout
    assert ["extra index" in line["seen"] for line in told] == [True, False]
    assert ["find-links" in line["seen"] for line in told] == [False, True]
    assert "secret" not in done.stdout + done.stderr
    code, found = lines(project, "--index-url", "http://index.example/simple/")
    assert (code, found["Index"][0]) == (2, "fail")
    assert "plain http" in found["Index"][1]


def test_a_destination_where_a_file_is_in_the_way_ends_in_2(project: Project) -> None:
    project.site.write_text("")
    code, found = lines(project)
    assert (code, found[str(project.site)][0]) == (2, "fail")
    code, found = lines(project, "--destination", str(project.work))
    assert (code, found[str(project.work)][0]) == (2, "fail")
    assert "share" in found[str(project.work)][1]


def test_another_file_system_is_told_of(project: Project) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == project.work.stat().st_dev:
        pytest.skip("there is no second file system")
    destination = str(other / f"mirror-{os.getpid()}")
    code, found = lines(project, "--destination", destination)
    assert (code, found[destination][0]) == (0, "warn")
    assert "file system" in found[destination][1]
    assert not Path(destination).exists()


def test_a_bucket_that_does_not_answer_ends_in_3_and_the_folder_is_looked_at_all_the_same(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    code, found = lines(
        project,
        *("--destination", "s3://somewhere", "--destination", str(project.site)),
        ENDPOINT_URL=endpoint,
        AWS_ACCESS_KEY_ID="somebody",
        AWS_SECRET_ACCESS_KEY="a-secret-that-nobody-sees",
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert (code, found["s3://somewhere"][0]) == (3, "fail")
    assert found[str(project.site)][0] == "pass"
    assert "a-secret-that-nobody-sees" not in json.dumps(found)


def test_without_credentials_a_bucket_ends_in_3_and_says_how_to_get_some(project: Project) -> None:
    code, found = lines(
        project, "--destination", "s3://somewhere", ENDPOINT_URL="http://127.0.0.1:9", AWS_EC2_METADATA_DISABLED="true"
    )
    assert (code, found["s3://somewhere"][0]) == (3, "fail")
    assert "AWS_PROFILE" in found["s3://somewhere"][2]


def test_setup_stops_at_what_would_fail_later(project: Project) -> None:
    project.site.write_text("")
    done = project.mirror("setup")
    assert done.returncode == 2
    assert "is no folder" in done.stderr
    assert "Python: 3." in done.stderr
    assert not (project.work / "packages").exists()


# Judging


def test_versions_are_those_of_the_project() -> None:
    about = tomli.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert SpecifierSet(about["requires-python"]) == PYTHONS
    pip = next(wanted for wanted in map(Requirement, about["dependencies"]) if wanted.name == "pip")
    assert pip.specifier == PIPS
    assert [line.outcome for line in judge_versions("3.12.1", "26.3")] == [Outcome.PASS, Outcome.PASS]
    old = judge_versions("3.9.1", "24.0")
    assert [(line.outcome, line.exit_code) for line in old] == [(Outcome.FAIL, 2), (Outcome.FAIL, 2)]
    assert all(line.fix for line in old)


@pytest.mark.parametrize(
    ("free", "needed", "expected"),
    [
        (ROOM, None, Outcome.PASS),
        (ROOM - 1, None, Outcome.WARN),
        (SPARE + 10, 10, Outcome.PASS),
        (SPARE + 9, 10, Outcome.WARN),
        (0, 0, Outcome.WARN),
    ],
)
def test_room_is_what_the_plan_still_wants(free: int, needed: int | None, expected: Outcome) -> None:
    assert judge_room(".", free, needed).outcome is expected


def capabilities(*, creates: bool = True, lists: bool = True) -> Capabilities:
    return Capabilities(
        creates_on_condition=creates,
        replaces_on_condition=True,
        verifies_checksums=True,
        keeps_checksums=False,
        keeps_versions=False,
        lists=lists,
    )


def test_a_bucket_is_judged_by_what_its_host_does() -> None:
    assert judge_bucket("s3://b", capabilities()).outcome is Outcome.PASS
    careless = judge_bucket("s3://b", capabilities(creates=False))
    assert (careless.outcome, "one place" in careless.fix) == (Outcome.WARN, True)
    closed = judge_bucket("s3://b", capabilities(lists=False))
    assert (closed.outcome, "s3:ListBucket" in closed.fix) == (Outcome.WARN, True)
    assert "NO: may be listed" in str(closed)
