"""The pool: artifacts are found by name, proven by digest, and never taken on trust."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from mirror.errors import IntegrityError, MirrorError
from mirror.files import DigestCache
from mirror.model import Digest, PlannedFile
from mirror.pool import Pool

from .wheels import digest_of, make_sdist, make_wheel


def planned(filename: str, digest: Digest, home: str = "noarch") -> PlannedFile:
    return PlannedFile(
        filename=filename, project=canonicalize_name("foo"), version="1.0", digest=digest, home=home, python="3.11"
    )


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "packages", DigestCache())


def test_a_pool_that_does_not_exist_holds_nothing(pool: Pool) -> None:
    assert pool.names() == frozenset()
    assert pool.find("foo-1.0-py3-none-any.whl", Digest("sha256", "0" * 64)) is None
    assert not pool.root.exists()


def test_it_finds_artifacts_of_every_home(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "linux-x86_64", "foo", "1.0", "cp311-cp311-linux_x86_64")
    sdist = make_sdist(pool.root / "noarch", "foo", "1.0")
    assert pool.names() == {wheel.name, sdist.name}
    assert pool.find(wheel.name, digest_of(wheel)) == wheel
    assert pool.find(sdist.name, digest_of(sdist)) == sdist


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_any_strong_digest_proves_a_file(algorithm: str, pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    assert pool.find(wheel.name, digest_of(wheel, algorithm)) == wheel


def test_the_name_alone_proves_nothing(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    assert pool.find(wheel.name, Digest("sha256", "0" * 64)) is None
    assert wheel.exists()


def test_of_two_files_with_one_name_the_right_one_is_found(pool: Pool) -> None:
    wrong = make_wheel(pool.root / "linux-x86_64", "foo", "1.0", files={"foo.py": b"wrong"})
    right = make_wheel(pool.root / "windows-amd64", "foo", "1.0", files={"foo.py": b"right"})
    assert pool.find(right.name, digest_of(right)) == right
    assert pool.find(right.name, digest_of(wrong)) == wrong


@pytest.mark.parametrize(
    "name",
    [".foo-1.0.tar.gz.x.part", ".hidden-1.0-py3-none-any.whl", "foo-1.0-py3-none-any.whl.metadata", "notes.txt"],
)
def test_what_is_no_artifact_is_not_seen(name: str, pool: Pool) -> None:
    (pool.root / "noarch").mkdir(parents=True)
    (pool.root / "noarch" / name).write_bytes(b"")
    (pool.root / "stray-1.0.tar.gz").write_bytes(b"")
    assert pool.names() == frozenset()


def test_consolidated_links_do_not_count_as_downloads(pool: Pool) -> None:
    make_wheel(pool.consolidated, "foo", "1.0")
    assert pool.consolidated.parent == pool.root
    assert pool.names() == frozenset()


def test_a_folder_named_like_a_wheel_is_no_wheel(pool: Pool) -> None:
    (pool.root / "noarch" / "foo-1.0-py3-none-any.whl").mkdir(parents=True)
    assert pool.find("foo-1.0-py3-none-any.whl", Digest("sha256", "0" * 64)) is None


def test_a_file_that_vanished_is_not_found(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    digest = digest_of(wheel)
    assert pool.find(wheel.name, digest) == wheel
    wheel.unlink()
    assert pool.find(wheel.name, digest) is None


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens and cannot be read")
def test_a_file_that_cannot_be_read_is_an_error_not_an_absence(pool: Pool) -> None:
    (pool.root / "noarch").mkdir(parents=True)
    (pool.root / "noarch" / "foo-1.0.tar.gz").symlink_to("/proc/self/mem")
    with pytest.raises(MirrorError, match="cannot read") as caught:
        pool.find("foo-1.0.tar.gz", Digest("sha256", "0" * 64))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.hint


def test_rehash_notices_bytes_that_changed_behind_our_back(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    digest, before = digest_of(wheel), wheel.stat()
    assert pool.find(wheel.name, digest) == wheel
    with wheel.open("r+b") as stream:
        stream.write(b"KP")
    os.utime(wheel, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert pool.find(wheel.name, digest) == wheel
    assert pool.find(wheel.name, digest, rehash=True) is None


def test_a_file_is_admitted_to_its_home(pool: Pool, tmp_path: Path) -> None:
    staged = make_wheel(tmp_path / "staging", "foo", "1.0", "cp311-cp311-win_amd64")
    staged.chmod(0o600)
    digest = digest_of(staged)
    home = pool.admit(staged, planned(staged.name, digest, "windows-amd64"))
    assert home == pool.root / "windows-amd64" / staged.name
    assert not staged.exists()
    assert home.stat().st_mode & 0o777 == 0o644
    assert pool.names() == {staged.name}
    assert pool.find(staged.name, digest) == home


def test_a_file_keeps_the_name_that_the_plan_gives_it(pool: Pool, tmp_path: Path) -> None:
    staged = make_wheel(tmp_path / "staging", "foo", "1.0").rename(tmp_path / "staging" / "download.part")
    home = pool.admit(staged, planned("foo-1.0-py3-none-any.whl", digest_of(staged)))
    assert home.name == "foo-1.0-py3-none-any.whl"


def test_other_bytes_are_not_admitted(pool: Pool, tmp_path: Path) -> None:
    held = make_wheel(pool.root / "noarch", "foo", "1.0")
    digest = digest_of(held)
    staged = make_wheel(tmp_path / "staging", "foo", "1.0", files={"evil.py": b""})
    with pytest.raises(IntegrityError) as caught:
        pool.admit(staged, planned(staged.name, digest))
    assert caught.value.exit_code == 5
    assert staged.name in str(caught.value)
    assert str(digest) in str(caught.value)
    assert hashlib.sha256(staged.read_bytes()).hexdigest() in str(caught.value)
    assert caught.value.hint
    assert pool.find(staged.name, digest) == held


def test_a_file_is_admitted_over_one_with_the_wrong_bytes(pool: Pool, tmp_path: Path) -> None:
    make_wheel(pool.root / "noarch", "foo", "1.0", files={"broken.py": b""})
    staged = make_wheel(tmp_path / "staging", "foo", "1.0")
    digest = digest_of(staged)
    assert pool.find(staged.name, digest) is None
    home = pool.admit(staged, planned(staged.name, digest))
    assert pool.find(staged.name, digest) == home


def test_admitting_does_not_read_what_was_hashed_while_it_was_downloaded(tmp_path: Path) -> None:
    digests = DigestCache()
    pool = Pool(tmp_path / "packages", digests)
    staged = make_wheel(tmp_path / "staging", "foo", "1.0")
    told = Digest("sha256", "a" * 64)
    digests.record(staged, told.hex)
    pool.admit(staged, planned(staged.name, told))
    assert pool.find(staged.name, told) is not None


def test_a_home_that_cannot_be_made_is_an_error_and_keeps_the_download(pool: Pool, tmp_path: Path) -> None:
    pool.root.mkdir()
    (pool.root / "noarch").write_bytes(b"in the way")
    staged = make_wheel(tmp_path / "staging", "foo", "1.0")
    with pytest.raises(MirrorError, match="cannot move") as caught:
        pool.admit(staged, planned(staged.name, digest_of(staged)))
    assert staged.name in str(caught.value)
    assert caught.value.hint
    assert staged.exists()
