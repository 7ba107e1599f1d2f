"""Distribution filenames: which ones we accept, and what they say.

Filenames come from locks and pages, so they are untrusted. `packaging` parses but does not validate
(research: it accepts markup, `?`, `#`, newlines and path separators), hence the allow-list in front of it.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from functools import cache, lru_cache

from packaging.tags import Tag, parse_tag
from packaging.utils import BuildTag, InvalidSdistFilename, InvalidWheelFilename, NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.(whl|tar\.gz|zip|tar\.bz2|tgz|tar\.xz)")
_LONGEST = 255 - len(".metadata")
"""File systems hold names of 255 bytes, and the sidecar's is the longest that we make of a filename."""
_MOST_TAGS = 1000
"""A compressed tag set multiplies: 250 letters can say a hundred thousand tags, real wheels say a few dozen."""
_SDIST_SUFFIXES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")
_WHEEL_NAME = re.compile(r"[\w\d._]*", re.ASCII)
_BUILD = re.compile(r"(\d+)(.*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel's filename, taken apart (binary distribution format, "File name convention")."""

    filename: str
    name: NormalizedName
    version: Version
    build: BuildTag
    tags: frozenset[Tag]
    """The expanded compressed tag set; shared between wheels with the same one."""

    @property
    def universal(self) -> bool:
        """Whether it is tagged for any platform."""
        return all(tag.platform == "any" for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Sdist:
    """A source distribution's filename, taken apart."""

    filename: str
    name: NormalizedName
    version: Version


class InvalidFilename(ValueError):
    """A filename that is not on the allow-list, or does not say a project, a version and tags."""


_canonicalize = lru_cache(maxsize=16384)(canonicalize_name)
_version = lru_cache(maxsize=16384)(Version)


@lru_cache(maxsize=4096)
def _parse_tag(text: str) -> frozenset[Tag]:
    return parse_tag(text, limit=_MOST_TAGS)


def _require_allowed(filename: str) -> None:
    if not _ALLOWED.fullmatch(filename) or ".." in filename or len(filename) > _LONGEST:
        raise InvalidFilename(f"filename {filename!r} is not allowed")


def is_artifact(filename: str) -> bool:
    """Whether the suffix is that of a wheel or sdist; `.egg`, `.exe`, `.rpm` and the like are not."""
    return filename.endswith((".whl", *_SDIST_SUFFIXES))


@lru_cache(maxsize=65536)
def parse(filename: str) -> Wheel | Sdist:
    """Take a filename apart. Raise `InvalidFilename` when it is hostile or says nothing (standards section 5.2)."""
    _require_allowed(filename)
    try:
        return _parse_wheel(filename) if filename.endswith(".whl") else _parse_sdist(filename)
    except (InvalidVersion, InvalidWheelFilename, InvalidSdistFilename, ValueError) as error:
        raise InvalidFilename(f"filename {filename!r} cannot be read: {error}") from error


def _parse_wheel(filename: str) -> Wheel:
    # Not `packaging.utils.parse_wheel_filename`: a lock names tens of thousands of wheels that share a few hundred
    # tag sets, versions and names, and it would build each of them anew.
    stem = filename[:-4]
    parts = stem.rsplit("-", 3)
    if len(parts) != 4:
        raise InvalidWheelFilename("too few parts")
    head, tag = parts[0], "-".join(parts[1:])
    pieces = head.split("-")
    if len(pieces) not in (2, 3) or not pieces[0] or "__" in pieces[0] or not _WHEEL_NAME.fullmatch(pieces[0]):
        raise InvalidWheelFilename("wrong number of parts")
    build: BuildTag = ()
    if len(pieces) == 3:
        match = _BUILD.fullmatch(pieces[2])
        if match is None:
            raise InvalidWheelFilename(f"invalid build number {pieces[2]!r}")
        build = (int(match[1]), match[2])
    return Wheel(filename, _canonicalize(pieces[0]), _version(pieces[1]), build, _parse_tag(tag))


def _stem(filename: str) -> str:
    return next(filename[: -len(suffix)] for suffix in _SDIST_SUFFIXES if filename.endswith(suffix))


def _parse_sdist(filename: str) -> Sdist:
    name, dash, version = _stem(filename).rpartition("-")
    if not dash or not name:
        raise InvalidSdistFilename("no version")
    return Sdist(filename, _canonicalize(name), _version(version))


@cache
def _prefix(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\-", "-").replace("-", "[-_.]+") + "-(.+)", re.IGNORECASE)


def parse_sdist_of(filename: str, name: NormalizedName) -> Sdist:
    """Take apart the sdist of a known project, so that a version with a dash (`functools32-3.2.3-2.tar.gz`) is read.

    Raise `InvalidFilename` as `parse` does.
    """
    _require_allowed(filename)
    if filename.endswith(".whl"):
        raise InvalidFilename(f"filename {filename!r} is that of a wheel")
    try:
        match = _prefix(name).fullmatch(_stem(filename))
        if match:
            with contextlib.suppress(InvalidVersion):
                return Sdist(filename, name, _version(match[1]))
        # `foo-bar-1.0` starts like a file of `foo`, and is one of `foo-bar`.
        return _parse_sdist(filename)
    except (InvalidVersion, InvalidSdistFilename) as error:
        raise InvalidFilename(f"filename {filename!r} cannot be read: {error}") from error
