"""Markers for an exported requirements file, in the normal form of poetry-core, so that they read as Poetry's do.

Algebra on markers can explode. Everything here has a bound that depends on the lock alone, never on the clock, and a
plain way out that means the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poetry.core.version.markers import BaseMarker, EmptyMarker, parse_marker

from mirror.locks import constraints, markers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.locks.markers import Marker
    from mirror.locks.walk import Edge, Entry, Graph

    Names = frozenset[NormalizedName]
    Key = tuple[Entry, NormalizedName | None]

_NEVER = "<empty>"
_MOST_CLAUSES = 24
_MOST_STEPS = 40


class TooComplex(Exception):
    """Algebra gave up; the caller states the marker in another way."""


def within_python(marker: Marker, python: str) -> str:
    """A marker together with the project's Python range, simplified; the plain conjunction when it is a huge one."""
    bounds = markers.parse(constraints.python_marker(python))
    clauses = list(marker.atoms())
    # poetry-core reads a comparison with an empty text as one with a space.
    if len(clauses) <= _MOST_CLAUSES and all(clause.value for clause in clauses):
        try:
            return _text(parse_marker(bounds.text).intersect(parse_marker(marker.text)))
        except (RecursionError, ValueError):
            pass
    return markers.every(bounds, marker).text


def _text(marker: BaseMarker) -> str:
    return "" if marker.is_any() else str(marker)


def propagate(
    graph: Graph, groups: Names, extras: Names, python: str, regions: Mapping[Entry, str]
) -> dict[Entry, str]:
    """The marker under which each package is reached, for every environment at once. Raise `TooComplex`.

    `regions` says where each of several locked releases of one name is the one that is meant.
    """
    try:
        return _Propagation(graph, regions).run(groups, extras, parse_marker(constraints.python_marker(python)))
    except (RecursionError, ValueError) as error:
        raise TooComplex from error


class _Propagation:
    """Markers flow along edges until nothing grows: an edge's is met with its owner's, several are joined."""

    def __init__(self, graph: Graph, regions: Mapping[Entry, str]) -> None:
        self._graph = graph
        self._regions = regions
        self._reached: dict[Key, BaseMarker] = {}
        self._waiting: deque[Key] = deque()
        self._steps = _MOST_STEPS * (len(graph.entries) + 10)

    def run(self, groups: Names, extras: Names, python: BaseMarker) -> dict[Entry, str]:
        for edge in self._graph.starts(groups):
            self._follow(edge, _base(edge.condition(extras)).intersect(python))
        while self._waiting:
            self._expand(self._waiting.popleft())
        return {entry: _text(marker) for (entry, extra), marker in self._reached.items() if extra is None}

    def _expand(self, key: Key) -> None:
        entry, extra = key
        nothing: Names = frozenset()
        asked = nothing if extra is None else frozenset({extra})
        for edge in entry.edges:
            condition = edge.condition(asked)
            if extra is not None and condition is edge.condition(nothing):
                continue  # the same without the extra
            if not condition.never and self._graph.foreign(edge):
                self._follow(edge, self._reached[key].intersect(_base(condition)))

    def _follow(self, edge: Edge, marker: BaseMarker) -> None:
        for entry in self._graph.by_name.get(edge.name, ()):
            if not entry.meets(edge):
                continue
            met = marker.intersect(_base(entry.marker)).intersect(parse_marker(self._regions.get(entry, "")))
            if met.is_empty():
                continue
            for key in ((entry, None), *((entry, extra) for extra in edge.wants)):
                self._join(key, met)

    def _join(self, key: Key, marker: BaseMarker) -> None:
        self._steps -= 1
        before = self._reached.get(key, EmptyMarker())
        after = before.union(marker)
        if self._steps < 0 or after.complexity[0] > _MOST_CLAUSES:
            raise TooComplex
        if after != before:
            self._reached[key] = after
            if key not in self._waiting:
                self._waiting.append(key)


def _base(marker: Marker) -> BaseMarker:
    return parse_marker(marker.text)


@dataclass(frozen=True, slots=True)
class Enumerated:
    """A marker that was put together from answers for known environments."""

    text: str
    by_platform: bool
    """Whether it tells platforms apart, so that it speaks of the known ones only."""


def enumerate_points(points: Sequence[Mapping[str, str]], holds: Sequence[bool]) -> Enumerated:
    """State in which environments something holds, as ranges of Python, for each platform where they differ.

    `points` come ordered by Python version within each platform.
    """
    platforms: dict[tuple[str, str], dict[str, bool]] = {}
    for point, answer in zip(points, holds, strict=True):
        platform = (point["sys_platform"], point["platform_machine"])
        platforms.setdefault(platform, {})[point["python_full_version"]] = answer
    members: dict[str, list[tuple[str, str]]] = {}
    for platform, answers in platforms.items():
        members.setdefault(_python_ranges(list(answers.items())), []).append(platform)
    if len(members) == 1:
        return Enumerated(next(iter(members)), by_platform=False)
    clauses = [
        markers.every(_any_platform(found), markers.parse(ranges))
        for ranges, found in members.items()
        if ranges != _NEVER
    ]
    return Enumerated(markers.some(*clauses).text, by_platform=True)


def _any_platform(members: Iterable[tuple[str, str]]) -> Marker:
    texts = [f'sys_platform == "{system}" and platform_machine == "{machine}"' for system, machine in members]
    return markers.some(*map(markers.parse, texts))


def _python_ranges(answers: Sequence[tuple[str, bool]]) -> str:
    """The marker for the runs of versions that hold; open at both ends, for a version beyond is most like the last."""
    runs: list[list[str]] = []
    for index, (version, holds) in enumerate(answers):
        if holds and (index == 0 or not answers[index - 1][1]):
            runs.append([constraints.python_marker(f">={version}")] if index else [])
        if not holds and index and answers[index - 1][1]:
            runs[-1].append(constraints.python_marker(f"<{version}"))
    if not runs:
        return _NEVER
    return " or ".join(" and ".join(run) for run in runs) if all(runs) else ""
