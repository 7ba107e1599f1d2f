"""Verifying a served site of thousands of files, over loopback.

    python -m tests.benchmarks.served [--files 5000] [--projects 1000]

A folder with that many little wheels is served by `mirror serve` in a process of its own. It is verified with the usual
sample and with every file read, and curl, where it is there, asks for the head of every file over as many connections:
the least that any check of them has to do.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.clients.http import HttpClient
from mirror.credentials import Credentials
from mirror.downloads.configuration import Network
from mirror.phases.visit import visit
from mirror.progress import Silence
from mirror.samples import FILES
from mirror.web import Web
from tests.expected import expectations, locked
from tests.sites import local, make_site
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.sites import Site

_ROOT = Path(__file__).resolve().parents[2]
_JOBS = 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print seconds."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.served", description=__doc__)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--projects", type=int, default=1_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = make(folder, options.files, options.projects)
        with _served(folder / "root") as url:
            print(f"{options.files:,} files in {options.projects:,} projects, {_JOBS} connections")
            sidecars = sum(bool(artifact.metadata_sha256) for artifact in site.manifest.artifacts)
            asked = 2 * options.projects + options.files + sidecars
            for label, sample in ((f"verify, {FILES} files read", FILES), ("verify, every file read", None)):
                # Each file that is read, and the first byte of some.
                total = asked + (options.files if sample is None else sample) + FILES
                seconds, cpu = _verify(site, url, sample)
                speed = f"{total:,} requests, {total / seconds:,.0f} a second"
                print(f"{label:26} {seconds:6.2f} s  {cpu:6.2f} s CPU  {speed}")
            _curl(site, url, folder)


def make(folder: Path, files: int, projects: int) -> Site:
    """Publish wheels to `root` below a folder; every hundredth has a local version."""
    made = []
    for number in range(files):
        local_part = "+local.1" if number % 100 == 0 else ""
        version = f"1.{number // projects}{local_part}"
        made.append(make_wheel(folder / "made", f"project-{number % projects:05}", version, files={}))
    site = make_site(folder / "work", made)
    site.publish(local(folder / "root"), jobs=_JOBS)
    return site


def _verify(site: Site, url: str, sample: int | None) -> tuple[float, float]:
    asked = expectations(locked(site))
    client = HttpClient(Web(Network(), Credentials(), dict(os.environ), connections=_JOBS))
    start, cpu = time.perf_counter(), time.process_time()
    coverage = visit(asked, client, url, Silence(), manifest=site.manifest, sample=sample, jobs=_JOBS)
    seconds, spent = time.perf_counter() - start, time.process_time() - cpu
    client.close()
    assert not coverage.findings, coverage.findings[:3]
    return seconds, spent


def _curl(site: Site, url: str, folder: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        return
    lines = "".join(
        f'url = "{url}packages/{artifact.filename.replace("+", "%2B")}"\noutput = "{os.devnull}"\n'
        for artifact in site.manifest.artifacts
    )
    (folder / "curl").write_text(lines, "utf-8")
    start = time.perf_counter()
    command = [
        curl,
        "--no-progress-meter",
        "--head",
        "--parallel",
        "--parallel-max",
        str(_JOBS),
        "--config",
        str(folder / "curl"),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    count = len(site.manifest.artifacts)
    print(
        f"{'curl --head of the files':26} {seconds:6.2f} s  {'':12} {count:,} requests, {count / seconds:,.0f} a second"
    )


@contextmanager
def _served(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "mirror", "serve", "--directory", str(root), "--port", "0"]
    process = subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        yield process.stderr.readline().split(" at ")[1].partition(";")[0]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
