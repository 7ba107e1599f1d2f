"""poetry.lock of every generation, from 1.0 to 2.1 (locks section 1)."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from packaging.utils import NormalizedName, canonicalize_name

from mirror.errors import LockError
from mirror.locks import algebra, constraints, content_hash, document, entries, markers, pyproject
from mirror.locks.base import Lock, Requirement
from mirror.locks.installation import ByConditions, ByWalk, Installations, combinations
from mirror.locks.problems import Problems, Table
from mirror.locks.walk import Entry, Graph
from mirror.model import Level, Membership, Scope, SourceKind
from mirror.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mirror.locks.document import Document
    from mirror.locks.pyproject import Project
    from mirror.model import LockedPackage
    from mirror.targets import Environment

    Names = frozenset[NormalizedName]

NAME = "poetry.lock"
_PYPROJECT = "pyproject.toml"
_VERSION = re.compile(r"(\d+)\.(\d+)")
_OLDEST = (1, 0)
_SINCE_OWN_FILES = (2, 0)
_SINCE_CONDITIONS = (2, 1)
_NEWEST = (2, 1)
_TOO_NEW = (3, 0)
_INACCURATE_MARKERS = ((2, 0, 0), (2, 1, 2))
_RELOCK = "run `poetry lock` again with the newest Poetry"


@dataclass(frozen=True, kw_only=True, eq=False)
class PoetryLock(Lock):
    """A poetry.lock, together with the pyproject.toml that it belongs to."""

    python: str
    """The Python versions that the project supports, in Poetry's syntax."""
    entries: tuple[Entry, ...] = field(repr=False)
    installations: ByConditions | ByWalk = field(repr=False)
    _scopes: dict[tuple[Names, Names], tuple[Entry, ...]] = field(default_factory=dict, repr=False)
    _exports: dict[tuple[Names, Names], tuple[Requirement, ...]] = field(default_factory=dict, repr=False)

    def pythons(self) -> tuple[str, ...]:
        """Every known CPython minor of which the lock admits some patch release."""
        return constraints.minors(self.python, self._boundaries)

    def patches(self, minor: str) -> tuple[str, ...]:
        """The full versions of a minor that together meet every python clause of the lock."""
        return constraints.patches(minor, self.python, self._boundaries)

    def membership(self, environment: Environment, scope: Scope) -> Mapping[LockedPackage, Membership]:
        """Say for each package in the scope whether the environment installs it. Raise `LockError`."""
        groups, extras = self._names(scope)
        admitted = [full for full in environment.full_versions if constraints.allows_python(self.python, full)]
        here = [environment.markers(full) for full in admitted]
        taken = self._taken(groups, extras, here)
        elsewhere: frozenset[Entry] | None = None
        answer = {}
        for entry in self._possible(groups, extras):
            member = Membership.SELECTED
            if entry not in taken:
                if elsewhere is None:
                    elsewhere = self._taken(groups, extras, self._same_platform(environment)) if here else None
                by_marker = elsewhere is not None and entry not in elsewhere
                member = Membership.BY_MARKER if by_marker else Membership.BY_PYTHON
            answer[entry.package] = member
        return answer

    def requirements(self, scope: Scope) -> tuple[Requirement, ...]:
        """The lock as requirements with markers, as the official export states them; sorted as the file prints them."""
        groups, extras = self._names(scope)
        known = self._exports.get((groups, extras))
        if known is None:
            stated = [_requirement(*found) for found in self._stated(groups, extras)]
            known = tuple(sorted(stated, key=_as_printed))
            self._exports[groups, extras] = known
        return known

    @cached_property
    def _boundaries(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(self.installations.boundaries()))

    def _names(self, scope: Scope) -> tuple[Names, Names]:
        """The groups and extras that are meant. Raise `LockError` for one that the project does not have."""
        groups = frozenset(self.groups) if scope.groups is None else scope.groups
        extras = frozenset(self.extras) if scope.extras is None else scope.extras
        for kind, asked, known in (("group", groups, self.groups), ("extra", extras, self.extras)):
            unknown = sorted(asked - set(known))
            if unknown:
                raise LockError(
                    f"{self.label} has no {kind} {', '.join(unknown)}",
                    hint=f"it has: {', '.join(known)}" if known else f"it has no {kind}s at all",
                )
        return groups, extras

    def _possible(self, groups: Names, extras: Names) -> tuple[Entry, ...]:
        """What some environment takes with some combination of the extras, in the order of the lock."""
        known = self._scopes.get((groups, extras))
        if known is None:
            possible: set[Entry] = set()
            for chosen in combinations(extras):
                possible.update(self.installations.possible(groups, chosen))
            known = self._scopes[groups, extras] = tuple(entry for entry in self.entries if entry in possible)
        return known

    def _taken(self, groups: Names, extras: Names, points: Sequence[Mapping[str, str]]) -> frozenset[Entry]:
        """What is installed at any of the points, with any combination of the extras."""
        taken: set[Entry] = set()
        for variables in points:
            for chosen in combinations(extras):
                taken.update(self.installations.installed(groups, chosen, variables))
            if isinstance(self.installations, ByConditions):
                taken.update(self.installations.left_out(groups, extras, variables))
        return frozenset(taken)

    def _same_platform(self, environment: Environment) -> list[Mapping[str, str]]:
        """The environment's platform with every Python that the lock admits."""
        platform = environment.markers(environment.full_versions[0])
        return list(self._points(platform, self.pythons()))

    def _points(self, platform: Mapping[str, str], minors: Sequence[str]) -> Iterator[Mapping[str, str]]:
        for minor in minors:
            for full in self.patches(minor):
                versions = {"python_version": minor, "python_full_version": full, "implementation_version": full}
                yield {**platform, **versions}

    @cached_property
    def _grid(self) -> tuple[Mapping[str, str], ...]:
        """Every platform that we know with every Python that the lock admits."""
        return tuple(chain.from_iterable(self._points(platform, self.pythons()) for platform in _platforms()))

    def _whole_grid(self, walks: ByWalk) -> tuple[Mapping[str, str], ...]:
        """The grid with the older Pythons that the project admits, as far as the lock works there."""
        older = constraints.minors(self.python, self._boundaries, constraints.OLDER_PYTHONS)
        found: list[Mapping[str, str]] = []
        for platform in _platforms():
            for point in self._points(platform, older):
                with suppress(LockError):
                    walks.walk(point)
                    found.append(point)
            found.extend(self._points(platform, self.pythons()))
        return tuple(found)

    def _stated(self, groups: Names, extras: Names) -> Iterator[tuple[Entry, str, bool]]:
        """Each package of the export with its marker, and whether that had to be put together platform by platform."""
        if isinstance(self.installations, ByConditions):
            for entry, marker in self.installations.conditions(groups, extras):
                text = algebra.within_python(marker, self.python)
                if text != markers.NEVER.text:
                    yield entry, text, False
            return
        yield from self._walked(self.installations, groups, extras)

    def _walked(self, walks: ByWalk, groups: Names, extras: Names) -> Iterator[tuple[Entry, str, bool]]:
        """State what the walks of the whole grid find, in the lock's own clauses where those agree with the walks."""
        grid = self._whole_grid(walks)
        regions = dict(_regions(walks, grid))
        texts = {entry: region.text for entry, region in regions.items()}
        symbolic = algebra.propagate(walks.graph, groups, extras, self.python, texts)
        answers = [walks.installed(groups, extras, point) for point in grid]
        for entry in self.entries:
            holds = [entry in taken for taken in answers]
            text = symbolic.get(entry, markers.NEVER.text)
            marker = markers.parse(text)
            by_platform = entry in regions and regions[entry].by_platform
            if [marker.holds(point) for point in grid] != holds:
                plain = algebra.enumerate_points(grid, holds)
                text = algebra.within_python(markers.parse(plain.text), self.python)
                by_platform = plain.by_platform
            if text != markers.NEVER.text:
                yield entry, text, by_platform

    def cross_check(self, project: Project, problems: Problems) -> None:
        """Say what looks wrong in the conditions of a lock that is otherwise fine (defects D1 and D2)."""
        if not isinstance(self.installations, ByConditions):
            return
        self._exclusive_extras(problems)
        if not any(project.groups.values()):
            return
        main, nothing = frozenset({pyproject.MAIN}), frozenset[NormalizedName]()
        stated = {entry.package.name for entry in self.installations.possible(main, nothing)}
        surplus = stated - self.installations.graph.reachable(main, nothing)
        if surplus:
            problems.add(
                Level.WARNING,
                "surplus",
                "recorded as needed in production although nothing there requires it; a newer Poetry locks it better: "
                + ", ".join(sorted(surplus)),
            )
        self._left_out(problems)

    def _left_out(self, problems: Problems) -> None:
        assert isinstance(self.installations, ByConditions)
        groups, extras = frozenset(self.groups), frozenset(self.extras)
        try:
            found = [self.installations.left_out(groups, extras, point) for point in self._grid]
        except LockError:
            return  # `membership` raises it, for the environment that has the problem
        names = {entry.package.name for missing in found for entry in missing}
        if names:
            problems.add(
                Level.WARNING,
                "left-out",
                "required by a locked package where the lock's own markers leave it out; mirrored there as well: "
                + ", ".join(sorted(names)),
            )

    def _exclusive_extras(self, problems: Problems) -> None:
        groups, extras = frozenset(self.groups), frozenset(self.extras)
        together = self.installations.possible(groups, extras)
        lost = {entry for entry in self._possible(groups, extras) if entry not in together}
        if lost:
            problems.add(
                Level.WARNING,
                "exclusive-extras",
                "extras exclude each other, so no installation of all of them takes these, which are mirrored all the "
                "same: " + ", ".join(sorted(str(entry.package) for entry in lost)),
            )


