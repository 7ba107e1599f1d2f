"""What a step of GitHub Actions is told beside its summary: remarks on lines of the lock, and outputs.

GitHub shows ten errors and ten warnings of a step, so of more than ten the first one counts and the nine worst follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.figures import counted
from mirror.model import Reason
from mirror.plain import line
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.coverage import Problem
    from mirror.reports.report import Report

_MOST = 10
_LONGEST = 1000
"""Characters of a remark: it is read beside a line, and the rest is in the summary."""


def commands(report: Report) -> tuple[str, ...]:
    """Annotations, one a line, at most twenty: errors for what fails, warnings for what is yanked."""
    errors: list[str] = []
    warnings: list[str] = []
    several = len(report.coverages) > 1
    for coverage in report.coverages:
        at = f" at {coverage.destination}" if several else ""
        errors += [_on_line("error", report, problem, at) for problem in report.failures(coverage)]
        errors += [
            _command("error", f"{finding}{at}; {finding.advice}", title=finding.code)
            for finding in report.findings(coverage)
        ]
        yanked = (problem for problem in report.remarks(coverage) if problem.reason is Reason.YANKED)
        warnings += [_on_line("warning", report, problem, at) for problem in yanked]
    return (*_foremost("error", errors, report.verdict), *_foremost("warning", warnings, "Yanked"))


def outputs(report: Report) -> str:
    """Lines `name=value`: verified, percent, covered, wanted, holes, findings, release, files, bytes."""
    totals = report.totals
    releases = dict.fromkeys(coverage.release for coverage in report.coverages if coverage.release)
    values = {
        "verified": "true" if report.verified else "false",
        "percent": totals.percent,
        "covered": totals.covered,
        "wanted": totals.wanted,
        "holes": totals.holes,
        "findings": totals.findings,
        "release": ",".join(releases),
        "files": totals.files,
        "bytes": totals.size,
    }
    # A value that ended its line would be read as another output.
    return "".join(f"{name}={line(str(value))}\n" for name, value in values.items())


def _on_line(level: str, report: Report, problem: Problem, at: str) -> str:
    text = f"{problem.package} {problem.version}: {MEANING[problem.reason]}, on {problem.places}{at}"
    text = "; ".join(part for part in (text, problem.detail, problem.advice) if part)
    title = f"{problem.reason}: {problem.package} {problem.version}"
    return _command(level, text, file=report.path(problem.lock), line=str(report.line(problem)), title=title)


def _foremost(level: str, found: Sequence[str], title: str) -> tuple[str, ...]:
    if len(found) <= _MOST:
        return tuple(found)
    text = f"{counted(len(found), level)}; the {_MOST - 1} that matter most are shown, all are in the summary"
    return (_command(level, text, title=title), *found[: _MOST - 1])


def _command(level: str, text: str, **properties: str) -> str:
    said = line(text)
    said = said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
    stated = ",".join(f"{name}={_property(line(value))}" for name, value in properties.items())
    return f"::{level} {stated}::{_data(said)}"


def _data(text: str) -> str:
    """Text as workflow commands quote it: it cannot end its line, and nothing in it is read as a quotation."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
