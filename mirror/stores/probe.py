"""What a bucket's host really does: tried once with scratch objects, and remembered in the work directory.

Stores that speak the language of S3 differ in what they pass over in silence, conditions most of all (cloud section 4).
A host that ignores them still serves one publisher at a time: writes on a condition are then made by looking first,
writing, waiting, and looking again. Who finds other bytes than its own has lost.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.errors import ConflictError, IntegrityError
from mirror.layout import PACKAGES, PROBE, headers
from mirror.model import Level, Notice
from mirror.stores.base import ABSENT, Body
from mirror.stores.s3_requests import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mirror.layout import Headers
    from mirror.progress import Progress
    from mirror.state import State
    from mirror.stores.base import StoredObject
    from mirror.stores.s3 import S3Store

_UNABLE = frozenset({400, 501})
"""What stores answer that do not know how."""
_FORBIDDEN = frozenset({403})
"""What stores answer that know how, and do not let us; also when bytes do not fit their signature."""

SETTLE = 2.0
"""Seconds after which a write by somebody else would show, where conditions are ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store does, as it was seen doing it."""

    creates_on_condition: bool
    """`If-None-Match: *` refuses to replace an object."""
    replaces_on_condition: bool
    """`If-Match` refuses to replace another object than the one seen, and only then."""
    verifies_checksums: bool
    """Bytes that do not have the SHA-256 sent with them are refused."""
    keeps_checksums: bool
    """The SHA-256 is told again afterwards."""
    keeps_versions: bool
    """The bucket has versioning enabled."""
    lists: bool
    """We may list it."""
    slash_keys: bool = True
    """A key may end in a slash."""

    @property
    def conditions(self) -> bool:
        """Whether two publishers at once are kept apart by the store itself."""
        return self.creates_on_condition and self.replaces_on_condition

    def __str__(self) -> str:
        said = {
            "creates only what is absent": self.creates_on_condition,
            "replaces only what was seen": self.replaces_on_condition,
            "verifies checksums": self.verifies_checksums,
            "keeps checksums": self.keeps_checksums,
            "keeps versions": self.keeps_versions,
            "may be listed": self.lists,
            "holds keys that end in a slash": self.slash_keys,
        }
        return ", ".join(f"{'yes' if found else 'NO'}: {what}" for what, found in said.items())


def probe(store: S3Store) -> Capabilities:
    """Try a store out below `.mirror/probe/`, and remove what that left.

    A handful of requests; several publishers may do so at once, for the names are drawn by lot. Raise `RemoteError`
    when it cannot be written, and when it gives no clear answer, as one that is overloaded.
    """
    slash_keys = False
    key, altered, slashed = (f"{PROBE}{secrets.token_hex(8)}{end}" for end in ("", "", "/"))
    try:
        first = store.send(key, _body(b"first"), headers(key))

        def write(data: bytes, expect: str) -> bool | None:
            return _outcome(lambda: store.send(key, _body(data), headers(key), expect=expect))

        creates = write(b"second", ABSENT) is False
        found = store.stat(key)
        etag = found.etag if found else ""
        replaces = write(b"third", hashlib.md5(b"never", usedforsecurity=False).hexdigest()) is False
        replaces = replaces and write(b"fourth", etag) is True
        wrong = Body(b"other", hashlib.sha256(b"bytes").hexdigest(), 5)
        verifies = _outcome(lambda: store.send(altered, wrong, headers(altered)), _UNABLE | _FORBIDDEN) is False
        slash_keys = _outcome(lambda: store.send(slashed, _body(b"slash"), headers(slashed))) is True
        return Capabilities(
            creates_on_condition=creates,
            replaces_on_condition=replaces,
            verifies_checksums=verifies,
            keeps_checksums=store.checksum(key) is not None,
            keeps_versions=bool(first.version),
            lists=_outcome(lambda: next(store.list(PROBE), None), _UNABLE | _FORBIDDEN) is True,
            # Some take it for a folder, and forget what was in it.
            slash_keys=slash_keys and (store.read(slashed) or (b"",))[0] == b"slash",
        )
    finally:
        store.delete([key, altered, *([slashed] if slash_keys else [])])


def _outcome(act: Callable[[], object], unable: frozenset[int] = _UNABLE) -> bool | None:
    """Whether something was done; None when the store says with one of these statuses that it will not.

    Any other trouble says nothing about the store, which is remembered for good.
    """
    try:
        act()
    except (ConflictError, IntegrityError):
        return False
    except RefusedError as error:
        if error.status not in unable:
            raise
        return None
    return True


def _body(data: bytes) -> Body:
    return Body(data, hashlib.sha256(data).hexdigest(), len(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What is known of stores, as a state file."""

    known: tuple[tuple[str, Capabilities], ...] = ()
    """By address, sorted."""


