"""GitHub through its own command line, `gh`. Values go in through stdin: a list of processes shows arguments."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.errors import MirrorError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Facts:
    """What GitHub knows of a repository."""

    name: str
    """`owner/name` in GitHub's own spelling, as its tokens have it."""
    number: str
    """GitHub's own number of the repository: it stays when names are given to others."""
    owner: str
    """GitHub's own number of the owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository on GitHub. Every method raises `RemoteError` when gh does not do what it is told."""

    name: str
    """`owner/name`."""
    environment: str

    @staticmethod
    def reachable() -> bool:
        """Whether gh is installed."""
        return shutil.which("gh") is not None

    def facts(self) -> Facts:
        """Look up what a trust policy is tied to."""
        answer = self._gh("api", f"repos/{self.name}")
        try:
            document = json.loads(answer)
            return Facts(str(document["full_name"]), str(int(document["id"])), str(int(document["owner"]["id"])))
        except (ValueError, KeyError, TypeError) as error:
            raise RemoteError(
                f"gh api repos/{self.name}: the answer has no name or id", hint="is gh up to date?"
            ) from error

    def ensure_environment(self) -> None:
        """Make the environment unless it is there; its protection rules stay as they are."""
        address = f"repos/{self.name}/environments/{self.environment}"
        try:
            self._gh("api", address)
        except RemoteError as error:
            # Putting one that is there would take its protection rules away.
            if "HTTP 404" not in str(error):
                raise
            self._gh("api", "--method", "PUT", address)

    def set_secret(self, name: str, value: str) -> None:
        """Set a secret of the environment."""
        self._gh("secret", "set", name, "--repo", self.name, "--env", self.environment, given=value)

    def set_variables(self, values: Mapping[str, str]) -> None:
        """Set variables of the environment: what a publishing job needs and everybody may know."""
        for name, value in values.items():
            self._gh("variable", "set", name, "--repo", self.name, "--env", self.environment, given=value)

    def unset_variables(self, names: Iterable[str]) -> None:
        """Remove variables of the environment, if they are there: no job is to go on with what does not stand."""
        for name in names:
            try:
                self._gh("variable", "delete", name, "--repo", self.name, "--env", self.environment)
            except RemoteError as error:
                if "HTTP 404" not in str(error):
                    raise

    def _gh(self, *arguments: str, given: str | None = None) -> str:
        program = shutil.which("gh")
        if program is None:
            raise MirrorError("gh is not installed", hint="install GitHub's command line, or set it by hand")
        try:
            done = subprocess.run(
                [program, *arguments], input=given if given is not None else "", capture_output=True,
                text=True, encoding="utf-8", check=False, timeout=_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RemoteError(f"gh {arguments[0]}: {type(error).__name__}", hint="try again") from error
        if done.returncode:
            # What it printed is shown, but never what it was given.
            said = done.stderr.strip() or f"exit code {done.returncode}"
            if given:
                said = said.replace(given, "…")
            raise RemoteError(f"gh {' '.join(arguments[:3])}: {said}", hint="sign in with: gh auth login")
        return done.stdout
