"""Reports, handed out: to the files that were asked for, and to the CI job that the run is part of."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from mirror import ci
from mirror.coverage import Coverage
from mirror.files import write
from mirror.reports import github, markdown, plan
from mirror.reports.forms import form_of
from mirror.reports.report import LockedLines, Report
from mirror.reports.summary import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mirror.changes import Changes
    from mirror.cli.session import Session
    from mirror.locks.base import Lock
    from mirror.model import Plan


def hand_out(session: Session, coverages: Sequence[Coverage]) -> None:
    """Write every report that `--report` names, and tell the CI job what it wants to know.

    Raise `MirrorError` when a file cannot be written.
    """
    job = ci.Job.current()
    files: tuple[Path, ...] = session.flags.get("report") or ()
    if not (files or job.annotated):
        return
    report = _report(session, job, coverages)
    for path in files:
        write(path, form_of(path.name).render(report))
        session.console.say(f"Report: {path}")
    _tell(session, job, report, partial(markdown.render, report))


def hand_out_plan(session: Session, planned: Plan, changes: Changes | None = None) -> None:
    """Write what a plan changes to every file that `--report` names, and tell the CI job what is missing, too.

    Raise `MirrorError` when a file cannot be written.
    """
    job = ci.Job.current()
    files: tuple[Path, ...] = session.flags["report"] if changes is not None else ()
    if not (files or job.annotated):
        return
    sizes = {file.filename: file.size or 0 for file in planned.files}
    coverage = Coverage(destination="plan", release="", cells=planned.cells, findings=(), sizes=sizes)
    report = _report(session, job, (coverage,))
    for path in files:
        assert changes is not None
        whole = (json.dumps(changes.to_json(), indent=1) + "\n").encode()
        write(path, whole if path.suffix.lower() == ".json" else plan.render(report, changes))
        session.console.say(f"Report: {path}")
    _tell(session, job, report, partial(plan.render, report, changes))


def _report(session: Session, job: ci.Job, coverages: Sequence[Coverage]) -> Report:
    return Report(coverages=tuple(coverages), policy=session.settings.policy, locks=tuple(_lines(session.locks, job)))


def _lines(locks: Iterable[Lock], job: ci.Job) -> Iterable[LockedLines]:
    for lock in locks:
        lines = {(str(package.name), str(package.version)): package.line for package in lock.packages}
        yield LockedLines(label=lock.label, path=job.path(lock.path), lines=lines)


def _tell(session: Session, job: ci.Job, report: Report, summary: Callable[..., bytes]) -> None:
    if job.summary:
        # What other commands of the same step have written counts towards its limit, too.
        ci.append(job.summary, summary(limit=LIMIT - ci.size(job.summary)))
    if job.outputs:
        ci.append(job.outputs, github.outputs(report).encode())
    if job.annotated:
        session.console.commands(github.commands(report))