def read(path: Path, *, label: str, allow_stale: bool) -> PoetryLock:
    """Read a poetry.lock and the pyproject.toml beside it. Raise `LockError` with every problem that was found."""
    lock = document.read(path, label)
    beside = path.parent / _PYPROJECT
    project = document.read(beside, _sibling(label)) if beside.exists() else None
    return parse(lock, project, path=path, allow_stale=allow_stale)


def _sibling(label: str) -> str:
    head, slash, _ = label.replace("\\", "/").rpartition("/")
    return f"{head}{slash}{_PYPROJECT}"


def parse(lock: Document, beside: Document | None, *, path: Path, allow_stale: bool = False) -> PoetryLock:
    """Make a lock of two TOML files; without the second only a lock of 2.1 can be read. Raise `LockError`."""
    problems = Problems(lock.label)
    top = Table(lock.data, problems, key="")
    metadata = top.table("metadata")
    version = _lock_version(top, metadata)
    problems.check()
    flat = version >= _SINCE_CONDITIONS
    project = _project(beside, problems, flat=flat)
    _check_hash(metadata.text("content-hash", ""), lock, beside, problems, allow_stale=allow_stale)
    read_entries = _entries(lock, top, metadata, version, problems)
    python = _python(metadata)
    problems.check()
    graph = Graph(tuple(read_entries), project.groups, project.name)
    groups, extras = _known_names(top, graph, project)
    installations: ByConditions | ByWalk = ByConditions(graph=graph)
    if not flat:
        installations = ByWalk(graph=graph, groups=frozenset(groups), extras=frozenset(extras))
    _remarks(lock, graph, project, installations, problems)
    found = PoetryLock(
        path=path,
        label=lock.label,
        format=f"poetry.lock {'.'.join(map(str, version))}",
        digest=lock.digest,
        packages=tuple(entry.package for entry in graph.entries),
        groups=groups,
        extras=extras,
        notices=(),
        project=project.name or "",
        primary_index=project.primary_index,
        python=python,
        entries=graph.entries,
        installations=installations,
    )
    found.cross_check(project, problems)
    object.__setattr__(found, "notices", problems.notices)
    return found


