"""`--report` and the CI job, as a user runs them: files beside each other, a summary, outputs, remarks on lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from mirror.ci import Job, append, size
from mirror.console import Console
from mirror.errors import MirrorError
from mirror.model import Level, Notice
from mirror.reports import json as document
from mirror.reports.summary import LIMIT
from tests import project as projects
from tests.faulty_index import FaultyIndex
from tests.test_reports import HOSTILE, closed, read_command, read_strictly, rows, spoken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.project import Project

NAMES = ("report.json", "junit.xml", "summary.md", "page.html", "gl-code-quality-report.json")


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as served:
        yield served


@pytest.fixture
def project(tmp_path: Path, index: FaultyIndex) -> Project:
    return projects.make(tmp_path, index)


def flags(folder: Path) -> list[str]:
    return [part for name in NAMES for part in ("--report", str(folder / name))]


def test_refresh_writes_every_form_and_verify_the_same(project: Project, tmp_path: Path) -> None:
    done = project.mirror("refresh", *flags(tmp_path / "one"))
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "one/report.json").read_bytes())
    import jsonschema

    jsonschema.Draft202012Validator(closed(document.schema())).validate(report)
    assert report["verified"]
    assert [entry["package"] for entry in report["locks"][0]["packages"]] == ["alpha", "beta", "native", "source"]
    read_strictly((tmp_path / "one/junit.xml").read_bytes())
    assert (tmp_path / "one/summary.md").read_text().startswith("### &#9989; Verified")
    assert json.loads((tmp_path / "one/gl-code-quality-report.json").read_bytes())[0]["check_name"] == "sdist-only"
    assert "cells covered" in done.stdout

    done = project.mirror("verify", *flags(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert str(tmp_path / "two" / "page.html") in done.stderr


def test_findings_are_reported_all_the_same(project: Project, index: FaultyIndex, tmp_path: Path) -> None:
    """The exit code is the verdict's; the report is there for those who look."""
    del index.files["beta-1.0-py3-none-any.whl"]
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_WORKSPACE": str(tmp_path),
    }
    (tmp_path / "summary").write_text("# Before\n")
    (tmp_path / "output").write_text("before=1\n")
    done = project.mirror("refresh", "--json", "--report", "out/report.xml", **environment)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)[0]["verified"] is False
    failures = ET.fromstring((project.work / "out/report.xml").read_bytes()).iter("failure")
    assert {failure.attrib["type"] for failure in failures} == {"not-offered"}

    lock = (project.folder / "poetry.lock").read_text().splitlines()
    starts = [number for number, text in enumerate(lock, 1) if text == "[[package]]"]
    (command,) = (text for text in done.stderr.splitlines() if text.startswith("::"))
    level, facts, text = read_command(command)
    assert (level, facts["file"], int(facts["line"])) == ("error", "project/poetry.lock", starts[1])
    assert lock[starts[1]] == 'name = "beta"'
    assert "linux-x86_64 3.11" in text

    summary = (tmp_path / "summary").read_text()
    assert summary.startswith("# Before\n### &#10060; Not verified")
    assert any(row[0] == "beta 1.0" for row in rows(summary))
    outputs = dict(entry.split("=", 1) for entry in (tmp_path / "output").read_text().splitlines())
    assert outputs["before"] == "1"
    assert (outputs["verified"], outputs["holes"], outputs["findings"]) == ("false", "4", "0")
    assert re.fullmatch(r"\d{6}-[0-9a-f]{12}", outputs["release"])
    assert int(outputs["bytes"]) > 0


