"""The work directory: where one mirror keeps its downloads, its pages and its state; one run at a time."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from mirror.errors import ConflictError, MirrorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below the work directory. All of it can be made again from the locks; none of it is published."""

    root: Path

    @property
    def packages(self) -> Path:
        """The pool."""
        return self.root / "packages"

    @property
    def pages(self) -> Path:
        """The generated index."""
        return self.root / "index"

    @property
    def state(self) -> Path:
        """What one phase leaves for the next, and what was read from upstream."""
        return self.root / ".mirror"

    @property
    def staging(self) -> Path:
        """Downloads that are not proven yet; on the file system of `packages`, so that moving them is a rename."""
        return self.state / "staging"

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep every other run out of this work directory; a killed run's claim ends with its process.

        Raise `ConflictError` when another run has it, `MirrorError` when nothing can be written there.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            claim = FileLock(self.state / "work.lock", timeout=0)
            claim.acquire()
        except Timeout as error:
            raise ConflictError(
                f"another run is at work in {self.root}", hint="wait for it, or choose another --work-dir"
            ) from error
        except OSError as error:
            raise MirrorError(
                f"cannot write to {self.root}: {error.strerror}", hint="choose another place with --work-dir"
            ) from error
        try:
            yield
        finally:
            claim.release()
