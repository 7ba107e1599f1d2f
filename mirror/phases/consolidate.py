"""Consolidate: one pool of what the plan wants and we hold, and the manifest that the index is made of."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from mirror import filenames
from mirror.errors import MirrorError
from mirror.files import place, write_if_changed
from mirror.model import Artifact, Level, Manifest, Notice
from mirror.simple.description import describe
from mirror.simple.links import upload_time
from mirror.simple.metadata import InvalidMetadata, read_metadata, read_sdist_metadata, requires_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from packaging.utils import NormalizedName

    from mirror.model import About, Plan, PlannedFile, TargetCoverage
    from mirror.pool import Pool
    from mirror.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Consolidation:
    """The manifest, and what of the plan could not become part of it."""

    manifest: Manifest
    absent: tuple[PlannedFile, ...]
    """Planned files that the pool does not hold with the locked digest."""
    notices: tuple[Notice, ...]


def consolidate(
    plan: Plan,
    pool: Pool,
    progress: Progress,
    *,
    known: Manifest | None = None,
    rehash: bool = False,
) -> Consolidation:
    """Link every planned file that the pool holds into `packages/all/`, and write down what the index needs of it.

    `known` is the last manifest: metadata that was extracted from the same bytes is not extracted again, and what
    upstream said of them last stands when it could not be asked now. `rehash` reads every byte whatever is known.
    Raise `MirrorError` when the disk refuses.
    """
    before = {artifact.filename: artifact for artifact in known.artifacts} if known else {}
    artifacts: list[Artifact] = []
    absent: list[PlannedFile] = []
    notices: list[Notice] = []
    with progress.task("Consolidating", items=len(plan.files), unit="files") as task:
        for file in plan.files:
            held = pool.find(file.filename, file.digest, rehash=rehash)
            if held is None:
                absent.append(file)
            else:
                known_as = before.get(file.filename)
                with _reading(held):
                    artifacts.append(_consolidate(file, held, pool, known_as, notices, rehash=rehash))
            task.advance(1, what=file.filename)
    _clear(pool.consolidated, artifacts)
    pool.digests.save()
    progress.say(_sentence(artifacts, absent))
    manifest = Manifest(
        artifacts=tuple(artifacts),
        statuses=plan.statuses,
        locks=plan.locks,
        about=tuple(_about(artifacts, pool, known=known, rehash=rehash)),
        origins=plan.origins,
        coverage=_coverage(plan.coverage, absent),
    )
    return Consolidation(manifest=manifest, absent=tuple(absent), notices=tuple(notices))


def _sentence(artifacts: Sequence[Artifact], absent: Sequence[PlannedFile]) -> str:
    lacking = f", {len(absent):,} planned but not downloaded" if absent else ""
    return f"Consolidated {len(artifacts):,} files{lacking}"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MirrorError(
            f"cannot read {path}: {error.strerror or error}",
            hint="delete it, and it is downloaded anew; if that happens again, look at the disk",
        ) from error


def _consolidate(
    file: PlannedFile,
    held: Path,
    pool: Pool,
    before: Artifact | None,
    notices: list[Notice],
    *,
    rehash: bool,
) -> Artifact:
    sha256 = file.digest.hex if file.digest.algorithm == "sha256" else pool.digests.digest(held, rehash=rehash)
    link = pool.consolidated / file.filename
    if not _is_same(link, held, sha256, pool, rehash=rehash):
        place(held, link)
    artifact = Artifact(
        filename=file.filename,
        project=file.project,
        version=file.version,
        sha256=sha256,
        size=held.stat().st_size,
        requires_python=_valid(file.requires_python),
        upload_time=file.upload_time,
        yanked=file.yanked,
    )
    if before is None or before.sha256 != sha256:
        return _with_metadata(artifact, held, pool, notices)
    if not file.url:
        artifact = replace(
            artifact,
            requires_python=before.requires_python,
            # Manifests of old hold what only has the shape of a time.
            upload_time=upload_time(before.upload_time),
            yanked=before.yanked,
        )
    if rehash or not _extracted(before, pool):
        return _with_metadata(artifact, held, pool, notices)
    return replace(
        artifact,
        requires_python=before.requires_python,
        metadata_sha256=before.metadata_sha256,
        metadata_size=before.metadata_size,
    )


def _is_same(link: Path, held: Path, sha256: str, pool: Pool, *, rehash: bool) -> bool:
    """Whether the link is there: the same file, or the same bytes where the file system cannot link."""
    if not link.is_file():
        return False
    return link.samefile(held) or pool.digests.digest(link, rehash=rehash) == sha256


def _extracted(before: Artifact, pool: Pool) -> bool:
    """Whether there is nothing to gain from opening the archive again."""
    if not before.filename.endswith(".whl"):
        # Reading an sdist means unpacking all of it; what it says of Python was kept.
        return True
    sidecar = pool.consolidated / f"{before.filename}.metadata"
    return sidecar.is_file() and pool.digests.digest(sidecar) == before.metadata_sha256


def _with_metadata(artifact: Artifact, held: Path, pool: Pool, notices: list[Notice]) -> Artifact:
    """Extract core metadata. The file is listed without it when it cannot be read safely: its bytes are still pinned.

    Only wheels get a sidecar: an sdist's metadata may change when it is built, and the standard demands metadata
    that is "not modified when processed" (standards H13).
    """
    wheel = isinstance(filenames.parse(artifact.filename), filenames.Wheel)
    try:
        metadata = read_metadata(held) if wheel else read_sdist_metadata(held)
    except InvalidMetadata as error:
        notices.append(
            Notice(
                level=Level.WARNING,
                code="metadata",
                message=f"listed without metadata: {error}",
                package=artifact.project,
            )
        )
        return artifact
    if metadata is None:
        return artifact
    artifact = replace(artifact, requires_python=requires_python(metadata))
    if not wheel:
        return artifact
    sidecar = pool.consolidated / f"{artifact.filename}.metadata"
    write_if_changed(sidecar, metadata)
    sha256 = hashlib.sha256(metadata).hexdigest()
    pool.digests.record(sidecar, sha256)
    return replace(artifact, metadata_sha256=sha256, metadata_size=len(metadata))


def _about(
    artifacts: Sequence[Artifact], pool: Pool, *, known: Manifest | None, rehash: bool
) -> Iterator[tuple[NormalizedName, About]]:
    """What each project says of itself in its newest release; what was read from the same bytes is not read again."""
    said = dict(known.about) if known and not rehash else {}
    digests = {artifact.filename: artifact.sha256 for artifact in known.artifacts} if known else {}
    for name, group in groupby(sorted(artifacts, key=attrgetter("project", "filename")), key=attrgetter("project")):
        speaker = _speaker(tuple(group))
        before = said.get(name)
        if before and before.filename == speaker.filename and digests.get(before.filename) == speaker.sha256:
            yield name, before
        else:
            yield name, describe(_spoken(speaker, pool), speaker.filename)


def _speaker(artifacts: Sequence[Artifact]) -> Artifact:
    """The file that speaks for a project: of the newest version, one whose metadata lies beside it if there is one."""
    return max(artifacts, key=lambda artifact: (Version(artifact.version), artifact.metadata_sha256 != ""))


def _spoken(speaker: Artifact, pool: Pool) -> bytes:
    """Its metadata; nothing when that cannot be read, of which there is a notice already."""
    path = pool.consolidated / speaker.filename
    with _reading(path):
        if speaker.metadata_sha256:
            return path.with_name(f"{path.name}.metadata").read_bytes()
        if speaker.filename.endswith(".whl"):
            return b""
        try:
            return read_sdist_metadata(path) or b""
        except InvalidMetadata:
            return b""


def _coverage(planned: Sequence[TargetCoverage], absent: Sequence[PlannedFile]) -> tuple[TargetCoverage, ...]:
    """What was planned, less the cells whose file is not here."""
    lost: Counter[tuple[str, bool]] = Counter()
    for file in absent:
        for target, count in file.cells:
            lost[target, file.filename.endswith(".whl")] += count
    return tuple(
        replace(row, wheels=row.wheels - lost[row.target, True], sdists=row.sdists - lost[row.target, False])
        for row in planned
    )


def _valid(specifier: str) -> str:
    """Leave out what installers cannot parse: one bad value on a page hides a good wheel (frostming/unearth#119)."""
    try:
        SpecifierSet(specifier)
    except InvalidSpecifier:
        return ""
    return specifier


def _clear(folder: Path, artifacts: Sequence[Artifact]) -> None:
    """Remove links that the manifest does not list; the downloads themselves stay in the pool."""
    if not folder.is_dir():
        return
    wanted = {artifact.filename for artifact in artifacts}
    wanted |= {f"{artifact.filename}.metadata" for artifact in artifacts if artifact.metadata_sha256}
    try:
        for path in folder.iterdir():
            if path.name not in wanted and not path.is_dir():
                path.unlink()
    except OSError as error:
        raise MirrorError(
            f"cannot tidy {folder}: {error.strerror or error}",
            hint="make that folder writable, or choose another place with --work-dir",
        ) from error
