"""What a lock that pins everything on a small site expects of it, for two platforms."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from packaging.version import Version

from mirror.coverage import Expectation
from mirror.model import Digest, LockedFile, LockedPackage, Reason
from mirror.selection import accepted, sdists
from mirror.targets import TARGETS, Baseline, environment

if TYPE_CHECKING:
    from mirror.coverage import Coverage
    from tests.sites import Site

ENVIRONMENTS = [environment(TARGETS[name], "3.11", Baseline()) for name in ("linux-x86_64", "macos-arm64")]


def locked(site: Site, algorithm: str = "sha256") -> list[LockedPackage]:
    """What a lock pins of the site."""
    projects = sorted({artifact.project for artifact in site.manifest.artifacts})
    packages = []
    for project in projects:
        artifacts = [artifact for artifact in site.manifest.artifacts if artifact.project == project]
        files = []
        for artifact in artifacts:
            data = (site.artifacts / artifact.filename).read_bytes()
            files.append(LockedFile(artifact.filename, Digest(algorithm, hashlib.new(algorithm, data).hexdigest())))
        packages.append(LockedPackage(name=project, version=Version(artifacts[0].version), files=tuple(files)))
    return packages


def expectations(packages: list[LockedPackage]) -> list[Expectation]:
    """The question as the pipeline asks it."""
    return [
        Expectation(
            lock="poetry.lock",
            package=package.name,
            version=str(package.version),
            target=item.target.name,
            python=item.python,
            candidates=accepted(package, item),
            sdists=sdists(package),
            fallback=Reason.NOT_PUBLISHED if accepted(package, item) else Reason.SDIST_ONLY,
        )
        for package in packages
        for item in ENVIRONMENTS
    ]


def reasons(coverage: Coverage) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for cell in coverage.cells:
        found.setdefault(cell.package, []).append(str(cell.reason))
    return found
