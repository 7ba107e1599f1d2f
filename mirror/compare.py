"""The one comparison: what should be there against what is there. Sync acts on it, verify reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What proves an object's bytes."""

    sha256: str
    """64 lowercase hex digits."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every key of two mappings, in one of four lists; each list is sorted."""

    missing: tuple[str, ...]
    """Wanted and not present."""
    differing: tuple[str, ...]
    """Wanted and present, with another value."""
    matching: tuple[str, ...]
    extraneous: tuple[str, ...]
    """Present and not wanted."""


def compare(wanted: Mapping[str, object], present: Mapping[str, object]) -> Comparison:
    """Compare two mappings from key to `Fingerprint`, or to anything else that is equal when the objects are."""
    shared = sorted(wanted.keys() & present.keys())
    return Comparison(
        missing=tuple(sorted(wanted.keys() - present.keys())),
        differing=tuple(key for key in shared if wanted[key] != present[key]),
        matching=tuple(key for key in shared if wanted[key] == present[key]),
        extraneous=tuple(sorted(present.keys() - wanted.keys())),
    )
