"""The index phase on a real disk: only what changed is written, only what is ours is removed, kill it anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.errors import MirrorError
from mirror.model import Manifest
from mirror.phases.index import index
from mirror.progress import Silence
from mirror.simple.site import pages
from tests.oddities import FULL, artifact, manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mirror.progress import Task


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def stamps(directory: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(directory).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in directory.rglob("*")
    }


def test_the_pages_of_the_manifest_and_nothing_else(tmp_path: Path) -> None:
    result = index(FULL, tmp_path / "index", Silence())
    assert tree(tmp_path / "index") == dict(pages(FULL))
    assert result.written == tuple(sorted(dict(pages(FULL))))
    assert result.removed == result.unchanged == ()


def test_f5_a_second_run_touches_nothing(tmp_path: Path) -> None:
    first = index(FULL, tmp_path, Silence())
    before = stamps(tmp_path)
    second = index(FULL, tmp_path, Silence())
    assert second.unchanged == first.written
    assert second.written == second.removed == ()
    assert stamps(tmp_path) == before


def test_only_changed_pages_are_rewritten(tmp_path: Path) -> None:
    index(FULL, tmp_path, Silence())
    before = stamps(tmp_path)
    yanked = replace(
        FULL,
        artifacts=tuple(replace(held, yanked="broken") if held.project == "old" else held for held in FULL.artifacts),
    )
    result = index(yanked, tmp_path, Silence())
    assert result.written == ("index.html", "projects/old.html", "simple/old/index.html", "simple/old/index.v1_json")
    changed = {key for key, stamp in stamps(tmp_path).items() if stamp != before[key]}
    assert changed - {".", "projects", "simple/old"} == set(result.written)
    assert tree(tmp_path) == dict(pages(yanked))


def test_a_page_of_the_same_length_is_rewritten_too(tmp_path: Path) -> None:
    index(FULL, tmp_path, Silence())
    page = tmp_path / "simple/old/index.html"
    page.write_bytes(page.read_bytes().replace(b"old", b"odd"))
    assert index(FULL, tmp_path, Silence()).written == ("simple/old/index.html",)
    assert tree(tmp_path) == dict(pages(FULL))


def test_pages_of_vanished_projects_are_removed_with_their_folder(tmp_path: Path) -> None:
    index(FULL, tmp_path, Silence())
    fewer = replace(FULL, artifacts=tuple(held for held in FULL.artifacts if held.project != "old"))
    result = index(fewer, tmp_path, Silence())
    assert result.removed == ("projects/old.html", "simple/old/index.html", "simple/old/index.v1_json")
    assert result.written == ("index.html", "simple/index.html", "simple/index.v1_json")
    assert tree(tmp_path) == dict(pages(fewer))
    assert not (tmp_path / "simple/old").exists()


def test_a_strangers_files_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "index.html").write_text("not ours")
    root = tmp_path / "index"
    index(manifest(artifact("old-1.0.tar.gz"), artifact("gone-1.0.tar.gz")), root, Silence())
    strangers = {
        "notes.txt": b"x",
        ".hidden.part": b"x",
        "projects/notes.txt": b"x",
        "projects/Not_Normalized.html": b"x",
        "projects/old/index.html": b"x",
        "simple/robots.txt": b"x",
        "simple/gone/notes.txt": b"x",
        "simple/gone/.index.html.x.y.part": b"x",
        "simple/Not_Normalized/index.html": b"x",
        "simple/gone/sub/index.html": b"x",
        "packages/old-1.0.tar.gz": b"x",
        "other/index.html": b"x",
    }
    for key, data in strangers.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    (root / "projects/linked.html").symlink_to(outside / "index.html")
    (root / "simple/linked").symlink_to(outside)
    (root / "simple/gone/index.htm").symlink_to(outside / "index.html")
    kept = manifest(artifact("old-1.0.tar.gz"))
    result = index(kept, root, Silence())
    assert result.removed == ("projects/gone.html", "simple/gone/index.html", "simple/gone/index.v1_json")
    assert {key: data for key, data in tree(root).items() if key in strangers} == strangers
    assert (root / "simple/linked").is_symlink()
    assert (root / "projects/linked.html").is_symlink()
    assert (outside / "index.html").read_text() == "not ours"


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    index(FULL, tmp_path, Silence())
    parts = ("simple/.index.v1_json.x9.part", "simple/old/.index.html.k.part", "projects/.old.html.k_0.part")
    for key in (".index.html.abc_1.part", *parts):
        (tmp_path / key).write_bytes(b"half")
    result = index(FULL, tmp_path, Silence())
    assert result.removed == result.written == ()
    assert tree(tmp_path) == dict(pages(FULL))


def test_dry_run_tells_and_does_nothing(tmp_path: Path) -> None:
    index(FULL, tmp_path, Silence())
    before = stamps(tmp_path)
    other = manifest(artifact("old-1.0-py3-none-any.whl"), artifact("new-1.0.tar.gz"))
    told = index(other, tmp_path, Silence(), dry_run=True)
    assert stamps(tmp_path) == before
    assert index(other, tmp_path, Silence()) == told
    assert "simple/new/index.html" in told.written
    assert "simple/demo/index.html" in told.removed
    assert index(FULL, tmp_path / "nowhere", Silence(), dry_run=True).removed == ()
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("key", ["simple", "simple/demo", "index.html", "simple/demo/index.html"])
def test_something_in_the_way_is_named(tmp_path: Path, key: str) -> None:
    blocked = tmp_path / key
    blocked.parent.mkdir(parents=True, exist_ok=True)
    if key.endswith(".html"):
        blocked.mkdir()
    else:
        blocked.write_text("a file")
    with pytest.raises(MirrorError, match=str(tmp_path)) as caught:
        index(FULL, tmp_path, Silence())
    assert caught.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX file size limits")
def test_a_full_disk_leaves_whole_pages_only_and_the_next_run_ends_the_same(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel refuse what is larger, as a full disk does, in the middle of a page."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from mirror.errors import MirrorError\n"
        "from mirror.phases.index import index\n"
        "from mirror.progress import Silence\n"
        "from tests.oddities import FULL\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "try:\n"
        "    index(FULL, Path(sys.argv[1]), Silence())\n"
        "except MirrorError as error:\n"
        "    sys.exit(0 if error.hint and 'cannot write' in str(error) else 1)\n"
        "sys.exit(2)\n"
    )
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=environment, check=False, timeout=60)
    assert done.returncode == 0
    whole = dict(pages(FULL))
    assert all(whole[key] == data for key, data in tree(tmp_path).items())
    index(FULL, tmp_path, Silence())
    assert tree(tmp_path) == whole


class _Stop(Exception):
    pass


class _StopAfter(Silence):
    """Somebody who loses patience after a number of pages."""

    def __init__(self, pages: int) -> None:
        self._left = pages

    @contextmanager
    def task(self, title: str, *, items: int | None = None, size: int | None = None, unit: str = "") -> Iterator[Task]:
        yield self

    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:
        self._left -= items
        if self._left < 0:
            raise _Stop

    def expect(self, items: int | None = None, size: int | None = None) -> None: ...


@pytest.mark.parametrize("after", range(0, 12, 3))
def test_f4_a_run_that_stops_anywhere_is_finished_by_the_next(tmp_path: Path, after: int) -> None:
    index(manifest(artifact("gone-1.0.tar.gz")), tmp_path, Silence())
    with pytest.raises(_Stop):
        index(FULL, tmp_path, _StopAfter(after))
    # Project pages are written before the list that leads to them.
    assert b"demo" not in (tmp_path / "simple/index.html").read_bytes()
    index(FULL, tmp_path, Silence())
    assert tree(tmp_path) == dict(pages(FULL))


class _Counting(Silence):
    """Somebody who counts."""

    def __init__(self) -> None:
        self.expected: int | None = None
        self.done = 0
        self.said = ""

    @contextmanager
    def task(self, title: str, *, items: int | None = None, size: int | None = None, unit: str = "") -> Iterator[Task]:
        self.expected = items
        yield self

    def advance(self, items: int = 0, size: int = 0, what: str = "") -> None:
        self.done += items

    def expect(self, items: int | None = None, size: int | None = None) -> None: ...

    def say(self, text: str) -> None:
        self.said = text


@pytest.mark.parametrize("held", [FULL, Manifest()], ids=["full", "empty"])
def test_progress_counts_every_page(tmp_path: Path, held: Manifest) -> None:
    progress = _Counting()
    index(held, tmp_path, progress)
    assert progress.done == progress.expected == len(dict(pages(held)))
    assert f"{progress.done} pages written" in progress.said
