"""CPU seconds to read and plan a lock of 650 packages for 12 environments, without the network.

`python -m tests.benchmarks.planning [--packages 650]`. The peer is `packaging`'s own way of asking: parse every wheel's
filename and intersect its tags with each environment's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, parse_wheel_filename

from mirror import locks
from mirror.model import Scope
from mirror.phases.plan import plan
from mirror.progress import Silence
from mirror.selection import environments, select
from mirror.simple.page import PageFile
from mirror.targets import TARGETS, Baseline
from mirror.upstream.base import Offer, Want

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.progress import Progress

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64")
_TAGS = [
    f"cp{minor}-cp{minor}-{platform}"
    for minor in ("310", "311", "312", "313")
    for platform in (
        "manylinux_2_17_x86_64.manylinux2014_x86_64",
        "manylinux_2_17_aarch64.manylinux2014_aarch64",
        "musllinux_1_2_x86_64",
        "macosx_11_0_arm64",
        "macosx_10_9_x86_64",
        "win_amd64",
        "win32",
    )
]
_MARKERS = (
    "",
    'sys_platform == "win32"',
    'python_version < "3.12"',
    'platform_system != "Darwin" or python_version >= "3.12"',
)


class Everything:
    """An index that offers whatever is wanted."""

    def read(self, wants: Sequence[Want], progress: Progress) -> Mapping[tuple[NormalizedName, str], Offer]:
        """Offer every file."""
        return {
            (want.project, want.index): Offer(
                files={file.filename: PageFile(filename=file.filename, url=f"https://files.example/{file.filename}")
                       for file in want.files}
            )
            for want in wants
        }  # fmt: skip


def make(folder: Path, packages: int) -> None:
    """Write a lock whose every third package has a wheel for each platform."""
    tables = []
    for number in range(packages):
        name = f"package-{number}"
        tags = _TAGS if number % 3 == 0 else ["py3-none-any"]
        names = [f"package_{number}-1.0-{tag}.whl" for tag in tags] + [f"package_{number}-1.0.tar.gz"]
        files = "".join(f'    {{file = "{file}", hash = "sha256:{number:064x}"}},\n' for file in names)
        marker = _MARKERS[number % len(_MARKERS)]
        line = f"markers = {marker!r}\n" if marker else ""
        tables.append(
            f'[[package]]\nname = "{name}"\nversion = "1.0"\ndescription = ""\noptional = false\n'
            f'python-versions = ">=3.8"\ngroups = ["main"]\n{line}files = [\n{files}]\n'
        )
    metadata = '[metadata]\nlock-version = "2.1"\npython-versions = ">=3.11"\ncontent-hash = "made-for-a-benchmark"\n'
    (folder / "poetry.lock").write_text("\n".join([*tables, metadata]))
    (folder / "pyproject.toml").write_text('[project]\nname = "benchmark"\nversion = "1"\nrequires-python = ">=3.11"\n')


def main() -> None:
    """Measure and print CPU seconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=int, default=650)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), options.packages)
        start = time.process_time()
        lock = locks.read(Path(name), allow_stale=True)
        read = time.process_time()
        made = environments(lock, [TARGETS[platform] for platform in PLATFORMS], PYTHONS, Baseline())
        planned = plan(select(lock, made, Scope()), Everything(), frozenset(), Silence())
        ours = time.process_time() - start
        print(f"{len(lock.packages)} packages x {len(made)} environments: {len(planned.files)} files chosen")
        print(f"mirror: {ours:.2f} s of CPU ({read - start:.2f} s of it reading the lock)")
        start = time.process_time()
        for environment in made:
            tags = frozenset(environment.tags)
            for package in lock.packages:
                [file for file in package.files if file.filename.endswith(".whl")
                 and not tags.isdisjoint(parse_wheel_filename(file.filename)[3])]  # fmt: skip
                canonicalize_name(package.name)
        peer = time.process_time() - start
        print(f"packaging, file by file, tags only: {peer:.2f} s of CPU; mirror / packaging: {ours / peer:.2f}")


if __name__ == "__main__":
    main()
