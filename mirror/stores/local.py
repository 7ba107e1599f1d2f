"""A directory as a store: no server, no account, the same guards as a bucket.

```
<root>/<key>                  an object: a regular file that a web server may read
<root>/.mirror/.lock          serialises the short steps in which a name changes hands
<root>/.mirror/.staging/      what writers are writing just now
```

Names that start with a dot, other than `.mirror` itself, are no keys: they are neither listed nor written.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from mirror.errors import ConflictError, IntegrityError, RemoteError
from mirror.files import hash_file
from mirror.layout import PACKAGES, STATE
from mirror.stores.base import ABSENT, StoredObject
from mirror.stores.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mirror.files import DigestCache
    from mirror.layout import Headers
    from mirror.stores.base import Body

_Answer = TypeVar("_Answer")

_PATIENCE = 60.0
"""Seconds to wait for another process that is giving a file its name; it takes milliseconds."""

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"\\|?*\ud800-\udfff]')
"""Characters that some file system refuses, or that mean something to it."""

_FOR_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


class LocalStore:
    """A `Store` on a directory, which need not exist yet. Reading never writes to it.

    The etag is the digest of the content. Objects below `packages/` never change under their name, so what `digests`
    knows of them is trusted while inode, size and modification time stay; everything else is small and read afresh.
    """

    def __init__(self, root: Path, digests: DigestCache, *, name: str = "") -> None:
        """Publish to `root`; `digests` remembers what was hashed, here and in the pool.

        Messages and reports call it `name`, without one as `root` was given.
        """
        self._name = name or str(root)
        self._root = root.absolute()
        self._state = self._root / STATE.rstrip("/")
        self._digests = digests
        self._staging = Staging(self._state / ".staging", self._exclusive)
        self._threads = threading.Lock()
        # Every thread takes it in turn, so it belongs to none.
        self._lock = FileLock(self._state / ".lock", timeout=_PATIENCE, thread_local=False)

    @property
    def name(self) -> str:
        """The directory, as the user named it."""
        return self._name

    @property
    def slash_keys(self) -> bool:
        """Never: a file has a name."""
        return False

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, in order of key."""
        folder = prefix.rpartition("/")[0]
        if not folder or _is_key(f"{folder}/_"):
            yield from self._walk(folder, prefix)

    def stat(self, key: str) -> StoredObject | None:
        """One object's size and etag; None when there is none."""
        return self._ask(key, lambda path: self._found(key, path))

    def read(self, key: str) -> tuple[bytes, str] | None:
        """An object's bytes and etag; None when there is none."""
        data = self._ask(key, Path.read_bytes)
        return None if data is None else (data, hashlib.sha256(data).hexdigest())

    def digest(self, key: str, *, rehash: bool = False) -> str | None:
        """sha256 (hex) of the stored bytes; None when there is no such object."""
        return self._ask(key, lambda path: self._digest(key, path, rehash=rehash))

    def put(self, key: str, body: Body, headers: Headers, *, expect: str | None = None) -> str:  # noqa: ARG002
        """Store an object whole or not at all, once its bytes were found to have the digest that is stated.

        Raise `IntegrityError` when they have another, `ConflictError` when the object is not what `expect` says.
        """
        with self._reporting("write", key):
            path = self._path(key)
        with self._staged(key, body, durable=expect is not None) as staged, self._exclusive():
            self._check(key, expect)
            with self._reporting("write", key):
                self._refuse_collision(key, path)
                self._make_folder(path.parent)
                self._give_name(key, staged, path, new=expect == ABSENT)
        return body.sha256

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, and the folders that this leaves empty."""
        for key in keys:
            with self._exclusive():
                self._ask(key, self._unlink, "remove")

    def remove(self, key: str, *, expect: str) -> None:
        """Remove one object that must have the etag `expect`."""
        with self._exclusive():
            self._check(key, expect)
            with self._reporting("remove", key):
                self._unlink(self._path(key))

    # Names

    def _path(self, key: str) -> Path:
        """The path of a key. Raise `RemoteError` for one that cannot be stored here, or that a link leads away."""
        if key.endswith("/"):
            raise RemoteError(
                f"{self.name}: a directory cannot hold an object whose name ends in a slash, such as {key}",
                hint="set SLASH_KEYS=auto or SLASH_KEYS=never; web servers have index documents for that",
            )
        if not _is_key(key):
            raise RemoteError(
                f"{self.name}: {key!r} cannot be the name of a file here",
                hint="names are relative, with no part that is empty, starts with a dot or holds a reserved character",
            )
        path = self._root
        for part in key.split("/"):
            path = path / part
            if _is(stat.S_ISLNK, path):
                raise RemoteError(
                    f"{path}: a symbolic link may lead out of {self.name}",
                    hint="replace the link by what it stands for, or publish to the place that it leads to",
                )
        return path

    def _ask(self, key: str, question: Callable[[Path], _Answer], verb: str = "read") -> _Answer | None:
        """Ask something of the regular file of a key; None when there is none, or none any more."""
        with self._reporting(verb, key):
            path = self._path(key)
            try:
                return question(path) if _is(stat.S_ISREG, path) and self._is_spelled(path) else None
            except FileNotFoundError:
                return None

    def _walk(self, folder: str, prefix: str) -> Iterator[StoredObject]:
        for name, is_folder in self._entries(folder):
            key = f"{folder}/{name}" if folder else name
            # The walk began at the last folder of the prefix, so a folder matches it wholly or not at all.
            if is_folder and f"{key}/".startswith(prefix) and _is_key(f"{key}/_"):
                yield from self._walk(key, prefix)
            elif not is_folder and key.startswith(prefix) and _is_key(key) and (found := self.stat(key)):
                yield found

    def _entries(self, folder: str) -> tuple[tuple[str, bool], ...]:
        """The names in a folder, and whether each is a folder itself; none when there is no such folder."""
        with self._reporting("list", folder):
            try:
                with os.scandir(self._path(f"{folder}/_").parent if folder else self._root) as entries:
                    found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            except FileNotFoundError:
                return ()
            except NotADirectoryError:
                if not folder:
                    raise
                return ()
        # A folder stands where its keys do: `a.b` is before `a/b`, for `.` is before `/`.
        return tuple(sorted(found, key=lambda entry: entry[0] + "/" * entry[1]))

    def _found(self, key: str, path: Path) -> StoredObject:
        status = path.stat()
        # An artifact may be a hard link, which has the modification time of its download.
        modified = max(status.st_mtime, status.st_ctime) if key.startswith(PACKAGES) else status.st_mtime
        return StoredObject(key, status.st_size, self._digest(key, path), modified)

    def _digest(self, key: str, path: Path, *, rehash: bool = False) -> str:
        return self._digests.digest(path, rehash=rehash) if key.startswith(PACKAGES) else hash_file(path)

    def _is_spelled(self, path: Path) -> bool:
        """Whether the disk spells an existing path as we do; some disks do not tell upper from lower case."""
        twin = self._state.with_name(self._state.name.upper())
        if not (twin.is_dir() and self._state.is_dir() and twin.samefile(self._state)):
            return True
        parts = path.relative_to(self._root).parts
        folders = itertools.accumulate(parts[:-1], Path.joinpath, initial=self._root)
        return all(
            part in {entry.name for entry in folder.iterdir()} for folder, part in zip(folders, parts, strict=True)
        )

    def _refuse_collision(self, key: str, path: Path) -> None:
        if path.exists() and not self._is_spelled(path):
            raise RemoteError(
                f"{self.name}: {key} differs only in case from a file that is there",
                hint="this disk does not tell upper from lower case: publish to one that does",
            )

    # Writing

    @contextlib.contextmanager
    def _staged(self, key: str, body: Body, *, durable: bool) -> Iterator[Path]:
        """The bytes on the file system of the tree, proven, with the mode that a web server needs."""
        with self._reporting("write", key):
            path = self._staging.path()
        try:
            with self._reporting("write", key):
                _bring(body.source, path, durable=durable)
                self._prove(key, body, path)
            yield path
        finally:
            # A new hard link leaves its first name behind.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _prove(self, key: str, body: Body, path: Path) -> None:
        if isinstance(body.source, bytes):
            found, size = hashlib.sha256(body.source).hexdigest(), len(body.source)
        else:
            # A hard link shares its inode with the pool, where the digest is known: nothing is hashed twice.
            found, size = self._digests.digest(path), path.stat().st_size
        if (found, size) != (body.sha256, body.size):
            raise IntegrityError(
                f"{self.name}: {key} should be {body.size} bytes with sha256:{body.sha256}, "
                f"the bytes at hand are {size} with sha256:{found}",
                hint="nothing was stored; the local file changed after it was checked: run the whole refresh again",
            )

    def _check(self, key: str, expect: str | None) -> None:
        if expect is None:
            return
        found = self.stat(key)
        if (found.etag if found else ABSENT) != expect:
            raise self._conflict(key)

    def _give_name(self, key: str, staged: Path, path: Path, *, new: bool) -> None:
        if new:
            # The lock alone would do where it works; a link never replaces a file even where it does not.
            try:
                return os.link(staged, path)
            except FileExistsError as error:
                raise self._conflict(key) from error
            except OSError:
                pass
        staged.replace(path)
        return None

    def _make_folder(self, folder: Path) -> None:
        for path in reversed([path for path in (folder, *folder.parents) if not path.is_dir()]):
            path.mkdir(exist_ok=True)
            # Whatever the umask says: a published tree is read by a web server.
            path.chmod(0o755)

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        for folder in path.parents:
            # The state folder stays: it holds the lock that we hold.
            if folder in (self._root, self._state):
                return
            try:
                folder.rmdir()
            except OSError:
                return

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let one writer at a time, of all processes, check what is there and change it."""
        with self._threads:
            with self._reporting("lock", STATE):
                self._make_folder(self._state)
                try:
                    self._lock.acquire()
                except Timeout as error:
                    raise ConflictError(
                        f"{self.name}: another process has kept it locked for {_PATIENCE:.0f} seconds",
                        hint="wait until it ends, or stop it, and run again",
                    ) from error
            try:
                yield
            finally:
                self._lock.release()

    # Errors

    def _conflict(self, key: str) -> ConflictError:
        return ConflictError(f"{self.name}: {key} changed meanwhile", hint="somebody else is publishing: run again")

    @contextlib.contextmanager
    def _reporting(self, verb: str, key: str) -> Iterator[None]:
        """Say which object an error of the disk is about. It never reads as "there is no such object"."""
        try:
            yield
        except OSError as error:
            raise RemoteError(
                f"{self.name}: cannot {verb} {key or 'the directory'}: {error.strerror or error}",
                hint="check the permissions and the space left; what is stored is whole, run again to go on",
            ) from error


def _is_key(key: str) -> bool:
    first, *others = key.split("/")
    # Windows drops trailing dots and spaces from names, so that two keys would be one file.
    parts = others if first == STATE.rstrip("/") and others else (first, *others)
    return not _UNSAFE.search(key) and all(part and part[0] != "." and part[-1] not in ". " for part in parts)


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    # Not `Path.is_symlink` and its like: from one Python to the next they take more errors for "no".
    try:
        return kind(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _bring(source: Path | bytes, path: Path, *, durable: bool) -> None:
    if isinstance(source, bytes):
        with path.open("xb") as stream:
            stream.write(source)
            if durable:
                # State must outlive a power cut; pages are written again by the next run.
                stream.flush()
                os.fsync(stream.fileno())
        path.chmod(0o644)
        return
    if _linked(source.resolve(), path):
        return
    shutil.copyfile(source, path)
    path.chmod(0o644)


def _linked(source: Path, path: Path) -> bool:
    """Make a hard link where the file system can, and where a web server may read the file as it is."""
    if source.stat().st_mode & _FOR_ALL != _FOR_ALL:
        return False
    try:
        os.link(source, path)
    except OSError:
        return False
    return True
