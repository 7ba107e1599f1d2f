"""Kill it anywhere, run it again, get the same (DESIGN rule 6): SIGKILL at moments spread over every phase."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mirror.simple import html
from tests import project as projects
from tests.faulty_index import FaultyIndex, drip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.project import Project

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to kill"),
    pytest.mark.timeout(600),
]

MOMENTS = 10


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with FaultyIndex() as index:
        made = projects.make(tmp_path, index, size=100_000, names=[f"package-{number}" for number in range(6)])
        for filename in sorted(index.files)[::3]:
            # Some files arrive slowly, so that many kills fall into downloads.
            index.faults[filename] = drip(seconds=0.3, piece=20_000)
        yield made


def killed_after(project: Project, seconds: float) -> bool:
    """Kill a refresh and all its children after a while; say whether it was still running."""
    process = subprocess.Popen(
        project.command("refresh"), env=project.environment(), cwd=project.work, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def no_page_lists_an_absent_file(project: Project) -> None:
    for page in (project.site / "simple").glob("*/index.html"):
        for file in html.parse(page.read_bytes(), "http://mirror.example/simple/p/", page.parent.name).files:
            assert (project.site / "packages" / file.filename).is_file()


def test_a_run_that_was_killed_anywhere_ends_as_an_undisturbed_one(project: Project, tmp_path: Path) -> None:
    calm = projects.Project(project.folder, tmp_path / "calm", project.index)
    calm.work.mkdir()
    start = time.monotonic()
    assert calm.mirror("refresh").returncode == 0
    whole = time.monotonic() - start

    chance = random.Random(20261121)
    hits = 0
    for number in range(MOMENTS):
        torn = projects.Project(project.folder, tmp_path / f"torn-{number}", project.index)
        torn.work.mkdir()
        # Every run is killed once or twice before it may finish.
        for _ in range(chance.randint(1, 2)):
            moment = whole * (number + chance.random()) / MOMENTS
            hits += killed_after(torn, moment)
            no_page_lists_an_absent_file(torn)
        done = torn.mirror("refresh")
        assert done.returncode == 0, done.stderr
        found = projects.tree(torn.site)
        # Of a writer who was killed the lock, empty, may be there until somebody writes again, and sweeps it.
        left = {name for name in found if ".staging" in name}
        assert not any(found.pop(name) for name in left)
        assert found == projects.tree(calm.site)
        for part in ("packages", "index"):
            assert projects.tree(torn.work / part) == projects.tree(calm.work / part)
        assert not any((torn.work / ".mirror" / "staging").rglob("*"))
    assert hits >= MOMENTS // 2


def test_a_run_that_is_told_to_stop_takes_its_pips_along(project: Project) -> None:
    process = subprocess.Popen(
        project.command("refresh"), env=project.environment(), cwd=project.work, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not project.index.asked("/files/") and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_nothing_that_was_proven_is_fetched_again(project: Project) -> None:
    assert killed_after(project, 1.5)
    held = {path.name for path in (project.work / "packages").glob("*/*") if not path.name.startswith(".")}
    project.index.requests.clear()
    assert project.mirror("refresh").returncode == 0
    fetched = {request.path.rpartition("/")[2] for request in project.index.asked("/files/")}
    assert not held & fetched
