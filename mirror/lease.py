"""The lease: one publisher at a time for each store, and a note of what it may leave behind.

```
.mirror/lock.json    {"format": 1, "acquired", "expires", "lifetime", "owner": {"boot", "host", "pid", "started"},
                      "token", "unsettled": [key]}
```

No lease means that the store holds exactly what its current release records. A publisher that fails or is killed
leaves its lease, and the next one learns from `unsettled` which pages may be there that no release records. The lease
saves work; what makes publishing safe is the conditional move of the pointer (cloud 2.5).

Clocks of machines disagree, so a lease is as old as the store says it is; only where a store does not tell, the owner's
clock and ours are compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.errors import ConflictError, MirrorError, RemoteError
from mirror.guard import CalledOffError, courtesy, guarded
from mirror.layout import LEASE, headers
from mirror.model import Level, Notice
from mirror.stores.base import ABSENT, Body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mirror.progress import Progress
    from mirror.stores.base import Store

FORMAT = 1
LIFETIME = 300.0
"""Seconds for which a lease is good without a sign of life; it is renewed three times in that."""

_PATIENT = 1.0
"""Seconds between two looks whether somebody else still has the lease."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that publishes."""

    host: str
    boot: str = ""
    """This boot of the host and this process id namespace; empty where the system does not tell them."""
    pid: int
    started: str = ""
    """When the process started, as the system counts it, so that a reused process id is not taken for it."""

    @classmethod
    def here(cls) -> Owner:
        """This process."""
        pid = os.getpid()
        return cls(host=socket.gethostname(), boot=_boot(), pid=pid, started=_started(pid) or "")

    def gone(self, observer: Owner) -> bool:
        """Whether it ran on the observer's very host and no longer does; False when that cannot be known."""
        if not self.boot or (self.host, self.boot) != (observer.host, observer.boot):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return _started(self.pid) not in (None, self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """The start of a process in clock ticks; `dead` for one that only waits to be reaped, None when not told."""
    try:
        # The second field is the command in parentheses, and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return "dead" if fields[0] in (b"Z", b"X") else fields[19].decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease as it is stored."""

    owner: Owner
    token: str
    """Random, so that no two leases have the same bytes."""
    acquired: float
    """Seconds since the epoch by the owner's clock, whole."""
    expires: float
    """By the same clock: when it ends unless it is renewed."""
    lifetime: float = LIFETIME
    """Seconds for which it is good once it was stored; 0 when it was given up."""
    unsettled: tuple[str, ...] = ()
    """Pages that the store may hold although its current release does not record them; sorted."""

    @property
    def body(self) -> Body:
        """The lease as JSON."""
        fields = {
            "format": FORMAT,
            "owner": asdict(self.owner),
            "token": self.token,
            "acquired": _spell(self.acquired),
            "expires": _spell(self.expires),
            "lifetime": self.lifetime,
            "unsettled": self.unsettled,
        }
        data = (json.dumps(fields, sort_keys=True) + "\n").encode("ascii")
        return Body(data, hashlib.sha256(data).hexdigest(), len(data))

    @classmethod
    def parse(cls, data: bytes, where: str) -> Lease:
        """Read a stored lease. Raise `RemoteError` for anything else: it may be held by somebody newer."""
        try:
            document = json.loads(data)
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']} is not {FORMAT}")
            owner = {name: str(document["owner"][name]) for name in ("host", "boot", "started")}
            return cls(
                owner=Owner(pid=int(document["owner"]["pid"]), **owner),
                token=str(document["token"]),
                acquired=_read(document["acquired"]),
                expires=_read(document["expires"]),
                lifetime=float(document.get("lifetime", LIFETIME)),
                unsettled=tuple(map(str, document["unsettled"])),
            )
        except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RemoteError(
                f"{where}: this is no lease that can be understood: {type(error).__name__} {error}",
                hint="make sure that nobody publishes there, then remove that file",
            ) from error

    def left(self, now: float, age: float | None) -> float:
        """For how many seconds it is still good: by its age as the store tells it, otherwise by `now`, our clock."""
        if not self.lifetime:
            return 0.0
        return self.expires - now if age is None else self.lifetime - age


def _spell(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime(_TIME)


def _read(text: str) -> float:
    return datetime.strptime(text, _TIME).replace(tzinfo=timezone.utc).timestamp()


def leftover(store: Store) -> tuple[Lease, str] | None:
    """The lease that is there, whoever holds it, and its etag."""
    found = store.read(LEASE)
    return (Lease.parse(found[0], f"{store.name}: {LEASE}"), found[1]) if found else None


def passed() -> float:
    """Seconds that pass whatever the clock is set to meanwhile, those of a machine asleep included where it counts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Held:
    """A lease that we hold. Safe for several threads."""

    def __init__(self, store: Store, lease: Lease, etag: str, clock: Callable[[], float], since: float) -> None:
        """Hold what was stored no earlier than `since`; `clock` tells how much time has passed."""
        self.unsettled = False
        """Whether the store may hold something else than its current release records."""
        self._store = store
        self._lease = lease
        self._etag = etag
        self._clock = clock
        self._since = since
        self._lost: ConflictError | None = None
        self._tried: Lease | None = None
        """One that was put and may be there or not, for no answer came."""
        self._threads = threading.Lock()

    def check(self) -> None:
        """Raise `ConflictError` when somebody else has the lease, or when ours has run out."""
        if self._lost is not None:
            raise self._lost
        if self._clock() - self._since >= self._lease.lifetime:
            raise _lost(self._store, "it could not be renewed in time")

    def note(self, unsettled: Iterable[str]) -> None:
        """Write down, before it happens, what may be left behind. Raise `ConflictError` when the lease is lost."""
        self.unsettled = True
        self._replace(unsettled=tuple(sorted({*self._lease.unsettled, *unsettled})))

    def renew(self) -> None:
        """Give a sign of life. Raise `ConflictError` when the lease is lost."""
        self._replace(expires=float(int(time.time() + self._lease.lifetime)))

    def settle(self) -> None:
        """Give the lease back: the store holds what its release records."""
        with self._threads:
            self._find_out()
            self._store.remove(LEASE, expect=self._etag)

    def abandon(self) -> None:
        """Let the next publisher in at once, and let it know that something may be unsettled.

        Raise `ConflictError` when the lease is lost.
        """
        self._replace(expires=self._lease.acquired, lifetime=0.0)

    def leave_word(self) -> None:
        """Put the lease back where nobody has one any more, given up, with what may be unsettled.

        For who has lost it: what was on its way meanwhile may have arrived after somebody else looked at all pages.
        Raise `ConflictError` while somebody has it.
        """
        with self._threads:
            word = replace(self._lease, token=secrets.token_hex(8), expires=self._lease.acquired, lifetime=0.0)
            self._store.put(LEASE, word.body, headers(LEASE), expect=ABSENT)

    def _replace(self, **changes: object) -> None:
        with self._threads:
            self._find_out()
            moment = self._clock()
            lease = replace(self._lease, token=secrets.token_hex(8), **changes)  # type: ignore[arg-type]
            self._tried = lease
            try:
                self._etag = self._store.put(LEASE, lease.body, headers(LEASE), expect=self._etag)
            except ConflictError as error:
                self._lost = _lost(self._store, "somebody else took it over")
                raise self._lost from error
            self._lease, self._since, self._tried = lease, moment, None

    def _find_out(self) -> None:
        """After a change that got no answer: whether it was made."""
        if self._tried and (found := leftover(self._store)) and found[0].token == self._tried.token:
            self._lease, self._etag = self._tried, found[1]
        self._tried = None


@contextlib.contextmanager
def holding(
    store: Store,
    owner: Owner,
    progress: Progress,
    *,
    clock: Callable[[], float] = passed,
    lifetime: float = LIFETIME,
) -> Iterator[Held]:
    """Hold the store's lease for the block, and renew it meanwhile.

    `lifetime` is the time in seconds for which it is good without a sign of life, counted by `clock` here.

    A block that ends well gives it back, and so does one that raises before it noted what it may leave behind; after
    that the lease stays, expired, with the note. When it was lost meanwhile, the note is put there as soon as nobody
    else has it. Raise `ConflictError` when somebody else holds it, `RemoteError` when
    the store refuses.
    """
    held = _take(store, owner, clock, lifetime)
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(held, done, lifetime / 3), name="lease", daemon=True)
    heart.start()
    try:
        yield held
    except BaseException as error:
        _stop(heart, done)
        # The first error is the one to tell; without this courtesy the lease expires by itself.
        with contextlib.suppress(MirrorError), courtesy():
            if held.unsettled:
                _take_leave(held, store, progress, patience=lifetime if isinstance(error, MirrorError) else 0.0)
            else:
                held.settle()
        raise
    _stop(heart, done)
    try:
        held.settle()
    except MirrorError as error:
        if held.unsettled and isinstance(error, ConflictError):
            _leave_word(held, store, progress, patience=lifetime)
        else:
            message = f"the lease could not be given back, the next publisher checks all pages: {error}"
            progress.notice(Notice(level=Level.WARNING, code="lease", message=message, where=store.name))


def _take(store: Store, owner: Owner, clock: Callable[[], float], lifetime: float) -> Held:
    found = leftover(store)
    now, since = float(int(time.time())), clock()
    if found and not found[0].owner.gone(owner):
        _refuse_good(store, *found, now)
    lease = Lease(
        owner=owner,
        token=secrets.token_hex(8),
        acquired=now,
        expires=now + lifetime,
        lifetime=lifetime,
        unsettled=found[0].unsettled if found else (),
    )
    try:
        etag = store.put(LEASE, lease.body, headers(LEASE), expect=found[1] if found else ABSENT)
    except ConflictError as error:
        raise ConflictError(
            f"{store.name}: somebody else has just begun to publish", hint="wait for it and run again"
        ) from error
    held = Held(store, lease, etag, clock, since)
    held.unsettled = found is not None
    return held


def _refuse_good(store: Store, holder: Lease, etag: str, now: float) -> None:
    """Raise `ConflictError` for a lease that is still good."""
    seen = store.stat(LEASE)
    # Another one than was read is a sign of life, of a moment ago.
    age = seen.age if seen and seen.etag == etag else 0.0
    left = holder.left(now, age)
    if left > 0:
        raise ConflictError(
            f"{store.name}: {holder.owner} is publishing since {_spell(holder.acquired)}",
            hint=f"wait for it and run again; if it is gone, its lease ends in {left:,.0f} seconds",
        )


def _take_leave(held: Held, store: Store, progress: Progress, patience: float) -> None:
    try:
        held.abandon()
    except ConflictError:
        _leave_word(held, store, progress, patience)


def _leave_word(held: Held, store: Store, progress: Progress, patience: float) -> None:
    """Say what may be unsettled although the lease is lost, and wait for that until nobody else has it."""
    end = time.monotonic() + patience
    while True:
        try:
            with courtesy():
                return held.leave_word()
        except MirrorError as error:
            if time.monotonic() < end:
                time.sleep(min(_PATIENT, patience))
                continue
            message = f"it could not be noted which pages may not be as their release says: {error}"
            hint = "run mirror sync --check-remote when nobody else publishes, which looks at all of them"
            progress.notice(Notice(level=Level.WARNING, code="lease", message=f"{message}; {hint}", where=store.name))
            return None


def _beat(held: Held, done: threading.Event, interval: float) -> None:
    def guard() -> None:
        if done.is_set():
            raise CalledOffError

    with guarded(guard):
        while not done.wait(interval):
            # A store that does not answer now may do so before the lease runs out; `check` tells the publisher.
            with contextlib.suppress(RemoteError):
                try:
                    held.renew()
                except (ConflictError, CalledOffError):
                    return


def _stop(heart: threading.Thread, done: threading.Event) -> None:
    done.set()
    heart.join()


def _lost(store: Store, why: str) -> ConflictError:
    return ConflictError(
        f"{store.name}: the lease was lost: {why}",
        hint="run again: the next run looks at every page, for one that was on its way may have arrived too late",
    )
