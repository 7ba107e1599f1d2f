"""Proof by installers: real pips (and a uv where there is one) try a real mirror that is served on loopback."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from mirror.installers.base import Here
from mirror.installers.words import last_words
from mirror.model import Scope
from mirror.phases.prove import trials
from mirror.selection import environments
from mirror.targets import TARGETS, Baseline
from tests import project as projects
from tests.clients import fetch
from tests.faulty_index import FaultyIndex
from tests.locked import ListedLock, package
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
NOWHERE = Here(target="", version="3.11.4")


@pytest.fixture
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as served:
        yield served


@pytest.fixture
def project(tmp_path: Path, index: FaultyIndex) -> Project:
    """A published mirror of four packages, one of which is an sdist only."""
    made = projects.make(tmp_path, index)
    done = made.mirror("refresh", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def without_uv(tmp_path: Path) -> str:
    """A PATH on which there is no uv, so that a test means pip alone."""
    (tmp_path / "empty").mkdir(exist_ok=True)
    return str(tmp_path / "empty")


def prove(project: Project, *flags: str, **environment: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
    environment = {"PATH": without_uv(project.work), **environment}
    done = project.mirror("verify", "--install", "--json", *flags, **environment)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)[0]


def failed(report: dict[str, list[dict[str, object]]]) -> set[object]:
    return {finding["key"] for finding in report["findings"] if finding["code"] == "install-failed"}


def test_pip_finds_everything_in_every_environment(project: Project) -> None:
    code, report = prove(project)
    assert code == 0
    tried = {(install["target"], install["python"]) for install in report["installs"]}
    assert tried == {(name, "3.11") for name in ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")}
    for install in report["installs"]:
        assert str(install["installer"]).startswith("pip ")
        assert (install["packages"], install["left_out"], install["complaint"]) == (3, ["source==3.0"], "")


def test_a_wheel_that_is_gone_is_told_for_the_environments_that_need_it(project: Project) -> None:
    tag = projects.PLATFORM_TAGS[2]
    (project.site / "packages" / f"native-2.0-{tag}.whl").unlink()
    code, report = prove(project)
    assert code == 1
    assert failed(report) == {"macos-arm64 3.11"}
    said = [str(finding["message"]) for finding in report["findings"] if finding["code"] == "install-failed"]
    assert "404" in said[0]


def test_other_bytes_are_refused_by_pip_itself(project: Project) -> None:
    wheel = project.site / "packages" / "alpha-1.0-py3-none-any.whl"
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.unlink()
    wheel.write_bytes(data)
    code, report = prove(project)
    assert code == 5
    assert len(failed(report)) == 4
    said = " ".join(str(finding["message"]) for finding in report["findings"])
    assert "DO NOT MATCH THE HASHES" in said
    assert str(project.work) not in said


def test_the_mirror_is_the_only_index_whatever_the_user_configured(project: Project, tmp_path: Path) -> None:
    """The lost project is to be had from the user's own index, links, cache and constraints; none of them is asked."""
    shutil.rmtree(project.site / "simple" / "beta")
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nextra-index-url = {project.index.url}\nno-deps = true\n")
    project.index.requests.clear()
    code, report = prove(
        project,
        PIP_CONFIG_FILE=str(configuration),
        PIP_EXTRA_INDEX_URL=project.index.url,
        PIP_FIND_LINKS=str(project.folder.parent / "dist"),
        UV_INDEX=project.index.url,
    )
    assert code == 1
    assert len(failed(report)) == 4
    assert not project.index.requests


def test_nothing_is_tried_where_nothing_is_published(project: Project) -> None:
    shutil.rmtree(project.site)
    code, report = prove(project)
    assert code == 1
    assert not report["installs"]
    assert [finding["code"] for finding in report["findings"]] == ["no-release"]


def test_the_console_tells_of_the_dry_runs(project: Project) -> None:
    done = project.mirror("verify", "--install", PATH=without_uv(project.work))
    assert "4 of 4 dry runs of installers succeeded" in done.stdout
    assert "source==3.0" in done.stderr


