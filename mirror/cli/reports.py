"""Reports, handed out: to the files that were asked for, and to the CI job that the run is part of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mirror import ci
from mirror.files import write
from mirror.reports import changes as changed
from mirror.reports import github, markdown
from mirror.reports.forms import form_of
from mirror.reports.report import LockedLines, Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mirror.changes import Changes
    from mirror.cli.session import Session
    from mirror.coverage import Coverage
    from mirror.locks.base import Lock


def hand_out(session: Session, coverages: Sequence[Coverage]) -> None:
    """Write every report that `--report` names, and tell the CI job what it wants to know.

    Raise `MirrorError` when a file cannot be written.
    """
    job = ci.Job.current()
    files: tuple[Path, ...] = session.flags.get("report") or ()
    if not (files or job.annotated):
        return
    report = Report(coverages=tuple(coverages), policy=session.settings.policy, locks=tuple(_lines(session.locks, job)))
    for path in files:
        write(path, form_of(path.name).render(report))
        session.console.say(f"Report: {path}")
    if job.annotated:
        _tell(session, job, report)


def hand_out_changes(session: Session, changes: Changes) -> None:
    """Write what a plan changes to every file that `--report` names, and into the summary of the CI job.

    Raise `MirrorError` when a file cannot be written.
    """
    for path in session.flags["report"]:
        whole = (json.dumps(changes.to_json(), indent=1) + "\n").encode()
        write(path, whole if path.suffix.lower() == ".json" else changed.render(changes))
        session.console.say(f"Report: {path}")
    summary = ci.Job.current().summary
    if summary:
        ci.append(summary, changed.render(changes, changed.LIMIT - ci.size(summary)))


def _lines(locks: Iterable[Lock], job: ci.Job) -> Iterable[LockedLines]:
    for lock in locks:
        lines = {(str(package.name), str(package.version)): package.line for package in lock.packages}
        yield LockedLines(label=lock.label, path=job.path(lock.path), lines=lines)


def _tell(session: Session, job: ci.Job, report: Report) -> None:
    if job.summary:
        # What other commands of the same step have written counts towards its limit, too.
        ci.append(job.summary, markdown.render(report, markdown.LIMIT - ci.size(job.summary)))
    if job.outputs:
        ci.append(job.outputs, github.outputs(report).encode())
    session.console.commands(github.commands(report))
