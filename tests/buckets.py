"""A store in memory that holds keys ending in a slash, as a bucket does; and stores with times of their own choice."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.errors import ConflictError, IntegrityError
from mirror.stores.base import ABSENT, StoredObject
from tests.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mirror.layout import Headers
    from mirror.stores.base import Body, Store


class Bucket:
    """A `Store` without any disk: quick enough for thousands of publishes."""

    name = "bucket"
    slash_keys = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.headers: dict[str, Headers] = {}
        self._clock = clock
        self._lock = threading.RLock()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        with self._lock:
            found = [self.stat(key) for key in sorted(self.objects) if key.startswith(prefix)]
        return iter([each for each in found if each])

    def stat(self, key: str) -> StoredObject | None:
        with self._lock:
            if key not in self.objects:
                return None
            data, modified = self.objects[key]
            return StoredObject(key, len(data), _digest(data), modified, told=self._clock())

    def read(self, key: str) -> tuple[bytes, str] | None:
        with self._lock:
            data = self.objects[key][0] if key in self.objects else None
        return None if data is None else (data, _digest(data))

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        found = self.read(key)
        return found[1] if found else None

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        data = body.source.read_bytes() if isinstance(body.source, Path) else body.source
        if (_digest(data), len(data)) != (body.sha256, body.size):
            raise IntegrityError(f"{key}: other bytes")
        with self._lock:
            self._check(key, expect)
            self.objects[key] = (data, self._clock())
            self.headers[key] = headers
        return body.sha256

    def delete(self, keys: Iterable[str]) -> None:
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)

    def remove(self, key: str, *, expect: str) -> None:
        with self._lock:
            self._check(key, expect)
            del self.objects[key]

    def _check(self, key: str, expect: str | None) -> None:
        found = self.stat(key)
        if expect is not None and (found.etag if found else ABSENT) != expect:
            raise ConflictError(f"{self.name}: {key} changed meanwhile", hint="run again")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Timeless(Watched):
    """A store that does not tell when things were stored."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        return (replace(found, modified=None) for found in super().list(prefix))

    def stat(self, key: str) -> StoredObject | None:
        found = super().stat(key)
        return found and replace(found, modified=None)


class Interrupting(Watched):
    """A store on which something else happens right before the call with a certain number."""

    def __init__(self, store: Store, at: int, event: Callable[[], None]) -> None:
        super().__init__(store)
        self._at = at
        self._event = event
        self.calls = 0

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            self._event()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self._count()
        return super().list(prefix)

    def stat(self, key: str) -> StoredObject | None:
        self._count()
        return super().stat(key)

    def read(self, key: str) -> tuple[bytes, str] | None:
        self._count()
        return super().read(key)

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        self._count()
        return super().digest(key, rehash=rehash)

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        self._count()
        return super().put(key, body, headers, expect=expect)

    def delete(self, keys: Iterable[str]) -> None:
        self._count()
        super().delete(keys)

    def remove(self, key: str, *, expect: str) -> None:
        self._count()
        super().remove(key, expect=expect)
