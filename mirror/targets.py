"""Targets and environments: which wheels a foreign platform accepts, and what its markers say.

An environment is a target x a CPython minor, with the complete ordered tag list and all eleven marker variables of
the dependency specifiers standard, so that one machine can plan for every other one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms

from mirror.errors import MirrorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KNOWN_PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
"""The minors that an open-ended lock is mirrored for; others can be asked for by name."""

NOARCH = "noarch"
"""The home of wheels tagged `any` and of sdists: each is fetched once, never once per platform."""

_LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_OLDEST_GLIBC = {"x86_64": 5, "aarch64": 17}
_VERSION = re.compile(r"\d+\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The oldest system that the mirror's users run, as (major, minor)."""

    glibc: tuple[int, int] = (2, 28)
    macos: tuple[int, int] = (14, 0)
    musl: tuple[int, int] = (1, 2)

    @classmethod
    def parse(cls, *, glibc: str, macos: str, musl: str) -> Baseline:
        """Read `2.28`, `14.0` and `1.2`. Raise `MirrorError` naming the setting that is none."""
        return cls(glibc=_pair("GLIBC", glibc), macos=_pair("MACOS", macos), musl=_pair("MUSL", musl))


def _pair(setting: str, text: str) -> tuple[int, int]:
    if not _VERSION.fullmatch(text):
        raise MirrorError(f"{setting} is {text!r}", hint=f"write {setting} as major.minor, for example 2.28")
    major, minor = text.split(".")
    return int(major), int(minor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A platform that the mirror serves."""

    name: str
    system: str
    """`linux`, `musllinux`, `macos` or `windows`."""
    machine: str
    """The architecture as wheel tags spell it: `x86_64`, `aarch64`, `arm64`, `amd64`."""
    markers: tuple[tuple[str, str], ...]
    """The marker variables that do not depend on Python."""

    def platforms(self, baseline: Baseline) -> tuple[str, ...]:
        """Every platform tag that it accepts, best first."""
        return tuple(_PLATFORMS[self.system](self.machine, baseline))


def _linux(machine: str, baseline: Baseline) -> Iterator[str]:
    major, newest = baseline.glibc
    for minor in range(newest, _OLDEST_GLIBC[machine] - 1, -1):
        yield f"manylinux_{major}_{minor}_{machine}"
        if (major, minor) in _LEGACY_MANYLINUX:
            yield f"{_LEGACY_MANYLINUX[major, minor]}_{machine}"
    yield f"linux_{machine}"


def _musllinux(machine: str, baseline: Baseline) -> Iterator[str]:
    major, newest = baseline.musl
    yield from (f"musllinux_{major}_{minor}_{machine}" for minor in range(newest, -1, -1))
    yield f"linux_{machine}"


def _macos(machine: str, baseline: Baseline) -> Iterator[str]:
    return mac_platforms(baseline.macos, machine)


def _windows(machine: str, baseline: Baseline) -> Iterator[str]:  # noqa: ARG001 - one shape for all systems
    yield f"win_{machine}"


_PLATFORMS = {"linux": _linux, "musllinux": _musllinux, "macos": _macos, "windows": _windows}

# `platform_release` and `platform_version` are not empty and read as versions, for locks compare them so
# (pyobjc: `platform_release >= "20.0"`). They name a plausible system, for no lock pins an exact one.
_SYSTEMS = {
    "linux": ("posix", "linux", "Linux", "5.15.0", "#1 SMP"),
    "musllinux": ("posix", "linux", "Linux", "5.15.0", "#1 SMP"),
    "macos": ("posix", "darwin", "Darwin", "23.0.0", "Darwin Kernel Version 23.0.0"),
    "windows": ("nt", "win32", "Windows", "10", "10.0.20348"),
}


def _target(name: str, system: str, machine: str, reported: str) -> Target:
    os_name, sys_platform, platform_system, release, version = _SYSTEMS[system]
    markers = {
        "os_name": os_name,
        "sys_platform": sys_platform,
        "platform_machine": reported,
        "platform_python_implementation": "CPython",
        "platform_release": release,
        "platform_system": platform_system,
        "platform_version": version,
        "implementation_name": "cpython",
    }
    return Target(name=name, system=system, machine=machine, markers=tuple(markers.items()))


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        _target("linux-x86_64", "linux", "x86_64", "x86_64"),
        _target("linux-aarch64", "linux", "aarch64", "aarch64"),
        _target("macos-arm64", "macos", "arm64", "arm64"),
        _target("windows-amd64", "windows", "amd64", "AMD64"),
        _target("macos-x86_64", "macos", "x86_64", "x86_64"),
        _target("windows-arm64", "windows", "arm64", "ARM64"),
        _target("musllinux-x86_64", "musllinux", "x86_64", "x86_64"),
        _target("musllinux-aarch64", "musllinux", "aarch64", "aarch64"),
    )
}
"""Every platform that can be mirrored, in the order in which a file that several accept finds its home."""

DEFAULT_TARGETS = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-amd64", NOARCH)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Environment:
    """A target x a CPython minor, ready to judge wheels and markers."""

    target: Target
    python: str
    """`3.11`"""
    full_versions: tuple[str, ...]
    """The patch releases that stand for the minor, e.g. `3.11.0` and `3.11.99`; see `Lock.patches`."""
    platforms: tuple[str, ...]
    tags: tuple[Tag, ...]
    """Every tag that it accepts, best first."""
    ranks: Mapping[Tag, int] = field(repr=False)
    """Place of each tag in `tags`."""
    _ranks: dict[frozenset[Tag], int | None] = field(default_factory=dict, init=False, repr=False)

    def __str__(self) -> str:
        return f"{self.target.name} {self.python}"

    def rank(self, tags: frozenset[Tag]) -> int | None:
        """Place of the best of a wheel's tags, counted from 0; None when the environment accepts none of them."""
        # Thousands of wheels share a few hundred tag sets, which `filenames.parse` hands out as the same objects.
        if tags not in self._ranks:
            self._ranks[tags] = min((self.ranks[tag] for tag in tags if tag in self.ranks), default=None)
        return self._ranks[tags]

    def markers(self, full_version: str) -> dict[str, str]:
        """All eleven marker variables at one patch release (dependency specifiers, "Environment Markers")."""
        return {
            **dict(self.target.markers),
            "python_version": self.python,
            "python_full_version": full_version,
            "implementation_version": full_version,
        }


@lru_cache(maxsize=256)
def _tags(python: str, platforms: tuple[str, ...]) -> tuple[tuple[Tag, ...], Mapping[Tag, int]]:
    version = tuple(int(part) for part in python.split("."))
    interpreter = "cp" + "".join(map(str, version))
    # Before 3.8 the ABI tag ended in "m" (pymalloc); PEP 425 leaves the spelling to the interpreter.
    abi = interpreter + ("m" if version < (3, 8) else "")
    tags = dict.fromkeys(
        (
            *cpython_tags(version, [abi], platforms),
            *compatible_tags(version, interpreter, platforms),
        )
    )
    return tuple(tags), {tag: rank for rank, tag in enumerate(tags)}


def environment(target: Target, python: str, baseline: Baseline, full_versions: tuple[str, ...] = ()) -> Environment:
    """Make the environment of a target and a minor such as `3.11`; without full versions a first and a late one."""
    platforms = target.platforms(baseline)
    tags, ranks = _tags(python, platforms)
    return Environment(
        target=target,
        python=python,
        full_versions=full_versions or (f"{python}.0", f"{python}.99"),
        platforms=platforms,
        tags=tags,
        ranks=ranks,
    )
