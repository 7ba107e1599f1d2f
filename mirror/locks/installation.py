"""What an installation takes from a lock in one concrete environment: by stated conditions, or by walking the graph.

Both ways answer the same question, so that everything above them does not care which generation a lock is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from mirror.errors import LockError
from mirror.locks import constraints, markers
from mirror.locks.walk import UNSAFE, Entry, Graph, Reached, Walk, holes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from packaging.utils import NormalizedName

    from mirror.locks.markers import Atom, Marker

    Names = frozenset[NormalizedName]
    Signature = tuple[bool, ...]

RELOCK = "run `poetry lock` again with the newest Poetry"


@dataclass(frozen=True, eq=False, kw_only=True)
class Installations(ABC):
    """Answers for every environment; environments in which every clause of the lock agrees share one answer."""

    graph: Graph
    _answers: dict[tuple[Names, Names, Signature], Reached] = field(default_factory=dict, repr=False)

    def installed(self, groups: Names, extras: Names, variables: Mapping[str, str]) -> Reached:
        """What an installation of some groups with some extras, all at once, takes. Raise `LockError`."""
        key = (groups, extras, self.signature(variables))
        known = self._answers.get(key)
        if known is None:
            known = self._answers[key] = self._install(groups, extras, variables)
            _refuse_two_of_a_name(known, variables)
        return known

    @abstractmethod
    def possible(self, groups: Names, extras: Names) -> Reached:
        """What some environment may take."""

    @abstractmethod
    def _install(self, groups: Names, extras: Names, variables: Mapping[str, str]) -> Reached: ...

    @abstractmethod
    def _markers(self) -> set[Marker]: ...

    @cached_property
    def _atoms(self) -> tuple[Atom, ...]:
        atoms = {atom for marker in self._markers() for atom in marker.atoms() if atom.variable != "extra"}
        return tuple(atoms)

    @cached_property
    def _pythons(self) -> tuple[str, ...]:
        return tuple({entry.python for entry in self.graph.entries})

    def boundaries(self) -> set[tuple[str, str]]:
        """Every clause that can tell two patch releases apart."""
        return set(chain.from_iterable(marker.boundaries() for marker in self._markers()))

    def signature(self, variables: Mapping[str, str]) -> Signature:
        """The truth of every clause in one environment."""
        python = variables["python_full_version"]
        clauses = [atom.holds(variables[atom.variable]) for atom in self._atoms]
        return (*clauses, *[constraints.allows_python(text, python) for text in self._pythons])


@dataclass(frozen=True, eq=False, kw_only=True)
class ByConditions(Installations):
    """Lock-version 2.1 and newer: each package states its groups and markers (locks section 1.7)."""

    _settled: dict[tuple[Names, Names], tuple[tuple[Entry, Marker], ...]] = field(default_factory=dict, repr=False)

    def conditions(self, groups: Names, extras: Names) -> tuple[tuple[Entry, Marker], ...]:
        """Each package that some environment takes, and when: the union over the groups, with the extras settled."""
        known = self._settled.get((groups, extras))
        if known is None:
            pairs = [(entry, _condition(entry, groups).with_extras(extras)) for entry in self.graph.entries]
            known = tuple((entry, marker) for entry, marker in pairs if not marker.never)
            self._settled[groups, extras] = known
        return known

    def possible(self, groups: Names, extras: Names) -> Reached:
        """What some environment may take."""
        return frozenset(entry for entry, _ in self.conditions(groups, extras))

    def _install(self, groups: Names, extras: Names, variables: Mapping[str, str]) -> Reached:
        taken = frozenset(entry for entry, marker in self.conditions(groups, extras) if marker.holds(variables))
        python = variables["python_full_version"]
        for entry in taken:
            if not entry.fits(python):
                raise LockError(
                    f"the lock selects {entry.package} for Python {python}, which the package itself excludes"
                    f" ({entry.python})",
                    hint=RELOCK,
                )
        return taken

    def _markers(self) -> set[Marker]:
        stated = {marker for entry in self.graph.entries for marker in entry.conditions.values()}
        return stated | _edge_markers(self.graph)

    def boundaries(self) -> set[tuple[str, str]]:
        """Only the conditions decide here; the edges behind them are a cross-check."""
        stated = {marker for entry in self.graph.entries for marker in entry.conditions.values()}
        return set(chain.from_iterable(marker.boundaries() for marker in stated))

    def left_out(self, groups: Names, extras: Names, variables: Mapping[str, str]) -> Reached:
        """What the packages taken require although no condition takes it (defect D2)."""
        key = (groups, extras, (False, *self.signature(variables)))
        known = self._answers.get(key)
        if known is None:
            taken = self.installed(groups, extras, variables)
            known = self._answers[key] = holes(self.graph, taken, groups, extras, variables)
        return known


@dataclass(frozen=True, eq=False, kw_only=True)
class ByWalk(Installations):
    """Locks before 2.1: an installation takes what it reaches (locks section 1.8)."""

    groups: Names
    extras: Names
    _walks: dict[Signature, Walk] = field(default_factory=dict, repr=False)

    def possible(self, groups: Names, extras: Names) -> Reached:
        """What some environment may take."""
        names = self.graph.reachable(groups, extras)
        return frozenset(entry for entry in self.graph.entries if entry.package.name in names)

    def walk(self, variables: Mapping[str, str]) -> Walk:
        """The walk of every group and extra, which pins a release for each name."""
        signature = self.signature(variables)
        if signature not in self._walks:
            self._walks[signature] = self.graph.walk(self.groups, self.extras, variables)
        return self._walks[signature]

    def _install(self, groups: Names, extras: Names, variables: Mapping[str, str]) -> Reached:
        return self.walk(variables).reached(groups, extras)

    def _markers(self) -> set[Marker]:
        return _edge_markers(self.graph) | {entry.marker for entry in self.graph.entries}

    def boundaries(self) -> set[tuple[str, str]]:
        """Edges, and what each package allows: that decides between the releases of a name."""
        several = set(self._pythons)
        return super().boundaries().union(chain.from_iterable(constraints.boundaries(text) for text in several))

    def unlocked(self) -> Names:
        """Names that Poetry left out of its locks on purpose and that something here requires."""
        required = {edge.name for entry in self.graph.entries for edge in entry.edges}
        required.update(edge.name for edges in self.graph.roots.values() for edge in edges)
        return frozenset((required & UNSAFE) - self.graph.by_name.keys())


def combinations(extras: Names) -> tuple[Names, ...]:
    """None, each alone, all at once: extras may exclude each other, and people install them singly."""
    nothing: Names = frozenset()
    singles = (frozenset({extra}) for extra in sorted(extras))
    return tuple(dict.fromkeys((nothing, *singles, extras)))


def _condition(entry: Entry, groups: Names) -> Marker:
    wanted = [marker for group, marker in entry.conditions.items() if group in groups]
    return markers.some(*wanted) if wanted else markers.NEVER


def _edge_markers(graph: Graph) -> set[Marker]:
    edges = chain(chain.from_iterable(entry.edges for entry in graph.entries), *graph.roots.values())
    return {edge.marker for edge in edges}


def _refuse_two_of_a_name(taken: Reached, variables: Mapping[str, str]) -> None:
    counts = Counter(entry.package.name for entry in taken)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        name = min(doubled)
        versions = ", ".join(sorted(str(entry.package.version) for entry in taken if entry.package.name == name))
        raise LockError(
            f"the lock selects {name} more than once ({versions}) for {variables['sys_platform']}"
            f" {variables['platform_machine']}, Python {variables['python_full_version']}",
            hint=f"{RELOCK}; if extras exclude each other, name the ones to mirror",
        )
