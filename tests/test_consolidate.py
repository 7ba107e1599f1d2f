"""Consolidate: one folder of proven files, their metadata beside them, and a manifest that says only what is there."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from packaging.utils import canonicalize_name

from mirror import filenames
from mirror.errors import MirrorError
from mirror.files import DigestCache
from mirror.model import (
    About,
    Digest,
    Level,
    Manifest,
    Origin,
    Plan,
    PlannedFile,
    ProjectStatus,
    TargetCoverage,
)
from mirror.phases.consolidate import Consolidation
from mirror.phases.consolidate import consolidate as run
from mirror.pool import Pool
from mirror.progress import Silence

from .wheels import digest_of, make_sdist, make_wheel, metadata

if TYPE_CHECKING:
    from pathlib import Path


def planned(path: Path, **facts: str | None) -> PlannedFile:
    """Plan a file that was downloaded to its home; `facts` is what upstream said of it."""
    parsed = filenames.parse(path.name)
    file = PlannedFile(
        filename=path.name,
        project=parsed.name,
        version=str(parsed.version),
        digest=digest_of(path),
        home=path.parent.name,
        python="3.11",
        url=f"https://files.example/{path.name}",
    )
    return replace(file, **facts)  # type: ignore[arg-type]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path / "packages", DigestCache(tmp_path / "digests.json"))


def again(pool: Pool) -> Pool:
    """Open the same pool as the next run does."""
    return Pool(pool.root, DigestCache(pool.root.parent / "digests.json"))


def consolidate(pool: Pool, *files: PlannedFile, known: Manifest | None = None, rehash: bool = False) -> Consolidation:
    plan = Plan(files=tuple(sorted(files, key=lambda file: file.filename)))
    return run(plan, pool, Silence(), known=known, rehash=rehash)


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything in a folder: inode, modification time and bytes by name."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())
    }


# --- the folder and the manifest ----------------------------------------------------------------


def test_every_planned_file_is_linked_and_listed(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "linux-x86_64", "foo", "1.0", "cp311-cp311-linux_x86_64", requires_python=">=3.11")
    sdist = make_sdist(pool.root / "noarch", "bar", "2.0", requires_python=">=3.8")
    done = consolidate(pool, planned(wheel, upload_time="2024-01-02T03:04:05Z", yanked=""), planned(sdist))
    assert (pool.consolidated / wheel.name).samefile(wheel)
    assert (pool.consolidated / sdist.name).samefile(sdist)
    bar, foo = done.manifest.artifacts
    assert (foo.filename, foo.project, foo.version) == (wheel.name, "foo", "1.0")
    assert (foo.sha256, foo.size) == (hashlib.sha256(wheel.read_bytes()).hexdigest(), wheel.stat().st_size)
    assert (foo.requires_python, foo.upload_time, foo.yanked) == (">=3.11", "2024-01-02T03:04:05Z", "")
    assert (bar.filename, bar.requires_python, bar.yanked) == (sdist.name, ">=3.8", None)
    assert done.absent == ()
    assert done.notices == ()


def test_what_the_plan_says_of_locks_and_statuses_is_passed_on(pool: Pool) -> None:
    statuses = ((canonicalize_name("foo"), ProjectStatus(status="archived")),)
    done = run(Plan(statuses=statuses, locks=("sha256:1", "sha256:2")), pool, Silence())
    assert done.manifest == Manifest(statuses=statuses, locks=("sha256:1", "sha256:2"))


def test_metadata_lies_beside_a_wheel_byte_for_byte(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0", requires=["bar>=2"])
    (artifact,) = consolidate(pool, planned(wheel)).manifest.artifacts
    with zipfile.ZipFile(wheel) as archive:
        inside = archive.read("foo-1.0.dist-info/METADATA")
    assert (pool.consolidated / f"{wheel.name}.metadata").read_bytes() == inside
    assert artifact.metadata_sha256 == hashlib.sha256(inside).hexdigest()
    assert artifact.metadata_size == len(inside)


def test_an_sdist_has_no_sidecar(pool: Pool) -> None:
    """H13: metadata must not be "modified when processed", and building an sdist may."""
    sdist = make_sdist(pool.root / "noarch", "foo", "1.0")
    (artifact,) = consolidate(pool, planned(sdist)).manifest.artifacts
    assert (artifact.metadata_sha256, artifact.metadata_size) == ("", 0)
    assert [path.name for path in pool.consolidated.iterdir()] == [sdist.name]


def test_a_file_that_is_locked_by_another_digest_is_listed_by_its_sha256(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    file = replace(planned(wheel), digest=digest_of(wheel, "sha512"))
    (artifact,) = consolidate(pool, file).manifest.artifacts
    assert artifact.sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_what_is_not_there_is_absent(pool: Pool, tmp_path: Path) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    missing = planned(make_wheel(tmp_path / "elsewhere", "bar", "1.0"))
    done = consolidate(pool, planned(wheel), missing)
    assert [artifact.filename for artifact in done.manifest.artifacts] == [wheel.name]
    assert done.absent == (missing,)
    assert not (pool.consolidated / missing.filename).exists()


def test_a_file_with_the_wrong_bytes_is_absent(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    file = replace(planned(wheel), digest=Digest("sha256", "0" * 64))
    done = consolidate(pool, file)
    assert done.manifest.artifacts == ()
    assert done.absent == (file,)
    assert not (pool.consolidated / wheel.name).exists()
    assert wheel.exists()


def test_the_right_one_of_two_files_with_one_name_is_linked(pool: Pool) -> None:
    make_wheel(pool.root / "linux-x86_64", "foo", "1.0", files={"wrong.py": b""})
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    consolidate(pool, planned(wheel))
    assert (pool.consolidated / wheel.name).samefile(wheel)


# --- what projects say of themselves, and what is covered ---------------------------------------

SAYS = ("Summary: It demonstrates", "License: MIT", "Project-URL: Source, https://foo.example")
SAID = {"summary": "It demonstrates", "license": "MIT", "links": (("Source", "https://foo.example"),)}


@pytest.mark.parametrize("make", [make_wheel, make_sdist])
def test_a_project_is_described_by_its_newest_release(make: object, pool: Pool) -> None:
    assert callable(make)
    old = make_wheel(pool.root / "noarch", "foo", "1.9", headers=["Summary: of old"])
    new = make(pool.root / "noarch", "foo", "1.10", headers=SAYS)
    done = consolidate(pool, planned(old), planned(new))
    assert done.manifest.about == (("foo", About(filename=new.name, **SAID)),)  # type: ignore[arg-type]


def test_a_wheel_speaks_before_an_sdist_of_the_same_release(pool: Pool) -> None:
    sdist = make_sdist(pool.root / "noarch", "foo", "1.0", headers=["Summary: sdist"])
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0", headers=["Summary: wheel"])
    ((_, about),) = consolidate(pool, planned(sdist), planned(wheel)).manifest.about
    assert (about.filename, about.summary) == (wheel.name, "wheel")


def test_a_manifest_of_before_is_completed(pool: Pool) -> None:
    """What an earlier version of mirror left says nothing of projects; nothing is downloaded or unpacked for it."""
    file = planned(make_wheel(pool.root / "noarch", "foo", "1.0", headers=SAYS))
    first = consolidate(pool, file)
    forge(pool.root / "noarch" / file.filename)
    assert consolidate(again(pool), file, known=replace(first.manifest, about=())) == first


def test_what_a_project_said_is_read_again_only_when_told_or_when_another_file_speaks(pool: Pool) -> None:
    file = planned(make_wheel(pool.root / "noarch", "foo", "1.0", headers=SAYS))
    first = consolidate(pool, file).manifest
    kept = replace(first, about=((canonicalize_name("foo"), About(filename=file.filename, summary="kept")),))
    assert consolidate(again(pool), file, known=kept).manifest == kept
    assert consolidate(again(pool), file, known=kept, rehash=True).manifest == first
    newer = planned(make_wheel(pool.root / "noarch", "foo", "2.0", headers=["Summary: newer"]))
    ((_, about),) = consolidate(again(pool), file, newer, known=kept).manifest.about
    assert about == About(filename=newer.filename, summary="newer")


@pytest.mark.parametrize("name", ["foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz"])
def test_a_project_that_cannot_be_read_says_nothing_and_is_no_second_warning(name: str, pool: Pool) -> None:
    path = pool.root / "noarch" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK but not really")
    done = consolidate(pool, planned(path))
    assert done.manifest.about == (("foo", About(filename=name)),)
    assert len(done.notices) == 1


def test_what_is_absent_is_not_covered(pool: Pool) -> None:
    here = replace(
        planned(make_wheel(pool.root / "noarch", "foo", "1.0")), cells=(("linux-x86_64", 2), ("macos-arm64", 1))
    )
    gone = replace(here, filename="bar-1.0-py3-none-any.whl", cells=(("linux-x86_64", 3),))
    source = replace(here, filename="baz-1.0.tar.gz", cells=(("macos-arm64", 1),))
    coverage = (
        TargetCoverage(target="linux-x86_64", pythons=("3.11",), wanted=6, wheels=5, direct=1),
        TargetCoverage(target="macos-arm64", pythons=("3.11",), wanted=2, wheels=1, sdists=1),
    )
    origins = (Origin(digest="sha256:1", file="poetry.lock", project="demo", packages=3),)
    done = run(Plan(files=(gone, source, here), coverage=coverage, origins=origins), pool, Silence())
    assert done.manifest.origins == origins
    linux, macos = done.manifest.coverage
    assert (linux.wheels, linux.sdists, linux.missing, linux.direct) == (2, 0, 3, 1)
    assert (macos.wheels, macos.sdists, macos.missing, macos.direct) == (1, 0, 1, 0)


# --- metadata that cannot be read ---------------------------------------------------------------


def not_a_zip(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "foo-1.0-py3-none-any.whl").write_bytes(b"PK but not really")
    return folder / "foo-1.0-py3-none-any.whl"


def without_metadata(folder: Path) -> Path:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "foo-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("foo.py", "")
    return folder / "foo-1.0-py3-none-any.whl"


def with_bytes_behind(folder: Path) -> Path:
    wheel = make_wheel(folder, "foo", "1.0")
    wheel.write_bytes(wheel.read_bytes() + b"more")
    return wheel


def of_another_project(folder: Path) -> Path:
    return make_wheel(folder, "bar", "1.0").rename(folder / "foo-1.0-py3-none-any.whl")


def broken_sdist(folder: Path) -> Path:
    sdist = make_sdist(folder, "foo", "1.0")
    sdist.write_bytes(sdist.read_bytes()[:-20])
    return sdist


@pytest.mark.parametrize("make", [not_a_zip, without_metadata, with_bytes_behind, of_another_project, broken_sdist])
def test_a_file_whose_metadata_cannot_be_read_is_listed_without_and_with_a_warning(make: object, pool: Pool) -> None:
    assert callable(make)
    path = make(pool.root / "noarch")
    done = consolidate(pool, planned(path, requires_python=">=3.7"))
    (artifact,) = done.manifest.artifacts
    assert (artifact.filename, artifact.metadata_sha256, artifact.metadata_size) == (path.name, "", 0)
    assert artifact.requires_python == ">=3.7"
    assert [item.name for item in pool.consolidated.iterdir()] == [path.name]
    (notice,) = done.notices
    assert (notice.level, notice.code, notice.package) == (Level.WARNING, "metadata", "foo")
    assert path.name in notice.message


def test_one_bad_archive_does_not_stop_the_others(pool: Pool) -> None:
    bad = not_a_zip(pool.root / "noarch")
    good = make_wheel(pool.root / "noarch", "good", "1.0")
    done = consolidate(pool, planned(bad), planned(good))
    assert [bool(artifact.metadata_sha256) for artifact in done.manifest.artifacts] == [False, True]


def test_a_wheel_that_could_not_be_read_is_warned_of_in_every_run(pool: Pool) -> None:
    bad = planned(not_a_zip(pool.root / "noarch"))
    first = consolidate(pool, bad)
    second = consolidate(again(pool), bad, known=first.manifest)
    assert second == first


# --- requires-python ----------------------------------------------------------------------------


def test_requires_python_is_what_the_metadata_says_not_what_the_page_says(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0", requires_python=">=3.9")
    bare = make_wheel(pool.root / "noarch", "bar", "1.0")
    done = consolidate(pool, planned(wheel, requires_python=">=2"), planned(bare, requires_python=">=2"))
    assert {artifact.project: artifact.requires_python for artifact in done.manifest.artifacts} == {
        "foo": ">=3.9",
        "bar": "",
    }


@pytest.mark.parametrize("value", [">=3.6.*garbage", "3.7", "python 3"])
def test_an_invalid_requires_python_is_dropped(value: str, pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0", requires_python=value)
    bad = not_a_zip(pool.root / "linux-x86_64").rename(pool.root / "linux-x86_64" / "bad-1.0-py3-none-any.whl")
    done = consolidate(pool, planned(wheel), planned(bad, requires_python=value))
    assert [artifact.requires_python for artifact in done.manifest.artifacts] == ["", ""]


# --- the second run -----------------------------------------------------------------------------


def test_a_second_run_writes_nothing_and_says_the_same(pool: Pool) -> None:
    files = [
        planned(make_wheel(pool.root / "noarch", "foo", "1.0", requires_python=">=3.8")),
        planned(make_sdist(pool.root / "noarch", "bar", "1.0", requires_python=">=3.9")),
    ]
    first = consolidate(pool, *files)
    before = snapshot(pool.consolidated)
    digests = (pool.root.parent / "digests.json").stat()
    second = consolidate(again(pool), *files, known=first.manifest)
    assert second == first
    assert snapshot(pool.consolidated) == before
    assert (pool.root.parent / "digests.json").stat() == digests


def test_a_run_without_the_last_manifest_says_the_same(pool: Pool) -> None:
    file = planned(make_wheel(pool.root / "noarch", "foo", "1.0", requires_python=">=3.8"))
    first = consolidate(pool, file)
    before = snapshot(pool.consolidated)
    assert consolidate(again(pool), file) == first
    assert snapshot(pool.consolidated) == before


@pytest.mark.parametrize("make", [make_wheel, make_sdist])
def test_an_archive_is_opened_once(make: object, pool: Pool) -> None:
    """What is not opened cannot be found broken: the bytes are exchanged behind the digest cache's back."""
    assert callable(make)
    path = make(pool.root / "noarch", "foo", "1.0", requires_python=">=3.8")
    file = planned(path)
    first = consolidate(pool, file)
    forge(path)
    assert consolidate(again(pool), file, known=first.manifest) == first


