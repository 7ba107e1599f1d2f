"""Releases: what a publish put where, kept beside the site it describes, and the pointer to the current one.

```
.mirror/current.json             {"format": 1, "release": "<id>", "sha256": "<of the release manifest's bytes>"}
.mirror/releases/<id>.json       {"format": 1, "id", "locks", "objects": {key: [sha256, size]}, "previous", "sequence"}
.mirror/objects/<sha256>         the bytes of a page that a former release had and the current one does not have
```

A release is a pure function of what is published and of its predecessor: no clock, no host. A publish that was
interrupted and repeated therefore ends in the same bytes as an undisturbed one (DESIGN rules 6 and 9).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mirror.compare import Fingerprint
from mirror.errors import IntegrityError, RemoteError
from mirror.layout import (
    FORMER_PAGES,
    FRONT_PAGE,
    HTML,
    JSON,
    PACKAGES,
    POINTER,
    PROJECTS,
    SIMPLE,
    STATE,
    project_list_keys,
    release_key,
)
from mirror.model import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT = 1
"""The newest format that is understood; it is raised when an older reader would misunderstand the file."""

_ID = re.compile(r"\d{6,}-[0-9a-f]{12}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LOCK = re.compile(r"[a-z0-9]+:[0-9a-f]+")
_PROJECT_PAGE = re.compile(rf"{SIMPLE}[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/(?:{re.escape(HTML)}|{re.escape(JSON)}|)")
_ABOUT_PAGE = re.compile(rf"{PROJECTS}[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.html")
_FORMER_PAGE = re.compile(rf"{re.escape(FORMER_PAGES)}[0-9a-f]{{64}}")
_ARTIFACT = re.compile(rf"{PACKAGES}[A-Za-z0-9][A-Za-z0-9._+!-]*")


class Kind(Word):
    """What an object is, in the order of publishing: nothing is stored before what it refers to (DESIGN rule 3)."""

    ARTIFACT = "artifact"
    METADATA = "metadata"
    FORMER_PAGE = "former-page"
    PROJECT_PAGE = "project-page"
    PROJECT_LIST = "project-list"
    ABOUT_PAGE = "about-page"
    """The page for people about one project; it links to the pages for installers."""
    FRONT_PAGE = "front-page"
    STATE = "state"

    @property
    def immutable(self) -> bool:
        """Whether its bytes never change under its key (DESIGN rule 2)."""
        return self in (Kind.ARTIFACT, Kind.METADATA, Kind.FORMER_PAGE)

    @property
    def page(self) -> bool:
        """Whether it is a page that installers or people read; a twin whose key ends in a slash is one, too."""
        return self in (Kind.PROJECT_PAGE, Kind.PROJECT_LIST, Kind.ABOUT_PAGE, Kind.FRONT_PAGE)


def kind(key: str) -> Kind | None:
    """What a key of the layout holds; None for a key that the layout does not know."""
    if _PROJECT_PAGE.fullmatch(key):
        return Kind.PROJECT_PAGE
    if _ARTIFACT.fullmatch(key) and ".." not in key:
        return Kind.METADATA if key.endswith(".metadata") else Kind.ARTIFACT
    if key in (*project_list_keys(), SIMPLE):
        return Kind.PROJECT_LIST
    if _ABOUT_PAGE.fullmatch(key):
        return Kind.ABOUT_PAGE
    if key == FRONT_PAGE:
        return Kind.FRONT_PAGE
    if _FORMER_PAGE.fullmatch(key):
        return Kind.FORMER_PAGE
    return Kind.STATE if key.startswith(STATE) else None


@dataclass(frozen=True, kw_only=True)
class Release:
    """Everything that one publish stands for."""

    sequence: int
    """Counted from 1, without a gap along `previous`."""
    previous: str = ""
    """Id of the release before it; empty for the first one."""
    locks: tuple[str, ...] = ()
    """Digest of each lock that it stands for, `sha256:<hex>`, sorted."""
    objects: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Every artifact, sidecar and page by its key."""

    @cached_property
    def id(self) -> str:
        """`<sequence, six digits>-<first 12 hex digits of the digest over its locks and objects>`."""
        digest = hashlib.sha256()
        for lock in self.locks:
            digest.update(f"{lock}\n".encode())
        lines = (f"{found.sha256} {found.size} {key}\n" for key, found in sorted(self.objects.items()))
        digest.update("".join(lines).encode())
        return f"{self.sequence:06d}-{digest.hexdigest()[:12]}"

    @cached_property
    def data(self) -> bytes:
        """The manifest as it is stored: canonical JSON, one object per line."""
        lines = (f'"{key}":["{found.sha256}",{found.size}]' for key, found in sorted(self.objects.items()))
        fields = {
            "format": str(FORMAT),
            "id": json.dumps(self.id),
            "locks": json.dumps(self.locks, separators=(",", ":")),
            "objects": "{\n" + ",\n".join(lines) + "\n}",
            "previous": json.dumps(self.previous),
            "sequence": str(self.sequence),
        }
        return ("{\n" + ",\n".join(f'"{name}":{text}' for name, text in fields.items()) + "\n}\n").encode("ascii")

    @classmethod
    def parse(cls, data: bytes, where: str) -> Release:
        """Read a stored manifest; `where` names it in messages.

        Raise `RemoteError` for a newer format and for anything that is no release manifest, `IntegrityError` when
        its contents do not have the digest that its id states.
        """
        document = _load(data, where)
        try:
            release = cls(
                sequence=_checked(document["sequence"], int),
                previous=_checked(document["previous"], str),
                locks=tuple(_matching(lock, _LOCK) for lock in _checked(document["locks"], list)),
                objects={_key(key): _fingerprint(value) for key, value in _checked(document["objects"], dict).items()},
            )
            stated = document["id"]
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(where, f"{type(error).__name__} {error}") from error
        if release.id != stated:
            raise IntegrityError(
                f"{where}: it says that it is release {stated!r}, its contents are those of {release.id}",
                hint="the release manifest was altered; restore it from a backup, or publish to a new destination",
            )
        return release


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which release is current."""

    release: str
    """Its id."""
    sha256: str
    """Digest (hex) of its manifest's bytes, so that the pointer proves everything that is published."""
    fence: int = 0
    """Counted up by `prune`, which changes no release: a publisher that planned before that cannot move the pointer."""

    @classmethod
    def to(cls, release: Release) -> Pointer:
        """The pointer to a release."""
        return cls(release.id, hashlib.sha256(release.data).hexdigest())

    @property
    def data(self) -> bytes:
        """The pointer as it is stored."""
        fields = {"format": FORMAT, "release": self.release, "sha256": self.sha256}
        if self.fence:
            fields["fence"] = self.fence
        return (json.dumps(fields, sort_keys=True) + "\n").encode("ascii")

    @classmethod
    def parse(cls, data: bytes, where: str) -> Pointer:
        """Read a stored pointer. Raise `RemoteError` for a newer format and for anything that is no pointer."""
        document = _load(data, where)
        try:
            return cls(
                release=_matching(document["release"], _ID),
                sha256=_matching(document["sha256"], _SHA256),
                fence=_checked(document.get("fence", 0), int),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(where, f"{type(error).__name__} {error}") from error


@dataclass(frozen=True, slots=True)
class Current:
    """The release that is current at a destination, as it was read."""

    release: Release
    etag: str
    """Of the pointer; moving it on this condition keeps two publishers apart."""
    pointer: Pointer


@dataclass(frozen=True, slots=True)
class Stored:
    """The same, not yet understood: to understand a large release takes longer than to read it."""

    pointer: Pointer
    etag: str
    """Of the pointer."""
    manifest: bytes
    """With the digest that the pointer states."""
    where: str
    """What messages call the manifest."""

    def current(self) -> Current:
        """Understand it. Raise what `Release.parse` raises."""
        return Current(Release.parse(self.manifest, self.where), self.etag, self.pointer)

    def says(self, locks: tuple[str, ...], objects: Mapping[str, Fingerprint]) -> bool:
        """Whether the release stands for these: its id has their digest."""
        sequence = int(self.pointer.release.partition("-")[0])
        return Release(sequence=sequence, locks=locks, objects=objects).id == self.pointer.release


def current(read: Callable[[str], tuple[bytes, str] | None], name: str) -> Current | None:
    """Read the current release of a store through its `read`; None when nothing was ever published there.

    Raise `IntegrityError` unless the release manifest is there with the digest that the pointer states, and
    `RemoteError` for state that cannot be understood.
    """
    found = stored(read, name)
    return found.current() if found else None


def stored(read: Callable[[str], tuple[bytes, str] | None], name: str) -> Stored | None:
    """Read what `current` understands; it raises `RemoteError` for that later."""
    found = read(POINTER)
    if found is None:
        return None
    pointer = Pointer.parse(found[0], f"{name}: {POINTER}")
    key = release_key(pointer.release)
    manifest = read(key)
    if manifest is None or hashlib.sha256(manifest[0]).hexdigest() != pointer.sha256:
        raise IntegrityError(
            f"{name}: {key} {'was altered' if manifest else 'is missing'}, and {POINTER} points to it",
            hint="restore it from a backup, or publish to a new destination",
        )
    return Stored(pointer, found[1], manifest[0], f"{name}: {key}")


def _load(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, str(error)) from error
    if not isinstance(document, dict) or type(document.get("format")) is not int:
        raise _unreadable(where, "it states no format")
    if document["format"] > FORMAT:
        raise RemoteError(
            f"{where}: format {document['format']} is newer than format {FORMAT}, the newest that is understood",
            hint="this destination was published by a newer version: upgrade mirror and run again",
        )
    return document


def _checked(value: object, kind: type) -> Any:
    # `type` and not `isinstance`: True is an int.
    if type(value) is not kind:
        raise TypeError(f"{value!r:.80} is no {kind.__name__}")
    return value


def _matching(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{value!r:.80} is not expected")
    return value


def _key(value: object) -> str:
    # A manifest read from a destination decides what is deleted there, so its keys are held to the layout.
    if not isinstance(value, str) or kind(value) in (None, Kind.STATE, Kind.FORMER_PAGE):
        raise ValueError(f"{value!r:.80} is no key of the layout")
    return value


def _fingerprint(value: object) -> Fingerprint:
    sha256, size = _checked(value, list)
    if _checked(size, int) < 0:
        raise ValueError(f"size {size}")
    return Fingerprint(_matching(sha256, _SHA256), size)


def _unreadable(where: str, reason: str) -> RemoteError:
    return RemoteError(
        f"{where}: this is not what a publish left there: {reason}",
        hint="nothing was changed; restore the file from a backup, or publish to a new destination",
    )
