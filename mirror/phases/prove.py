"""Prove: let installers try, without installing, whether each environment can be had from the mirror alone.

`verify` judges by the standards and by what we know of installers; here they have the word themselves. What fails is
a finding, `install-failed`.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.coverage import INSTALL_FAILED, Finding, Install
from mirror.errors import MirrorError
from mirror.installers.base import Trial
from mirror.locks.base import Requirement
from mirror.model import Level, Notice, Reason, Source
from mirror.selection import select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mirror.coverage import Coverage
    from mirror.installers.base import Here, Installer
    from mirror.locks.base import Lock
    from mirror.model import Scope
    from mirror.progress import Progress
    from mirror.selection import Selection
    from mirror.targets import Environment

_TICK = 0.2
"""Seconds; waiting without an end could not be interrupted on Windows."""


def trials(lock: Lock, environments: Sequence[Environment], scope: Scope, here: Here) -> tuple[Trial, ...]:
    """Write down what a lock installs in each environment, its markers judged.

    Patch releases of one Python that install the same are one trial. What has no wheel there is left out: coverage
    names it, and a dry run would build its sdist, which runs it; a trial may have nothing else. Raise `LockError` as
    `select` does.
    """
    return tuple(trial for environment in environments for trial in _patches(lock, environment, scope, here))


def _patches(lock: Lock, environment: Environment, scope: Scope, here: Here) -> Iterator[Trial]:
    ours = (environment.target.name, environment.python) == (here.target, here.python)
    seen = set()
    for version in (here.version,) if ours else environment.full_versions:
        selections = select(lock, (replace(environment, full_versions=(version,)),), scope)
        wanted = [selection for selection in selections if selection.verdict in (None, Reason.DIRECT)]
        trial = Trial(
            lock=lock.label,
            environment=environment,
            version=version,
            requirements=tuple(_requirement(selection) for selection in wanted if selection.wheels),
            left_out=tuple(sorted(str(selection.package) for selection in wanted if not selection.wheels)),
            here=ours,
        )
        pins = (trial.requirements, trial.left_out)
        if any(pins) and pins not in seen:
            seen.add(pins)
            yield trial


def _requirement(selection: Selection) -> Requirement:
    package = selection.package
    return Requirement(
        name=package.name,
        version=str(package.version),
        marker="",
        digests=tuple(sorted({file.digest for file in package.files})),
        # Wherever the lock has it from, the mirror is the only index.
        source=Source(),
    )


def prove(
    coverage: Coverage, trials: Sequence[Trial], installers: Sequence[Installer], index: str, progress: Progress
) -> Coverage:
    """Let each installer try each trial on `index`, as many at once as there are cores; the coverage with the results.

    Raise `MirrorError` when an installer cannot be run.
    """
    wanted = [trial for trial in trials if trial.requirements]
    jobs = [(trial, tool) for trial in wanted for tool in installers if not tool.excuse(trial.environment)]
    _explain(trials, wanted, installers, progress)
    if not jobs:
        message = "no installer tried anything, so this proves nothing"
        progress.notice(Notice(level=Level.WARNING, code="not-tried", message=message, where=coverage.destination))
    installs: dict[int, Install] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mirror-") as scratch,
        progress.task("Installing", items=len(jobs), unit="dry runs") as task,
        ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="prove") as threads,
    ):
        places = {
            threads.submit(_attempt, trial, tool, index, Path(scratch)): place
            for place, (trial, tool) in enumerate(jobs)
        }
        waiting = set(places)
        try:
            while waiting:
                ended, waiting = wait(waiting, _TICK, FIRST_COMPLETED)
                for future in ended:
                    install = installs[places[future]] = future.result()
                    task.advance(1, what=f"{install.installer} for {install.target} {install.python}")
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for tool in installers:
                tool.stop()
            raise
    tried = tuple(installs[place] for place in sorted(installs))
    found = (_finding(install) for install in tried if install.complaint)
    return replace(coverage, installs=tried, findings=tuple(sorted((*coverage.findings, *found))))


def _explain(
    trials: Sequence[Trial], wanted: Sequence[Trial], installers: Sequence[Installer], progress: Progress
) -> None:
    """Say what is not tried, and why: packages of all trials, and environments of those that have anything to try."""
    left_out = dict.fromkeys((trial.lock, name) for trial in trials for name in trial.left_out)
    excuses = {
        (tool.name, trial.environment.target.name): tool.excuse(trial.environment)
        for trial in wanted
        for tool in installers
    }
    progress.notices(
        (
            *(
                Notice(level=Level.NOTE, code="left-out", message="not tried where no wheel of it is locked",
                       package=name, where=lock)
                for lock, name in left_out
            ),
            *(
                Notice(level=Level.NOTE, code="not-tried", message=f"{tool} does not try {target}: {excuse}")
                for (tool, target), excuse in excuses.items()
                if excuse
            ),
        )
    )  # fmt: skip


def _attempt(trial: Trial, installer: Installer, index: str, scratch: Path) -> Install:
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            complaint = installer.attempt(trial, index, Path(folder))
    except OSError as error:
        raise MirrorError(
            f"cannot write to {scratch.parent}: {error.strerror or error}",
            hint="free some space, for the files of each environment are fetched once more; TMPDIR names another place",
        ) from error
    return Install(
        lock=trial.lock,
        target=trial.environment.target.name,
        python=trial.environment.python,
        version=trial.version,
        installer=installer.name,
        packages=len(trial.requirements),
        left_out=trial.left_out,
        complaint=complaint,
    )


def _finding(install: Install) -> Finding:
    where = f"{install.target} {install.version}, {install.installer}, {install.lock}"
    return Finding(INSTALL_FAILED, where, install.complaint)
