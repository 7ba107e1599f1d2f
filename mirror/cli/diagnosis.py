"""What `mirror doctor` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mirror.doctor.check import Outcome
from mirror.model import Level, Notice

if TYPE_CHECKING:
    from mirror.console import Console
    from mirror.doctor.check import Diagnosis, Verdict
    from mirror.doctor.machine import Checkup

_LEVELS = {
    Outcome.FAIL: Level.ERROR,
    Outcome.WARN: Level.WARNING,
    Outcome.PASS: Level.NOTE,
    Outcome.NOT_APPLICABLE: Level.NOTE,
}


def show_diagnosis(console: Console, found: Diagnosis) -> None:
    """Failures first, then warnings, each with what was seen, who breaks, and what to do; the rest in a line each."""
    for verdict in found.of(Outcome.FAIL, Outcome.WARN):
        _show(console, verdict)
    for outcome, word in ((Outcome.PASS, "passed"), (Outcome.NOT_APPLICABLE, "not applicable")):
        ids = " ".join(verdict.check.id for verdict in found.of(outcome))
        if ids:
            console.marked(Level.NOTE, word, ids)
    console.marked(_LEVELS[found.outcome], f"{found.outcome}:", found.summary)


def _show(console: Console, verdict: Verdict) -> None:
    check = verdict.check
    console.marked(_LEVELS[verdict.outcome], f"{verdict.outcome} {check.id} ({check.rank})", check.asserts)
    for seen in verdict.evidence:
        console.marked(Level.NOTE, "    seen:", f"{seen.text}  {seen.url}")
    if verdict.more:
        console.marked(Level.NOTE, "    seen:", f"… and {verdict.more:,} more")
    console.marked(Level.NOTE, "  breaks:", check.breaks)
    console.marked(Level.NOTE, "     fix:", check.fix)


def show_checkup(console: Console, found: Checkup) -> None:
    """A line for each thing, as they depend on each other."""
    for line in found.lines:
        console.marked(_LEVELS[line.outcome], f"{line.outcome}", str(line))
        if line.fix:
            console.marked(Level.NOTE, "     fix:", line.fix)


def show_steps(console: Console, found: Checkup) -> None:
    """The same as the first step of a longer run: what is well in passing, the rest so that it is noticed."""
    for line in found.lines:
        if line.outcome in (Outcome.PASS, Outcome.NOT_APPLICABLE):
            console.say(str(line))
        else:
            message = f"{line.seen}; {line.fix}" if line.fix else line.seen
            level = _LEVELS[line.outcome]
            console.notice(Notice(level=level, code=str(line.outcome), message=message, where=line.subject))
