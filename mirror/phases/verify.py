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
null-value        a JSON page says null where an installer then refuses the whole page
old-metadata      a page offers metadata by a name that breaks old versions of pip
forms-disagree    the HTML and the JSON of a page do not say the same
twin-disagrees    a page under its key that ends in a slash is not the page that it should be
wrong-link        a page links a file elsewhere than to its place, or in a spelling that hosts understand differently
list-disagrees    a project list does not name exactly the projects that have pages
page-disagrees    a page does not say of its files what the manifest says
```
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from mirror.compare import Fingerprint, compare
from mirror.coverage import Coverage
from mirror.errors import IntegrityError
from mirror.inspection import (
    Findings,
    by_filename,
    claims,
    files_differ,
    forms_disagree,
    known_keys,
    lists_astray,
    lists_disagree,
    manifest_of,
    nulls,
    old_metadata,
    pages_disagree,
    quarantined,
    wrong_links,
)
from mirror.layout import (
    FRONT_PAGE,
    HTML,
    JSON,
    PACKAGES,
    POINTER,
    PROJECTS,
    SIMPLE,
    artifact_key,
    project_list_keys,
    project_page_keys,
)
from mirror.model import Digest
from mirror.published import Published
from mirror.release import Kind, current, kind
from mirror.simple import html, json
from mirror.simple.page import PageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mirror.coverage import Expectation
    from mirror.inspection import Forms
    from mirror.model import Manifest
    from mirror.progress import Progress
    from mirror.release import Release
    from mirror.stores.base import Store, StoredObject

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

_PARSERS = (html.parse, json.parse)
_LIST_PARSERS = (html.parse_list, json.parse_list)


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

    With `manifest` the pages are also held against what we know of each file, unless it was made from other locks than
    the release that is there. `rehash` reads the bytes of every file;
    without it a store may answer from what it knows of files that look unchanged, so that a change which also restores
    size and modification time goes unnoticed. Raise `RemoteError` when the store does not answer: that is no finding.
    """
    reading = _Reading(store=store, progress=progress, rehash=rehash, jobs=jobs)
    release = reading.release()
    manifest = manifest_of(release, manifest)
    sizes = {found.key: found.size for found in store.list(PACKAGES)}
    listed = {found.key: found for found in store.list(SIMPLE)}
    pages = reading.project_pages(listed)
    advertised = claims(pages)
    known = {*(release.objects if release else ()), *known_keys(manifest), *advertised}
    files = reading.fingerprints({key: size for key, size in sizes.items() if key in known}, "files")

    if release or listed:
        # Where nothing is published, one finding says so; naming all that is missing would hide it.
        reading.check_lists(pages)
        reading.findings.add(pages_disagree(manifest, pages) if manifest else ())
    reading.findings.add(chain.from_iterable(forms_disagree(name, forms) for name, forms in pages.items()))
    reading.findings.add(wrong_links(pages))
    reading.findings.add(files_differ(advertised, files))
    if release:
        stored = reading.fingerprints(reading.page_sizes(listed), "pages")
        reading.check_twins(stored)
        reading.check_release(release, {**files, **stored})

    published = Published(
        pages={name: by_filename(forms) for name, forms in pages.items()},
        digests={key: Digest("sha256", found.sha256) for key, found in files.items()},
        others=reading.other_digests(expectations, files),
        recorded=frozenset(known),
        quarantined=quarantined(pages),
    )
    return Coverage(
        destination=store.name,
        release=release.id if release else "",
        cells=tuple(published.judge(expectation) for expectation in expectations),
        findings=reading.findings.all,
        sizes={key.removeprefix(PACKAGES): found.size for key, found in files.items()},
    )


@dataclass(kw_only=True)
class _Reading:
    """One reading of a store, which gathers what is wrong with it."""

    store: Store
    progress: Progress
    rehash: bool
    jobs: int
    findings: Findings = field(default_factory=Findings)

    def release(self) -> Release | None:
        """The current release, whose manifest has the digest that the pointer states."""
        try:
            found = current(self.store.read, self.store.name)
        except IntegrityError as error:
            self.findings.find("no-release", POINTER, error.message)
            return None
        if found is None:
            self.findings.find("no-release", POINTER, "nothing was published there yet")
        return found.release if found else None

    def project_pages(self, listed: Iterable[str]) -> dict[str, Forms]:
        """Every project page that is there, parsed."""
        names = sorted({key.split("/")[1] for key in listed if kind(key) is Kind.PROJECT_PAGE})
        return dict(zip(names, self._spread(self._project_page, names), strict=True))

    def _project_page(self, name: str) -> Forms:
        keys = project_page_keys(name)
        forms = [
            self._parsed(key, partial(parse, url=f"/{key}", name=name))
            for key, parse in zip(keys, _PARSERS, strict=True)
        ]
        as_html, as_json = forms
        return as_html, as_json

    def _parsed(self, key: str, parse: Callable[[bytes], _Answer]) -> _Answer | None:
        found = self.store.read(key)
        if found is None:
            self.findings.find("missing", key, "there is no such page")
            return None
        try:
            parsed = parse(found[0])
        except PageError as error:
            self.findings.find("unreadable-page", key, str(error))
            return None
        self.findings.add(old_metadata(key, found[0]))
        if key.endswith(JSON):
            self.findings.add(nulls(key, found[0]))
        return parsed

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
        """Every page that is there: those for installers, which are `listed`, and those for people."""
        sizes = {found.key: found.size for found in (*listed.values(), *self.store.list(PROJECTS))}
        front = self.store.stat(FRONT_PAGE)
        return {**sizes, **({FRONT_PAGE: front.size} if front else {})}

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
            self.findings.add(lists_disagree(key, names, pages))
        as_html, _ = project_list_keys()
        links = self._parsed(as_html, lambda body: tuple(html.list_links(body, f"/{as_html}")))
        self.findings.add(lists_astray(as_html, links or ()))

    def check_twins(self, pages: Mapping[str, Fingerprint]) -> None:
        """A page that is stored under a key that ends in a slash, too, has the same bytes there."""
        for key, found in pages.items():
            if key.endswith("/") and pages.get(key + HTML) != found:
                self.findings.find("twin-disagrees", key, f"it is not the same as {key}{HTML}")

    def check_release(self, release: Release, present: Mapping[str, Fingerprint]) -> None:
        """What is stored is what the release records."""
        difference = compare(release.objects, present)
        for key in difference.missing:
            self.findings.find("missing", key, f"release {release.id} records it")
        for key in difference.differing:
            self.findings.find("altered", key, f"release {release.id} records sha256:{release.objects[key].sha256}")
        for key in difference.extraneous:
            # Artifacts that no release lists any more wait for `prune`.
            if not (kind(key) or Kind.STATE).immutable:
                self.findings.find("unknown-page", key, f"release {release.id} does not record it")

    def _spread(self, act: Callable[[_Item], _Answer], items: Iterable[_Item]) -> Iterator[_Answer]:
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="verify") as threads:
            yield from threads.map(act, items)
