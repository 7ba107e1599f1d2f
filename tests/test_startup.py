"""What a command loads: nothing that it does not use, since a sync of nothing takes less time than an import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.state import State
from tests import lockfiles
from tests.sites import local, make_site
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent

HEAVY = frozenset(
    {
        *("asyncio", "email.message", "http.client", "importlib.metadata", "ssl", "tarfile", "xml.etree.ElementTree"),
        *("boto3", "botocore", "cyclonedx", "pip", "poetry", "pydantic", "requests", "selectolax", "starlette"),
        *("tomli", "truststore", "urllib3", "uvicorn", "rich.console", "rich.progress", "rich.table"),
        *("mirror.cdn.cloudfront", "mirror.cli.checkup", "mirror.cli.infra", "mirror.cli.reports", "mirror.doctor"),
        *("mirror.downloads", "mirror.infra.stack", "mirror.infra.template", "mirror.installers", "mirror.locks"),
        *("mirror.outside", "mirror.reports", "mirror.serve", "mirror.stores.local", "mirror.stores.s3"),
        *("mirror.upstream", "mirror.web"),
        *(f"mirror.phases.{path.stem}" for path in (ROOT / "mirror" / "phases").glob("[a-z]*.py")),
    }
)
"""What takes long to load, and every phase; with all that is below it."""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work directory with a lock, whose site is published."""
    site = make_site(tmp_path / "made", [make_wheel(tmp_path / "wheels", "alpha", "1.0")])
    site.publish(local(tmp_path / "site"))
    (tmp_path / "packages").mkdir()
    site.artifacts.rename(tmp_path / "packages" / "all")
    site.pages.rename(tmp_path / "index")
    State(tmp_path / ".mirror").save(site.manifest)
    lockfiles.write(tmp_path, lockfiles.flat("alpha", "1.0"), pyproject='[project]\nname = "demo"\n')
    return tmp_path


def loaded(folder: Path, *arguments: str) -> set[str]:
    """Every module that a command has loaded when it ends well."""
    script = (
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_module('mirror', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print(*sys.modules, sep='\\n', file=open('loaded.txt', 'w'))\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder, env=environ, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set((folder / "loaded.txt").read_text().split())


POETRY = {"poetry", "email.message", "http.client", "ssl"}
"""What reads markers, and what that loads."""
COMMANDS = {
    "version": (("--version",), set()),
    "sync": (("sync",), {"mirror.phases.sync", "mirror.stores.local", "rich.console"}),
    "releases": (("releases",), {"mirror.phases.releases", "mirror.stores.local", "rich.console", "rich.table"}),
    "export": (("export",), {"mirror.phases.export", "mirror.locks", "tomli", "rich.console", *POETRY}),
    "index": (("index",), {"mirror.phases.index", "rich.console"}),
}
"""What is run, and what of the heavy modules it needs."""


@pytest.fixture(scope="session")
def locking() -> set[str]:
    """What filelock loads, by which a work directory is claimed; it depends on its version."""
    command = [sys.executable, "-c", "import sys, filelock; print(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(("arguments", "needed"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_loads_what_it_needs_and_no_more(
    arguments: Sequence[str], needed: set[str], work: Path, locking: set[str]
) -> None:
    found = loaded(work, *arguments)
    free = locking if needed else set()
    assert heavy(found - free) == needed - free


def heavy(modules: set[str]) -> set[str]:
    """Those of `HEAVY` that are among some modules, by themselves or by what is below them."""
    return {known for known in HEAVY if any(f"{name}.".startswith(f"{known}.") for name in modules)}
