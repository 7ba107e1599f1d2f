"""A store that writes down what is done to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mirror.layout import Headers
    from mirror.stores.base import Body, Store, StoredObject


class Watched:
    """A store that writes down what is done to it, and may fail."""

    def __init__(self, store: Store, failing: str = "") -> None:
        self._store = store
        self._failing = failing
        self.done: list[tuple[str, str]] = []

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def slash_keys(self) -> bool:
        return self._store.slash_keys

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self.done.append(("list", prefix))
        return self._store.list(prefix)

    def stat(self, key: str) -> StoredObject | None:
        self.done.append(("stat", key))
        return self._store.stat(key)

    def read(self, key: str) -> tuple[bytes, str] | None:
        self.done.append(("read", key))
        if self._failing == f"read {key}":
            raise RemoteError(f"{key}: the store is away")
        return self._store.read(key)

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        self.done.append(("digest", key))
        return self._store.digest(key, rehash=rehash)

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        self.done.append(("put", key))
        if self._failing == f"put {key}":
            raise RemoteError(f"{key}: the store is away")
        return self._store.put(key, body, headers, expect=expect)

    def delete(self, keys: Iterable[str]) -> None:
        keys = tuple(keys)
        self.done.extend(("delete", key) for key in keys)
        self._store.delete(keys)

    def remove(self, key: str, *, expect: str) -> None:
        self.done.append(("remove", key))
        self._store.remove(key, expect=expect)

    def keys(self, verb: str) -> tuple[str, ...]:
        return tuple(key for what, key in self.done if what == verb)
