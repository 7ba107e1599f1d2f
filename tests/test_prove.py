"""Proof by installers: real pips (and a uv where there is one) try a real mirror that is served on loopback."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mirror.cli.session import Session
from mirror.console import Console
from mirror.coverage import Coverage
from mirror.downloads.configuration import Network
from mirror.errors import MirrorError
from mirror.installers.base import Here
from mirror.installers.children import Children
from mirror.installers.pip import Pip
from mirror.installers.uv import Uv
from mirror.installers.words import last_words
from mirror.model import Scope as LockScope
from mirror.phases.prove import prove as prove_all
from mirror.phases.prove import trials
from mirror.progress import Silence
from mirror.selection import environments
from mirror.serve import application
from mirror.targets import TARGETS, Baseline, environment
from tests import project as projects
from tests.clients import fetch
from tests.faulty_index import FaultyIndex
from tests.locked import ListedLock, package
from tests.served import served
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from mirror.model import Notice
    from tests.project import Project

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
NOWHERE = Here(target="", version="3.11.4")


class Told(Silence):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.notices_seen: list[Notice] = []

    def notice(self, notice: Notice) -> None:
        self.notices_seen.append(notice)

    def notices(self, notices: Sequence[Notice]) -> None:
        self.notices_seen += notices


@pytest.fixture(scope="module")
def index() -> Iterator[FaultyIndex]:
    with FaultyIndex() as served:
        yield served


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, index: FaultyIndex) -> Project:
    """A mirror of four packages, one of which is an sdist only; nobody changes it."""
    made = projects.make(tmp_path_factory.mktemp("published"), index)
    done = made.mirror("refresh", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def project(tmp_path: Path, published: Project, index: FaultyIndex) -> Project:
    """A copy of that mirror."""
    shutil.copytree(published.folder.parent, tmp_path, dirs_exist_ok=True)
    return projects.Project(tmp_path / "project", tmp_path / "work", index)


def without_uv(tmp_path: Path) -> str:
    """A PATH on which there is no uv, so that a test means pip alone."""
    (tmp_path / "empty").mkdir(exist_ok=True)
    return str(tmp_path / "empty")


def prove(project: Project, *flags: str, **environment: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
    environment = {"PATH": without_uv(project.work), **environment}
    done = project.mirror("verify", "--install", "--json", *flags, **environment)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)[0]


def failed(report: dict[str, list[dict[str, object]]]) -> set[str]:
    """The environments, such as `linux-x86_64 3.11`, in which the pip of a finding could not install the lock."""
    places = [str(finding["key"]).split(", ") for finding in report["findings"] if finding["code"] == "install-failed"]
    assert all(installer.startswith("pip ") and lock.endswith("poetry.lock") for _, installer, lock in places)
    return {environment.rpartition(".")[0] for environment, _, _ in places}


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
    keys = [str(finding["key"]) for finding in report["findings"] if finding["code"] == "install-failed"]
    assert sum(", uv " in key for key in keys) == 4
    assert len(set(keys)) == len(keys) == 8, "each installer's own finding, and its own remark in a report"


# What is served


class Guarded:
    """A site for those who know the password; it remembers who was let in."""

    def __init__(self, root: Path) -> None:
        self._site = application(root)
        self.files = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if dict(scope["headers"]).get(b"authorization") == b"Basic " + base64.b64encode(b"reader:s3cr3t"):
            self.files += scope["path"].endswith(".whl") and scope["method"] == "GET"
            await self._site(scope, receive, send)
            return
        challenge = [(b"www-authenticate", b"Basic"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": challenge})
        await send({"type": "http.response.body", "body": b""})


def visit(project: Project, address: str) -> subprocess.CompletedProcess[str]:
    """Verify an address and no destination."""
    command = [sys.executable, "-m", "mirror", "verify", "--install", "--json", "--sample", "0", "--url", address]
    where = ["--project", str(project.folder), "--work-dir", str(project.work)]
    environment = project.environment(PATH=without_uv(project.work))
    return subprocess.run(
        [*command, *where], env=environment, cwd=project.work, capture_output=True, text=True, check=False
    )


def test_what_is_served_is_tried_there_with_the_credentials_of_the_address(project: Project) -> None:
    guard = Guarded(project.site)
    with served(project.site, guard) as url:
        address = url.replace("//", "//reader:s3cr3t@")
        done = visit(project, address)
        assert done.returncode == 0, done.stdout + done.stderr
        (report,) = json.loads(done.stdout)
        assert [install["complaint"] for install in report["installs"]] == [""] * 4
        # Each of four environments has two files for all, and one of its own.
        assert guard.files == 4 * 3
        (project.site / "packages" / "beta-1.0-py3-none-any.whl").unlink()
        done = visit(project, address)
    assert done.returncode == 1
    assert len(failed(json.loads(done.stdout)[0])) == 4
    assert "s3cr3t" not in done.stdout + done.stderr


def test_a_bucket_without_an_address_cannot_be_tried(project: Project) -> None:
    session = Session(config=None, flags={"destination": ()}, console=Console(quiet=True))
    with (
        pytest.raises(MirrorError, match="where do installers find s3://bucket/python") as raised,
        session.served("s3://bucket/python"),
    ):
        pass
    assert "BASE_URL" in raised.value.hint


def test_a_bucket_is_tried_once_where_it_is_served(project: Project) -> None:
    with served(project.site) as url:
        flags = {"destination": ("s3://bucket",), "url": url, "project": (project.folder,)}
        session = Session(config=None, flags=flags, console=Console(quiet=True))
        looked = [
            Coverage(destination=name, release="000001-0", cells=(), findings=(), sizes={})
            for name in ("s3://bucket", url)
        ]
        pip = Pip.find({**os.environ, "PATH": without_uv(project.work)}, Network)
        stored, seen = session.pipeline.prove(looked, (pip,), session.served, NOWHERE)
    assert stored.installs == ()
    assert [install.complaint for install in seen.installs] == [""] * 4


@pytest.mark.parametrize(
    ("address", "led", "index"),
    [
        # As most hosts do: whoever asks over http is sent to https.
        ("http://ci:s%2Fx@mirror.example/", "https://mirror.example/", "https://ci:s%2Fx@mirror.example/simple/"),
        ("https://ci:pw@mirror.example", "https://mirror.example/deep/", "https://ci:pw@mirror.example/deep/simple/"),
        ("https://ci:pw@mirror.example/", "https://other.example/", "https://other.example/simple/"),
        ("https://ci:pw@mirror.example/simple/", "s3://bucket/python", "https://ci:pw@mirror.example/simple/"),
    ],
)
def test_installers_know_the_credentials_of_the_address_wherever_it_leads(address: str, led: str, index: str) -> None:
    session = Session(config=None, flags={"destination": (), "url": address}, console=Console(quiet=True))
    with session.served(led) as found:
        assert found == index


# The installers


def test_what_runs_is_ended_at_once_and_nothing_begins_after_that(tmp_path: Path) -> None:
    children = Children(environ=os.environ)
    begun = tmp_path / "begun"
    sleep = [sys.executable, "-c", "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(60)"]
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(children.run, sleep, tmp_path, {})
        while not begun.exists():
            time.sleep(0.01)
        children.stop()
        assert running.result(timeout=20)[0] != 0
    assert children.run(sleep, tmp_path, {})[0] != 0


def test_an_installer_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="cannot run"):
        Children(environ={}).run([str(tmp_path / "absent")], tmp_path, {})
    with pytest.raises(MirrorError, match="cannot run"):
        Pip.find({}, Network, python=str(tmp_path / "absent"))
    assert Uv.find({"PATH": str(tmp_path)}, Network) is None


@pytest.mark.parametrize(
    ("target", "glibc", "excuse"),
    [
        ("linux-x86_64", "2.17", ""),
        ("linux-aarch64", "2.28", ""),
        ("linux-x86_64", "2.29", ""),
        ("linux-x86_64", "2.41", "it knows no platform like manylinux_2_41_x86_64"),
        ("macos-arm64", "2.41", ""),
        ("windows-arm64", "2.41", ""),
        ("musllinux-aarch64", "2.41", ""),
    ],
)
def test_uv_tries_what_it_knows(target: str, glibc: str, excuse: str) -> None:
    uv = Uv(name="uv", program="uv", network=Network, children=Children(environ={}))
    baseline = Baseline.parse(glibc=glibc, macos="14.0", musl="1.2")
    assert uv.excuse(environment(TARGETS[target], "3.11", baseline)) == excuse


# What is tried


def made(lock: ListedLock, *, python: str = "3.11", here: Here = NOWHERE) -> list[tuple[str, tuple[str, ...]]]:
    found = environments(lock, [TARGETS["linux-x86_64"]], [python], Baseline())
    return [
        (trial.version, tuple(f"{item.name}=={item.version}" for item in trial.requirements))
        for trial in trials(lock, found, LockScope(), here)
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
    (trial,) = trials(lock, found, LockScope(), NOWHERE)
    assert [item.name for item in trial.requirements] == ["a"]
    assert trial.left_out == ("b==2",)


def test_where_nothing_has_a_wheel_all_is_named_and_that_nothing_was_tried_is_said(tmp_path: Path) -> None:
    lock = ListedLock(packages=(package("b", "2", "b-2.tar.gz"),))
    found = environments(lock, [TARGETS["linux-x86_64"]], ["3.11"], Baseline())
    tried = trials(lock, found, LockScope(), NOWHERE)
    before = Coverage(destination="https://mirror.example/", release="", cells=(), findings=(), sizes={})
    told = Told()
    assert prove_all(before, tried, [Pip.find(os.environ, Network)], "http://127.0.0.1:9/simple/", told) == before
    assert [(notice.code, notice.package) for notice in told.notices_seen] == [("left-out", "b==2"), ("not-tried", "")]
    assert "no installer tried anything" in told.notices_seen[-1].message


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
