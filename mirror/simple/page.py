"""Project pages as values. The same shape is read from upstream, rendered for the mirror, and read back from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mirror.model import Digest


API_VERSION = "1.4"
"""What our pages say. PEP 833 freezes HTML here, and 1.5 is for repositories with namespaces (PEP 752)."""


class PageError(ValueError):
    """A page that breaks the standard so far that it cannot be understood; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFile:
    """One file of a project page (simple repository API, "Project Detail")."""

    filename: str
    url: str
    """Absolute when read from upstream (resolved against the page), relative when rendered; without fragment."""
    digests: tuple[Digest, ...] = ()
    size: int | None = None
    """Bytes. PEP 700: "size ... is mandatory" from API version 1.1 on; older and HTML pages do not tell."""
    upload_time: str = ""
    """`yyyy-mm-ddThh:mm:ss[.ffffff]Z`, or empty."""
    requires_python: str = ""
    yanked: str | None = None
    """None when not yanked; otherwise the reason, possibly empty (PEP 592)."""
    core_metadata: Digest | None = None
    """Digest of the `.metadata` sidecar, when one is advertised with a digest (PEP 714)."""
    bare_metadata: bool = False
    """Whether a sidecar is advertised without a digest that we can compute: `true`."""

    @property
    def offers_metadata(self) -> bool:
        """Whether installers will ask for the sidecar."""
        return self.core_metadata is not None or self.bare_metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """A project page."""

    name: str
    files: tuple[PageFile, ...]
    status: str = "active"
    status_reason: str = ""
    versions: tuple[str, ...] = ()
    """As JSON pages state them; empty when read from HTML."""
