"""The console: progress and notices on stderr, tables for people. The one door to rich.

On a terminal a step shows a bar with files, bytes, speed and what is running; without one it logs one line when it
ends, so that a CI log stays readable.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from mirror.model import HOLES, Level, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Task as RichTask
    from rich.progress import TaskID

    from mirror.coverage import Coverage
    from mirror.errors import MirrorError
    from mirror.model import Cell, Notice, Plan
    from mirror.progress import Task

_STYLES = {Level.NOTE: "dim", Level.WARNING: "yellow", Level.ERROR: "bold red"}
_WORDS = {Level.NOTE: "note", Level.WARNING: "warning", Level.ERROR: "error"}
_SHOWN = 12
"""How many warnings, notes or findings of one kind are shown before the rest is counted; failures are all named."""
_LOG_WIDTH = 160
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, changes its colours or turns its text around; locks and pages may hold it."""


def _plain(text: str) -> str:
    """Make text of unknown origin safe to print: control characters but the end of a line are spelled out."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _line(text: str) -> str:
    return _plain(" ".join(text.splitlines()))


def _print(console: RichConsole, text: str, word: str = "", style: str = "") -> None:
    """Print `word` in a style, then text, unbroken. Both are taken literally: a lock's text is never markup."""
    line = Text.assemble((word, style), " " if word and text else "", text)
    line.plain = line.plain.encode(console.encoding, "backslashreplace").decode(console.encoding)
    console.print(line, soft_wrap=True)


class _Moved(ProgressColumn):
    """Files, bytes and speed, as far as they are known."""

    def render(self, task: RichTask) -> Text:
        parts = []
        if task.total is not None:
            parts.append(f"{int(task.completed)}/{int(task.total)}")
        size, expected = task.fields.get("size", 0), task.fields.get("expected")
        if size:
            parts.append(decimal(size) + (f" of {decimal(expected)}" if expected else ""))
            if task.elapsed:
                parts.append(f"{decimal(int(size / task.elapsed))}/s")
        return Text("  ".join(parts), style="progress.download")