def _lock_version(top: Table, metadata: Table) -> tuple[int, int]:
    if "metadata" not in top:
        top.error("no-metadata", "`[metadata]` is missing, so it is no poetry.lock or only a part of one")
    if "package" not in top:
        top.error("no-packages", "`[[package]]` is missing, so it is no poetry.lock or only a part of one")
    if "hashes" in metadata:
        top.error("no-file-names", "`[metadata.hashes]` of Poetry 0.12 names no files; lock the project again")
    if "lock-version" not in metadata:
        top.warn("no-lock-version", "`metadata.lock-version` is missing; read as 1.0")
        return _OLDEST
    text = metadata.text("lock-version")
    match = _VERSION.fullmatch(text)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if not _OLDEST <= version < _TOO_NEW:
        metadata.error("lock-version", f"lock-version {text!r} is not supported, only 1.0 to {_dotted(_NEWEST)}")
    elif version > _NEWEST:
        metadata.warn("lock-version", f"lock-version {text} is newer than {_dotted(_NEWEST)}; read as that")
    return version


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _project(beside: Document | None, problems: Problems, *, flat: bool) -> Project:
    if beside is not None:
        found = Problems(beside.label)
        project = pyproject.read(beside.data, found)
        found.check()
        return project
    if flat:
        problems.add(
            Level.WARNING, "no-pyproject", "no pyproject.toml beside it, so nobody can tell whether it is stale"
        )
    else:
        message = "no pyproject.toml beside it, without which a lock before 2.1 does not say what production needs"
        problems.add(Level.ERROR, "no-pyproject", message)
    return pyproject.Project()