def test_a_summary_that_is_nearly_full_is_not_made_too_long(project: Project, tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    summary.write_text("x" * (LIMIT - 1200))
    done = project.mirror("refresh", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    assert LIMIT - 1200 < summary.stat().st_size <= LIMIT
    assert "Verified" in summary.read_text()
    assert "<code>" not in summary.read_text()


def test_outside_of_ci_nothing_is_said_to_it(project: Project) -> None:
    done = project.mirror("refresh")
    assert not any(text.startswith("::") for text in (done.stdout + done.stderr).splitlines())


@pytest.mark.parametrize("command", ["refresh", "setup", "verify"])
def test_a_form_that_there_is_not_is_refused_before_anything_is_done(command: str, project: Project) -> None:
    done = project.mirror(command, "--report", "report.json", "--report", "report.pdf")
    assert done.returncode == 2
    assert "report.pdf" in done.stderr
    assert all(suffix in done.stderr for suffix in (".json", ".xml", ".md", ".html", ".codequality.json"))
    assert not project.site.exists()
    assert not (project.work / "report.json").exists()


def test_a_dry_run_has_nothing_to_report(project: Project) -> None:
    done = project.mirror("refresh", "--dry-run", "--report", "report.json")
    assert done.returncode == 2
    assert "--dry-run" in done.stderr


def test_a_report_that_cannot_be_written_is_an_error(project: Project) -> None:
    (project.work / "file").write_text("")
    done = project.mirror("refresh", "--report", "file/report.json")
    assert done.returncode == 2
    assert "report.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_setup_reports_and_several_destinations_share_one_report(project: Project, tmp_path: Path) -> None:
    places = ("--destination", str(tmp_path / "a"), "--destination", str(tmp_path / "b"))
    done = project.mirror("setup", *places, "--report", "report.json", "--report", "page.html")
    assert done.returncode == 0, done.stderr
    report = json.loads((project.work / "report.json").read_bytes())
    assert [place["destination"] for place in report["destinations"]] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert (project.work / "page.html").read_text("utf-8").count('class="matrix"') == 2


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_a_lock_says_is_obeyed_by_the_log(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = spoken(text)
    console = Console()
    console.coverage(report.coverages[0], report.policy)
    console.notice(Notice(level=Level.WARNING, code="x", message=text, package=text, where=f"a{text}"))
    said = capsys.readouterr()
    for row in (said.out + said.err).splitlines():
        assert not row.lstrip().startswith("::")
        assert not re.search(r"##\w*\[", row)


# --- the job ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "annotated", "root"),
    [
        ({}, False, None),
        ({"CI": "true"}, False, None),
        ({"GITHUB_ACTIONS": "true"}, True, None),
        ({"GITHUB_ACTIONS": "false"}, False, None),
        ({"GITHUB_STEP_SUMMARY": "s", "GITHUB_WORKSPACE": "w"}, True, Path("w")),
        ({"GITHUB_OUTPUT": "o"}, True, None),
        ({"GITHUB_OUTPUT": "", "GITHUB_STEP_SUMMARY": ""}, False, None),
        ({"GITLAB_CI": "true", "CI_PROJECT_DIR": "p"}, False, Path("p")),
    ],
)
def test_a_job_is_known_by_its_environment(environ: dict[str, str], annotated: bool, root: Path | None) -> None:
    job = Job.current(environ)
    assert (job.annotated, job.root) == (annotated, root)


def test_paths_are_counted_from_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    inside, outside = tmp_path / "app" / "poetry.lock", Path("..") / "elsewhere" / "poetry.lock"
    assert Job(root=tmp_path).path(inside) == "app/poetry.lock"
    assert Job(root=tmp_path / "app").path(Path("app/poetry.lock")) == "poetry.lock"
    assert Job().path(Path("app/poetry.lock")) == "app/poetry.lock"
    assert Job().path(Path("./app/../poetry.lock")) == "poetry.lock"
    assert Job(root=tmp_path).path(outside) == "../elsewhere/poetry.lock"


def test_a_job_s_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    assert size(tmp_path / "new") == 0
    append(tmp_path / "new", b"one\n")
    append(tmp_path / "new", b"two\n")
    assert (tmp_path / "new").read_bytes() == b"one\ntwo\n"
    assert size(tmp_path / "new") == 8
    with pytest.raises(MirrorError, match="nowhere"):
        append(tmp_path / "nowhere" / "summary", b"")
