"""What can be wrong with a site, whether it was read from its store or from the address that installers ask.

Pure: what was read comes in, findings come out. What the codes mean is said where the site is read, in `phases.verify`
and `phases.visit`.
"""

from __future__ import annotations

import json as jsonlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING
from urllib.parse import unquote

from packaging.utils import is_normalized_name

from mirror.compare import compare
from mirror.coverage import Finding
from mirror.layout import SIMPLE, artifact_key, metadata_key, project_page_keys
from mirror.simple.page import ProjectPage
from mirror.simple.site import project_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mirror.compare import Fingerprint
    from mirror.model import Digest, Manifest
    from mirror.release import Release
    from mirror.simple.page import PageFile

Forms = tuple[ProjectPage | None, ProjectPage | None]
"""A project's page as HTML and as JSON; None for one that is not there or cannot be read."""

_SHOWN = 5
_NOT_NULL = ("yanked", "upload-time", "size")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a page says of an object."""

    page: str
    """The page's key."""
    url: str
    """Where it leads to; of a sidecar, the file's address with `.metadata` appended (PEP 658)."""
    digests: frozenset[str] | None
    """sha256, as hex; None for a sidecar that is offered without one."""
    size: int | None


class Findings:
    """Findings by code and key: the first of its kind is told."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings in."""
        for finding in findings:
            self._found.setdefault((finding.code, finding.key), finding)

    def find(self, code: str, key: str, message: str) -> None:
        """Take one finding in."""
        self.add((Finding(code, key, message),))

    @property
    def all(self) -> tuple[Finding, ...]:
        """Every finding, sorted."""
        return tuple(sorted(self._found.values()))


def claims(pages: Mapping[str, Forms]) -> dict[str, list[Claim]]:
    """What pages say of artifacts and sidecars, by key."""
    found: defaultdict[str, list[Claim]] = defaultdict(list)
    for page, file in _listed(pages):
        found[artifact_key(file.filename)].append(Claim(page, file.url, _sha256(file.digests), file.size))
        if file.offers_metadata:
            stated = _sha256((file.core_metadata,)) if file.core_metadata else None
            found[metadata_key(file.filename)].append(Claim(page, f"{file.url}.metadata", stated or None, None))
    return found


def _sha256(digests: Iterable[Digest]) -> frozenset[str]:
    return frozenset(digest.hex for digest in digests if digest.algorithm == "sha256")


def wrong_links(pages: Mapping[str, Forms], base: str = "/") -> Iterator[Finding]:
    """Links that lead elsewhere than to the file's place below `base`, or that are written so that hosts differ."""
    root = unquote(base)
    for page, file in _listed(pages):
        if unquote(file.url) != root + artifact_key(file.filename):
            yield Finding("wrong-link", page, f"{file.filename} is linked at {file.url}")
        elif "+" in file.url.removeprefix(base):
            yield Finding(
                "wrong-link", page, f"{file.filename} is linked with a bare +, which some hosts take for a space"
            )


def forms_disagree(name: str, forms: Forms) -> Iterator[Finding]:
    """The two forms of a page do not say the same."""
    as_html, as_json = forms
    if as_html and as_json and _said(as_html) != _said(as_json):
        _, key = project_page_keys(name)
        yield Finding("forms-disagree", key, f"HTML and JSON do not say the same{_odd(as_html, as_json)}")


def nulls(key: str, page: bytes) -> Iterator[Finding]:
    """A JSON page that says null where one installer or another then refuses all of it (standards J10)."""
    if b"null" not in page:
        return
    entries = jsonlib.loads(page).get("files", ())
    found = {field: entry for entry in entries for field in _NOT_NULL if field in entry and entry[field] is None}
    for field, entry in found.items():
        yield Finding("null-value", key, f"{field} of {entry.get('filename')} is null: uv refuses the whole page")


def old_metadata(key: str, page: bytes) -> Iterator[Finding]:
    """A page offers metadata by its former name, on which pip 22.3 to 23.1 fails (PEP 714; standards H11, J7)."""
    if b" data-dist-info-metadata=" in page or b'"dist-info-metadata":' in page:
        yield Finding("old-metadata", key, "it says dist-info-metadata: pip 22.3 to 23.1 installs nothing from it")


def quarantined(pages: Mapping[str, Forms]) -> frozenset[str]:
    """The projects of which some page says that nothing of it is to be had (PEP 792)."""
    return frozenset(
        name for name, forms in pages.items() for form in forms if form is not None and form.status == "quarantined"
    )


