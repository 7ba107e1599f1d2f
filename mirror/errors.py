"""Every error that a user can meet, with the exit code it ends in (0 is fine, 1 is findings).

```
MirrorError                 2   usage or configuration
├── LockError               2   a lock file that cannot be read, or must not be trusted
├── RemoteError             3   an index, a store or a host answered wrongly, or refused
├── ConflictError           4   somebody else holds the lock or moved the pointer; try again
└── IntegrityError          5   bytes that differ from their digest, an artifact that changed under its name
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.model import Notice


INTERRUPTED = 130
"""The exit code of a run that was told to stop: 128 + SIGINT, as shells count."""


class MirrorError(Exception):
    """Say what went wrong and where; `hint` says what to do about it, on a line of its own."""

    exit_code: int = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class LockError(MirrorError):
    """A lock file is unreadable, stale or inconsistent; `notices` lists every problem that was found."""

    def __init__(self, message: str, *, hint: str = "", notices: Sequence[Notice] = ()) -> None:
        super().__init__(message, hint=hint)
        self.notices = tuple(notices)


class RemoteError(MirrorError):
    """The other side did not answer, answered wrongly, or refused. "Not found" is an answer and no error."""

    exit_code = 3


class ConflictError(MirrorError):
    """A condition did not hold: the lock is taken, or the object changed since it was read."""

    exit_code = 4


class IntegrityError(MirrorError):
    """Bytes do not have the digest that the lock pins, or one filename stands for two different digests."""

    exit_code = 5
