"""Seconds and bytes of a report of 1,000 packages in 20 environments in each form, and how a browser takes the page.

`python -m tests.benchmarks.reports [--packages 1000]`. The peer is `json` itself, writing nothing but the same cells.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from mirror.coverage import Coverage
from mirror.model import Cell, Reason
from mirror.reports.forms import FORMS
from mirror.reports.report import LockedLines, Report
from tests.browser import CHROMIUM, Browser

if TYPE_CHECKING:
    from collections.abc import Iterator

TAGS = {
    "linux-x86_64": "manylinux_2_17_x86_64",
    "linux-aarch64": "manylinux_2_17_aarch64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-amd64": "win_amd64",
}
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
FILTERS = {"search": "project-09", "state": "w", "target": "macos-arm64", "python": "3.12"}
ASKED = """(() => {
  const field = document.querySelector("[name=%s]");
  field.value = "%s";
  const start = performance.now();
  field.dispatchEvent(new Event("input", {bubbles: true}));
  document.body.offsetHeight;
  return performance.now() - start;
})()"""


def report(packages: int) -> Report:
    """Every third project has a wheel for each environment, every fiftieth none for one platform."""
    cells = tuple(_cells(packages))
    sizes = {cell.filename: 1000 + 37 * len(cell.detail) for cell in cells if cell.filename}
    coverage = Coverage(destination="./site", release="000001-0123456789ab", cells=cells, findings=(), sizes=sizes)
    lines = {(str(cell.package), cell.version): 1 for cell in cells}
    return Report(coverages=(coverage,), locks=(LockedLines(label="poetry.lock", path="poetry.lock", lines=lines),))


def _cells(packages: int) -> Iterator[Cell]:
    for number in range(packages):
        for target, tag in TAGS.items():
            for python in PYTHONS:
                minor = f"cp{python.replace('.', '')}"
                built = f"{minor}-{minor}-{tag}" if number % 3 == 0 else "py3-none-any"
                hole = number % 50 == 0 and target == "windows-amd64"
                yield Cell(
                    lock="poetry.lock",
                    package=canonicalize_name(f"project-{number:04}"),
                    version="1.0",
                    target=target,
                    python=python,
                    reason=Reason.NO_WHEEL if hole else Reason.COVERED,
                    filename="" if hole else f"project_{number:04}-1.0-{built}.whl",
                )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=1000)
    made = report(parser.parse_args().packages)
    cells = [asdict(cell) for cell in made.coverages[0].cells]
    start = time.perf_counter()
    json.dumps(cells, indent=1)
    peer = time.perf_counter() - start
    print(f"{'json alone':24} {peer:8.3f} s")
    for form in FORMS:
        start = time.perf_counter()
        data = form.render(made)
        seconds = time.perf_counter() - start
        print(f"{form.what:24} {seconds:8.3f} s  {seconds / peer:5.1f} x  {len(data):>10,} bytes")
        if form.names == ("*.html",) and CHROMIUM:
            _browse(data)


def _browse(data: bytes) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "report.html"
        path.write_bytes(data)
        with Browser(Path(folder) / "profile") as browser:
            browser.show(width=1280)
            start = time.perf_counter()
            browser.open(path.as_uri())
            print(f"{'  opened in Chromium':24} {time.perf_counter() - start:8.3f} s")
            for name, value in FILTERS.items():
                print(f"{f'  filtered by {name}':24} {browser.value(ASKED % (name, value)) / 1000:8.3f} s")


if __name__ == "__main__":
    main()
