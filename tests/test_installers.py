"""The acceptance test of an index is a real installer pointed at it: this project's own locked set, mirrored for real.

The mirror is made from the machine's own index; the installers then see the mirror and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.targets import TARGETS, Baseline, environment
from tests.clients import OLD_PIPS, Clients, fetch, make_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("installers"), pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Site:
    """A served mirror of this project's own lock."""

    url: str
    plan: dict[str, list[dict[str, str]]]

    def requirements(self, target: str) -> str:
        """The files of one platform as requirement lines; pip would judge markers for the machine that it runs on."""
        digests = {file["filename"]: file["digest"] for file in self.plan["files"]}
        cells = [cell for cell in self.plan["cells"] if cell["target"] == target and cell.get("filename")]
        lines = {f"{cell['package']}=={cell['version']} --hash={digests[cell['filename']]}" for cell in cells}
        return "\n".join(sorted(lines)) + "\n"


@pytest.fixture(scope="module")
def clients(machine_environment: dict[str, str]) -> Clients:
    return fetch(machine_environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, machine_environment: dict[str, str]) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("own")
    project = folder / "project"
    project.mkdir()
    for name in ("pyproject.toml", "poetry.lock"):
        shutil.copy(ROOT / name, project)
    own = {**machine_environment, "PYTHONPATH": str(ROOT)}
    mirror = [sys.executable, "-m", "mirror"]
    where = ["--project", str(project), "--python", MINOR, "--work-dir", str(folder)]
    subprocess.run([*mirror, "refresh", *where, "--destination", str(folder / "site")], check=True, env=own)
    planned = subprocess.run([*mirror, "plan", *where, "--json"], check=True, env=own, capture_output=True, text=True)
    command = [*mirror, "serve", "--directory", str(folder / "site"), "--port", "0"]
    with subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        found = re.search(r"http://\S+/", server.stderr.readline())
        assert found is not None
        yield Site(found[0] + "simple/", json.loads(planned.stdout))
        server.terminate()


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """An environment in which installers know no index but the one on their command line, and share no cache."""
    return {**os.environ, "PIP_NO_CACHE_DIR": "1", "UV_CACHE_DIR": str(tmp_path / "uv"), "PIP_CONFIG_FILE": os.devnull,
            "POETRY_CACHE_DIR": str(tmp_path / "poetry"), "POETRY_VIRTUALENVS_IN_PROJECT": "1"}  # fmt: skip


def run(*command: str | Path, env: dict[str, str], cwd: Path | None = None) -> str:
    arguments = [str(part) for part in command]
    done = subprocess.run(arguments, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def installed(python: Path, env: dict[str, str]) -> dict[str, str]:
    return _versions(json.loads(run(python, "-m", "pip", "list", "--format", "json", env=env)))


def _versions(listed: list[dict[str, str]]) -> dict[str, str]:
    return {re.sub(r"[-_.]+", "-", entry["name"]).lower(): entry["version"] for entry in listed}


def expected(site: Site) -> dict[str, str]:
    running = {"linux": "linux-x86_64", "darwin": "macos-arm64", "win32": "windows-amd64"}[sys.platform]
    return {
        cell["package"]: cell["version"]
        for cell in site.plan["cells"]
        if cell["target"] == running and cell.get("filename")
    }


def test_newest_pip_installs_the_whole_locked_set(
    site: Site, clients: Clients, alone: dict[str, str], tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "venv")
    run(
        clients.python, "-m", "pip", "--python", python, "install", "--require-hashes", "--index-url", site.url,
        "-r", ROOT / "requirements-all.txt", env=alone,
    )  # fmt: skip
    assert expected(site).items() <= installed(python, alone).items()


def test_newest_uv_installs_the_whole_locked_set(
    site: Site, clients: Clients, alone: dict[str, str], tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "venv")
    run(
        clients.tool("uv"), "pip", "install", "--no-config", "--python", python, "--require-hashes",
        "--default-index", site.url, "-r", ROOT / "requirements-all.txt", env=alone,
    )  # fmt: skip
    assert expected(site).items() <= installed(python, alone).items()


def test_newest_poetry_locks_and_installs_the_whole_locked_set(
    site: Site, clients: Clients, alone: dict[str, str], tmp_path: Path
) -> None:
    pins = "".join(f'    "{name}=={version}",\n' for name, version in sorted(expected(site).items()))
    major, minor = MINOR.split(".")
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">={MINOR},<{major}.{int(minor) + 1}"\n'
        f"dependencies = [\n{pins}]\n\n[tool.poetry]\npackage-mode = false\n\n"
        f'[[tool.poetry.source]]\nname = "mirror"\nurl = "{site.url}"\npriority = "primary"\n'
    )
    run(clients.tool("poetry"), "lock", "--no-interaction", env=alone, cwd=tmp_path)
    run(clients.tool("poetry"), "install", "--no-interaction", "--no-root", env=alone, cwd=tmp_path)
    locked = set(re.findall(r"sha256:[0-9a-f]{64}", (tmp_path / "poetry.lock").read_text()))
    assert locked <= {file["digest"] for file in site.plan["files"]}
    python = run(clients.tool("poetry"), "env", "info", "--executable", env=alone, cwd=tmp_path).strip()
    listed = json.loads(run(clients.python, "-m", "pip", "--python", python, "list", "--format", "json", env=alone))
    assert expected(site).items() <= _versions(listed).items()


@pytest.mark.parametrize("target", PLATFORMS)
def test_newest_pip_downloads_every_file_of_every_platform(
    target: str, site: Site, clients: Clients, alone: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text(site.requirements(target))
    platforms = environment(TARGETS[target], MINOR, Baseline()).platforms
    flags = [part for platform in platforms for part in ("--platform", platform)]
    run(
        clients.python, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes", *flags,
        "--python-version", MINOR, "--index-url", site.url, "-r", tmp_path / "requirements.txt",
        "-d", tmp_path / "out", env=alone,
    )  # fmt: skip
    wanted = {cell["filename"] for cell in site.plan["cells"] if cell["target"] == target and cell.get("filename")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == wanted


@pytest.mark.parametrize("version", OLD_PIPS)
def test_old_pips_install_the_locked_set(
    version: str, site: Site, clients: Clients, alone: dict[str, str], tmp_path: Path
) -> None:
    """Old pips install what their own tags admit: pip before 20.3 knows no tag newer than manylinux2014."""
    python = make_environment(tmp_path / "venv")
    requirements = (ROOT / "requirements-all.txt").read_text()
    (tmp_path / "requirements.txt").write_text(requirements)
    run(
        python, clients.old_pip(version), "install", "--require-hashes", "--index-url", site.url,
        "-r", tmp_path / "requirements.txt", env=alone,
    )  # fmt: skip
    assert expected(site).items() <= installed(python, alone).items()
