"""Core metadata out of wheels and sdists, whose bytes are untrusted (standards section 5.4).

Nothing is extracted to disk, nothing is read without a cap, and an archive that different readers would understand
differently is refused.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from email.parser import BytesHeaderParser
from typing import IO, TYPE_CHECKING, NoReturn

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mirror import filenames
from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_METADATA = 10 << 20
"""Bytes of METADATA or PKG-INFO that are read at most; the largest in the wild are below 1 MiB."""
MAX_UNPACKED = 1 << 30
"""Bytes that a compressed tar may unpack to before its PKG-INFO is given up; a tar has no directory to look in."""
_MAX_HEADER = 1 << 20
_CHUNK = 1 << 16

_END = b"PK\x05\x06"
_END_SIZE = 22
_MAX_COMMENT = 0xFFFF


class InvalidMetadata(MirrorError):
    """An archive whose core metadata cannot be read, or should not be trusted; names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path.name}: {reason}",
            hint="the file itself is unchanged and pinned by its digest; report the archive to the project's authors",
        )


def read_metadata(path: Path) -> bytes:
    """The bytes of a wheel's `*.dist-info/METADATA` (PEP 658: "not modified when processed").

    Raise `InvalidMetadata` unless there is exactly one, in the directory of the filename's name and version, at most
    `MAX_METADATA` long and with the right checksum, in a zip without two members of one name and without bytes after
    its end. Raise `OSError` when the disk refuses.
    """
    wheel = _wheel(path)
    with _archive(path) as archive:
        # Vendored distributions have their own METADATA deeper down.
        inside = [entry for entry in archive.infolist() if entry.filename.count("/") == 1]
        found = [entry for entry in inside if entry.filename.endswith(".dist-info/METADATA")]
        if len(found) != 1:
            raise InvalidMetadata(path, f"{len(found)} METADATA files in *.dist-info, not one")
        directory = found[0].filename.removesuffix(".dist-info/METADATA")
        if not _names(directory, wheel):
            raise InvalidMetadata(path, f"directory {directory!r} is not of {wheel.name} {wheel.version}")
        return _member(path, archive, found[0])


def read_sdist_metadata(path: Path) -> bytes | None:
    """The bytes of an sdist's PKG-INFO in its single top directory; None when it has none, as some old ones.

    Raise `InvalidMetadata` for a broken archive, several top directories, or one that unpacks to more than
    `MAX_UNPACKED`; `OSError` when the disk refuses.
    """
    read = _pkg_info_of_zip if path.name.endswith(".zip") else _pkg_info_of_tar
    return read(path)


def requires_python(metadata: bytes) -> str:
    """The exact value of Requires-Python; empty when it is absent, stated twice, or no valid specifier set.

    Installers hide a file whose value they cannot parse, so an invalid one must not reach a page.
    """
    headers = BytesHeaderParser().parsebytes(metadata)
    values = headers.get_all("Requires-Python", [])
    if len(values) != 1:
        return ""
    # Unfolding (RFC 5322, 2.2.3) is "simply removing any CRLF that is immediately followed by WSP".
    value = str(values[0]).replace("\r", "").replace("\n", "").strip()
    try:
        SpecifierSet(value)
    except InvalidSpecifier:
        return ""
    return value


def _wheel(path: Path) -> filenames.Wheel:
    try:
        wheel = filenames.parse(path.name)
    except filenames.InvalidFilename as error:
        raise InvalidMetadata(path, str(error)) from error
    if not isinstance(wheel, filenames.Wheel):
        raise InvalidMetadata(path, "not a wheel")
    return wheel


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip in which every name stands once and after which nothing follows."""
    with path.open("rb") as stream, _translated(path):
        _require_end(path, stream)
        with zipfile.ZipFile(stream) as archive:
            seen = set()
            for name in archive.namelist():
                if name in seen:
                    raise InvalidMetadata(path, f"two members are called {name!r}")
                seen.add(name)
            yield archive


def _require_end(path: Path, stream: IO[bytes]) -> None:
    """Refuse bytes after the end record: readers differ on what such an archive holds, and uv rejects it."""
    size = stream.seek(0, os.SEEK_END)
    tail = min(size, _END_SIZE + _MAX_COMMENT)
    stream.seek(size - tail)
    data = stream.read(tail)
    start = data.rfind(_END)
    if start < 0 or len(data) - start < _END_SIZE:
        raise InvalidMetadata(path, "not a zip archive, or bytes follow its end")
    (comment,) = struct.unpack_from("<H", data, start + _END_SIZE - 2)
    if start + _END_SIZE + comment != len(data):
        raise InvalidMetadata(path, "bytes follow the end of the zip archive")
    stream.seek(0)


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > MAX_METADATA:
        raise InvalidMetadata(path, f"{entry.filename} has {entry.file_size} bytes, more than {MAX_METADATA}")
    if entry.flag_bits & 1:
        raise InvalidMetadata(path, f"{entry.filename} is encrypted")
    with archive.open(entry) as member:
        # Never more than is stated, whatever it would unpack to; zipfile checks the CRC where that ends.
        data = member.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise InvalidMetadata(path, f"{entry.filename} has {len(data)} bytes, not the {entry.file_size} stated")
    return data


def _names(directory: str, wheel: filenames.Wheel) -> bool:
    """Whether `name-version` means the wheel's; the dash may also stand inside a name of old."""
    dashes = (place for place, letter in enumerate(directory) if letter == "-")
    return any(_is(directory[:dash], directory[dash + 1 :], wheel) for dash in dashes)


