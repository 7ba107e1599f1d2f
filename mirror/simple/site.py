"""The whole site as pages: a pure function of the manifest, in both forms from one model."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from packaging.version import Version

from mirror import layout
from mirror.model import Digest
from mirror.simple import front, html, json
from mirror.simple.page import PageFile, ProjectPage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mirror.model import Artifact, Manifest, ProjectStatus

# What HTML may not hold, not even as a numeric reference: controls, surrogates and noncharacters.
_PLANES_END = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
_UNPRINTABLE = re.compile(f"[\x00-\x20\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_PLANES_END}]+")
_version = lru_cache(maxsize=65536)(Version)

_STATED = ("archived", "deprecated")
"""Statuses that are passed on. Quarantine is not: a page that states it "MUST NOT offer any files" (PEP 792), but what
the lock pins was proven by digest and builds depend on it, so it is served without the marker and the run warns."""


def pages(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Every page as (key, bytes), in publishing order: project pages by name, project list, front page (F4).

    The same manifest gives the same bytes on every machine (F5). HTML and JSON of a page say the same (J15).
    """
    statuses = dict(manifest.statuses)
    artifacts = sorted(manifest.artifacts, key=attrgetter("project"))
    names = []
    for name, group in groupby(artifacts, key=attrgetter("project")):
        names.append(name)
        page = project_page(name, list(group), statuses.get(name))
        html_key, json_key = layout.project_page_keys(name)
        yield html_key, html.render_project(page)
        yield json_key, json.render_project(page)
    html_key, json_key = layout.project_list_keys()
    yield html_key, html.render_list(names)
    yield json_key, json.render_list(names)
    yield layout.FRONT_PAGE, front.render(manifest)


def project_page(name: str, artifacts: Sequence[Artifact], status: ProjectStatus | None = None) -> ProjectPage:
    """The page of one project, its files by version and filename."""
    ordered = sorted((_version(artifact.version), artifact.filename, artifact) for artifact in artifacts)
    stated = status if status is not None and status.status in _STATED else None
    return ProjectPage(
        name=name,
        files=tuple([_file(artifact) for _, _, artifact in ordered]),
        status=stated.status if stated else "active",
        status_reason=_plain(stated.reason) if stated else "",
        versions=tuple(str(version) for version in dict.fromkeys(version for version, _, _ in ordered)),
    )


def _file(artifact: Artifact) -> PageFile:
    return PageFile(
        filename=artifact.filename,
        url=layout.artifact_href(artifact.filename),
        # sha256 only: more algorithms end up in locks, and pip refuses some of them (standards J11).
        digests=(Digest("sha256", artifact.sha256),),
        size=artifact.size,
        upload_time=artifact.upload_time,
        requires_python=artifact.requires_python,
        yanked=None if artifact.yanked is None else _plain(artifact.yanked),
        core_metadata=Digest("sha256", artifact.metadata_sha256) if artifact.metadata_sha256 else None,
    )


def _plain(text: str) -> str:
    """A reason on one line, without what HTML cannot hold, so that both forms of a page say the same."""
    return _UNPRINTABLE.sub(" ", text).strip()
