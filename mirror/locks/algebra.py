"""Markers for an exported requirements file, in the normal form of poetry-core, so that they read as Poetry's do.

Algebra on markers can explode. Everything here has a bound that depends on the lock alone, never on the clock, and a
plain way out that means the same.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poetry.core.version.markers import BaseMarker, EmptyMarker, parse_marker

from mirror.locks import constraints, markers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from packaging.utils import NormalizedName

    from mirror.locks.markers import Marker
    from mirror.locks.walk import Edge, Entry, Graph

    Names = frozenset[NormalizedName]
    Key = tuple[Entry, NormalizedName | None]

_NEVER = "<empty>"
_MOST_PRODUCTS = 20_000
_MOST_STEPS = 40

_Symbolic = BaseMarker | None
"""A marker as poetry-core has it; None when algebra on it would take too long."""


def within_python(marker: Marker, python: str) -> str:
    """A marker together with the project's Python range, simplified; the plain conjunction when it is a huge one."""
    bounds = markers.parse(constraints.python_marker(python))
    met = _meet(_symbolic(bounds), _symbolic(marker))
    return markers.every(bounds, marker).text if met is None else _text(met)


def _symbolic(marker: Marker) -> _Symbolic:
    # poetry-core reads a comparison with an empty text as one with a space.
    ordinary = all(atom.value for atom in marker.atoms())
    return parse_marker(marker.text) if ordinary and marker.complexity() <= _MOST_PRODUCTS else None


def _meet(first: _Symbolic, second: _Symbolic) -> _Symbolic:
    if first is None or second is None or _excessive(markers.every, first, second):
        return None
    with suppress(RecursionError):
        return first.intersect(second)
    return None


def _join(first: _Symbolic, second: _Symbolic) -> _Symbolic:
    if first is None or second is None or _excessive(markers.some, first, second):
        return None
    with suppress(RecursionError):
        return first.union(second)
    return None


def _excessive(combine: Callable[..., Marker], first: BaseMarker, second: BaseMarker) -> bool:
    both = combine(markers.parse(_text(first)), markers.parse(_text(second)))
    return both.complexity() > _MOST_PRODUCTS


def _text(marker: BaseMarker) -> str:
    return str(marker)  # empty for "always", `<empty>` for "never", as poetry.lock has them


def propagate(
    graph: Graph, groups: Names, extras: Names, python: str, regions: Mapping[Entry, str]
) -> dict[Entry, str]:
    """The marker under which each package is reached, for every environment at once.

    `regions` says where each of several locked releases of one name is the one that is meant. A package is missing
    when nothing reaches it, or when algebra on its marker would take too long.
    """
    reached = _Propagation(graph, regions).run(groups, extras)
    # The range comes last: carried along every path, it would multiply the clauses that algebra has to sort out.
    return {entry: within_python(markers.parse(_text(marker)), python) for entry, marker in reached.items()}


class _Propagation:
    """Markers flow along edges until nothing grows: an edge's is met with its owner's, several are joined."""

    def __init__(self, graph: Graph, regions: Mapping[Entry, str]) -> None:
        self._graph = graph
        self._regions = {entry: markers.parse(region) for entry, region in regions.items()}
        self._reached: dict[Key, _Symbolic] = {}
        self._waiting: deque[Key] = deque()
        self._steps = _MOST_STEPS * (len(graph.entries) + 10)

    def run(self, groups: Names, extras: Names) -> dict[Entry, BaseMarker]:
        for edge in self._graph.starts(groups):
            self._follow(edge, _symbolic(edge.condition(extras)))
        while self._waiting and self._steps > 0:
            self._expand(self._waiting.popleft())
        settled = not self._waiting
        return {
            entry: marker
            for (entry, extra), marker in self._reached.items()
            if extra is None and marker is not None and settled
        }

    def _expand(self, key: Key) -> None:
        entry, extra = key
        nothing: Names = frozenset()
        asked = nothing if extra is None else frozenset({extra})
        for edge in entry.edges:
            condition = edge.condition(asked)
            if extra is not None and condition is edge.condition(nothing):
                continue  # the same without the extra
            if not condition.never and self._graph.foreign(edge):
                self._follow(edge, _meet(self._reached[key], _symbolic(condition)))

    def _follow(self, edge: Edge, marker: _Symbolic) -> None:
        for entry in self._graph.by_name.get(edge.name, ()):
            if not entry.meets(edge):
                continue
            own = _meet(_symbolic(entry.marker), _symbolic(self._regions.get(entry, markers.ALWAYS)))
            met = _meet(marker, own)
            if met is None or not met.is_empty():
                for extra in (None, *sorted(edge.wants)):
                    self._add((entry, extra), met)

    def _add(self, key: Key, marker: _Symbolic) -> None:
        self._steps -= 1
        before = self._reached.get(key, EmptyMarker())
        after = _join(before, marker)
        if after != before:
            self._reached[key] = after
            if key not in self._waiting:
                self._waiting.append(key)


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