def _check_hash(
    expected: str, lock: Document, beside: Document | None, problems: Problems, *, allow_stale: bool
) -> None:
    if beside is None or content_hash.matches(expected, beside.data, content_hash.generator(lock.first_line)):
        return
    level = Level.WARNING if allow_stale else Level.ERROR
    message = f"{beside.label} has changed since it was locked; run `poetry lock`, or allow a stale lock"
    problems.add(level, "stale-lock", message)


def _python(metadata: Table) -> str:
    text = metadata.text("python-versions")
    try:
        if constraints.parse_python(text).is_empty():
            metadata.error("bad-python", f"`{metadata.at('python-versions')}` {text!r} allows no version at all")
    except constraints.InvalidConstraint as error:
        metadata.error("bad-python", f"`{metadata.at('python-versions')}`: {error}")
    return text


def _entries(lock: Document, top: Table, metadata: Table, version: tuple[int, int], problems: Problems) -> list[Entry]:
    shared = None
    if version < _SINCE_OWN_FILES:
        files = metadata.table("files")
        shared = {canonicalize_name(name): files.tables(name) for name in files}
    generation = entries.Generation(flat=version >= _SINCE_CONDITIONS, shared_files=shared)
    packages = top.raw("package")
    if not isinstance(packages, list) or not all(isinstance(item, dict) for item in packages):
        top.error("wrong-type", "`package` is no array of tables")
        return []
    # A header inside a multi-line text would shift the count; then no line is better than a wrong one.
    lines = lock.lines if len(lock.lines) == len(packages) else (0,) * len(packages)
    found = []
    for item, line in zip(packages, lines, strict=True):
        name = item.get("name")
        table = Table(item, problems, key="", package=name if isinstance(name, str) else "", line=line)
        found.append(entries.read(table, generation))
    return [entry for entry in found if entry is not None]


