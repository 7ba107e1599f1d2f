"""Cold downloads against `curl --parallel`, aria2c (if installed) and one pip per package, on the same files.

`python -m tests.benchmarks.download [--packages 150] [--project DIR] [--python 3.12] [--rounds 2]`

Each way gets an empty folder, one after the other in the same run. `mirror` is timed for its whole cold run up to the
proven pool (`plan` and `download`), the peers only for fetching URLs that were planned for them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from mirror.downloads.configuration import Configuration
from tests.benchmarks import popular

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = 6


def main() -> None:
    """Measure and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=150)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        project = options.project or folder / "project"
        if options.project is None:
            index = Configuration.start().settings.indexes[0]
            print(f"lock: {popular.make(project, index, popular.NAMES[: options.packages])} packages")
        _measure(folder, project, options.python, options.rounds)


def _measure(folder: Path, project: Path, python: str, rounds: int) -> None:
    plan = _plan(folder / "plan", project, python)
    files = [file for file in plan["files"] if file.get("url")]
    urls = folder / "urls"
    urls.write_text("".join(f'url = "{file["url"]}"\noutput = "{file["filename"]}"\n' for file in files))
    aria = folder / "aria"
    aria.write_text("".join(f"{file['url']}\n  out={file['filename']}\n" for file in files))
    ways: dict[str, Callable[[Path], None]] = {
        "mirror plan + download": lambda work: _mirror(work, project, python),
        "curl --parallel": lambda work: _run("curl", "-sSfL", "-Z", "--parallel-max", "16", "-K", urls, cwd=work),
    }
    if shutil.which("aria2c"):
        ways["aria2c -j 16"] = lambda work: _run("aria2c", "-q", "-j16", "-i", aria, cwd=work)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, go in ways.items():
            work = folder / f"{way.split()[0]}-{number}"
            work.mkdir()
            start = time.perf_counter()
            go(work)
            times[way].append(time.perf_counter() - start)
            fetched = sum(path.stat().st_size for path in work.rglob("*") if path.suffix in (".whl", ".gz", ".zip"))
            print(f"{way:24} round {number + 1}: {times[way][-1]:6.1f} s, {fetched / 1e6:,.0f} MB")
            shutil.rmtree(work)
    ours = median(times["mirror plan + download"])
    for way in list(ways)[1:]:
        print(f"mirror / {way}: {ours / median(times[way]):.2f}")
    sampled = _pip_each(folder / "pip", files, python)
    every = sampled * len(files)
    print(f"one pip per package, {SAMPLE} sampled: {sampled:.2f} s each, {every:,.0f} s for {len(files)} files")
    print(f"one pip per package / mirror: {every / ours:.0f}")


def _plan(work: Path, project: Path, python: str) -> dict[str, Any]:
    arguments = _arguments(work, project, python)
    done = subprocess.run([*arguments("plan"), "--json"], check=False, capture_output=True, text=True)
    plan: dict[str, Any] = json.loads(done.stdout)
    print(f"plan: {len(plan['files'])} files")
    return plan


def _arguments(work: Path, project: Path, python: str) -> Callable[[str], list[str]]:
    work.mkdir(exist_ok=True)
    mirror = [sys.executable, "-m", "mirror"]
    where = ["--quiet", "--work-dir", str(work)]
    what = ["--project", str(project), "--allow-stale", "--python", python]
    return lambda command: [*mirror, command, *where, *(what if command == "plan" else [])]


def _mirror(work: Path, project: Path, python: str) -> None:
    arguments = _arguments(work, project, python)
    for phase in ("plan", "download"):
        subprocess.run(arguments(phase), check=False, stdout=subprocess.DEVNULL)


def _run(*command: str | Path, cwd: Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def _pip_each(folder: Path, files: list[dict[str, Any]], python: str) -> float:
    """Seconds for one `pip download` of one pinned package, as tools do that loop over a lock."""
    wheels = [file for file in files if file["filename"].endswith("-any.whl")]
    sample = wheels[:: max(1, len(wheels) // SAMPLE)][:SAMPLE]
    start = time.perf_counter()
    for file in sample:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--only-binary=:all:",
                   "--python-version", python, "-d", str(folder), f"{file['project']}=={file['version']}"]  # fmt: skip
        subprocess.run(command, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return (time.perf_counter() - start) / len(sample)


if __name__ == "__main__":
    main()
