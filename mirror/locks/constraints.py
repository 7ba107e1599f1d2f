"""Version constraints in Poetry's own syntax, such as `^3.10` or `~2.7 || ^3.5` (locks section 1.2)."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from poetry.core.constraints.version import (
    EmptyConstraint,
    Version,
    VersionConstraint,
    VersionRange,
    VersionUnion,
    parse_constraint,
    parse_marker_version_constraint,
)
from poetry.core.packages.utils.utils import create_nested_marker
from poetry.core.version.exceptions import InvalidVersionError

from mirror.targets import KNOWN_PYTHONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_LATE = 99
"""A patch release that no CPython minor has reached: it stands for "a late one"."""

OLDER_PYTHONS = ("2.7", "3.4", "3.5", "3.6", "3.7")
"""Minors before the known ones: nothing is mirrored for them, but an exported marker must be right there as well."""

_RELEASE = re.compile(r"\s*v?(\d+)\.(\d+)(?:\.(\d+))?(a|b|c|rc|\.?dev)?")
_WHOLE_MINOR = re.compile(r'python_full_version (>=|<) "(\d+\.\d+)\.0"')
_MINOR = re.compile(r"\d{1,4}\.\d{1,4}", re.ASCII)


class InvalidConstraint(ValueError):
    """A text that is no version constraint."""


@cache
def parse(text: str) -> VersionConstraint:
    """Read a constraint on a package's version. Raise `InvalidConstraint`."""
    try:
        return parse_constraint(text)
    except (ValueError, AssertionError, RecursionError) as error:  # ParseConstraintError and InvalidVersionError too
        raise InvalidConstraint(f"{text!r} is no version constraint") from error


@cache
def parse_python(text: str) -> VersionConstraint:
    """Read a constraint on Python's version, which only releases are compared with. Raise `InvalidConstraint`."""
    try:
        return parse_marker_version_constraint(text)
    except (ValueError, AssertionError, RecursionError) as error:
        raise InvalidConstraint(f"{text!r} is no constraint on Python's version") from error


@cache
def allows(text: str, version: str) -> bool:
    """Whether a constraint allows a version of a package. Raise `InvalidConstraint`."""
    try:
        return parse(text).allows(_version(version))
    except InvalidVersionError as error:
        raise InvalidConstraint(f"{version!r} is no version") from error


@cache
def allows_python(text: str, version: str) -> bool:
    """Whether a constraint allows a full version of Python, such as `3.11.4`. Raise `InvalidConstraint`."""
    return parse_python(text).allows(_version(version))


@cache
def _version(text: str) -> Version:
    return Version.parse(text)


@cache
def python_marker(text: str) -> str:
    """The marker that states a Python constraint; empty when it allows every version."""
    constraint = parse_python(text)
    if constraint.is_empty():
        return "<empty>"
    # A bound of 3.8.0 is a bound of the whole minor, and Poetry prints it as one.
    return _WHOLE_MINOR.sub(r'python_version \1 "\2"', create_nested_marker("python_version", constraint))


def boundaries(text: str) -> Iterator[tuple[str, str]]:
    """The operator and version of each end of each range in a constraint on Python."""
    yield from _ends(parse_python(text))


def _ends(constraint: VersionConstraint) -> Iterator[tuple[str, str]]:
    if isinstance(constraint, EmptyConstraint):
        return
    if isinstance(constraint, VersionUnion):
        for part in constraint.ranges:
            yield from _ends(part)
    elif isinstance(constraint, Version):
        yield "==", constraint.text
    elif isinstance(constraint, VersionRange):
        if constraint.min is not None:
            yield (">=" if constraint.include_min else ">"), constraint.min.text
        if constraint.max is not None:
            yield ("<=" if constraint.include_max else "<"), constraint.max.text


def patches(minor: str, python: str, clauses: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The full versions of a minor that meet every clause from both sides and that the constraint `python` allows.

    A first and a late release always stand for the minor; each boundary inside it adds its neighbours.
    """
    if not _MINOR.fullmatch(minor):
        return ()
    patch_levels = {0, _LATE}
    for operator, version in (*clauses, *boundaries(python)):
        patch_levels.update(_neighbours(minor, operator, version))
    return tuple(full for patch in sorted(patch_levels) if allows_python(python, full := f"{minor}.{patch}"))


def _neighbours(minor: str, operator: str, version: str) -> Iterator[int]:
    match = _RELEASE.match(version)
    if match is None or f"{match[1]}.{match[2]}" != minor:
        return
    patch = int(match[3] or 0)
    # No release lies between 3.11.0a6 and 3.11.0: below such a boundary is the minor before.
    yield patch
    if operator in ("<", ">=", "==", "!=", "===", "~=") and patch > 0:
        yield patch - 1
    if operator not in ("<", ">=", "~=") and match[4] is None:
        yield patch + 1


def minors(python: str, clauses: Iterable[tuple[str, str]], among: Sequence[str] = KNOWN_PYTHONS) -> tuple[str, ...]:
    """Every one of some CPython minors of which the constraint allows a release."""
    known = tuple(clauses)
    return tuple(minor for minor in among if patches(minor, python, known))
