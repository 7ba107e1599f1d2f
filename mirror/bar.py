"""The live bar of a step on a terminal: files, bytes, speed, and what is running."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from mirror.plain import line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Task as RichTask
    from rich.progress import TaskID

    from mirror.progress import Task


@contextmanager
def live(console: Console, title: str, *, items: int | None, size: int | None, unit: str) -> Iterator[Task]:
    """Show a bar while the block runs; it stays as it was at the end."""
    with _progress(console) as progress:
        task = progress.add_task(title, total=items, size=0, expected=size, what="", unit=unit)
        yield _Bar(progress, task)
        progress.update(task, what="")


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=12),
        _Moved(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(),
        # What is left of the line, so that a long name never breaks it.
        TextColumn("{task.fields[what]}", style="dim", markup=False, table_column=Column(ratio=1, no_wrap=True)),
        console=console,
        expand=True,
        transient=False,
    )


class _Moved(ProgressColumn):
    """Files, bytes and speed, as far as they are known."""

    def render(self, task: RichTask) -> Text:
        parts = []
        if task.total is not None:
            parts.append(f"{int(task.completed)}/{int(task.total)} {task.fields.get('unit', '')}".rstrip())
        size, expected = task.fields.get("size", 0), task.fields.get("expected")
        if size:
            parts.append(decimal(size) + (f" of {decimal(expected)}" if expected else ""))
            if task.elapsed:
                parts.append(f"{decimal(int(size / task.elapsed))}/s")
        return Text("  ".join(parts), style="progress.download")


class _Bar:
    """Moves a live bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._size = 0
        self._lock = threading.Lock()

    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:
        """Move it."""
        fields: dict[str, Any] = {"what": line(what)} if what else {}
        with self._lock:
            self._size += size
            self._progress.update(self._task, advance=items, size=self._size, **fields)

    def expect(self, items: int | None = None, size: int | None = None) -> None:
        """Correct the total."""
        if items is not None:
            self._progress.update(self._task, total=items)
        if size is not None:
            self._progress.update(self._task, expected=size)
