"""The text of a requirements file with hashes (pip documentation, "Requirements File Format").

One line that cannot be hashed makes pip refuse the whole file ("--require-hashes ... all requirements must have
hashes"), so direct references without a digest stand in a comment at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from mirror.model import SourceKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mirror.locks.base import Requirement

_HASH = " \\\n    --hash="
_SCP = "git@"
_SAFE = "!#$%&'()*+,/:;=?@[]~"


def render(requirements: Sequence[Requirement], *, comments: Sequence[str] = (), primary_index: str = "") -> str:
    """Print requirements, in their order, under some comment lines and the options for their indexes.

    `primary_index` is the index that stands in the place of the default one. No credentials are ever printed, and
    the text depends on nothing but its arguments.
    """
    blocks = [
        [f"# {comment}" for comment in comments],
        list(_options(requirements, primary_index)),
        [line(requirement) for requirement in requirements if installable(requirement)],
        list(_outside(requirements)),
    ]
    return "\n".join("\n".join(block) + "\n" for block in blocks if block)


def installable(requirement: Requirement) -> bool:
    """Whether pip can take it from a file with hashes, on any machine."""
    kind = requirement.source.kind
    return kind in (SourceKind.INDEX, SourceKind.LEGACY) or (kind is SourceKind.URL and bool(requirement.digests))


def line(requirement: Requirement) -> str:
    """Print one requirement with its marker and digests."""
    hashes = "".join(f"{_HASH}{digest}" for digest in requirement.digests)
    return _stated(requirement) + hashes


def _stated(requirement: Requirement) -> str:
    name = f"{requirement.name}=={requirement.version}" if requirement.version else _direct(requirement)
    return f"{name} ; {requirement.marker}" if requirement.marker else name


def _direct(requirement: Requirement) -> str:
    """`name @ URL` (PEP 508); a path stays relative, because an absolute one is true on one machine only."""
    source = requirement.source
    if source.kind in (SourceKind.FILE, SourceKind.DIRECTORY):
        editable = "-e " if source.editable else ""
        return f"{editable}{requirement.name} @ ./{quote(source.url)}"
    url = source.url
    if source.kind is SourceKind.GIT:
        url = f"git+{_git_url(url)}@{source.resolved_reference}"
    fragment = f"#subdirectory={source.subdirectory}" if source.subdirectory else ""
    return f"{requirement.name} @ {_literal(url + fragment)}"


def _git_url(url: str) -> str:
    """`git@host:owner/repository` as a URL, which pip needs."""
    if not url.startswith(_SCP) or "://" in url:
        return url
    host, _, path = url.partition(":")
    return f"ssh://{host}/{path}"


def _options(requirements: Sequence[Requirement], primary_index: str) -> Iterator[str]:
    indexes = {item.source.url.rstrip("/") for item in requirements if item.source.kind is SourceKind.LEGACY}
    for url in sorted(indexes):
        if url == primary_index.rstrip("/"):
            yield f"--index-url {_literal(url)}"
            continue
        parts = urlsplit(url)
        if parts.scheme == "http":
            yield f"--trusted-host {_literal(parts.netloc)}"
        yield f"--extra-index-url {_literal(url)}"


def _literal(url: str) -> str:
    """A URL that pip takes as it is: it would put the environment's value in the place of `${NAME}`."""
    return quote(url, safe=_SAFE)


def _outside(requirements: Sequence[Requirement]) -> Iterator[str]:
    outside = [requirement for requirement in requirements if not installable(requirement)]
    if outside:
        yield "# Direct references without a digest: pip would refuse the whole file with them, so install them apart."
    for requirement in outside:
        yield f"# {_stated(requirement)}"
