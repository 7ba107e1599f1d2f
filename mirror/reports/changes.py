"""What a plan changes, as Markdown for a pull request: a verdict, a small table, and the rest folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.coverage import problems
from mirror.figures import counted
from mirror.reports.markup import code, text
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.changes import Changes, PackageChange, TargetChange
    from mirror.coverage import Problem
    from mirror.model import Cell

LIMIT = 1 << 20
"""Bytes of a job's summary on GitHub: a longer one is refused as a whole."""
_MARGIN = 1 << 12
"""Bytes that are left to headings, and to whoever else writes into the summary."""

_PACKAGES = "| package | before | after |\n|:--|:--|:--|\n"
_CELLS = "| package | reason | where | why |\n|:--|:--|:--|:--|\n"


def render(changes: Changes, limit: int = LIMIT) -> bytes:
    """The document as ASCII, of at most `limit` bytes; nothing when not even the table fits."""
    mark = "&#9888;" if changes.uncovered or changes.yanked else "&#9989;"
    document = f"### {mark} Mirror: {text(changes.summary)}\n"
    if changes.targets:
        document += _targets(changes)
    if len(document) > limit - _MARGIN:
        return b""
    for title, head, rows in (
        (f"<b>{counted(len(changes.uncovered), 'cell')} newly uncovered</b>", _CELLS, _problems(changes.uncovered)),
        (f"<b>{counted(len(changes.yanked), 'cell')} newly yanked</b>", _CELLS, _problems(changes.yanked)),
        (f"{counted(len(changes.packages), 'package')} changed", _PACKAGES, tuple(map(_package, changes.packages))),
    ):
        if rows:
            document += _fold(title, head, rows, limit - _MARGIN - len(document))
    return document.encode("ascii")


def _fold(title: str, head: str, rows: Sequence[str], room: int) -> str:
    """A folded list, cut to `room` bytes."""
    kept = 0
    for row in rows:
        room -= len(row)
        if room < 0:
            break
        kept += 1
    cut = f"\n{len(rows) - kept:,} more left out.\n" if kept < len(rows) else ""
    opening = "<details open>" if title.startswith("<b>") else "<details>"
    body = head + "".join(rows[:kept]) if kept else ""
    return f"\n{opening}<summary>{title}</summary>\n\n{body}{cut}\n</details>\n"


def _targets(changes: Changes) -> str:
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


def _problems(cells: Sequence[Cell]) -> tuple[str, ...]:
    return tuple(map(_problem, problems(cells)))


def _problem(problem: Problem) -> str:
    why = f"{text(MEANING[problem.reason])}{': ' if problem.detail else ''}{code(problem.detail)}"
    release = code(f"{problem.package} {problem.version}")
    return f"| {release} | {text(problem.reason)} | {text(problem.places)} | {why} |\n"
