"""What a plan changes: packages, files and bytes per target, and what is newly uncovered or newly yanked.

As JSON (`Changes.to_json`), format 1; every list is sorted:

```
{"format": 1, "against", "packages": [{"package", "before": [version], "after": [version]}],
 "targets": [{"target", "added": {"files", "size", "unsized"}, "removed": {the same}}], "total": {like a target},
 "uncovered": [cell], "yanked": [cell]}
```
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from mirror import filenames
from mirror.figures import counted, size
from mirror.model import Reason
from mirror.targets import NOARCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mirror.model import Cell, Plan
    from mirror.selection import Selection
    from mirror.targets import Baseline, Target

FORMAT = 1

Place = tuple[str, str, str, str]
"""Lock, package, target, Python: a cell, whatever the version that is locked."""

_PROJECT = re.compile(r"(.+?)-\d")

ELSEWHERE = "other"
"""The home of files for platforms that are not served any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A file that was there before."""

    filename: str
    project: str
    version: str
    home: str
    """The target whose file it is, as in `PlannedFile`."""
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """What was there before."""

    name: str
    """The release or git ref, as reports call it."""
    files: tuple[Held, ...]
    versions: Mapping[str, frozenset[str]]
    """By package."""
    uncovered: frozenset[Place]
    """Cells that were wanted and had no wheel."""
    yanked: frozenset[str]
    """Files that were known to be yanked."""
    whole: bool
    """Whether it knows of packages without a file, too: a lock does, a release does not."""

    @classmethod
    def of_plan(cls, name: str, plan: Plan) -> Former:
        """What a former lock would have."""
        return cls(
            name=name,
            files=tuple(
                Held(filename=file.filename, project=file.project, version=file.version, home=file.home, size=file.size)
                for file in plan.files
            ),
            versions=_versions(plan.cells),
            uncovered=frozenset(_place(cell) for cell in plan.cells if _uncovered(cell)),
            yanked=frozenset(file.filename for file in plan.files if file.yanked is not None),
            whole=True,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package that is added, removed, or locked at other versions."""

    package: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Some files."""

    files: int = 0
    size: int = 0
    """Bytes of those whose size is known."""
    unsized: int = 0
    """How many of them have a size that no index tells."""

    @classmethod
    def of(cls, sizes: Sequence[int | None]) -> Amount:
        """Count files by their sizes."""
        return cls(files=len(sizes), size=sum(known or 0 for known in sizes), unsized=sizes.count(None))

    def __add__(self, other: Amount) -> Amount:
        return Amount(files=self.files + other.files, size=self.size + other.size, unsized=self.unsized + other.unsized)

    @property
    def weight(self) -> str:
        """The bytes for people; a `+` says that some are not known, a `?` that none is."""
        if self.unsized and self.unsized == self.files:
            return "?"
        return size(self.size) + (" +" if self.unsized else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChange:
    """Files and bytes that one target gains and loses."""

    target: str
    added: Amount
    removed: Amount


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The difference between what was and what is planned."""

    against: str
    packages: tuple[PackageChange, ...]
    targets: tuple[TargetChange, ...]
    """Those with a difference."""
    uncovered: tuple[Cell, ...]
    """Cells without a wheel that had one, or that were not wanted."""
    yanked: tuple[Cell, ...]
    """Cells whose file is yanked, and was not, or was not chosen."""

    @cached_property
    def total(self) -> TargetChange:
        """All targets together."""
        nothing = Amount()
        return TargetChange(
            target="all",
            added=sum((row.added for row in self.targets), nothing),
            removed=sum((row.removed for row in self.targets), nothing),
        )

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.packages or self.targets or self.uncovered or self.yanked)

    @property
    def summary(self) -> str:
        """The whole of it in one sentence, without a full stop."""
        if not self:
            return f"nothing changes against {self.against}"
        total = self.total
        parts = [
            f"against {self.against}: {counted(len(self.packages), 'package')} changed",
            f"{counted(total.added.files, 'file')} added ({total.added.weight})",
            f"{total.removed.files:,} removed ({total.removed.weight})",
        ]
        lists = (("newly uncovered", self.uncovered), ("newly yanked", self.yanked))
        parts += [f"{counted(len(cells), 'cell')} {what}" for what, cells in lists if cells]
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The whole difference, ready for `json.dumps`; the module says what it holds."""
        return {
            "format": FORMAT,
            "against": self.against,
            "packages": [asdict(change) for change in self.packages],
            "targets": [asdict(row) for row in self.targets],
            "total": asdict(self.total),
            "uncovered": [asdict(cell) for cell in self.uncovered],
            "yanked": [asdict(cell) for cell in self.yanked],
        }


def compare(former: Former, plan: Plan) -> Changes:
    """Say what a plan changes of what was there before."""
    return Changes(
        against=former.name,
        packages=_packages(former, plan),
        targets=_targets(former, plan),
        uncovered=_cells(cell for cell in plan.cells if _uncovered(cell) and _place(cell) not in former.uncovered),
        yanked=_cells(
            cell for cell in plan.cells if cell.reason is Reason.YANKED and cell.filename not in former.yanked
        ),
    )


def _packages(former: Former, plan: Plan) -> tuple[PackageChange, ...]:
    after = _versions(plan.cells)
    if not former.whole:
        held = {(file.project, file.version) for file in plan.files}
        after = {
            name: kept for name, found in after.items() if (kept := frozenset(v for v in found if (name, v) in held))
        }
    nothing: frozenset[str] = frozenset()
    return tuple(
        PackageChange(package=name, before=_ordered(before), after=_ordered(now))
        for name in sorted({*former.versions, *after})
        if (before := former.versions.get(name, nothing)) != (now := after.get(name, nothing))
    )


def _targets(former: Former, plan: Plan) -> tuple[TargetChange, ...]:
    before = {file.filename: (file.home, file.size) for file in former.files}
    after = {file.filename: (file.home, file.size) for file in plan.files}
    added: defaultdict[str, list[int | None]] = defaultdict(list)
    removed: defaultdict[str, list[int | None]] = defaultdict(list)
    for here, there, rows in ((after, before, added), (before, after, removed)):
        for filename in here.keys() - there.keys():
            home, bytes_ = here[filename]
            rows[home].append(bytes_)
    return tuple(
        TargetChange(target=home, added=Amount.of(added[home]), removed=Amount.of(removed[home]))
        for home in sorted({*added, *removed})
    )


def _versions(cells: Iterable[Cell]) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for cell in cells:
        if not cell.reason.excluded:
            found[cell.package].add(cell.version)
    return {name: frozenset(versions) for name, versions in found.items()}


def of_release(
    name: str,
    sizes: Mapping[str, int],
    yanked: frozenset[str],
    selections: Sequence[Selection],
    platforms: Sequence[Target],
    baseline: Baseline,
) -> Former:
    """What a release has: its artifacts by filename, with their bytes, judged for the environments of today.

    `yanked` are those that its pages called yanked. A release knows no lock: a cell counts as uncovered there when it
    has files of the project, and no wheel among them that the environment accepts.
    """
    files = tuple(_held(filename, size, platforms, baseline) for filename, size in sorted(sizes.items()))
    versions: defaultdict[str, set[str]] = defaultdict(set)
    wheels: defaultdict[str, list[filenames.Wheel]] = defaultdict(list)
    for file in files:
        versions[file.project].add(file.version)
        parsed = _parse(file.filename)
        if isinstance(parsed, filenames.Wheel):
            wheels[file.project].append(parsed)
    uncovered = {
        (item.lock.label, str(item.package.name), item.environment.target.name, item.environment.python)
        for item in selections
        if item.package.name in versions
        and all(item.environment.rank(wheel.tags) is None for wheel in wheels[item.package.name])
    }
    return Former(
        name=name,
        files=files,
        versions={project: frozenset(found) for project, found in versions.items()},
        uncovered=frozenset(uncovered),
        yanked=yanked,
        whole=False,
    )


def _held(filename: str, size: int, platforms: Sequence[Target], baseline: Baseline) -> Held:
    parsed = _parse(filename)
    home = NOARCH
    if isinstance(parsed, filenames.Wheel) and not parsed.universal:
        tags = {tag.platform for tag in parsed.tags}
        homes = (target.name for target in platforms if tags & set(target.platforms(baseline)))
        home = next(homes, ELSEWHERE)
    return Held(filename=filename, project=parsed.name, version=str(parsed.version), home=home, size=size)


def _parse(filename: str) -> filenames.Wheel | filenames.Sdist:
    """Take a filename apart of which nobody says the project: that ends where the version begins, with a digit."""
    project = _PROJECT.match(filename)
    if filename.endswith(".whl") or project is None:
        return filenames.parse(filename)
    return filenames.parse_sdist_of(filename, canonicalize_name(project[1]))


def _uncovered(cell: Cell) -> bool:
    return not (cell.reason.covered or cell.reason.excluded)


def _place(cell: Cell) -> Place:
    return cell.lock, cell.package, cell.target, cell.python


def _cells(cells: Iterable[Cell]) -> tuple[Cell, ...]:
    return tuple(sorted(cells, key=lambda cell: (*_place(cell), cell.version)))


def _ordered(versions: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(versions, key=Version))
