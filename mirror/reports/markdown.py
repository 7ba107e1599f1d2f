"""The report as Markdown, for the summary of a CI job: the verdict, a table by target, and the rest folded away.

Never longer than a limit: then the lists are cut, those of lesser weight first, and each says how much it leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.coverage import floored
from mirror.figures import counted, size
from mirror.reports.markup import code, text
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.coverage import Coverage, Finding, Install, Problem
    from mirror.reports.report import Report

LIMIT = 1 << 20
"""Bytes of a job's summary on GitHub: a longer one is refused as a whole."""

_MARGIN = 1 << 10
"""Bytes below the limit that are left to whoever writes the last line of the summary."""


def render(report: Report, limit: int = LIMIT) -> bytes:
    """The document as ASCII, of at most `limit` bytes; nothing when not even the verdict and the tables fit."""
    parts: list[str | _List] = [_headline(report)]
    for coverage in report.coverages:
        parts += _destination(report, coverage)
    return _fit(parts, limit)


@dataclass(frozen=True, slots=True)
class _List:
    """A list that is folded away, and may be cut."""

    weight: int
    """Those of less weight are filled first."""
    title: str
    head: str
    rows: tuple[str, ...]

    def text(self, kept: int) -> str:
        """The list with its first `kept` rows."""
        left = len(self.rows) - kept
        cut = f"\n{left:,} more left out: they are in the other forms of the report.\n" if left else ""
        rows = self.head + "".join(self.rows[:kept]) if kept else ""
        fold = "<details open>" if not self.weight else "<details>"
        return f"\n{fold}<summary>{self.title}</summary>\n\n{rows}{cut}\n</details>\n"


def _fit(parts: Sequence[str | _List], limit: int) -> bytes:
    # ASCII throughout, so that a character is a byte.
    room = (
        limit
        - _MARGIN
        - sum(len(part) if isinstance(part, str) else len(part.text(0)) + len(part.head) for part in parts)
    )
    if room < 0:
        verdict = str(parts[0])
        return verdict.encode("ascii") if len(verdict) <= limit - _MARGIN else b""
    kept = _share([part for part in parts if isinstance(part, _List)], room)
    return "".join(part if isinstance(part, str) else part.text(kept[id(part)]) for part in parts).encode("ascii")


def _share(lists: Sequence[_List], room: int) -> dict[int, int]:
    """How many rows each list keeps, by its id: lists of one weight take turns, so that none crowds out another."""
    kept = {id(part): 0 for part in lists}
    for weight in sorted({part.weight for part in lists}):
        hungry = [part for part in lists if part.weight == weight]
        while hungry:
            for part in tuple(hungry):
                place = kept[id(part)]
                if place == len(part.rows) or len(part.rows[place]) > room:
                    hungry.remove(part)
                    continue
                room -= len(part.rows[place])
                kept[id(part)] += 1
        if any(kept[id(part)] < len(part.rows) for part in lists if part.weight == weight):
            break  # what matters less waits until all that matters more is there
    return kept


def _headline(report: Report) -> str:
    totals = report.totals
    mark = "&#9989;" if report.verified else "&#10060;"
    said = f"{totals.covered:,} of {totals.wanted:,} cells covered ({totals.percent} %)"
    parts = [said, counted(totals.files, "file"), size(totals.size)]
    parts += [counted(totals.holes, "hole")] if totals.holes else []
    parts += [counted(totals.findings, "finding")] if totals.findings else []
    return f"### {mark} {report.verdict}: {', '.join(parts)}\n"


def _destination(report: Report, coverage: Coverage) -> list[str | _List]:
    release = f", release {code(coverage.release)}" if coverage.release else ", nothing is published there"
    failures, findings = report.failures(coverage), report.findings(coverage)
    remarks = report.remarks(coverage)
    parts: list[str | _List] = [f"\n{code(coverage.destination)}{release}\n\n{_targets(coverage)}"]
    if failures:
        title = f"<b>{counted(len(failures), 'package lacks', 'packages lack')} something</b>"
        parts.append(_List(0, title, _PROBLEMS, tuple(_problem(report, problem) for problem in failures)))
    if findings:
        title = f"<b>{counted(len(findings), 'finding')} on the site</b>"
        parts.append(_List(0, title, _FINDINGS, tuple(map(_finding, findings))))
    if remarks:
        title = f"{counted(len(remarks), 'remark')} that the policy lets pass"
        parts.append(_List(1, title, _REMARKS, tuple(_remark(problem) for problem in remarks)))
    if coverage.installs:
        good = sum(not install.complaint for install in coverage.installs)
        title = f"{good:,} of {counted(len(coverage.installs), 'dry run')} by installers succeeded"
        parts.append(_List(2, title, _INSTALLS, tuple(map(_install, coverage.installs))))
    return parts


def _targets(coverage: Coverage) -> str:
    rows = [
        f"| {code(row.target)} | {floored(row.percent) if row.wanted else '-'} | {row.covered:,} of {row.wanted:,} "
        f"| {row.holes or '-'} | {row.sdist_only or '-'} | {row.yanked or '-'} | {row.files:,} | {size(row.size)} |\n"
        for row in coverage.rows
    ]
    if not rows:
        return "No package is locked for any target.\n"
    head = "| target | % | covered | holes | sdist only | yanked | files | size |\n|:--|--:|--:|--:|--:|--:|--:|--:|\n"
    return head + "".join(rows)


_PROBLEMS = "| package | reason | where | why | what to do |\n|:--|:--|:--|:--|:--|\n"
_REMARKS = "| package | reason | where | why |\n|:--|:--|:--|:--|\n"
_FINDINGS = "| finding | place | what | what to do |\n|:--|:--|:--|:--|\n"
_INSTALLS = "| installer | lock | environment | packages | result |\n|:--|:--|:--|--:|:--|\n"


def _problem(report: Report, problem: Problem) -> str:
    return f"{_remark(problem)[:-2]}<br>{code(report.where(problem))} | {_advice(problem.advice)} |\n"


def _remark(problem: Problem) -> str:
    why = f"{text(MEANING[problem.reason])}{': ' if problem.detail else ''}{code(problem.detail)}"
    return (
        f"| {code(f'{problem.package} {problem.version}')} | {text(problem.reason)} "
        f"| {text(problem.places)} | {why} |\n"
    )


def _finding(finding: Finding) -> str:
    return f"| {text(finding.code)} | {code(finding.key)} | {code(finding.message)} | {_advice(finding.advice)} |\n"


def _advice(words: str) -> str:
    """Our own words, in which commands stand between backticks."""
    return "".join(code(part) if place % 2 else text(part) for place, part in enumerate(words.split("`")))


def _install(install: Install) -> str:
    place = f"{install.target} {install.version}"
    result = code(install.complaint) if install.complaint else "&#9989;"
    return f"| {text(install.installer)} | {code(install.lock)} | {text(place)} | {install.packages:,} | {result} |\n"