def test_on_our_own_environment_pip_follows_dependencies(tmp_path: Path, index: FaultyIndex) -> None:
    """A lock that misses what its packages require is found out where markers can be judged: here."""
    wheel = make_wheel(tmp_path / "dist", "alone", "1.0", requires=["forgotten"])
    made = projects.Project(tmp_path / "project", tmp_path / "work", index)
    made.work.mkdir()
    projects.lock(made, [[wheel]], python=f">={MINOR},<{MINOR}.99")
    assert made.mirror("refresh", "--quiet").returncode == 0
    _, report = prove(made)
    running = {"linux": "linux-x86_64", "darwin": "macos-arm64", "win32": "windows-amd64"}[sys.platform]
    assert failed(report) == {f"{running} {MINOR}"}
    assert "forgotten" in str(report["findings"])


@pytest.mark.clients
@pytest.mark.xdist_group("installers")
def test_uv_tries_every_environment_too(project: Project, machine_environment: dict[str, str]) -> None:
    clients = fetch(machine_environment)
    path = str(clients.tool("uv").parent)
    code, report = prove(project, PATH=path)
    assert code == 0
    assert sum(str(install["installer"]).startswith("uv ") for install in report["installs"]) == 4
    shutil.rmtree(project.site / "simple" / "beta")
    code, report = prove(project, PATH=path, UV_INDEX=project.index.url)
    assert code == 1
    assert len([finding for finding in report["findings"] if "uv " in str(finding["message"])]) == 4


# What is tried


def made(lock: ListedLock, *, python: str = "3.11", here: Here = NOWHERE) -> list[tuple[str, tuple[str, ...]]]:
    found = environments(lock, [TARGETS["linux-x86_64"]], [python], Baseline())
    return [
        (trial.version, tuple(f"{item.name}=={item.version}" for item in trial.requirements))
        for trial in trials(lock, found, Scope(), here)
    ]


def test_markers_are_judged_before_an_installer_sees_them() -> None:
    lock = ListedLock(
        packages=(package("common", "1", "common-1-py3-none-any.whl"), package("dos", "1", "dos-1-py3-none-any.whl")),
        marked={"dos": "sys_platform == 'win32'"},
    )
    assert made(lock) == [("3.11.0", ("common==1",))]


def test_patch_releases_that_install_something_else_are_tried_apart() -> None:
    lock = ListedLock(
        packages=(package("common", "1", "common-1-py3-none-any.whl"), package("late", "1", "late-1-py3-none-any.whl")),
        marked={"late": "python_full_version >= '3.11.4'"},
    )
    assert made(lock) == [("3.11.0", ("common==1",)), ("3.11.99", ("common==1", "late==1"))]


def test_here_the_patch_release_is_our_own() -> None:
    lock = ListedLock(
        packages=(package("common", "1", "common-1-py3-none-any.whl"), package("late", "1", "late-1-py3-none-any.whl")),
        marked={"late": "python_full_version >= '3.11.4'"},
    )
    assert made(lock, here=Here("linux-x86_64", "3.11.2")) == [("3.11.2", ("common==1",))]


def test_what_has_no_wheel_is_left_out_and_named() -> None:
    lock = ListedLock(packages=(package("a", "1", "a-1-py3-none-any.whl"), package("b", "2", "b-2.tar.gz")))
    found = environments(lock, [TARGETS["linux-x86_64"]], ["3.11"], Baseline())
    (trial,) = trials(lock, found, Scope(), NOWHERE)
    assert [item.name for item in trial.requirements] == ["a"]
    assert trial.left_out == ("b==2",)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        pytest.param("WARNING: old\nERROR: No match for x\nERROR: none\n", "No match for x none", id="pip"),
        pytest.param(
            "  \u00d7 No solution found:\n  \u2570\u2500\u25b6 Because x was not found\n      in the registry.\n",
            "No solution found: Because x was not found in the registry.",
            id="uv-drawn",
        ),
        pytest.param("error: No solution\n  cause: Because\n", "No solution cause: Because", id="uv"),
        pytest.param("", "it failed without a word", id="silent"),
        pytest.param("ERROR: see https://user:secret@host.example/x\n", "see https://host.example/x", id="credentials"),
        pytest.param("Traceback\nValueError: odd\n", "ValueError: odd", id="traceback"),
    ],
)
def test_last_words(said: str, words: str) -> None:
    assert last_words(said) == words


def test_last_words_are_short() -> None:
    assert len(last_words("ERROR: " + "x" * 10_000)) < 600
