"""A small real project: a lock, its wheels on a loopback index, and `mirror` run on it as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import lockfiles
from tests.wheels import digest_of, make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faulty_index import FaultyIndex

ROOT = Path(__file__).resolve().parent.parent
PLATFORM_TAGS = (
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64",
    "cp311-cp311-macosx_11_0_arm64",
    "cp311-cp311-win_amd64",
)


@dataclass(frozen=True)
class Project:
    """A folder with a lock, and a folder to work in."""

    folder: Path
    work: Path
    index: FaultyIndex

    @property
    def site(self) -> Path:
        """Where it is published by default."""
        return self.work / "site"

    def command(self, name: str, *flags: str) -> list[str]:
        """The command line of `mirror`; every flag that depends on the machine is given."""
        known: dict[str, Sequence[str]] = {
            "--project": ("refresh", "setup", "export", "plan", "verify", "doctor"),
            "--work-dir": (
                *("refresh", "setup", "plan", "download", "consolidate", "index", "sync", "invalidate", "verify"),
                *("sbom", "doctor"),
            ),
            "--destination": ("refresh", "setup", "sync", "invalidate", "verify", "doctor"),
            "--index-url": ("refresh", "setup", "plan", "download", "doctor"),
        }
        values = {
            "--project": str(self.folder),
            "--work-dir": str(self.work),
            "--destination": str(self.site),
            "--index-url": self.index.url,
        }
        given = [part for flag in values if name in known[flag] and flag not in flags for part in (flag, values[flag])]
        return [sys.executable, "-m", "mirror", name, *given, *flags]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a run: pip fails fast, so that a test of a fault takes seconds."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "PIP_RETRIES": "1", "PIP_TIMEOUT": "5", **more}

    def mirror(self, name: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(name, *flags), env=self.environment(**environment), cwd=self.work,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip


def make(folder: Path, index: FaultyIndex, *, size: int = 0, names: Sequence[str] = ("alpha", "beta")) -> Project:
    """Lock `names` (pure Python), `native` (a wheel for each platform) and `source` (an sdist only)."""
    padding: dict[str, bytes] = {"padding": os.urandom(size) if size else b""}
    paths = [[make_wheel(folder / "dist", name, "1.0", files={f"{name}.py": b"", **padding})] for name in names]
    paths.append([make_wheel(folder / "dist", "native", "2.0", tag, files=padding) for tag in PLATFORM_TAGS])
    paths.append([make_sdist(folder / "dist", "source", "3.0")])
    project = Project(folder / "project", folder / "work", index)
    project.work.mkdir(parents=True, exist_ok=True)
    lock(project, paths)
    return project


def lock(project: Project, paths: Sequence[Sequence[Path]], *, python: str = ">=3.11,<3.12", **facts: Any) -> None:
    """Write the lock of some releases, each given by its files, and offer the files on the index."""
    tables = ""
    for release in paths:
        name, version = _release(release[0].name)
        files = ", ".join(f'{{file = "{path.name}", hash = "{digest_of(path)}"}}' for path in release)
        tables += lockfiles.flat(name, version, files_of=False, files=f"[{files}]")
        for path in release:
            project.index.add(path, **facts.get(path.name, {"upload-time": "2026-01-02T03:04:05.678901Z"}))
    project.folder.mkdir(parents=True, exist_ok=True)
    lockfiles.write(project.folder, tables, python=python,
                    pyproject=f'[project]\nname = "demo"\nrequires-python = "{python}"\n')  # fmt: skip


def _release(filename: str) -> tuple[str, str]:
    name, version = filename.removesuffix(".tar.gz").split("-")[:2]
    return name, version


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
