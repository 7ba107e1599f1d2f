"""The pool: every artifact that was ever downloaded here, in one folder a target.

```
packages/<home>/<filename>     what was downloaded, each file once
packages/all/<filename>        hard links to what the manifest lists, with <filename>.metadata beside wheels
```
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mirror.errors import IntegrityError, MirrorError
from mirror.filenames import is_artifact

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from mirror.files import DigestCache
    from mirror.model import Digest, PlannedFile

_ALL = "all"


class Pool:
    """The artifacts in `root`, found by filename and proven by digest."""

    def __init__(self, root: Path, digests: DigestCache) -> None:
        """Look into `root` (it need not exist yet); `digests` remembers what was hashed."""
        self.root = root
        self.digests = digests

    @property
    def consolidated(self) -> Path:
        """The folder with a link to each file of the manifest, and the metadata beside it."""
        return self.root / _ALL

    @cached_property
    def _places(self) -> dict[str, list[Path]]:
        places: dict[str, list[Path]] = {}
        if self.root.is_dir():
            for home in sorted(path for path in self.root.iterdir() if path.is_dir() and path.name != _ALL):
                for path in home.iterdir():
                    if is_artifact(path.name) and not path.name.startswith("."):
                        places.setdefault(path.name, []).append(path)
        return places

    def names(self) -> frozenset[str]:
        """Every filename that the pool holds, whatever its digest."""
        return frozenset(self._places)

    def find(self, filename: str, digest: Digest, *, rehash: bool = False) -> Path | None:
        """The file of that name whose bytes have that digest, or None. Raise `MirrorError` when one cannot be read."""
        for path in self._places.get(filename, ()):
            try:
                if path.is_file() and self.digests.digest(path, digest.algorithm, rehash=rehash) == digest.hex:
                    return path
            except OSError as error:
                raise MirrorError(
                    f"cannot read {path}: {error.strerror or error}",
                    hint="delete it, and it is downloaded anew; if that happens again, look at the disk",
                ) from error
        return None

    def surplus(self, wanted: Collection[str], before: float) -> tuple[Path, ...]:
        """The files whose names are not wanted and that were downloaded before a moment (seconds since the epoch)."""
        return tuple(
            path
            for name, paths in self._places.items()
            if name not in wanted
            for path in paths
            if path.is_file() and path.stat().st_mtime <= before
        )

    def discard(self, paths: Collection[Path]) -> None:
        """Delete files of the pool. Raise `MirrorError` when the disk refuses."""
        for path in paths:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise MirrorError(
                    f"cannot delete {path}: {error.strerror or error}", hint="make that folder writable and run again"
                ) from error
            self._places[path.name].remove(path)
        for name in {path.name for path in paths}:
            if not self._places[name]:
                del self._places[name]

    def admit(self, path: Path, file: PlannedFile) -> Path:
        """Check a downloaded file's bytes against the lock's digest and move it to its home.

        Raise `IntegrityError` when they differ (the file is left where it is), `MirrorError` when the disk refuses.
        """
        found = self.digests.digest(path, file.digest.algorithm)
        if found != file.digest.hex:
            raise IntegrityError(
                f"{file.filename}: the lock pins {file.digest}, the bytes are {file.digest.algorithm}:{found}",
                hint="the index serves other bytes than were locked: find out why before you lock again",
            )
        home = self.root / file.home / file.filename
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(0o644)
            path.replace(home)
        except OSError as error:
            raise MirrorError(
                f"cannot move {file.filename} to {home.parent}: {error.strerror or error}",
                hint="make that folder writable, or choose another place with --work-dir",
            ) from error
        places = self._places.setdefault(file.filename, [])
        if home not in places:
            places.append(home)
        return home
