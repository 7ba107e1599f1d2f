"""`mirror` run as a command against buckets: the work directory of a small project, and the settings of a server."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests import project as projects
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faulty_index import FaultyIndex
    from tests.project import Project
    from tests.s3.conftest import Bucket

PYTHON = ("--python", "3.11", "--targets", "linux-x86_64")


@dataclass(frozen=True)
class Run:
    """How a command of this project ends."""

    project: Project

    def __call__(self, name: str, /, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Nothing is given by itself: `flags` name what the command needs."""
        return subprocess.run(
            self.command(name, *flags), env=self.project.environment(**environment), cwd=self.project.work,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def command(self, name: str, *flags: str) -> list[str]:
        """The command line, for who starts it otherwise."""
        given: list[str] = []
        if name in ("refresh", "verify"):
            given += ["--project", str(self.project.folder), *PYTHON]
        if name == "refresh":
            given += ["--index-url", self.project.index.url]
        # The work directory is the current folder.
        return [sys.executable, "-m", "mirror", name, *given, *flags]


def settings(bucket: Bucket) -> dict[str, str]:
    """The settings that lead to a bucket, as they stand in `config.env`."""
    server = bucket.server
    return {"BUCKET_NAME": bucket.name, "AWS_PROFILE": server.name, "ENDPOINT_URL": server.endpoint}


def address(bucket: Bucket, prefix: str = "") -> str:
    """A destination that says by itself how it is reached."""
    server = bucket.server
    return f"s3://{bucket.name}/{prefix}?endpoint_url={server.endpoint}&profile={server.name}&region=us-east-1"


def first(folder: Path, index: FaultyIndex) -> Run:
    """A project that locks alpha 1.0 (a wheel) and beta 1.0 (an sdist)."""
    project = projects.Project(folder / "project", folder / "work", index)
    project.work.mkdir(parents=True)
    made = folder / "dist"
    projects.lock(project, [[make_wheel(made, "alpha", "1.0")], [make_sdist(made, "beta", "1.0")]])
    return Run(project)


def second(folder: Path, run: Run) -> Run:
    """The same project a release later, in a work directory of its own: another alpha, and gamma instead of beta."""
    project = projects.Project(folder / "project", folder / "work", run.project.index)
    project.work.mkdir(parents=True)
    made = folder / "dist"
    projects.lock(project, [[make_wheel(made, "alpha", "2.0+local.1")], [make_wheel(made, "gamma", "1.0")]])
    return Run(project)
