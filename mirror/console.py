"""The console: progress and notices on stderr, tables for people. The one door to rich.

On a terminal a step shows a bar with files, bytes, speed and what is running; without one it logs one line when it
ends, so that a CI log stays readable.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.filesize import decimal
from rich.text import Text

from mirror.coverage import ADVICE, floored, problems
from mirror.model import HOLES, Level, Reason
from mirror.plain import line as _line
from mirror.plain import plain as _plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from mirror.changes import Changes
    from mirror.coverage import Coverage, Finding, Row
    from mirror.errors import MirrorError
    from mirror.model import Cell, Notice, Plan
    from mirror.progress import Task

_STYLES = {Level.NOTE: "dim", Level.WARNING: "yellow", Level.ERROR: "bold red"}
_WORDS = {Level.NOTE: "note", Level.WARNING: "warning", Level.ERROR: "error"}
_SHOWN = 12
"""How many warnings, notes or findings of one kind are shown before the rest is counted; failures are all named."""
_TIMED = 0.5
"""Seconds; the speed of a shorter step says nothing."""
_LOG_WIDTH = 160
_ALWAYS = ("target", "cells", "covered", "%", "files", "size")
"""Columns of the coverage table that are shown whatever they say."""


def _print(console: RichConsole, text: str, word: str = "", style: str = "") -> None:
    """Print `word` in a style, then text, unbroken. Both are taken literally: a lock's text is never markup."""
    line = Text.assemble((word, style), " " if word and text else "", text)
    line.plain = line.plain.encode(console.encoding, "backslashreplace").decode(console.encoding)
    console.print(line, soft_wrap=True)


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

    def commands(self, lines: Sequence[str]) -> None:
        """Print lines that a CI system obeys, untouched, to stderr: so the results on stdout stay whole."""
        sys.stderr.write("".join(f"{line}\n" for line in lines))

    def marked(self, level: Level, word: str, text: str) -> None:
        """Print a result to stdout, after a word in the style of a level."""
        _print(self._out, _line(text), word, _STYLES[level])

    def say(self, text: str) -> None:
        """Show the result of a step in one line."""
        if not self._quiet:
            _print(self._err, _line(text))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table to stdout, its text taken literally."""
        table = _table()
        for heading in headings:
            table.add_column(Text(heading), overflow="fold")
        for row in rows:
            table.add_row(*(Text(_line(cell)) for cell in row))
        self._out.print(table)

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
    def task(self, title: str, *, items: int | None = None, size: int | None = None, unit: str = "") -> Iterator[Task]:
        """Show a step: a live bar on a terminal, one line at its end elsewhere."""
        if self._quiet:
            yield _Count(items, size, unit)
        elif self._err.is_terminal:
            from mirror.bar import live

            with live(self._err, title, items=items, size=size, unit=unit) as task:
                yield task
        else:
            count = _Count(items, size, unit)
            start = time.monotonic()
            yield count
            self.say(f"{title}: {count.summary(time.monotonic() - start)}")

    def plan(self, plan: Plan, policy: frozenset[Reason] = HOLES) -> None:
        """Show what would be fetched, per target: files, bytes, and the reasons why something is missing."""
        table = _table()
        for heading in ("target", "files", "size", "cells", "covered", "excluded", "sdist only", "holes"):
            table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
        for target in dict.fromkeys((*(cell.target for cell in plan.cells), *(file.home for file in plan.files))):
            files = [file for file in plan.files if file.home == target]
            cells = [cell for cell in plan.cells if cell.target == target]
            # Cells are platforms'; what all of them share has a home only.
            counts = _counts(cells) if cells else ()
            table.add_row(target, str(len(files)), _bytes([file.size for file in files]), *counts)
        table.add_section()
        table.add_row("all", str(len(plan.files)), _bytes([file.size for file in plan.files]), *_counts(plan.cells))
        self._out.print(table)
        unknown = sum(file.size is None for file in plan.files)
        if unknown:
            _print(self._out, f"The index does not tell the size of {unknown:,} file{'s' * (unknown != 1)}.")
        self._holes([cell for cell in plan.cells if cell.reason in HOLES | policy])

    def changes(self, changes: Changes, failures: Sequence[Cell]) -> None:
        """Show what a plan changes: packages, files and bytes per target, what is no longer as good, what fails."""
        if changes.packages:
            rows = [
                (change.package, ", ".join(change.before) or "-", ", ".join(change.after) or "-")
                for change in changes.packages
            ]
            self.table(("package", "before", "after"), rows)
            self._out.print()
        if changes.targets:
            headings = ("target", "added", "size", "removed", "size")
            counted = (
                (row.target, f"{row.added.files:,}", row.added.weight, f"{row.removed.files:,}", row.removed.weight)
                for row in (*changes.targets, changes.total)
            )
            self.table(headings, tuple(counted))
            unsized = changes.total.added.unsized + changes.total.removed.unsized
            if unsized:
                _print(self._out, f"The index does not tell the size of {unsized:,} file{'s' * (unsized != 1)}.")
            self._out.print()
        for what, cells in (("newly uncovered", changes.uncovered), ("newly yanked", changes.yanked)):
            for problem in problems(cells):
                why = f" ({problem.detail})" if problem.detail else ""
                said = f"{problem.package} {problem.version} on {problem.places}: {problem.reason}{why}"
                _print(self._out, _line(said), f"{what}:", "red")
        news = {*changes.uncovered, *changes.yanked}
        self._name([cell for cell in failures if cell not in news])
        self._advise(failures)
        _print(self._out, _line(changes.summary))

    def coverage(self, coverage: Coverage, policy: frozenset[Reason]) -> None:
        """Show the coverage report: a line when all is well, the table, and the holes first when there are some."""
        failures = coverage.failures(policy)
        self._findings(coverage.findings)
        if coverage.published:
            for advice in dict.fromkeys(finding.advice for finding in coverage.findings):
                _print(self._out, advice, "hint:", "cyan")
            self._holes(failures)
        else:
            # Where nothing is published yet, that is all there is to say of every package.
            self._advise(failures)
        self._rows(coverage.rows)
        verdict, style = ("not verified:", "red") if not coverage.verified(policy) else ("verified:", "green")
        _print(self._out, _line(coverage.summary), verdict, style)

    def _rows(self, rows: Sequence[Row]) -> None:
        """Show a line for each target; a column in which every line would say 0 is left out."""
        columns: dict[str, list[str]] = {
            "target": [_line(row.target) for row in rows],
            "cells": [str(row.cells) for row in rows],
            "covered": [str(row.covered) for row in rows],
            "%": [floored(row.percent) if row.wanted else "-" for row in rows],
            "yanked": [str(row.yanked) for row in rows],
            "sdist only": [str(row.sdist_only) for row in rows],
            "direct": [str(row.direct) for row in rows],
            "excluded": [str(row.excluded) for row in rows],
            "holes": [str(row.holes) for row in rows],
            "files": [str(row.files) for row in rows],
            "size": [decimal(row.size) for row in rows],
        }
        shown = {heading: cells for heading, cells in columns.items() if heading in _ALWAYS or set(cells) - {"0"}}
        table = _table()
        for heading in shown:
            table.add_column(heading, justify="left" if heading == "target" else "right", no_wrap=True)
        for cells in zip(*shown.values(), strict=True):
            table.add_row(*cells)
        self._out.print(table)

    def _holes(self, cells: Sequence[Cell]) -> None:
        """Name every package that lacks something, where it does, and at the end what to do about it."""
        self._name(cells)
        self._advise(cells)

    def _name(self, cells: Sequence[Cell]) -> None:
        several = len({cell.lock for cell in cells}) > 1
        for problem in problems(cells):
            of = f" of {problem.lock}" if several else ""
            why = f" ({problem.detail})" if problem.detail else ""
            text = f"{problem.package} {problem.version}{of} on {problem.places}{why}"
            _print(self._out, _line(text), problem.reason, "red")

    def _advise(self, cells: Sequence[Cell]) -> None:
        for reason in dict.fromkeys(cell.reason for cell in cells):
            _print(self._out, f"{reason}: {ADVICE[reason]}", "hint:", "cyan")

    def _findings(self, findings: Sequence[Finding]) -> None:
        """Show findings; of many of one kind a few, and how many more there are."""
        by_kind: dict[str, list[Finding]] = {}
        for finding in findings:
            by_kind.setdefault(finding.code, []).append(finding)
        for code, group in by_kind.items():
            for finding in group[:_SHOWN]:
                _print(self._out, "", _line(str(finding)), "red")
            if len(group) > _SHOWN:
                _print(self._out, "", f"… and {len(group) - _SHOWN} more like that ({code})", "red")


def _table() -> Table:
    from rich.table import Table

    return Table(header_style="bold", box=None, pad_edge=False)


def _counts(cells: Sequence[Cell]) -> tuple[str, ...]:
    reasons = [cell.reason for cell in cells]
    return (
        str(len(reasons)),
        str(sum(reason.covered for reason in reasons)),
        str(sum(reason.excluded for reason in reasons)),
        str(reasons.count(Reason.SDIST_ONLY)),
        str(sum(reason in HOLES for reason in reasons)),
    )


def _bytes(sizes: Sequence[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return "?" if sizes else "0"
    return decimal(sum(known)) + ("" if len(known) == len(sizes) else " +")


class _Count:
    """Counts what is done, for a line at the end."""

    def __init__(self, items: int | None, size: int | None, unit: str) -> None:
        self._total, self._expected, self._unit = items, size, unit
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
        done = f"{self._items:,}" + (f" of {self._total:,}" if self._total not in (None, self._items) else "")
        unit = self._unit.removesuffix("s") if done == "1" else self._unit
        parts = [f"{done} {unit}".rstrip()]
        if self._size:
            parts.append(decimal(self._size))
            if seconds >= _TIMED:
                parts.append(f"{decimal(int(self._size / seconds))}/s")
        return ", ".join((*parts, f"{seconds:.1f} s"))
