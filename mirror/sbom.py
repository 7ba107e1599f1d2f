"""A bill of materials: what a manifest holds, as CycloneDX 1.6 in JSON, for tools that look for vulnerabilities.

One component stands for a release, so that a scanner counts it once; its files are external references of the kind
"distribution", each with its sha256 and the place where it came from. A pure function of what it is made from: the
serial number is derived from the contents, and the time is that of the newest upload, not of a clock.

The one door to the CycloneDX library.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from mirror import __version__
from mirror.credentials import strip
from mirror.layout import artifact_key
from mirror.simple.links import upload_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.model import About, Artifact, Manifest, PlannedFile

_NAMESPACE = UUID("d1a9f6f2-3c0f-5a0e-9d5b-3f0c6f3a1c77")
"""Of the serial numbers made here; any fixed one will do (RFC 9562, section 5.5)."""
_NOBODY = UUID(int=0)
"""Stands where the serial number will, while it is not known."""
_SECONDS = len("2026-01-02T03:04:05")
_LONG_AGO = datetime(1980, 1, 1, tzinfo=timezone.utc)
"""The time of a bill whose files have none; the format demands one."""


def render(manifest: Manifest, planned: Iterable[PlannedFile] = (), *, default_index: str = "") -> bytes:
    """Write the bill of a manifest, ending in a line break.

    `planned` tells where files came from; one that it does not name has its place in the mirror instead, relative to
    its root. `default_index` is the simple index that a package URL means when it names none (purl, type "pypi").
    """
    bill = _Bill(
        about=dict(manifest.about),
        planned={file.filename: file for file in planned},
        default_index=default_index.rstrip("/"),
    )
    releases: defaultdict[tuple[NormalizedName, str], list[Artifact]] = defaultdict(list)
    for artifact in manifest.artifacts:
        releases[artifact.project, artifact.version].append(artifact)
    components = [bill.component(files) for files in releases.values()]
    subject = _subject(manifest)
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=subject, timestamp=_newest(manifest.artifacts)),
        serial_number=_NOBODY,
    )
    bom.metadata.tools.components.add(Component(name="mirror", version=__version__, type=ComponentType.APPLICATION))
    bom.register_dependency(subject, components)
    bom.serial_number = uuid5(_NAMESPACE, hashlib.sha256(_written(bom)).hexdigest())
    return _written(bom)


def _written(bom: Bom) -> bytes:
    return f"{JsonV1Dot6(bom).output_as_string(indent=1)}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bill:
    about: Mapping[NormalizedName, About]
    planned: Mapping[str, PlannedFile]
    default_index: str

    def component(self, files: Sequence[Artifact]) -> Component:
        """One release; what its project says of itself only if this is the release that says so."""
        first = files[0]
        about = self.about.get(first.project)
        said = about if about and about.filename in {file.filename for file in files} else None
        purl = PackageURL(type="pypi", name=first.project, version=first.version, qualifiers=self._qualifiers(files))
        component = Component(
            name=first.project,
            version=first.version,
            type=ComponentType.LIBRARY,
            bom_ref=purl.to_string(),
            purl=purl,
            description=(said.summary if said else "") or None,
            licenses=[LicenseFactory().make_from_string(said.license)] if said and said.license else [],
            # A hash of its own has only what is one file.
            hashes=[_sha256(first)] if len(files) == 1 else [],
            external_references=[self._distribution(file) for file in files],
        )
        for file in files:
            if file.yanked is not None:
                component.properties.add(
                    Property(name="mirror:yanked", value=f"{file.filename} {file.yanked}".rstrip())
                )
        return component

    def _qualifiers(self, files: Sequence[Artifact]) -> dict[str, str]:
        indexes = {self.planned[file.filename].index for file in files if file.filename in self.planned}
        foreign = sorted(strip(index).rstrip("/") for index in indexes if index)
        return {"repository_url": foreign[0]} if foreign and foreign[0] != self.default_index else {}

    def _distribution(self, file: Artifact) -> ExternalReference:
        planned = self.planned.get(file.filename)
        url = _public(planned.url) if planned else ""
        return ExternalReference(
            type=ExternalReferenceType.DISTRIBUTION,
            url=XsUri(url or artifact_key(file.filename)),
            comment=file.filename,
            hashes=[_sha256(file)],
        )


def _sha256(file: Artifact) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)


def _public(url: str) -> str:
    """The URL without what may be a secret: user, password, and the query, in which signatures travel."""
    parts = urlsplit(strip(url))
    if parts.scheme not in ("http", "https"):
        # A path of somebody's machine.
        return ""
    return urlunsplit(parts._replace(query="", fragment=""))


def _subject(manifest: Manifest) -> Component:
    """What the bill is about: the project that was locked, or the mirror of several."""
    names = sorted({origin.project for origin in manifest.origins if origin.project})
    alone = len(manifest.origins) == 1 and len(names) == 1
    component = Component(name=names[0] if alone else "mirror", type=ComponentType.APPLICATION, bom_ref="subject")
    for digest in manifest.locks:
        component.properties.add(Property(name="mirror:lock", value=digest))
    return component


def _newest(artifacts: Iterable[Artifact]) -> datetime:
    """The newest upload, to the second: without fractions, texts sort as times do."""
    # What a manifest says has the shape of a time, and may be none.
    times = [time[:_SECONDS] for artifact in artifacts if (time := upload_time(artifact.upload_time))]
    return datetime.fromisoformat(max(times)).replace(tzinfo=timezone.utc) if times else _LONG_AGO
