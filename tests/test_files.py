"""Files are written whole or not at all, and no byte is hashed twice."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from mirror.errors import MirrorError
from mirror.files import DigestCache, hash_file, place, write, write_if_changed, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- writing ------------------------------------------------------------------------------------


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "c.txt", b"whole")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"whole"
    assert listing(tmp_path / "a" / "b") == ["c.txt"]


def test_what_is_written_can_be_read_by_the_one_who_serves_it(tmp_path: Path) -> None:
    write(tmp_path / "page.html", b"")
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) & 0o444 == 0o444


class Interrupted(BaseException):
    """What a signal handler might raise: no `Exception`."""


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, Interrupted])
@pytest.mark.parametrize("before", [b"old", None], ids=["over-an-old-file", "for-the-first-time"])
def test_a_failure_while_writing_leaves_what_was_there(
    failure: type[BaseException], before: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(failure), writing(path) as stream:
        stream.write(b"half of the new")
        stream.flush()
        raise failure
    assert listing(tmp_path) == (["file"] if before is not None else [])
    if before is not None:
        assert path.read_bytes() == before


def test_nobody_sees_a_half_written_file(tmp_path: Path) -> None:
    path = tmp_path / "file.whl"
    with writing(path) as stream:
        stream.write(b"half")
        stream.flush()
        assert not path.exists()
        # Whatever lies there meanwhile is hidden, and is no artifact.
        assert all(name.startswith(".") and name.endswith(".part") for name in listing(tmp_path))
    assert path.read_bytes() == b"half"


@pytest.fixture
def disk_of_one_mebibyte() -> Iterator[None]:
    """Make the kernel refuse to let any file of this process grow beyond 1 MiB."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("disk_of_one_mebibyte")
def test_a_disk_that_is_full_ends_in_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(MirrorError) as caught:
        write(path, bytes(2 << 20))
    assert str(path) in str(caught.value)
    assert "free some space" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["file"]


@pytest.mark.usefixtures("disk_of_one_mebibyte")
def test_a_copy_that_does_not_fit_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another_file_system(monkeypatch)
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as stream:
        os.truncate(stream.fileno(), 1 << 20)
    target.write_bytes(b"old")
    resource = pytest.importorskip("resource")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with pytest.raises(MirrorError, match="cannot write"):
        place(source, target)
    assert target.read_bytes() == b"old"
    assert listing(tmp_path) == ["source", "target"]


