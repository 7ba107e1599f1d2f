"""Index: write the pages that changed, remove those of projects that are gone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mirror import layout
from mirror.errors import MirrorError
from mirror.files import write
from mirror.release import Kind, kind
from mirror.simple import site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.model import Manifest
    from mirror.progress import Progress

_PROJECT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# What `files.writing` leaves beside a page when it is killed.
_LEFTOVER = re.compile(rf"\.({re.escape(layout.JSON)}|[a-z0-9-]+\.html)\.[A-Za-z0-9_]+\.part")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexResult:
    """What was done, as keys in order; in a dry run, what would be done."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]


def index(manifest: Manifest, directory: Path, progress: Progress, *, dry_run: bool = False) -> IndexResult:
    """Make `directory` hold exactly the pages of the manifest, beside whatever else lies in it.

    A page whose bytes are right is not touched; every other is written beside and renamed, so that a killed run leaves
    whole pages only and the next one ends in the same tree. Files and folders that this phase does not make are left
    alone. Raise `MirrorError` when the disk refuses.
    """
    written: list[str] = []
    unchanged: list[str] = []
    with progress.task("Indexing", items=_count(manifest), unit="pages") as task:
        for key, body in site.pages(manifest):
            path = directory / key
            if _holds(path, body):
                unchanged.append(key)
            else:
                written.append(key)
                if not dry_run:
                    write(path, body)
            task.advance(1, len(body), key)
    removed = _remove_vanished(directory, {*written, *unchanged}, dry_run=dry_run)
    result = IndexResult(
        written=tuple(sorted(written)), removed=tuple(sorted(removed)), unchanged=tuple(sorted(unchanged))
    )
    progress.say(_sentence(result, dry_run=dry_run))
    return result


def _count(manifest: Manifest) -> int:
    projects = len({artifact.project for artifact in manifest.artifacts})
    # Each project in both forms and for people, the project list in both forms, the front page.
    return 3 * projects + 3


def _holds(path: Path, body: bytes) -> bool:
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - ten thousand times: half the cost of Path.open
            return os.fstat(stream.fileno()).st_size == len(body) and stream.read() == body
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, error) from error


def _remove_vanished(directory: Path, kept: set[str], *, dry_run: bool) -> list[str]:
    """Remove pages of ours that are not kept, what killed runs left, and folders that are empty then."""
    removed = []
    try:
        for path, key in _ours(directory):
            if key in kept:
                continue
            if not _LEFTOVER.fullmatch(path.name):
                removed.append(key)
            if not dry_run:
                path.unlink()
                _remove_if_empty(path.parent)
    except OSError as error:
        raise _unusable(directory, error) from error
    return removed


def _ours(directory: Path) -> Iterator[tuple[Path, str]]:
    """Regular files that this phase could have written, with their keys; symbolic links are a stranger's."""
    folders = [(directory / prefix, prefix) for prefix in ("", layout.PROJECTS, layout.SIMPLE)]
    for entry in _scan(directory / layout.SIMPLE):
        if _PROJECT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            folders.append((Path(entry.path), f"{layout.SIMPLE}{entry.name}/"))
    for folder, prefix in folders:
        for entry in _scan(folder):
            known = (kind(f"{prefix}{entry.name}") or Kind.STATE).page or _LEFTOVER.fullmatch(entry.name)
            if known and entry.is_file(follow_symlinks=False):
                yield Path(entry.path), f"{prefix}{entry.name}"


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _remove_if_empty(folder: Path) -> None:
    if not _scan(folder):
        folder.rmdir()


def _unusable(path: Path, error: OSError) -> MirrorError:
    return MirrorError(
        f"cannot use {path}: {error.strerror or error}",
        hint="the index is written there; move away what is in its place, or choose another --work-dir",
    )


def _sentence(result: IndexResult, *, dry_run: bool) -> str:
    verb = "would be " if dry_run else ""
    return (
        f"Index: {len(result.written):,} pages {verb}written, {len(result.removed):,} {verb}removed, "
        f"{len(result.unchanged):,} unchanged"
    )
