"""Files on their way into a directory: each writer has a folder of its own, and a killed writer's is swept."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import threading
import weakref
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


class Staging:
    """Fresh paths in `<folder>/<token>/`. The folder exists from the first path until the writer ends.

    A writer holds `<token>.lock` as long as it lives. The system lets go of it when the writer is killed, so whoever
    gets that lock knows that nobody will ever finish what lies in the folder.
    """

    def __init__(self, folder: Path, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        """Stage below `folder`; `exclusive` keeps other processes from sweeping while a writer begins."""
        self._folder = folder
        self._exclusive = exclusive
        self._own: Path | None = None
        self._threads = threading.Lock()
        self._counter = itertools.count(1)

    def path(self) -> Path:
        """A path that no file has yet. Raise `OSError` when the disk refuses."""
        with self._threads:
            if self._own is None:
                with self._exclusive():
                    self._own = self._open()
            return self._own / str(next(self._counter))

    def _open(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob("*.lock"):
            _sweep(left)
        own = self._folder / secrets.token_hex(8)
        # The garbage collector may close it on another thread than the one that opened it.
        lock = FileLock(own.with_suffix(".lock"), timeout=0, thread_local=False)
        lock.acquire()
        own.mkdir()
        weakref.finalize(self, _close, own, lock)
        return own


def _sweep(path: Path) -> None:
    lock = FileLock(path, timeout=0, thread_local=False)
    with contextlib.suppress(Timeout):
        lock.acquire()
        _close(path.with_suffix(""), lock)


def _close(own: Path, lock: FileLock) -> None:
    shutil.rmtree(own, ignore_errors=True)
    # In this order, for Windows removes no open file; the name is random, so nobody waits for this lock.
    lock.release()
    with contextlib.suppress(OSError):
        own.with_suffix(".lock").unlink(missing_ok=True)
