"""A small real site: wheels and sdists with their metadata, the manifest that says so, and its pages."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from mirror import filenames
from mirror.files import DigestCache, hash_file, write
from mirror.lease import Owner
from mirror.model import Artifact, Manifest
from mirror.phases.sync import sync
from mirror.progress import Silence
from mirror.simple import site
from mirror.simple.metadata import read_metadata, requires_python
from mirror.stores.local import LocalStore
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from mirror.phases.sync import SyncResult
    from mirror.stores.base import Store

LOCK = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Site:
    """Everything that `sync` takes."""

    manifest: Manifest
    pages: Path
    artifacts: Path

    def publish(self, store: Store, **options: Any) -> SyncResult:
        options = {"owner": Owner.here(), "jobs": 4, **options}
        return sync(self.manifest, self.pages, self.artifacts, store, Silence(), **options)

    def artifact(self, filename: str) -> Artifact:
        return next(artifact for artifact in self.manifest.artifacts if artifact.filename == filename)


def make_site(directory: Path, paths: Sequence[Path], *, yanked: dict[str, str] | None = None) -> Site:
    """Consolidate and index `paths` below `directory`; `yanked` maps filenames to reasons."""
    artifacts = []
    pool = directory / "all"
    pool.mkdir(parents=True)
    for path in sorted(paths, key=lambda path: path.name):
        shutil.copy(path, pool)
        artifacts.append(_artifact(pool / path.name, (yanked or {}).get(path.name)))
    manifest = Manifest(artifacts=tuple(artifacts), locks=(LOCK,))
    return Site(render(manifest, directory / "index"), directory / "index", pool)


def _artifact(path: Path, yanked: str | None) -> Artifact:
    parsed = filenames.parse(path.name)
    artifact = Artifact(
        filename=path.name,
        project=canonicalize_name(parsed.name),
        version=str(parsed.version),
        sha256=hash_file(path),
        size=path.stat().st_size,
        upload_time="2024-01-02T03:04:05Z",
        yanked=yanked,
    )
    if not path.name.endswith(".whl"):
        return artifact
    metadata = read_metadata(path)
    sidecar = path.with_name(f"{path.name}.metadata")
    sidecar.write_bytes(metadata)
    return replace(
        artifact,
        requires_python=requires_python(metadata),
        metadata_sha256=hash_file(sidecar),
        metadata_size=len(metadata),
    )


def render(manifest: Manifest, pages: Path) -> Manifest:
    """Write the pages of a manifest, and return it."""
    shutil.rmtree(pages, ignore_errors=True)
    for key, data in site.pages(manifest):
        write(pages / key, data)
    return manifest


def small_site(directory: Path, *, version: str = "1.0", projects: Sequence[str] = ("alpha", "beta")) -> Site:
    """Two projects: a universal wheel and an sdist each."""
    made = directory / "made"
    paths = []
    for name in projects:
        paths.append(make_wheel(made, name, version, requires_python=">=3.8"))
        paths.append(make_sdist(made, name, version))
    return make_site(directory, paths)


def local(root: Path) -> LocalStore:
    return LocalStore(root, DigestCache())


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a directory, dot files included."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def visible(root: Path) -> dict[str, bytes]:
    """What a destination holds, without the lock files of writers, which go when the garbage collector comes by."""
    return {key: data for key, data in tree(root).items() if not key.startswith((".mirror/.lock", ".mirror/.staging"))}
