"""The requirements files that the official exporter wrote for the corpus, read back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.markers import Marker

Release = tuple[NormalizedName, str]
"""Normalized name and version; the version of a direct reference is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one release's lines say together; the official exporter writes one line per set of extras."""

    markers: tuple[Marker | None, ...]
    hashes: frozenset[str]

    def holds(self, environment: Mapping[str, str]) -> bool:
        """Judge the markers as pip does, with `packaging`."""
        return any(marker is None or marker.evaluate({**environment, "extra": ""}) for marker in self.markers)


def parse(text: str) -> dict[Release, Line]:
    """Read a requirements file; options and comments say nothing here."""
    markers: dict[Release, list[Marker | None]] = defaultdict(list)
    hashes: dict[Release, set[str]] = defaultdict(set)
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith(("#", "--")):
            continue
        stated, *digests = line.split(" --hash=")
        requirement = Requirement(stated)
        version = "" if requirement.url else next(iter(requirement.specifier)).version
        release = (canonicalize_name(requirement.name), version)
        markers[release].append(requirement.marker)
        hashes[release].update(digest.strip() for digest in digests)
    return {
        release: Line(markers=tuple(found), hashes=frozenset(hashes[release])) for release, found in markers.items()
    }
