"""A report: what was verified everywhere, by which policy, and where each package stands in its lock."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from mirror.coverage import floored, problems
from mirror.model import HOLES, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mirror.coverage import Coverage, Finding, Problem

_WORST = (
    *(Reason.DIGEST_MISMATCH, Reason.NOT_OFFERED, Reason.NO_WHEEL, Reason.DOWNLOAD_FAILED, Reason.NOT_PUBLISHED),
    *(Reason.SDIST_ONLY, Reason.DIRECT, Reason.YANKED, Reason.COVERED),
    *(Reason.EXCLUDED_BY_MARKER, Reason.EXCLUDED_BY_PYTHON),
)
"""Reasons, the one that should be looked at first in front."""

MEANING = {
    Reason.COVERED: "a published wheel fits",
    Reason.YANKED: "a published wheel fits, and upstream has yanked it",
    Reason.EXCLUDED_BY_MARKER: "the lock does not want it there, by a marker",
    Reason.EXCLUDED_BY_PYTHON: "the lock does not want it there, by the Python version",
    Reason.SDIST_ONLY: "there is an sdist, and no wheel that fits",
    Reason.NO_WHEEL: "there is neither a wheel that fits nor an sdist",
    Reason.NOT_OFFERED: "locked, and the index no longer lists it",
    Reason.DIGEST_MISMATCH: "its bytes are not those that the lock pins",
    Reason.DOWNLOAD_FAILED: "it could not be fetched",
    Reason.NOT_PUBLISHED: "it is not on the destination",
    Reason.DIRECT: "a git, path or URL reference, which no index can serve",
}
"""What each reason says, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLines:
    """Where the packages of a lock stand in it."""

    label: str
    """The lock's path as the user named it; cells name it so."""
    path: str
    """The lock's path in its repository, `/`-separated: what CI systems show remarks on."""
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """By normalized name and version: the line on which its table starts, counted from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The whole report in figures. Cells are counted at every destination, files once."""

    covered: int
    wanted: int
    holes: int
    findings: int
    files: int
    size: int
    """Bytes of the files that the cells use."""

    @property
    def percent(self) -> str:
        """Covered cells of those that are wanted, with one decimal, never rounded up."""
        return floored(100 * self.covered / self.wanted if self.wanted else 100.0)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the forms are made of."""

    coverages: tuple[Coverage, ...]
    """One for each destination."""
    policy: frozenset[Reason] = HOLES
    """The reasons that are failures."""
    locks: tuple[LockedLines, ...] = ()

    @property
    def verified(self) -> bool:
        """Whether nothing breaks the policy and nothing is wrong with any site."""
        return all(coverage.verified(self.policy) for coverage in self.coverages)

    @property
    def verdict(self) -> str:
        """The result in two words."""
        return "Verified" if self.verified else "Not verified"

    @cached_property
    def totals(self) -> Totals:
        """The figures of all destinations together."""
        totals = [coverage.total for coverage in self.coverages]
        sizes = {
            cell.filename: coverage.sizes.get(cell.filename, 0)
            for coverage in self.coverages
            for cell in coverage.cells
            if cell.filename
        }
        return Totals(
            covered=sum(total.covered for total in totals),
            wanted=sum(total.wanted for total in totals),
            holes=sum(total.holes for total in totals),
            findings=sum(len(coverage.findings) for coverage in self.coverages),
            files=len(sizes),
            size=sum(sizes.values()),
        )

    def failures(self, coverage: Coverage) -> tuple[Problem, ...]:
        """What breaks the policy there, worst first."""
        return tuple(sorted(problems(coverage.failures(self.policy)), key=_urgency))

    def remarks(self, coverage: Coverage) -> tuple[Problem, ...]:
        """What is worth knowing of the cells that the policy lets pass: no plain wheel, or a yanked one."""
        passing = (
            cell
            for cell in coverage.cells
            if cell.reason not in self.policy and not cell.reason.excluded and cell.reason is not Reason.COVERED
        )
        return tuple(sorted(problems(passing), key=_urgency))

    @staticmethod
    def findings(coverage: Coverage) -> tuple[Finding, ...]:
        """What is wrong with the site, sorted."""
        return tuple(sorted(coverage.findings))

    def path(self, lock: str) -> str:
        """The path in the repository of the lock that has this label."""
        return self._by_label[lock].path if lock in self._by_label else lock

    def line(self, problem: Problem) -> int:
        """The line of the lock on which the package's table starts; 1 when that is not known."""
        locked = self._by_label.get(problem.lock)
        return max(locked.lines.get((problem.package, problem.version), 1), 1) if locked else 1

    def where(self, problem: Problem) -> str:
        """`poetry.lock:120`."""
        return f"{self.path(problem.lock)}:{self.line(problem)}"

    @cached_property
    def _by_label(self) -> dict[str, LockedLines]:
        return {locked.label: locked for locked in self.locks}


def _urgency(problem: Problem) -> tuple[int, int, str, str, str]:
    return _WORST.index(problem.reason), -len(problem.cells), problem.package, problem.version, problem.lock
