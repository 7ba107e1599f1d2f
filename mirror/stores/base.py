"""The store port: a flat map from key to bytes, as narrow as publishing needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mirror.layout import Headers


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """An opaque value that changes whenever the bytes do; only comparable within one store."""
    modified: float | None = field(default=None, compare=False)
    """When it was stored, in seconds since the epoch by the store's clock; None where the store does not tell."""
    told: float | None = field(default=None, compare=False)
    """When `stat` was answered, by the same clock; None where the store does not tell, and in listings."""

    @property
    def age(self) -> float | None:
        """Seconds since it was stored, whatever the clock here says; None where the store does not tell."""
        return None if self.modified is None or self.told is None else self.told - self.modified


@dataclass(frozen=True, slots=True)
class Body:
    """What is to be stored, with the digest that is known of it: nothing is hashed twice."""

    source: Path | bytes
    sha256: str
    size: int


ABSENT = ""
"""The condition "there is no such object yet" (HTTP `If-None-Match: *`)."""


class Store(Protocol):
    """A place to publish to.

    Every method raises `RemoteError` when the store does not answer or refuses. Only "not found" means absent: no
    other failure is ever reported as an empty result (DESIGN rule 4). All are safe to call from several threads.
    """

    @property
    def name(self) -> str:
        """What messages call it: a URL or path, without credentials."""

    @property
    def slash_keys(self) -> bool:
        """Whether a key may end in a slash, as it has to where a host has no index documents."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key; none when there is nothing."""

    def stat(self, key: str) -> StoredObject | None:
        """One object's size and etag; None when there is none."""

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and etag; None when there is none."""

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        """sha256 (hex) of the bytes that are really stored; None when there is no such object.

        A store may answer from what it knows is unchanged since it last read the bytes; `rehash` forbids that.
        """

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        """Store an object whole or not at all, and return its etag.

        `expect` is the etag that the object must have now, `ABSENT` for none, None for whatever.
        Raise `ConflictError` when it has another, `IntegrityError` when the body's bytes are not what it states.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; a key that is not there is fine."""

    def remove(self, key: str, *, expect: str) -> None:
        """Remove one object that must have the etag `expect`. Raise `ConflictError` when it has another."""
