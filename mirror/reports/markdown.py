"""The report as Markdown, for the summary of a CI job: the verdict, a table by target, and the rest folded away.

Never longer than a limit: then the lists are cut, those of lesser weight first, and each says how much it leaves out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.coverage import floored
from mirror.figures import counted, size
from mirror.reports.markup import code, text
from mirror.reports.summary import LIMIT, PROBLEMS, REMARKS, Folded, advice_text, fit, problem_row, remark_row

if TYPE_CHECKING:
    from mirror.coverage import Coverage, Finding, Install
    from mirror.reports.report import Report


def render(report: Report, limit: int = LIMIT) -> bytes:
    """The document as ASCII, of at most `limit` bytes; nothing when not even the verdict and the tables fit."""
    parts: list[str | Folded] = [_headline(report)]
    for coverage in report.coverages:
        parts += _destination(report, coverage)
    return fit(parts, limit)


def _headline(report: Report) -> str:
    totals = report.totals
    mark = "&#9989;" if report.verified else "&#10060;"
    said = f"{totals.covered:,} of {totals.wanted:,} cells covered ({totals.percent} %)"
    parts = [said, counted(totals.files, "file"), size(totals.size)]
    parts += [counted(totals.holes, "hole")] if totals.holes else []
    parts += [counted(totals.findings, "finding")] if totals.findings else []
    return f"### {mark} {report.verdict}: {', '.join(parts)}\n"


def _destination(report: Report, coverage: Coverage) -> list[str | Folded]:
    release = f", release {code(coverage.release)}" if coverage.release else ", nothing is published there"
    failures, findings = report.failures(coverage), report.findings(coverage)
    remarks = report.remarks(coverage)
    parts: list[str | Folded] = [f"\n{code(coverage.destination)}{release}\n\n{targets(coverage)}"]
    if failures:
        title = f"<b>{counted(len(failures), 'package lacks', 'packages lack')} something</b>"
        parts.append(Folded(0, title, PROBLEMS, tuple(problem_row(report, problem) for problem in failures)))
    if findings:
        title = f"<b>{counted(len(findings), 'finding')} on the site</b>"
        parts.append(Folded(0, title, _FINDINGS, tuple(map(_finding, findings))))
    if remarks:
        title = f"{counted(len(remarks), 'remark')} that the policy lets pass"
        parts.append(Folded(1, title, REMARKS, tuple(map(remark_row, remarks))))
    if coverage.installs:
        good = sum(not install.complaint for install in coverage.installs)
        title = f"{good:,} of {counted(len(coverage.installs), 'dry run')} by installers succeeded"
        parts.append(Folded(2, title, _INSTALLS, tuple(map(_install, coverage.installs))))
    return parts


def targets(coverage: Coverage) -> str:
    """A table of how much is covered for each target."""
    rows = [
        f"| {code(row.target)} | {floored(row.percent) if row.wanted else '-'} | {row.covered:,} of {row.wanted:,} "
        f"| {row.holes or '-'} | {row.sdist_only or '-'} | {row.yanked or '-'} | {row.files:,} | {size(row.size)} |\n"
        for row in coverage.rows
    ]
    if not rows:
        return "No package is locked for any target.\n"
    head = "| target | % | covered | holes | sdist only | yanked | files | size |\n|:--|--:|--:|--:|--:|--:|--:|--:|\n"
    return head + "".join(rows)


_FINDINGS = "| finding | place | what | what to do |\n|:--|:--|:--|:--|\n"
_INSTALLS = "| installer | lock | environment | packages | result |\n|:--|:--|:--|--:|:--|\n"


def _finding(finding: Finding) -> str:
    return f"| {text(finding.code)} | {code(finding.key)} | {code(finding.message)} | {advice_text(finding.advice)} |\n"


def _install(install: Install) -> str:
    place = f"{install.target} {install.version}"
    result = code(install.complaint) if install.complaint else "&#9989;"
    return f"| {text(install.installer)} | {code(install.lock)} | {text(place)} | {install.packages:,} | {result} |\n"
