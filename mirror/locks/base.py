"""What every lock file can answer, whatever its format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from packaging.utils import NormalizedName

    from mirror.model import Digest, LockedPackage, Membership, Notice, Scope, Source
    from mirror.targets import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line of an exported requirements file, before it is printed."""

    name: str
    version: str
    """Empty for a direct reference."""
    marker: str
    """PEP 508 text, empty for "always"."""
    digests: tuple[Digest, ...]
    source: Source
    approximate: bool = False
    """Whether the marker names the known platforms one by one, because the lock's own clauses would not combine."""


@dataclass(frozen=True, kw_only=True)
class Lock(ABC):
    """A lock file that was read and found consistent."""

    path: Path
    label: str
    """The path as the user named it, for messages and reports."""
    format: str
    """For example `poetry.lock 2.1`."""
    digest: str
    """`sha256:<hex>` of the file's bytes."""
    packages: tuple[LockedPackage, ...]
    groups: tuple[NormalizedName, ...]
    extras: tuple[NormalizedName, ...]
    notices: tuple[Notice, ...]
    project: str = ""
    """The name of the project that it belongs to, as its pyproject.toml states it; empty when it states none."""
    primary_index: str = ""
    """The simple index that the project puts in the place of the default one; empty when the default one stays."""

    @abstractmethod
    def pythons(self) -> tuple[str, ...]:
        """Every CPython minor (`3.11`) among `targets.KNOWN_PYTHONS` of which the lock admits some patch release."""

    @abstractmethod
    def patches(self, minor: str) -> tuple[str, ...]:
        """Full versions of a minor (`3.11.0`, `3.11.99`) that together meet every python clause of the lock.

        Locks test `python_full_version`; one patch release per minor would lose what the others need. Sorted, inside
        the project's own python range; empty when the lock does not admit the minor at all.
        """

    @abstractmethod
    def membership(self, environment: Environment, scope: Scope) -> Mapping[LockedPackage, Membership]:
        """Say for each package in the scope whether the environment installs it, at any of its full versions.

        A package that belongs to no wanted group or extra is left out. Raise `LockError` when the lock contradicts
        itself for this environment, for example by selecting two versions of one project.
        """

    @abstractmethod
    def requirements(self, scope: Scope) -> tuple[Requirement, ...]:
        """The lock as requirements with markers, as the official export states them; sorted as the file prints them."""
