"""Builders of little real wheels and sdists: valid for every installer, and the same bytes on every run."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import Version

from mirror.files import hash_file
from mirror.model import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_wheel(
    directory: Path,
    name: str,
    version: str,
    tag: str = "py3-none-any",
    *,
    build: str = "",
    requires_python: str = "",
    requires: Sequence[str] = (),
    headers: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Build a wheel in `directory` (made when missing) and return its path.

    `tag` may be compressed (`py2.py3-none-any`), `build` is a build tag such as `1`, `files` maps paths inside the
    wheel to bytes; without them it holds one module named as the project, with `__version__`.
    """
    distribution = _distribution(name)
    info = f"{distribution}-{Version(version)}.dist-info"
    members = dict(files) if files is not None else {f"{distribution}.py": f'__version__ = "{version}"\n'.encode()}
    members[f"{info}/METADATA"] = metadata(
        name, version, requires_python=requires_python, requires=requires, headers=headers
    )
    members[f"{info}/WHEEL"] = _wheel_file(tag, build)
    members[f"{info}/RECORD"] = _record(members, f"{info}/RECORD")
    stem = "-".join(part for part in (distribution, str(Version(version)), build, tag) if part)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{stem}.whl"
    # Stored, not deflated: the bytes do not depend on the zlib at hand.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member, date_time=_EPOCH), data)
    return path


def make_sdist(
    directory: Path,
    name: str,
    version: str,
    *,
    requires_python: str = "",
    requires: Sequence[str] = (),
    headers: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Build a `.tar.gz` source distribution in `directory` (made when missing) and return its path.

    `files` maps paths below its top directory to bytes. It holds a `setup.py` that ends every run of it: nobody here
    has a reason to execute one.
    """
    top = f"{_distribution(name)}-{Version(version)}"
    members = {
        "PKG-INFO": metadata(name, version, requires_python=requires_python, requires=requires, headers=headers),
        "setup.py": b'raise SystemExit("this sdist must not be built")\n',
        **(files or {}),
    }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in sorted(members.items()):
            entry = tarfile.TarInfo(f"{top}/{member}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{top}.tar.gz"
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=0))
    return path


def metadata(
    name: str, version: str, *, requires_python: str = "", requires: Sequence[str] = (), headers: Sequence[str] = ()
) -> bytes:
    """Core metadata 2.1 of a distribution; `headers` are further lines of it."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    if requires_python:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    lines += headers
    return "".join(f"{line}\n" for line in lines).encode()


def digest_of(path: Path, algorithm: str = "sha256") -> Digest:
    """The digest of a file, as a lock would pin it."""
    return Digest(algorithm, hash_file(path, algorithm))


def _distribution(name: str) -> str:
    return canonicalize_name(name).replace("-", "_")


def _wheel_file(tag: str, build: str) -> bytes:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    lines = ["Wheel-Version: 1.0", "Generator: tests", f"Root-Is-Purelib: {str('any' in platforms).lower()}"]
    if build:
        lines.append(f"Build: {build}")
    lines += [f"Tag: {python}-{abi}-{platform}" for python in pythons for abi in abis for platform in platforms]
    return "".join(f"{line}\n" for line in lines).encode()


def _record(members: Mapping[str, bytes], itself: str) -> bytes:
    rows = [f"{member},sha256={_urlsafe(data)},{len(data)}\n" for member, data in members.items()]
    return "".join([*rows, f"{itself},,\n"]).encode()


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
