"""The report as GitLab reads code quality: an issue on the lock's line for each package that lacks something."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from mirror.model import Reason
from mirror.plain import line
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from mirror.coverage import Coverage, Finding, Problem
    from mirror.reports.report import Report

_SEVERITY = {Reason.DIGEST_MISMATCH: "blocker", Reason.YANKED: "minor"}
"""Of what fails: the rest is `major`. What the policy lets pass is `info`, but a yanked file is always `minor`."""


def render(report: Report) -> bytes:
    """The issues, worst first. A finding on the site has no line of its own and stands on the first one of the lock."""
    issues = []
    for coverage in report.coverages:
        issues += [_lacking(report, coverage, problem, failing=True) for problem in report.failures(coverage)]
        issues += [_wrong(report, coverage, finding) for finding in report.findings(coverage)]
        issues += [_lacking(report, coverage, problem, failing=False) for problem in report.remarks(coverage)]
    return json.dumps(issues, indent=1).encode("ascii") + b"\n"


def _lacking(report: Report, coverage: Coverage, problem: Problem, *, failing: bool) -> dict[str, Any]:
    what = (
        f"{problem.package} {problem.version}: {MEANING[problem.reason]}, on {problem.places} at {coverage.destination}"
    )
    parts = (what, problem.detail, problem.advice if failing else "")
    return _issue(
        check=problem.reason,
        text="; ".join(part for part in parts if part),
        severity=_SEVERITY.get(problem.reason, "major" if failing else "info"),
        path=report.path(problem.lock),
        begin=report.line(problem),
        identity=(coverage.destination, problem.lock, problem.package, problem.version, problem.reason),
    )


def _wrong(report: Report, coverage: Coverage, finding: Finding) -> dict[str, Any]:
    # A site can be asked without a lock that is a file here; GitLab wants a path all the same.
    path = report.locks[0].path if report.locks else "poetry.lock"
    return _issue(
        check=finding.code,
        text=f"{coverage.destination}: {finding}; {finding.advice}",
        severity="critical",
        path=path,
        begin=1,
        identity=(coverage.destination, finding.code, finding.key),
    )


def _issue(*, check: str, text: str, severity: str, path: str, begin: int, identity: tuple[str, ...]) -> dict[str, Any]:
    return {
        "description": line(text),
        "check_name": check,
        # The same in every run for the same problem, wherever it has moved in the lock: so GitLab knows what is new.
        "fingerprint": hashlib.sha256("\0".join(identity).encode("utf-8", "backslashreplace")).hexdigest(),
        "severity": severity,
        "location": {"path": line(path), "lines": {"begin": begin}},
    }
