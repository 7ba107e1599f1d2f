"""Verify: ask of the published site what `plan` asked of the locks, and give every cell its reason.

Nothing is believed that can be read: pages are parsed back in both forms and compared with each other, with the
release and with the manifest; files are held against the pages, and both against the locks.

What is wrong with the site itself becomes a finding:

```
no-release        nothing was published, or the pointer's release manifest is missing or altered
missing           an object that the release records or a page lists is not there
altered           an object does not have the bytes that the release records or a page states
unknown-page      a page that the release does not record
unreadable-page   a page that breaks the standard
forms-disagree    the HTML and the JSON of a page do not say the same
twin-disagrees    a page under its key that ends in a slash is not the page that it should be
wrong-link        a page links a file somewhere else than to its place
list-disagrees    a project list does not name exactly the projects that have pages
page-disagrees    a page does not say of its files what the manifest says
```
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from mirror.compare import Fingerprint, compare
from mirror.coverage import Coverage, Finding
from mirror.errors import IntegrityError
from mirror.layout import (
    FRONT_PAGE,
    HTML,
    PACKAGES,
    POINTER,
    SIMPLE,
    artifact_key,
    metadata_key,
    project_list_keys,
    project_page_keys,
)
from mirror.model import Digest
from mirror.published import Published
from mirror.release import Kind, current, kind
from mirror.simple import html, json
from mirror.simple.page import PageError
from mirror.simple.site import project_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mirror.coverage import Expectation
    from mirror.model import Manifest
    from mirror.progress import Progress
    from mirror.release import Release
    from mirror.simple.page import PageFile, ProjectPage
    from mirror.stores.base import Store, StoredObject

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_PARSERS = (html.parse, json.parse)
_LIST_PARSERS = (html.parse_list, json.parse_list)
_SHOWN = 5


def verify(
    expectations: Sequence[Expectation],
    store: Store,
    progress: Progress,
    *,
    manifest: Manifest | None = None,
    rehash: bool = False,
    jobs: int = 16,
) -> Coverage:
    """Judge what a store offers of what the locks pin.

    With `manifest` the pages are also held against what we know of each file. `rehash` reads the bytes of every file;
    without it a store may answer from what it knows of files that look unchanged, so that a change which also restores
    size and modification time goes unnoticed. Raise `RemoteError` when the store does not answer: that is no finding.
    """
    reading = _Reading(store=store, progress=progress, manifest=manifest, rehash=rehash, jobs=jobs)
    release = reading.release()
    sizes = {found.key: found.size for found in store.list(PACKAGES)}
    listed = {found.key: found for found in store.list(SIMPLE)}
    pages = reading.project_pages(listed)
    advertised = reading.advertised(pages)
    known = {*(release.objects if release else ()), *_keys(manifest), *advertised}
    files = reading.fingerprints({key: size for key, size in sizes.items() if key in known}, "files")

    if release or listed:
        # Where nothing is published, one finding says so; naming all that is missing would hide it.
        reading.check_lists(pages)
        reading.check_manifest(pages)
    reading.check_files(advertised, files)
    if release:
        stored = reading.fingerprints(reading.page_sizes(listed), "pages")
        reading.check_twins(stored)
        reading.check_release(release, {**files, **stored})

    published = Published(
        pages={name: _by_filename(forms) for name, forms in pages.items()},
        digests={key: Digest("sha256", found.sha256) for key, found in files.items()},
        others=reading.other_digests(expectations, files),
        recorded=frozenset(known),
    )
    return Coverage(
        destination=store.name,
        release=release.id if release else "",
        cells=tuple(published.judge(expectation) for expectation in expectations),
        findings=tuple(sorted(reading.findings.values())),
        sizes={key.removeprefix(PACKAGES): found.size for key, found in files.items()},
    )


_Forms = tuple["ProjectPage | None", "ProjectPage | None"]
"""A project's page as HTML and as JSON; None for one that is not there or cannot be read."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a page says of an object."""

    page: str
    digests: frozenset[str]
    """sha256, as hex."""
    size: int | None