def forge(path: Path) -> None:
    """Spoil a file so that neither its size nor its time tells."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"spoiled")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_rehash_reads_every_byte_again(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    file = planned(wheel)
    first = consolidate(pool, file)
    forge(wheel)
    second = consolidate(again(pool), file, known=first.manifest, rehash=True)
    assert second.manifest.artifacts == ()
    assert second.absent == (file,)
    assert list(pool.consolidated.iterdir()) == []


@pytest.mark.parametrize("rehash", [False, True])
def test_a_spoiled_sidecar_is_made_anew(rehash: bool, pool: Pool) -> None:
    file = planned(make_wheel(pool.root / "noarch", "foo", "1.0"))
    first = consolidate(pool, file)
    sidecar = pool.consolidated / f"{file.filename}.metadata"
    whole = sidecar.read_bytes()
    if rehash:
        forge(sidecar)
    else:
        sidecar.write_bytes(b"X" * len(whole))
    assert consolidate(again(pool), file, known=first.manifest, rehash=rehash) == first
    assert sidecar.read_bytes() == whole


def test_a_lost_link_and_a_lost_sidecar_are_made_anew(pool: Pool) -> None:
    file = planned(make_wheel(pool.root / "noarch", "foo", "1.0"))
    first = consolidate(pool, file)
    for path in list(pool.consolidated.iterdir()):
        path.unlink()
    assert consolidate(again(pool), file, known=first.manifest) == first
    assert sorted(path.name for path in pool.consolidated.iterdir()) == [file.filename, f"{file.filename}.metadata"]


def test_what_the_manifest_no_longer_lists_is_removed_and_stays_in_the_pool(pool: Pool) -> None:
    old = make_wheel(pool.root / "noarch", "foo", "1.0")
    new = make_wheel(pool.root / "noarch", "foo", "2.0")
    consolidate(pool, planned(old), planned(new))
    (pool.consolidated / ".foo-2.0.whl.1.part").write_bytes(b"left by a run that was killed")
    (pool.consolidated / "gone.whl").symlink_to("nowhere")
    consolidate(again(pool), planned(new))
    assert sorted(path.name for path in pool.consolidated.iterdir()) == [new.name, f"{new.name}.metadata"]
    assert old.exists()


def test_a_link_to_other_bytes_is_replaced(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    make_wheel(pool.consolidated, "foo", "1.0", files={"stale.py": b""})
    consolidate(pool, planned(wheel))
    assert (pool.consolidated / wheel.name).samefile(wheel)


def test_where_files_cannot_be_linked_they_are_copied_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", link)
    file = planned(make_wheel(pool.root / "noarch", "foo", "1.0"))
    first = consolidate(pool, file)
    before = snapshot(pool.consolidated)
    second = again(pool)
    assert consolidate(second, file, known=first.manifest) == first
    assert snapshot(pool.consolidated) == before
    forge(pool.consolidated / file.filename)
    assert consolidate(second, file, known=first.manifest, rehash=True) == first
    assert (pool.consolidated / file.filename).read_bytes() == before[file.filename][2]


# --- when upstream was not asked ----------------------------------------------------------------


def test_what_upstream_said_last_stands_while_it_cannot_be_asked(pool: Pool) -> None:
    bad = not_a_zip(pool.root / "noarch")
    wheel = make_wheel(pool.root / "noarch", "good", "1.0")
    facts = {"upload_time": "2024-01-02T03:04:05Z", "yanked": "broken", "requires_python": ">=3.7"}
    silent = {"url": ""}
    first = consolidate(pool, planned(bad, **facts), planned(wheel, **facts))
    second = consolidate(again(pool), planned(bad, **silent), planned(wheel, **silent), known=first.manifest)
    assert second.manifest == first.manifest


def test_what_is_no_time_does_not_stand(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    first = consolidate(pool, planned(wheel, upload_time="2024-02-30T25:61:61Z"))
    second = consolidate(again(pool), planned(wheel, url=""), known=first.manifest)
    assert [artifact.upload_time for artifact in second.manifest.artifacts] == [""]


def test_what_upstream_says_now_counts(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    first = consolidate(pool, planned(wheel, yanked="broken", upload_time="2024-01-02T03:04:05Z"))
    second = consolidate(again(pool), planned(wheel, yanked=None), known=first.manifest)
    assert [(artifact.yanked, artifact.upload_time) for artifact in second.manifest.artifacts] == [(None, "")]


def test_what_was_said_of_other_bytes_does_not_stand(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    first = consolidate(pool, planned(wheel, yanked="broken"))
    wheel.unlink()
    other = make_wheel(pool.root / "noarch", "foo", "1.0", requires_python=">=3.12")
    second = consolidate(again(pool), planned(other, url=""), known=first.manifest)
    (artifact,) = second.manifest.artifacts
    assert (artifact.yanked, artifact.requires_python) == (None, ">=3.12")
    sidecar = pool.consolidated / f"{other.name}.metadata"
    assert sidecar.read_bytes() == metadata("foo", "1.0", requires_python=">=3.12")
    assert artifact.metadata_sha256 == hashlib.sha256(sidecar.read_bytes()).hexdigest()


# --- a disk that refuses ------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_an_error(pool: Pool) -> None:
    wheel = make_wheel(pool.root / "noarch", "foo", "1.0")
    pool.consolidated.write_bytes(b"in the way")
    with pytest.raises(MirrorError) as caught:
        consolidate(pool, planned(wheel))
    assert str(pool.consolidated) in str(caught.value)
    assert caught.value.hint