class Console:
    """Where a run reports to. It is the `Progress` of the pipeline."""

    def __init__(self, *, quiet: bool = False) -> None:
        """Write data to stdout and everything else to stderr; `quiet` keeps only warnings and errors."""
        self._quiet = quiet
        self._out = RichConsole(highlight=False)
        self._err = RichConsole(stderr=True, highlight=False)
        if not self._out.is_terminal:
            # A log has no width; a table must not be cut to a terminal's that is not there.
            self._out.width = _LOG_WIDTH
        self._seen: set[tuple[str, str]] = set()

    def data(self, text: str) -> None:
        """Print a result, untouched, to stdout."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def say(self, text: str) -> None:
        """Show the result of a step in one line."""
        if not self._quiet:
            _print(self._err, _line(text))

    def notice(self, notice: Notice) -> None:
        """Show a notice once, however often it is given; notes stay silent when `quiet`."""
        key = (notice.code, str(notice))
        if key in self._seen or (self._quiet and notice.level is Level.NOTE):
            return
        self._seen.add(key)
        _print(self._err, _line(str(notice)), f"{_WORDS[notice.level]}:", _STYLES[notice.level])

    def notices(self, notices: Sequence[Notice]) -> None:
        """Show notices; of many warnings of one kind a few, and how many more there are."""
        by_kind: dict[tuple[Level, str], list[Notice]] = {}
        for notice in notices:
            by_kind.setdefault((notice.level, notice.code), []).append(notice)
        for (level, code), group in by_kind.items():
            shown = len(group) if level is Level.ERROR else _SHOWN
            for notice in group[:shown]:
                self.notice(notice)
            if len(group) > shown and not (self._quiet and level is Level.NOTE):
                _print(self._err, "", f"… and {len(group) - shown} more like that ({code})", _STYLES[level])

    def error(self, error: MirrorError) -> None:
        """Show why the run ends, and on a line of its own what to do."""
        _print(self._err, _plain(str(error)), "error:", "bold red")
        if error.hint:
            _print(self._err, _plain(error.hint), "hint:", "cyan")

    @contextmanager
    def task(self, title: str, *, items: int | None = None, size: int | None = None) -> Iterator[Task]:
        """Show a step: a live bar on a terminal, one line at its end elsewhere."""
        if self._quiet:
            yield _Count(items, size)
        elif self._err.is_terminal:
            with self._bar() as bar:
                yield _Bar(bar, bar.add_task(title, total=items, size=0, expected=size, what=""))
        else:
            count = _Count(items, size)
            start = time.monotonic()
            yield count
            self.say(f"{title}: {count.summary(time.monotonic() - start)}")

    def _bar(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Moved(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", style="dim", markup=False),
            console=self._err,
            transient=False,
        )

    def plan(self, plan: Plan) -> None:
        """Show what would be fetched, per target: files, bytes, and the reasons why something is missing."""
        table = Table(title=None, header_style="bold", box=None, pad_edge=False)
        for heading in ("target", "files", "size", "cells", "covered", "excluded", "sdist only", "holes"):
            table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
        for target in dict.fromkeys((*(cell.target for cell in plan.cells), *(file.home for file in plan.files))):
            files = [file for file in plan.files if file.home == target]
            cells = [cell for cell in plan.cells if cell.target == target]
            table.add_row(target, str(len(files)), _bytes([file.size for file in files]), *_counts(cells))
        table.add_section()
        table.add_row("all", str(len(plan.files)), _bytes([file.size for file in plan.files]), *_counts(plan.cells))
        self._out.print(table)
        self._holes([cell for cell in plan.cells if cell.reason in HOLES])

    def coverage(self, coverage: Coverage, policy: frozenset[Reason]) -> None:
        """Show the coverage report: a line when all is well, the table, and the holes first when there are some."""
        failures = coverage.failures(policy)
        self._holes(failures)
        for finding in coverage.findings[:_SHOWN]:
            _print(self._out, "", _line(str(finding)), "red")
        if len(coverage.findings) > _SHOWN:
            _print(self._out, "", f"… and {len(coverage.findings) - _SHOWN} more findings", "red")
        table = Table(header_style="bold", box=None, pad_edge=False)
        headings = (
            "target",
            "cells",
            "covered",
            "%",
            "yanked",
            "sdist only",
            "direct",
            "excluded",
            "holes",
            "files",
            "size",
        )
        for heading in headings:
            table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
        for row in coverage.rows:
            table.add_row(
                row.target, str(row.cells), str(row.covered), _floor(row.percent), str(row.yanked),
                str(row.sdist_only), str(row.direct), str(row.excluded), str(row.holes), str(row.files),
                decimal(row.size),
            )  # fmt: skip
        self._out.print(table)
        verdict, style = ("not verified:", "red") if failures or coverage.findings else ("verified:", "green")
        _print(self._out, _line(coverage.summary), verdict, style)

    def _holes(self, cells: Sequence[Cell]) -> None:
        grouped: dict[tuple[str, str, Reason, str], list[str]] = {}
        for cell in cells:
            key = (cell.package, cell.version, cell.reason, cell.detail)
            grouped.setdefault(key, []).append(f"{cell.target} {cell.python}")
        for (package, version, reason, detail), places in grouped.items():
            where = ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
            note = f" ({detail})" if detail else ""
            _print(self._out, _line(f"{package} {version} on {where}{note}"), reason, "red")


def _counts(cells: Sequence[Cell]) -> tuple[str, ...]:
    reasons = [cell.reason for cell in cells]
    return (
        str(len(reasons)),
        str(sum(reason.covered for reason in reasons)),
        str(sum(reason.excluded for reason in reasons)),
        str(reasons.count(Reason.SDIST_ONLY)),
        str(sum(reason in HOLES for reason in reasons)),
    )


def _floor(percent: float) -> str:
    """One decimal, cut and not rounded: 100.0 is said of nothing that lacks a cell."""
    return f"{int(percent * 10) / 10:.1f}"


def _bytes(sizes: Sequence[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return "?" if sizes else "0"
    return decimal(sum(known)) + ("" if len(known) == len(sizes) else " +")


class _Count:
    """Counts what is done, for a line at the end."""

    def __init__(self, items: int | None, size: int | None) -> None:
        self._total, self._expected = items, size
        self._items = self._size = 0
        self._lock = threading.Lock()

    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:  # noqa: ARG002
        """Count."""
        with self._lock:
            self._items += items
            self._size += size

    def expect(self, items: int | None = None, size: int | None = None) -> None:
        """Correct the total."""
        self._total = items if items is not None else self._total
        self._expected = size if size is not None else self._expected

    def summary(self, seconds: float) -> str:
        """Say what was done in one line."""
        parts = [f"{self._items}" + (f" of {self._total}" if self._total not in (None, self._items) else "")]
        if self._size:
            parts.append(f"{decimal(self._size)}, {decimal(int(self._size / max(seconds, 0.001)))}/s")
        return ", ".join((*parts, f"{seconds:.1f} s"))


class _Bar:
    """Moves a live bar."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._size = 0
        self._lock = threading.Lock()

    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:
        """Move it."""
        fields: dict[str, Any] = {"what": _line(what)} if what else {}
        with self._lock:
            self._size += size
            self._bar.update(self._task, advance=items, size=self._size, **fields)

    def expect(self, items: int | None = None, size: int | None = None) -> None:
        """Correct the total."""
        if items is not None:
            self._bar.update(self._task, total=items)
        if size is not None:
            self._bar.update(self._task, expected=size)
