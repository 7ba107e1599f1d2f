"""Cold downloads against `curl --parallel`, aria2c (if installed) and one pip per package, on the same files.

`python -m tests.benchmarks.download [--packages 150] [--project DIR] [--python 3.12] [--rounds 2]`

Each way gets an empty folder, one after the other in the same run. `mirror` reads the index in `plan`, which is timed
by itself, and proves every byte while it downloads; the peers only fetch the URLs that were planned.
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
        "mirror, pip": lambda work: _mirror(work, folder / "plan", "pip"),
        "mirror, direct": lambda work: _mirror(work, folder / "plan", "direct"),
        "curl --parallel": lambda work: _run("curl", "-sfL", "-Z", "--parallel-max", "16", "-K", urls, cwd=work),
    }
    if shutil.which("aria2c"):
        ways["aria2c -j 16"] = lambda work: _run("aria2c", "-q", "-j16", "-i", aria, cwd=work)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, go in ways.items():
            work = folder / f"{way.replace(' ', '')}-{number}"
            work.mkdir()
            start = time.perf_counter()
            go(work)
            times[way].append(time.perf_counter() - start)
            fetched = sum(path.stat().st_size for path in work.rglob("*") if path.suffix in (".whl", ".gz", ".zip"))
            print(f"{way:16} round {number + 1}: {times[way][-1]:6.1f} s, {fetched / 1e6:,.0f} MB")
            shutil.rmtree(work)
    for way in ("mirror, pip", "mirror, direct"):
        for peer in list(ways)[2:]:
            print(f"{way} / {peer}: {median(times[way]) / median(times[peer]):.2f}")
    ours = median(times["mirror, pip"])
    sampled = _pip_each(folder / "pip", files, python)
    every = sampled * len(files)
    print(f"one pip per package, {SAMPLE} sampled: {sampled:.2f} s each, {every:,.0f} s for {len(files)} files")
    print(f"one pip per package / mirror, pip: {every / ours:.0f}")


def _plan(work: Path, project: Path, python: str) -> dict[str, Any]:
    work.mkdir()
    where = ["--quiet", "--work-dir", str(work), "--project", str(project), "--allow-stale", "--python", python]
    start = time.perf_counter()
    command = [sys.executable, "-m", "mirror", "plan", *where, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    plan: dict[str, Any] = json.loads(done.stdout)
    print(f"plan, cold: {time.perf_counter() - start:.1f} s for {len(plan['files'])} files")
    return plan


def _mirror(work: Path, planned: Path, downloader: str) -> None:
    shutil.copytree(planned / ".mirror", work / ".mirror")
    command = [sys.executable, "-m", "mirror", "download", "--quiet", "--work-dir", str(work)]
    subprocess.run([*command, "--downloader", downloader], check=True)


def _run(*command: str | Path, cwd: Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, stderr=subprocess.DEVNULL)


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
