"""What a plan means, as Markdown for a pull request: a verdict, a small table, what is missing, and what changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.coverage import problems
from mirror.figures import counted
from mirror.reports import markdown
from mirror.reports.markup import code, text
from mirror.reports.summary import LIMIT, PROBLEMS, REMARKS, Folded, fit, problem_row, remark_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.changes import Changes, PackageChange, TargetChange
    from mirror.coverage import Problem
    from mirror.model import Cell
    from mirror.reports.report import Report

_PACKAGES = "| package | before | after |\n|:--|:--|:--|\n"


def render(report: Report, changes: Changes | None = None, limit: int = LIMIT) -> bytes:
    """The document as ASCII, of at most `limit` bytes; nothing when not even the verdict fits.

    `report` is of the plan's own cells, as if they were published already; `changes` are those against what was before.
    """
    (coverage,) = report.coverages
    failures = report.failures(coverage)
    parts: list[str | Folded] = [_headline(failures, changes)]
    parts.append(f"\n{markdown.targets(coverage)}" if changes is None else _targets(changes))
    if failures:
        parts.append(_lacking(report, failures, changes))
    if changes is not None:
        for what, cells in (("newly uncovered", changes.uncovered), ("newly yanked", changes.yanked)):
            passing = tuple(cell for cell in cells if cell.reason not in report.policy)
            if passing:
                title = f"<b>{counted(len(passing), 'cell')} {what}</b>, which the policy lets pass"
                parts.append(Folded(0, title, REMARKS, tuple(map(remark_row, problems(passing)))))
    if changes is not None and changes.packages:
        title = f"{counted(len(changes.packages), 'package')} changed"
        parts.append(Folded(1, title, _PACKAGES, tuple(map(_package, changes.packages))))
    return fit(parts, limit)


def _headline(failures: Sequence[Problem], changes: Changes | None) -> str:
    """Crossed out whenever the command fails; a warning when what passes is worse than it was."""
    worse = changes is not None and (changes.uncovered or changes.yanked)
    mark = "&#10060;" if failures else "&#9888;" if worse else "&#9989;"
    lacking = _count(failures) if failures else "no package lacks anything"
    said = lacking if changes is None else f"{lacking}; {changes.summary}"
    return f"### {mark} Mirror: {text(said)}\n"


def _count(failures: Sequence[Problem]) -> str:
    return f"{counted(len(failures), 'package lacks', 'packages lack')} something"


def _lacking(report: Report, failures: Sequence[Problem], changes: Changes | None) -> Folded:
    """What breaks the policy, and first of all what did not before."""
    news: frozenset[Cell] = frozenset(() if changes is None else (*changes.uncovered, *changes.yanked))
    new = [problem for problem in failures if not news.isdisjoint(problem.cells)]
    rows = (*new, *(problem for problem in failures if problem not in new))
    of_them = "" if changes is None else f" ({len(new):,} of them new)"
    return Folded(0, f"<b>{_count(failures)}</b>{of_them}", PROBLEMS, tuple(problem_row(report, row) for row in rows))


def _targets(changes: Changes) -> str:
    if not changes.targets:
        return ""
    head = "\n| target | added | size | removed | size |\n|:--|--:|--:|--:|--:|\n"
    rows = "".join(map(_target, (*changes.targets, changes.total)))
    total = changes.total
    unsized = total.added.unsized + total.removed.unsized
    note = f"\nThe index does not tell the size of {counted(unsized, 'file')}.\n" if unsized else ""
    return head + rows + note


def _target(row: TargetChange) -> str:
    added, removed = row.added, row.removed
    return f"| {code(row.target)} | {added.files:,} | {added.weight} | {removed.files:,} | {removed.weight} |\n"


def _package(change: PackageChange) -> str:
    before, after = (", ".join(map(code, versions)) or "-" for versions in (change.before, change.after))
    return f"| {code(change.package)} | {before} | {after} |\n"
