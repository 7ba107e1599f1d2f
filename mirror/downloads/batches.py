"""Batches: how files are shared out among pip processes.

One pip serves one Python version and at most one file of each project. Beyond that every mix is allowed, for a batch
names the tags of its own files and nothing else: which file suits whom was judged before.

Measured on 2 cores with 334 wheels, 1.4 GB: a pip takes 0.3 s of CPU to start and 6 ms for each wheel, and moves
about 200 MB a second; four batches by size took 6.0 s, four by count 8.5 s, eight by count 6.3 s.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mirror import filenames
from mirror.filenames import Wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.model import PlannedFile

_PER_FILE = 1_000_000
"""What a file costs beyond its bytes, in bytes."""
_SMALLEST = 24_000_000
"""Below this a second process costs more than it saves."""
_GUESS_ANY = 150_000
_GUESS_NATIVE = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Files for one pip process: one Python version, and no project twice."""

    python: str
    files: tuple[PlannedFile, ...]


@dataclass(slots=True)
class _Open:
    python: str
    files: list[PlannedFile] = field(default_factory=list)
    projects: set[str] = field(default_factory=set)
    weight: int = 0

    def add(self, file: PlannedFile) -> None:
        self.files.append(file)
        self.projects.add(file.project)
        self.weight += weight(file)


def weight(file: PlannedFile) -> int:
    """What fetching a file costs, in bytes; a guess when the index does not tell its size."""
    guess = _GUESS_ANY if file.filename.endswith("-any.whl") else _GUESS_NATIVE
    return _PER_FILE + (guess if file.size is None else file.size)


def divide(files: Sequence[PlannedFile], workers: int) -> tuple[Batch, ...]:
    """Share `files` out among as few batches as keep `workers` busy to the end; heaviest batch first."""
    bound = [file for file in files if not _rides_anywhere(file)]
    free = [file for file in files if _rides_anywhere(file)]
    batches = [_Open(python) for python, count in _counts(files, bound, workers).items() for _ in range(count)]
    # Largest first onto the lightest: at most a third above the best possible (Graham 1969).
    for file in sorted(bound, key=_order):
        _place(file, [batch for batch in batches if batch.python == file.python], batches)
    for file in sorted(free, key=_order):
        _place(file, batches, batches)
    batches.sort(key=lambda batch: -batch.weight)
    return tuple(Batch(python=batch.python, files=tuple(batch.files)) for batch in batches if batch.files)


def _rides_anywhere(file: PlannedFile) -> bool:
    """Whether the tags say nothing of Python but its major version; Requires-Python is not asked here."""
    try:
        parsed = filenames.parse(file.filename)
    except filenames.InvalidFilename:
        return False
    return isinstance(parsed, Wheel) and any(tag.interpreter == "py3" for tag in parsed.tags)


def _order(file: PlannedFile) -> tuple[int, str]:
    return -weight(file), file.filename


def _counts(files: Sequence[PlannedFile], bound: Sequence[PlannedFile], workers: int) -> dict[str, int]:
    """Batches for each Python version: by weight, but at least one, and no more than the whole is worth."""
    weights: defaultdict[str, int] = defaultdict(int)
    for file in bound or files[:1]:
        weights[file.python] += weight(file)
    # Without sizes the shares come out uneven; twice as many let those who are early take another.
    wanted = workers if all(file.size is not None for file in files) else 2 * workers
    wanted = max(1, min(wanted, sum(map(weight, files)) // _SMALLEST))
    whole = sum(weights.values()) or 1
    return {python: max(1, round(wanted * part / whole)) for python, part in sorted(weights.items())}


def _place(file: PlannedFile, candidates: list[_Open], batches: list[_Open]) -> None:
    fitting = [batch for batch in candidates if file.project not in batch.projects]
    if not fitting:
        fitting = [_Open(file.python)]
        batches += fitting
    min(fitting, key=lambda batch: batch.weight).add(file)
