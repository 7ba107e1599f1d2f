"""uv as a witness: it resolves for other platforms and Pythons with their own markers, from the core metadata alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.installers.children import Children, loopback, unproxied
from mirror.installers.words import last_words
from mirror.requirements_file import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mirror.downloads.configuration import Network
    from mirror.installers.base import Trial
    from mirror.targets import Environment

_VERSION = re.compile(r"uv (\S+)")
_GLIBC = re.compile(r"manylinux_2_(\d+)_")
_MACOS = re.compile(r"macosx_(\d+_\d+)_")
_GLIBCS = (17, 28, *range(31, 41))
"""The minors of glibc 2 that `--python-platform` knows."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_SYSTEMS = {"macos": "apple-darwin", "windows": "pc-windows-msvc", "musllinux": "unknown-linux-musl"}


@dataclass(frozen=True, kw_only=True)
class Uv:
    """A uv on this machine. It follows every dependency in every environment, and fetches no wheel in a dry run."""

    name: str
    program: str
    network: Callable[[], Network]
    """How hosts are reached; asked only when the index is not on this machine."""
    children: Children
    python: str = sys.executable
    """An interpreter to stand in for the ones that are not here."""

    @classmethod
    def find(cls, environ: Mapping[str, str], network: Callable[[], Network]) -> Uv | None:
        """Look for uv on the PATH of `environ`; None when there is none, or none that runs."""
        program = shutil.which("uv", path=environ.get("PATH"))
        if program is None:
            return None
        try:
            done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env={**environ})
        except OSError:
            return None
        version = _VERSION.match(done.stdout)
        if done.returncode or version is None:
            return None
        children = Children(environ=environ)
        return cls(name=f"uv {version[1]}", program=program, network=network, children=children)

    def excuse(self, environment: Environment) -> str:
        """Say so when uv knows no name for a platform like that."""
        return "" if _platform(environment) else f"it knows no platform like {environment.platforms[0]}"

    def attempt(self, trial: Trial, index: str, folder: Path) -> str:
        """Do a dry run; see `Installer`."""
        (folder / "requirements.txt").write_text(render(trial.requirements), encoding="utf-8")
        command = [
            *(self.program, "pip", "install", "--dry-run", "--quiet", "--no-config", "--no-cache", "--color=never"),
            *("--require-hashes", "--only-binary=:all:", "--requirements=requirements.txt", "--target=target"),
            *(f"--python={self.python}", "--no-python-downloads", f"--python-version={trial.version}"),
            f"--python-platform={_platform(trial.environment)}",
            *(["--no-deps"] if trial.left_out else []),
        ]
        code, said = self.children.run(command, folder, {**self._settings(index, trial), **unproxied(index)})
        return last_words(said) if code else ""

    def stop(self) -> None:
        """End every uv."""
        self.children.stop()

    def _settings(self, index: str, trial: Trial) -> dict[str, str]:
        """The variables that uv reads. The index is one of them, for a list of processes shows arguments."""
        macos = _MACOS.match(trial.environment.platforms[0])
        ours = {
            "UV_DEFAULT_INDEX": index,
            "UV_NO_PROGRESS": "1",
            "MACOSX_DEPLOYMENT_TARGET": macos[1].replace("_", ".") if macos else "",
        }
        if loopback(index):
            return ours
        network = self.network()
        cert = Path(network.cert) if network.cert else None
        return {
            **ours,
            **dict.fromkeys(("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"), "1"),  # its newer and its older name
            "SSL_CERT_FILE": str(cert) if cert and cert.is_file() else "",
            "SSL_CERT_DIR": str(cert) if cert and cert.is_dir() else "",
            "SSL_CLIENT_CERT": network.client_cert,
            "ALL_PROXY": network.proxy,
            "UV_INSECURE_HOST": " ".join(network.trusted_hosts),
            "UV_HTTP_TIMEOUT": str(max(1, round(network.timeout))),
            "UV_HTTP_RETRIES": str(network.retries),
        }


def _platform(environment: Environment) -> str:
    """What uv calls the platform; of glibc the first that it knows that is not older. Empty when it knows none."""
    target = environment.target
    machine = _MACHINES.get(target.machine, target.machine)
    if target.system in _SYSTEMS:
        return f"{machine}-{_SYSTEMS[target.system]}"
    glibc = _GLIBC.match(environment.platforms[0])
    minor = next((known for known in _GLIBCS if glibc and known >= int(glibc[1])), None)
    return f"{machine}-manylinux_2_{minor}" if minor else ""
