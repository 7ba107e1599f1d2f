"""Files written whole or not at all, and digests computed once."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import threading
from typing import TYPE_CHECKING

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_CHUNK = 1 << 20
_numbers = itertools.count()


_FOR_ALL = 0o644
"""A published tree is served by others, whatever the umask says."""


@contextlib.contextmanager
def writing(path: Path, mode: int = _FOR_ALL) -> Iterator[BinaryIO]:
    """Open a new file beside `path`, and give it that name when the block ends well; otherwise leave no trace.

    `mode` says who may read it, from the first byte on. Raise `MirrorError` naming `path` when the disk refuses.
    """
    try:
        descriptor, part = _open_beside(path, mode)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 - there is no path yet, only a descriptor
            part.chmod(mode)
            yield stream
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def _open_beside(path: Path, mode: int) -> tuple[int, Path]:
    """Make a file that nobody else has, beside `path`. An index has thousands: no call more than it needs."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        # The number is new in this process; another process had this one's id before it was killed, at worst.
        part = path.with_name(f".{path.name[:100]}.{os.getpid()}.{next(_numbers)}.part")
        try:
            return os.open(part, flags, mode), part
        except FileExistsError:
            continue
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)


def write(path: Path, data: bytes, mode: int = _FOR_ALL) -> None:
    """Write a whole file, beside and renamed. Raise `MirrorError` when the disk refuses."""
    with writing(path, mode) as stream:
        stream.write(data)


def write_if_changed(path: Path, data: bytes) -> bool:
    """Write `data` unless the file holds it already; say whether it was written."""
    # What cannot be compared is written, and what cannot be written is told by `write`.
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
    write(path, data)
    return True


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link where the file system can, a copy where it cannot.

    Whatever was there is replaced in one step. Raise `MirrorError` when the disk refuses.
    """
    beside = target.with_name(f".{target.name[:100]}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        try:
            os.link(source, beside)
        except OSError:
            shutil.copyfile(source, beside)
        beside.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        # Renaming one hard link onto another of the same file does nothing and leaves both (rename(2)).
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> MirrorError:
    return MirrorError(
        f"cannot write {path}: {error.strerror or error}",
        hint="free some space or choose another place with --work-dir; what is complete is kept, run again to go on",
    )


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Digest (hex) of a file's bytes, read once in chunks. Raise `FileNotFoundError` when there is none."""
    digest = hashlib.new(algorithm)
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


class DigestCache:
    """Digests of files by inode, size and modification time, so that no byte is hashed twice.

    Hard links share an inode, so what is known of a downloaded file is known of its published link. It is a cache:
    a lost or unreadable one costs time only. Safe for several threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Remember in memory, and in `path` (JSON) when it is given."""
        self._path = path
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._known: dict[str, str] = {}
        self._changed = False
        if path is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
                loaded = json.loads(path.read_bytes())
                self._known = {str(key): str(value) for key, value in loaded.items()}

    def digest(self, path: Path, algorithm: str = "sha256", *, rehash: bool = False) -> str:
        """Digest (hex) of a file; `rehash` reads the bytes whatever is known. Raise `FileNotFoundError`."""
        key = _key(path, algorithm)
        with self._lock:
            known = None if rehash else self._known.get(key)
        if known is not None:
            return known
        # Kept under the key from before: a file that changes while it is read gets another one, and is read again.
        found = hash_file(path, algorithm)
        self._keep(key, found)
        return found

    def record(self, path: Path, digest: str, algorithm: str = "sha256") -> None:
        """Keep a digest that was computed while the file was written."""
        self._keep(_key(path, algorithm), digest)

    def _keep(self, key: str, digest: str) -> None:
        with self._lock:
            if self._known.get(key) != digest:
                self._known[key] = digest
                self._changed = True

    def save(self) -> None:
        """Write what is known, if anything is new. Raise `MirrorError` when the disk refuses."""
        with self._saving:
            with self._lock:
                if self._path is None or not self._changed:
                    return
                data = json.dumps(self._known, sort_keys=True, indent=0).encode()
                self._changed = False
            write(self._path, data)


def _key(path: Path, algorithm: str) -> str:
    status = path.stat()
    return f"{algorithm}:{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
