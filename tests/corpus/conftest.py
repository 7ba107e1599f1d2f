"""The corpus as parameters, and a table of what was compared at the end of the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_DEFAULT = Path(__file__).parents[3] / "shared" / "locks"
FORMATS = ("poetry.lock", "uv.lock", "pdm.lock", "pylock*.toml", "Pipfile.lock")
ROW = "corpus row"


def corpus() -> Path:
    """The folder of real locks: `LOCKS`, or the one beside the checkout."""
    return Path(os.environ.get("LOCKS") or _DEFAULT).absolute()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, patterns in (("poetry_lock", FORMATS[:1]), ("other_lock", FORMATS[1:])):
        if name in metafunc.fixturenames:
            root = corpus()
            found = sorted(path for pattern in patterns for path in root.rglob(pattern))
            ids = [path.relative_to(root).as_posix() for path in found]
            skipped = pytest.param(None, marks=pytest.mark.skip(reason=f"no corpus of real locks in {root}; set LOCKS"))
            metafunc.parametrize(name, found or [skipped], ids=ids or ["absent"])


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print one row for each lock and scope."""
    reports = [report for group in terminalreporter.stats.values() for report in group if hasattr(report, "when")]
    rows = [value for report in reports if report.when == "call" for key, value in report.user_properties if key == ROW]
    if not rows:
        return
    terminalreporter.section("corpus: our export against the official one")
    header = ["lock", "format", "scope", "official", "ours", "points", "same text", "differences"]
    table = [header, *sorted(map(list, rows))]
    widths = [max(len(str(row[column])) for row in table) for column in range(len(header))]
    for row in table:
        cells = (str(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
