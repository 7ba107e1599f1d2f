"""What lies behind a site, when that is known: its store and the release that is current there."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from mirror.errors import IntegrityError
from mirror.release import current

if TYPE_CHECKING:
    from mirror.release import Release
    from mirror.stores.base import Store


@dataclass(frozen=True, kw_only=True)
class Behind:
    """The store that a site should serve, and its release; both None when nobody said which it is."""

    store: Store | None = None
    release: Release | None = None

    @classmethod
    def of(cls, store: Store | None) -> Behind:
        """Read what is current in a store. Raise `RemoteError` when it does not answer."""
        if store is None:
            return cls()
        try:
            found = current(store.read, store.name)
        except IntegrityError:
            return cls(store=store)  # `verify` tells what is wrong with the store itself
        return cls(store=store, release=found.release if found else None)

    def differs(self, key: str, digest: str) -> bool:
        """Whether there is a store, and what it has there by now are not the bytes of a sha256 (hex)."""
        if self.store is None:
            return False
        found = self.store.read(key)
        return found is None or sha256(found[0]).hexdigest() != digest

    def recorded(self, key: str) -> str:
        """The sha256 (hex) that the release records of an object; empty when it does not."""
        found = self.release.objects.get(key) if self.release is not None else None
        return found.sha256 if found else ""
