"""Markers for an exported requirements file, in the normal form of poetry-core, so that they read as Poetry's do.

Algebra on markers can explode. Everything here has a bound that depends on the lock alone, never on the clock, and a
plain way out that means the same.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from poetry.core.version.markers import AnyMarker, BaseMarker, EmptyMarker, parse_marker

from mirror.locks import constraints, markers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.locks.markers import Marker
    from mirror.locks.walk import Edge, Entry, Graph

    Names = frozenset[NormalizedName]
    Key = tuple[Entry, NormalizedName | None]

_MOST_CLAUSES = 24
_MOST_STEPS = 40


class TooComplex(Exception):
    """Algebra gave up; the caller states the marker in another way."""


def within_python(marker: Marker, python: str) -> str:
    """A marker together with the project's Python range, simplified; the plain conjunction when it is a huge one."""
    bounds = markers.parse(constraints.python_marker(python))
    if len(list(marker.atoms())) <= _MOST_CLAUSES:
        try:
            return _text(parse_marker(bounds.text).intersect(parse_marker(marker.text)))
        except (RecursionError, ValueError):
            pass
    return markers.every(bounds, marker).text


def _text(marker: BaseMarker) -> str:
    return "" if marker.is_any() else str(marker)


def propagate(graph: Graph, groups: Names, extras: Names, python: str) -> dict[Entry, str]:
    """The marker under which each package is reached, for every environment at once. Raise `TooComplex`."""
    try:
        return _Propagation(graph).run(groups, extras, parse_marker(constraints.python_marker(python)))
    except (RecursionError, ValueError) as error:
        raise TooComplex from error


class _Propagation:
    """Markers flow along edges until nothing grows: an edge's is met with its owner's, several are joined."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
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
        for entry, region in self._regions(edge):
            met = marker.intersect(region)
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

    def _regions(self, edge: Edge) -> Iterator[tuple[Entry, BaseMarker]]:
        """The locked releases that meet a requirement, each with where it does: the newest that Python allows."""
        candidates = [entry for entry in self._graph.by_name.get(edge.name, ()) if entry.meets(edge)]
        rest: BaseMarker = AnyMarker()
        for entry in candidates:
            own = _base(entry.marker)
            if len(candidates) > 1:
                own = own.intersect(parse_marker(constraints.python_marker(entry.python)))
            yield entry, own.intersect(rest)
            if len(candidates) > 1:
                rest = rest.intersect(own.invert())


def _base(marker: Marker) -> BaseMarker:
    return parse_marker(marker.text)


def enumerate_points(points: Sequence[Mapping[str, str]], holds: Sequence[bool], python: str) -> str:
    """A marker that names the environments in which something holds one by one, as ranges of Python per platform.

    `points` come ordered by Python version within each platform.
    """
    platforms: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for point, answer in zip(points, holds, strict=True):
        platform = (point["sys_platform"], point["platform_machine"])
        platforms.setdefault(platform, []).append((point["python_full_version"], answer))
    by_range: dict[str, list[tuple[str, str]]] = {}
    for platform, answers in platforms.items():
        by_range.setdefault(_python_ranges(answers), []).append(platform)
    clauses = []
    for ranges, members in by_range.items():
        if ranges != "<empty>":
            everywhere = len(members) == len(platforms)
            clauses.append(markers.every(_platforms([] if everywhere else members), markers.parse(ranges)))
    stated = markers.some(*clauses) if clauses else markers.NEVER
    return markers.every(markers.parse(constraints.python_marker(python)), stated).text


def _platforms(members: Iterable[tuple[str, str]]) -> Marker:
    texts = [f'sys_platform == "{system}" and platform_machine == "{machine}"' for system, machine in members]
    return markers.some(*map(markers.parse, texts)) if texts else markers.ALWAYS


def _python_ranges(answers: Sequence[tuple[str, bool]]) -> str:
    """The marker for the runs of versions that hold; open at both ends, for a version beyond is most like the last."""
    unique = list(dict(answers).items())
    runs: list[list[str]] = []
    for index, (version, holds) in enumerate(unique):
        if not holds:
            continue
        if index == 0 or not unique[index - 1][1]:
            runs.append([f'python_full_version >= "{version}"'] if index else [])
        if index + 1 < len(unique) and not unique[index + 1][1]:
            runs[-1].append(f'python_full_version < "{unique[index + 1][0]}"')
    if not runs:
        return "<empty>"
    return " or ".join(" and ".join(run) for run in runs) if all(runs) else ""
