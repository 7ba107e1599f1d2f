"""What the mirror holds of one project: its releases, newest first, as every page about it needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mirror.model import About, Artifact, Manifest, ProjectStatus

_version = lru_cache(maxsize=65536)(Version)


@dataclass(frozen=True, slots=True)
class HeldRelease:
    """The files of one version."""

    version: str
    """Normalized."""
    artifacts: tuple[Artifact, ...]
    """By filename; at least one."""

    @property
    def yanked(self) -> bool:
        """Whether every file of it is."""
        return all(artifact.yanked is not None for artifact in self.artifacts)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(artifact.size for artifact in self.artifacts)


@dataclass(frozen=True, slots=True)
class HeldProject:
    """The releases of one project, and what is known of it."""

    name: str
    """Normalized."""
    releases: tuple[HeldRelease, ...]
    """Newest first; at least one."""
    status: ProjectStatus | None = None
    about: About | None = None

    @property
    def files(self) -> int:
        """How many files it has."""
        return sum(len(release.artifacts) for release in self.releases)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(release.size for release in self.releases)

    @property
    def newest(self) -> HeldRelease:
        """The newest release that is not yanked; when all are, the newest."""
        return next((release for release in self.releases if not release.yanked), self.releases[0])


def held(manifest: Manifest) -> Iterator[HeldProject]:
    """Every project of a manifest, by name."""
    statuses, about = dict(manifest.statuses), dict(manifest.about)
    artifacts = sorted(manifest.artifacts, key=attrgetter("project"))
    for name, group in groupby(artifacts, key=attrgetter("project")):
        yield HeldProject(name, releases(group), statuses.get(name), about.get(name))


def releases(artifacts: Iterable[Artifact]) -> tuple[HeldRelease, ...]:
    """Files by version, newest first; spellings of one version (`1.0`, `1`) are one release."""
    by_text: dict[str, list[Artifact]] = {}
    for artifact in artifacts:
        by_text.setdefault(artifact.version, []).append(artifact)
    ordered = sorted(by_text, key=_version, reverse=True)
    return tuple([_release([by_text[text] for text in group]) for _, group in groupby(ordered, key=_version)])


def _release(spellings: list[list[Artifact]]) -> HeldRelease:
    files = tuple(sorted(chain.from_iterable(spellings), key=attrgetter("filename")))
    return HeldRelease(str(_version(files[0].version)), files)
