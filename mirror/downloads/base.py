"""The download port: bring planned files here, each checked, each whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mirror.model import Failure, PlannedFile
    from mirror.progress import Task


class Downloader(Protocol):
    """A way to fetch files."""

    def fetch(
        self, files: Sequence[PlannedFile], staging: Path, task: Task
    ) -> Iterator[tuple[PlannedFile, Path | Failure]]:
        """Fetch `files` into new folders below `staging`; yield each file once, as soon as it is here or has failed.

        A path that is yielded is a complete file on the same file system as `staging`, which the caller verifies and
        moves away. One file's failure never stops the others. `task` is told of bytes and of what is running.
        Raise `MirrorError` for what makes every further file pointless: a full disk, a missing pip.
        """
