"""The summary of a CI job: parts of Markdown, of which lists are folded away and cut where they are too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mirror.reports.markup import code, text
from mirror.reports.report import MEANING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mirror.coverage import Problem
    from mirror.reports.report import Report

LIMIT = 1 << 20
"""Bytes of a job's summary on GitHub: a longer one is refused as a whole."""

_MARGIN = 1 << 10
"""Bytes below the limit that are left to whoever writes the last line of the summary."""

PROBLEMS = "| package | reason | where | why | what to do |\n|:--|:--|:--|:--|:--|\n"
REMARKS = "| package | reason | where | why |\n|:--|:--|:--|:--|\n"


@dataclass(frozen=True, slots=True)
class Folded:
    """A list that is folded away, and may be cut."""

    weight: int
    """Those of less weight are filled first."""
    title: str
    head: str
    rows: tuple[str, ...]

    def text(self, kept: int) -> str:
        """The list with its first `kept` rows."""
        left = len(self.rows) - kept
        cut = f"\n{left:,} more left out.\n" if left else ""
        rows = self.head + "".join(self.rows[:kept]) if kept else ""
        fold = "<details open>" if not self.weight else "<details>"
        return f"\n{fold}<summary>{self.title}</summary>\n\n{rows}{cut}\n</details>\n"


def fit(parts: Sequence[str | Folded], limit: int) -> bytes:
    """The document as ASCII, of at most `limit` bytes: whole, with its lists cut, its first part alone, or nothing."""
    # ASCII throughout, so that a character is a byte.
    room = (
        limit
        - _MARGIN
        - sum(len(part) if isinstance(part, str) else len(part.text(0)) + len(part.head) for part in parts)
    )
    if room < 0:
        verdict = str(parts[0])
        return verdict.encode("ascii") if len(verdict) <= limit - _MARGIN else b""
    kept = _share([part for part in parts if isinstance(part, Folded)], room)
    return "".join(part if isinstance(part, str) else part.text(kept[id(part)]) for part in parts).encode("ascii")


def _share(lists: Sequence[Folded], room: int) -> dict[int, int]:
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


def problem_row(report: Report, problem: Problem) -> str:
    """What fails, with its line of the lock and what to do about it, below `PROBLEMS`."""
    return f"{remark_row(problem)[:-2]}<br>{code(report.where(problem))} | {advice_text(problem.advice)} |\n"


def remark_row(problem: Problem) -> str:
    """What one release lacks, below `REMARKS`."""
    why = f"{text(MEANING[problem.reason])}{': ' if problem.detail else ''}{code(problem.detail)}"
    return (
        f"| {code(f'{problem.package} {problem.version}')} | {text(problem.reason)} "
        f"| {text(problem.places)} | {why} |\n"
    )


def advice_text(words: str) -> str:
    """Our own words, in which commands stand between backticks."""
    return "".join(code(part) if place % 2 else text(part) for place, part in enumerate(words.split("`")))