def lists_disagree(key: str, names: Sequence[str] | None, pages: Iterable[str]) -> Iterator[Finding]:
    """A project list, None if there is none to read, does not name exactly the projects that have pages, each once."""
    odd = compare(dict.fromkeys(pages), dict.fromkeys(names if names is not None else pages))
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        yield Finding("list-disagrees", key, f"it names {some(twice)} more than once")
    if odd.missing:
        yield Finding("list-disagrees", key, f"it does not name {some(odd.missing)}")
    if odd.extraneous:
        yield Finding("list-disagrees", key, f"it names {some(odd.extraneous)}, of which there is no page")


def lists_astray(key: str, links: Iterable[tuple[str, str | None]], base: str = "/") -> Iterator[Finding]:
    """Links of a project list that lead elsewhere than to the page, below `base`, of the project that they name."""
    root = unquote(base)
    for name, address in links:
        if is_normalized_name(name) and unquote(address or "") != f"{root}{SIMPLE}{name}/":
            yield Finding("wrong-link", key, f"{name} is linked at {address}")


def files_differ(advertised: Mapping[str, Sequence[Claim]], files: Mapping[str, Fingerprint]) -> Iterator[Finding]:
    """What pages list is not there, or not with the digest and size that they state."""
    for key, stated in advertised.items():
        found = files.get(key)
        for claim in stated:
            if found is None:
                yield Finding("missing", key, f"{claim.page} lists it")
            elif claim.digests not in (None, {found.sha256}) or claim.size not in (None, found.size):
                digests = ", ".join(sorted(claim.digests or ())) or "no sha256"
                size = "" if claim.size in (None, found.size) else f" and {claim.size:,} bytes"
                there = f"{found.sha256}, {found.size:,} bytes"
                yield Finding("altered", key, f"{claim.page} states {digests}{size}; it is {there}")


def pages_disagree(manifest: Manifest, pages: Mapping[str, Forms]) -> Iterator[Finding]:
    """Pages do not say what the manifest says: a project or file less, one more, or something else of one."""
    artifacts = defaultdict(list)
    for artifact in manifest.artifacts:
        artifacts[artifact.project].append(artifact)
    statuses = dict(manifest.statuses)
    for name, group in artifacts.items():
        wanted = project_page(name, group, statuses.get(name))
        for key, form in zip(project_page_keys(name), pages.get(name, (None, None)), strict=True):
            if name not in pages:
                yield Finding("missing", key, "the manifest has files for it")
            elif form and _said(form) != _said(wanted):
                yield Finding("page-disagrees", key, f"the manifest does not say the same{_odd(wanted, form)}")
            elif form and form.versions and set(form.versions) != set(wanted.versions):
                yield Finding("page-disagrees", key, f"the manifest has other versions than {some(form.versions)}")
    for unknown in sorted(pages.keys() - artifacts.keys()):
        yield Finding("page-disagrees", project_page_keys(unknown)[0], "the manifest has no such project")


def manifest_of(release: Release | None, manifest: Manifest | None) -> Manifest | None:
    """The manifest, unless the release was made from other locks, as after a rollback: of that it says nothing."""
    if manifest is None or release is None or release.locks in ((), tuple(sorted(manifest.locks))):
        return manifest
    return None


def by_filename(forms: Forms) -> tuple[dict[str, PageFile], dict[str, PageFile]]:
    """The files of each form by name; of a form that is not there, none."""
    as_html, as_json = ({file.filename: file for file in form.files} if form else {} for form in forms)
    return as_html, as_json


def known_keys(manifest: Manifest | None) -> Iterator[str]:
    """The keys of every artifact and sidecar of a manifest."""
    for artifact in manifest.artifacts if manifest else ():
        yield artifact_key(artifact.filename)
        if artifact.metadata_sha256:
            yield metadata_key(artifact.filename)


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _listed(pages: Mapping[str, Forms]) -> Iterator[tuple[str, PageFile]]:
    for name, forms in pages.items():
        for page, form in zip(project_page_keys(name), forms, strict=True):
            for file in form.files if form else ():
                yield page, file


def _said(page: ProjectPage) -> tuple[object, ...]:
    """What a page says, apart from the order of files and from what HTML cannot say."""
    files = sorted((replace(file, url="") for file in page.files), key=attrgetter("filename"))
    return page.status, page.status_reason, files


def _odd(one: ProjectPage, other: ProjectPage) -> str:
    """Name the files in which two pages differ."""
    sides = [{file.filename: replace(file, url="") for file in page.files} for page in (one, other)]
    odd = compare(*sides)
    names = (*odd.missing, *odd.differing, *odd.extraneous)
    return f": {some(names)}" if names else " of the project's status"
