"""A lock for tests: its packages and markers are given, its answers are honest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from mirror.locks.base import Lock, Requirement
from mirror.model import Digest, LockedFile, LockedPackage, Membership, Source
from mirror.targets import KNOWN_PYTHONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.model import Scope
    from mirror.targets import Environment

MAIN = canonicalize_name("main")


def digest(character: str = "a") -> Digest:
    """A digest that is easy to tell from another one."""
    return Digest("sha256", character * 64)


INDEX = Source()


def package(
    name: str,
    version: str,
    *filenames: str,
    source: Source = INDEX,
    groups: tuple[str, ...] = ("main",),
    of: str = "a",
) -> LockedPackage:
    """A locked package whose files all have the digest made of the letter `of`."""
    return LockedPackage(
        name=canonicalize_name(name),
        version=Version(version),
        files=tuple(LockedFile(filename, digest(of)) for filename in filenames),
        source=source,
        groups=tuple(canonicalize_name(group) for group in groups),
    )


@cache
def _marker(text: str) -> Marker:
    return Marker(text)


@dataclass(frozen=True, kw_only=True)
class ListedLock(Lock):
    """Packages with a marker each (none means always), for a range of Python versions."""

    path: Path = Path("poetry.lock")
    label: str = "poetry.lock"
    format: str = "listed"
    digest: str = "sha256:" + "0" * 64
    packages: tuple[LockedPackage, ...] = ()
    groups: tuple[NormalizedName, ...] = (MAIN,)
    extras: tuple[NormalizedName, ...] = ()
    notices: tuple[Any, ...] = ()
    requires_python: str = ">=3.8"
    marked: Mapping[str, str] = field(default_factory=dict)
    """Marker by package name."""

    def pythons(self) -> tuple[str, ...]:
        """Every known minor with an admitted patch release."""
        return tuple(minor for minor in KNOWN_PYTHONS if self.patches(minor))

    def patches(self, minor: str) -> tuple[str, ...]:
        """The first and a late patch release, as far as they are admitted."""
        admitted = SpecifierSet(self.requires_python)
        return tuple(version for version in (f"{minor}.0", f"{minor}.99") if admitted.contains(version))

    def membership(self, environment: Environment, scope: Scope) -> Mapping[LockedPackage, Membership]:
        """Evaluate each package's marker at every full version of the environment."""
        return {
            package: self._membership(package, environment)
            for package in self.packages
            if scope.groups is None or scope.groups & set(package.groups)
        }

    def _membership(self, package: LockedPackage, environment: Environment) -> Membership:
        marker = self.marked.get(package.name, "")
        if not marker:
            return Membership.SELECTED
        grids = [{**environment.markers(version), "extra": ""} for version in environment.full_versions]
        return Membership.SELECTED if any(map(_marker(marker).evaluate, grids)) else Membership.BY_MARKER

    def requirements(self, scope: Scope) -> tuple[Requirement, ...]:
        """Each package of the scope as one line."""
        return tuple(
            Requirement(
                name=package.name,
                version=str(package.version),
                marker=self.marked.get(package.name, ""),
                digests=tuple(sorted({file.digest for file in package.files})),
                source=package.source,
            )
            for package in sorted(self.packages, key=str)
            if scope.groups is None or scope.groups & set(package.groups)
        )