@dataclass(kw_only=True)
class _Reading:
    """One reading of a store, which gathers what is wrong with it."""

    store: Store
    progress: Progress
    manifest: Manifest | None
    rehash: bool
    jobs: int
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    """By code and key: the first of its kind is told."""

    def release(self) -> Release | None:
        """The current release, whose manifest has the digest that the pointer states."""
        try:
            found = current(self.store.read, self.store.name)
        except IntegrityError as error:
            self._find("no-release", POINTER, error.message)
            return None
        if found is None:
            self._find("no-release", POINTER, "nothing was published there yet")
        return found.release if found else None

    def project_pages(self, listed: Iterable[str]) -> dict[str, _Forms]:
        """Every project page that is there, parsed."""
        names = sorted({key.split("/")[1] for key in listed if kind(key) is Kind.PROJECT_PAGE})
        return dict(zip(names, self._spread(self._project_page, names), strict=True))

    def _project_page(self, name: str) -> _Forms:
        keys = project_page_keys(name)
        forms = [
            self._parsed(key, partial(parse, url=f"/{key}", name=name))
            for key, parse in zip(keys, _PARSERS, strict=True)
        ]
        as_html, as_json = forms
        if as_html and as_json and _said(as_html) != _said(as_json):
            self._find("forms-disagree", keys[1], f"{keys[0]} does not say the same{_odd(as_html, as_json)}")
        return as_html, as_json

    def _parsed(self, key: str, parse: Callable[[bytes], _Answer]) -> _Answer | None:
        found = self.store.read(key)
        if found is None:
            self._find("missing", key, "there is no such page")
            return None
        try:
            return parse(found[0])
        except PageError as error:
            self._find("unreadable-page", key, str(error))
            return None

    def advertised(self, pages: Mapping[str, _Forms]) -> dict[str, list[_Claim]]:
        """What pages say of artifacts and sidecars, by key."""
        claims: defaultdict[str, list[_Claim]] = defaultdict(list)
        for name, forms in pages.items():
            for page, form in zip(project_page_keys(name), forms, strict=True):
                for file in form.files if form else ():
                    key = artifact_key(file.filename)
                    if unquote(file.url) != f"/{key}":
                        self._find("wrong-link", page, f"{file.filename} is linked at {file.url}")
                    sha256 = frozenset(digest.hex for digest in file.digests if digest.algorithm == "sha256")
                    claims[key].append(_Claim(page, sha256, file.size))
                    if file.core_metadata:
                        sidecar = metadata_key(file.filename)
                        claims[sidecar].append(_Claim(page, frozenset({file.core_metadata.hex}), None))
        return claims

    def fingerprints(self, sizes: Mapping[str, int], unit: str) -> dict[str, Fingerprint]:
        """Digests of what is stored, several read at once; without objects that vanished meanwhile."""
        found = {}
        with self.progress.task("Verifying", items=len(sizes), size=sum(sizes.values()), unit=unit) as task:
            digests = self._spread(lambda key: self.store.digest(key, rehash=self.rehash), sizes)
            for (key, size), digest in zip(sizes.items(), digests, strict=True):
                if digest is not None:
                    found[key] = Fingerprint(digest, size)
                task.advance(1, size, key)
        return found

    def page_sizes(self, listed: Mapping[str, StoredObject]) -> dict[str, int]:
        """Every page that is there, the front page included."""
        front = self.store.stat(FRONT_PAGE)
        return {key: found.size for key, found in {**listed, **({FRONT_PAGE: front} if front else {})}.items()}

    def other_digests(self, expectations: Sequence[Expectation], files: Mapping[str, Fingerprint]) -> dict[str, Digest]:
        """For files that a lock pins with something else than sha256: that digest of what is stored."""
        locked = chain.from_iterable((*expectation.candidates, *expectation.sdists) for expectation in expectations)
        wanted = {
            artifact_key(file.filename): file.digest.algorithm for file in locked if file.digest.algorithm != "sha256"
        }
        found = {key: self.store.read(key) for key in wanted.keys() & files.keys()}
        return {
            key: Digest(wanted[key], hashlib.new(wanted[key], read[0]).hexdigest())
            for key, read in found.items()
            if read
        }

    # What is wrong

    def check_lists(self, pages: Iterable[str]) -> None:
        """Both project lists name exactly the projects that have pages."""
        for key, parse in zip(project_list_keys(), _LIST_PARSERS, strict=True):
            names = self._parsed(key, parse)
            odd = compare(dict.fromkeys(pages), dict.fromkeys(names if names is not None else pages))
            if odd.missing:
                self._find("list-disagrees", key, f"it does not name {_some(odd.missing)}")
            if odd.extraneous:
                self._find("list-disagrees", key, f"it names {_some(odd.extraneous)}, of which there is no page")

    def check_files(self, advertised: Mapping[str, Sequence[_Claim]], files: Mapping[str, Fingerprint]) -> None:
        """What pages list is there, with the digest and size that they state."""
        for key, claims in advertised.items():
            found = files.get(key)
            for claim in claims:
                if found is None:
                    self._find("missing", key, f"{claim.page} lists it")
                elif claim.digests != {found.sha256} or claim.size not in (None, found.size):
                    stated = ", ".join(sorted(claim.digests)) or "no sha256"
                    self._find("altered", key, f"{claim.page} states {stated}, stored is {found.sha256}")

    def check_manifest(self, pages: Mapping[str, _Forms]) -> None:
        """Pages say what the manifest says: no file less, none more, and the same of each."""
        if self.manifest is None:
            return
        artifacts = defaultdict(list)
        for artifact in self.manifest.artifacts:
            artifacts[artifact.project].append(artifact)
        statuses = dict(self.manifest.statuses)
        for name, group in artifacts.items():
            wanted = project_page(name, group, statuses.get(name))
            for key, form in zip(project_page_keys(name), pages.get(name, (None, None)), strict=True):
                if name not in pages:
                    self._find("missing", key, "the manifest has files for it")
                elif form and _said(form) != _said(wanted):
                    self._find("page-disagrees", key, f"the manifest does not say the same{_odd(wanted, form)}")

    def check_twins(self, pages: Mapping[str, Fingerprint]) -> None:
        """A page that is stored under a key that ends in a slash, too, has the same bytes there."""
        for key, found in pages.items():
            if key.endswith("/") and pages.get(key + HTML) != found:
                self._find("twin-disagrees", key, f"it is not the same as {key}{HTML}")

    def check_release(self, release: Release, present: Mapping[str, Fingerprint]) -> None:
        """What is stored is what the release records."""
        difference = compare(release.objects, present)
        for key in difference.missing:
            self._find("missing", key, f"release {release.id} records it")
        for key in difference.differing:
            self._find("altered", key, f"release {release.id} records sha256:{release.objects[key].sha256}")
        for key in difference.extraneous:
            # Artifacts that no release lists any more wait for `prune`.
            if not (kind(key) or Kind.STATE).immutable:
                self._find("unknown-page", key, f"release {release.id} does not record it")

    def _find(self, code: str, key: str, message: str) -> None:
        self.findings.setdefault((code, key), Finding(code, key, message))

    def _spread(self, act: Callable[[_Item], _Answer], items: Iterable[_Item]) -> Iterator[_Answer]:
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="verify") as threads:
            yield from threads.map(act, items)


def _keys(manifest: Manifest | None) -> Iterator[str]:
    for artifact in manifest.artifacts if manifest else ():
        yield artifact_key(artifact.filename)
        if artifact.metadata_sha256:
            yield metadata_key(artifact.filename)


def _by_filename(forms: _Forms) -> tuple[dict[str, PageFile], dict[str, PageFile]]:
    as_html, as_json = ({file.filename: file for file in form.files} if form else {} for form in forms)
    return as_html, as_json


def _said(page: ProjectPage) -> tuple[object, ...]:
    """What a page says, apart from the order of files and from what HTML cannot say."""
    files = sorted((replace(file, url="") for file in page.files), key=attrgetter("filename"))
    return page.status, page.status_reason, files


def _odd(one: ProjectPage, other: ProjectPage) -> str:
    """Name the files in which two pages differ."""
    sides = [{file.filename: replace(file, url="") for file in page.files} for page in (one, other)]
    odd = compare(*sides)
    names = (*odd.missing, *odd.differing, *odd.extraneous)
    return f": {_some(names)}" if names else " of the project's status"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")
