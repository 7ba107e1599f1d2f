"""The one question that plan and verify both ask: which files an environment may use of a locked package.

Pure: markers, tags and versions are parameters, so one machine answers for every other one. A package that an
environment does not want is a result with its reason, not a silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror import filenames
from mirror.errors import LockError
from mirror.model import Membership, Reason, Word
from mirror.targets import environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mirror.locks.base import Lock
    from mirror.model import LockedFile, LockedPackage, Scope
    from mirror.targets import Baseline, Environment, Target

_SDIST_PREFERENCE = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")


class SdistPolicy(Word):
    """Which sdists are mirrored."""

    NEVER = "never"
    FALLBACK = "fallback"
    """For a package that has no wheel for an environment."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the lock says for one package in one environment, before anything is asked of an index or a store."""

    lock: Lock
    package: LockedPackage
    environment: Environment
    verdict: Reason | None
    """`excluded-by-marker`, `excluded-by-python` or `direct`; None when files are wanted."""
    wheels: tuple[LockedFile, ...] = ()
    """Every locked wheel that the environment accepts, best first."""
    sdists: tuple[LockedFile, ...] = ()
    """Every locked sdist, preferred first."""

    @property
    def shortfall(self) -> Reason:
        """The reason to give when none of `wheels` can be had because the lock has none."""
        return Reason.SDIST_ONLY if self.sdists else Reason.NO_WHEEL


def accepted(package: LockedPackage, environment: Environment) -> tuple[LockedFile, ...]:
    """Every wheel of a package that an environment accepts, best first.

    Order: the rank of the best tag (as installers do), then the higher build number (binary distribution format:
    "Acts as a tie-breaker if two wheel file names are the same in all other respects"), then the filename, so that
    wheels of equal rank are chosen alike everywhere.
    """
    ranked: list[tuple[int, filenames.Wheel, LockedFile]] = []
    for file in package.files:
        parsed = filenames.parse(file.filename) if file.filename.endswith(".whl") else None
        if isinstance(parsed, filenames.Wheel):
            rank = environment.rank(parsed.tags)
            if rank is not None:
                ranked.append((rank, parsed, file))
    # Sorting is stable, so the last key leads.
    ranked.sort(key=lambda entry: entry[1].filename)
    ranked.sort(key=lambda entry: entry[1].build, reverse=True)
    ranked.sort(key=lambda entry: entry[0])
    return tuple(file for _, _, file in ranked)


def sdists(package: LockedPackage) -> tuple[LockedFile, ...]:
    """Every sdist of a package, `.tar.gz` first."""
    found = [file for file in package.files if not file.filename.endswith(".whl")]
    return tuple(sorted(found, key=lambda file: (_preference(file.filename), file.filename)))


def _preference(filename: str) -> int:
    return next(place for place, suffix in enumerate(_SDIST_PREFERENCE) if filename.endswith(suffix))


def environments(
    lock: Lock, targets: Sequence[Target], pythons: Sequence[str], baseline: Baseline
) -> tuple[Environment, ...]:
    """Make a lock's environments: targets x `pythons`, or x every minor that the lock admits when none is named.

    Raise `LockError` when the lock admits none of them: there would be nothing to mirror, and nobody would notice.
    """
    wanted = pythons or lock.pythons()
    minors = {minor: lock.patches(minor) for minor in wanted}
    admitted = {minor: patches for minor, patches in minors.items() if patches}
    if not admitted:
        raise LockError(
            f"{lock.label} admits none of Python {', '.join(wanted) or 'any that is known'}",
            hint="name versions that the lock admits with --python or PYTHON_VERSIONS",
        )
    return tuple(
        environment(target, minor, baseline, patches) for target in targets for minor, patches in admitted.items()
    )


def select(lock: Lock, environments: Sequence[Environment], scope: Scope) -> tuple[Selection, ...]:
    """Ask the lock about every package of the scope in every environment; sorted by package, then environment."""
    answers = {item: lock.membership(item, scope) for item in environments}
    selections: list[Selection] = []
    for package in lock.packages:
        archives = sdists(package)
        selected_on = {item.target.name for item, answer in answers.items() if _selected(answer, package)}
        for item, answer in answers.items():
            if package not in answer:
                continue
            verdict = _verdict(answer[package], package, elsewhere=item.target.name in selected_on)
            selections.append(
                Selection(
                    lock=lock,
                    package=package,
                    environment=item,
                    verdict=verdict,
                    wheels=() if verdict else accepted(package, item),
                    sdists=() if verdict else archives,
                )
            )
    return tuple(selections)


def _selected(answer: Mapping[LockedPackage, Membership], package: LockedPackage) -> bool:
    return answer.get(package) is Membership.SELECTED


def _verdict(membership: Membership, package: LockedPackage, *, elsewhere: bool) -> Reason | None:
    if membership is Membership.SELECTED:
        return Reason.DIRECT if package.source.direct else None
    # A package that the same platform installs under another Python is excluded by Python, whatever the marker's words.
    if membership is Membership.BY_PYTHON or elsewhere:
        return Reason.EXCLUDED_BY_PYTHON
    return Reason.EXCLUDED_BY_MARKER
