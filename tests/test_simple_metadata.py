"""Core metadata out of real wheels and sdists, and out of archives made to mislead (standards section 5.4)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from typing import TYPE_CHECKING

import pytest

from mirror.errors import MirrorError
from mirror.simple import metadata as module
from mirror.simple.metadata import InvalidMetadata, read_metadata, read_sdist_metadata, requires_python
from tests.wheels import make_sdist, make_wheel, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WHEEL = "demo-1.0-py3-none-any.whl"
METADATA = "demo-1.0.dist-info/METADATA"
TEXT = metadata("demo", "1.0")


def make_zip(path: Path, members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = compression
            if name in archive.NameToInfo:
                with pytest.warns(UserWarning, match="Duplicate name"):
                    archive.writestr(entry, data)
            else:
                archive.writestr(entry, data)
    return path


class TestWheels:
    def test_h12_the_bytes_are_those_in_the_wheel(self, tmp_path: Path) -> None:
        path = make_wheel(tmp_path, "My.Demo", "1.0", requires_python=">=3.8", requires=["other>=1"])
        assert read_metadata(path) == metadata("My.Demo", "1.0", requires_python=">=3.8", requires=["other>=1"])

    def test_bytes_are_not_interpreted(self, tmp_path: Path) -> None:
        text = TEXT + b"\r\n\xff\x00\r\n"
        assert read_metadata(make_zip(tmp_path / WHEEL, [(METADATA, text)], zipfile.ZIP_DEFLATED)) == text

    @pytest.mark.parametrize(
        ("filename", "directory"),
        [
            ("my_demo-1.0-py3-none-any.whl", "My.Demo-1.0"),
            ("my_demo-1.0-py3-none-any.whl", "my-demo-1.0.0"),
            ("demo-1.0+cpu-py3-none-any.whl", "demo-1.0+cpu"),
            ("demo-1.0.post1-py3-none-any.whl", "demo-1.0_1"),
            ("demo-1.0-7-py3-none-any.whl", "demo-1.0"),
            ("demo-1!1.0-py3-none-any.whl", "demo-1!1.0"),
        ],
    )
    def test_the_directory_may_be_spelled_otherwise(self, tmp_path: Path, filename: str, directory: str) -> None:
        path = make_zip(tmp_path / filename, [(f"{directory}.dist-info/METADATA", TEXT)])
        assert read_metadata(path) == TEXT

    def test_a_vendored_distribution_has_its_own(self, tmp_path: Path) -> None:
        vendored = ("demo/_vendor/other-2.0.dist-info/METADATA", metadata("other", "2.0"))
        assert read_metadata(make_zip(tmp_path / WHEEL, [vendored, (METADATA, TEXT)])) == TEXT

    def test_an_archive_comment_belongs_to_the_archive(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / WHEEL, [(METADATA, TEXT)])
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = b"built with care"
        assert read_metadata(path) == TEXT

    @pytest.mark.parametrize(
        ("members", "reason"),
        [
            ([("demo/__init__.py", b"")], "0 METADATA files"),
            ([(METADATA, TEXT), ("other-1.0.dist-info/METADATA", TEXT)], "2 METADATA files"),
            ([("other-1.0.dist-info/METADATA", TEXT)], "not of demo 1.0"),
            ([("demo-2.0.dist-info/METADATA", TEXT)], "not of demo 1.0"),
            ([("demo.dist-info/METADATA", TEXT)], "not of demo 1.0"),
            ([("demo-1.0-py3.dist-info/METADATA", TEXT)], "not of demo 1.0"),
            ([(METADATA, TEXT), (METADATA, b"Name: evil")], "two members"),
            ([(METADATA, TEXT), ("a", b"1"), ("a", b"2")], "two members"),
        ],
        ids=[
            "none",
            "two",
            "other name",
            "other version",
            "no version",
            "not a version",
            "twice",
            "other member twice",
        ],
    )
    def test_misleading_members(self, tmp_path: Path, members: list[tuple[str, bytes]], reason: str) -> None:
        path = make_zip(tmp_path / WHEEL, members)
        with pytest.raises(InvalidMetadata, match=reason) as caught:
            read_metadata(path)
        assert str(caught.value).startswith(f"{WHEEL}: ")
        assert isinstance(caught.value, MirrorError)
        assert caught.value.hint

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: data + b"\n",
            lambda data: data + data,
            lambda data: data[:-30],
            lambda data: data[:-1],
            lambda data: b"",
            lambda data: b"PK\x05\x06",
            lambda data: b"<html>not a wheel</html>" * 9,
            lambda data: data.replace(TEXT, TEXT[:-2] + b"!\n"),
        ],
        ids=["line after", "zip after", "truncated", "one byte less", "empty", "only a signature", "a web page", "crc"],
    )
    def test_broken_bytes(self, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
        whole = make_zip(tmp_path / WHEEL, [(METADATA, TEXT)])
        data = whole.read_bytes()
        # Two archives in one file: the first one's directory is at its right place in the second.
        whole.write_bytes(spoil(data))
        if spoil(data) == data + data:
            assert read_metadata(whole) == TEXT  # one end record at the end: every reader sees the second archive
        else:
            with pytest.raises(InvalidMetadata, match=WHEEL):
                read_metadata(whole)

    def test_a_zip_bomb_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / WHEEL, [(METADATA, bytes(300 << 20))], zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 1 << 20
        tracemalloc.start()
        try:
            with pytest.raises(InvalidMetadata, match="more than"):
                read_metadata(path)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()

    def test_a_zip_bomb_that_lies_about_its_size_gives_no_more_than_it_states(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / WHEEL, [(METADATA, bytes(64 << 20))], zipfile.ZIP_DEFLATED)
        size = struct.pack("<L", 64 << 20)
        assert path.read_bytes().count(size) == 2
        path.write_bytes(path.read_bytes().replace(size, struct.pack("<L", 100)))
        tracemalloc.start()
        try:
            with pytest.raises(InvalidMetadata, match="broken archive"):
                read_metadata(path)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()

    def test_the_cap_is_exact(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / WHEEL, [(METADATA, bytes(module.MAX_METADATA))], zipfile.ZIP_DEFLATED)
        assert len(read_metadata(path)) == module.MAX_METADATA

    def test_an_encrypted_member_is_refused(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / WHEEL, [(METADATA, TEXT)])
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
        with pytest.raises(InvalidMetadata, match="encrypted"):
            read_metadata(path)

    @pytest.mark.parametrize("name", ["demo-1.0.tar.gz", "demo.whl", "de mo-1.0-py3-none-any.whl"])
    def test_a_file_that_is_no_wheel(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InvalidMetadata):
            read_metadata(make_zip(tmp_path / name, [(METADATA, TEXT)]))

    def test_a_disk_that_fails_is_no_statement_about_the_archive(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_metadata(tmp_path / WHEEL)

    def test_any_damage_gives_the_right_bytes_or_the_documented_error(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / WHEEL, [(METADATA, TEXT), ("demo.py", b"x")], zipfile.ZIP_DEFLATED)
        whole = path.read_bytes()
        refused = 0
        for damaged in _damaged(whole, 600):
            path.write_bytes(damaged)
            try:
                assert read_metadata(path) == TEXT
            except InvalidMetadata:
                refused += 1
        assert refused > 100


def _damaged(whole: bytes, times: int) -> Sequence[bytes]:
    dice = random.Random(20)
    made = []
    for _ in range(times):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.choice((0, 0xFF, dice.randrange(256)))
        made.append(bytes(data))
    return made


def make_tar(members: Sequence[tuple[str, bytes | None]], entry_format: int = tarfile.PAX_FORMAT) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=entry_format) as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            if data is None:
                entry.type = tarfile.DIRTYPE
            entry.size = len(data or b"")
            archive.addfile(entry, io.BytesIO(data or b""))
    return raw.getvalue()


class TestSdists:
    INSIDE = (("demo-1.0", None), ("demo-1.0/PKG-INFO", TEXT), ("demo-1.0/demo.egg-info/PKG-INFO", b"no"))

    def test_pkg_info_of_a_real_sdist(self, tmp_path: Path) -> None:
        path = make_sdist(tmp_path, "demo", "1.0", requires_python=">=3.8")
        assert read_sdist_metadata(path) == metadata("demo", "1.0", requires_python=">=3.8")

    @pytest.mark.parametrize(
        ("suffix", "pack"),
        [(".tar.gz", gzip.compress), (".tgz", gzip.compress), (".tar.bz2", bz2.compress), (".tar.xz", lzma.compress)],
    )
    def test_every_compression(self, tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
        path = tmp_path / f"demo-1.0{suffix}"
        path.write_bytes(pack(make_tar(self.INSIDE)))
        assert read_sdist_metadata(path) == TEXT

    def test_zip(self, tmp_path: Path) -> None:
        members = [("demo-1.0/demo.py", b""), ("demo-1.0/PKG-INFO", TEXT), ("demo-1.0/x.egg-info/PKG-INFO", b"no")]
        assert read_sdist_metadata(make_zip(tmp_path / "demo-1.0.zip", members)) == TEXT

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ([("demo-1.0/setup.py", b"")], None),
            ([("PKG-INFO", b"no")], None),
            ([("./demo-1.0/PKG-INFO", TEXT), ("./demo-1.0/setup.py", b"")], TEXT),
            ([("._demo-1.0", b"\x00\x05"), ("Demo/PKG-INFO", TEXT)], TEXT),
            ([("demo-1.0/" + "a" * 200, b""), ("demo-1.0/PKG-INFO", TEXT)], TEXT),
        ],
        ids=["none", "outside", "dot", "macOS", "long name"],
    )
    @pytest.mark.parametrize("entry_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
    def test_old_habits(
        self, tmp_path: Path, members: list[tuple[str, bytes]], expected: bytes | None, entry_format: int
    ) -> None:
        path = tmp_path / "demo-1.0.tar.gz"
        path.write_bytes(gzip.compress(make_tar(members, entry_format)))
        assert read_sdist_metadata(path) == expected

    @pytest.mark.parametrize(
        ("members", "reason"),
        [
            ([("a/PKG-INFO", TEXT), ("b/setup.py", b"")], "2 top directories"),
            ([("a/PKG-INFO", TEXT), ("b", None)], "2 top directories"),
            ([("a/PKG-INFO", TEXT), ("a/PKG-INFO", b"evil")], "twice"),
            ([("a/PKG-INFO", None)], "no regular file"),
            ([("a/PKG-INFO", bytes((10 << 20) + 1))], "more than"),
        ],
        ids=["two tops", "an empty top", "twice", "a folder", "too long"],
    )
    def test_misleading_members(self, tmp_path: Path, members: list[tuple[str, bytes | None]], reason: str) -> None:
        path = tmp_path / "demo-1.0.tar.gz"
        if reason == "no regular file":
            members = [*members[:-1], ("a/PKG-INFO/", None)]
        path.write_bytes(gzip.compress(make_tar(members), 1))
        with pytest.raises(InvalidMetadata, match=reason):
            read_sdist_metadata(path)

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as archive:
            entry = tarfile.TarInfo("demo-1.0/PKG-INFO")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
        path = tmp_path / "demo-1.0.tar.gz"
        path.write_bytes(gzip.compress(raw.getvalue()))
        with pytest.raises(InvalidMetadata, match="no regular file"):
            read_sdist_metadata(path)

    def test_two_tops_in_a_zip(self, tmp_path: Path) -> None:
        path = make_zip(tmp_path / "demo-1.0.zip", [("a/PKG-INFO", TEXT), ("b/x", b"")])
        with pytest.raises(InvalidMetadata, match="2 top directories"):
            read_sdist_metadata(path)

    def test_a_header_that_would_fill_the_memory_is_refused(self, tmp_path: Path) -> None:
        header = tarfile.TarInfo("././@LongLink")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 256 << 20
        path = tmp_path / "demo-1.0.tar.gz"
        path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4 << 20)))
        tracemalloc.start()
        try:
            with pytest.raises(InvalidMetadata, match="extended header"):
                read_sdist_metadata(path)
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"plain text",
            gzip.compress(b""),
            gzip.compress(make_tar(INSIDE))[:-9],
            gzip.compress(make_tar(INSIDE)[:600]),
            gzip.compress(make_tar(INSIDE))[:-8] + bytes(8),
        ],
        ids=["empty", "no gzip", "empty tar", "truncated", "truncated tar", "crc"],
    )
    def test_broken_bytes(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "demo-1.0.tar.gz"
        path.write_bytes(data)
        with pytest.raises(InvalidMetadata, match=path.name):
            read_sdist_metadata(path)

    def test_a_file_that_is_no_sdist(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidMetadata, match="not a source distribution"):
            read_sdist_metadata(make_wheel(tmp_path, "demo", "1.0"))

    @pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
    def test_any_damage_gives_the_right_bytes_or_the_documented_error(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"demo-1.0{suffix}"
        tar = make_tar(self.INSIDE)
        if suffix == ".zip":
            make_zip(path, [("demo-1.0/PKG-INFO", TEXT)])
            spoiled = _damaged(path.read_bytes(), 400)
        else:
            # Damage below the gzip checksum, which would otherwise catch all of it.
            headers = [tar[:512], tar[512:1024]]
            spoiled = [gzip.compress(one + tar[512 * len(headers) :]) for one in _damaged(b"".join(headers), 400)]
        refused = 0
        for data in spoiled:
            path.write_bytes(data)
            try:
                read_sdist_metadata(path)
            except InvalidMetadata:
                refused += 1
        assert refused > 100


class TestRequiresPython:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("Requires-Python: >=3.8, <4", ">=3.8, <4"),
            ("requires-python:>=3.8", ">=3.8"),
            ("Requires-Python: >=3.8,\r\n !=3.9.1", ">=3.8, !=3.9.1"),
            ("Requires-Python: >=3.8.*", ""),
            ("Requires-Python: ~=3", ""),
            ("Requires-Python: 3.8", ""),
            ("Requires-Python: UNKNOWN", ""),
            ("Requires-Python:", ""),
            ("Requires-Python: >=3.8\r\nRequires-Python: >=2", ""),
            ("Name: demo", ""),
            ("Name: demo\n\nRequires-Python: >=3.8", ""),
            ("", ""),
        ],
    )
    def test_h9_exact_or_nothing(self, text: str, value: str) -> None:
        assert requires_python(text.encode()) == value

    def test_bytes_that_are_no_text(self) -> None:
        assert requires_python(b"Name: \xff\nRequires-Python: >=3.8\nSummary: \x00\xfe") == ">=3.8"
        assert requires_python(b"Requires-Python: \xff") == ""
        assert requires_python(os.urandom(512)) == ""