class ProbedStore:
    """A bucket that is probed when it is first written to on a condition, unless an earlier run did so.

    Reading never probes, and neither does a run that changes nothing.
    """

    def __init__(self, store: S3Store, state: State, progress: Progress, *, settle: float = SETTLE) -> None:
        """Remember in `state`, and tell `progress` what was found. `settle` is in seconds."""
        self._store = store
        self._state = state
        self._progress = progress
        self._settle = settle
        self._threads = threading.Lock()
        self._known: Capabilities | None = None

    @property
    def name(self) -> str:
        """The location as a URL."""
        return self._store.name

    @property
    def slash_keys(self) -> bool:
        """Whether a key may end in a slash, as far as that was found out."""
        known = self._known or self._remembered()
        return self._store.slash_keys and (known is None or known.slash_keys)

    @property
    def capabilities(self) -> Capabilities:
        """What the store does; found out once. Raise `RemoteError` when it cannot be written."""
        with self._threads:
            if self._known is None:
                self._known = self._find_out()
            return self._known

    def _remembered(self) -> Capabilities | None:
        return dict((self._state.load(Stores) or Stores()).known).get(self._store.address)

    def _find_out(self) -> Capabilities:
        found = self._remembered()
        if found is None:
            found = probe(self._store)
            self._progress.say(f"{self.name}: {found}")
            # Another bucket of the same run may have been written down meanwhile.
            known = {**dict((self._state.load(Stores) or Stores()).known), self._store.address: found}
            self._state.save(Stores(known=tuple(sorted(known.items(), key=lambda entry: entry[0]))))
        if not found.conditions:
            message = (
                "the store ignores conditions, so two publishers at once are only told apart by looking again after "
                f"{self._settle:.0f} seconds: publish from one place at a time"
            )
            self._progress.notice(Notice(level=Level.WARNING, code="no-conditions", message=message, where=self.name))
        return found

    # Reading, and writing whatever is there

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key."""
        return self._store.list(prefix)

    def stat(self, key: str) -> StoredObject | None:
        """One object's size and etag; None when there is none."""
        return self._store.stat(key)

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and etag; None when there is none."""
        return self._store.read(key)

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        """sha256 (hex) of the stored bytes; None when there is no such object."""
        return self._store.digest(key, rehash=rehash)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        self._store.delete(keys)

    def remove(self, key: str, *, expect: str) -> None:
        """Remove one object that must have the etag `expect`."""
        self._store.remove(key, expect=expect)

    # Writing on a condition

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:
        """Store an object whole or not at all, on a condition that holds wherever the store is able to hold it."""
        if expect is None or self._holds(expect):
            return self._store.put(key, body, headers, expect=expect)
        self._look(key, expect)
        etag = self._store.put(key, body, headers)
        if not key.startswith(PACKAGES):
            # Artifacts do not wait: under one name there is one digest, which every page states.
            time.sleep(self._settle)
            self._look(key, etag)
        return etag

    def _holds(self, expect: str) -> bool:
        found = self.capabilities
        return found.creates_on_condition if expect == ABSENT else found.replaces_on_condition

    def _look(self, key: str, expect: str) -> None:
        found = self._store.stat(key)
        if (found.etag if found else ABSENT) != expect:
            raise ConflictError(f"{self.name}: {key} changed meanwhile", hint="somebody else is publishing: run again")
