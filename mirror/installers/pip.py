"""pip as a witness: a dry run of a whole requirements file, every byte fetched and held against the lock's digest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.errors import MirrorError
from mirror.installers.children import Children, loopback, unproxied
from mirror.installers.words import last_words
from mirror.requirements_file import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mirror.downloads.configuration import Network
    from mirror.installers.base import Trial
    from mirror.targets import Environment

_VERSION = re.compile(r"pip (\S+) ")
_TOO_OLD = "no such option"


@dataclass(frozen=True, kw_only=True)
class Pip:
    """The pip of a Python.

    On the environment that we run on it follows every dependency, in a virtual environment made for the purpose. Of
    others it takes the tags as they are given, but judges the dependencies' markers for the machine that it runs on
    (pypa/pip#11664); so there it looks for what is listed and follows none.
    """

    name: str
    python: str
    network: Callable[[], Network]
    """How hosts are reached; asked only when the index is not on this machine."""
    children: Children

    @classmethod
    def find(cls, environ: Mapping[str, str], network: Callable[[], Network], python: str = sys.executable) -> Pip:
        """Ask the pip of `python` for its version. Raise `MirrorError` when there is none."""
        command = [python, "-m", "pip", "--version"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, env={**environ})
        except OSError as error:
            raise MirrorError(f"cannot run {python}: {error.strerror or error}") from error
        version = _VERSION.match(done.stdout)
        if done.returncode or version is None:
            raise MirrorError(
                f"{python} has no pip: {last_words(done.stderr or done.stdout)}",
                hint="install pip 25.1 or newer there; it is what tries the mirror",
            )
        return cls(name=f"pip {version[1]}", python=python, network=network, children=Children(environ=environ))

    def excuse(self, environment: Environment) -> str:  # noqa: ARG002 - it takes any tags
        """It can try for every environment."""
        return ""

    def attempt(self, trial: Trial, index: str, folder: Path) -> str:
        """Do a dry run; see `Installer`."""
        (folder / "requirements.txt").write_text(render(trial.requirements), encoding="utf-8")
        command = [
            *(self._there(trial, folder) if trial.here else self._elsewhere(trial)),
            *("--dry-run", "--quiet", "--ignore-installed", "--require-hashes", "--only-binary=:all:"),
            *("--no-cache-dir", "--progress-bar=off", "--requirement=requirements.txt"),
            *(["--no-deps"] if trial.left_out or not trial.here else []),
        ]
        code, said = self.children.run(command, folder, {**self._settings(index), **unproxied(index)})
        if _TOO_OLD in said:
            raise MirrorError(f"{self.name} cannot be used: {last_words(said)}", hint="pip 25.1 or newer is needed")
        return last_words(said) if code else ""

    def stop(self) -> None:
        """End every pip."""
        self.children.stop()

    def _there(self, trial: Trial, folder: Path) -> list[str]:  # noqa: ARG002
        environment = folder / "environment"
        venv.create(environment, with_pip=False, symlinks=os.name == "posix")
        # pip knows where an environment has its interpreter.
        return [self.python, "-m", "pip", f"--python={environment}", "install"]

    def _elsewhere(self, trial: Trial) -> list[str]:
        environment = trial.environment
        abis = dict.fromkeys(tag.abi for tag in environment.tags)
        return [
            *(self.python, "-m", "pip", "install", "--target=target"),
            *("--implementation=cp", f"--python-version={trial.version}"),
            *(f"--abi={abi}" for abi in abis),
            *(f"--platform={platform}" for platform in environment.platforms),
        ]

    def _settings(self, index: str) -> dict[str, str]:
        """The variables that pip reads. The index is one of them, for a list of processes shows arguments."""
        ours = {
            "PIP_CONFIG_FILE": os.devnull,  # pip: "set ... to os.devnull to disable loading all configuration files"
            "PIP_INDEX_URL": index,
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        if loopback(index):
            return ours
        network = self.network()
        return {
            **ours,
            "PIP_CERT": network.cert,
            "PIP_CLIENT_CERT": network.client_cert,
            "PIP_PROXY": network.proxy,
            "PIP_TRUSTED_HOST": " ".join(network.trusted_hosts),
            "PIP_TIMEOUT": f"{network.timeout:g}",
            "PIP_RETRIES": str(network.retries),
        }
