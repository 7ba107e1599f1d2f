"""The whole site as pages: a pure function of the manifest, in both forms from one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror import layout
from mirror.model import Digest
from mirror.simple import about, front, html, json, people
from mirror.simple.held import HeldProject, held, releases
from mirror.simple.page import PageFile, ProjectPage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mirror.model import Artifact, Manifest, ProjectStatus

_STATED = ("archived", "deprecated")
"""Statuses that are passed on. Quarantine is not: a page that states it "MUST NOT offer any files" (PEP 792), but what
the lock pins was proven by digest and builds depend on it, so it is served without the marker and the run warns."""


PEOPLE_POLICY = f"{people.policy(front.DRESS, about.DRESS)}; frame-ancestors 'none'"
"""The Content-Security-Policy that a host sends with every page for people; each page states its own, too."""


def pages(manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Every page as (key, bytes), in publishing order (F4).

    Project pages by name, project list, the pages for people about each project, front page. The same manifest gives
    the same bytes on every machine (F5). HTML and JSON of a page say the same (J15).
    """
    projects = tuple(held(manifest))
    for project in projects:
        page = _page(project)
        html_key, json_key = layout.project_page_keys(project.name)
        yield html_key, html.render_project(page)
        yield json_key, json.render_project(page)
    names = [project.name for project in projects]
    html_key, json_key = layout.project_list_keys()
    yield html_key, html.render_list(names)
    yield json_key, json.render_list(names)
    for project in projects:
        yield layout.project_html_key(project.name), about.render(project)
    yield layout.FRONT_PAGE, front.render(manifest, projects)


def project_page(name: str, artifacts: Sequence[Artifact], status: ProjectStatus | None = None) -> ProjectPage:
    """The page of one project, its files by version and filename."""
    return _page(HeldProject(name, releases(artifacts), status))


def _page(project: HeldProject) -> ProjectPage:
    ordered = project.releases[::-1]
    stated = project.status if project.status is not None and project.status.status in _STATED else None
    return ProjectPage(
        name=project.name,
        files=tuple([_file(artifact) for release in ordered for artifact in release.artifacts]),
        status=stated.status if stated else "active",
        status_reason=html.plain(stated.reason) if stated else "",
        versions=tuple([release.version for release in ordered]),
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
        yanked=None if artifact.yanked is None else html.plain(artifact.yanked),
        core_metadata=Digest("sha256", artifact.metadata_sha256) if artifact.metadata_sha256 else None,
    )
