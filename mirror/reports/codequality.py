"""The report as GitLab reads code quality: an issue on the lock's line for each package that lacks something."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from mirror.model import Reason
from mirror.plain import line
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mirror.coverage import Coverage, Finding, Problem
    from mirror.reports.report import Report

_SEVERITY = {Reason.DIGEST_MISMATCH: "blocker", Reason.YANKED: "minor"}
"""Of what fails: the rest is `major`. What the policy lets pass is `info`, but a yanked file is always `minor`."""


def render(report: Report) -> bytes:
    """The issues, worst first. A finding on the site has no line of its own and stands on the first one of the lock.

    What is wrong at several destinations is one issue, and where they are is no part of its fingerprint: a merge
    request that is verified at the address of the mirror has the issues of the branch that was verified in its bucket.
    """
    issues = (
        *_lacking(report, report.failures, failing=True),
        *_wrong(report),
        *_lacking(report, report.remarks, failing=False),
    )
    return json.dumps(issues, indent=1).encode("ascii") + b"\n"


def _lacking(
    report: Report, found: Callable[[Coverage], Iterable[Problem]], *, failing: bool
) -> Iterable[dict[str, Any]]:
    same: defaultdict[tuple[str, ...], list[tuple[str, Problem]]] = defaultdict(list)
    for coverage in report.coverages:
        for problem in found(coverage):
            release = report.path(problem.lock), problem.package, problem.version, problem.reason
            same[release].append((coverage.destination, problem))
    for identity, entries in same.items():
        first = entries[0][1]
        where = "; ".join(f"on {problem.places} at {destination}" for destination, problem in entries)
        details = dict.fromkeys(problem.detail for _, problem in entries)
        what = f"{first.package} {first.version}: {MEANING[first.reason]}, {where}"
        yield _issue(
            check=first.reason,
            text="; ".join(part for part in (what, *details, first.advice if failing else "") if part),
            severity=_SEVERITY.get(first.reason, "major" if failing else "info"),
            path=report.path(first.lock),
            begin=report.line(first),
            identity=identity,
        )


def _wrong(report: Report) -> Iterable[dict[str, Any]]:
    # A site can be asked without a lock that is a file here; GitLab wants a path all the same.
    path = report.locks[0].path if report.locks else "poetry.lock"
    same: defaultdict[tuple[str, str], list[tuple[str, Finding]]] = defaultdict(list)
    for coverage in report.coverages:
        for finding in report.findings(coverage):
            same[finding.code, finding.key].append((coverage.destination, finding))
    for identity, entries in same.items():
        first = entries[0][1]
        said = "; ".join(f"{destination}: {finding}" for destination, finding in entries)
        yield _issue(
            check=first.code, text=f"{said}; {first.advice}", severity="critical", path=path, begin=1, identity=identity
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