@pytest.mark.parametrize("act", [lambda path: write(path, b""), lambda path: write_if_changed(path, b"")])
def test_a_place_that_cannot_be_written_is_named(act: object, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    assert callable(act)
    with pytest.raises(MirrorError, match="cannot write") as caught:
        act(tmp_path / "file" / "below")
    assert str(tmp_path / "file") in str(caught.value)
    assert caught.value.hint


def test_a_folder_is_not_overwritten_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    with pytest.raises(MirrorError, match="cannot write"):
        write_if_changed(tmp_path / "page", b"text")
    assert listing(tmp_path) == ["page"]


def test_a_name_as_long_as_a_directory_holds(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 251 + ".whl")
    write(path, b"1")
    place(path, tmp_path / "linked" / path.name)
    assert listing(tmp_path / "linked") == [path.name]


def test_a_file_that_holds_the_same_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "page"
    assert write_if_changed(path, b"one")
    before = path.stat()
    assert not write_if_changed(path, b"one")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write_if_changed(path, b"two")
    assert path.read_bytes() == b"two"


# --- placing ------------------------------------------------------------------------------------


def another_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the operating system answer as it does between two file systems."""

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", link)


def test_a_placed_file_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"bytes")
    place(tmp_path / "source", tmp_path / "all" / "target")
    assert (tmp_path / "all" / "target").samefile(tmp_path / "source")


def test_between_file_systems_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    another_file_system(monkeypatch)
    (tmp_path / "source").write_bytes(b"bytes")
    place(tmp_path / "source", tmp_path / "all" / "target")
    assert (tmp_path / "all" / "target").read_bytes() == b"bytes"
    assert not (tmp_path / "all" / "target").samefile(tmp_path / "source")
    assert listing(tmp_path / "all") == ["target"]


@pytest.mark.parametrize("copied", [False, True], ids=["linked", "copied"])
def test_what_was_there_is_replaced(copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if copied:
        another_file_system(monkeypatch)
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"old")
    with (tmp_path / "target").open("rb") as reader:
        place(tmp_path / "source", tmp_path / "target")
        assert reader.read() == b"old"
    assert (tmp_path / "target").read_bytes() == b"new"
    assert listing(tmp_path) == ["source", "target"]


def test_placing_a_file_where_it_is_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"bytes")
    place(tmp_path / "source", tmp_path / "target")
    place(tmp_path / "source", tmp_path / "target")
    assert listing(tmp_path) == ["source", "target"]


def test_a_source_that_is_not_there_is_an_error_and_leaves_the_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    with pytest.raises(MirrorError):
        place(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"old"


# --- digests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_digest_is_that_of_all_bytes(size: int, tmp_path: Path) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "file").write_bytes(data)
    assert hash_file(tmp_path / "file") == sha256(data)
    assert hash_file(tmp_path / "file", "sha512") == hashlib.sha512(data).hexdigest()


def test_what_is_not_there_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        hash_file(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        DigestCache().digest(tmp_path / "file")


def forge(path: Path, data: bytes) -> None:
    """Change the bytes of a file so that nobody notices who only looks at its size and time."""
    before = path.stat()
    assert len(data) == before.st_size
    with path.open("r+b") as stream:
        stream.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_known_is_not_read_again_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    cache = DigestCache()
    assert cache.digest(path) == sha256(b"one")
    forge(path, b"two")
    assert cache.digest(path) == sha256(b"one")
    assert cache.digest(path, rehash=True) == sha256(b"two")
    assert cache.digest(path) == sha256(b"two")


def test_a_hard_link_is_known_without_being_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    cache = DigestCache()
    cache.digest(tmp_path / "file")
    os.link(tmp_path / "file", tmp_path / "link")
    forge(tmp_path / "link", b"two")
    assert cache.digest(tmp_path / "link") == sha256(b"one")


def test_a_renamed_file_is_known(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    cache = DigestCache()
    cache.digest(tmp_path / "file")
    (tmp_path / "file").rename(tmp_path / "moved")
    forge(tmp_path / "moved", b"two")
    assert cache.digest(tmp_path / "moved") == sha256(b"one")


def test_a_digest_that_was_computed_while_writing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    cache = DigestCache()
    cache.record(tmp_path / "file", "told", "sha512")
    assert cache.digest(tmp_path / "file", "sha512") == "told"
    assert cache.digest(tmp_path / "file") == sha256(b"bytes")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.write_bytes(b"other"), id="other-size"),
        pytest.param(lambda path: os.utime(path, ns=(1, 1)), id="other-time"),
        pytest.param(lambda path: write(path, b"new"), id="other-inode"),
    ],
)
def test_a_changed_file_is_read_again(change: object, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    cache = DigestCache()
    cache.digest(path)
    forge(path, b"two")
    assert callable(change)
    change(path)
    assert cache.digest(path) == sha256(path.read_bytes()) != sha256(b"one")


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    """Whenever the change comes, what is told afterwards is true; it comes early, where the bytes were read already."""
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
    os.utime(path, ns=(1, 1))
    cache = DigestCache()
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(cache.digest, path)
        time.sleep(0.01)
        with path.open("r+b") as stream:
            stream.write(b"changed")
        reading.result()
    assert cache.digest(path) == hash_file(path)


def test_it_is_kept_between_runs(tmp_path: Path) -> None:
    path, kept = tmp_path / "file", tmp_path / "state" / "digests.json"
    path.write_bytes(b"one")
    first = DigestCache(kept)
    first.digest(path)
    first.save()
    forge(path, b"two")
    assert DigestCache(kept).digest(path) == sha256(b"one")


def test_nothing_is_written_when_nothing_is_new(tmp_path: Path) -> None:
    path, kept = tmp_path / "file", tmp_path / "digests.json"
    path.write_bytes(b"one")
    DigestCache(kept).save()
    assert not kept.exists()
    first = DigestCache(kept)
    first.digest(path)
    first.save()
    before = kept.stat()
    again = DigestCache(kept)
    again.digest(path)
    again.save()
    assert kept.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[1, 2]", b"null", b"7", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"sha256:1:2:3:4": [{}]}'],
    ids=["empty", "cut", "list", "numbers", "null", "number", "text", "binary", "deep", "odd-values"],
)
def test_a_corrupt_cache_is_a_cold_one(content: bytes, tmp_path: Path) -> None:
    path, kept = tmp_path / "file", tmp_path / "digests.json"
    path.write_bytes(b"one")
    kept.write_bytes(content)
    cache = DigestCache(kept)
    assert cache.digest(path) == sha256(b"one")
    cache.save()
    assert sha256(b"one") in json.loads(kept.read_bytes()).values()


def test_several_threads_use_one_cache(tmp_path: Path) -> None:
    paths = [tmp_path / f"file-{number}" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 1000)
    kept = tmp_path / "digests.json"
    cache = DigestCache(kept)

    def use(path: Path) -> str:
        found = cache.digest(path)
        cache.save()
        return found

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(use, paths * 3))
    assert found == [sha256(path.read_bytes()) for path in paths] * 3
    cache.save()
    assert set(json.loads(kept.read_bytes()).values()) == set(found)
    assert listing(tmp_path) == sorted([*(path.name for path in paths), "digests.json"])
