"""The download port: bring planned files here, each checked, each whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mirror.model import Failure, PlannedFile
    from mirror.progress import Task

    Arrival: TypeAlias = tuple[PlannedFile, Path | Failure]


class Arrivals(Protocol):
    """Files as they come in. Work goes on behind it whether it is read or not."""

    def __iter__(self) -> Iterator[Arrival]:
        """Wait for the next file, until there is none left."""

    def close(self) -> None:
        """Stop everything that is still running and wait until it has stopped; harmless at any time."""


class Downloader(Protocol):
    """A way to fetch files."""

    def fetch(self, files: Sequence[PlannedFile], staging: Path, task: Task) -> Arrivals:
        """Begin to fetch `files` into new folders below `staging`; give each once, when it is here or has failed.

        A path that is given is a complete file on the same file system as `staging`, which the caller verifies and
        moves away. One file's failure never stops the others. `task` is told of bytes and of what is running.
        Reading raises `MirrorError` for what makes every further file pointless: a full disk, a missing pip.
        """
