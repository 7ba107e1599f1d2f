"""`mirror doctor` on static indexes that other tools make of the same files, and on ours.

    python -m tests.benchmarks.doctors [--details]

Little real wheels and sdists, as projects upload them, are handed to each tool; what it writes is served by Python's
own `http.server`, which sends files and little else, and by a host with ETags and ranges, as nginx is by default. The
tools are installed from the configured index into environments of their own below `.cache/doctors`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from mirror.clients.http import HttpClient
from mirror.credentials import Credentials
from mirror.doctor.check import Outcome
from mirror.downloads.configuration import Network
from mirror.files import hash_file
from mirror.phases.doctor import doctor
from mirror.progress import Silence
from mirror.web import Web
from tests.clients import make_environment
from tests.served import served
from tests.sites import local, make_site
from tests.wheels import make_sdist, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mirror.doctor.check import Diagnosis

_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "doctors"
_TOOLS = {"dumb-pypi": "1.15.0", "python-pypi-mirror": "5.2.1", "pip2pi": "0.8.2", "simple503": "0.4.0"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make every index, visit it, and print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.doctors", description=__doc__)
    parser.add_argument("--details", action="store_true", help="show what was seen for every row that does not pass")
    options = parser.parse_args(arguments)
    makers: dict[str, Callable[[Path, Path], None]] = {
        "dumb-pypi": _dumb_pypi,
        "python-pypi-mirror": _pypi_mirror,
        "pip2pi": _dir2pi,
        "simple503": _simple503,
    }
    print("| made by | served by | failed | warned | passed |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _files(folder / "files")
        for tool, make in makers.items():
            _environment(tool)
            tree = folder / tool
            make(files, tree)
            for host in ("`http.server`", "ETags, ranges"):
                with _HOSTS[host](tree) as url:
                    _show(f"{tool} {_TOOLS[tool]}", host, _examine(url), details=options.details)
        site = make_site(folder / "work", sorted(files.iterdir()))
        site.publish(local(folder / "mirror"))
        for host, serve in _HOSTS.items():
            with serve(folder / "mirror") as url:
                _show("mirror", host, _examine(url), details=options.details)


def _files(folder: Path) -> Path:
    """What a small team has: platform wheels, a local version, an sdist, a name with a dot and one in capitals."""
    make_wheel(folder, "alpha", "1.0", "cp311-cp311-manylinux_2_17_x86_64", requires_python=">=3.8")
    make_wheel(folder, "alpha", "1.0", requires_python=">=3.8", requires=["beta>=1"])
    make_wheel(folder, "alpha", "1.1", requires_python=">=3.9", requires=["beta>=1"])
    make_sdist(folder, "alpha", "1.1", requires_python=">=3.9")
    make_wheel(folder, "beta", "1.0+cpu")
    make_sdist(folder, "zope.gamma", "2.0")
    make_wheel(folder, "Delta_One", "3.0")
    return folder


def _environment(tool: str) -> None:
    """Install a tool, once."""
    place = _CACHE / f"{tool}-{_TOOLS[tool]}"
    if not (place / "ready").exists():
        python = make_environment(place)
        # pip2pi is of a time when setuptools was part of every environment.
        wanted = [f"{tool}=={_TOOLS[tool]}", "setuptools<81", "wheel"]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
        (place / "ready").touch()


def _run(tool: str, command: str, *arguments: object) -> None:
    bin_folder = _CACHE / f"{tool}-{_TOOLS[tool]}" / ("Scripts" if sys.platform == "win32" else "bin")
    done = subprocess.run([bin_folder / command, *map(str, arguments)], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command} ended in {done.returncode}: {done.stderr}")


def _dumb_pypi(files: Path, tree: Path) -> None:
    shutil.copytree(files, tree / "packages")
    listing = tree / "list.jsonl"
    entries = ({"filename": path.name, "hash": f"sha256={hash_file(path)}"} for path in sorted(files.iterdir()))
    listing.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), "utf-8")
    flags = ("--package-list-json", listing, "--packages-url", "../../packages", "--output-dir", tree)
    _run("dumb-pypi", "dumb-pypi", *flags)


def _pypi_mirror(files: Path, tree: Path) -> None:
    _run("python-pypi-mirror", "pypi-mirror", "create", "--download-dir", files, "--mirror-dir", tree / "simple",
         "--copy")  # fmt: skip


def _dir2pi(files: Path, tree: Path) -> None:
    shutil.copytree(files, tree)
    _run("pip2pi", "dir2pi", "--normalize-package-names", tree)


def _simple503(files: Path, tree: Path) -> None:
    shutil.copytree(files, tree)
    _run("simple503", "simple503", tree)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the table readable."""


@contextmanager
def _plainly(tree: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tree)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _well(tree: Path) -> Iterator[str]:
    files = StaticFiles(directory=tree, html=True, follow_symlink=True)
    with served(tree, Starlette(routes=[Mount("/", files)])) as url:
        yield url


_HOSTS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "`http.server`": _plainly,
    "ETags, ranges": _well,
    "`mirror serve`": served,
}


def _examine(url: str) -> Diagnosis:
    web = Web(Network(retries=0), Credentials(), {}, 8)
    try:
        return doctor(url, HttpClient(web), Silence())
    finally:
        web.close()


def _show(name: str, host: str, found: Diagnosis, *, details: bool) -> None:
    def rows(outcome: Outcome) -> str:
        return " ".join(verdict.check.id for verdict in found.of(outcome)) or "-"

    cells = (name, host, rows(Outcome.FAIL), rows(Outcome.WARN), str(found.counts[Outcome.PASS]))
    print(f"| {' | '.join(cells)} |", flush=True)
    if details:
        for verdict in found.of(Outcome.FAIL, Outcome.WARN):
            seen = "; ".join(f"{each.text} {each.url}" for each in verdict.evidence[:2])
            print(f"    {verdict.outcome} {verdict.check.id}: {seen}")


if __name__ == "__main__":
    main()