def _is(name: str, version: str, wheel: filenames.Wheel) -> bool:
    try:
        # The version is escaped as in the filename, a dash by an underscore (wheel specification).
        return canonicalize_name(name) == wheel.name and Version(version.replace("_", "-")) == wheel.version
    except InvalidVersion:
        return False


def _pkg_info_of_zip(path: Path) -> bytes | None:
    with _archive(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        top = _top(path, (_parts(name) for name in entries))
        found = [entry for name, entry in entries.items() if _parts(name) == [top, "PKG-INFO"]]
        return _member(path, archive, found[0]) if found else None


def _pkg_info_of_tar(path: Path) -> bytes | None:
    found: bytes | None = None
    folders: list[list[str]] = []
    with path.open("rb") as raw, _translated(path):
        stream = _Capped(path, _decompressed(path, raw))
        # Streaming ("r|") never seeks back, so that the cap counts every byte that was unpacked.
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
            for entry in archive:
                parts = _parts(entry.name)
                folders.append(parts[:2] if len(parts) > 1 or not entry.isdir() else [*parts, ""])
                if len(parts) != 2 or parts[1] != "PKG-INFO":
                    continue
                if found is not None or not entry.isreg():
                    raise InvalidMetadata(path, "PKG-INFO stands twice in it, or is no regular file")
                found = _read_entry(path, archive, entry)
        stream.finish()
    _top(path, folders)
    return found


def _read_entry(path: Path, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    member = archive.extractfile(entry)
    if member is None or entry.size > MAX_METADATA:
        raise InvalidMetadata(path, f"{entry.name} has {entry.size} bytes, more than {MAX_METADATA}")
    data = member.read(MAX_METADATA + 1)
    if len(data) != entry.size:
        raise InvalidMetadata(path, f"{entry.name} is cut short")
    return data


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _top(path: Path, members: Iterator[list[str]] | list[list[str]]) -> str:
    """The one directory that holds everything; lone files beside it (`._name` of macOS) do not count."""
    tops = {parts[0] for parts in members if len(parts) > 1}
    if len(tops) > 1:
        raise InvalidMetadata(path, f"{len(tops)} top directories, not one")
    return next(iter(tops), "")


def _decompressed(path: Path, raw: IO[bytes]) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if path.suffix in (".gz", ".tgz"):
        return gzip.GzipFile(fileobj=raw)
    if path.suffix == ".bz2":
        return bz2.BZ2File(raw)
    if path.suffix == ".xz":
        return lzma.LZMAFile(raw)
    raise InvalidMetadata(path, "not a source distribution")


class _Capped(io.RawIOBase):
    """A stream that refuses to give more than `MAX_UNPACKED` bytes."""

    def __init__(self, path: Path, stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile) -> None:
        super().__init__()
        self._path = path
        self._stream = stream
        self._left = MAX_UNPACKED

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InvalidMetadata(self._path, f"unpacks to more than {MAX_UNPACKED} bytes")
        return data

    def finish(self) -> None:
        """Read on to the end, where the checksum of the compressed stream stands; refuse a tar that was cut short."""
        while self.read(_CHUNK):
            pass
        # POSIX.1-2017, pax: an archive is a series of blocks "of 512 octets"; tarfile takes a torn one for the end.
        if (MAX_UNPACKED - self._left) % tarfile.BLOCKSIZE:
            raise InvalidMetadata(self._path, "is cut short")


class _Header(tarfile.TarInfo):
    """A tar header; tarfile keeps extended ones (long names, pax records) in memory, so they have a cap too."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED and header.size > _MAX_HEADER:
            raise tarfile.ReadError(f"an extended header has {header.size} bytes, more than {_MAX_HEADER}")
        return header


_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn what the archive modules raise at broken input into `InvalidMetadata`; a failing disk stays `OSError`."""
    try:
        yield
    except OSError as error:
        # gzip and bz2 raise OSError without a number at bad data, seeking to a hostile offset gives EINVAL.
        if error.errno not in (None, errno.EINVAL):
            raise
        _refuse(path, error)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        ValueError,
        OverflowError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        LookupError,
    ) as error:
        _refuse(path, error)


def _refuse(path: Path, error: Exception) -> NoReturn:
    raise InvalidMetadata(path, f"broken archive: {str(error) or type(error).__name__}") from error
