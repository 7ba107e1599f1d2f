"""Sync: publish what was consolidated and indexed here.

The publish itself is that of `mirror.publication`; this says what is to be published, and makes sure first that every
page fits the manifest.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from mirror.compare import Fingerprint
from mirror.errors import IntegrityError, MirrorError
from mirror.layout import (
    FRONT_PAGE,
    JSON,
    artifact_key,
    metadata_key,
    project_html_key,
    project_list_keys,
    project_page_keys,
    slash_key,
)
from mirror.lease import LIFETIME, Owner
from mirror.publication import SHRINK_LIMIT, SyncResult, publish, some
from mirror.release import Kind, kind
from mirror.simple import html, json
from mirror.simple.page import PageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mirror.model import Manifest
    from mirror.progress import Progress
    from mirror.stores.base import Store

__all__ = ["Owner", "SyncResult", "sync"]

_Answer = TypeVar("_Answer")


def sync(
    manifest: Manifest,
    pages: Path,
    artifacts: Path,
    store: Store,
    progress: Progress,
    *,
    owner: Owner,
    dry_run: bool = False,
    allow_shrink: bool = False,
    shrink_limit: float = SHRINK_LIMIT,
    jobs: int = 16,
    check_remote: bool = False,
    slash_keys: bool = False,
    lifetime: float = LIFETIME,
) -> SyncResult:
    """Publish the manifest's artifacts from `artifacts` and its pages from `pages`.

    `shrink_limit` is the share of the published artifacts, from 0 to 1, that a release may drop without
    `allow_shrink`. `check_remote` reads back what the current release records and puts again what is missing, and
    pages that differ. `slash_keys` stores each HTML page of `simple/` once more under the key that ends in a slash.
    `lifetime` is for how many seconds the lease is good without a sign of life. When nothing changed nothing is
    written, not even the lease.

    Raise `IntegrityError` before the first write when an artifact would change under its name, when the store holds
    other bytes than its release records, or when a page lists what the manifest does not have; `MirrorError` when too
    much would vanish or the local files are incomplete; `ConflictError` when somebody else publishes; `RemoteError`
    when the store does not answer, cannot hold such a key, or holds state that cannot be understood.
    """
    result = publish(
        _read_site(manifest, pages, artifacts, slash_keys=slash_keys),
        store,
        progress,
        owner=owner,
        dry_run=dry_run,
        allow_shrink=allow_shrink,
        shrink_limit=shrink_limit,
        jobs=jobs,
        check_remote=check_remote,
        lifetime=lifetime,
    )
    progress.say(_sentence(store, result, dry_run=dry_run))
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Everything to publish; the `Edition` that lies in the work directory."""

    locks: tuple[str, ...]
    objects: Mapping[str, Fingerprint]
    sources: Mapping[str, str]
    """The file of each object, by key; text, since a run without changes makes a `Path` of none."""
    projects: Mapping[str, set[str]]
    """The artifacts of each project, by key."""

    def supply(self, keys: Sequence[str], store: Store) -> Mapping[str, Path | bytes]:  # noqa: ARG002
        """The files of some objects. Raise `MirrorError` when one is not there, `IntegrityError` for an unfit page."""
        sources = {key: Path(self.sources[key]) for key in keys}
        absent = [key for key, source in sources.items() if not source.is_file()]
        if absent:
            raise MirrorError(
                f"the files to publish are incomplete: {some(absent)}", hint="run mirror consolidate, which links them"
            )
        self._check_pages()
        return sources

    def _check_pages(self) -> None:
        """Hold every page against the manifest: what it lists is in the store, or is about to be."""
        for key, place in self.sources.items():
            source = Path(place)
            if key.endswith("/"):
                continue  # the same file as the page whose twin it is
            if kind(key) is Kind.PROJECT_PAGE:
                self._check_project_page(key, source.read_bytes())
            if kind(key) is Kind.PROJECT_LIST:
                names = _parsed(key, (json if key.endswith(JSON) else html).parse_list, source.read_bytes())
                if set(names) != set(self.projects):
                    odd = set(names).symmetric_difference(self.projects)
                    raise _unfit(key, f"it lists other projects: {some(sorted(odd))}")

    def _check_project_page(self, key: str, data: bytes) -> None:
        form = json if key.endswith(JSON) else html
        name = PurePosixPath(key).parent.name
        page = _parsed(key, lambda body: form.parse(body, f"/{key}", name), data)
        listed = {unquote(file.url).removeprefix("/"): file for file in page.files}
        if set(listed) != self.projects[name]:
            odd = set(listed).symmetric_difference(self.projects[name])
            raise _unfit(key, f"it lists other files: {some(sorted(odd))}")
        for place, file in listed.items():
            sidecar = self.objects.get(f"{place}.metadata")
            stated = ({digest.hex for digest in file.digests}, file.core_metadata and file.core_metadata.hex)
            if stated != ({self.objects[place].sha256}, sidecar and sidecar.sha256):
                raise _unfit(key, f"it states another digest for {place}")


def _read_site(manifest: Manifest, pages: Path, artifacts: Path, *, slash_keys: bool) -> _Site:
    objects: dict[str, Fingerprint] = {}
    sources: dict[str, str] = {}
    projects: defaultdict[str, set[str]] = defaultdict(set)

    def add(key: str, source: str, found: Fingerprint) -> None:
        objects[key], sources[key] = found, source

    def add_page(key: str) -> None:
        source = f"{pages}/{key}"
        add(key, source, _fingerprint(source))

    for artifact in manifest.artifacts:
        key, source = artifact_key(artifact.filename), f"{artifacts}/{artifact.filename}"
        projects[artifact.project].add(key)
        add(key, source, Fingerprint(artifact.sha256, artifact.size))
        if artifact.metadata_sha256:
            found = Fingerprint(artifact.metadata_sha256, artifact.metadata_size)
            add(metadata_key(artifact.filename), f"{source}.metadata", found)
    for name in sorted(projects):
        for key in (*project_page_keys(name), project_html_key(name)):
            add_page(key)
    for key in (*project_list_keys(), FRONT_PAGE):
        add_page(key)
    if slash_keys:
        for key in [project_list_keys()[0], *(project_page_keys(name)[0] for name in projects)]:
            add(slash_key(key), sources[key], objects[key])
    return _Site(locks=tuple(sorted(manifest.locks)), objects=objects, sources=sources, projects=projects)


def _fingerprint(page: str) -> Fingerprint:
    try:
        # Of thousands of pages, each small: a run without changes does little else.
        with open(page, "rb", buffering=0) as stream:  # noqa: PTH123
            data = stream.read()
    except OSError as error:
        raise MirrorError(
            f"cannot read the page {page}: {error.strerror}", hint="run mirror index, which makes it"
        ) from error
    return Fingerprint(hashlib.sha256(data).hexdigest(), len(data))


def _parsed(key: str, parse: Callable[[bytes], _Answer], data: bytes) -> _Answer:
    try:
        return parse(data)
    except PageError as error:
        raise _unfit(key, str(error)) from error


def _unfit(key: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"the page {key} does not fit the manifest: {why}", hint="run mirror index, which makes it anew"
    )


def _sentence(store: Store, result: SyncResult, *, dry_run: bool) -> str:
    if not result.changed:
        return f"{store.name}: nothing changed since release {result.current}"
    verbs = ("would publish", "published") if result.release else ("would repair", "repaired")
    return f"{store.name}: {verbs[not dry_run]} release {result.current}: {result.summary}"
