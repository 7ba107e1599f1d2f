"""Download: bring every planned file that the pool does not hold, each proven by the lock's digest.

It may be killed at any time and run again: what is whole is found where it lies and taken from there, what is not is
thrown away.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from mirror.errors import IntegrityError
from mirror.model import Failure, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mirror.downloads.base import Arrivals, Downloader
    from mirror.model import Plan, PlannedFile
    from mirror.pool import Pool
    from mirror.progress import Progress, Task

_SAVE_EVERY = 10.0
"""Seconds between two writes of the digest cache: what a killed run has to hash again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """What is here now, and what is not."""

    fetched: int = 0
    """Files; in a dry run, those that would be fetched."""
    fetched_size: int = 0
    """Bytes; in a dry run, as far as the index told."""
    held: int = 0
    """Files that were here already."""
    failures: tuple[Failure, ...] = ()
    """Sorted by filename."""


def download(
    plan: Plan,
    pool: Pool,
    wheels: Downloader,
    direct: Downloader,
    staging: Path,
    progress: Progress,
    *,
    dry_run: bool = False,
    offline: bool = False,
    wheels_directly: bool = False,
) -> DownloadResult:
    """Bring the files of `plan` into `pool`: wheels by one way, sdists by the other, both at once.

    With `wheels_directly` wheels go the way of the sdists, too, but for those whose URL nobody but pip can find.

    `staging` is ours alone, on the file system of the pool, and is empty afterwards. One file's failure never stops
    the others; `offline` asks nobody, so that every file which is not here is one. Raise `MirrorError` for what does
    stop: a full disk, a missing pip.
    """
    missing = [file for file in plan.files if pool.find(file.filename, file.digest) is None]
    held = len(plan.files) - len(missing)
    if dry_run:
        known = sum(file.size or 0 for file in missing)
        more = "" if _total(missing) is not None else " or more"
        progress.say(f"{_files(len(missing))} to fetch ({known / 1e6:,.1f} MB{more}), {held:,} held already")
        return DownloadResult(fetched=len(missing), fetched_size=known, held=held)
    held += _take_left_over(missing, pool, staging)
    missing = [file for file in missing if pool.find(file.filename, file.digest) is None]
    arrivals = _Arrivals(pool)
    try:
        if offline:
            arrivals.failures.extend(map(_unasked, missing))
        elif missing:
            with progress.task("Downloading", items=len(missing), size=_total(missing), unit="files") as task:
                straight = [file for file in missing if _goes_directly(file, wheels_directly=wheels_directly)]
                others = [file for file in missing if not _goes_directly(file, wheels_directly=wheels_directly)]
                coming = ((direct, straight), (wheels, others))
                _fetch([(way, files) for way, files in coming if files], staging, arrivals, task)
    finally:
        # After an interruption or a full disk there are whole files among the rest: they are kept.
        _take_left_over(missing, pool, staging)
        pool.digests.save()
    result = arrivals.result(held)
    progress.say(_sentence(result))
    return result


def _unasked(file: PlannedFile) -> Failure:
    detail = "offline, and it was never downloaded here; run again with a network"
    return Failure(filename=file.filename, reason=Reason.DOWNLOAD_FAILED, detail=detail)


def _take_left_over(missing: Sequence[PlannedFile], pool: Pool, staging: Path) -> int:
    """Admit what a killed run had fetched but not moved, and clear the rest away; how many files that were."""
    wanted = {file.filename: file for file in missing}
    taken = set()
    for path in sorted(staging.rglob("*")) if staging.is_dir() else ():
        file = wanted.get(path.name)
        if file is None or path.name in taken or path.is_symlink() or not path.is_file():
            continue
        try:
            pool.admit(path, file)
        except IntegrityError:
            continue
        taken.add(path.name)
    if staging.is_dir():
        shutil.rmtree(staging, ignore_errors=True)
    return len(taken)


def _goes_directly(file: PlannedFile, *, wheels_directly: bool) -> bool:
    return not file.filename.endswith(".whl") or (wheels_directly and bool(file.url))


def _fetch(
    ways: Sequence[tuple[Downloader, Sequence[PlannedFile]]], staging: Path, arrivals: _Arrivals, task: Task
) -> None:
    coming: list[Arrivals] = []
    try:
        # All begin now; which one is read first only decides when its files are moved.
        for way, files in ways:
            coming.append(way.fetch(files, staging, task))
        for file, outcome in chain.from_iterable(reversed(coming)):
            arrivals.receive(file, outcome)
            task.advance(items=1, what=file.filename)
    finally:
        for source in coming:
            source.close()


def _total(files: Sequence[PlannedFile]) -> int | None:
    sizes = [file.size for file in files if file.size is not None]
    return sum(sizes) if len(sizes) == len(files) else None


@dataclass(slots=True)
class _Arrivals:
    """What came in so far."""

    pool: Pool
    fetched: int = 0
    size: int = 0
    failures: list[Failure] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def receive(self, file: PlannedFile, outcome: Path | Failure) -> None:
        """Check and move a file, or note why there is none."""
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            return
        size = outcome.stat().st_size
        try:
            self.pool.admit(outcome, file)
        except IntegrityError as error:
            outcome.unlink(missing_ok=True)
            detail = f"{error.message}; {error.hint}"
            self.failures.append(Failure(filename=file.filename, reason=Reason.DIGEST_MISMATCH, detail=detail))
            return
        self.fetched += 1
        self.size += size
        if time.monotonic() - self.saved > _SAVE_EVERY:
            self.pool.digests.save()
            self.saved = time.monotonic()

    def result(self, held: int) -> DownloadResult:
        failures = tuple(sorted(self.failures, key=lambda failure: failure.filename))
        return DownloadResult(fetched=self.fetched, fetched_size=self.size, held=held, failures=failures)


def _sentence(result: DownloadResult) -> str:
    if not result.fetched and not result.failures:
        return f"Nothing to fetch: {_files(result.held)} held already"
    failed = f", {len(result.failures):,} failed" if result.failures else ""
    size = f"{result.fetched_size / 1e6:,.1f} MB"
    return f"{_files(result.fetched)} fetched ({size}), {result.held:,} held already{failed}"


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"
