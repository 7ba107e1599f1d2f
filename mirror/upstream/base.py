"""The upstream port: ask once per project where the locked files are, and what the index says of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mirror.model import ProjectStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.model import Digest, LockedFile
    from mirror.progress import Progress
    from mirror.simple.page import PageFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """The files of one project that some lock names."""

    project: NormalizedName
    index: str
    """URL of a simple index that the lock names; empty for the indexes that pip is configured to use."""
    files: tuple[LockedFile, ...]
    name: str = ""
    """What the lock calls that index, which is how Poetry's users name its credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What upstream says about the files of a `Want`, joined by filename and digest."""

    files: Mapping[str, PageFile] = field(default_factory=dict)
    """By filename: files whose advertised digest is the locked one, or that advertise none of its algorithm."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """By filename: the index that offers it, or that the lock names and only pip may read; without credentials."""
    mismatched: Mapping[str, Digest] = field(default_factory=dict)
    """By filename: every index that has the file advertises other bytes; this is the digest it states."""
    status: ProjectStatus = ProjectStatus()
    problem: str = ""
    """Why no page could be read (unreachable, refused, offline), in words for people; empty when all were read."""
    by_name: bool = False
    """Whether an index refused us (401, 403), so that pip, with credentials we cannot see, may still reach it."""


class Upstream(Protocol):
    """The indexes."""

    def read(self, wants: Sequence[Want], progress: Progress) -> Mapping[tuple[NormalizedName, str], Offer]:
        """Read one page per project and index, concurrently, and answer each want by (project, index).

        One project's failure is told in its `Offer` and never stops the others. Raise `RemoteError` when nothing can
        be read at all, `MirrorError` when the configuration makes no sense.
        """
