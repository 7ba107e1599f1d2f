"""Rendering a large index, against dumb-pypi on the same list in the same run.

    python -m tests.benchmarks.index [--files 100000] [--projects 5000]

Both read the same file of JSON lines in a process of their own and write a whole tree into an empty folder; dumb-pypi
writes HTML, its legacy JSON and a page for people about each project, we write HTML, API JSON, a page for people about
each project and the front page. Then both run again over the tree that is
there already. dumb-pypi is installed from the configured index into an environment below `.cache/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

from mirror.filenames import parse
from mirror.model import About, Artifact, Manifest
from mirror.phases.index import index
from mirror.progress import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_ROOT = Path(__file__).resolve().parents[2]
_PEER = "dumb-pypi==1.15.0"
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64", "macosx_14_0_arm64", "win_amd64")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print seconds and ratios."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.index", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--projects", type=int, default=5_000)
    parser.add_argument("--render", nargs=2, metavar=("LIST", "TREE"), help="only render ours")
    options = parser.parse_args(arguments)
    if options.render:
        index(read(Path(options.render[0])), Path(options.render[1]), Silence())
        return
    compare(options.files, options.projects)


def compare(files: int, projects: int) -> None:
    """Run both on one list and print what each took."""
    peer = _peer()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing = folder / "list.jsonl"
        listing.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries(files, projects)), "utf-8")
        print(f"{files:,} files in {projects:,} projects")
        ours = [sys.executable, "-m", "tests.benchmarks.index", "--render", str(listing), str(folder / "ours")]
        theirs = [str(peer), "--package-list-json", str(listing), "--packages-url", "../../packages"]
        theirs += ["--output-dir", str(folder / "theirs"), "--no-generate-timestamp"]
        for label in ("empty folder", "nothing changed"):
            own, other = _seconds(ours), _seconds(theirs)
            print(f"{label:16} mirror {own:6.2f} s   {_PEER} {other:6.2f} s   ratio {own / other:.2f}")


def entries(files: int, projects: int) -> Iterator[dict[str, object]]:
    """The list, in the JSON lines that dumb-pypi reads; it refuses a key that it does not know."""
    for number in range(files):
        project, place = number % projects, number // projects
        version = f"{place // 8}.{project % 7}.{place // 4 % 2}"
        python = f"cp3{10 + place % 5}"
        filename = f"project_{project:05}-{version}-{python}-{python}-{_PLATFORMS[place % 4]}.whl"
        digest = hashlib.sha256(filename.encode()).hexdigest()
        yield {
            "filename": filename,
            "hash": f"sha256={digest}",
            "requires_python": ">=3.10",
            "core_metadata": f"sha256={digest}",
            "upload_timestamp": 1_700_000_000 + number,
        }


def read(listing: Path) -> Manifest:
    """The list as a manifest."""
    with listing.open(encoding="utf-8") as lines:
        artifacts = [_artifact(json.loads(line)) for line in lines]
    artifacts.sort(key=lambda artifact: artifact.filename)
    # The newest release speaks for its project; only ours shows what it says.
    speakers = {artifact.project: artifact for artifact in artifacts}
    about = tuple((name, _about(speaker)) for name, speaker in sorted(speakers.items()))
    return Manifest(artifacts=tuple(artifacts), about=about)


def _about(artifact: Artifact) -> About:
    home = f"https://{artifact.project}.example"
    return About(
        filename=artifact.filename,
        summary=f"{artifact.project} makes short work of long lists",
        license="MIT",
        links=(("Homepage", home), ("Changelog", f"{home}/changes"), ("Source", f"{home}/source")),
    )


def _artifact(entry: dict[str, str]) -> Artifact:
    said = parse(entry["filename"])
    return Artifact(
        filename=said.filename,
        project=said.name,
        version=str(said.version),
        sha256=entry["hash"].removeprefix("sha256="),
        size=len(said.filename),
        requires_python=entry["requires_python"],
        upload_time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(entry["upload_timestamp"]))),
        metadata_sha256=entry["core_metadata"].removeprefix("sha256="),
        metadata_size=1,
    )


def _peer() -> Path:
    """The program of the peer, installed once."""
    home = _ROOT / ".cache" / "benchmarks" / _PEER
    binaries = home / ("Scripts" if sys.platform == "win32" else "bin")
    program = binaries / "dumb-pypi"
    if not program.exists():
        venv.create(home, with_pip=True)
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", _PEER], check=True)
    return program


def _seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