def _known_names(
    top: Table, graph: Graph, project: Project
) -> tuple[tuple[NormalizedName, ...], tuple[NormalizedName, ...]]:
    stated = {group for entry in graph.entries for group in entry.conditions}
    groups = {pyproject.MAIN, *project.groups, *stated} - {pyproject.MAIN}
    extras = {canonicalize_name(extra) for extra in top.table("extras")} | set(project.extras)
    extras.update(extra for entry in graph.entries for marker in entry.conditions.values() for extra in marker.extras())
    return (pyproject.MAIN, *sorted(groups)), tuple(sorted(extras))


def _remarks(lock: Document, graph: Graph, project: Project, installations: Installations, problems: Problems) -> None:
    """What is no reason to stop, but to say."""
    oldest, fixed = _INACCURATE_MARKERS
    written_by = content_hash.generator(lock.first_line)
    flat = isinstance(installations, ByConditions)
    if flat and written_by is not None and oldest <= written_by < fixed:
        message = f"Poetry {_dotted(written_by)} wrote markers that can be wrong about Python versions; {_RELOCK}"
        problems.add(Level.WARNING, "inaccurate-markers", message)
    if isinstance(installations, ByWalk) and (names := installations.unlocked()):
        message = f"Poetry before 1.2 did not lock {', '.join(sorted(names))}, which something here requires"
        problems.add(Level.WARNING, "unlocked", message)
    if project.groups:
        unknown = sorted({group for entry in graph.entries for group in entry.conditions} - set(project.groups))
        for group in unknown:
            problems.add(Level.WARNING, "unknown-group", f"the group {group!r} is locked, but pyproject.toml has none")
    _note_sources(graph, project, problems)
    _note_extras(project, problems)


def _note_sources(graph: Graph, project: Project, problems: Problems) -> None:
    legacy = {entry.package.source for entry in graph.entries if entry.package.source.kind is SourceKind.LEGACY}
    names = {source.name for source in project.sources}
    for source in sorted(legacy, key=lambda source: source.url):
        message = f"some packages come from the index {source.url} ({source.reference or 'without a name'})"
        if project.groups and source.reference not in names:
            problems.add(Level.WARNING, "unknown-source", f"{message}, which pyproject.toml does not name")
        else:
            problems.add(Level.NOTE, "legacy-source", message)


def _note_extras(project: Project, problems: Problems) -> None:
    required = {edge.name for edge in project.groups.get(pyproject.MAIN, ()) if not edge.optional}
    for extra, names in sorted(project.extras.items()):
        for name in names:
            if name in required:
                message = f"{name} is listed in the extra {extra!r}, but not marked as optional"
                problems.add(Level.NOTE, "extra-not-optional", message)


def _regions(walks: ByWalk, grid: Sequence[Mapping[str, str]]) -> Iterator[tuple[Entry, algebra.Enumerated]]:
    """Where each of several locked releases of one name is the one that is meant."""
    pins = [walks.walk(point).pins for point in grid]
    for name, candidates in walks.graph.by_name.items():
        if len(candidates) == 1:
            continue
        meant = [
            # Where nothing asks for the name, the newest that Python allows keeps the ranges whole.
            pinned.get(name) or next((entry for entry in candidates if entry.fits(point["python_full_version"])), None)
            for pinned, point in zip(pins, grid, strict=True)
        ]
        for entry in candidates:
            yield entry, algebra.enumerate_points(grid, [found is entry for found in meant])


def _platforms() -> list[Mapping[str, str]]:
    """The variables of every platform that we know, each once."""
    return [dict(markers) for markers in dict.fromkeys(target.markers for target in TARGETS.values())]


def _as_printed(requirement: Requirement) -> tuple[str, str]:
    stated = f"=={requirement.version}" if requirement.version else f" @ {requirement.source.url}"
    return f"{requirement.name}{stated} ; {requirement.marker}", requirement.source.url


def _requirement(entry: Entry, marker: str, approximate: bool) -> Requirement:
    package = entry.package
    return Requirement(
        name=package.name,
        version="" if package.source.direct else str(package.version),
        marker=marker,
        digests=entry.digests,
        source=package.source,
        approximate=approximate,
    )
