"""The installer port: somebody else's word on whether an environment can be installed from a mirror."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from mirror.locks.base import Requirement
    from mirror.targets import Environment


@dataclass(frozen=True, slots=True)
class Here:
    """The machine and the Python that we run on."""

    target: str
    """Empty when it is none of the targets."""
    version: str
    """`3.11.4`"""

    @property
    def python(self) -> str:
        """The minor, `3.11`."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Everything that a lock installs in one environment."""

    lock: str
    """The lock's path as the user named it."""
    environment: Environment
    version: str
    """The patch release of its Python for which markers were judged."""
    requirements: tuple[Requirement, ...]
    """Pinned, with digests and without markers, sorted by name."""
    left_out: tuple[str, ...] = ()
    """`name==version` of what no installer finds a wheel for there, as coverage says; sorted."""
    here: bool = False
    """Whether it is the very environment that we run on."""


class Installer(Protocol):
    """An installer that can try without installing. Safe for several threads."""

    @property
    def name(self) -> str:
        """With its version, e.g. `pip 26.3`."""

    def excuse(self, environment: Environment) -> str:
        """Why it cannot try for that environment; empty when it can."""

    def attempt(self, trial: Trial, index: str, folder: Path) -> str:
        """Do a dry run with hashes required and `index` as the only index; return its complaint, empty for none.

        `index` is the URL of a simple index, perhaps with credentials, which are never part of a complaint. `folder`
        is empty and belongs to this trial alone. Raise `MirrorError` when the installer cannot be run at all.
        """

    def stop(self) -> None:
        """End whatever runs; attempts from then on return at once."""
