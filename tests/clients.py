"""Real installers, fetched once from the machine's own index and kept under `.cache/clients`."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Mapping

CACHE = Path(__file__).parent.parent / ".cache" / "clients"
OLD_PIPS = ("19.3.1", "22.3.1", "23.1.2")


@dataclass(frozen=True)
class Clients:
    """Where the installers are."""

    folder: Path

    @property
    def python(self) -> Path:
        """A Python with the newest pip."""
        return _bin(self.folder / "venv") / "python"

    def tool(self, name: str) -> Path:
        """`uv` or `poetry`, the newest."""
        return _bin(self.folder / "venv") / name

    def old_pip(self, version: str) -> Path:
        """An old pip that runs as a zip application, without being installed."""
        wheel = next(self.folder.glob(f"pip-{version}-*.whl"))
        return wheel / "pip"


def _bin(environment: Path) -> Path:
    return environment / ("Scripts" if sys.platform == "win32" else "bin")


def make_environment(folder: Path) -> Path:
    """Make a virtual environment and return its Python."""
    venv.create(folder, with_pip=True)
    return _bin(folder) / "python"


def fetch(environment: Mapping[str, str]) -> Clients:
    """Fetch the installers unless they are here. `environment` is the machine's own, so that its index is used."""
    clients = Clients(CACHE)
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        if not (CACHE / "ready").exists():
            make_environment(CACHE / "venv")
            pip = [str(clients.python), "-m", "pip"]
            subprocess.run([*pip, "install", "-q", "-U", "pip", "uv", "poetry"], check=True, env=environment)
            for version in OLD_PIPS:
                command = [*pip, "download", "-q", "--no-deps", "-d", str(CACHE), f"pip=={version}"]
                subprocess.run(command, check=True, env=environment)
            (CACHE / "ready").touch()
    return clients
